"""Trainings by tunix: hooks for its trainers, and its living models as models that can be asked.

tunix is needed when something is attached, and not before.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memaudit.attach.foreign import foreign
from memaudit.attach.reward import wrap_reward
from memaudit.attach.watch import Watch
from memaudit.backends import About, Question, Said, budget
from memaudit.backends.huggingface import Words
from memaudit.errors import BadInput
from memaudit.records import Scores
from rlhf.batches import pad
from rlhf.generate import bucket

__all__ = ["Tunix", "audit_hooks", "wrap_reward"]

_PACKAGE = "google-tunix"


class Tunix:
    """A causal language model of flax.nnx, called as tunix calls its own: ``(tokens, positions, cache, mask)``.

    Targets are scored by one pass, and completions are decoded by tunix's sampler. The model is not touched; what is
    asked is a copy in eval mode that shares its arrays. As that sampler masks whatever token is its pad, a prompt that
    spells the tokenizer's pad is read without it.
    """

    parallel = 1

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        batch: int = 8,
        name: str = "live",
        identity: str = "live",
    ) -> None:
        """`model` has a `config` as those of tunix have; `tokenizer` is one of Hugging Face, of SentencePiece or
        tunix's adapter of either. `batch` questions are put to it at once.
        """
        self._nnx = foreign("flax.nnx", "flax")
        self._samplers: Any = foreign("tunix.generate.sampler", _PACKAGE)
        adapters = foreign("tunix.generate.tokenizer_adapter", _PACKAGE)
        adapter = (
            tokenizer
            if isinstance(tokenizer, adapters.TokenizerAdapter)
            else adapters.TokenizerAdapter(tokenizer)
        )
        own = adapter.tokenizer
        self._words = Words(own if callable(own) else _Callable(adapter))
        eos = adapter.eos_id()
        if eos is None or eos < 0:
            raise BadInput(
                "expected a tokenizer with a token that ends a text, got one without: set its eos token"
            )
        # The adapter would give a tokenizer without a pad one, and that tokenizer is the trainer's.
        pads = getattr(own, "pad_token_id", None) if callable(own) else own.pad_id()
        self._eos, self._pad = eos, eos if pads is None or pads < 0 else pads
        self._model, self.batch = model, batch
        self._name, self._identity = name, identity
        self._decoders: dict[int, Any] = {}
        # A graph with the config of a model in it cannot be hashed, and so cannot be an argument.
        graph, merge = self._nnx.graphdef(self._still()), self._nnx.merge
        self._told = jax.jit(lambda state, *given: _likelihood(merge(graph, state), *given))

    @property
    def about(self) -> About:
        """What is to be known of it."""
        return About(
            kind="tunix",
            name=self._name,
            identity=self._identity,
            deterministic=jax.default_backend() == "cpu",
            scores=True,
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text as it stands inside another, without special ones around it."""
        return self._words.encode(texts)

    def score(self, questions: Sequence[Question]) -> list[Scores | None]:
        """One teacher-forced pass over each prefix and target, in float32 from the logits on."""
        prompts = self._prompts(questions)
        starts = [len(prompt) for prompt in prompts]
        targets = [q.target_tokens for q in questions]
        rows, count = self._filled(list(range(len(questions))))
        whole = [[*prompts[i], *targets[i]] for i in rows]
        width = bucket(max(map(len, whole)))
        tokens, lengths = pad(whole, width, self._pad)
        ahead, _ = pad([targets[i] for i in rows], budget(max(map(len, targets))), self._pad)
        begun = np.array([starts[i] for i in rows], np.int32)
        told = self._told(self._nnx.state(self._still()), tokens, lengths, begun, ahead)
        logprobs, argmax, entropies, deviations = (np.asarray(values) for values in told)
        if np.isnan(logprobs[:count]).any():
            raise BadInput("expected numbers as logits of the model, got NaN: train it in another dtype")

        def rounded(values: np.ndarray, row: int) -> tuple[float, ...]:
            return tuple(round(float(x), 6) for x in values[row, : len(targets[row])])

        return [
            Scores(
                logprobs=rounded(logprobs, row),
                argmax=tuple(bool(hit) for hit in argmax[row, : len(targets[row])]),
                entropies=rounded(entropies, row),
                deviations=rounded(deviations, row),
            )
            for row in range(count)
        ]

    def go_on(self, questions: Sequence[Question], scores: Sequence[Scores | None]) -> list[Said]:
        """Decode each prefix greedily, up to the budget of its target; what a pass has told spares nothing."""
        del scores
        rows, count = self._filled(self._prompts(questions))
        budgets = [budget(len(q.target_tokens)) for q in questions]
        width = bucket(max(map(len, rows)))
        decoder = self._decoder(width + max(budgets))
        decoder.transformer_state = self._nnx.variables(self._still())
        try:
            found = decoder(
                [tuple(row) for row in rows], max_generation_steps=max(budgets), max_prompt_length=width
            )
        finally:
            # Else these weights would live on while the next ones are trained.
            decoder.transformer_state = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
                decoder.transformer_state,
            )
        answers = []
        for tokens, most in zip(found.tokens[:count], budgets, strict=True):
            said = [int(token) for token in tokens[:most]]
            answers.append(Said(text=self._words.decode(said), ended=len(tokens) < most))
        return answers

    def _prompts(self, questions: Sequence[Question]) -> list[list[int]]:
        prompts = [self._words.open(q.prefix, q.prefix_tokens) for q in questions]
        highest = max(max((*p, *q.target_tokens)) for p, q in zip(prompts, questions, strict=True))
        size = self._model.config.vocab_size
        if highest >= size:
            raise BadInput(
                f"expected tokens below {size}, the vocabulary of the model, got {highest}: set the tokenizer that "
                "belongs to it"
            )
        return prompts

    def _filled(self, rows: list[Any]) -> tuple[list[Any], int]:
        """Rows up to a power of two, so that there are few programs; and how many are real."""
        size = 1 << (len(rows) - 1).bit_length()
        return [*rows, *rows[-1:] * (size - len(rows))], len(rows)

    def _still(self) -> Any:
        """The model in eval mode: another object, the same arrays."""
        still = self._nnx.merge(*self._nnx.split(self._model))
        still.eval()
        return still

    def _decoder(self, slots: int) -> Any:
        """A sampler whose cache has so many slots. Prompts go in as tokens, and answers come out as such."""
        if slots not in self._decoders:
            config = self._model.config
            cache = self._samplers.CacheConfig(
                cache_size=slots,
                num_layers=config.num_layers,
                num_kv_heads=config.num_kv_heads,
                head_dim=config.head_dim,
            )
            self._decoders[slots] = self._samplers.Sampler(
                self._still(), _Tokens(eos=self._eos, pad=self._pad), cache
            )
        return self._decoders[slots]


