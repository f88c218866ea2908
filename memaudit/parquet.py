"""The observations of a ledger as one Parquet file: a row for each, without any text.

Rows stand in the order in which they were written, and are read and written a few thousand at a time. Neither
prefixes nor targets nor completions are among the columns, so there is no secret in the file.

Schema version 1. A column is null where its row says so.

| column | type | what it is |
|---|---|---|
| example | string | id of the example; of an audited model, of its probe |
| probe | string | prefix, infill or secret |
| kind | string | harvested, sensitive or given |
| language | string | of the example |
| source, first_line, last_line | string, int32 | where the example stands |
| cohort, half | string | of a run: who was to see it; null in other audits |
| repetition | int32 | of a run: how often |
| stage | string | after which, or in which, the checkpoint was made |
| twins | list of string | A, B, or both where they share the stage; of an audited model its role: model or control |
| exposed | bool | the twin was to see the example; null where both share the stage, and where there are no twins |
| step, final | int32, bool | of the checkpoint; whether it is what the stage made, and was not asked in passing |
| asking | int8 | 0; 1 where it was asked once more, to see what is noise |
| ended | bool | the model said end of text within the budget |
| distance_LEVEL | int32 | edits: characters at `exact`, tokens at other levels; null where it was not compared |
| normalized_LEVEL | double | the same over the longer length, in [0, 1] |
| at_least_LEVEL | bool | both are lower bounds |
| mean_logprob | double | nats per token of the target; null where there are no scores |
| secret_recovered | int32 | characters that came out of the example's secret, the furthest of several; null: none |
| secret_total | int32 | characters that it has |
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from memaudit.errors import BadInput
from memaudit.ledger import LEDGER, Ledger
from probes import VERDICT_LEVELS

SCHEMA_VERSION = 1
"""Stands in the file's metadata under `memaudit`."""
ROWS = 16_384
"""Rows that are held at once, which make a row group."""

_COLUMNS: tuple[tuple[str, str], ...] = (
    ("example", "string"),
    ("probe", "string"),
    ("kind", "string"),
    ("language", "string"),
    ("source", "string"),
    ("first_line", "int32"),
    ("last_line", "int32"),
    ("cohort", "string"),
    ("half", "string"),
    ("repetition", "int32"),
    ("stage", "string"),
    ("twins", "list"),  # the query has the stage's id here
    ("exposed", "bool"),
    ("step", "int32"),
    ("final", "bool"),
    ("asking", "int8"),
    ("ended", "bool"),
    *(
        (f"{what}_{level}", kind)
        for level in VERDICT_LEVELS
        for what, kind in (("distance", "int32"), ("normalized", "double"), ("at_least", "bool"))
    ),
    ("mean_logprob", "double"),
    ("secret_recovered", "int32"),
    ("secret_total", "int32"),
)
# A secret that came out further decides, as for verdicts; of equals the first.
_SECRET = (
    "(SELECT r.{} FROM recoveries r WHERE r.observation_id = o.id "
    "ORDER BY r.recovered * 1.0 / r.total DESC, r.start LIMIT 1)"
)
_LEVELS = list(enumerate(VERDICT_LEVELS))
_MATCH = (
    "m{0}.distance, m{0}.distance * 1.0 / MAX(m{0}.target_length, m{0}.completion_length, 1), m{0}.at_least"
)
_QUERY = f"""
SELECT o.id,
  e.id, p.kind, e.kind, e.language, e.source, e.first_line, e.last_line, e.cohort, e.half, e.repetition, s.name, s.id,
  CASE (SELECT COUNT(*) FROM twins t WHERE t.stage_id = s.id)
    WHEN 1 THEN e.half = (SELECT t.twin FROM twins t WHERE t.stage_id = s.id) END,
  c.step, c.step = s.steps, o.asking, o.ended,
  {", ".join(_MATCH.format(n) for n, _ in _LEVELS)},
  (SELECT AVG(value) FROM json_each(o.logprobs)), {_SECRET.format("recovered")}, {_SECRET.format("total")}
FROM observations o JOIN checkpoints c ON c.id = o.checkpoint_id JOIN stages s ON s.id = c.stage_id
  JOIN probes p ON p.id = o.probe_id JOIN examples e ON e.id = p.example_id
  {" ".join(f"LEFT JOIN matches m{n} ON m{n}.observation_id = o.id AND m{n}.level = '{x}'" for n, x in _LEVELS)}
WHERE o.id > ? ORDER BY o.id LIMIT ?
"""


def write_observations(ledger: Ledger, folder: Path, path: Path) -> int:
    """Write the observations of a run or an audit into a Parquet file, whole or not at all.

    Args:
        ledger: Its ledger.
        folder: The directory that the ledger lies in.
        path: The file. One that is there is replaced.

    Returns:
        How many there are.

    Raises:
        BadInput: pyarrow is not installed.
    """
    pa, pq = _pyarrow()
    twins: dict[str, list[str]] = {}
    for (twin, _), record in ledger.walks().items():
        twins.setdefault(record.id, []).append(twin)
    about = {
        "table": "observations",
        "schema_version": SCHEMA_VERSION,
        "versions": ledger.setting("versions"),
    }
    types = {
        kind: pa.list_(pa.string()) if kind == "list" else pa.type_for_alias(kind) for _, kind in _COLUMNS
    }
    schema = pa.schema(
        [pa.field(name, types[kind]) for name, kind in _COLUMNS],
        metadata={"memaudit": json.dumps(about, sort_keys=True)},
    )

    def array(values: tuple[Any, ...], kind: str) -> Any:
        if kind == "list":
            return pa.array([twins.get(stage_id, []) for stage_id in values], types[kind])
        if kind == "bool":  # numbers in SQLite
            return pa.array(values, pa.int8()).cast(types[kind])
        return pa.array(values, types[kind])

    beside = path.with_name(path.name + ".partial")
    count = 0
    try:
        with pq.ParquetWriter(beside, schema, compression="zstd") as writer:
            for rows in _batches(folder / LEDGER):
                _, *columns = zip(*rows, strict=True)
                arrays = [array(c, kind) for c, (_, kind) in zip(columns, _COLUMNS, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                count += len(rows)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return count


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput(
            "--format parquet: expected pyarrow to be installed, got none: pip install 'memaudit[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet


def _batches(ledger: Path) -> Iterator[list[tuple[Any, ...]]]:
    """Rows with the observation's number before the columns."""
    with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)) as db:
        last = 0
        while rows := db.execute(_QUERY, (last, ROWS)).fetchall():
            last = rows[-1][0]
            yield rows
