"""The losses on pairs against TRL's trainers: same weights, same pairs, same numbers and gradients.

Run as a script it prints the table.
"""

import importlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from rlhf import huggingface
from rlhf.batches import Rows, rows
from rlhf.likelihood import of_rows
from rlhf.model import Decoder, Params, initialise, random_head
from rlhf.preference import PreferenceLoss
from rlhf.presets import preset
from rlhf.reward import BradleyTerry

VOCABULARY, PAIRS, TIME, PAD, BOS, EOS = 300, 6, 20, 0, 1, 2
TOLERANCE = 1e-4
BETA, SMOOTHING = 0.1, 0.2

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of one loss, as both have it."""

    loss: str
    metric: str
    ours: float
    theirs: float

    @property
    def apart(self) -> float:
        """Relative to the number's size, or to 1 where that is greater."""
        return abs(self.ours - self.theirs) / max(1.0, abs(self.theirs))


@dataclass(frozen=True, kw_only=True)
class Case:
    """What both sides are given."""

    folder: Path
    decoder: Decoder
    policy: Params
    reference: Params
    head: dict[str, Any]
    prompts: list[list[int]]
    chosen: list[list[int]]
    rejected: list[list[int]]
    margins: list[float]

    def side(self, answers: list[list[int]]) -> Rows:
        return rows(self.prompts, answers, [("pair",)] * PAIRS, time=TIME, fill=PAD)

    def batch(self) -> dict[str, np.ndarray]:
        """As our losses want it."""
        found: dict[str, np.ndarray] = {"real": np.ones(PAIRS, np.float32)}
        for name, answers in (("preferred", self.chosen), ("rejected", self.rejected)):
            side = self.side(answers)
            found |= {name: side.tokens, f"{name}_weights": side.weights}
            found[f"{name}_reference"] = of_rows(self.decoder, self.reference, side).logprobs
        return found


def sharpened(decoder: Decoder, seed: int) -> Params:
    """Weights so large that every part of the model matters."""
    fresh = initialise(decoder, jax.random.key(seed))
    rng = np.random.default_rng(seed)

    def grow(path: tuple[Any, ...], leaf: jax.Array) -> np.ndarray:
        if path[-1].key == "scale":
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return np.asarray(leaf) * np.float32({"embed": 10.0, "kernel": 1.5}[path[-1].key])

    return jax.tree_util.tree_map_with_path(grow, fresh)


def make_case(folder: Path) -> Case:
    """Random weights, written for transformers, and random pairs of different lengths."""
    decoder, rng = Decoder(preset("tiny", VOCABULARY)), np.random.default_rng(0)
    policy, reference = sharpened(decoder, 1), sharpened(decoder, 2)
    # Not far apart, so that the log-ratios are such as training makes.
    reference = jax.tree.map(lambda p, r: p + np.float32(0.05) * (r - p), policy, reference)
    head = random_head(decoder.config.width, jax.random.key(3))
    huggingface.write(folder / "policy", decoder.config, policy)
    huggingface.write(folder / "reference", decoder.config, reference)
    huggingface.write(folder / "scorer", decoder.config, policy, head=head)

    def texts(low: int, high: int) -> list[list[int]]:
        return [rng.integers(3, VOCABULARY, int(rng.integers(low, high))).tolist() for _ in range(PAIRS)]

    return Case(
        folder=folder,
        decoder=decoder,
        policy=policy,
        reference=reference,
        head=head,
        prompts=[[BOS, *prompt] for prompt in texts(1, 8)],
        chosen=texts(1, 12),
        rejected=texts(1, 12),
        margins=rng.normal(0, 2, PAIRS).tolist(),
    )


def ours(loss: Any, parts: dict[str, Any], batch: dict[str, np.ndarray]) -> dict[str, float]:
    """Means, and the norm of the gradient of the mean loss."""

    @jax.jit
    def run(parts: Any, batch: Any) -> Any:
        def mean(parts: Any) -> Any:
            total, count, metrics = loss(parts, batch)
            return total / count, {name: s / n for name, (s, n) in metrics.items()}

        (value, metrics), gradient = jax.value_and_grad(mean, has_aux=True)(parts)
        return {"loss": value, **metrics, "grad_norm": optax.tree.norm(gradient)}

    return {name: float(value) for name, value in run(parts, batch).items()}


def tokenizer() -> Any:
    """One word a token; TRL's trainers will not do without."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    words = {"<pad>": PAD, "<s>": BOS, "</s>": EOS} | {f"w{i}": i for i in range(3, VOCABULARY)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w3"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def theirs(trainer: Any, examples: list[dict[str, Any]]) -> dict[str, float]:
    """What TRL's trainer makes of a batch that its own collator has laid out."""
    trainer.model.train()
    trainer.model.zero_grad()
    for values in trainer._metrics["train"].values():
        values.clear()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
    loss.backward()
    squares = sum(
        float((p.grad.double() ** 2).sum()) for p in trainer.model.parameters() if p.grad is not None
    )
    told = {name: float(values[-1]) for name, values in trainer._metrics["train"].items()}
    return {**told, "loss": float(loss), "grad_norm": squares**0.5}


