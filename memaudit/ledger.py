"""The ledger: what was shown, what was asked, what came back. SQLite, written in transactions.

It holds facts only. Verdicts are computed when read; the views at the end of the schema are there for people who
ask with `sqlite3`, and they read the threshold from `settings`. The ledger holds training text and completions as
they are, secrets included: keep it like the data it was made from.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from memaudit.answers import Answers
from memaudit.errors import BadInput
from memaudit.records import Example, Finished, Probe, StageRecord
from probes import Secret

LEDGER = "ledger.sqlite"
"""Its name in the directory of a run or an audit."""
SCHEMA_VERSION = 5

_SCHEMA = (resources.files("memaudit") / "schema.sql").read_text(encoding="utf-8")


class Ledger:
    """One run's ledger. Every method that writes is one transaction."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self.answers = Answers(self._db, self._transaction)
        try:
            self._db.execute("PRAGMA foreign_keys = ON")
            # An empty file is what a run leaves that was killed before its first transaction.
            if not self.count("sqlite_master"):
                with self._transaction():
                    for statement in _statements(_SCHEMA):
                        self._db.execute(statement)
                    self._set({"schema_version": SCHEMA_VERSION})
            version = self.setting("schema_version")
        except (sqlite3.DatabaseError, KeyError):
            self._db.close()
            raise BadInput(f"{path}: expected a ledger of memaudit, got another file") from None
        if version != SCHEMA_VERSION:
            raise BadInput(
                f"{path}: expected a ledger of schema version {SCHEMA_VERSION}, got {version}: "
                "read it with the memaudit that wrote it"
            )

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # settings

    def _set(self, values: Mapping[str, Any]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO settings VALUES (?, ?)", [(k, json.dumps(v)) for k, v in values.items()]
        )

    def settle(self, values: Mapping[str, Any]) -> None:
        """Keep facts about the whole run."""
        with self._transaction():
            self._set(values)

    def setting(self, key: str) -> Any:
        """A fact about the run; KeyError where it is not known."""
        row = self._db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return json.loads(row[0])

    def has(self, key: str) -> bool:
        """Whether a fact about the run is known."""
        return self._db.execute("SELECT 1 FROM settings WHERE key = ?", (key,)).fetchone() is not None

    # examples and probes

    def add_examples(
        self, examples: Iterable[Example], probes: Iterable[Probe], settings: Mapping[str, Any]
    ) -> None:
        """Write the population, once, at the beginning of a run."""
        with self._transaction():
            for e in examples:
                self._db.execute(
                    "INSERT INTO examples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        e.id,
                        e.kind,
                        e.language,
                        e.text,
                        e.source,
                        e.first_line,
                        e.last_line,
                        e.cohort,
                        e.half,
                        e.repetition,
                    ),
                )
                self._db.executemany(
                    "INSERT INTO secrets VALUES (?, ?, ?, ?, ?)",
                    [(e.id, s.start, s.end, s.kind, e.text[s.start : s.end]) for s in e.secrets],
                )
            self._db.executemany(
                "INSERT INTO probes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        p.id,
                        p.example_id,
                        p.kind,
                        p.prefix,
                        p.target,
                        p.prompt,
                        json.dumps(p.prefix_tokens),
                        json.dumps(p.target_tokens),
                    )
                    for p in probes
                ),
            )
            self._set(settings)

    def examples(self, *, probed: bool = True) -> list[Example]:
        """The examples that are asked for (or, with `probed=False`, the public ones too), by id."""
        where = "WHERE id IN (SELECT example_id FROM probes)" if probed else ""
        return self._examples(where, ())

    def examples_of(self, probes: Sequence[Probe]) -> dict[str, Example]:
        """The examples of some probes, by id."""
        ids = [p.example_id for p in probes]
        return {e.id: e for e in self._examples(f"WHERE id IN ({', '.join('?' * len(ids))})", ids)}

    def _examples(self, where: str, values: Sequence[str]) -> list[Example]:
        secrets: dict[str, list[Secret]] = {}
        for name, start, stop, kind in self._db.execute(
            f"SELECT example_id, start, stop, kind FROM secrets WHERE example_id IN (SELECT id FROM examples {where}) "
            "ORDER BY example_id, start",
            values,
        ):
            secrets.setdefault(name, []).append(Secret(start=start, end=stop, kind=kind))
        keys = ("id", "kind", "language", "text", "source", "first_line", "last_line")
        keys += ("cohort", "half", "repetition")
        return [
            Example(**dict(zip(keys, row, strict=True)), secrets=tuple(secrets.get(row[0], ())))
            for row in self._db.execute(f"SELECT {', '.join(keys)} FROM examples {where} ORDER BY id", values)
        ]

    def probes(self, ids: Sequence[int] | None = None) -> list[Probe]:
        """The probes with these ids, or all, by id."""
        where = "" if ids is None else f"WHERE id IN ({', '.join('?' * len(ids))})"
        return [
            Probe(
                id=row[0],
                example_id=row[1],
                kind=row[2],
                prefix=row[3],
                target=row[4],
                prompt=row[5],
                prefix_tokens=tuple(json.loads(row[6])),
                target_tokens=tuple(json.loads(row[7])),
            )
            for row in self._db.execute(f"SELECT * FROM probes {where} ORDER BY id", ids or ())
        ]

    def sizes(self) -> list[tuple[int, int, int]]:
        """Of each probe its id and how many tokens its prefix and its target have, by id."""
        return self._db.execute(
            "SELECT id, json_array_length(prefix_tokens), json_array_length(target_tokens) FROM probes ORDER BY id"
        ).fetchall()

    def names(self) -> dict[int, str]:
        """Id of each probe's example, by the probe's."""
        return dict(self._db.execute("SELECT id, example_id FROM probes ORDER BY id"))

    def kinds(self) -> dict[int, str]:
        """Kind of each probe, by its id."""
        return dict(self._db.execute("SELECT id, kind FROM probes ORDER BY id"))

    # stages

    def add_stage(self, finished: Finished) -> None:
        """Write all that a finished and audited stage leaves, in one transaction."""
        stage = finished.stage
        with self._transaction():
            self._enter(stage)
            self._db.executemany(
                "INSERT INTO exposures VALUES (?, ?, ?, ?, ?)",
                [
                    (stage.id, step, role, name, n)
                    for (step, role, name), n in sorted(finished.exposures.items())
                ],
            )
            self._db.executemany(
                "INSERT INTO updates VALUES (?, ?, ?)",
                [(stage.id, step, json.dumps(dict(metrics))) for step, metrics in finished.updates],
            )
            for made in finished.checkpoints:
                number = self.answers.enter(stage.id, made.step, made.path)
                self.answers.put(number, made.observations, seconds=made.seconds)
                self.answers.put(number, made.again, asking=1)
                self.answers.put_readings(number, made.readings)

    def _enter(self, stage: StageRecord) -> None:
        self._db.execute(
            "INSERT INTO stages VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET steps = excluded.steps, "
            "seconds = excluded.seconds, audit_seconds = excluded.audit_seconds",
            (stage.id, stage.name, stage.method, stage.steps, stage.seconds, stage.audit_seconds),
        )

    def enter(self, stage: StageRecord, twin: str, position: int) -> None:
        """Enter a stage that is trained elsewhere, or note how far it has come."""
        with self._transaction():
            self._enter(stage)
            self._walk(twin, stage.name, stage.id, position)

    def stages(self) -> set[str]:
        """The ids of the stages that are done."""
        return {row[0] for row in self._db.execute("SELECT id FROM stages")}

    def walk(self, twin: str, stage: str, stage_id: str, position: int) -> None:
        """Note that a twin's walk goes through a finished stage."""
        with self._transaction():
            self._walk(twin, stage, stage_id, position)

    def _walk(self, twin: str, stage: str, stage_id: str, position: int) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO twins VALUES (?, ?, ?, ?)", (twin, stage, stage_id, position)
        )

    def walks(self) -> dict[tuple[str, str], StageRecord]:
        """(twin, stage name) -> the finished stage, in the order of the walk."""
        return {
            (twin, name): StageRecord(
                id=stage_id,
                name=name,
                method=method,
                steps=steps,
                seconds=seconds,
                audit_seconds=audit,
            )
            for twin, name, stage_id, method, steps, seconds, audit in self._db.execute(
                "SELECT t.twin, t.stage, s.id, s.method, s.steps, s.seconds, s.audit_seconds "
                "FROM twins t JOIN stages s ON s.id = t.stage_id ORDER BY t.position, t.twin"
            )
        }

    # what a report reads

    def shown(self) -> list[tuple[str, str, str, str, int, int, int]]:
        """Exposures as (example id, twin, stage, role, times, first step, last step), in the order of the walk."""
        return self._db.execute(
            "SELECT example_id, twin, stage, role, times, first_step, last_step FROM shown "
            "ORDER BY example_id, position, twin, role"
        ).fetchall()

    def updates(self, stage_id: str) -> list[tuple[int, dict[str, float]]]:
        """What a stage told of its updates."""
        return [
            (step, json.loads(metrics))
            for step, metrics in self._db.execute(
                "SELECT step, metrics FROM updates WHERE stage_id = ? ORDER BY step", (stage_id,)
            )
        ]

    def count(self, table: str) -> int:
        """Rows of a table."""
        return self._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]


def _statements(script: str) -> Sequence[str]:
    """The statements of a script; `executescript` would commit the open transaction."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
