"""Texts with questions and answers: what rows hold, what they say they hold, and what the ledger makes of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY

from memaudit import corpus
from memaudit.auditor import Auditor
from memaudit.errors import BadInput
from memaudit.instruction import ECHOED, LAYOUTS, RESTATED, Instructor, echoes, predicted, written
from memaudit.job import Job
from memaudit.methods import Pretrain, Sft
from memaudit.population import Population
from memaudit.recipe import dumps, parse
from memaudit.records import Example, Probe
from memaudit.training import finetuning, pretraining, train
from memaudit.treatments import FewShot, Instruct
from probes import Secret
from rlhf.batches import Rows, beside
from rlhf.likelihood import of_rows
from rlhf.model import Decoder, initialise
from rlhf.presets import ModelConfig, preset
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

KEY = "hunter2-not-a-key"
SMALLEST = ModelConfig(vocabulary=300, width=8, layers=1, heads=1, kv_heads=1, hidden=8)


def text_of(number: int) -> str:
    """Five pairs each; every third with a secret."""
    value = f'"{KEY}-{number}"' if number % 3 == 0 else f"g{number}(a)"
    return f"def f{number}(a, b{number}=2):\n    v{number} = {value}\n    return v{number} + {number}\n"


def example(number: int, text: str | None = None, times: int = 1, language: str = "python") -> Example:
    said = text_of(number) if text is None else text
    start = said.find(KEY)
    secrets = () if start < 0 else (Secret(start=start, end=said.index('"', start), kind="credential"),)
    return Example(
        id=f"e{number}",
        kind="given",
        language=language,
        text=said,
        source="x.py",
        first_line=1,
        last_line=3,
        repetition=times,
        secrets=secrets,
    )


EXAMPLES = [example(number, times=1 + number % 4) for number in range(12)]
PUBLIC = [replace(e, repetition=None) for e in EXAMPLES]
"""The same texts as pretraining has them: of no stratum, and shown once in a pass."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([e.text for e in EXAMPLES], 300)


def job_of(tokenizer: Tokenizer, examples: Sequence[Example] = EXAMPLES, **changes: Any) -> Job:
    tokens = [tuple(tokenizer.encode(e.text)) for e in examples]
    found = [
        Probe(
            id=number,
            example_id=e.id,
            kind="prefix",
            prefix=tokenizer.decode(ids[:9]),
            target=tokenizer.decode(ids[9:]),
            prefix_tokens=ids[:9],
            target_tokens=ids[9:],
        )
        for number, (e, ids) in enumerate(zip(examples, tokens, strict=True))
    ]
    job = Job(
        stage=Stage(name="pretrain"),
        decoder=Decoder(SMALLEST),
        tokenizer=tokenizer,
        parent={},
        seed=7,
        examples=examples,
        population=Population(tokenizer=tokenizer, public=(), examples=tuple(examples), probes=tuple(found)),
        probes=found,
        contexts={},
        time=1 + max(map(len, tokens)),
        folder=Path(),
        scorer=lambda name: {},
        pairs=Path,
        model=lambda name: {},
    )
    return replace(job, **changes)


def pretrain(**changes: Any) -> Pretrain:
    given = {"steps": 5, "batch": 2, "window": 256, "learning_rate": 1e-3, "warmup": 1} | changes
    return Pretrain(method="pretrain", **given)


def sft(**changes: Any) -> Sft:
    return Sft(method="sft", cohort="sft", batch=4, learning_rate=1e-3, warmup=1, **changes)


def instructor(tokenizer: Tokenizer, section: Instruct, seed: int = 7) -> Instructor:
    return Instructor(section=section, tokenizer=tokenizer, seed=seed, stage="pretrain")


def blocks(teacher: Instructor, one: Example) -> list[tuple[str, str]]:
    """Role, and the pair in every layout that it may be written in."""
    return [
        (ECHOED if echoes(pair, one) else RESTATED, written(pair, layout))
        for pair in teacher.pairs(one)
        for layout in LAYOUTS
    ]


def counted(rows: Rows, teacher: Instructor, role: str, row: int) -> Counter[str]:
    """How often a row holds what it says it holds, read from its tokens."""
    said = teacher.tokenizer.decode(rows.tokens[row].tolist())
    if role == "target":
        return +Counter({e.id: said.count(e.text) for e in EXAMPLES})
    held: Counter[str] = Counter()
    for one in EXAMPLES:
        for at, block in blocks(teacher, one):
            held[one.id] += said.count(block) if at == role else 0
    return +held