def reward_rows(case: Case) -> Iterator[Row]:
    """`RewardTrainer`: plain, with margins, with centering, with both."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    transformers = pytest.importorskip("transformers")
    shown = [
        {"chosen_ids": [*p, *c], "rejected_ids": [*p, *r]}
        for p, c, r in zip(case.prompts, case.chosen, case.rejected, strict=True)
    ]
    for centering in (None, 0.01):
        trainer = trl.RewardTrainer(
            model=transformers.AutoModelForSequenceClassification.from_pretrained(case.folder / "scorer"),
            args=trl.RewardConfig(
                output_dir=str(case.folder / "out"),
                center_rewards_coefficient=centering,
                **_QUIET,
            ),
            train_dataset=datasets.Dataset.from_list(shown),
            processing_class=tokenizer(),
        )
        for margins in (False, True):
            batch, examples = case.batch(), shown
            if margins:
                batch["margin"] = np.array(case.margins, np.float32)
                examples = [{**e, "margin": m} for e, m in zip(shown, case.margins, strict=True)]
            parts = {"model": case.policy, "head": case.head}
            found = ours(BradleyTerry(case.decoder, centering or 0.0), parts, batch)
            wanted = theirs(trainer, examples)
            name = "reward" + " margin" * margins + " centering" * (centering is not None)
            yield from _rows(name, found, wanted, ("loss", "accuracy", "margin", "mean_reward", "grad_norm"))


METHODS = {
    "ipo, one token": (PreferenceLoss, ("ipo", BETA), "ipo"),
    "dpo": (PreferenceLoss, ("dpo", BETA), "sigmoid"),
    "dpo average": (PreferenceLoss, ("dpo", BETA, True), "sigmoid_norm"),
    "ipo average": (PreferenceLoss, ("ipo", BETA, True), "ipo"),
    "cdpo": (PreferenceLoss, ("dpo", BETA, False, SMOOTHING), "aot"),
}
"""Ours -> TRL's, whose IPO is the average: where answers have one token, the sum is the same. Label smoothing does
nothing to its `sigmoid`, and its `robust` is another loss; but `aot` of a single pair is cDPO, there being nothing to
sort."""


def preference_rows(case: Case) -> Iterator[Row]:
    """`DPOTrainer` in the methods that it shares with us."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    transformers = pytest.importorskip("transformers")
    names = ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins")
    names = ("loss", *names, "logps/chosen", "logps/rejected")
    text = datasets.Dataset.from_list([{"prompt": "w3", "chosen": "w4", "rejected": "w5"}])
    for name, (make, options, theirs_name) in METHODS.items():
        trainer = trl.DPOTrainer(
            model=transformers.AutoModelForCausalLM.from_pretrained(case.folder / "policy"),
            ref_model=transformers.AutoModelForCausalLM.from_pretrained(case.folder / "reference"),
            args=trl.DPOConfig(
                output_dir=str(case.folder / "out"),
                beta=BETA,
                loss_type=[theirs_name],
                label_smoothing=SMOOTHING if theirs_name == "aot" else 0.0,
                **_QUIET,
            ),
            train_dataset=text,
            processing_class=tokenizer(),
        )
        answers = slice(1) if "one token" in name else slice(None)
        here = replace(
            case, chosen=[c[answers] for c in case.chosen], rejected=[r[answers] for r in case.rejected]
        )
        shown = [
            {"prompt_ids": p, "chosen_ids": c, "rejected_ids": r}
            for p, c, r in zip(here.prompts, here.chosen, here.rejected, strict=True)
        ]
        loss, batch = make(case.decoder, *options), here.batch()
        if theirs_name == "aot":
            each = [theirs(trainer, [example]) for example in shown]
            wanted = {n: float(np.mean([e[n] for e in each])) for n in names}
            yield from _rows(name, ours(loss, {"model": case.policy}, batch), wanted, names)
            alone = {k: v[:1] for k, v in batch.items()}
            yield from _rows(
                f"{name}, one pair", ours(loss, {"model": case.policy}, alone), each[0], ("loss", "grad_norm")
            )
        else:
            found, wanted = ours(loss, {"model": case.policy}, batch), theirs(trainer, shown)
            yield from _rows(name, found, wanted, (*names, "grad_norm"))


_QUIET = {
    "report_to": "none",
    "use_cpu": True,
    "max_length": None,
    "bf16": False,
    "gradient_checkpointing": False,
}


def _rows(
    loss: str, found: dict[str, float], wanted: dict[str, float], names: tuple[str, ...]
) -> Iterator[Row]:
    for name in names:
        yield Row(loss=loss, metric=name, ours=found[name], theirs=wanted[name])


@pytest.mark.parametrize("compare", [reward_rows, preference_rows])
def test_numbers_are_those_of_trl(compare: Callable[[Case], Iterator[Row]], tmp_path: Path) -> None:
    pytest.importorskip("trl")
    found = list(compare(make_case(tmp_path)))
    assert len(found) >= 20
    assert not [row for row in found if not row.apart < TOLERANCE]
    # No number is there by being zero, or the same in every case.
    assert all(abs(row.theirs) > 1e-3 for row in found if row.metric in ("loss", "grad_norm"))
    losses = {row.loss: row.theirs for row in found if row.metric == "loss"}
    assert len({round(value, 4) for value in losses.values()}) >= 4


def main() -> None:
    """Print the table."""
    names = ("datasets", "transformers", "trl")
    datasets, transformers, trl = (importlib.import_module(name) for name in names)
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    print(f"losses on pairs against trl {trl.__version__} (transformers {transformers.__version__})")
    print(f"{'loss':26} {'metric':20} {'rlhf':>12} {'trl':>12} {'apart':>9}")
    with tempfile.TemporaryDirectory() as folder:
        case = make_case(Path(folder))
        table = [*reward_rows(case), *preference_rows(case)]
    for row in table:
        print(f"{row.loss:26} {row.metric:20} {row.ours:12.6f} {row.theirs:12.6f} {row.apart:9.1e}")
    worst = max(row.apart for row in table)
    print(f"worst {worst:.1e}, allowed {TOLERANCE:.0e}: {'ok' if worst < TOLERANCE else 'NOT THE SAME'}")


if __name__ == "__main__":
    main()
