"""The diffusion loss (arXiv 2406.11838): what a position says is a vector, not one of so many tokens.

    L(x, z) = E_{t, eps} |eps - eps_theta(x_t | t, z)|^2,    x_t = sqrt(a_t) x + sqrt(1 - a_t) eps

A decoder's hidden state z is the condition, and a small network says the noise in a noised target x. It learns the
whole distribution of x given z, where a head that regresses x would say its mean: of two continuations that are as
likely, the point between them. Sampling goes back from noise step by step (arXiv 2006.11239).

Here the targets are latents of windows of code (`latents`), each conditioned on the hidden state before its first
token: the trunk reads tokens as it does under cross-entropy, and only the objective is another. Code is discrete, so
nothing is gained by that; it is an ablation of the objective, for who asks whether texts are learnt by heart under it.

Other than published: the variance of the way back is not learnt, as sampling from the fixed one does without a second
output and a second loss; and predictions of x are cut to a bound, because the first steps divide by next to nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import Rows, take
from rlhf.events import RowIds
from rlhf.fit import fit
from rlhf.generate import row_keys
from rlhf.model import Decoder, Params, hidden_states
from rlhf.optimiser import Optimiser, Parts
from rlhf.stage import Stage

_OFFSET, _STEEPEST = (
    0.008,
    0.999,
)  # of arXiv 2102.09672: a first step that is not too small, a last one that is not all


def signal(steps: int) -> np.ndarray:
    """a_t, the share of the variance that is signal after each of so many steps: float64 ``[steps]``, falling.

    The cosine schedule of arXiv 2102.09672.
    """
    if steps < 2:
        raise ValueError(f"expected at least 2 `steps`, got {steps}")
    angle = (np.arange(steps + 1) / steps + _OFFSET) / (1 + _OFFSET) * np.pi / 2
    level = np.cos(angle) ** 2
    return np.cumprod(1 - np.minimum(1 - level[1:] / level[:-1], _STEEPEST))


class Denoiser(nn.Module):
    """The noise in a noised target, by time and condition.

    A residual network whose norms are shifted and scaled, and whose branches are gated, by what time and condition say
    (adaptive layer norm, arXiv 2212.09748). Gates and output begin as 0: a fresh one says that there is no noise.
    """

    size: int
    """Numbers of a target."""
    width: int = 64
    """Inner size; even."""
    blocks: int = 3
    """Residual blocks."""
    steps: int = 1000
    """Steps from signal to noise."""

    @nn.compact
    def __call__(self, noised: Array, time: Array, condition: Array) -> Array:
        """float32 ``[n, size]`` of `noised` ``[n, size]``, `time` int32 ``[n]`` and `condition` ``[n, any]``."""
        zeros = nn.initializers.zeros
        said = nn.silu(nn.Dense(self.width, name="time_in")(_waves(time, self.width)))
        said = nn.Dense(self.width, name="time_out")(said) + nn.Dense(self.width, name="condition")(condition)
        said = nn.silu(said)
        x = nn.Dense(self.width, name="enter")(noised)

        def adapted(x: Array, shift: Array, scale: Array) -> Array:
            return nn.LayerNorm(epsilon=1e-6, use_scale=False, use_bias=False)(x) * (1 + scale) + shift

        for index in range(self.blocks):
            adapt = nn.Dense(3 * self.width, kernel_init=zeros, name=f"adapt_{index}")(said)
            shift, scale, gate = jnp.split(adapt, 3, axis=-1)
            inner = nn.Dense(self.width, name=f"in_{index}")(adapted(x, shift, scale))
            x = x + gate * nn.Dense(self.width, name=f"out_{index}")(nn.silu(inner))
        shift, scale = jnp.split(nn.Dense(2 * self.width, kernel_init=zeros, name="adapt")(said), 2, axis=-1)
        return nn.Dense(self.size, kernel_init=zeros, name="leave")(adapted(x, shift, scale))


def _waves(time: Array, width: int) -> Array:
    """Sines and cosines of the time at falling frequencies, float32 ``[n, width]``."""
    half = width // 2
    angle = time[:, None].astype(jnp.float32) * 10_000.0 ** (-np.arange(half, dtype=np.float32) / half)
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def initialise(denoiser: Denoiser, condition: int, key: Array) -> Params:
    """Fresh parameters, for conditions of so many numbers."""
    empty = jnp.zeros((1, denoiser.size)), jnp.zeros((1,), jnp.int32), jnp.zeros((1, condition))
    return dict(denoiser.init(key, *empty)["params"])


def losses(
    denoiser: Denoiser, params: Params, targets: Array, conditions: Array, keys: Array, draws: int = 4
) -> Array:
    """Squared error of the noise, the mean over a target's numbers: float32 ``[n]``.

    Of `targets` ``[n, size]`` under `conditions` ``[n, any]``, the mean over so many draws of time and noise, which
    follow from each target's own key of `keys` ``[n]``. Conditions are computed once for all draws.
    """
    apart = jax.vmap(partial(jax.random.split, num=(draws, 2)))(keys)
    time = jax.vmap(jax.vmap(lambda k: jax.random.randint(k[0], (), 0, denoiser.steps)))(apart)
    return _errors(denoiser, params, targets, conditions, time, apart[:, :, 1]).mean(axis=1)


def losses_at(
    denoiser: Denoiser, params: Params, targets: Array, conditions: Array, keys: Array, times: tuple[int, ...]
) -> Array:
    """The same at given times, with a noise of its own for each: float32 ``[n, times]``."""
    apart = jax.vmap(partial(jax.random.split, num=len(times)))(keys)
    time = jnp.broadcast_to(jnp.array(times, jnp.int32), apart.shape)
    return _errors(denoiser, params, targets, conditions, time, apart)


def _errors(
    denoiser: Denoiser, params: Params, targets: Array, conditions: Array, time: Array, keys: Array
) -> Array:
    """Of each target at each of its times, int32 ``[n, draws]``, with noise from keys ``[n, draws]``."""
    noise = jax.vmap(jax.vmap(lambda key: jax.random.normal(key, (denoiser.size,))))(keys)
    left = jnp.asarray(signal(denoiser.steps), jnp.float32)[time][..., None]
    noised = jnp.sqrt(left) * targets[:, None] + jnp.sqrt(1 - left) * noise
    repeated = jnp.repeat(conditions, time.shape[1], axis=0)
    found = denoiser.apply({"params": params}, _flat(noised), time.reshape(-1), repeated)
    return jnp.mean(jnp.square(found - _flat(noise)), axis=-1).reshape(time.shape)  # pyright: ignore


def _flat(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


@partial(jax.jit, static_argnames=("denoiser", "steps"))
def sample(
    params: Params,
    conditions: Array,
    keys: Array,
    *,
    denoiser: Denoiser,
    bound: float | Array,
    steps: int = 100,
    temperature: float | Array = 1.0,
) -> Array:
    """Draw a target for each of `conditions` ``[n, any]``, with its own key of `keys` ``[n]``: float32 ``[n, size]``.

    In so many `steps` of those that were trained. `bound` is the largest magnitude that a target's number has.
    `temperature` scales the noise that is put back at each step, not that which is begun with.
    """
    times = np.unique(np.linspace(0, denoiser.steps - 1, steps).round().astype(int))[::-1]
    level = signal(denoiser.steps)
    now = level[times]
    after = np.append(now[1:], 1.0)
    kept = now / after
    mean_of_target = np.sqrt(after) * (1 - kept) / (1 - now)
    mean_of_state = np.sqrt(kept) * (1 - after) / (1 - now)
    spread = np.sqrt((1 - kept) * (1 - after) / (1 - now))
    plan = (times, np.arange(1, len(times) + 1), now, mean_of_target, mean_of_state, spread)
    plan = tuple(jnp.asarray(x, jnp.int32 if x.dtype == int else jnp.float32) for x in plan)

    def normal(number: Array | int) -> Array:
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), (denoiser.size,)))(
            keys
        )

    def back(x: Array, step: tuple[Array, ...]) -> tuple[Array, None]:
        time, number, level, of_target, of_state, spread = step
        noise = denoiser.apply({"params": params}, x, jnp.full(len(x), time), conditions)
        target = jnp.clip((x - jnp.sqrt(1 - level) * noise) / jnp.sqrt(level), -bound, bound)  # pyright: ignore
        return of_target * target + of_state * x + temperature * spread * normal(number), None

    return jax.lax.scan(back, normal(0), plan)[0]


@dataclass(frozen=True)
class Denoising:
    """The diffusion loss of the windows of a text, summed over those that have weight."""

    decoder: Decoder
    denoiser: Denoiser
    window: int
    """Tokens of a window."""
    draws: int = 4
    """Times and noises that each target is noised with at a showing."""

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` has `tokens` int32 ``[batch, 1 + windows * window]``, a text after its begin; `latents` float32
        ``[batch, windows, size]``, `weights` float32 ``[batch, windows]``, and `draws` uint32 ``[batch]``."""
        found = self.of_windows(parts, batch["tokens"], batch["latents"], batch["draws"])
        count = jnp.sum(batch["weights"])
        return jnp.sum(found * batch["weights"]), count, {"num_windows": count}

    def of_windows(self, parts: Mapping[str, Params], tokens: Array, latents: Array, draws: Array) -> Array:
        """The loss of each window, float32 ``[batch, windows]``."""
        conditions, keys = self._given(parts, tokens, draws)
        found = losses(self.denoiser, parts["head"], _flat(latents), conditions, keys, self.draws)
        return found.reshape(latents.shape[:2])

    def at(
        self,
        parts: Mapping[str, Params],
        tokens: Array,
        latents: Array,
        draws: Array,
        times: tuple[int, ...],
    ) -> Array:
        """The loss of each window at each of some times, float32 ``[batch, windows, times]``."""
        conditions, keys = self._given(parts, tokens, draws)
        found = losses_at(self.denoiser, parts["head"], _flat(latents), conditions, keys, times)
        return found.reshape(*latents.shape[:2], -1)

    def _given(self, parts: Mapping[str, Params], tokens: Array, draws: Array) -> tuple[Array, Array]:
        """The condition and the key of each window, row by row."""
        hidden = hidden_states(self.decoder, parts["model"], tokens[:, :-1])
        conditions = hidden[:, :: self.window].astype(jnp.float32)
        of_rows = row_keys(jax.random.key(0), draws)
        keys = jax.vmap(lambda key: row_keys(key, jnp.arange(conditions.shape[1])))(of_rows)
        return _flat(conditions), keys.reshape(-1)


