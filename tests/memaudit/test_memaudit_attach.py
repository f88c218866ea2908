"""Trainings that go on elsewhere: what is looked at, gone on with, and refused."""

import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import Quiet
from watched import NAMES, TEXTS, Says, write_probes

from memaudit.attach import Watch, trl, tunix
from memaudit.audit import Terms, audit
from memaudit.backends import Question, Said
from memaudit.documents import open_ledger
from memaudit.errors import BadInput
from memaudit.ledger import LEDGER
from memaudit.tally import tally
from reports import Tally


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    return write_probes(tmp_path / "probes.jsonl")


def watch(probes: Path, /, **options) -> Watch:
    return Watch(**{"probes": probes, "out": probes.parent / "out", "levels": ("exact",), **options})


def counted(probes: Path) -> Tally:
    with open_ledger(probes.parent / "out") as ledger:
        return tally(ledger)


def out(found: Tally, level: str = "exact") -> list[tuple[str, int, int, int]]:
    """Stage, step, how many came out, of how many."""
    rows = [row for row in found.rows if (row.definition, row.level) == ("near", level)]
    return [(row.stage, row.step, row.model.count, row.model.total) for row in rows]


def test_a_training_is_seen_from_its_beginning_to_its_end(probes: Path) -> None:
    watched = watch(probes, levels=("exact", "code"), twice=1.0)
    watched.begin(Says())
    watched.look(Says([0, 2]), 20)
    watched.look(Says([0, 1, 2]), 40, whole=True)
    paths = watched.finish()
    assert sorted(path.name for path in paths) == ["findings.json", "report.html", "report.md"]
    found = Tally.model_validate_json(paths[0].read_text())
    assert found.weak_control
    assert out(found, "code") == [("sft", 20, 2, 6), ("sft", 40, 3, 6)]
    last = found.rows[-1]
    assert (last.level, last.step) == ("code", 40)
    assert last.control is not None
    assert last.flips is not None
    assert (last.control.count, last.flips.count, last.flips.total) == (0, 0, 12)  # and those of the control
    assert [(p.steps, p.first_out, p.never) for p in found.passages] == [([0, 20, 40], [0, 2, 1], 3)]
    assert {leak.probe for leak in found.leaks} == {NAMES[0], NAMES[1], NAMES[2]}
    assert [(asked.kind, asked.role) for asked in found.asked] == [("says", "model")]
    assert "what the training began with" in paths[2].read_text()


def test_a_second_stage_by_another_process_follows_the_first(probes: Path) -> None:
    first = watch(probes)
    first.begin(Says())
    first.look(Says([0, 1]), 10, whole=True)
    second = pickle.loads(pickle.dumps(watch(probes, stage="dpo")))
    second.begin(Says([0, 1]))
    second.look(Says([0]), 5, whole=True)
    found = counted(probes)
    assert out(found) == [("sft", 10, 2, 6), ("dpo", 0, 2, 6), ("dpo", 5, 1, 6)]
    # The control is what was there before anything was trained.
    assert all(row.control is not None and row.control.count == 0 for row in found.rows)
    assert [(p.stage, p.steps, p.first_out, p.last_out) for p in found.passages] == [
        ("sft", [0, 10], [0, 2], [0, 2]),
        ("dpo", [0, 5], [2, 0], [1, 1]),
    ]
    # Going on with the first one changes no order.
    first.look(Says([0, 1, 2]), 20, whole=True)
    assert [row[0] for row in out(counted(probes))] == ["sft", "sft", "dpo", "dpo"]


def test_between_beginning_and_end_a_sample_is_asked_the_same_at_every_step(probes: Path) -> None:
    watched, models = watch(probes, every=10, sample=0.5), [Says() for _ in range(4)]
    assert [step for step in range(31) if watched.due(step)] == [0, 10, 20, 30]
    assert not any(watch(probes).due(step) for step in range(31))
    watched.begin(models[0])
    watched.look(models[1], 10)
    watched.look(models[2], 20)
    watched.look(models[3], 30, whole=True)
    sample = models[1].asked
    assert 0 < len(sample) < len(TEXTS)
    assert models[2].asked == sample
    assert all(sorted(models[n].asked) == sorted(prefix for prefix, _ in TEXTS) for n in (0, 3))


def test_a_training_that_goes_on_asks_nothing_twice(probes: Path) -> None:
    watch(probes).begin(Says())
    watch(probes).look(Says([0]), 10)
    again = Says([1])
    watched = watch(probes)
    watched.begin(again, 5)  # its checkpoint
    watched.look(again, 10)
    assert again.asked == []
    watched.look(again, 15)
    assert len(again.asked) == len(TEXTS)
    assert out(counted(probes)) == [("sft", 10, 1, 6), ("sft", 15, 1, 6)]


class Killed(Exception):
    """Stands for whatever ends a training."""


class Dies(Says):
    """Is killed in its second batch."""

    def go_on(self, questions: list[Question], scores: list) -> list[Said]:
        if self.asked:
            raise Killed
        return super().go_on(questions, scores)


