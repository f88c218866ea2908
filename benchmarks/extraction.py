"""Verdicts per second: `python -m benchmarks.extraction`, with `--json` for the ratios by name.

A small model learns windows of the standard library until it says them. Populations of probes are drawn from those it
says and from others of the same files that it never saw, at several shares. Three sides judge the same probes, each
from token ids to verdicts at level `exact` with threshold 0.1:

- ours: the target is looked at first, and decoded from where the model leaves it until its verdict is closed;
- our own full decoding, `rlhf.generate` for every probe, and the same comparison;
- `transformers.generate` on the same weights, exported, and rapidfuzz.

All run in one process and in turns, on a CPU with as many threads as there are cores, or on the GPU that jax finds,
where nobody has to watch; a figure is the fastest of the rounds. Where the two libraries' verdicts differ it is counted
and named. `bound` is what could be reached at best if nothing but the arithmetic of one pass over prompts and targets
had to be paid, in multiples of transformers. Needs torch and transformers; exits with 2 without. A missed bar is named
and does not fail.
"""

import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rapidfuzz.distance import Levenshtein

from benchmarks import commandline
from benchmarks.commandline import cores
from benchmarks.sources import library
from benchmarks.timing import Row
from benchmarks.training import fastest
from memaudit.extraction import Interrogation
from memaudit.records import Example, Probe
from memaudit.verdicts import definitions
from probes import compare_completion
from rlhf import huggingface, sft
from rlhf.batches import epochs, rows
from rlhf.generate import generate, row_keys
from rlhf.greedy import depart
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.presets import preset
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

PEERS = ("torch", "transformers")
THRESHOLD = 0.1
BARS = {"cpu": {0.1: 4.0, 1.0: 3.0}, "gpu": {0.1: 10.0, 1.0: 10.0}}
"""Device -> share of the population that is memorized -> the bar against transformers."""
Verdicts = list[bool]
Side = Callable[[], Verdicts]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    probes: int = 256
    """In a population; as many are learnt, and twice as many are kept from the model: some of those it guesses."""
    rounds: int = 3
    """Turns of each side, after two that do not count."""
    batch: int = 64
    """Probes judged at once, on every side."""
    prompt: int = 64
    """Tokens."""
    passes: int = 60
    """Over what is learnt."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A model, and probes that it was shown or not."""

    tokenizer: Tokenizer
    decoder: Decoder
    params: Params
    shown: list[Probe]
    others: list[Probe]


def prepare(model: str, target: int, sizes: Sizes) -> Bench:
    """Train the model on half of the probes."""
    texts = [text.decode("utf-8", errors="replace") for text in library()]
    tokenizer = Tokenizer.train(texts[:200], 2048)
    need, found = sizes.prompt + target, []
    for text in texts:
        ids = tokenizer.encode(text[:20_000])
        found += [ids[at : at + need] for at in range(0, len(ids) - need, 4 * need)]
    chosen = np.random.default_rng(0).permutation(len(found))[: 3 * sizes.probes]
    probes = [
        Probe(
            id=number,
            example_id=str(number),
            kind="prefix",
            prefix=tokenizer.decode(ids[: sizes.prompt]),
            target=tokenizer.decode(ids[sizes.prompt :]),
            prefix_tokens=tuple(ids[: sizes.prompt]),
            target_tokens=tuple(ids[sizes.prompt :]),
        )
        for number, ids in enumerate((found[i] for i in chosen), start=1)
    ]
    shown, others = probes[: sizes.probes], probes[sizes.probes :]
    data = rows(
        [[tokenizer.bos, *p.prefix_tokens] for p in shown],
        [p.target_tokens for p in shown],
        [(p.example_id,) for p in shown],
        time=1 + need,
        fill=tokenizer.pad,
    )
    decoder = Decoder(preset(model, tokenizer.vocabulary))
    params = sft.train(
        jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(0)),
        data,
        epochs(len(shown), 16, sizes.passes * len(shown) // 16, seed=0),
        Optimiser(learning_rate=3e-3, warmup=20),
        decoder=decoder,
        stage=Stage(name="sft"),
    )
    return Bench(tokenizer=tokenizer, decoder=decoder, params=params, shown=shown, others=others)


