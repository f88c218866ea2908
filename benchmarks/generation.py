"""Decoding beside `transformers.generate`: `python -m benchmarks.generation`, with `--json` for the ratios by name.

Both sides have the same Llama shape with random weights, the same prompts and the same number of tokens, run on a CPU
with as many threads as there are cores, in one process and in turns. A figure is the best of the rounds, prefill
included: what else runs on the machine only ever adds time. The exit code is 0 even if a bar is missed; missed bars
are named.
"""

import argparse
import importlib
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Row
from benchmarks.training import Step, cores, fastest
from rlhf.generate import generate, row_keys
from rlhf.model import Decoder, Params, initialise
from rlhf.presets import ModelConfig, preset

MISSING = "benchmarks.generation needs torch and transformers to compare with: pip install torch transformers"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int = 7
    """Turns of each side, after two that do not count."""
    batch: int = 32
    """Rows decoded together."""
    prompt: int = 64
    """Tokens of each prompt."""
    new: int = 64
    """Tokens decoded for each row."""


QUICK = Sizes(rounds=2)
MODELS = {"1m": 2048, "5m": 4096}
"""Presets, and the vocabulary of each."""
BAR = 2.0


def ours(decoder: Decoder, params: Params, prompts: np.ndarray, new: int, temperature: float) -> Step:
    """Decode `prompts` with this pipeline."""
    lengths = np.full(len(prompts), prompts.shape[1], np.int32)
    keys = row_keys(jax.random.key(0), jnp.arange(len(prompts)))

    def run() -> float:
        found = generate(
            params,
            prompts,
            lengths,
            keys,
            decoder=decoder,
            budget=new,
            temperature=temperature,
            eos=None,
            pad=0,
        )
        return float(np.asarray(found.tokens)[-1, -1])

    return run


def theirs(config: ModelConfig, prompts: np.ndarray, new: int, sampled: bool) -> Step:
    """Decode `prompts` with transformers, on a model of the same shape. Raises ImportError where it is missing."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(cores())
    shape = transformers.LlamaConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        intermediate_size=config.hidden,
        max_position_embeddings=prompts.shape[1] + new,
        tie_word_embeddings=config.tied,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = transformers.LlamaForCausalLM(shape).eval()
    tokens = torch.from_numpy(prompts.astype(np.int64))

    def run() -> float:
        with torch.inference_mode():
            found = model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=new,
                do_sample=sampled,
                **({"top_k": 0} if sampled else {}),
            )
        assert found.shape[1] == prompts.shape[1] + new
        return float(found[-1, -1])

    return run


def compare(models: Sequence[str], sizes: Sizes) -> Iterator[Row]:
    """Greedy and sampled decoding of each model against transformers."""
    for name in models:
        vocabulary = MODELS[name]
        decoder = Decoder(preset(name, vocabulary))
        params = jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(0))
        prompts = np.random.default_rng(0).integers(3, vocabulary, (sizes.batch, sizes.prompt), np.int32)
        for kind, temperature in (("", 0.0), ("_sampled", 1.0)):
            mine, other = fastest(
                (
                    ours(decoder, params, prompts, sizes.new, temperature),
                    theirs(decoder.config, prompts, sizes.new, temperature > 0),
                ),
                sizes.rounds,
            )
            tokens = sizes.batch * sizes.new
            yield Row(
                name=f"generation_{name}{kind}",
                ours=f"{tokens / mine:,.0f} tokens/s",
                theirs=f"transformers {tokens / other:,.0f} tokens/s",
                ratio=other / mine,
                bar=BAR,
            )


def machine() -> str:
    """Return one line on what this ran on."""
    wheels = ", ".join(f"{name} {version(name)}" for name in ("jax", "torch", "transformers"))
    return f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}, {wheels}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the ratios by name, and the rows, as JSON")
    parser.add_argument("--quick", action="store_true", help="two rounds: figures less sure")
    parser.add_argument(
        "--only", nargs="+", choices=MODELS, default=list(MODELS), help="models to be measured"
    )
    for setting in fields(Sizes):
        parser.add_argument(f"--{setting.name}", type=int, metavar="N", help="see `Sizes` in the source")
    options = parser.parse_args(arguments)
    given = {f.name: value for f in fields(Sizes) if (value := getattr(options, f.name)) is not None}
    if wrong := [name for name, value in given.items() if value < 1]:
        parser.error(f"expected --{wrong[0]} of at least 1, got {given[wrong[0]]}")
    for library in ("torch", "transformers"):
        try:
            importlib.import_module(library)
        except ImportError:
            print(MISSING, file=sys.stderr)
            return 2
    rows = list(compare(options.only, replace(QUICK if options.quick else Sizes(), **given)))
    missed = [row.name for row in rows if row.reached is False]
    if options.json:
        printed = {
            "ratios": {row.name: round(row.ratio, 4) for row in rows},
            "missed": missed,
            "machine": machine(),
            "rows": [row.as_json() for row in rows],
        }
        print(json.dumps(printed))
        return 0
    print(machine())
    for row in rows:
        verdict = {True: f"{BAR:g} reached", False: f"{BAR:g} MISSED", None: ""}[row.reached]
        print(f"{row.name:24}{row.ours:20}{row.theirs:32}{row.ratio:5.2f}  {verdict}".rstrip())
    print(f"bars missed: {', '.join(missed) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
