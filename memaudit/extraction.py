"""Put probes to a checkpoint: look at the target first, decode from where the model leaves it, compare.

Every batch has one shape, padded with repeats of its last probe, so that one audit compiles once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array

from memaudit.records import Example, Observation, Probe, Scores
from probes import Match, at_least, compare_completion, recover
from rlhf.batches import pad
from rlhf.greedy import Standing, admit, check, depart, go_on, pick
from rlhf.likelihood import Likelihood
from rlhf.model import Decoder, Params
from rlhf.sampling import Sampler
from rlhf.tokenizer import Tokenizer

_STEPS = 4  # tokens that are decoded before an open verdict is looked at again
_FIRST, _NEXT = 8, 56  # tokens of a target that are looked at with its prompt, and at a time after that
_LEAST = 4  # a pool is brought down to this part of it at least: each size is a program of its own


@dataclass
class _Answer:
    """What a checkpoint says to a probe, as far as it is known."""

    probe: Probe
    tokens: list[int]
    faithful: bool
    """It says the target's own tokens so far."""
    scores: Scores | None
    agreed: int
    """Tokens of the target that it says before it says another."""
    open: bool = True
    """More tokens may change what is to be said of it."""
    ended: bool = False
    bound: Mapping[str, Match] | None = None
    """What closed it, where it was not decoded to its end."""


@dataclass(frozen=True)
class _Arrival:
    """An answer that wants a place in a pool, and where it stands."""

    answer: _Answer
    standing: Standing
    row: int
    along: bool
    """It says its target so far, and the next token is the target's too."""


