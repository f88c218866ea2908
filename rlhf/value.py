"""A value net over partial texts: how good one is, from 0 to 1 (the process value of ReST-MCTS*, arXiv 2406.03816).

A trunk that starts from a language model, and a scalar head read at the last token, learnt by the mean square of what
it is off. The paper maps the logits of the whole vocabulary to a number and leaves it unbounded; here the head stands
on the hidden state and a sigmoid bounds it, as qualities are bounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import chunks, epochs, pad
from rlhf.events import RowIds
from rlhf.fit import Batch, fit
from rlhf.model import Decoder, Params, random_head
from rlhf.optimiser import Optimiser, Parts
from rlhf.reward import score_rows
from rlhf.stage import Stage


@dataclass(frozen=True)
class Squared:
    """(sigmoid(s) - v)^2, summed over texts: s the raw scalar at the last token, v the quality."""

    decoder: Decoder

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` has `tokens` int32 ``[batch, time]``, `last` int32 ``[batch]`` and `quality` float32 ``[batch]``."""
        raw = score_rows(self.decoder, parts["model"], parts["head"], batch["tokens"], batch["last"])
        off = jax.nn.sigmoid(raw) - batch["quality"]
        return jnp.sum(jnp.square(off)), jnp.float32(len(off)), {}


@partial(jax.jit, static_argnames=("decoder",))
def _values(parts: Parts, tokens: Array, last: Array, *, decoder: Decoder) -> Array:
    return jax.nn.sigmoid(score_rows(decoder, parts["model"], parts["head"], tokens, last))


@dataclass(frozen=True, kw_only=True)
class ValueNet:
    """A value net that can be asked."""

    decoder: Decoder
    parts: Parts
    """`model` and `head`."""
    time: int
    """Tokens of the longest text."""
    at_once: int = 64
    """Texts in a pass."""

    def __call__(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Values float32 ``[texts]`` of texts as token ids."""
        tokens, lengths = pad(texts, self.time, 0)
        found = [
            _values(
                self.parts,
                jnp.asarray(tokens[i]),
                jnp.asarray(lengths[i] - 1, jnp.int32),
                decoder=self.decoder,
            )
            for i in chunks(len(texts), self.at_once)
        ]
        return np.concatenate(jax.device_get(found))[: len(texts)] if found else np.zeros(0, np.float32)


def train(
    params: Params,
    texts: Sequence[Sequence[int]],
    qualities: np.ndarray,
    *,
    decoder: Decoder,
    optimiser: Optimiser,
    steps: int,
    batch: int,
    time: int,
    seed: int,
) -> ValueNet:
    """Fit a value net that starts from `params` to `qualities` (float ``[texts]``, 0 to 1), in `steps` updates."""
    tokens, lengths = pad(texts, time, 0)
    order = epochs(len(texts), batch, steps, seed)
    wanted = np.asarray(qualities, np.float32)

    def shown(step: int) -> tuple[Batch, tuple[RowIds, ...]]:
        index = order[step]
        return {
            "tokens": tokens[index],
            "last": (lengths[index] - 1).astype(np.int32),
            "quality": wanted[index],
        }, ()

    parts = fit(
        {"model": params, "head": random_head(decoder.config.width, jax.random.key(seed))},
        shown,
        loss=Squared(decoder),
        optimiser=optimiser,
        role="value",
        steps=steps,
        stage=Stage(name="value"),
    )
    return ValueNet(decoder=decoder, parts=parts, time=time)