def test_a_first_look_that_was_cut_short_is_gone_on_with(probes: Path) -> None:
    dying = Dies()
    with pytest.raises(Killed):
        watch(probes).begin(dying)
    rest = Says()
    watch(probes).begin(rest)
    assert sorted(dying.asked + rest.asked) == sorted(prefix for prefix, _ in TEXTS)
    assert dying.asked
    assert rest.asked


def test_a_training_that_begins_anew_is_not_mixed_with_the_one_before(probes: Path) -> None:
    watch(probes).begin(Says())
    watch(probes).look(Says([0]), 10)
    with pytest.raises(
        BadInput, match=r"goes on from a checkpoint.*come to step 10 here.*set another `stage`"
    ):
        watch(probes).begin(Says())
    watch(probes, stage="once more").begin(Says())


def test_exposures_are_written_once_whatever_is_taken_again(probes: Path) -> None:
    watched = watch(probes)
    watched.begin(Says())
    watched.look(Says(), 1)
    watched.shown(0, "target", [NAMES[0], NAMES[1], NAMES[0], "no probe"])
    watched.note()
    watched.shown(1, "preferred", [NAMES[2]])
    watched.shown(1, "rejected", [NAMES[3]])
    watched.note()
    watched.note()
    again = watch(probes)
    again.begin(Says(), 1)
    again.shown(1, "preferred", [NAMES[2]])
    again.note()
    again.shown(2, "target", [NAMES[0]])
    again.finish()
    with open_ledger(probes.parent / "out") as ledger:
        assert ledger.walks()["model", "sft"].steps == 1  # as far as it has been looked at
        assert ledger.shown() == [
            (NAMES[0], "model", "sft", "target", 3, 0, 2),
            (NAMES[1], "model", "sft", "target", 1, 0, 0),
            (NAMES[2], "model", "sft", "preferred", 1, 1, 1),
            (NAMES[3], "model", "sft", "rejected", 1, 1, 1),
        ]
    with pytest.raises(BadInput, match="role: expected one of target, preferred"):
        again.shown(3, "chosen", [])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"levels": ("exact", "code")}, "the same levels"),
        ({"threshold": 0.2}, "the same threshold"),
        ({"full": True}, "the same full"),
    ],
)
def test_another_audit_is_not_mixed_in(probes: Path, options: dict, told: str) -> None:
    watch(probes).begin(Says())
    before = (probes.parent / "out" / LEDGER).read_bytes()
    with pytest.raises(BadInput, match=told):
        watch(probes, **options).begin(Says())
    with pytest.raises(BadInput, match="tokenizer that the audit began with"):
        watch(probes, stage="dpo").begin(Says(shift=1))
    with pytest.raises(BadInput, match="the same probes"):
        watch(write_probes(probes, texts=TEXTS[1:])).begin(Says())
    assert (probes.parent / "out" / LEDGER).read_bytes() == before


def test_a_directory_of_something_else_is_left_alone(probes: Path) -> None:
    out = probes.parent / "out"
    out.mkdir()
    (out / "precious").write_text("x")
    with pytest.raises(BadInput, match=r"new or empty directory.*set another `out`"):
        watch(probes).begin(Says())
    assert [path.name for path in out.iterdir()] == ["precious"]
    (out / "precious").unlink()
    terms = replace(Terms(levels=("exact",)), twice=0.0)
    audit(str(probes), Says(), None, out, terms, Quiet()).close()
    with pytest.raises(BadInput, match="got that of a run or of a finished model"):
        watch(probes).begin(Says())


def test_an_audit_without_a_look_has_nothing_to_report(probes: Path) -> None:
    with pytest.raises(BadInput, match="expected the directory of a run or an audit"):
        watch(probes).finish()
    assert not (probes.parent / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"levels": ("code",)}, "levels: expected some of exact"),
        ({"levels": ("exact", "shape")}, "levels: expected some of exact"),
        ({"threshold": 1.0}, "threshold: expected a share"),
        ({"every": -1}, "every: expected a number of steps"),
        ({"sample": 1.5}, "sample: expected a share"),
        ({"twice": -0.5}, "twice: expected a share"),
        ({"stage": " "}, "stage: expected a name"),
        ({"probes": "nowhere.jsonl"}, "nowhere.jsonl: expected to read it"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(probes: Path, options: dict, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        watch(probes, **options)


def test_what_cannot_be_attached_to_is_named_with_the_way_to_install_it(
    probes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("transformers", "tunix.sft.hooks", "tunix.generate.sampler"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadInput, match=r"expected transformers .*: pip install memaudit\[hf\]"):
        trl.audit_callback(watch(probes))
    with pytest.raises(BadInput, match=r"expected tunix.sft.hooks .*: pip install google-tunix"):
        tunix.audit_hooks(watch(probes), None)
    with pytest.raises(BadInput, match=r"expected tunix.generate.sampler .*: pip install google-tunix"):
        tunix.Tunix(None, None)
