"""One PPO iteration of ours beside one of TRL's last PPO: `python -m benchmarks.ppo`, `--json` for ratios by name.

Both answer 32 prompts of 64 tokens with 64 tokens, score the answers with a reward model and look at them with a
reference, each of the policy's size, and take two epochs of one update. No answer ends early. TRL always has a critic
of the policy's size and trains it; ours is a head on the policy's trunk by default (see `rlhf.ppo.PPOConfig.critic`).
The rows that end in `critic_model` give ours such a critic too.

Both sides run in one process and in turns; a figure is the median over the rounds, in seconds of the clock on the
wall, because both use all cores. Needs torch, transformers and trl 1.12, the last release that has PPO, and exits
with 2 without them.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Literal

import numpy as np

from benchmarks.timing import Row, alternate

SHAPES: dict[str, tuple[str, int]] = {"ppo_1m": ("1m", 2048), "ppo_5m": ("5m", 4096)}
"""Name of a row -> preset and vocabulary."""
BATCH, PROMPT, RESPONSE, EPOCHS = 32, 64, 64, 2
RATE, KL, PAD, EOS = 1e-5, 0.05, 0, 1
BAR = 1.5

Side = Callable[[int], object]


def prompts_of(vocabulary: int) -> np.ndarray:
    """Int32 ``[batch, prompt]``, without the two ids that mean something."""
    return np.random.default_rng(0).integers(2, vocabulary, (BATCH, PROMPT)).astype(np.int32)


def ours(shape: str, vocabulary: int, critic: Literal["head", "model"]) -> Side:
    """An iteration of `rlhf.ppo`: the whole of `train`, from parameters to parameters."""
    import jax

    from rlhf import ppo
    from rlhf.batches import Prompts
    from rlhf.model import Decoder, initialise, random_head
    from rlhf.onpolicy import Passes
    from rlhf.optimiser import Optimiser
    from rlhf.presets import preset
    from rlhf.reward import RewardModel, unit_scale
    from rlhf.rollout import Sampling
    from rlhf.stage import Stage

    decoder = Decoder(preset(shape, vocabulary))
    fresh = jax.jit(initialise, static_argnums=0)
    head = random_head(decoder.config.width, jax.random.key(2))
    reward = RewardModel(
        decoder, {"model": fresh(decoder, jax.random.key(1)), "head": head, "scale": unit_scale()}
    )
    tokens = prompts_of(vocabulary)
    prompts = Prompts(
        tokens=tokens,
        lengths=np.full(BATCH, PROMPT, np.int32),
        ids=tuple((str(row),) for row in range(BATCH)),
    )
    config = ppo.PPOConfig(
        sampling=Sampling(response=RESPONSE, stop=False),
        optimiser=Optimiser(learning_rate=RATE, schedule="constant", adam=ppo.ADAM),
        passes=Passes(epochs=EPOCHS),
        kl_coefficient=KL,
        critic=critic,
    )
    params = fresh(decoder, jax.random.key(0))

    def iterate(number: int) -> object:
        return jax.block_until_ready(
            ppo.train(
                params,
                prompts,
                np.arange(BATCH)[None],
                reward,
                config,
                decoder=decoder,
                key=jax.random.key(number + 1),
                eos=EOS,
                pad=PAD,
                stage=Stage(name="ppo"),
                critic=reward.folded() if critic == "model" else None,
            )
        )

    return iterate


def theirs(shape: str, vocabulary: int, folder: str) -> Side:
    """An iteration of `trl.experimental.ppo`: the whole of `train` over one batch."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import datasets  # pyright: ignore[reportMissingImports]
    import tokenizers
    import transformers  # pyright: ignore[reportMissingImports]
    from trl.experimental.ppo import PPOConfig, PPOTrainer  # pyright: ignore[reportMissingImports]

    from rlhf.presets import preset

    c = preset(shape, vocabulary)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=c.width,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        intermediate_size=c.hidden,
        tie_word_embeddings=True,
        max_position_embeddings=PROMPT + RESPONSE,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=EOS,
        num_labels=1,
    )
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({str(i): i for i in range(vocabulary)}, "0"))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=str(PAD), eos_token=str(EOS), padding_side="left"
    )
    policy, reference = (transformers.LlamaForCausalLM(config) for _ in range(2))
    reference.load_state_dict(policy.state_dict())
    value, scorer = (transformers.LlamaForSequenceClassification(config) for _ in range(2))
    arguments = PPOConfig(
        output_dir=folder,
        per_device_train_batch_size=BATCH,
        local_rollout_forward_batch_size=BATCH,
        num_mini_batches=1,
        num_ppo_epochs=EPOCHS,
        total_episodes=BATCH,
        response_length=RESPONSE,
        temperature=1.0,
        kl_coef=KL,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        num_sample_generations=0,
        gradient_checkpointing=False,  # both on by default, and slower on a processor
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = PPOTrainer(
        args=arguments,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=scorer,
        value_model=value,
        train_dataset=datasets.Dataset.from_dict({"input_ids": prompts_of(vocabulary).tolist()}),
        eval_dataset=datasets.Dataset.from_dict({"input_ids": [[2]]}),
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)

    def iterate(_: int) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it trains, each time
            trainer.train()

    return iterate


def measure(names: Sequence[str], rounds: int, shapes: dict[str, tuple[str, int]] = SHAPES) -> Iterator[Row]:
    """A row for each of `names`, and one for ours with a critic of the policy's size."""
    for name in names:
        shape, vocabulary = shapes[name]
        with tempfile.TemporaryDirectory() as folder:
            other = theirs(shape, vocabulary, folder)
            kinds: list[tuple[str, Literal["head", "model"], float | None]] = [
                ("", "head", BAR),
                ("_critic_model", "model", None),
            ]
            for suffix, critic, bar in kinds:
                mine, their = alternate(
                    ours(shape, vocabulary, critic), other, rounds=rounds, clock=time.perf_counter
                )
                yield Row(
                    name=name + suffix,
                    ours=f"critic: {critic}, {mine:.2f} s",
                    theirs=f"trl {version('trl')}, {their:.2f} s",
                    ratio=their / mine,
                    bar=bar,
                )


def missing() -> str | None:
    """Why TRL's PPO cannot run here, in a line; None where it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("trl.experimental.ppo")
    except ImportError as error:
        return f"benchmarks.ppo needs torch, transformers and trl 1.12, the last release with PPO: {error}"
    return None


def machine() -> str:
    """One line on what this ran on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wheels = ", ".join(f"{name} {version(name)}" for name in ("jax", "torch", "transformers", "trl"))
    return f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, {wheels}"


def table(rows: Sequence[Row]) -> str:
    """The rows as lines for people."""
    lines = [("", "ours", "theirs", "ratio", "bar", "")]
    for row in rows:
        verdict = {True: "reached", False: "MISSED", None: ""}[row.reached]
        bar = "" if row.bar is None else f">= {row.bar:g}"
        lines.append((row.name, row.ours, row.theirs, f"{row.ratio:.2f}", bar, verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. The exit code is 0 even if a bar is missed; missed bars are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ppo", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the ratios by name as JSON")
    parser.add_argument("--only", nargs="+", choices=SHAPES, default=list(SHAPES), help="rows to be measured")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each side, default 5")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"expected --rounds of at least 1, got {options.rounds}")
    if why := missing():
        print(why, file=sys.stderr)
        return 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's and trl's own
        rows = list(measure(options.only, options.rounds))
    if options.json:
        print(json.dumps({row.name: round(row.ratio, 4) for row in rows}))
        return 0
    print(machine())
    print(table(rows))
    print(f"bars missed: {', '.join(row.name for row in rows if row.reached is False) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
