"""GRPO and RLOO against TRL's trainers: same weights, same answers, same scores; same advantages, losses and gradients.

Run as a script it prints the table.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from test_rlhf_peers_preference import Row, ours, sharpened, tokenizer

from rlhf import huggingface, likelihood
from rlhf.batches import pad
from rlhf.group import GRPOConfig, RLOOConfig, _Group
from rlhf.model import Decoder, Params
from rlhf.onpolicy import Lesson
from rlhf.optimiser import Optimiser
from rlhf.presets import preset
from rlhf.rollout import Rollout, Sampling, response_hidden

VOCABULARY, PAD, BOS, EOS = 300, 0, 1, 2
SIZE, GROUPS, PROMPT, RESPONSE = 4, 3, 6, 9
TEMPERATURE, LOW, HIGH = 0.7, 0.1, 0.3
TOLERANCE = 1e-4

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What both sides are given."""

    folder: Path
    decoder: Decoder
    models: dict[str, Params]
    """The policy as it is now, the `old` one that answered, and the reference."""
    prompts: list[list[int]]
    answers: list[list[int]]
    scores: list[float]

    def rollout(self) -> Rollout:
        """As our own sampling would have left it."""
        texts = [[*p, *a] for p, a in zip(self.prompts, self.answers, strict=True)]
        tokens, _ = pad(texts, PROMPT + RESPONSE, PAD)
        starts, lengths = (np.array([len(x) for x in xs], np.int32) for xs in (self.prompts, self.answers))
        mask = (np.arange(RESPONSE) < lengths[:, None]).astype(np.float32)

        @jax.jit
        def logprobs(params: Params) -> Any:
            hidden, said = response_hidden(self.decoder, params, tokens, starts, RESPONSE)  # pyright: ignore
            return likelihood.of_targets(self.decoder, params, hidden, said, TEMPERATURE).logprobs * mask

        return Rollout(
            tokens=tokens,  # pyright: ignore[reportArgumentType]
            starts=starts,  # pyright: ignore[reportArgumentType]
            lengths=lengths,  # pyright: ignore[reportArgumentType]
            logprobs=logprobs(self.models["old"]),
            sampled_logprobs=logprobs(self.models["old"]),
            reference=logprobs(self.models["reference"]),
            values=np.zeros_like(mask),  # pyright: ignore[reportArgumentType]
            scores=np.array(self.scores, np.float32),  # pyright: ignore[reportArgumentType]
        )


def make_case(folder: Path) -> Case:
    """Random weights, written for transformers, and random answers, some of which fill their room without an end."""
    decoder, rng = Decoder(preset("tiny", VOCABULARY)), np.random.default_rng(0)
    policy = sharpened(decoder, 1)
    models = {"policy": policy}
    for name, seed, share in (("old", 2, 0.02), ("reference", 3, 0.05)):
        other = sharpened(decoder, seed)
        models[name] = jax.tree.map(lambda p, o, s=share: p + np.float32(s) * (o - p), policy, other)
    for name, params in models.items():
        huggingface.write(folder / name, decoder.config, params)
    lengths = [1, RESPONSE, *rng.integers(1, RESPONSE + 1, GROUPS * SIZE - 2)]
    asked = [[BOS, *rng.integers(3, VOCABULARY, int(n)).tolist()] for n in rng.integers(0, PROMPT, GROUPS)]
    return Case(
        folder=folder,
        decoder=decoder,
        models=models,
        prompts=[prompt for prompt in asked for _ in range(SIZE)],
        answers=[
            [*rng.integers(3, VOCABULARY, int(n) - 1).tolist(), EOS if n < RESPONSE else 5] for n in lengths
        ],
        scores=[*[0.1] * SIZE, *rng.normal(0, 2, (GROUPS - 1) * SIZE).tolist()],
    )


def learnt(config: GRPOConfig | RLOOConfig, case: Case) -> tuple[Lesson, dict[str, float]]:
    """Our advantages, loss and gradient."""
    method = _Group(config, case.decoder, EOS)
    lesson = method.lesson(case.rollout(), np.float32(config.kl_coefficient))  # pyright: ignore
    return lesson, ours(method.loss, {"policy": case.models["policy"]}, jax.device_get(lesson.batch))


def theirs(trainer: Any, made: tuple[Any, ...], case: Case) -> tuple[np.ndarray, dict[str, float]]:
    """TRL's advantages, of the answers given, and what it makes of them once the policy has moved on.

    `made` is what its sampling would have returned.
    """
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

    def weights(name: str) -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(case.folder / name).state_dict()

    trainer._generate = lambda prompts: made
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    if trainer.ref_model is not None:
        trainer.ref_model.load_state_dict(weights("reference"))
    trainer.model.load_state_dict(weights("old"))
    inputs = trainer._generate_and_score_completions([{"prompt": "w3"}] * len(case.answers))
    if "old_logps" not in inputs:
        tokens = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        with torch.no_grad():
            inputs["old_per_token_logps"], *_ = trainer._get_per_token_logps_and_entropies(
                trainer.model, tokens, mask, inputs["completion_ids"].shape[1]
            )
    trainer.model.load_state_dict(weights("policy"))
    trainer.model.zero_grad()
    trainer._metrics["train"].clear()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    squares = sum(
        float((p.grad.double() ** 2).sum()) for p in trainer.model.parameters() if p.grad is not None
    )
    told = trainer._metrics["train"]
    return inputs["advantages"].numpy(), {
        "loss": float(loss),
        "grad_norm": squares**0.5,
        "policy/clipfrac_avg": told["clip_ratio/region_mean"][0],
        "policy/entropy_avg": told["entropy"][0],
    }


