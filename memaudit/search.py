"""What finds the examples that a question asks for, in SQL. Whatever a question holds is put in as a value."""

from collections.abc import Sequence
from typing import Any

from memaudit.looks import Look
from reports.catalogue import Question

NORMALIZED = "{m}.distance * 1.0 / MAX({m}.target_length, {m}.completion_length, 1)"
"""The distance of the matches `m`."""
OUT = f"{NORMALIZED} <= ? AND NOT {{m}}.at_least"
"""Whether it came out: the rule of `memaudit.verdicts.Definition` `near`, whose threshold is the value."""
WHOLE = "(SELECT MAX(r.recovered = r.total) FROM recoveries r WHERE r.observation_id = x.id)"
"""Whether a secret came out whole in the observation `x`; NULL: it is asked for none."""
_AFTER = (
    f"(SELECT {NORMALIZED.format(m='m')} FROM asked a "
    "CROSS JOIN observations x ON x.checkpoint_id = a.seen AND x.probe_id = p.id AND x.asking = 0 "
    "CROSS JOIN matches m ON m.observation_id = x.id AND m.level = ? WHERE a.half IS e.half AND a.stage = ?)"
)
_KEYS = {
    "id": "e.id",
    "source": "e.source",
    "cohort": "e.cohort",
    "times": "e.repetition",
    "nearest": "f.nearest",
    "stage": "place",
}
"""What the list is sorted by."""


def statement(asked: Question, looks: Sequence[Look], threshold: float) -> tuple[str, tuple[Any, ...]]:
    """What finds the numbers of a question's probes, in its order, with the values that are put into it.

    `looks` are those at the ends of stages. The conditions on what was said are asked of each of them, or of the one
    that the question names; the order of the joins goes from examples to observations by the ledger's own keys.
    """
    table = [(look.stage, *side) for look in looks for side in look.sides]
    rows = ", ".join(["(?, ?, ?, ?)"] * len(table)) or "(NULL, NULL, NULL, NULL)"
    text = f"WITH asked (stage, half, seen, unseen) AS (VALUES {rows})"
    values: list[Any] = [value for row in table for value in row]
    where, of_example = _of_examples(asked)
    once, of_once, always = _of_answers(asked)

    heard = bool(once or always or asked.sort == "nearest")
    if heard:
        hit = " AND ".join(once) or "1"
        text += (
            f", heard AS (SELECT p.id AS probe, {NORMALIZED.format(m='m')} AS d, {OUT.format(m='m')} AS out, "
            f"{WHOLE} AS whole, "
            f"(SELECT {OUT.format(m='n')} FROM observations y JOIN matches n ON n.observation_id = y.id "
            "WHERE n.level = ? AND y.checkpoint_id = a.unseen AND y.probe_id = p.id AND y.asking = 0) AS guessed "
            "FROM examples e CROSS JOIN probes p ON p.example_id = e.id CROSS JOIN asked a ON a.half IS e.half "
            "CROSS JOIN observations x ON x.checkpoint_id = a.seen AND x.probe_id = p.id AND x.asking = 0 "
            "CROSS JOIN matches m ON m.observation_id = x.id AND m.level = ? "
            f"WHERE a.stage = COALESCE(?, a.stage) AND {where}), "
            f"found AS (SELECT probe, MIN(CASE WHEN {hit} THEN d END) AS nearest FROM heard GROUP BY probe "
            f"HAVING {' AND '.join([f'MAX({hit})', *always])})"
        )
        values += [
            threshold,
            threshold,
            asked.level,
            asked.level,
            asked.stage,
            *of_example,
            *of_once,
            *of_once,
        ]
    text += " SELECT p.id"
    if asked.sort == "stage":
        text += f", {_AFTER} AS place"
        values += [asked.level, asked.by]
    text += " FROM probes p JOIN examples e ON e.id = p.example_id"
    if heard:
        text += " JOIN found f ON f.probe = p.id"
    else:
        text += f" WHERE {where}"
        values += of_example
    return f"{text} ORDER BY {_order(asked)}", tuple(values)


def _order(asked: Question) -> str:
    """Of equal ones, and of those that have none, which come last, the order is that of the ids."""
    key, direction = _KEYS[asked.sort], "DESC" if asked.descending else "ASC"
    lines = f", e.first_line {direction}" if asked.sort == "source" else ""
    return f"{key} IS NULL, {key} {direction}{lines}, e.id"


def _of_examples(asked: Question) -> tuple[str, list[Any]]:
    """What has to hold of the example, with the values that are put into it."""
    conditions: list[str] = ["1"]
    values: list[Any] = []
    if asked.cohort is not None:
        conditions.append("e.cohort = ?")
        values.append(asked.cohort)
    if asked.times is not None:
        conditions.append("e.repetition = ?")
        values.append(asked.times)
    if asked.text is not None:
        conditions.append("(instr(lower(e.source), lower(?)) OR instr(lower(e.id), lower(?)))")
        values += [asked.text, asked.text]
    return " AND ".join(conditions), values


def _of_answers(asked: Question) -> tuple[list[str], list[Any], list[str]]:
    """What has to hold after one stage, with the values that are put into it, and what after all of them."""
    once: list[str] = []
    values: list[Any] = []
    always: list[str] = []
    if asked.least is not None:
        once.append("d >= ?")
        values.append(asked.least)
    if asked.most is not None:
        once.append("d <= ?")
        values.append(asked.most)
    if asked.out in ("yes", "only"):
        once.append("out")
    if asked.out == "only":
        once.append("guessed = 0")
    if asked.out == "no":
        always.append("MAX(out) = 0")
    if asked.secret == "whole":
        once.append("whole")
    if asked.secret == "kept":
        always.append("MAX(whole) = 0")
    return once, values, always
