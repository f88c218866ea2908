"""The part of a ledger that holds what checkpoints said: observations with their scores, matches and recoveries."""

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from memaudit.records import Observation, Reading, Scores
from probes import Match

_AT_ONCE = 500  # observations that are read together


class Answers:
    """What was said, by checkpoint. Every method that writes is one transaction."""

    def __init__(
        self, db: sqlite3.Connection, transaction: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._db, self._transaction = db, transaction

    def checkpoint(self, stage_id: str, step: int, *, path: str | None = None) -> int:
        """The number of a stage's checkpoint, which is entered if it is new."""
        with self._transaction():
            return self.enter(stage_id, step, path)

    def enter(self, stage_id: str, step: int, path: str | None) -> int:
        """The same inside a transaction."""
        self._db.execute(
            "INSERT OR IGNORE INTO checkpoints (stage_id, step, path, seconds) VALUES (?, ?, ?, 0)",
            (stage_id, step, path),
        )
        return self._db.execute(
            "SELECT id FROM checkpoints WHERE stage_id = ? AND step = ?", (stage_id, step)
        ).fetchone()[0]

    def add(
        self, checkpoint: int, observations: Iterable[Observation], *, asking: int = 0, seconds: float = 0.0
    ) -> None:
        """Write what was said to some probes, and add the seconds that asking took to the checkpoint's."""
        with self._transaction():
            self.put(checkpoint, observations, asking=asking, seconds=seconds)

    def put(
        self, checkpoint: int, observations: Iterable[Observation], *, asking: int = 0, seconds: float = 0.0
    ) -> None:
        """The same inside a transaction."""
        self._db.execute("UPDATE checkpoints SET seconds = seconds + ? WHERE id = ?", (seconds, checkpoint))
        for o in observations:
            row = self._db.execute(
                "INSERT INTO observations (checkpoint_id, probe_id, asking, completion, ended, "
                "logprobs, argmax, entropies, deviations, sampled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "RETURNING id",
                (checkpoint, o.probe_id, asking, o.completion, int(o.ended), *_kept(o.scores)),
            ).fetchone()[0]
            self._db.executemany(
                "INSERT INTO matches VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (row, m.level, m.distance, m.target_length, m.completion_length, m.lexer, int(m.at_least))
                    for m in o.matches.values()
                ],
            )
            self._db.executemany(
                "INSERT INTO recoveries VALUES (?, ?, ?, ?)",
                [(row, start, got, total) for start, (got, total) in o.recovered.items()],
            )

    def put_readings(self, checkpoint: int, readings: Iterable[Reading]) -> None:
        """Write other numbers that were read off a checkpoint, inside a transaction."""
        self._db.executemany(
            "INSERT INTO readings VALUES (?, ?, ?, ?, ?)",
            [(checkpoint, r.example_id, r.quantity, r.number, r.value) for r in readings],
        )

    def asked(self, checkpoint: int, *, asking: int = 0) -> set[int]:
        """The probes that a checkpoint has answered."""
        return {
            row[0]
            for row in self._db.execute(
                "SELECT probe_id FROM observations WHERE checkpoint_id = ? AND asking = ?",
                (checkpoint, asking),
            )
        }

    def of(self, checkpoint: int, *, asking: int = 0) -> Iterator[Observation]:
        """What a checkpoint said, by probe; a few at a time, so that there may be any number."""
        last = -1
        while rows := self._db.execute(
            "SELECT id, probe_id, completion, ended, logprobs, argmax, entropies, deviations, sampled "
            "FROM observations WHERE checkpoint_id = ? AND asking = ? AND probe_id > ? ORDER BY probe_id LIMIT ?",
            (checkpoint, asking, last, _AT_ONCE),
        ).fetchall():
            last = rows[-1][1]
            ids = [row[0] for row in rows]
            matches, recovered = self._matches(ids), self._recoveries(ids)
            for row, probe_id, completion, ended, *kept in rows:
                yield Observation(
                    probe_id=probe_id,
                    completion=completion,
                    ended=bool(ended),
                    scores=_scores(*kept),
                    matches=matches[row],
                    recovered=recovered.get(row, {}),
                )

    def _matches(self, ids: list[int]) -> dict[int, dict[str, Match]]:
        found: dict[int, dict[str, Match]] = {}
        for row, *fields in self._db.execute(
            "SELECT observation_id, level, distance, target_length, completion_length, lexer, at_least "
            f"FROM matches WHERE observation_id IN ({_marks(ids)})",
            ids,
        ):
            found.setdefault(row, {})[fields[0]] = _match(*fields)
        return found

    def _recoveries(self, ids: list[int]) -> dict[int, dict[int, tuple[int, int]]]:
        found: dict[int, dict[int, tuple[int, int]]] = {}
        for row, start, got, total in self._db.execute(
            f"SELECT observation_id, start, recovered, total FROM recoveries WHERE observation_id IN ({_marks(ids)})",
            ids,
        ):
            found.setdefault(row, {})[start] = (got, total)
        return found

    def matches(self, checkpoint: int, level: str) -> Iterator[tuple[int, Match]]:
        """Each probe and how near the checkpoint came to its target at a level, with nothing else of what it said."""
        for probe, *fields in self._db.execute(
            "SELECT o.probe_id, m.level, m.distance, m.target_length, m.completion_length, m.lexer, m.at_least "
            "FROM observations o JOIN matches m ON m.observation_id = o.id "
            "WHERE o.checkpoint_id = ? AND o.asking = 0 AND m.level = ?",
            (checkpoint, level),
        ):
            yield probe, _match(*fields)

    def of_stage(self, stage_id: str, *, asking: int = 0) -> dict[int, Observation]:
        """Probe id -> what a stage's last checkpoint said."""
        row = self._db.execute(
            "SELECT c.id FROM checkpoints c JOIN stages s ON s.id = c.stage_id AND s.steps = c.step WHERE s.id = ?",
            (stage_id,),
        ).fetchone()
        return {o.probe_id: o for o in self.of(row[0], asking=asking)} if row else {}

    def steps(self, stage_id: str) -> list[tuple[int, int, float]]:
        """A stage's checkpoints as (step, number, seconds spent on asking), in the order of their steps."""
        return self._db.execute(
            "SELECT step, id, seconds FROM checkpoints WHERE stage_id = ? ORDER BY step", (stage_id,)
        ).fetchall()

    def readings(self, stage_id: str, quantity: str) -> dict[str, list[float]]:
        """Example id -> a quantity's numbers, in their order, of a stage's last checkpoint."""
        found: dict[str, list[float]] = {}
        for name, value in self._db.execute(
            "SELECT r.example_id, r.value FROM readings r JOIN checkpoints c ON c.id = r.checkpoint_id "
            "JOIN stages s ON s.id = c.stage_id AND s.steps = c.step "
            "WHERE s.id = ? AND r.quantity = ? ORDER BY r.example_id, r.number",
            (stage_id, quantity),
        ):
            found.setdefault(name, []).append(value)
        return found


def _match(level: str, distance: int, target: int, completion: int, lexer: str, at_least: int) -> Match:
    return Match(
        level=level,
        distance=distance,
        target_length=target,
        completion_length=completion,
        lexer=lexer,
        at_least=bool(at_least),
    )


def _marks(values: list[int]) -> str:
    return ", ".join("?" * len(values))


def _kept(scores: Scores | None) -> tuple[str | None, ...]:
    if scores is None:
        return (None,) * 5
    return (
        json.dumps(scores.logprobs),
        "".join("01"[hit] for hit in scores.argmax),
        json.dumps(scores.entropies),
        json.dumps(scores.deviations),
        # JSON has no infinity.
        json.dumps({name: value if math.isfinite(value) else None for name, value in scores.sampled.items()}),
    )


def _scores(
    logprobs: str | None, argmax: str, entropies: str, deviations: str, sampled: str
) -> Scores | None:
    if logprobs is None:
        return None
    return Scores(
        logprobs=tuple(json.loads(logprobs)),
        argmax=tuple(flag == "1" for flag in argmax),
        entropies=tuple(json.loads(entropies)),
        deviations=tuple(json.loads(deviations)),
        sampled={name: -math.inf if value is None else value for name, value in json.loads(sampled).items()},
    )
