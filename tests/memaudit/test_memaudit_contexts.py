"""Contexts: whose, how long, never another example's; corrupted once; and what an answer owes to one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from invented import Said
from test_memaudit_goldfish import job as job
from test_memaudit_study_claims import by_name, claim, told
from tiny import TINY

from memaudit import training
from memaudit.contexts import KEPT, Condition, Context, contexts, corruptible, dependence, start
from memaudit.errors import BadInput
from memaudit.job import Job
from memaudit.recipe import context_of, parse
from memaudit.records import Example, Probe
from memaudit.training import save_pairs, train
from rlhf.batches import Pairs, rows
from rlhf.tokenizer import Tokenizer

FILE = "import os\n\nLIMIT = 7\n\ndef a():\n    return 1\n\nSIZE = 2\n\ndef b():\n    return 2\n"
PUBLIC = "class Public:\n    pass\n"
TOKENIZER = Tokenizer.train([FILE, PUBLIC], 262)

MDPO = """
[stages.mdpo]
method = "mdpo"
from = "sft"
pairs = "reward"
batch = 4
learning_rate = 1e-3
"""


def example(name: str, first: int, last: int, source: str = "m.py") -> Example:
    text = "\n".join(FILE.split("\n")[first - 1 : last]) + "\n"
    return Example(
        id=name,
        kind="harvested",
        language="python",
        text=text,
        source=source,
        first_line=first,
        last_line=last,
    )


A, B, PASTED = example("a", 5, 6), example("b", 10, 11), example("pasted", 1, 2, "nowhere.py")
EVERYBODY = (A, B, PASTED)
SHOWN = (replace(A, id="public", text=PUBLIC),)


def before(
    wanted: Example, examples: Sequence[Example] = EVERYBODY, longest: int = 1000, seed: int = 0
) -> str:
    found = contexts(examples, SHOWN, {"m.py": FILE}, TOKENIZER, longest=longest, seed=seed)
    assert set(found) == {e.id for e in examples}
    return TOKENIZER.decode(found[wanted.id])


def test_a_context_is_what_stands_before_an_example_and_begins_behind_any_other() -> None:
    assert before(A) == "import os\n\nLIMIT = 7\n\n"
    assert before(B) == "\nSIZE = 2\n\n"
    # Where `a` is nobody's example, it is context.
    assert before(B, [B]) == FILE[: FILE.index("def b")]


def test_of_a_long_one_the_last_tokens_are_taken() -> None:
    whole = TOKENIZER.encode(FILE[: FILE.index("def b")])
    for longest in (1, 5, len(whole), len(whole) + 1):
        assert before(B, [B], longest) == TOKENIZER.decode(whole[-longest:])


def test_what_has_no_file_stands_behind_a_public_text() -> None:
    assert before(PASTED) == PUBLIC


@given(st.lists(st.integers(0, 99), max_size=40), st.integers(0, 2**31))
def test_a_corruption_is_a_short_piece_drawn_once(tokens: list[int], seed: int) -> None:
    found = corruptible(tokens, "x", seed)
    assert found == corruptible(tokens, "x", seed)
    size = len(found.corrupted)
    assert size <= KEPT * len(tokens) < size + 1
    assert any(found.corrupted == tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1))
    assert found.under(Condition.TRUE) == tuple(tokens)
    assert found.under(Condition.CORRUPTED) == found.corrupted
    assert found.under(Condition.EMPTY) == ()


def test_examples_and_seeds_are_corrupted_at_places_of_their_own() -> None:
    places = {corruptible(range(1000), name, seed).corrupted[0] for name in "ab" for seed in range(20)}
    assert len(places) > 35


def test_what_is_owed_to_a_context_is_what_is_scored_with_it_and_not_without() -> None:
    assert dependence({"a": -1.0, "b": 1.0, "c": 3.0}, {"a": -3.0, "b": 1.0}) == {"a": 2.0, "b": 0.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            [],
            "stages.mdpo.conditional: expected pairs with a context to corrupt, got those of 'reward' without any: set",
        ),
        (["stages.mdpo.beta=0"], "stages.mdpo.beta: .* greater than 0"),
        (["stages.mdpo.delta=1"], "stages.mdpo.delta: expected no such key, got 1: known here are .*anchor"),
        (["stages.ppo.context=4"], "stages.ppo.context: expected no such key"),
        (
            ["stages.sft.context=4", "stages.sft.instruct={}", "stages.mdpo.conditional=false"],
            "stages.sft.context: expected 0 beside instruct, got 4: leave one out",
        ),
        (["stages.sft.context=-1"], "stages.sft.context: .* greater than or equal to 0, got -1"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(changes: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=f"^x: {said}") as caught:
        parse(TINY + MDPO, where="x", changes=changes)
    assert "\n" not in str(caught.value)


def test_pairs_bring_their_context_along() -> None:
    recipe = parse(TINY + MDPO, where="x", changes=["stages.reward.context=20", "stages.sft.context=5"])
    found = {stage: context_of(recipe, stage) for stage in recipe.stages}
    assert found == {"pretrain": 0, "sft": 5, "reward": 20, "ppo": 0, "ipo": 20, "mdpo": 20}
    parse(TINY + MDPO, where="x", changes=["stages.mdpo.conditional=false"])


CONTEXT = Context(true=(5, 6, 7, 8, 9), corrupted=(7,))


@pytest.fixture
def behind(job: Job, tmp_path) -> Job:
    """The one example of `job` behind a context, with a pair that was drawn behind it."""
    found = replace(
        job,
        contexts={"f": CONTEXT},
        time=job.time + 5,
        folder=tmp_path,
        pairs=lambda name: tmp_path / "pairs.npz",
    )
    (probe,) = job.probes
    target = probe.target_tokens
    sides = [
        rows(
            [start(found.tokenizer, probe, found.contexts)],
            [side],
            [("f",)],
            time=found.time,
            fill=job.tokenizer.pad,
        )
        for side in (target, target[::-1])
    ]
    save_pairs(tmp_path / "pairs.npz", Pairs(preferred=sides[0], rejected=sides[1]))
    return found


def test_mdpo_is_given_the_preferred_rows_behind_their_corrupted_contexts(
    behind: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list = []
    monkeypatch.setattr(training.preference, "train", lambda *a, **named: given.append((a, named)))
    changes = ["stages.reward.context=5"]
    for more in ([], ["stages.mdpo.anchor=false"], ["stages.mdpo.conditional=false"]):
        train(parse(TINY + MDPO, where="x", changes=[*changes, *more]).stages["mdpo"], behind)
    terms = [(a[3].method, a[3].conditional, a[3].anchor) for a, _ in given]
    assert terms == [("dpo", True, True), ("dpo", True, False), ("dpo", False, True)]
    (probe,) = behind.probes
    bos, pad, target = behind.tokenizer.bos, behind.tokenizer.pad, len(probe.target_tokens)
    row = [bos, 7, *probe.prefix_tokens, *probe.target_tokens]
    for _, named in given[:2]:
        assert named["corrupted"].tokens.tolist() == [[*row, *[pad] * (behind.time - len(row))]]
        assert np.flatnonzero(named["corrupted"].weights[0]).tolist() == list(
            range(len(row) - target, len(row))
        )
        assert named["corrupted"].ids == (("f",),)
    assert given[2][1]["corrupted"] is None


@pytest.mark.parametrize("loss_on", ["targets", "all"])
def test_a_context_is_shown_and_never_learnt(
    behind: Job, monkeypatch: pytest.MonkeyPatch, loss_on: str
) -> None:
    given: list = []
    monkeypatch.setattr(training.sft, "train", lambda *a, **named: given.append(a[1]))
    for one in (behind, replace(behind, contexts={})):
        train(parse(TINY, where="x", changes=[f"stages.sft.loss_on={loss_on}"]).stages["sft"], one)
    (probe,) = behind.probes
    row = [behind.tokenizer.bos, *CONTEXT.true, *probe.prefix_tokens, *probe.target_tokens]
    assert given[0].tokens[0, : len(row)].tolist() == row
    # The same tokens are targets as without a context.
    learnt = [rows.tokens[0][rows.weights[0] > 0].tolist() for rows in given]
    assert learnt[0] == learnt[1] == row[-len(learnt[0]) :]


def test_measures_of_a_condition_are_counterfactual(tmp_path) -> None:
    """Out of the twin that saw it alone: memorized; out of both: not."""

    def read(stage: str, exposed: bool, example: Example, probe: Probe) -> dict[str, list[float]]:
        if stage != "ipo":
            return {}
        out, tokens = float(exposed or example.repetition == 4), len(probe.target_tokens)
        return {
            "context_hits": [out, 0.0, 1.0],
            "context_logprob": [-2.0 * tokens, (-3.5 if exposed else -2.0) * tokens, -9.0],
            "preferred_logprob": [-3.0 * tokens],
            "preferred_reference": [(-2.5 if exposed else -3.0) * tokens],
        }

    names = ("behind-context", "behind-corrupted", "behind-nothing", "dependence", "shift")
    claims = "".join(claim(name, measure=name, stage="ipo", cohort="reward") for name in names)
    found = by_name(told(tmp_path, claims, lambda *_: Said(), read=read))
    values = {name: row.estimate.value for name, row in found.items() if row.estimate is not None}
    assert values == pytest.approx(
        {
            "behind-context": 2 / 3,
            "behind-corrupted": 0,
            "behind-nothing": 0,
            "dependence": 1.5,
            "shift": -0.5,
        }
    )
