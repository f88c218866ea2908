"""A recipe says which pairs are labelled; those are learnt from, and the ledger has them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny import TINY, walk

from memaudit import training
from memaudit.acquire import ACQUIRED
from memaudit.errors import BadInput
from memaudit.job import Job
from memaudit.ledger import LEDGER, Ledger
from memaudit.population import Population
from memaudit.recipe import dumps, parse
from memaudit.records import Example, Probe
from memaudit.training import PAIRS, load_pairs, train
from rlhf.batches import Pairs
from rlhf.model import Decoder, initialise
from rlhf.presets import preset
from rlhf.reward import RewardModel
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

BALPM = "{ by = 'balpm', labels = 4, round = 2, draws = 3, neighbour = 3, hidden = 8, updates = 20 }"
TEXTS = [f"def f{i}(x):\n    return x + {i}\n" for i in range(4)]


@pytest.fixture(scope="module")
def job() -> Job:
    """Four examples, of which the last is shown three times and the others once."""
    tokenizer = Tokenizer.train(TEXTS, 262)
    decoder = Decoder(preset("tiny", tokenizer.vocabulary))
    examples, probes = [], []
    for number, text in enumerate(TEXTS):
        tokens = tuple(tokenizer.encode(text))
        examples.append(
            Example(
                id=f"f{number}",
                kind="harvested",
                language="python",
                text=text,
                source="f.py",
                first_line=1,
                last_line=2,
                repetition=3 if number == 3 else 1,
            )
        )
        probes.append(
            Probe(
                id=number + 1,
                example_id=f"f{number}",
                kind="prefix",
                prefix=text[:9],
                target=text[9:],
                prefix_tokens=tokens[:9],
                target_tokens=tokens[9:],
            )
        )
    return Job(
        stage=Stage(name="reward"),
        decoder=decoder,
        tokenizer=tokenizer,
        parent=jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(0)),
        seed=7,
        examples=examples,
        population=Population(tokenizer=tokenizer, public=(), examples=tuple(examples), probes=tuple(probes)),
        probes=probes,
        contexts={},
        time=1 + max(len(tokenizer.encode(text)) for text in TEXTS),
        folder=Path(),
        scorer=lambda name: {},
        pairs=lambda name: Path(),
        model=lambda name: {},
    )


def test_a_reward_stage_learns_from_the_chosen_pairs_alone_and_keeps_which_they_were(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def trained(params: Any, pairs: Pairs, order: np.ndarray, *_: Any, **__: Any) -> RewardModel:
        given.append((pairs, order))
        return RewardModel(job.decoder, {"model": params, "head": {}, "scale": {}})

    monkeypatch.setattr(training.reward, "train", trained)
    recipe = parse(TINY, where="tiny", changes=[f"stages.reward.acquire={BALPM}", "cohorts.strata={ 1 = 4 }"])
    train(recipe.stages["reward"], replace(job, folder=tmp_path))
    (pairs, order), kept = given[0], load_pairs(tmp_path / PAIRS)
    np.testing.assert_array_equal(pairs.rejected.tokens, kept.rejected.tokens)
    names = [row[0] for row in pairs.preferred.ids]
    with np.load(tmp_path / ACQUIRED) as how:
        assert how["ids"].tolist() == [f"f{n}" for n in range(4) for _ in range(3)]
        assert how["rounds"].tolist() == [0, 0, 1, 1]
        assert names == how["ids"][how["pairs"]].tolist()
        # The pairs of one prompt have the same features to the bit, and no two prompts have.
        assert len(np.unique(how["prompts"], axis=0)) == 4
    shown = Counter(names[place] for place in order[order >= 0])
    assert shown == {name: count * (3 if name == "f3" else 1) for name, count in Counter(names).items()}


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("{ by = 'random', labels = 3, round = 1 }", "RandomAcquisition"),
        ("{ by = 'bald', labels = 3, round = 1, heads = 2 }", "Bald"),
        ("{ by = 'powerbald', labels = 3, round = 1, power = 4.0 }", "PowerBald"),
        (BALPM, "BalPm"),
    ],
)
def test_a_recipe_names_each_rule_and_reads_back_as_itself(setting: str, rule: str) -> None:
    recipe = parse(TINY, where="tiny", changes=[f"stages.reward.acquire={setting}"])
    assert type(recipe.stages["reward"].acquire).__name__ == rule  # pyright: ignore[reportAttributeAccessIssue]
    assert parse(dumps(recipe), where="again") == recipe


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("{ by = 'random', labels = 5, round = 1 }", "labels: expected at most 4, .* draws = 1, got 5"),
        ("{ by = 'random', labels = 13, round = 1, draws = 3 }", "labels: expected at most 12"),
        ("{ by = 'random', labels = 3, round = 4 }", "round: expected at most labels = 3, got 4"),
        (
            "{ by = 'balpm', labels = 4, round = 2, draws = 3, neighbour = 2 }",
            "neighbour: expected at least draws = 3, .* got 2",
        ),
        (
            "{ by = 'balpm', labels = 6, round = 2, draws = 3, neighbour = 8 }",
            "neighbour: expected less than the 8 pairs .* before the last round, got 8",
        ),
        (
            "{ by = 'random', labels = 3, round = 1, heads = 5 }",
            "heads: expected no such key, got 5: known here are",
        ),
        ("{ by = 'bald', labels = 3, round = 1, heads = 1 }", "heads: .* equal to 2, got 1"),
        ("{ by = 'entropy', labels = 3, round = 1 }", "acquire: .*'entropy'"),
        ("{ labels = 3, round = 1 }", "by: expected one of random, bald, powerbald, balpm, got none"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_a_line(setting: str, said: str) -> None:
    with pytest.raises(BadInput, match=rf"^tiny: stages.reward.(acquire\.)?{said}") as caught:
        parse(TINY, where="tiny", changes=[f"stages.reward.acquire={setting}"])
    assert "\n" not in str(caught.value)


def test_a_cohort_that_is_made_otherwise_is_counted_as_it_is_made() -> None:
    changes = ["stages.reward.acquire={ by = 'random', labels = 7, round = 1 }"]
    parse(TINY, where="tiny", changes=[*changes, "cohorts.of.reward.strata={ 1 = 7 }"])
    with pytest.raises(BadInput, match="labels: expected at most 6, "):
        parse(TINY, where="tiny", changes=[*changes, "cohorts.of.reward.strata={ 1 = 6 }"])


def test_the_last_round_may_leave_just_more_than_the_neighbours() -> None:
    setting = "{ by = 'balpm', labels = 6, round = 2, draws = 3, neighbour = 7 }"
    parse(TINY, where="tiny", changes=[f"stages.reward.acquire={setting}"])


@pytest.mark.slow
def test_a_run_says_of_each_pair_whether_it_was_chosen(tmp_path: Path) -> None:
    """In the ledger: what was shown, by the reward stage and by who learns from its pairs, and in which round."""
    walked = walk(tmp_path / "run", f"stages.reward.acquire={BALPM}")
    with Ledger(walked.folder / LEDGER) as ledger:
        halves = {e.id: e.half for e in ledger.examples()}
        repetitions = {e.id: e.repetition or 0 for e in ledger.examples()}
        walks = ledger.walks()
        for twin in ("A", "B"):
            record = walks[twin, "reward"]
            rounds = ledger.answers.readings(record.id, "acquired")
            rewards = ledger.answers.readings(record.id, "preferred_reward")
            assert sorted(n for values in rounds.values() for n in values) == [0, 0, 1, 1]
            assert {halves[name] for name in rounds} == {twin}
            assert {name for name in rewards if halves[name] == twin} == set(rounds)
            assert {name: len(values) for name, values in rewards.items() if halves[name] == twin} == {
                name: len(values) for name, values in rounds.items()
            }
            for stage in ("reward", "ipo"):
                shown = {name: n for name, t, s, role, n, *_ in ledger.shown() if (t, s) == (twin, stage)}
                assert shown == {name: len(v) * repetitions[name] for name, v in rounds.items()}
                steps = walks[twin, stage].steps
                assert steps == -(-sum(shown.values()) // 4)
                assert [step for step, _ in ledger.updates(walks[twin, stage].id)] == list(range(steps))
            assert len(ledger.answers.readings(walks[twin, "ipo"].id, "preferred_logprob")) == 4 + len(rounds)
