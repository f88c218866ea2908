"""PPO against the last release of TRL that had it (1.12): same weights, same answers, same numbers.

TRL's trainer itself runs, its `generate` replaced by answers that both sides are given. It differs in two places on
purpose, and the tests name both:

- It divides by n - 1 in whitening; its `masked_var` is told to divide by n here.
- It places the score at the first pad behind an answer that ends early, one step later than we do. Where all answers
  have full length there is no such place, and whole runs are compared, weights and all. Where they end early, every
  stage is compared with the score moved to where TRL has it.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rlhf import huggingface, ppo, rollout, shaping
from rlhf.batches import Prompts, pad
from rlhf.events import Hook, RolledOut, Updated
from rlhf.generate import Generation
from rlhf.model import Decoder, Params
from rlhf.onpolicy import Passes
from rlhf.optimiser import Optimiser
from rlhf.reward import RewardModel, unit_scale
from rlhf.rollout import Sampling
from rlhf.stage import Stage

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

VOCABULARY, WIDTH, ROWS, PROMPT, RESPONSE, PAD, EOS = 300, 32, 8, 6, 8, 0, 2
TEMPERATURE, KL, RATE, EPOCHS, ITERATIONS, PENALTY = 0.7, 0.3, 1e-3, 2, 2, 1.0
TOLERANCE = 1e-4


class Peer:
    """TRL's trainer over random models, their parameters as ours, and what the trainer logged."""

    def __init__(self, folder: Path, answers: np.ndarray, **settings: Any) -> None:
        datasets, tokenizers = pytest.importorskip("datasets"), pytest.importorskip("tokenizers")
        torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
        module = pytest.importorskip("trl.experimental.ppo.ppo_trainer")
        self.module, self.torch = module, torch
        self.answers = answers
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=64,
            tie_word_embeddings=True,
            max_position_embeddings=64,
            pad_token_id=PAD,
            eos_token_id=EOS,
            bos_token_id=1,
            num_labels=1,
            initializer_range=0.3,
        )
        self.policy, reference = (transformers.LlamaForCausalLM(config) for _ in range(2))
        value, scorer = (transformers.LlamaForSequenceClassification(config) for _ in range(2))
        score = torch.nn.Linear(WIDTH, 1)  # ours has a bias, and learns it
        torch.nn.init.zeros_(score.bias)
        value.score = score
        self.params = self._ours(self.policy, folder / "policy")
        self.reference = self._ours(reference, folder / "reference")
        self.critic = {"model": self._trunk(value, config, folder / "value"), "head": self._head(value)}
        self.scorer = {"model": self._trunk(scorer, config, folder / "scorer"), "head": self._head(scorer)}
        self.decoder = Decoder(huggingface.read(folder / "policy")[0])

        draw = np.random.default_rng(1)
        self.prompts = [draw.integers(3, VOCABULARY, 2 + row % (PROMPT - 1)).tolist() for row in range(ROWS)]
        words = tokenizers.Tokenizer(tokenizers.models.WordLevel({str(i): i for i in range(VOCABULARY)}, "0"))
        self.logged: list[dict[str, float]] = []
        self.whitened: list[tuple[np.ndarray, np.ndarray]] = []
        self.seen: list[int] = []
        arguments = module.PPOConfig(
            output_dir=str(folder / "out"),
            per_device_train_batch_size=ROWS,
            local_rollout_forward_batch_size=ROWS,
            num_mini_batches=1,
            num_ppo_epochs=EPOCHS,
            total_episodes=ROWS * ITERATIONS,
            response_length=RESPONSE,
            temperature=TEMPERATURE,
            kl_coef=KL,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            adam_epsilon=ppo.ADAM.epsilon,
            num_sample_generations=0,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **settings,
        )
        self.trainer = module.PPOTrainer(
            args=arguments,
            processing_class=transformers.PreTrainedTokenizerFast(
                tokenizer_object=words, pad_token=str(PAD), eos_token=str(EOS), padding_side="left"
            ),
            model=self.policy,
            ref_model=reference,
            reward_model=scorer,
            value_model=value,
            train_dataset=datasets.Dataset.from_dict({"input_ids": self.prompts}),
            eval_dataset=datasets.Dataset.from_dict({"input_ids": [[3]]}),
        )
        self.trainer.log = lambda metrics, *_: self.logged.append(dict(metrics))

    def _ours(self, model: Any, folder: Path) -> Params:
        model.save_pretrained(folder)
        return huggingface.read(folder)[1]

    def _trunk(self, model: Any, config: Any, folder: Path) -> Params:
        import transformers  # pyright: ignore[reportMissingImports]

        whole = transformers.LlamaForCausalLM(config)
        whole.model.load_state_dict(model.model.state_dict())
        return self._ours(whole, folder)

    def _head(self, model: Any) -> dict[str, Any]:
        bias = 0.0 if model.score.bias is None else float(model.score.bias)
        return {"kernel": model.score.weight.detach().numpy()[0].copy(), "bias": np.float32(bias)}

    def after(self, folder: Path) -> Params:
        """The policy as it is now, in our form."""
        return self._ours(self.policy, folder)

    @contextmanager
    def _replaced(self) -> Iterator[None]:
        """The given answers in place of sampled ones, the population's variance, and an ear at the whitening."""
        torch, module = self.torch, self.module
        rows = {tuple(prompt): row for row, prompt in enumerate(self.prompts)}
        variance, whiten = module.masked_var, module.masked_whiten
        calls = iter(self.answers)

        def answer(model: Any, queries: Any, *_: Any) -> tuple[Any, Any]:
            self.seen = [rows[tuple(t for t in query if t != PAD)] for query in queries.tolist()]
            both = torch.cat([queries, torch.tensor(next(calls)[self.seen], dtype=queries.dtype)], 1)
            logits = module.forward(model, both, PAD).logits[:, queries.shape[1] - 1 : -1]
            return both, logits / (TEMPERATURE + 1e-7)

        def listen(values: Any, mask: Any, **keywords: Any) -> Any:
            back = np.argsort(self.seen)
            self.whitened.append((values.numpy()[back], mask.numpy()[back]))
            return whiten(values, mask, **keywords)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "batch_generation", answer)
            patch.setattr(module, "masked_var", lambda values, mask: variance(values, mask, unbiased=False))
            patch.setattr(module, "masked_whiten", listen)
            yield

    def train(self) -> None:
        """Run the trainer."""
        with self._replaced():
            self.trainer.train()