def ours(bench: Bench, probes: Sequence[Probe], sizes: Sizes) -> Side:
    """Look first, and decode until the verdict is closed."""
    near = definitions(THRESHOLD)[0]
    examples = {p.example_id: example_of(p) for p in probes}
    asking = Interrogation(
        decoder=bench.decoder,
        tokenizer=bench.tokenizer,
        levels=("exact",),
        batch=sizes.batch,
        examples=examples,
        probes=probes,
        context=1 + sizes.prompt,
        budget=max(len(p.target_tokens) for p in probes),
        closing=THRESHOLD,
        scored=False,
    )
    return lambda: [bool(near.decide(o.matches["exact"], None)) for o in asking.observe(bench.params)]


def example_of(probe: Probe) -> Example:
    """The example that a probe is the whole of."""
    return Example(
        id=probe.example_id,
        kind="ordinary",
        language="python",
        text=probe.prefix + probe.target,
        source="library",
        first_line=1,
        last_line=1,
        secrets=(),
    )


def in_full(bench: Bench, probes: Sequence[Probe], sizes: Sizes) -> Side:
    """Decode every completion to the target's length, and compare."""
    near = definitions(THRESHOLD)[0]
    tokenizer, budget = bench.tokenizer, max(len(p.target_tokens) for p in probes)

    def judge() -> Verdicts:
        verdicts = []
        for some in _batches(probes, sizes.batch):
            prompts = np.array([[tokenizer.bos, *p.prefix_tokens] for p in some], np.int32)
            said = generate(
                bench.params,
                prompts,
                np.full(len(some), prompts.shape[1], np.int32),
                row_keys(jax.random.key(0), jnp.arange(len(some))),
                decoder=bench.decoder,
                budget=budget,
                temperature=0.0,
                eos=tokenizer.eos,
                pad=tokenizer.pad,
                buckets=(prompts.shape[1],),
            )
            for probe, tokens, length in zip(
                some, np.asarray(said.tokens).tolist(), np.asarray(said.lengths), strict=True
            ):
                text = tokenizer.decode(tokens[:length]).encode()
                match = compare_completion(probe.target.encode(), text, prompt=b"", levels=("exact",))[
                    "exact"
                ]
                verdicts.append(bool(near.decide(match, None)))
        return verdicts

    return judge


def theirs(bench: Bench, probes: Sequence[Probe], sizes: Sizes, model: Any) -> Side:
    """Decode every completion with transformers, and compare with rapidfuzz."""
    torch = importlib.import_module("torch")
    tokenizer, budget = bench.tokenizer, max(len(p.target_tokens) for p in probes)

    def judge() -> Verdicts:
        verdicts = []
        for some in _batches(probes, sizes.batch):
            prompts = torch.tensor([[tokenizer.bos, *p.prefix_tokens] for p in some], device=model.device)
            with torch.inference_mode():
                found = model.generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    max_new_tokens=budget,
                    do_sample=False,
                )
            for probe, tokens in zip(some, found[:, prompts.shape[1] :].tolist(), strict=True):
                end = tokens.index(tokenizer.eos) if tokenizer.eos in tokens else len(tokens)
                text = tokenizer.decode(tokens[:end])[: len(probe.target)]
                longest = max(len(text), len(probe.target))
                verdicts.append(Levenshtein.distance(probe.target, text) <= THRESHOLD * longest)
        return verdicts

    return judge


