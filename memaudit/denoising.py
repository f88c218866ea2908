"""Stages under the diffusion loss (`rlhf.diffusion`): texts in windows, how they are learnt, and how a model is asked.

A text is whole windows on either side of its probe's cut: begins of text fill up the first of them, and ends of text
the last. A model gives no distribution over tokens, so there are no scores; a probe's prefix is continued window by
window, each read as the nearest that is known. Known are the windows of both halves of all cohorts, and some of public
texts: a twin that has not seen a text could say it as well.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from memaudit.errors import BadInput
from memaudit.extraction import Interrogation, observed
from memaudit.methods import Diffusion
from memaudit.population import Population
from memaudit.records import Observation, Probe, Reading
from rlhf import diffusion
from rlhf.batches import Rows, chunks, pad, rows
from rlhf.diffusion import Denoiser, Denoising
from rlhf.generate import row_keys
from rlhf.latents import Latents
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

LATENTS = "latents.npz"
"""How a diffusion stage's windows are points, and what points are read as, beside its parameters."""
PARTS = 8
"""Of the time from signal to noise, at whose middles the loss is read."""
_NOISES = 4  # at each of them


def denoiser(config: Diffusion) -> Denoiser:
    """The shape of the network that takes noise off latents."""
    return Denoiser(size=config.size, width=config.width, blocks=config.blocks)


def fresh(config: Diffusion, decoder: Decoder, seed: int) -> dict[str, Params]:
    """Parameters to start from: `model` is what a language model of this seed starts from."""
    key = jax.random.key(seed)
    head = diffusion.initialise(denoiser(config), decoder.config.width, key)
    return {"model": initialise(decoder, key), "head": head}


def train(
    config: Diffusion,
    *,
    parent: dict[str, Params],
    population: Population,
    probes: Sequence[Probe],
    decoder: Decoder,
    order: np.ndarray,
    optimiser: Optimiser,
    stage: Stage,
    folder: Path,
    seed: int,
) -> dict[str, Params]:
    """Show the probes' texts along `order`; returns `model` and `head`, and leaves its latents in `folder`."""
    tokenizer = population.tokenizer
    try:
        latents = Latents.fit(_known(config, population), tokenizer.vocabulary, config.size)
    except ValueError as error:
        raise BadInput(f"stages.{stage.name}.size: {error}") from None
    np.savez(folder / LATENTS, **vars(latents))
    shown = _rows(probes, _all(population), tokenizer, config.window, config.loss_on)
    return diffusion.train(
        parent["model"],
        parent["head"],
        shown,
        _encoded(latents, shown),
        order,
        optimiser,
        loss=_loss(config, decoder),
        stage=stage,
        seed=seed,
    )


def _loss(config: Diffusion, decoder: Decoder) -> Denoising:
    return Denoising(decoder, denoiser(config), config.window, config.draws)


def _rows(
    probes: Sequence[Probe],
    beside: Sequence[Probe],
    tokenizer: Tokenizer,
    size: int,
    loss_on: Literal["targets", "all"],
) -> Rows:
    """The probes' texts, each a begin of text and whole windows; as long as those of `beside` would be."""

    def parts(probe: Probe) -> tuple[list[int], list[int]]:
        return _prompt(probe, tokenizer, size), _filled(probe.target_tokens, tokenizer, size)

    longest = max(sum(map(len, parts(p))) for p in beside)
    prompts, targets = zip(*map(parts, probes), strict=True)
    ids = [(p.example_id,) for p in probes]
    return rows(prompts, targets, ids, time=longest, fill=tokenizer.pad, loss_on=loss_on)


def _all(population: Population) -> Sequence[Probe]:
    """All probes, in the words in which they are asked and in those in which their examples are shown."""
    return list(dict.fromkeys((*population.probes, *map(population.as_shown, population.probes))))


def _encoded(latents: Latents, shown: Rows) -> np.ndarray:
    """Of the windows of rows, float32 ``[rows, windows, size]``."""
    count, size = len(shown.tokens), latents.windows.shape[1]
    return latents.encode(shown.tokens[:, 1:].reshape(count, -1, size))


def _prompt(probe: Probe, tokenizer: Tokenizer, size: int) -> list[int]:
    """The begin of text and the prefix in whole windows."""
    return [*[tokenizer.bos] * (1 + -len(probe.prefix_tokens) % size), *probe.prefix_tokens]


def _filled(tokens: Sequence[int], tokenizer: Tokenizer, size: int) -> list[int]:
    """Tokens in whole windows, with ends of text behind them."""
    return [*tokens, *[tokenizer.eos] * (-len(tokens) % size)]


