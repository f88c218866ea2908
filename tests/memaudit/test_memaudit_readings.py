"""What is read off checkpoints besides answers: whose, how much of it, and that it is what it says."""

import sqlite3
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Walked

from memaudit.ledger import LEDGER, Ledger
from memaudit.readings import UNSEEN
from memaudit.stages import Result, seed_of
from memaudit.training import PAIRS, load_pairs
from rlhf.batches import Prompts, pad
from rlhf.likelihood import of_targets
from rlhf.model import Decoder, hidden_states
from rlhf.presets import preset
from rlhf.reward import RewardModel, sample_pairs
from rlhf.tokenizer import Tokenizer

COUNTS = {
    "filling_loss": 12 * 4,
    "filling_reward": 4 * 4,
    "preferred_reward": 8,
    "rejected_reward": 8,
    "preferred_logprob": 8,
    "rejected_logprob": 8,
    "preferred_reference": 8,
    "rejected_reference": 8,
    "answer_reward": 4,
    "nearest": 8 * 3,
}
AFTER = {
    "pretrain": ["filling_loss"],
    "sft": ["filling_loss"],
    "reward": ["filling_loss", "filling_reward", "preferred_reward", "rejected_reward", "answer_reward"],
    "ppo": ["filling_loss", "answer_reward", "nearest"],
    "ipo": [
        "answer_reward",
        "filling_loss",
        "preferred_logprob",
        "preferred_reference",
        "rejected_logprob",
        "rejected_reference",
    ],
}


def test_each_stage_leaves_the_readings_of_its_kind_for_both_halves(walked: Walked) -> None:
    with Ledger(walked.folder / LEDGER) as ledger:
        walks = ledger.walks()
        halves = {e.id: (e.cohort, e.half) for e in ledger.examples()}
    db = sqlite3.connect(walked.folder / LEDGER)
    for (twin, stage), record in walks.items():
        found = db.execute(
            "SELECT r.quantity, r.example_id FROM readings r JOIN checkpoints c ON c.id = r.checkpoint_id "
            "WHERE c.stage_id = ?",
            (record.id,),
        ).fetchall()
        counts = Counter(quantity for quantity, _ in found)
        assert counts == {quantity: COUNTS[quantity] for quantity in AFTER[stage]}
        for quantity in AFTER[stage]:
            whose = Counter(halves[name] for q, name in found if q == quantity)
            cohorts = {cohort for cohort, _ in whose}
            if quantity == "answer_reward":
                assert whose == {("reward", "B" if twin == "A" else "A"): 4}
                continue
            assert all(whose[cohort, "A"] == whose[cohort, "B"] for cohort in cohorts)
            if quantity != "filling_loss":
                assert cohorts == {"ppo" if stage == "ppo" else "reward"}
    db.close()


@pytest.fixture(scope="module")
def decoder(walked: Walked) -> Decoder:
    return Decoder(preset(walked.recipe.model.preset, walked.recipe.tokenizer.vocabulary))


def _result(walked: Walked, stage: str, twin: str = "A") -> Result:
    with Ledger(walked.folder / LEDGER) as ledger:
        record = ledger.walks()[twin, stage]
    return Result(folder=walked.folder / "stages" / record.id, scalar=stage == "reward")


def _read(walked: Walked, stage: str, quantity: str) -> dict[str, list[float]]:
    with Ledger(walked.folder / LEDGER) as ledger:
        return ledger.answers.readings(ledger.walks()["A", stage].id, quantity)


def test_rewards_are_those_of_the_stages_scorer(walked: Walked, decoder: Decoder) -> None:
    result = _result(walked, "reward")
    scorer = RewardModel(decoder, result.params(decoder))
    for name in (PAIRS, UNSEEN):
        pairs = load_pairs(result.folder / name)
        for quantity, shown in (("preferred_reward", pairs.preferred), ("rejected_reward", pairs.rejected)):
            known = scorer(shown.tokens, shown.weights)
            found = _read(walked, "reward", quantity)
            for (example,), value in zip(shown.ids, known, strict=True):
                assert found[example] == pytest.approx([value], abs=1e-5)