def _trainer(make: Any, arguments: Any, case: Case, **options: Any) -> Any:
    datasets, transformers = pytest.importorskip("datasets"), pytest.importorskip("transformers")
    return make(
        model=transformers.AutoModelForCausalLM.from_pretrained(case.folder / "old"),
        reward_funcs=lambda completions, **rest: case.scores,
        args=arguments(
            output_dir=str(case.folder / "out"),
            per_device_train_batch_size=GROUPS * SIZE,
            num_generations=SIZE,
            max_completion_length=RESPONSE,
            temperature=TEMPERATURE,
            epsilon=LOW,
            epsilon_high=HIGH,
            report_to="none",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            **options,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": "w3"}] * GROUPS * SIZE),
        processing_class=tokenizer(),
    )


def _rows(name: str, case: Case, config: Any, trainer: Any, made: tuple[Any, ...]) -> Iterator[Row]:
    lesson, found = learnt(config, case)
    advantages, wanted = theirs(trainer, made, case)
    mine = np.asarray(lesson.batch["advantages"])
    worst = int(np.abs(mine - advantages).argmax())
    yield Row(loss=name, metric="worst advantage", ours=float(mine[worst]), theirs=float(advantages[worst]))
    for metric, value in wanted.items():
        yield Row(loss=name, metric=metric, ours=found[metric], theirs=value)


COMMON: dict[str, Any] = {
    "optimiser": Optimiser(learning_rate=1e-3),
    "sampling": Sampling(response=RESPONSE, temperature=TEMPERATURE),
    "size": SIZE,
    "clip_low": LOW,
    "clip_high": HIGH,
}


def grpo_rows(case: Case) -> Iterator[Row]:
    """`GRPOTrainer` in the losses that it shares with us; of a single update its `bnpo` is its `dapo`."""
    trl = pytest.importorskip("trl")
    made = (case.prompts, case.answers, None, ["w3"] * len(case.answers), None, {}, None, None)
    leashes: tuple[tuple[float, Any], ...] = ((0.0, "corrected"), (0.3, "corrected"), (0.3, "plain"))
    losses: tuple[Any, ...] = ("grpo", "dapo", "bnpo", "dr_grpo")
    for loss in losses:
        for beta, kl in leashes[:2] if loss == "bnpo" else leashes:
            normalise = loss != "dr_grpo"
            config = GRPOConfig(
                kl_coefficient=beta,
                kl=kl,
                normalise=normalise,
                aggregation="dapo" if loss == "bnpo" else loss,
                **COMMON,
            )
            trainer = _trainer(
                trl.GRPOTrainer,
                trl.GRPOConfig,
                case,
                loss_type=loss,
                beta=beta,
                use_bias_correction_kl=kl == "corrected",
                scale_rewards="group" if normalise else "none",
            )
            name = f"{loss} beta={beta} {kl}" if beta else f"{loss} beta=0"
            yield from _rows(name, case, config, trainer, made)


def rloo_rows(case: Case) -> Iterator[Row]:
    """`RLOOTrainer`, with and without the KL in its rewards."""
    trl = pytest.importorskip("trl")
    made = (case.prompts, case.answers, ["w3"] * len(case.answers))
    for beta in (0.0, 0.3):
        config = RLOOConfig(kl_coefficient=beta, **COMMON)
        trainer = _trainer(trl.RLOOTrainer, trl.RLOOConfig, case, beta=beta)
        yield from _rows(f"rloo beta={beta}", case, config, trainer, made)


@pytest.mark.parametrize("compare", [grpo_rows, rloo_rows])
def test_numbers_are_those_of_trl(compare: Callable[[Case], Iterator[Row]], tmp_path: Path) -> None:
    pytest.importorskip("trl")
    found = list(compare(make_case(tmp_path)))
    assert len(found) >= 10
    assert not [row for row in found if not row.apart < TOLERANCE]
    # No number is there by being zero, or the same in every case, and the clip decides for some tokens.
    assert all(abs(row.theirs) > 1e-3 for row in found if row.metric in ("loss", "grad_norm"))
    assert all(0 < row.theirs < 1 for row in found if row.metric == "policy/clipfrac_avg")
    losses = {row.loss: row.theirs for row in found if row.metric == "loss"}
    same = sum(name.startswith("bnpo") for name in losses)
    assert len({round(value, 4) for value in losses.values()}) == len(losses) - same


def main() -> None:
    """Print the table."""
    import transformers
    import trl

    print(f"losses on groups against trl {trl.__version__} (transformers {transformers.__version__})")
    print(f"{'loss':26} {'metric':20} {'rlhf':>12} {'trl':>12} {'apart':>9}")
    with tempfile.TemporaryDirectory() as folder:
        case = make_case(Path(folder))
        table = [*grpo_rows(case), *rloo_rows(case)]
    for row in table:
        print(f"{row.loss:26} {row.metric:20} {row.ours:12.6f} {row.theirs:12.6f} {row.apart:9.1e}")
    worst = max(row.apart for row in table)
    print(f"worst {worst:.1e}, allowed {TOLERANCE:.0e}: {'ok' if worst < TOLERANCE else 'NOT THE SAME'}")


if __name__ == "__main__":
    main()