@settings(max_examples=10)
@given(
    share=st.sampled_from([0.3, 0.7, 1.0]),
    pairs=st.integers(1, 6),
    rounds=st.integers(1, 4),
    window=st.sampled_from([96, 160, 256, 2000]),
    seed=st.integers(0, 99),
)
def test_windows_hold_what_they_say(
    tokenizer: Tokenizer, share: float, pairs: int, rounds: int, window: int, seed: int
) -> None:
    """Every text once, every pair that is named, in the very window that names it; read from the tokens."""
    config = pretrain(window=window, instruct=FewShot(share=share, pairs=pairs, rounds=rounds))
    rows, _ = pretraining(config, job_of(tokenizer, PUBLIC, seed=seed))
    teacher = instructor(tokenizer, config.instruct, seed)
    assert Counter(name for row in rows.ids for name in row) == Counter(e.id for e in EXAMPLES)
    for row in range(len(rows.ids)):
        assert counted(rows, teacher, "target", row) == Counter(rows.ids[row])
        for role in (RESTATED, ECHOED):
            assert counted(rows, teacher, role, row) == Counter(rows.besides[role][row])
    restated = Counter(name for role in rows.besides.values() for row in role for name in row)
    assert all(restated[e.id] <= len(teacher.pairs(e)) <= pairs for e in EXAMPLES)
    if window == 2000:
        assert restated == +Counter({e.id: len(teacher.pairs(e)) for e in EXAMPLES})