def test_a_pair_that_was_not_shown_is_made_by_the_rule_of_those_that_were(walked: Walked) -> None:
    own, unseen = (load_pairs(_result(walked, "reward").folder / name) for name in (PAIRS, UNSEEN))
    with Ledger(walked.folder / LEDGER) as ledger:
        halves = {e.id: e.half for e in ledger.examples()}
    assert {halves[row[0]] for row in own.preferred.ids} == {"A"}
    assert {halves[row[0]] for row in unseen.preferred.ids} == {"B"}
    for pairs in (own, unseen):
        assert (pairs.preferred.weights == pairs.rejected.weights).all()
        prompt = pairs.preferred.weights == 0
        assert (pairs.preferred.tokens[prompt] == pairs.rejected.tokens[prompt]).mean() > 0.99
        assert (pairs.preferred.tokens != pairs.rejected.tokens).any()


@pytest.mark.parametrize(("stage", "policy"), [("reward", "sft"), ("ppo", "ppo"), ("ipo", "ipo")])
def test_the_task_reward_is_the_reward_models_score_of_what_the_policy_answers(
    walked: Walked, decoder: Decoder, stage: str, policy: str
) -> None:
    with Ledger(walked.folder / LEDGER) as ledger:
        examples = {e.id: e for e in ledger.examples()}
        probes = [p for p in ledger.probes() if examples[p.example_id].cohort == "reward"]
        probes = [p for p in probes if examples[p.example_id].half == "B"]
        longest = max(len(p.prefix_tokens) + len(p.target_tokens) for p in ledger.probes())
    prompts = [[Tokenizer.bos, *p.prefix_tokens] for p in probes]
    tokens, lengths = pad(prompts, max(map(len, prompts)), Tokenizer.pad)
    pairs = sample_pairs(
        _result(walked, policy).params(decoder),
        Prompts(tokens=tokens, lengths=lengths, ids=tuple((p.example_id,) for p in probes)),
        [p.target_tokens for p in probes],
        decoder=decoder,
        key=jax.random.key(seed_of(walked.recipe, "answers")),
        time=1 + longest,
        pad=Tokenizer.pad,
    )
    scorer = RewardModel(decoder, _result(walked, "reward").params(decoder))
    scores = np.asarray(scorer(pairs.rejected.tokens, pairs.rejected.weights))
    found = _read(walked, stage, "answer_reward")
    assert [found[p.example_id] for p in probes] == [[pytest.approx(float(s), abs=1e-4)] for s in scores]


@pytest.mark.parametrize(("quantity", "stage"), [("logprob", "ipo"), ("reference", "sft")])
def test_likelihoods_of_pairs_are_those_of_the_policy_and_of_its_parent(
    walked: Walked, decoder: Decoder, quantity: str, stage: str
) -> None:
    params = _result(walked, stage).language_model(decoder)
    pairs = load_pairs(_result(walked, "reward").folder / UNSEEN)
    for side, shown in (("preferred", pairs.preferred), ("rejected", pairs.rejected)):
        found = _read(walked, "ipo", f"{side}_{quantity}")
        tokens = jnp.asarray(shown.tokens)
        likely = of_targets(decoder, params, hidden_states(decoder, params, tokens[:, :-1]), tokens[:, 1:])
        sums = np.sum(np.asarray(likely.logprobs) * shown.weights[:, 1:], axis=1)
        for (example,), value in zip(shown.ids, sums, strict=True):
            assert found[example] == pytest.approx([value], abs=1e-3)


def test_a_secret_that_was_not_shown_is_no_likelier_than_other_fillings(walked: Walked) -> None:
    losses = _read(walked, "pretrain", "filling_loss")
    assert all(len(set(values)) == len(values) == 4 for values in losses.values())
    ranks = [sorted(values).index(values[0]) for values in losses.values()]
    # Of four that are alike each rank is as likely; all twelve first has a chance of one in sixteen million.
    assert len(set(ranks)) > 1
