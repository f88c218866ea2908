"""Put probes to a checkpoint: look at the target first, decode from where the model leaves it, compare.

Every batch has one shape, padded with repeats of its last probe, so that one audit compiles once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array

from memaudit.records import Example, Observation, Probe, Scores
from probes import Match, at_least, compare_completion, recover
from rlhf.batches import pad
from rlhf.greedy import Standing, check, depart, go_on, pick
from rlhf.likelihood import Likelihood
from rlhf.model import Decoder, Params
from rlhf.sampling import Sampler
from rlhf.tokenizer import Tokenizer

_STEPS = 4  # tokens that are decoded before an open verdict is looked at again
_STRIDE = 16  # tokens that are decoded at once at most, and where nothing is looked at
_FIRST, _NEXT = 8, 56  # tokens of a target that are looked at with its prompt, and at a time after that
_LEAST = 4  # a batch is brought down to this part of it at least: each size is a program of its own


@dataclass
class _Answer:
    """What a checkpoint says to a probe, as far as it is known."""

    probe: Probe
    tokens: list[int]
    faithful: bool
    """It says the target's own tokens so far."""
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
    context: int
    """Tokens of the longest prompt that there may be, the begin-of-text token counted."""
    budget: int
    """Tokens that are decoded for every probe: at least those of the longest target."""
    closing: float | None = None
    """Decode a completion only until no more of it could bring it within this normalised distance of its target at
    any level, or make it more equal than it is, and until its secrets are out. Its matches are lower bounds then, and
    verdicts with thresholds up to this are those of whole completions. None: decode to the end."""
    scored: bool = True
    """Observe of every target token its log-probability and whether it is the most likely one. Without, a target is
    looked at in parts and no further than the model says it too, and observations have no scores."""
    samplers: tuple[Sampler, ...] = ()
    """Of each, the log-probability that it draws the target belongs to the scores."""

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
        width = self.budget if self.scored else min(self.budget, _FIRST)
        prompts, lengths = pad(
            [[*self.tokenizer.opening, *p.prefix_tokens] for p in filled], self.context, self.tokenizer.pad
        )
        texts, text_lengths = pad([p.target_tokens[:width] for p in filled], width, self.tokenizer.pad)
        found = depart(
            params,
            prompts,
            texts,
            lengths,
            text_lengths,
            decoder=self.decoder,
            slots=self._slots(self._stride),
            scored=self.scored,
            samplers=self.samplers,
        )
        agreed = np.asarray(found.agreed)
        answers = [
            _Answer(probe, list(probe.target_tokens[:count]), faithful=bool(count == length))
            for probe, count, length in zip(some, agreed, text_lengths, strict=False)
        ]
        for answer in answers:
            self._close(answer)
        self._decode(params, answers, found.standing)
        seen = jax.device_get(found.seen)
        for row, (probe, answer) in enumerate(zip(some, answers, strict=True)):
            size = len(probe.target_tokens)
            yield observed(
                probe,
                self.examples[probe.example_id],
                self.levels,
                self.tokenizer.decode(answer.tokens),
                ended=answer.ended,
                scores=scores_of(seen, row, size, self.samplers) if self.scored else None,
                bound=answer.bound,
            )

    @property
    def _stride(self) -> int:
        """Tokens that are decoded at once where an answer leaves its target.

        It has to be off by `closing` of the length before its verdict can close, and that takes some twice as many
        tokens: to look sooner is to look for nothing.
        """
        if self.closing is None:
            return _STRIDE
        return min(_STRIDE, _STEPS * max(1, round(2 * self.closing * self.budget / _STEPS)))

    def _slots(self, more: int) -> int:
        """Slots of a cache in which an answer of any length can be gone on with by `more` tokens at a time."""
        return self.context + self.budget + more

    def _decode(self, params: Params, answers: Sequence[_Answer], standing: Standing) -> None:
        """Go on with the answers that are open until none is: those that say their target apart from the others."""
        groups = [(list(answers), standing, self._stride)]
        while groups:
            rows, standing, steps = groups.pop()
            following = np.asarray(standing.next).tolist()
            along, away = [], []
            for row, answer in enumerate(rows):
                if answer.open:
                    (along if self._ahead(answer)[:1] == (following[row],) else away).append(row)
            if along:
                if away:
                    groups.append((*self._part(rows, standing, away, self._stride, apart=True), steps))
                rows, standing = self._part(rows, standing, along, 1 + _NEXT, apart=bool(away))
                groups.append((rows, self._check(params, rows, standing), self._stride))
            elif away:
                rows, standing = self._part(rows, standing, away, self._stride)
                said, standing = go_on(params, standing, decoder=self.decoder, steps=steps)
                self._hear(rows, np.asarray(said).tolist())
                groups.append((rows, standing, _STRIDE if self.closing is None else _STEPS))

    def _part(
        self, rows: list[_Answer], standing: Standing, left: list[int], more: int, *, apart: bool = False
    ) -> tuple[list[_Answer], Standing]:
        """The answers that are left, filled up with repeats of the last one: where that saves work, or `apart` is set
        because others go on with the rest."""
        size = min(self.batch, max(-(-self.batch // _LEAST), 1 << (len(left) - 1).bit_length()))
        have, slots = len(standing.read), standing.cache[0][0].shape[2]
        if not apart and 2 * size > have and slots >= self._slots(more):
            return rows, standing
        filled = [*left, *left[-1:] * (size - len(left))]
        picked = pick(standing, np.array(filled, np.int32), slots=max(slots, self._slots(more)))
        return [rows[row] for row in left], picked

    def _check(self, params: Params, rows: Sequence[_Answer], standing: Standing) -> Standing:
        """Decode with the targets as drafts."""
        drafts = np.full((len(standing.read), _NEXT), self.tokenizer.pad, np.int32)
        for row, answer in enumerate(rows):
            draft = self._ahead(answer)[1 : 1 + _NEXT] if answer.open else ()
            drafts[row, : len(draft)] = draft
        said, counts, standing = check(params, standing, drafts, decoder=self.decoder)
        words = np.asarray(said).tolist()
        self._hear(rows, [more[:count] for more, count in zip(words, np.asarray(counts), strict=True)])
        return standing

    def _hear(self, rows: Sequence[_Answer], said: Sequence[Sequence[int]]) -> None:
        for answer, more in zip(rows, said, strict=False):
            if answer.open:
                self._take(answer, more)
                self._close(answer)

    def _ahead(self, answer: _Answer) -> tuple[int, ...]:
        """What is left of the target, if the answer says it so far."""
        return answer.probe.target_tokens[len(answer.tokens) :] if answer.faithful else ()

    def _take(self, answer: _Answer, more: Sequence[int]) -> None:
        for token in more[: self.budget - len(answer.tokens)]:
            answer.faithful &= self._ahead(answer)[:1] == (token,)
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
        options = read_as(probe, self.examples[probe.example_id], self.levels)
        if said.startswith(probe.target):
            return compare_completion(probe.target.encode(), said.encode(), **options)
        if probe.target.startswith(said):
            return None
        # Characters first: they are fast, and while they leave it open the parsers of the other levels need not run.
        if "exact" in self.levels and len(self.levels) > 1:
            near = at_least(probe.target.encode(), said.encode(), **{**options, "levels": ("exact",)})
            if near["exact"].normalized <= closing:
                return None
        found = at_least(probe.target.encode(), said.encode(), **options)
        return found if all(match.normalized > closing for match in found.values()) else None


def read_as(probe: Probe, example: Example, levels: Sequence[str]) -> dict[str, Any]:
    """How a completion of a probe is compared with its target: the options of `probes.compare_completion`."""
    return {
        "prompt": probe.prefix.encode(),
        "language": example.language,
        "levels": tuple(levels),
        "secrets": tuple(example.text[s.start : s.end].encode() for s in example.secrets),
    }


def observed(
    probe: Probe,
    example: Example,
    levels: Sequence[str],
    said: str,
    *,
    ended: bool,
    scores: Scores | None,
    bound: Mapping[str, Match] | None = None,
) -> Observation:
    """What a completion comes to; `bound` are its matches where they are known without comparing it whole."""
    recovered = {}
    for span in example.secrets:
        recovery = recover(said, example.text[span.start : span.end])
        recovered[span.start] = (recovery.prefix, recovery.total)
    target, options = probe.target.encode(), read_as(probe, example, levels)
    return Observation(
        probe_id=probe.id,
        completion=said,
        ended=ended,
        scores=scores,
        matches=bound or compare_completion(target, said.encode(), **options),
        recovered=recovered,
    )


def scores_of(seen: Likelihood, row: int, size: int, samplers: Sequence[Sampler]) -> Scores:
    """The scores of the first `size` tokens of a row of a pass (NumPy arrays)."""

    def rounded(values: Array | np.ndarray) -> tuple[float, ...]:
        return tuple(round(float(x), 6) for x in values[row, :size])

    totals = np.asarray(seen.sampled)[row, :size].sum(axis=0, dtype=np.float64)
    return Scores(
        logprobs=rounded(seen.logprobs),
        argmax=tuple(bool(x) for x in seen.hit[row, :size]),
        entropies=rounded(seen.entropy),
        deviations=rounded(seen.deviation),
        sampled={s.name: round(float(total), 6) for s, total in zip(samplers, totals, strict=True)},
    )