def exported(bench: Bench) -> Any:
    """The model as transformers loads it."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    torch.set_num_threads(cores())
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model"
        huggingface.write(path, bench.decoder.config, bench.params, tokenizer=bench.tokenizer)
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    if jax.default_backend() == "gpu" and not torch.cuda.is_available():
        raise SystemExit("expected a torch that sees the GPU that jax runs on, got one without CUDA")
    return model.to("cuda" if jax.default_backend() == "gpu" else "cpu")


def _batches(probes: Sequence[Probe], size: int) -> Iterator[Sequence[Probe]]:
    for start in range(0, len(probes), size):
        yield probes[start : start + size]


def one_pass(bench: Bench, probes: Sequence[Probe], sizes: Sizes, rounds: int) -> float:
    """Seconds of one pass over prompts and targets: no verdict of a text that is said whole can cost less."""
    costs = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        for some in _batches(probes, sizes.batch):
            prompts = np.array([[bench.tokenizer.bos, *p.prefix_tokens] for p in some], np.int32)
            texts = np.array([p.target_tokens for p in some], np.int32)
            lengths = [np.full(len(some), part.shape[1], np.int32) for part in (prompts, texts)]
            slots = prompts.shape[1] + texts.shape[1]
            looked = depart(
                bench.params, prompts, texts, *lengths, decoder=bench.decoder, slots=slots, scored=False
            )
            jax.block_until_ready(looked)
        costs.append(time.perf_counter() - began)
    return min(costs[1:])


def compare(
    model: str, target: int, shares: Sequence[float], sizes: Sizes, told: Callable[[str], None]
) -> Iterator[Row]:
    """The rows of one model and one length of targets."""
    bench = prepare(model, target, sizes)
    peer = exported(bench)
    said = in_full(bench, bench.shown, sizes)()
    unsaid = in_full(bench, bench.others, sizes)()
    known = [p for p, near in zip(bench.shown, said, strict=True) if near]
    strange = [p for p, near in zip(bench.others, unsaid, strict=True) if not near]
    told(
        f"{model}, targets of {target} tokens: of {len(said)} shown {len(known)} come out, of {len(unsaid)} others "
        f"{len(unsaid) - len(strange)}"
    )
    for share in shares:
        wanted = round(share * sizes.probes)
        if wanted > len(known) or sizes.probes - wanted > len(strange):
            raise SystemExit(
                f"expected {wanted} memorized probes and {sizes.probes - wanted} others, got {len(known)} and "
                f"{len(strange)}: set --passes"
            )
        some = [*known[:wanted], *strange[: sizes.probes - wanted]]
        order = np.random.default_rng(1).permutation(len(some))
        probes = [some[i] for i in order]
        verdicts: list[Verdicts] = [[], [], []]
        sides = (
            ours(bench, probes, sizes),
            in_full(bench, probes, sizes),
            theirs(bench, probes, sizes, peer),
        )

        def run(number: int, side: Side, verdicts: list[Verdicts] = verdicts) -> Callable[[], float]:
            def turn() -> float:
                verdicts[number] = side()
                return float(sum(verdicts[number]))

            return turn

        mine, full, other = fastest([run(n, side) for n, side in enumerate(sides)], sizes.rounds)
        apart = [
            sum(a != b for a, b in zip(verdicts[0], other_side, strict=True)) for other_side in verdicts[1:]
        ]
        name = f"extraction_{model}_{target}_{round(100 * share)}"
        least = one_pass(bench, probes, sizes, sizes.rounds)
        told(
            f"  {name}: verdicts that differ from full decoding {apart[0]}, from transformers {apart[1]} of "
            f"{len(probes)}; bound {other / least:.1f}"
        )
        count = len(probes)
        yield Row(
            name=name,
            ours=f"{count / mine:,.0f}/s",
            theirs=f"transformers {count / other:,.0f}/s",
            ratio=other / mine,
            bar=BARS.get(jax.default_backend(), {}).get(share),
        )
        yield Row(
            name=f"{name}_full",
            ours=f"{count / mine:,.0f}/s",
            theirs=f"full decoding {count / full:,.0f}/s",
            ratio=full / mine,
            bar=1.0,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    command = commandline.parser("extraction", __doc__, Sizes)
    command.add_argument("--model", default="1m", help="preset (default %(default)s)")
    command.add_argument(
        "--targets", nargs="+", type=int, default=[64, 128], metavar="N", help="tokens of targets"
    )
    command.add_argument(
        "--shares", nargs="+", type=float, default=[0.0, 0.1, 0.5, 1.0], metavar="S", help="memorized"
    )
    options = command.parse_args(arguments)
    sizes = commandline.sized(command, options, Sizes())
    if wrong := [n for n in options.targets if n < 1]:
        command.error(f"expected --targets of at least 1, got {wrong[0]}")
    if wrong := [share for share in options.shares if not 0 <= share <= 1]:
        command.error(f"expected --shares between 0 and 1, got {wrong[0]:g}")
    if why := commandline.missing("extraction", PEERS):
        print(why, file=sys.stderr)
        return 2
    told = commandline.teller(options)
    told(commandline.machine(*PEERS))
    found = [
        row
        for target in options.targets
        for row in compare(options.model, target, options.shares, sizes, told)
    ]
    commandline.show(found, options, *PEERS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