class _Pool:
    """Rows on the device in which answers go on; a place whose answer is closed is free for another."""

    def __init__(self, size: int, slots: int, least: int) -> None:
        self._size, self._slots, self._least = size, slots, -(-size // least)
        self.places: list[_Answer | None] = [None] * size
        self._standing: Standing | None = None
        self._coming: list[tuple[int, _Arrival]] = []

    @property
    def rows(self) -> dict[int, _Answer]:
        """Place -> answer, of those that are taken."""
        return {place: answer for place, answer in enumerate(self.places) if answer is not None}

    def take(self, one: _Arrival) -> bool:
        """Give an arrival a place, if there is one."""
        if None not in self.places:
            return False
        place = self.places.index(None)
        self.places[place] = one.answer
        self._coming.append((place, one))
        return True

    def settle(self) -> None:
        """Put those that were given a place there, all that came from one pass at a time."""
        while self._coming:
            source = self._coming[0][1].standing
            some = [(place, one.row) for place, one in self._coming if one.standing is source]
            self._coming = [pair for pair in self._coming if pair[1].standing is not source]
            if self._standing is None:
                first = np.zeros(len(self.places), np.int32)
                for place, row in some:
                    first[place] = row
                self._standing = pick(source, first, slots=self._slots)
                continue
            rows, places = np.zeros(self._size, np.int32), np.full(self._size, self._size, np.int32)
            for number, (place, row) in enumerate(some):
                rows[number], places[number] = row, place
            self._standing = admit(self._standing, source, rows, places)

    @property
    def standing(self) -> Standing:
        """Of all places; those without an answer mean nothing."""
        assert self._standing is not None, "a pool goes on only when somebody is in it"
        return self._standing

    @standing.setter
    def standing(self, standing: Standing) -> None:
        self._standing = standing

    def release(self, others: Iterable[_Answer] = ()) -> None:
        """Free the places of the answers that are closed, and of `others`."""
        gone = {id(answer) for answer in others}
        self.places = [
            answer if answer is not None and answer.open and id(answer) not in gone else None
            for answer in self.places
        ]
        if not self.rows and len(self.places) < self._size:
            # Whoever comes next finds a pool of the full size again.
            self.places, self._standing = [None] * self._size, None

    def shrink(self, *, last: bool) -> None:
        """Where nobody waits for a place any more: go on with fewer rows, if that saves half of them."""
        taken = sorted(self.rows)
        size = max(self._least, 1 << (len(taken) - 1).bit_length())
        if last and 2 * size <= len(self.places):
            filled = [*taken, *taken[-1:] * (size - len(taken))]
            self._standing = pick(self.standing, np.array(filled, np.int32), slots=self._slots)
            answers = [self.places[place] for place in taken]
            self.places = [*answers, *[None] * (size - len(taken))]


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
        """Ask a checkpoint every probe. `told` hears how many were answered since it last did.

        Answers that are open wait in one of two pools, for those that say their target so far and for those that have
        left it; a pool goes on when it is full, so that few rows are decoded in vain.
        """
        along = _Pool(self.batch, self._slots(1 + _NEXT), _LEAST)
        away = _Pool(self.batch, self._slots(_STEPS), _LEAST)
        batches = (
            self.probes[start : start + self.batch] for start in range(0, len(self.probes), self.batch)
        )
        order: deque[_Answer] = deque()
        arrived: list[_Arrival] = []
        while True:
            # First those that come out of the other pool, whose standing they still need.
            arrived = [one for one in arrived if one.along or not away.take(one)]
            away.settle()
            if all(one.along for one in arrived):
                arrived = [one for one in arrived if not along.take(one)]
                along.settle()
            if arrived or not (some := next(batches, None)):
                blocked = {one.along for one in arrived}
                # What comes out of the pool of those along is to find a place before that pool goes on.
                if away.rows and (False in blocked or not along.rows):
                    away.shrink(last=not arrived)
                    said, away.standing = go_on(params, away.standing, decoder=self.decoder, steps=_STEPS)
                    self._hear(away.rows, np.asarray(said).tolist())
                    away.release()
                elif along.rows:
                    along.shrink(last=not arrived)
                    arrived += self._check(params, along)
                else:
                    break
            else:
                answers, standing = self._look(params, some)
                order += answers
                arrived += self._sorted(answers, standing)
            said_of = 0
            while order and not order[0].open:
                yield self._observation(order.popleft())
                said_of += 1
            if said_of:
                told(said_of)

    def _look(self, params: Params, some: Sequence[Probe]) -> tuple[list[_Answer], Standing]:
        """Put a batch of prompts and targets through the model."""
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
            slots=self._slots(_STEPS),
            scored=self.scored,
            samplers=self.samplers,
        )
        agreed, seen = np.asarray(found.agreed), jax.device_get(found.seen)
        answers = []
        for row, (probe, count, length) in enumerate(zip(some, agreed, text_lengths, strict=False)):
            size = len(probe.target_tokens)
            answer = _Answer(
                probe,
                list(probe.target_tokens[:count]),
                faithful=bool(count == length),
                scores=scores_of(seen, row, size, self.samplers) if self.scored else None,
                agreed=int(count),
            )
            self._close(answer)
            answers.append(answer)
        return answers, found.standing

    def _sorted(self, answers: Sequence[_Answer | None], standing: Standing) -> list["_Arrival"]:
        """The answers that are open, each with its row of the standing."""
        following = np.asarray(standing.next).tolist()
        return [
            _Arrival(answer, standing, row, along=self._ahead(answer)[:1] == (following[row],))
            for row, answer in enumerate(answers)
            if answer is not None and answer.open
        ]

    def _check(self, params: Params, pool: "_Pool") -> list["_Arrival"]:
        """Decode with the targets as drafts; returns those that have left theirs."""
        drafts = np.full((len(pool.places), _NEXT), self.tokenizer.pad, np.int32)
        for row, answer in enumerate(pool.places):
            draft = self._ahead(answer)[1 : 1 + _NEXT] if answer is not None else ()
            drafts[row, : len(draft)] = draft
        said, counts, pool.standing = check(params, pool.standing, drafts, decoder=self.decoder)
        words = np.asarray(said).tolist()
        self._hear(pool.rows, [more[:count] for more, count in zip(words, np.asarray(counts), strict=True)])
        left = [one for one in self._sorted(pool.places, pool.standing) if not one.along]
        pool.release(one.answer for one in left)
        return left

    def _slots(self, more: int) -> int:
        """Slots of a cache in which an answer of any length can be gone on with by `more` tokens at a time."""
        return self.context + self.budget + more

    def _hear(self, rows: Mapping[int, _Answer], said: Sequence[Sequence[int]]) -> None:
        for row, answer in rows.items():
            self._take(answer, said[row])
            self._close(answer)

    def _ahead(self, answer: _Answer) -> tuple[int, ...]:
        """What is left of the target, if the answer says it so far."""
        return answer.probe.target_tokens[len(answer.tokens) :] if answer.faithful else ()

    def _take(self, answer: _Answer, more: Sequence[int]) -> None:
        for token in more[: self.budget - len(answer.tokens)]:
            answer.faithful &= self._ahead(answer)[:1] == (token,)
            answer.agreed += answer.faithful
            answer.tokens.append(token)
            if token == self.tokenizer.eos:
                answer.ended = True
                return

    def _close(self, answer: _Answer) -> None:
        """Say that an answer is known well enough, if it is."""
        if answer.ended or len(answer.tokens) >= self.budget:
            answer.open = False
        elif self.closing is not None and self._telling(answer) and not self._unsaid(answer):
            answer.bound = self._bound(answer, self.closing)
            answer.open = answer.bound is None

    def _telling(self, answer: _Answer) -> bool:
        """Whether there is reason to look at it: the whole target is said, or enough that is not.

        An answer has to be off by `closing` of the length before its verdict can close, and that takes some twice as
        many tokens: to look sooner is to look for nothing, often.
        """
        beside = len(answer.tokens) - answer.agreed
        whole = answer.agreed >= len(answer.probe.target_tokens)
        return whole or beside >= 2 * (self.closing or 0) * self.budget - _STEPS / 2

    def _unsaid(self, answer: _Answer) -> bool:
        """Whether a secret may still come out."""
        example = self.examples[answer.probe.example_id]
        if not example.secrets:
            return False
        said = self.tokenizer.decode(answer.tokens)
        return any(not recover(said, example.text[s.start : s.end]).whole for s in example.secrets)

    def _observation(self, answer: _Answer) -> Observation:
        return observed(
            answer.probe,
            self.examples[answer.probe.example_id],
            self.levels,
            self.tokenizer.decode(answer.tokens),
            ended=answer.ended,
            scores=answer.scores,
            bound=answer.bound,
        )

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
