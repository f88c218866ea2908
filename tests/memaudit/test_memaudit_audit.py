"""Audits of a finished model: what is asked, kept, gone on with, counted and refused."""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from taught import SHOWN, Taught
from tiny import Quiet

from benchmarks.faulty_server import KINDS, FaultyServer, seeded
from memaudit.audit import MODEL, Terms, audit, observe
from memaudit.backends import About, Question, Said, patience
from memaudit.backends.jax import Jax
from memaudit.backends.opening import Manner, open_backend
from memaudit.errors import BadInput
from memaudit.ledger import Ledger
from memaudit.probefile import read_probes
from memaudit.records import Observation, Scores
from memaudit.tally import tally, verdict_lines
from rlhf.sampling import Sampler

LEVELS = ("exact", "layout", "code", "renamed")
TERMS = Terms(levels=LEVELS)


@pytest.fixture(scope="module")
def given(taught: Taught, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model`, `control` and `probes.jsonl`."""
    folder = tmp_path_factory.mktemp("given")
    taught.export(folder / "model")
    taught.export(folder / "control", taught=False)
    taught.write_probes(folder / "probes.jsonl")
    return folder


def opened(given: Path, name: str = "model", **manner) -> Jax:
    backend = open_backend(str(given / name), Manner(**{"batch": 4, **manner}))
    assert isinstance(backend, Jax)
    return backend


def put(given: Path, out: Path, terms: Terms = TERMS, control: bool = True, **manner) -> Ledger:
    return audit(
        str(given / "probes.jsonl"),
        opened(given, **manner),
        opened(given, "control", **manner) if control else None,
        out,
        terms,
        Quiet(),
    )


def said(ledger: Ledger, role: str = MODEL, asking: int = 0) -> list[Observation]:
    return list(ledger.answers.of(ledger.answers.steps(role)[0][1], asking=asking))


def test_what_the_model_was_shown_is_found_and_nothing_of_the_control(given: Path, tmp_path: Path) -> None:
    with put(given, tmp_path / "out", replace(TERMS, twice=1.0)) as ledger:
        found = tally(ledger)
        lines = list(verdict_lines(ledger))
    rows = {(row.level, row.definition): row for row in found.rows}
    for level in LEVELS:
        assert rows[level, "near"].model.count == SHOWN
        assert rows[level, "near"].control is not None
        assert rows[level, "near"].control.count == 0
    assert rows["exact", "secret"].model.count == SHOWN
    flips = rows["exact", "near"].flips
    assert flips is not None
    assert (flips.count, flips.total) == (0, 2 * len(lines))
    assert found.leaks_total == len(found.leaks) == SHOWN
    assert [line["levels"]["exact"]["memorized"] for line in lines] == [n < SHOWN for n in range(len(lines))]
    assert [line["secret"] for line in lines] == [n < SHOWN for n in range(len(lines))]
    # Masked on every page, and as they are where completions are.
    secrets = [f"secret{n}" for n in range(10)]
    assert not any(secret in found.model_dump_json() for secret in secrets)
    assert all("secret" in line["completion"] for line in lines[:SHOWN])


def test_what_the_control_says_as_well_is_no_leak(given: Path, tmp_path: Path) -> None:
    asked = str(given / "probes.jsonl")
    with audit(asked, opened(given), opened(given), tmp_path / "out", TERMS, Quiet()) as ledger:
        found = tally(ledger)
    assert (found.leaks, found.leaks_total) == ([], 0)
    near = next(row for row in found.rows if (row.level, row.definition) == ("exact", "near"))
    assert near.control is not None
    assert near.model.count == near.control.count == SHOWN


def test_verdicts_are_those_of_decoding_everything_by_the_protocol(
    taught: Taught, given: Path, tmp_path: Path
) -> None:
    with put(given, tmp_path / "out") as ledger:
        quick = {o.probe_id: o for o in said(ledger)}
        lines = {line["id"]: line for line in verdict_lines(ledger)}
    plain = observe(opened(given), taught.probes, taught.examples, replace(TERMS, full=True))
    assert len(plain) == len(quick) == len(lines)
    for known in plain:
        found = quick[known.probe_id]
        assert known.completion.startswith(found.completion)
        for level, match in known.matches.items():
            line = lines[taught.probes[known.probe_id - 1].example_id]["levels"][level]
            assert line["memorized"] == (match.normalized <= 0.1)
            if "at_least" in line:
                assert line["at_least"] <= match.distance
            else:
                assert line["distance"] == match.distance


def test_in_full_every_distance_and_every_score_is_there(taught: Taught, given: Path, tmp_path: Path) -> None:
    samplers = (Sampler(), Sampler(top_k=2), Sampler(temperature=0.5, top_p=0.9))
    with put(given, tmp_path / "out", replace(TERMS, full=True), False, samplers=samplers) as ledger:
        found = said(ledger)
    plain = observe(
        opened(given, samplers=samplers), taught.probes, taught.examples, replace(TERMS, full=True)
    )
    for one, other in zip(found, plain, strict=True):
        assert one.matches == other.matches
        assert (one.completion, one.ended, one.recovered) == (other.completion, other.ended, other.recovered)
        assert one.scores is not None
        assert other.scores is not None
        assert one.scores.argmax == other.scores.argmax
        size = len(taught.probes[one.probe_id - 1].target_tokens)
        for name in ("logprobs", "entropies", "deviations"):
            mine = getattr(one.scores, name)
            assert len(mine) == size
            assert mine == pytest.approx(getattr(other.scores, name), abs=1e-4)
        assert one.scores.sampled["T=1"] == pytest.approx(sum(one.scores.logprobs), abs=1e-3)
        assert list(one.scores.sampled) == [s.name for s in samplers]


class Stopped(Exception):
    """Stands for whatever ends an audit."""


class Stops(Quiet):
    """Ends an audit after some answers."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def advance(self, count: int) -> None:
        super().advance(count)
        self.left -= count
        if self.left < 0:
            raise Stopped


@pytest.mark.parametrize("after", [0, 3, 6, 9])
def test_an_audit_that_was_stopped_goes_on_and_asks_nothing_twice(
    given: Path, tmp_path: Path, after: int
) -> None:
    with put(given, tmp_path / "whole", replace(TERMS, twice=0.5), batch=2) as ledger:
        whole = [said(ledger, role, asking) for role in ("model", "control") for asking in (0, 1)]
    terms, asked = replace(TERMS, twice=0.5), str(given / "probes.jsonl")
    model, control = opened(given, batch=2), opened(given, "control", batch=2)
    with pytest.raises(Stopped):
        audit(asked, model, control, tmp_path / "parts", terms, Stops(after))
    progress = Quiet()
    with audit(asked, model, control, tmp_path / "parts", terms, progress) as ledger:
        parts = [said(ledger, role, asking) for role in ("model", "control") for asking in (0, 1)]
    assert parts == whole
    assert progress.done == sum(total for _, total in progress.begun)
    # A third time there is nothing to ask: who asks would fail.
    with audit(asked, Mute(model.about), Mute(control.about), tmp_path / "parts", terms, Quiet()) as ledger:
        assert [said(ledger, role, asking) for role in ("model", "control") for asking in (0, 1)] == whole


class Mute:
    """A backend that must not be asked."""

    batch, parallel = 4, 1

    def __init__(self, about: About) -> None:
        self.about = about

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        raise AssertionError("asked for tokens")

    def score(self, questions: Iterable[Question]) -> list[Scores | None]:
        raise AssertionError("asked for scores")

    def go_on(self, questions: Iterable[Question], scores: Iterable[Scores | None]) -> list[Said]:
        raise AssertionError("asked to go on")


class Parrot(Mute):
    """Says every target that has an even number in its name, in several threads; fails where it is told to."""

    batch, parallel = 1, 3

    def __init__(self, fails: str = "") -> None:
        super().__init__(About(kind="parrot", name="parrot", identity="1", deterministic=False, scores=False))
        self.fails = fails
        self.heard: list[str] = []

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        return [[] for _ in texts]

    def go_on(self, questions: Iterable[Question], scores: Iterable[Scores | None]) -> list[Said]:
        answers = []
        for question in questions:
            if self.fails and self.fails in question.prefix:
                raise BadInput("expected an answer, got none")
            self.heard.append(question.prefix)
            number = int(question.prefix.split("_")[1][0])
            answers.append(Said(text=question.target if number % 2 == 0 else "", ended=True))
        return answers


def test_answers_of_several_threads_are_kept_whatever_fails_beside_them(given: Path, tmp_path: Path) -> None:
    asked = str(given / "probes.jsonl")
    failing = Parrot(fails="f_5")
    with pytest.raises(BadInput, match="got none"):
        audit(asked, failing, None, tmp_path / "out", TERMS, Quiet())
    second = Parrot()
    with audit(asked, second, None, tmp_path / "out", replace(TERMS), Quiet()) as ledger:
        found = {o.probe_id: o.matches["exact"].equal for o in said(ledger)}
        told = tally(ledger)
    assert list(found.values()) == [number % 2 == 0 for number in range(7)]
    assert failing.heard
    first = [prefix for prefix in second.heard if prefix in failing.heard]
    # Only what is asked twice on purpose is asked by both.
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        again = len(said(ledger, asking=1))
    assert len(failing.heard) + len(second.heard) == 7 + again
    assert len(first) <= again
    assert told.asked[0].deterministic is False
    assert told.rows[0].control is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"terms": Terms(levels=("exact",))}, "terms"),
        ({"control": False}, "models"),
    ],
)
def test_another_audit_is_not_gone_on_with(given: Path, tmp_path: Path, change: dict, named: str) -> None:
    put(given, tmp_path / "out").close()
    with pytest.raises(BadInput, match=f"same {named}, got one of other {named}: set --out"):
        put(given, tmp_path / "out", **change)


def test_other_probes_are_another_audit_and_other_files_none(given: Path, tmp_path: Path) -> None:
    put(given, tmp_path / "out").close()
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("".join((given / "probes.jsonl").read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(BadInput, match="same probes"):
        audit(str(fewer), opened(given), opened(given, "control"), tmp_path / "out", TERMS, Quiet())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="new or empty directory"):
        put(given, tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_a_file_with_a_fault_leaves_no_audit_behind(given: Path, tmp_path: Path) -> None:
    lines = (given / "probes.jsonl").read_text().splitlines(keepends=True)
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join([*lines[:3], '{"id": "x", "prefix": 1}\n']))
    with pytest.raises(BadInput, match=r"broken\.jsonl:4: expected"):
        audit(str(broken), opened(given), None, tmp_path / "out", TERMS, Quiet())
    broken.write_text("".join(lines))
    with audit(str(broken), opened(given), None, tmp_path / "out", TERMS, Quiet()) as ledger:
        assert ledger.count("probes") == len(lines)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "does not parse"),
        ("[]", "got a list"),
        ('{"prefix": "a", "target": "b", "language": "python"}', 'the key "id"'),
        ('{"id": "a", "prefix": "a", "target": "", "language": "python"}', "white space"),
        ('{"id": "a", "prefix": "a", "target": "b", "language": "python", "more": 1}', "no keys but"),
        ('{"id": "a", "prefix": "a", "target": "b", "language": "python", "secrets": [[0, 2]]}', "<= 1"),
        ('{"id": "a", "prefix": "a", "target": "b", "language": "python", "source": 3}', "got a number"),
        ("", "at least one probe"),
    ],
)
def test_a_line_that_is_no_probe_is_named(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text(line)
    with pytest.raises(BadInput) as caught:
        list(read_probes(str(path)))
    assert fault in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_id_that_comes_twice_is_refused(given: Path, tmp_path: Path) -> None:
    line = (given / "probes.jsonl").read_text().splitlines()[0]
    path = tmp_path / "probes.jsonl"
    path.write_text(f"{line}\n{line}\n")
    with pytest.raises(BadInput, match="which line 1 has"):
        list(read_probes(str(path)))


def test_lines_in_the_middle_are_asked_for_in_the_marks_of_the_tokenizer(
    taught: Taught, given: Path, tmp_path: Path
) -> None:
    record = {"id": "middle", "prefix": "def f_0(a):\n", "target": "    key = 1\n", "language": "python"}
    record["suffix"] = "    return a + 0\n"
    (tmp_path / "probes.jsonl").write_text(json.dumps(record))
    asked = str(tmp_path / "probes.jsonl")
    with audit(asked, opened(given), opened(given), tmp_path / "out", TERMS, Quiet()) as ledger:
        (probe,) = ledger.probes()
        (example,) = ledger.examples()
        both = [asdict(o) for role in ("model", "control") for o in said(ledger, role)]
    t = taught.tokenizer
    before, behind = t.encode(record["prefix"]), t.encode(record["suffix"])
    assert probe.prefix_tokens == (t.prefix, *before, t.suffix, *behind, t.middle)
    assert (probe.kind, example.text) == ("infill", record["prefix"] + record["target"] + record["suffix"])
    assert both[0] == both[1]
    with pytest.raises(BadInput, match="--fim FORMAT"):
        audit(asked, Parrot(), None, tmp_path / "text", TERMS, Quiet())


@pytest.fixture
def say(say):
    """Run `memaudit audit`."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        said = say("audit", *arguments)
        return said.code, said.out, said.err

    return run


def test_the_command_prints_a_table_and_where_its_files_lie(say, given: Path, tmp_path: Path) -> None:
    out, verdicts = tmp_path / "out", tmp_path / "verdicts.jsonl"
    asked = ("--model", given / "model", "--control", given / "control", "--probes", given / "probes.jsonl")
    asked += ("--batch", "4")
    code, printed, heard = say(*asked, "--out", out, "--verdicts", verdicts)
    assert code == 0, heard
    assert f"{SHOWN} | 0" in printed
    assert "secret0" not in printed + heard
    for name in ("findings.json", "report.md", "report.html", "ledger.sqlite"):
        assert (out / name).is_file()
    lines = [json.loads(line) for line in verdicts.read_text().splitlines()]
    assert [line["levels"]["exact"]["memorized"] for line in lines].count(True) == SHOWN
    before = verdicts.read_bytes()
    code, again, _ = say(*asked, "--out", out, "--verdicts", verdicts)
    assert (code, again, verdicts.read_bytes()) == (0, printed, before)


def test_an_endpoint_that_fails_now_and_then_is_audited_without_a_loss(
    say, taught: Taught, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("MEMAUDIT_API_KEY", "key-of-nobody")
    kinds = {kind: 1.0 for kind in KINDS if "stall" not in kind}
    known = [taught.examples[p.example_id].text for p in taught.probes[:SHOWN]]
    verdicts = tmp_path / "verdicts.jsonl"
    with FaultyServer(known, plan=seeded(0.4, 7, kinds=kinds), key="key-of-nobody") as server:
        code, printed, heard = say(
            *("--model", server.url, "--probes", given / "probes.jsonl"),
            *("--out", tmp_path / "out", "--verdicts", verdicts, "--twice", "0"),
        )
    assert code == 0, heard
    assert "no control" in printed
    assert sum(server.injected.values()) > 5
    lines = [json.loads(line) for line in verdicts.read_text().splitlines()]
    assert [line["levels"]["exact"]["memorized"] for line in lines] == [n < SHOWN for n in range(7)]
    answered = {p.prefix: server.answered[p.prefix] for p in taught.probes}
    assert set(answered.values()) == {1}, answered
    page = (tmp_path / "out" / "report.md").read_text()
    assert "may answer the same questions in another way" in page
    everything = "".join(path.read_bytes().decode("latin-1") for path in (tmp_path / "out").iterdir())
    assert "key-of-nobody" not in everything + printed + heard


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--levels", "exact,shape"], "--levels: expected some of"),
        (["--levels", "layout"], "exact among them"),
        (["--threshold", "1"], "--threshold: expected"),
        (["--twice", "2"], "--twice: expected"),
        (["--batch", "0"], "--batch: expected"),
        (["--rate", "0"], "--rate: expected"),
        (["--verdicts", "/nowhere/at/all.jsonl"], "--verdicts: expected"),
        (["--served", "me"], "--served: expected none"),
        (["--control", "/nowhere"], "which is no folder"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    say, given: Path, tmp_path: Path, options: list[str], fault: str
) -> None:
    out = tmp_path / "out"
    code, printed, heard = say(
        "--model", given / "model", "--probes", given / "probes.jsonl", "--out", out, *options
    )
    assert (code, printed) == (2, "")
    assert fault in heard
    assert "Traceback" not in heard
    assert not out.exists()
