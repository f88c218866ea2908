"""Put probes to a checkpoint: score the target, decode greedily, compare.

Every batch has one shape, padded with repeats of its last probe, so that one audit compiles once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from memaudit.ledger import Example, Observation, Probe
from probes import compare_completion, recover
from rlhf.batches import pad
from rlhf.generate import generate, row_keys, score
from rlhf.model import Decoder, Params
from rlhf.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Interrogation:
    """Probes made ready to be put to any number of checkpoints of one model shape."""

    decoder: Decoder
    tokenizer: Tokenizer
    levels: Sequence[str]
    batch: int
    examples: Mapping[str, Example]
    probes: Sequence[Probe]

    @property
    def prompt_time(self) -> int:
        """Tokens of the longest prompt, the begin-of-text token counted."""
        return 1 + max(len(p.prefix_tokens) for p in self.probes)

    @property
    def budget(self) -> int:
        """Tokens that are decoded for every probe: those of the longest target."""
        return max(len(p.target_tokens) for p in self.probes)

    def observe(
        self, params: Params, told: Callable[[int], None] = lambda count: None
    ) -> Iterator[Observation]:
        """Ask a checkpoint every probe. `told` hears how many were answered since it last did."""
        for start in range(0, len(self.probes), self.batch):
            some = self.probes[start : start + self.batch]
            yield from self._ask(params, some)
            told(len(some))

    def _ask(self, params: Params, some: Sequence[Probe]) -> Iterator[Observation]:
        filled = [*some, *[some[-1]] * (self.batch - len(some))]
        bos, fill = self.tokenizer.bos, self.tokenizer.pad
        prompts, lengths = pad([[bos, *p.prefix_tokens] for p in filled], self.prompt_time, fill)
        texts, _ = pad(
            [[bos, *p.prefix_tokens, *p.target_tokens] for p in filled], self.prompt_time + self.budget, fill
        )
        scores = score(params, jnp.asarray(texts), decoder=self.decoder)
        said = generate(
            params,
            jnp.asarray(prompts),
            jnp.asarray(lengths),
            # Greedy decoding draws nothing; the keys are there because sampling would need them.
            row_keys(jax.random.key(0), jnp.arange(self.batch)),
            decoder=self.decoder,
            budget=self.budget,
            temperature=0.0,
            eos=self.tokenizer.eos,
            pad=fill,
        )
        logprobs, argmax = np.asarray(scores.logprobs), np.asarray(scores.argmax)
        tokens, counts = np.asarray(said.tokens), np.asarray(said.lengths)
        for row, probe in enumerate(some):
            # Entry t of the scores is about token t + 1: the prompt's last token predicts the first of the target.
            first, last = len(probe.prefix_tokens), len(probe.prefix_tokens) + len(probe.target_tokens)
            answer = [int(t) for t in tokens[row, : counts[row]]]
            ended = bool(answer) and answer[-1] == self.tokenizer.eos
            yield self._compare(
                probe,
                completion=self.tokenizer.decode(answer),
                ended=ended,
                logprobs=tuple(round(float(x), 6) for x in logprobs[row, first:last]),
                argmax=tuple(bool(x) for x in argmax[row, first:last]),
            )

    def _compare(
        self,
        probe: Probe,
        *,
        completion: str,
        ended: bool,
        logprobs: tuple[float, ...],
        argmax: tuple[bool, ...],
    ) -> Observation:
        example = self.examples[probe.example_id]
        secrets = [example.text[s.start : s.end] for s in example.secrets]
        recovered = {}
        for span, secret in zip(example.secrets, secrets, strict=True):
            recovery = recover(completion, secret)
            recovered[span.start] = (recovery.prefix, recovery.total)
        return Observation(
            probe_id=probe.id,
            completion=completion,
            ended=ended,
            logprobs=logprobs,
            argmax=argmax,
            matches=compare_completion(
                probe.target.encode(),
                completion.encode(),
                prompt=probe.prefix.encode(),
                language=example.language,
                levels=tuple(self.levels),
                secrets=tuple(s.encode() for s in secrets),
            ),
            recovered=recovered,
        )