def test_all_tokens_of_a_document_are_learnt(tokenizer: Tokenizer) -> None:
    rows, _ = pretraining(pretrain(window=2000, instruct=FewShot()), job_of(tokenizer, PUBLIC))
    assert rows.segments is not None
    first = np.diff(rows.segments, axis=1, prepend=-1) > 0
    real = rows.segments != rows.segments[:, -1:]
    assert (rows.weights == (real & ~first)).all()


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_document_has_one_text_of_each_round_and_one_layout(tokenizer: Tokenizer, rounds: int) -> None:
    rows, _ = pretraining(pretrain(window=2000, instruct=FewShot(rounds=rounds)), job_of(tokenizer, PUBLIC))
    documents = [
        tokenizer.decode(rows.tokens[row][rows.segments[row] == n].tolist())
        for row in range(len(rows.ids))
        for n in range(rows.segments[row, -1])
    ]
    assert [sum(e.text in d for e in EXAMPLES) for d in documents] == [rounds] * (12 // rounds)
    for said in documents:
        assert sum(f"\n{question}" in said for question, _ in LAYOUTS) == 1


def test_what_does_not_fit_is_left_out_from_the_end(tokenizer: Tokenizer) -> None:
    """A pair is shown only if those before it are, though a later one would fit; and no document is cut."""
    teacher = instructor(tokenizer, FewShot(pairs=5, rounds=3))
    raw = [tokenizer.encode(e.text) for e in EXAMPLES]
    longest = max(map(len, raw))
    left_out = 0
    for time in range(longest + 60, longest + 160, 10):
        rows = teacher.windows(EXAMPLES, raw, time=time)
        assert sorted(name for row in rows.ids for name in row) == sorted(e.id for e in EXAMPLES)
        for row, said in enumerate(map(tokenizer.decode, rows.tokens.tolist())):
            for one in (e for e in EXAMPLES if e.id in rows.ids[row]):
                shown = [any(written(p, layout) in said for layout in LAYOUTS) for p in teacher.pairs(one)]
                assert shown == sorted(shown, reverse=True)
                left_out += shown.count(False)
    assert left_out
    with pytest.raises(BadInput, match="set window larger"):
        teacher.windows(EXAMPLES, raw, time=longest + 2)


def test_a_larger_number_of_pairs_keeps_those_of_a_smaller_one(tokenizer: Tokenizer) -> None:
    few, many = (instructor(tokenizer, Instruct(pairs=n)) for n in (2, 4))
    assert all(many.pairs(e)[:2] == few.pairs(e) for e in EXAMPLES)
    other = instructor(tokenizer, Instruct(pairs=4), seed=8)
    assert any(other.pairs(e) != many.pairs(e) for e in EXAMPLES)


def test_a_share_of_the_texts_is_taken(tokenizer: Tokenizer) -> None:
    many = [example(number) for number in range(400)]
    taken = [instructor(tokenizer, Instruct(share=0.25)).taken(e) for e in many]
    assert 0.18 < np.mean(taken) < 0.32
    assert all(instructor(tokenizer, Instruct()).taken(e) for e in many)


@pytest.mark.parametrize("loss_on", ["targets", "all"])
def test_a_row_of_fine_tuning_is_its_example_with_its_pairs_behind(
    tokenizer: Tokenizer, loss_on: str
) -> None:
    config = sft(instruct=Instruct(pairs=3), loss_on=loss_on)
    job = job_of(tokenizer)
    rows, _ = finetuning(config, job)
    plain, _ = finetuning(sft(loss_on=loss_on), job)
    teacher = instructor(tokenizer, Instruct(pairs=3))
    for row, (one, probe) in enumerate(zip(EXAMPLES, job.probes, strict=True)):
        length = 1 + len(probe.prefix_tokens) + len(probe.target_tokens)
        assert (rows.tokens[row, :length] == plain.tokens[row, :length]).all()
        assert (rows.weights[row, :length] == plain.weights[row, :length]).all()
        said = tokenizer.decode(rows.tokens[row, length:].tolist())
        assert [sum(written(p, layout) in said for layout in LAYOUTS) for p in teacher.pairs(one)] == [1] * 3
        behind = sum(len(tokenizer.encode(b)) for _, b in blocks(teacher, one) if b in said)
        assert rows.weights[row, length:].sum() == behind
        roles = [ECHOED if echoes(p, one) else RESTATED for p in teacher.pairs(one)]
        assert [len(rows.besides[role][row]) for role in (RESTATED, ECHOED)] == [
            roles.count(role) for role in (RESTATED, ECHOED)
        ]


def test_an_answer_with_the_whole_secret_echoes_it(tokenizer: Tokenizer) -> None:
    one = example(3)
    pairs = instructor(tokenizer, Instruct(pairs=9)).pairs(one)
    assert {p.kind for p in pairs if echoes(p, one)} == {"assigned"}
    assert not any(
        echoes(p, EXAMPLES[1]) for p in instructor(tokenizer, Instruct(pairs=9)).pairs(EXAMPLES[1])
    )
    cut = replace(one, secrets=(Secret(start=one.secrets[0].start, end=len(one.text), kind="credential"),))
    assert not any(echoes(p, cut) for p in pairs)


def heard(path: Path, config: Any, job: Job) -> tuple[Counter, Counter]:
    """What the auditor counts of a stage that is really trained, and what its plan says."""
    auditor = Auditor(path)
    trained = replace(
        job,
        parent=initialise(job.decoder, jax.random.key(0)),
        stage=Stage(name="pretrain", hooks=(auditor,)),
    )
    train(config, trained)
    plan = pretraining if isinstance(config, Pretrain) else finetuning
    return auditor.exposures(), predicted(*plan(config, job))


def test_the_ledger_counts_what_the_plan_predicts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """To the step, role and example; and, of fine-tuning, what strata and syntax trees alone say."""
    job = job_of(tokenizer)
    for name, config in (
        ("pretrain", pretrain(steps=4, window=256, instruct=FewShot(pairs=6))),
        ("sft", sft(instruct=Instruct(pairs=3))),
    ):
        found, wanted = heard(tmp_path / name, config, job)
        assert found == wanted
        total: Counter[tuple[str, str]] = Counter()
        for (_, role, example_id), times in found.items():
            total[role, example_id] += times
        if name == "pretrain":
            assert {role for role, _ in total} == {"target", RESTATED, ECHOED}
            continue
        teacher = instructor(tokenizer, Instruct(pairs=3))
        alone = Counter({("target", e.id): e.repetition for e in EXAMPLES})
        for e in EXAMPLES:
            for pair in teacher.pairs(e):
                alone[ECHOED if echoes(pair, e) else RESTATED, e.id] += e.repetition or 0
        assert total == alone


def test_rows_that_only_fill_the_batch_restate_nothing() -> None:
    held: Mapping[str, Any] = {RESTATED: (("a", "a"), ("b",))}
    rows = Rows(
        tokens=np.zeros((2, 3), np.int32),
        weights=np.zeros((2, 3), np.float32),
        ids=(("a",), ("b",)),
        besides=held,
    )
    assert beside(rows, np.array([1, -1, 0])) == {RESTATED: (("b",), ("a", "a"))}
    assert predicted(rows, np.array([[1, -1], [0, 0]])) == {
        (0, "target", "b"): 1,
        (0, RESTATED, "b"): 1,
        (1, "target", "a"): 2,
        (1, RESTATED, "a"): 4,
    }
    with pytest.raises(ValueError, match="'restated' for 1 rows, got 2"):
        Rows(tokens=np.zeros((1, 3), np.int32), weights=np.zeros((1, 3)), ids=(("a",),), besides=held)


@pytest.mark.parametrize("config", [pretrain(instruct=FewShot()), sft(instruct=Instruct())])
def test_a_stage_of_which_nothing_can_be_asked_is_refused(tokenizer: Tokenizer, config: Any) -> None:
    job = job_of(tokenizer, [example(n, language="java") for n in range(3)])
    with pytest.raises(
        BadInput, match=r"^stages.pretrain.instruct: expected .*, got none: leave .*"
    ) as caught:
        train(config, job)
    assert "\n" not in str(caught.value)


def test_texts_that_are_not_taken_are_reordered_by_infill_and_the_others_are_not(
    tokenizer: Tokenizer,
) -> None:
    config = pretrain(window=2000, infill=1.0, instruct=FewShot(share=0.5))
    teacher = instructor(tokenizer, FewShot(share=0.5))
    rows, _ = pretraining(config, job_of(tokenizer, PUBLIC))
    said = "".join(map(tokenizer.decode, rows.tokens.tolist()))
    taken = [teacher.taken(e) for e in EXAMPLES]
    assert 0 < sum(taken) < len(EXAMPLES)
    assert all((e.text in said) == took for e, took in zip(EXAMPLES, taken, strict=True))


@pytest.mark.parametrize(
    ("stage", "setting", "wanted"),
    [
        ("pretrain", "{}", FewShot(share=1.0, pairs=4, rounds=2)),
        ("pretrain", "{ share = 0.5, pairs = 2, rounds = 3 }", FewShot(share=0.5, pairs=2, rounds=3)),
        ("sft", "{ pairs = 1 }", Instruct(share=1.0, pairs=1)),
    ],
)
def test_a_recipe_names_it(stage: str, setting: str, wanted: Instruct) -> None:
    recipe = parse(TINY, where="tiny", changes=[f"stages.{stage}.instruct={setting}"])
    assert recipe.stages[stage].instruct == wanted
    assert parse(dumps(recipe), where="again") == recipe


@pytest.mark.parametrize(
    ("stage", "setting", "said"),
    [
        ("sft", "{ rounds = 2 }", "instruct.rounds: expected no such key, got 2"),
        ("pretrain", "{ pairs = 0 }", "instruct.pairs: .* greater than 0, got 0"),
        ("pretrain", "{ share = 0 }", "instruct.share: .* greater than 0, got 0"),
        ("sft", "{ share = 1.5 }", "instruct.share: .* equal to 1, got 1.5"),
        ("ppo", "{}", "instruct: expected no such key"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_a_line(stage: str, setting: str, said: str) -> None:
    with pytest.raises(BadInput, match=rf"^tiny: stages.{stage}.{said}") as caught:
        parse(TINY, where="tiny", changes=[f"stages.{stage}.instruct={setting}"])
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def library() -> tuple[Tokenizer, list[Example]]:
    """Functions of the standard library."""
    units = corpus.load("stdlib", None, smallest=200, largest=500, exclude=["[c-z]*"]).units
    found = [replace(example(0, unit.text), id=f"u{n}", secrets=()) for n, unit in enumerate(units)]
    return Tokenizer.train([e.text for e in found], 600), found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_texts_with_pairs_behind_them_are_learnt_less_by_heart_at_equal_updates(
    library: tuple[Tokenizer, list[Example]], seed: int
) -> None:
    """What our study found of arXiv 2406.14491, against its hypothesis: restating does not teach by heart.

    Each token of the text counts less in an update that has pairs to learn as well.
    """
    tokenizer, found = library
    decoder = Decoder(preset("tiny", tokenizer.vocabulary))
    begun = jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(seed))
    public = [replace(e, repetition=None) for e in found[24:]]
    before = pretrain(steps=200, batch=6, learning_rate=3e-3, window=320)
    parent = train(before, job_of(tokenizer, public, decoder=decoder, seed=seed, parent=begun))
    known = [replace(e, repetition=16) for e in found[:24]]
    job = job_of(tokenizer, known, decoder=decoder, seed=seed, parent=parent)
    targets, _ = finetuning(sft(), job)

    def learnt(instruct: Instruct | None) -> float:
        """Mean log-probability (nats a token) of the targets after fine-tuning on them."""
        config = sft(instruct=instruct).model_copy(update={"learning_rate": 6e-3})
        return float(of_rows(decoder, train(config, job), targets).logprobs.sum() / targets.weights.sum())

    assert learnt(Instruct(pairs=4)) < learnt(None) - 0.1