def train(
    params: Params,
    head: Params,
    rows: Rows,
    latents: np.ndarray,
    order: np.ndarray,
    optimiser: Optimiser,
    *,
    loss: Denoising,
    stage: Stage,
    seed: int,
) -> Parts:
    """Show `rows` along `order` (int ``[steps, batch]``), one update per batch; returns `model` and `head`.

    A row is the begin of text and whole windows, and `latents` has theirs: float32 ``[rows, windows, size]``. A window
    is learnt where its first token has weight. Times and noises follow from `seed`, the step and the row's place.
    """
    windows, rest = divmod(rows.tokens.shape[1] - 1, loss.window)
    wanted = (len(rows.tokens), windows, loss.denoiser.size)
    if rest or latents.shape != wanted:
        raise ValueError(
            f"expected rows of 1 + a multiple of {loss.window} tokens and latents {list(wanted)} of them, got rows "
            f"of {rows.tokens.shape[1]} and latents {list(latents.shape)}"
        )

    def shown(step: int) -> tuple[dict[str, np.ndarray], tuple[RowIds, ...]]:
        batch, ids = take(rows, order[step])
        batch["weights"] = batch["weights"][:, 1 :: loss.window]
        batch["latents"] = latents[order[step]]
        drawn = np.random.default_rng([seed, step])
        batch["draws"] = drawn.integers(2**32, size=len(order[step]), dtype=np.uint32)
        return batch, ids

    return fit(
        {"model": params, "head": head},
        shown,
        loss=loss,
        optimiser=optimiser,
        role="target",
        steps=len(order),
        stage=stage,
    )


