"""Our own decoder: the one backend that looks at the target first and decodes only while a verdict is open."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from memaudit.backends.protocol import About, Question, Said, budget
from memaudit.errors import BadInput
from memaudit.extraction import Interrogation, scores_of
from memaudit.records import Example, Observation, Probe, Scores
from rlhf import huggingface
from rlhf.batches import pad
from rlhf.generate import bucket, generate, row_keys
from rlhf.greedy import depart
from rlhf.model import Decoder, Params
from rlhf.sampling import Sampler
from rlhf.tokenizer import Tokenizer


class Jax:
    """A model of the Llama shape with its parameters and its tokenizer."""

    parallel = 1

    def __init__(
        self,
        decoder: Decoder,
        params: Params,
        tokenizer: Tokenizer,
        *,
        batch: int = 64,
        samplers: Sequence[Sampler] = (),
        name: str = "",
        identity: str = "live",
    ) -> None:
        self.decoder, self.tokenizer = decoder, tokenizer
        # Once, and not with every batch.
        self.params = jax.device_put(params)
        self.batch = batch
        self.samplers = tuple(samplers)
        self.about = About(
            kind="jax",
            name=name,
            identity=identity,
            deterministic=jax.default_backend() == "cpu",
            scores=True,
            spares=True,
        )

    @classmethod
    def read(cls, folder: Path, *, identity: str, batch: int = 64, samplers: Sequence[Sampler] = ()) -> "Jax":
        """The model of a Hugging Face folder. Raises BadInput where it is none of the shapes that are known."""
        try:
            config, params = huggingface.read(folder)
            tokenizer = Tokenizer.read(folder)
        except ValueError as error:
            raise BadInput(f"{' '.join(str(error).split())}; or set --backend transformers") from None
        return cls(
            Decoder(config),
            params,
            tokenizer,
            batch=batch,
            samplers=samplers,
            name=str(folder),
            identity=identity,
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text."""
        return self.tokenizer.encode_batch(texts)

    def infill_tokens(self, prefix: str, suffix: str) -> list[int]:
        """A prompt to fill in the middle, in the tokenizer's own marks: prefix, suffix, middle."""
        t = self.tokenizer
        if t.prefix is None or t.suffix is None or t.middle is None:
            raise BadInput(
                "expected probes without a suffix for a tokenizer that has no marks for filling in the middle, got "
                "one with: leave --kind infill out of `memaudit probes build`"
            )
        return [t.prefix, *t.encode(prefix), t.suffix, *t.encode(suffix), t.middle]

    def score(self, questions: Sequence[Question]) -> list[Scores | None]:
        """One pass over prefixes and targets."""
        prompts, lengths = self._prompts(questions)
        width = budget(max(len(q.target_tokens) for q in questions))
        texts, text_lengths = pad([q.target_tokens for q in questions], width, self.tokenizer.pad)
        found = depart(
            self.params,
            prompts,
            texts,
            lengths,
            text_lengths,
            decoder=self.decoder,
            slots=prompts.shape[1] + width,
            samplers=self.samplers,
        )
        seen = jax.device_get(found.seen)
        return [scores_of(seen, row, len(q.target_tokens), self.samplers) for row, q in enumerate(questions)]

    def go_on(self, questions: Sequence[Question], scores: Sequence[Scores | None]) -> list[Said]:
        """Decode every completion to its budget, whatever the scores say: what `observe` is measured against."""
        del scores
        prompts, lengths = self._prompts(questions)
        budgets = [budget(len(q.target_tokens)) for q in questions]
        found = generate(
            self.params,
            prompts,
            lengths,
            row_keys(jax.random.key(0), jnp.arange(len(questions))),
            decoder=self.decoder,
            budget=max(budgets),
            temperature=0.0,
            eos=self.tokenizer.eos,
            pad=self.tokenizer.pad,
        )
        answers = []
        for row, most in enumerate(budgets):
            tokens = np.asarray(found.tokens)[row, : min(most, int(found.lengths[row]))].tolist()
            answers.append(
                Said(text=self.tokenizer.decode(tokens), ended=tokens[-1:] == [self.tokenizer.eos])
            )
        return answers

    def observe(
        self,
        probes: Sequence[Probe],
        examples: Mapping[str, Example],
        levels: Sequence[str],
        *,
        closing: float | None,
        batch: int,
    ) -> Iterator[Observation]:
        """The fast way to ask: every answer is that of `score` and `go_on`, as far as its verdicts need it.

        The probes' prompts are brought to one width and their targets to one budget; where both are powers of two
        that hold them, as `audit` sorts them, what is observed of a probe does not depend on the others.
        """
        asking = Interrogation(
            decoder=self.decoder,
            tokenizer=self.tokenizer,
            levels=levels,
            batch=batch,
            examples=examples,
            probes=probes,
            context=bucket(1 + max(len(p.prefix_tokens) for p in probes)),
            budget=budget(max(len(p.target_tokens) for p in probes)),
            closing=closing,
            scored=closing is None,
            samplers=self.samplers,
        )
        return asking.observe(self.params)

    def _prompts(self, questions: Sequence[Question]) -> tuple[np.ndarray, np.ndarray]:
        prompts = [[*self.tokenizer.opening, *q.prefix_tokens] for q in questions]
        return pad(prompts, bucket(max(map(len, prompts))), self.tokenizer.pad)
