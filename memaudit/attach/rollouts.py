"""What a training rolls out, heard one by one: which rollouts answer a probe, and how far they are from its target.

Rollouts are drawn by the trainer's own sampler, so that one says less than a greedy completion and many say more. They
are no observations of the ledger; they go to a journal of their own, `rollouts/*.jsonl`, which holds distances and
never a text.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from memaudit.errors import BadInput
from memaudit.probefile import GivenProbe, read_probes
from probes import VERDICT_LEVELS, compare_completion, recover
from probes.index import NgramIndex
from probes.shingles import token_texts

JOURNALS = "rollouts"
"""The directory of the journals, in that of an audit."""
_KEY = 24  # characters, of the end of a prefix, by which it is looked up
_RUN = 8  # tokens that a target has to have to be searched for


class Rollouts:
    """Hears rollouts, compares those that answer a probe with its target, and writes a line of each hearing.

    A rollout answers a probe if its prompt ends with the probe's prefix. It may be pickled, and any number of threads
    and processes may hear at once: each process has a journal of its own.
    """

    def __init__(
        self,
        *,
        probes: str | Path,
        out: str | Path,
        levels: Sequence[str] = VERDICT_LEVELS,
        tail: int = 0,
        anywhere: bool = False,
    ) -> None:
        """`probes` is a file of probes, `out` the directory of the audit.

        `levels` are those at which completions are compared. `tail` is the number of characters that may stand between
        the prefix and the end of the prompt: what a chat template puts behind a message. With `anywhere`, the targets
        of all probes are looked for in all completions, too, whatever the prompt was. Raises BadInput where the probes
        cannot be read.
        """
        if "exact" not in levels or not set(levels) <= set(VERDICT_LEVELS):
            raise BadInput(
                f"levels: expected some of {', '.join(VERDICT_LEVELS)}, exact among them, got {', '.join(levels)}"
            )
        if tail < 0:
            raise BadInput(f"tail: expected 0 characters or more, got {tail}")
        self._made_of: dict[str, Any] = {
            "probes": str(probes),
            "out": str(out),
            "levels": tuple(levels),
            "tail": tail,
            "anywhere": anywhere,
        }
        self._levels, self._tail, self._anywhere = tuple(levels), tail, anywhere
        self._probes = {probe.id: probe for probe in read_probes(str(probes))}
        self._journal = _Journal(Path(out) / JOURNALS)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self._made_of,)

    def hear(
        self,
        prompts: Sequence[str | None],
        completions: Sequence[str],
        *,
        step: int | None = None,
        ids: Sequence[str | None] | None = None,
        missed: int = 0,
    ) -> None:
        """Hear some rollouts of one step, and write a line.

        A prompt is None where it is not known. `ids` are those of the probes that the rollouts answer, where that is
        known better than by the prompt; an id of no probe is none. `missed` rollouts could not be heard before.
        """
        line = self.heard(prompts, completions, step=step, ids=ids)
        self._journal.append({"time": round(time.time()), **line, **({"missed": missed} if missed else {})})

    def heard(
        self,
        prompts: Sequence[str | None],
        completions: Sequence[str],
        *,
        step: int | None = None,
        ids: Sequence[str | None] | None = None,
    ) -> dict[str, Any]:
        """What hearing some rollouts comes to, as one JSON object; nothing is written."""
        named = ids if ids is not None else [None] * len(completions)
        prompted, answers, anywhere = 0, [], []
        for row, (prompt, completion, name) in enumerate(zip(prompts, completions, named, strict=True)):
            asked = self._asked(prompt, name)
            prompted += bool(asked)
            answers += [{"row": row, **self._answer(probe, completion)} for probe in asked]
            if self._anywhere:
                anywhere += [[row, found] for found in sorted(self._targets.inside(completion))]
        line = {"step": step, "heard": len(completions), "prompted": prompted, "answers": answers}
        return {**line, "anywhere": anywhere} if self._anywhere else line

    def _asked(self, prompt: str | None, name: str | None) -> list[GivenProbe]:
        if name is not None:
            return [self._probes[name]] if name in self._probes else []
        return [] if prompt is None else self._prefixes.ending(prompt, self._tail)

    def _answer(self, probe: GivenProbe, completion: str) -> dict[str, Any]:
        said = _bytes(completion)
        spans = [probe.target[s.start : s.end] for s in probe.secrets]
        found = compare_completion(
            probe.target.encode(),
            said,
            prompt=probe.prefix.encode(),
            language=probe.language,
            levels=self._levels,
            secrets=tuple(span.encode() for span in spans),
        )
        answer: dict[str, Any] = {
            "probe": probe.id,
            "levels": {
                level: [match.distance, match.target_length, match.completion_length]
                for level, match in found.items()
            },
        }
        if spans:
            answer["secret"] = any(recover(completion, span).whole for span in spans)
        return answer

    @cached_property
    def _prefixes(self) -> "_Prefixes":
        return _Prefixes(self._probes.values())

    @cached_property
    def _targets(self) -> "_Targets":
        return _Targets(self._probes.values())


def _remade(made_of: dict[str, Any]) -> Rollouts:
    return Rollouts(**made_of)


def _bytes(text: str) -> bytes:
    """A completion is hostile: half a surrogate pair in it is no reason to stop a training."""
    return text.encode("utf-8", errors="replace")


class _Prefixes:
    """Finds the probes whose prefix a prompt ends with."""

    def __init__(self, probes: Iterable[GivenProbe]) -> None:
        self._by_end: dict[str, list[tuple[str, GivenProbe]]] = {}
        for probe in probes:
            given = probe.prompt or probe.prefix
            # A chat template may take white space off the ends of a message.
            for prefix in {given, given.rstrip()}:
                self._by_end.setdefault(prefix[-_KEY:], []).append((prefix, probe))
        self._sizes = sorted({len(key) for key in self._by_end}, reverse=True)

    def ending(self, prompt: str, tail: int) -> list[GivenProbe]:
        """Those of the prompt's end, or with up to `tail` characters behind them if there are none."""
        for end in range(len(prompt), max(-1, len(prompt) - tail - 1), -1):
            found = {
                probe.id: probe
                for size in self._sizes
                if size <= end
                for prefix, probe in self._by_end.get(prompt[end - size : end], ())
                if prompt.endswith(prefix, 0, end) and (tail or prefix == (probe.prompt or probe.prefix))
            }
            if found:
                return list(found.values())
        return []