class _Tokens:
    """What tunix's sampler takes for a tokenizer, where texts are tokens already."""

    def __init__(self, *, eos: int, pad: int) -> None:
        self._eos, self._pad = eos, pad

    def encode(self, text: Sequence[int], **_: Any) -> list[int]:
        return list(text)

    def decode(self, ids: list[int], **_: Any) -> list[int]:
        return ids

    def bos_id(self) -> None:
        """Whatever stands before a text is in it."""

    def eos_id(self) -> int:
        return self._eos

    def pad_id(self) -> int:
        return self._pad


class _Callable:
    """A tokenizer of SentencePiece, or another that tunix knows, called as one of Hugging Face is."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        bos = adapter.bos_id()
        self._bos = [] if bos is None or bos < 0 else [bos]
        own = adapter.tokenizer
        self._size = own.GetPieceSize() if hasattr(own, "GetPieceSize") else math.inf

    def __call__(
        self, text: str | list[str], *, add_special_tokens: bool = True, **_: Any
    ) -> dict[str, list]:
        if isinstance(text, list):
            return {"input_ids": [self._adapter.encode(one) for one in text]}
        return {"input_ids": [*(self._bos if add_special_tokens else ()), *self._adapter.encode(text)]}

    def decode(self, tokens: list[int], **_: Any) -> str:
        # A model may have rows of its embedding that no text has.
        return self._adapter.decode([token for token in tokens if token < self._size])


def _likelihood(
    model: Any,
    tokens: jax.Array,
    lengths: jax.Array,
    starts: jax.Array,
    targets: jax.Array,
) -> tuple[jax.Array, ...]:
    """Of int32 `targets` ``[batch, n]``, which begin at `starts` in right-padded `tokens` ``[batch, time]``.

    Log-probability, whether it is the argmax, entropy and standard deviation of the log-probability, ``[batch, n]``.
    """
    time = tokens.shape[1]
    real = jnp.arange(time) < lengths[:, None]
    positions = jnp.maximum(jnp.cumsum(real, axis=-1) - 1, 0)
    logits, _ = model(tokens, positions, None, jnp.tril(jnp.ones((time, time), bool)) & real[:, None, :])
    before = jnp.minimum(starts[:, None] - 1 + jnp.arange(targets.shape[1]), time - 1)
    logits = jnp.take_along_axis(logits, before[:, :, None], axis=1).astype(jnp.float32)
    logprobs = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(logprobs, targets[:, :, None], axis=-1)[:, :, 0]
    chances = jnp.exp(logprobs)
    surprise = -jnp.where(chances == 0, 0.0, logprobs)
    entropy = jnp.sum(chances * surprise, axis=-1)
    deviation = jnp.sqrt(jnp.sum(chances * jnp.square(surprise - entropy[:, :, None]), axis=-1))
    return own, jnp.argmax(logits, axis=-1) == targets, entropy, deviation


def audit_hooks(watch: Watch, tokenizer: Any, *, batch: int = 8) -> Any:
    """`TrainingHooks` that look at the model before the first step, after every so many, and after the last.

    For `PeftTrainer.with_training_hooks`, and for the `actor_trainer` of an RL cluster: as its learner trains a batch
    at a time, `finish()` of the hooks is to be called when it is done. Raises BadInput where there is no tunix, or this
    is one of several processes.
    """
    if jax.process_count() > 1:
        raise BadInput(
            f"expected a training in one process, got one in {jax.process_count()}: leave the hooks out, save "
            "checkpoints, and put them to `memaudit audit`"
        )

    class AuditHooks(foreign("tunix.sft.hooks", _PACKAGE).TrainingHooks):
        def __init__(self) -> None:
            self._trainer: Any = None
            self._backend: Any = None
            self._seen: int | None = None

        def on_train_start(self, train_ctx: Any) -> None:
            if self._trainer is None:
                self._trainer = train_ctx
                self._backend = Tunix(train_ctx.model, tokenizer, batch=batch)
                watch.begin(self._backend, train_ctx.train_steps)
                self._seen = train_ctx.train_steps

        def on_train_step_start(self, train_ctx: Any) -> None:
            # A step's end is told when the next one has been taken. Here, the model is that of `train_steps`; and
            # with accumulation, several times.
            step = train_ctx.train_steps
            if step != self._seen and watch.due(step):
                watch.look(self._backend, step)
            self._seen = step

        def on_train_end(self, train_ctx: Any) -> None:
            if not train_ctx.is_managed_externally:
                self.finish()

        def on_train_step_end(self, train_ctx: Any, train_step: int, train_loss: float) -> None: ...

        def on_eval_step_start(self, train_ctx: Any) -> None: ...

        def on_eval_step_end(self, train_ctx: Any, eval_loss: float) -> None: ...

        def finish(self) -> None:
            """Look at the model as it has become, and write the documents."""
            if self._trainer is None:
                raise BadInput("expected hooks that have seen a training, got none: set them on a trainer")
            watch.look(self._backend, self._trainer.train_steps, whole=True)
            watch.finish()

    return AuditHooks()