def complete(
    parts: Mapping[str, Params],
    prompts: np.ndarray,
    lengths: np.ndarray,
    count: int,
    keys: Array,
    *,
    loss: Denoising,
    read: Callable[[np.ndarray], np.ndarray],
    bound: float,
    steps: int = 100,
    temperature: float = 1.0,
) -> np.ndarray:
    """Continue right-padded `prompts` by `count` windows: int32 ``[n, count * window]``.

    `prompts` are int32 ``[n, time]`` of `lengths` ``[n]``, each a begin of text and whole windows. Each window's latent
    is sampled, and `read` makes tokens ``[n, window]`` of latents ``[n, size]``, which the decoder goes on from. What a
    row says follows from its own key of `keys` ``[n]`` and does not depend on the rows beside it.
    """
    rows, size = np.arange(len(prompts))[:, None], loss.window
    tokens = np.pad(prompts.astype(np.int32), ((0, 0), (0, count * size)))
    for index in range(count):
        at = lengths + index * size
        latents = _next(
            parts,
            jnp.asarray(tokens),
            jnp.asarray(at - 1),
            keys,
            index,
            loss=loss,
            bound=bound,
            steps=steps,
            temperature=temperature,
        )
        tokens[rows, at[:, None] + np.arange(size)] = read(np.asarray(latents))
    return tokens[rows, lengths[:, None] + np.arange(count * size)]


@partial(jax.jit, static_argnames=("loss", "steps"))
def _next(
    parts: Mapping[str, Params],
    tokens: Array,
    places: Array,
    keys: Array,
    index: int,
    *,
    loss: Denoising,
    bound: float,
    steps: int,
    temperature: float,
) -> Array:
    """The latent of window `index`, which follows each row's place; what is behind it is not seen."""
    hidden = hidden_states(loss.decoder, parts["model"], tokens)
    return sample(
        parts["head"],
        hidden[jnp.arange(len(hidden)), places].astype(jnp.float32),
        jax.vmap(jax.random.fold_in, (0, None))(keys, index),
        denoiser=loss.denoiser,
        bound=bound,
        steps=steps,
        temperature=temperature,
    )