@dataclass(frozen=True)
class _Reading:
    """The targets in one language: their tokens by id, and the index of them."""

    tokens: dict[str, tuple[bytes, ...]]
    index: NgramIndex


class _Targets:
    """Finds whole targets in texts, token by token; spaces and line breaks do not matter."""

    def __init__(self, probes: Iterable[GivenProbe]) -> None:
        by_language: dict[str, dict[str, tuple[bytes, ...]]] = {}
        for probe in probes:
            tokens = token_texts(probe.target.encode(), level="layout", language=probe.language)
            if len(tokens) >= _RUN:
                by_language.setdefault(probe.language, {})[probe.id] = tokens
        self._readings = {
            language: _Reading(tokens, NgramIndex(tokens.items(), n=_RUN))
            for language, tokens in by_language.items()
        }

    def inside(self, text: str) -> set[str]:
        """Ids of the probes whose target stands in the text."""
        return {
            name
            for language, reading in self._readings.items()
            for name in _inside(reading, token_texts(_bytes(text), level="layout", language=language))
        }


def _inside(reading: _Reading, tokens: tuple[bytes, ...]) -> Iterator[str]:
    known = reading.index.contains(reading.index.grams(tokens))
    for start in np.flatnonzero(known).tolist():
        for hit in reading.index.find(tokens[start : start + _RUN]):
            target = reading.tokens[hit.document]
            if tokens[start : start + len(target)] == target:
                yield hit.document


class _Journal:
    """Lines of JSON, appended by any number of threads; every process writes a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._path, self._writer = folder, 0

    def append(self, line: dict[str, Any]) -> None:
        data = (json.dumps(line) + "\n").encode("ascii")
        with self._lock:
            if self._writer != os.getpid():  # the first line, or the first one behind a fork
                self._folder.mkdir(parents=True, exist_ok=True)
                self._writer = os.getpid()
                self._path = self._folder / f"{self._writer}-{secrets.token_hex(4)}.jsonl"
            with self._path.open("ab", buffering=0) as stream:
                stream.write(data)