def _known(config: Diffusion, population: Population) -> np.ndarray:
    """The windows that latents can be read as, int ``[n, window]``: of the cohorts, and some of public texts."""
    tokenizer, size = population.tokenizer, config.window
    own = [
        t
        for p in _all(population)
        for t in (*_prompt(p, tokenizer, size)[1:], *_filled(p.target_tokens, tokenizer, size))
    ]
    texts = tokenizer.encode_batch([e.text for e in population.public])
    public = np.array([t for text in texts for t in _filled(text, tokenizer, size)], int).reshape(-1, size)
    some = np.linspace(0, len(public) - 1, min(config.known, len(public))).round().astype(int)
    return np.concatenate([np.array(own).reshape(-1, size), public[some]])


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What a diffusion stage made, ready to be asked."""

    config: Diffusion
    decoder: Decoder
    parts: dict[str, Params]
    """`model` and `head`."""
    folder: Path
    """Of the stage, with its latents."""
    seed: int
    """What is random in its answers follows from this and from the probe."""

    @cached_property
    def _loss(self) -> Denoising:
        return _loss(self.config, self.decoder)

    @cached_property
    def _latents(self) -> Latents:
        with np.load(self.folder / LATENTS) as data:
            return Latents(**data)

    def observe(
        self, asking: Interrogation, told: Callable[[int], None] = lambda count: None
    ) -> Iterator[Observation]:
        """Ask every probe once, without noise on the way back. `told` hears how many were answered since."""
        eos = asking.tokenizer.eos
        for probe, tokens in zip(asking.probes, self._said(asking, 0, 0.0, told), strict=True):
            ended = eos in tokens
            yield observed(
                probe,
                asking.examples[probe.example_id],
                asking.levels,
                asking.tokenizer.decode(tokens[: tokens.index(eos)] if ended else tokens),
                ended=ended,
                scores=None,
            )

    def readings(self, asking: Interrogation, samples: int) -> Iterator[Reading]:
        """The loss of every target at each time, and which of so many samples say it."""
        for probe, values in zip(asking.probes, self._lost(asking), strict=True):
            for number, value in enumerate(values):
                yield _reading(probe, "denoising_loss", number, value)
        for number in range(samples):
            said = self._said(asking, 1 + number, 1.0)
            for probe, tokens in zip(asking.probes, said, strict=True):
                hit = tuple(tokens[: len(probe.target_tokens)]) == probe.target_tokens
                yield _reading(probe, "sampled_hits", number, float(hit))

    def _said(
        self,
        asking: Interrogation,
        number: int,
        temperature: float,
        told: Callable[[int], None] = lambda count: None,
    ) -> Iterator[list[int]]:
        """What is said to each probe: as many windows as the longest target has. `number` tells samples apart."""
        size, probes, tokenizer = self.config.window, asking.probes, asking.tokenizer
        given = [_prompt(p, tokenizer, size) for p in probes]
        prompts, lengths = pad(given, max(map(len, given)), tokenizer.pad)
        key = jax.random.fold_in(jax.random.key(self.seed), number)
        for index in chunks(len(probes), asking.batch):
            found = diffusion.complete(
                self.parts,
                prompts[index],
                lengths[index],
                -(-asking.budget // size),
                row_keys(key, jnp.array([probes[i].id for i in index])),
                loss=self._loss,
                read=self._latents.read,
                bound=self._latents.bound,
                temperature=temperature,
            )
            real = found[: len(probes) - index[0]].tolist()
            yield from real
            told(len(real))

    def _lost(self, asking: Interrogation) -> np.ndarray:
        """Of each target, the mean over its windows: float64 ``[probes, parts]``.

        Times and noises follow from the probe alone: they are the same under both twins, and after every stage.
        """
        probes, steps = asking.probes, self._loss.denoiser.steps
        times = tuple((2 * part + 1) * steps // (2 * PARTS) for part in range(PARTS) for _ in range(_NOISES))
        shown = _rows(probes, probes, asking.tokenizer, self.config.window, "targets")
        weights, latents = shown.weights[:, 1 :: self.config.window], _encoded(self._latents, shown)
        draws = np.array([p.id for p in probes], np.uint32)
        parts = [
            _losses(self._loss, self.parts, shown.tokens[index], latents[index], draws[index], times)
            for index in chunks(len(probes), asking.batch)
        ]
        found = np.concatenate(parts)[: len(probes)].astype(np.float64)
        means = (found * weights[..., None]).sum(axis=1) / weights.sum(axis=1)[:, None]
        return means.reshape(len(probes), PARTS, _NOISES).mean(axis=2)


_losses: Any = jax.jit(Denoising.at, static_argnums=(0, 5))


def _reading(probe: Probe, quantity: str, number: int, value: float) -> Reading:
    return Reading(
        example_id=probe.example_id, quantity=quantity, number=number, value=round(float(value), 6)
    )
