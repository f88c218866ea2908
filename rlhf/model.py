"""A small decoder of the Llama shape: RMSNorm, rotary positions, SwiGLU, grouped-query attention, tied head.

Notable choices:

- Every matrix product is two-dimensional: XLA's CPU backend is slow on the gradients of 3-D products.
- The layers are a Python loop and the attention works on ``[batch, head, time, size]``: both measured faster
  than a scan over layers and than ``[batch, time, head, size]``.
- Rows are right-padded. While training, the causal mask alone keeps pads out, because they come last.
- The same trunk carries two heads: the language model (tied to the embedding) and, where asked for, one
  scalar per position: the score of a reward model, or the value of a policy.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from rlhf.presets import ModelConfig

KeyValue = tuple[Array, Array]
Cache = tuple[KeyValue, ...]


def rotate(x: Array, positions: Array, base: float) -> Array:
    """Rotary position embedding over the whole head (arXiv 2104.09864), halves convention.

    `x` is ``[batch, head, time, size]``, `positions` ``[batch, time]``.
    """
    half = x.shape[-1] // 2
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[:, None, :, None].astype(jnp.float32) * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    left, right = x[..., :half], x[..., half:]
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


class _Attention(nn.Module):
    config: ModelConfig

    @nn.compact
    def __call__(
        self, x: Array, positions: Array, mask: Array, cache: KeyValue | None, slot: Array | int
    ) -> tuple[Array, KeyValue]:
        c = self.config
        batch, time, width = x.shape
        flat = x.reshape(batch * time, width)

        def project(name: str, heads: int) -> Array:
            out = nn.Dense(heads * c.head_size, use_bias=False, name=name)(flat)
            return out.reshape(batch, time, heads, c.head_size).transpose(0, 2, 1, 3)

        query = rotate(project("q", c.heads), positions, c.rope_base)
        key = rotate(project("k", c.kv_heads), positions, c.rope_base)
        value = project("v", c.kv_heads)
        if cache is not None:
            key = jax.lax.dynamic_update_slice_in_dim(cache[0], key, slot, axis=2)
            value = jax.lax.dynamic_update_slice_in_dim(cache[1], value, slot, axis=2)
        kept = (key, value)
        if c.kv_heads != c.heads:
            key, value = (jnp.repeat(a, c.heads // c.kv_heads, axis=1) for a in kept)
        logits = jnp.einsum("bhtd,bhsd->bhts", query, key) * c.head_size**-0.5
        logits = jnp.where(mask[:, None], logits, -1e30)
        mixed = jnp.einsum("bhts,bhsd->bhtd", jax.nn.softmax(logits, axis=-1), value)
        mixed = mixed.transpose(0, 2, 1, 3).reshape(batch * time, width)
        return nn.Dense(width, use_bias=False, name="o")(mixed).reshape(batch, time, width), kept


class _FeedForward(nn.Module):
    config: ModelConfig

    @nn.compact
    def __call__(self, x: Array) -> Array:
        flat = x.reshape(-1, x.shape[-1])
        gate = nn.Dense(self.config.hidden, use_bias=False, name="gate")(flat)
        up = nn.Dense(self.config.hidden, use_bias=False, name="up")(flat)
        return nn.Dense(x.shape[-1], use_bias=False, name="down")(nn.silu(gate) * up).reshape(x.shape)


class _Block(nn.Module):
    config: ModelConfig

    @nn.compact
    def __call__(
        self, x: Array, positions: Array, mask: Array, cache: KeyValue | None, slot: Array | int
    ) -> tuple[Array, KeyValue]:
        eps = self.config.norm_epsilon
        mixed, kept = _Attention(self.config, name="attention")(
            nn.RMSNorm(epsilon=eps, name="attention_norm")(x), positions, mask, cache, slot
        )
        x = x + mixed
        x = x + _FeedForward(self.config, name="mlp")(nn.RMSNorm(epsilon=eps, name="mlp_norm")(x))
        return x, kept


class Decoder(nn.Module):
    """The decoder. `scalar` adds one output per position (a reward model's score, a policy's value).

    Modules are frozen and hashable, so a `Decoder` is passed to jitted functions as a static argument, and its
    parameters, a plain nested dict of float32 arrays, as a traced one.
    """

    config: ModelConfig
    scalar: bool = False

    def setup(self) -> None:
        """Name the parameters."""
        c = self.config
        self.embed = self.param("embed", nn.initializers.normal(0.02), (c.vocabulary, c.width))
        self.blocks = [_Block(c, name=f"block_{i}") for i in range(c.layers)]
        self.norm = nn.RMSNorm(epsilon=c.norm_epsilon)
        if self.scalar:
            # Zero at first: a fresh value head predicts nothing instead of noise.
            self.head = self.param("head", nn.initializers.zeros, (c.width,))

    def __call__(
        self,
        tokens: Array,
        positions: Array | None = None,
        mask: Array | None = None,
        cache: Cache | None = None,
        slot: Array | int = 0,
    ) -> tuple[Array, Cache]:
        """Hidden states ``[batch, time, width]`` after the last norm, and the keys and values of each layer.

        `tokens` is int32 ``[batch, time]``. Without `mask` (bool ``[batch, time, slots]``) attention is causal over
        `tokens`; without `positions` they count from 0. With a `cache` of ``[batch, kv head, slots, size]`` pairs
        the new keys and values are written from `slot` on, and `mask` must say which slots count.
        """
        batch, time = tokens.shape
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(time), (batch, time))
        if mask is None:
            mask = jnp.broadcast_to(jnp.tril(jnp.ones((time, time), bool)), (batch, time, time))
        x = jnp.take(self.embed, tokens, axis=0)
        kept = []
        for index, block in enumerate(self.blocks):
            x, pair = block(x, positions, mask, None if cache is None else cache[index], slot)
            kept.append(pair)
        return self.norm(x), tuple(kept)

    def logits(self, hidden: Array) -> Array:
        """Next-token logits, float32 ``[..., vocabulary]``, of hidden states ``[..., width]``."""
        flat = hidden.reshape(-1, hidden.shape[-1]).astype(jnp.float32)
        return (flat @ self.embed.T).reshape(*hidden.shape[:-1], self.config.vocabulary)

    def value(self, hidden: Array) -> Array:
        """The scalar head: float32 ``[...]`` of hidden states ``[..., width]``."""
        return hidden.astype(jnp.float32) @ self.head


Params = dict
"""Parameters of a `Decoder`: a nested dict of float32 arrays."""


def initialise(decoder: Decoder, key: Array) -> Params:
    """Fresh parameters."""
    return dict(decoder.init(key, jnp.zeros((1, 2), jnp.int32))["params"])


def with_scalar(params: Params, width: int) -> Params:
    """The same trunk with a zero scalar head put on; the arrays of the trunk are shared, not copied."""
    return {**params, "head": jnp.zeros((width,), jnp.float32)}


def without_scalar(params: Params) -> Params:
    """The language model inside a reward model or a policy with values: the scalar head taken off."""
    return {name: value for name, value in params.items() if name != "head"}


def hidden_states(decoder: Decoder, params: Params, tokens: Array) -> Array:
    """Hidden states ``[batch, time, width]`` of right-padded rows."""
    return decoder.apply({"params": params}, tokens)[0]  # pyright: ignore[reportIndexIssue]


def logits_of(decoder: Decoder, params: Params, hidden: Array) -> Array:
    """`Decoder.logits` as a pure function."""
    return decoder.apply({"params": params}, hidden, method="logits")  # pyright: ignore[reportReturnType]


def values_of(decoder: Decoder, params: Params, hidden: Array) -> Array:
    """`Decoder.value` as a pure function."""
    return decoder.apply({"params": params}, hidden, method="value")  # pyright: ignore[reportReturnType]