class Told(Hook):
    def __init__(self) -> None:
        self.updates: list[dict[str, float]] = []
        self.rollouts: list[RolledOut] = []

    def on_update(self, event: Updated) -> None:
        self.updates.append(dict(event.metrics))

    def on_rollout(self, event: RolledOut) -> None:
        self.rollouts.append(event)


def ours(peer: Peer, **changes: Any) -> tuple[Params, Told]:
    """The same with our own loop; `generate` hands out the given answers."""
    told, calls = Told(), iter(peer.answers)
    tokens, lengths = pad(peer.prompts, PROMPT, PAD)
    config = ppo.PPOConfig(
        sampling=Sampling(response=RESPONSE, temperature=TEMPERATURE),
        optimiser=Optimiser(learning_rate=RATE, schedule="constant", adam=replace(ppo.ADAM, clip=None)),
        passes=Passes(epochs=EPOCHS),
        kl_coefficient=KL,
        critic="model",
        **changes,
    )

    def answer(*_: Any, **__: Any) -> Generation:
        found = next(calls)
        ends = found == EOS
        counted = np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, RESPONSE).astype(np.int32)
        zeros = np.zeros(found.shape, np.float32)
        return Generation(found, zeros, counted, np.int32(RESPONSE))  # pyright: ignore[reportArgumentType]

    reward = RewardModel(peer.decoder, {**peer.scorer, "scale": unit_scale()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "generate", answer)
        # Ours starts at the reference; theirs was given another one, so that there is a KL from the first step on.
        patch.setattr(ppo, "follow", _with_reference(peer.reference))
        found = ppo.train(
            peer.params,
            Prompts(tokens=tokens, lengths=lengths, ids=tuple((str(row),) for row in range(ROWS))),
            np.tile(np.arange(ROWS), (ITERATIONS, 1)),
            reward,
            config,
            decoder=peer.decoder,
            key=jax.random.key(0),
            eos=EOS,
            pad=PAD,
            stage=Stage(name="ppo", hooks=[told]),
            critic=peer.critic,
        )
    return found, told


def _with_reference(reference: Params) -> Callable[..., Any]:
    """`follow` against a reference that is not the parent."""
    follow, look = ppo.follow, rollout._look

    def followed(*arguments: Any, **keywords: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                rollout, "_look", lambda parts, _, *rest, **keys: look(parts, reference, *rest, **keys)
            )
            return follow(*arguments, **keywords)

    return followed


SAME = (
    *(f"objective/{name}" for name in ("kl", "entropy", "non_score_reward", "rlhf_reward", "scores")),
    *(f"policy/{name}" for name in ("approxkl_avg", "clipfrac_avg", "entropy_avg")),
    *("loss/policy_avg", "loss/value_avg", "val/clipfrac_avg", "val/ratio", "val/ratio_var"),
)
"""Metrics that mean the same under the same name."""


def apart(ours: float, theirs: float) -> float:
    """Relative to the number's size, or to 1 where that is greater."""
    return abs(ours - theirs) / max(1.0, abs(theirs))


def full_answers() -> np.ndarray:
    return np.random.default_rng(2).integers(3, VOCABULARY, (ITERATIONS, ROWS, RESPONSE)).astype(np.int32)


def ending_answers() -> np.ndarray:
    """Ends at every place, the first and the last among them, and two answers without one."""
    answers = full_answers()
    for row in range(ROWS - 1):
        answers[:, row, row + 1 if row else 0] = EOS
        answers[:, row, (row + 1 if row else 0) + 1 :] = PAD
    answers[:, 6, RESPONSE - 1] = EOS
    return answers


def compare(folder: Path) -> Iterator[tuple[str, float, float]]:
    """Two iterations of two epochs, whole: every metric, and how far apart the weights end."""
    peer = Peer(folder, full_answers())
    policy, told = ours(peer)
    peer.train()
    assert len(peer.logged) == len(told.updates) == ITERATIONS
    for step, (mine, their) in enumerate(zip(told.updates, peer.logged, strict=True)):
        for name in SAME:
            yield f"{name}, iteration {step}", mine[name], their[name]
    after = peer.after(folder / "after")
    moved = max(float(np.abs(a - b).max()) for a, b in _leaves(peer.params, after))
    assert moved > 2 * RATE
    worst = max(float(np.abs(a - b).max()) for a, b in _leaves(policy, after))
    yield "weights, largest difference", worst, 0.0


def _leaves(left: Any, right: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        yield np.asarray(a), np.asarray(b)


def test_whole_runs_give_the_numbers_of_trl(tmp_path: Path) -> None:
    worst = 0.0
    for name, mine, their in compare(tmp_path):
        assert apart(mine, their) < TOLERANCE, (name, mine, their)
        worst = max(worst, apart(mine, their))
    assert worst > 0  # they are two computations


@pytest.mark.parametrize("whiten_rewards", [False, True])
def test_answers_that_end_early_stage_by_stage(whiten_rewards: bool, tmp_path: Path) -> None:
    """Logarithms of probabilities, KL, penalty; then, with the score where TRL has it, rewards and advantages."""
    peer = Peer(
        tmp_path,
        ending_answers(),
        stop_token="eos",
        missing_eos_penalty=PENALTY,
        whiten_rewards=whiten_rewards,
    )
    _, told = ours(peer, missing_eos_penalty=PENALTY, whiten_rewards=whiten_rewards)
    peer.train()
    first, said = peer.logged[0], told.rollouts[0]
    assert sorted(set(said.lengths.tolist())) == [1, 3, 4, 5, 6, 7, 8]
    assert told.updates[0]["val/eos_rate"] == 7 / 8
    for name in ("kl", "entropy", "non_score_reward", "rlhf_reward"):
        assert apart(told.updates[0][f"objective/{name}"], first[f"objective/{name}"]) < TOLERANCE, name
    # TRL reports scores after the penalty, we as the reward gave them.
    assert apart(told.updates[0]["objective/scores"] - PENALTY / 8, first["objective/scores"]) < TOLERANCE

    mask = shaping.response_mask(said.lengths, RESPONSE)
    later = shaping.response_mask(np.minimum(said.lengths + 1, RESPONSE), RESPONSE)
    ended = (said.tokens[np.arange(ROWS), said.lengths - 1] == EOS)[:, None][:, 0]
    scores = shaping.judged(said.scores, ended, missing_penalty=PENALTY)
    kl = shaping.kl_estimate(said.logprobs, said.reference)
    values = _values_with_the_step_behind(peer, said)
    rewards = shaping.shaped_rewards(scores, kl, later, KL)
    if whiten_rewards:
        before, over = peer.whitened.pop(0)
        np.testing.assert_allclose(before * over, rewards, atol=TOLERANCE, rtol=TOLERANCE)
        np.testing.assert_array_equal(over, np.asarray(later) > 0)
        rewards = shaping.whiten(rewards, later, keep_mean=True)
    advantages, _ = shaping.advantages_and_returns(rewards, values, later, discount=1.0, smoothing=0.95)
    theirs, over = peer.whitened.pop(0)
    np.testing.assert_array_equal(over, np.asarray(mask) > 0)
    np.testing.assert_allclose(theirs * over, advantages * mask, atol=TOLERANCE, rtol=TOLERANCE)

    # What the moved score is worth: without values, lambda times the score, where ours is the score.
    zero = np.zeros_like(values)
    moved, placed = (
        shaping.advantages_and_returns(
            shaping.shaped_rewards(scores, zero, m, KL), zero, m, discount=1.0, smoothing=0.95
        )[0]
        for m in (later, mask)
    )
    row = int(np.flatnonzero(said.lengths == 3)[0])
    assert float(moved[row, 2]) == pytest.approx(0.95 * float(scores[row]), rel=1e-5)
    assert float(placed[row, 2]) == pytest.approx(float(scores[row]), rel=1e-6)


def _values_with_the_step_behind(peer: Peer, said: RolledOut) -> np.ndarray:
    """The critic at one position more than the answers have, where TRL has a value too."""
    tokens, starts = pad(peer.prompts, PROMPT, PAD)
    joined = rollout.join(tokens, starts, said.tokens, PAD)  # pyright: ignore[reportArgumentType]
    parts = {"critic": peer.critic["model"], "head": peer.critic["head"]}
    unused = np.zeros((ROWS, RESPONSE, WIDTH), np.float32)
    return np.asarray(rollout.critic_values(peer.decoder, parts, joined, starts, unused))  # pyright: ignore


def main() -> None:
    """Print the table of the comparison of whole runs."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for name, mine, their in compare(Path(folder)):
            print(f"{name:40} {mine:12.6f} {their:12.6f} {apart(mine, their):9.1e}")


if __name__ == "__main__":
    main()
