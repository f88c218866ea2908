"""The loss of SFT against transformers' own and TRL's trainer: same weights, same rows, same numbers.

The peers take labels of -100 where we have weight 0.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rlhf import huggingface
from rlhf.batches import Rows
from rlhf.model import Decoder, Params
from rlhf.optimiser import Adam, Optimiser, prepare, update
from rlhf.sft import CrossEntropy

TOLERANCE = 1e-4

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def llama(decoder: Decoder, sharp: Params, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """Our weights in their model."""
    transformers = pytest.importorskip("transformers")
    folder: Path = tmp_path_factory.mktemp("llama") / "model"
    huggingface.write(folder, decoder.config, sharp, family="llama")
    return lambda: transformers.LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager")


def labels_of(shown: Rows) -> np.ndarray:
    return np.where(shown.weights > 0, shown.tokens, -100).astype(np.int64)


def our_step(decoder: Decoder, params: Params, shown: Rows) -> tuple[dict[str, float], Params]:
    """Metrics of the step, and the gradient before clipping."""
    optimiser = Optimiser(learning_rate=1e-3)
    state, frozen = prepare({"model": params}, optimiser, None, jax.random.key(0))
    state = jax.tree.map(jax.numpy.array, state)
    batch = {"tokens": shown.tokens, "weights": shown.weights}
    _, metrics, (gradient,) = update(
        state, frozen, batch, 1e-3, loss=CrossEntropy(decoder), adam=Adam(), traces=(lambda p, g, b: g,)
    )
    return {name: float(value) for name, value in metrics.items()}, gradient["model"]


def test_transformers_has_the_same_loss_and_gradient(
    decoder: Decoder, sharp: Params, lesson_rows: Rows, llama: Callable[[], Any]
) -> None:
    torch = importlib.import_module("torch")
    model = llama()
    tokens = torch.from_numpy(lesson_rows.tokens.astype(np.int64))
    loss = model(input_ids=tokens, labels=torch.from_numpy(labels_of(lesson_rows))).loss
    loss.backward()
    metrics, gradient = our_step(decoder, sharp, lesson_rows)
    assert metrics["loss"] == pytest.approx(loss.item(), rel=TOLERANCE)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
    assert metrics["grad_norm"] == pytest.approx(norm, rel=TOLERANCE)
    theirs = model.model.layers[0].mlp.down_proj.weight.grad.numpy().T * max(norm, 1.0)
    ours = np.asarray(gradient["block_0"]["mlp"]["down"]["kernel"])
    np.testing.assert_allclose(ours / np.abs(ours).max(), theirs / np.abs(ours).max(), atol=TOLERANCE)


def test_trl_logs_the_same_loss_and_accuracy(
    decoder: Decoder, sharp: Params, lesson_rows: Rows, llama: Callable[[], Any], tmp_path: Path
) -> None:
    """The first step of its trainer, on the rows as they are: tokens, and labels of -100 for prompts and pads."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    torch = importlib.import_module("torch")
    shown = datasets.Dataset.from_dict(
        {
            "input_ids": lesson_rows.tokens.tolist(),
            "attention_mask": np.ones_like(lesson_rows.tokens).tolist(),
            "labels": labels_of(lesson_rows).tolist(),
        }
    )

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        return {name: torch.tensor([example[name] for example in examples]) for name in examples[0]}

    arguments = trl.SFTConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=len(lesson_rows.tokens),
        max_steps=1,
        learning_rate=1e-3,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        save_strategy="no",
    )
    transformers = importlib.import_module("transformers")
    words = importlib.import_module("tokenizers")
    plain = words.Tokenizer(words.models.WordLevel({"<pad>": 0, "<eos>": 2}, unk_token="<pad>"))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>"
    )
    trainer = trl.SFTTrainer(
        model=llama(),
        args=arguments,
        train_dataset=shown,
        data_collator=collate,
        processing_class=tokenizer,
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    metrics, _ = our_step(decoder, sharp, lesson_rows)
    for name in ("loss", "grad_norm", "mean_token_accuracy"):
        assert metrics[name] == pytest.approx(float(logged[name]), rel=TOLERANCE, abs=TOLERANCE), name
