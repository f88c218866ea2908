"""Put probes to a checkpoint: look at the target first, decode from where the model leaves it, compare.

Every batch has one shape, padded with repeats of its last probe, so that one audit compiles once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from memaudit.ledger import Example, Observation, Probe
from probes import Match, at_least, compare_completion, recover
from rlhf.batches import pad
from rlhf.greedy import Departure, depart, go_on, pick
from rlhf.model import Decoder, Params
from rlhf.tokenizer import Tokenizer

_STEPS = 8  # tokens that are decoded before it is looked at them again
_LEAST = 4  # part of a batch that it is brought down to, at least: each size is a program of its own


@dataclass
class _Answer:
    """What a checkpoint says to a probe, as far as it is known."""

    probe: Probe
    tokens: list[int]
    open: bool = True
    """More tokens may change what is to be said of it."""
    ended: bool = False
    bound: Mapping[str, Match] | None = None
    """What closed it, where it was not decoded to its end."""


@dataclass(frozen=True, kw_only=True)
class Interrogation:
    """Probes made ready to be put to any number of checkpoints of one model shape."""

    decoder: Decoder
    tokenizer: Tokenizer
    levels: Sequence[str]
    batch: int
    examples: Mapping[str, Example]
    probes: Sequence[Probe]
    closing: float | None = None
    """Decode a completion only until no more of it could bring it within this normalised distance of its target at
    any level, or make it more equal than it is, and until its secrets are out. Its matches are lower bounds then, and
    verdicts with thresholds up to this are those of whole completions. None: decode to the end."""

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
        texts, lengths = pad(
            [[self.tokenizer.bos, *p.prefix_tokens, *p.target_tokens] for p in filled],
            self.prompt_time + self.budget,
            self.tokenizer.pad,
        )
        found = depart(
            params,
            jnp.asarray(texts),
            jnp.asarray([1 + len(p.prefix_tokens) for p in filled], jnp.int32),
            jnp.asarray(lengths),
            decoder=self.decoder,
            slots=self.prompt_time + self.budget + _STEPS,
        )
        logprobs, hits, agreed = np.asarray(found.logprobs), np.asarray(found.hits), np.asarray(found.agreed)
        answers = [_Answer(p, list(p.target_tokens[: agreed[row]])) for row, p in enumerate(some)]
        self._decode(params, answers, found)
        for row, (probe, answer) in enumerate(zip(some, answers, strict=True)):
            # Entry t is about token t + 1: the prompt's last token predicts the first of the target.
            first, last = len(probe.prefix_tokens), len(probe.prefix_tokens) + len(probe.target_tokens)
            yield self._observation(
                answer,
                logprobs=tuple(round(float(x), 6) for x in logprobs[row, first:last]),
                argmax=tuple(bool(x) for x in hits[row, first:last]),
            )

    def _decode(self, params: Params, answers: Sequence[_Answer], found: Departure) -> None:
        """Go on with the answers that are open, a few tokens at a time, until none is."""
        rows = list(answers)
        standing = found.standing
        for answer in rows:
            self._close(answer)
        while any(answer.open for answer in rows):
            left = [row for row, answer in enumerate(rows) if answer.open]
            size = max(-(-self.batch // _LEAST), 1 << (len(left) - 1).bit_length())
            if size <= len(standing.read) // 2:
                standing = pick(standing, jnp.asarray([*left, *left[-1:] * (size - len(left))]))
                rows = [rows[row] for row in left]
            said, standing = go_on(params, standing, decoder=self.decoder, steps=_STEPS)
            for answer, more in zip(rows, np.asarray(said).tolist(), strict=False):
                if answer.open:
                    self._take(answer, more)
                    self._close(answer)

    def _take(self, answer: _Answer, more: Sequence[int]) -> None:
        for token in more[: self.budget - len(answer.tokens)]:
            answer.tokens.append(token)
            if token == self.tokenizer.eos:
                answer.ended = True
                return

    def _close(self, answer: _Answer) -> None:
        """Say that an answer is known well enough, if it is."""
        if answer.ended or len(answer.tokens) >= self.budget:
            answer.open = False
        elif self.closing is not None and not self._unsaid(answer):
            answer.bound = self._bound(answer, self.closing)
            answer.open = answer.bound is None

    def _unsaid(self, answer: _Answer) -> bool:
        """Whether a secret may still come out."""
        example = self.examples[answer.probe.example_id]
        if not example.secrets:
            return False
        said = self.tokenizer.decode(answer.tokens)
        return any(not recover(said, example.text[s.start : s.end]).whole for s in example.secrets)

    def _bound(self, answer: _Answer, closing: float) -> Mapping[str, Match] | None:
        """What no more tokens can change the verdicts of: equal at all levels, or too far away at all levels."""
        probe = answer.probe
        # Half of a character is not one yet.
        said = self.tokenizer.decode(answer.tokens).rstrip("\N{REPLACEMENT CHARACTER}")
        if said.startswith(probe.target):
            return self._matches(probe, said)
        found = at_least(probe.target.encode(), said.encode(), **self._read_as(probe))
        return found if all(match.normalized > closing for match in found.values()) else None

    def _read_as(self, probe: Probe) -> dict:
        example = self.examples[probe.example_id]
        return {
            "prompt": probe.prefix.encode(),
            "language": example.language,
            "levels": tuple(self.levels),
            "secrets": tuple(example.text[s.start : s.end].encode() for s in example.secrets),
        }

    def _matches(self, probe: Probe, said: str) -> Mapping[str, Match]:
        return compare_completion(probe.target.encode(), said.encode(), **self._read_as(probe))

    def _observation(
        self, answer: _Answer, *, logprobs: tuple[float, ...], argmax: tuple[bool, ...]
    ) -> Observation:
        example = self.examples[answer.probe.example_id]
        said = self.tokenizer.decode(answer.tokens)
        recovered = {}
        for span in example.secrets:
            recovery = recover(said, example.text[span.start : span.end])
            recovered[span.start] = (recovery.prefix, recovery.total)
        return Observation(
            probe_id=answer.probe.id,
            completion=said,
            ended=answer.ended,
            logprobs=logprobs,
            argmax=argmax,
            matches=answer.bound or self._matches(answer.probe, said),
            recovered=recovered,
        )
