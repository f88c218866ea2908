"""A gate as JUnit XML: one test case a rule, for whatever shows the tests of a CI job.

There is no standard. What is written is valid against Jenkins's `junit-10.xsd`, which is how most systems read it, and
against Windy Road's stricter `JUnit.xsd`, of Ant's tasks, but for `skipped`, which that one does not know. It is why
there are a host, an id and a package. A rule that is not kept to is a failure, one that could not be applied an error,
and one that could not be applied and may pass so is skipped.
"""

import re
import xml.etree.ElementTree as ET

from reports.escape import visible
from reports.gate import Gate, RuleRow
from reports.gate_statements import (
    bound,
    ordered,
    outcome,
    places,
    plain,
    sentences,
    short,
    subject,
    too_few,
)

# What XML 1.0 (fifth edition, 2.2) does not allow in a document, not even as a reference.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(gate: Gate) -> str:
    """Return a document with one suite. Characters that XML forbids are shown by signs, or left out."""
    errors = sum(not row.passed and row.verdict == "not applied" for row in gate.rules)
    skipped = sum(outcome(row) == "skip" for row in gate.rules)
    about = {
        "id": "0",
        "package": "memaudit",
        "name": _line(f"memaudit {gate.policy}"),
        "timestamp": gate.checked[:19],
        "hostname": "localhost",
        "tests": str(len(gate.rules)),
        "failures": str(sum(not row.passed for row in gate.rules) - errors),
        "errors": str(errors),
        "time": "0",
    }
    suite = ET.Element("testsuite", about | ({"skipped": str(skipped)} if skipped else {}))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(gate).items():
        ET.SubElement(properties, "property", name=name, value=_line(value))
    for row in gate.rules:
        suite.append(_case(gate, row))
    out = ET.SubElement(suite, "system-out")
    out.text = "\n".join([_line(plain(subject(gate))), *(_overview(row) for row in ordered(gate))])
    ET.SubElement(suite, "system-err")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _properties(gate: Gate) -> dict[str, str]:
    found = {
        "run": gate.place,
        "name": gate.name,
        "policy": gate.policy,
        "policy sha256": gate.policy_digest,
        "threshold": f"{gate.threshold:g}",
        "command": gate.command,
    }
    return found | ({"baseline": gate.baseline} if gate.baseline is not None else {})


def _case(gate: Gate, row: RuleRow) -> ET.Element:
    case = ET.Element(
        "testcase", name=_line(row.name), classname=_line(f"memaudit.{gate.policy}.{row.rule}"), time="0"
    )
    kind = {"FAIL": "error" if row.verdict == "not applied" else "failure", "skip": "skipped"}.get(
        outcome(row)
    )
    if kind is not None:
        told = ET.SubElement(case, kind, message=_line(_message(row)), type=row.verdict)
        if kind != "skipped":
            lines = [*map(plain, sentences(row)), *([f"Why: {row.why}"] if row.why else [])]
            told.text = "\n".join([f"Counted: {row.quantity}.", *map(_line, lines)])
    return case


def _message(row: RuleRow) -> str:
    at = plain(places(row))
    too = too_few(row, row.measured[0]) if row.measured else None
    return f"{plain(short(row))}{f', {at}' if at else ''}; bound: {bound(row)}{f'; {too}' if too else ''}"


def _overview(row: RuleRow) -> str:
    return _line(f"{outcome(row)}  {row.name}: {_message(row)}")


def _line(text: str) -> str:
    """Hostile text for the middle of a line, with nothing in it that XML cannot hold."""
    # A token has no white space at its ends and no two spaces in a row.
    return " ".join(_FORBIDDEN.sub("", visible(text, lines=False)).split(" ")).strip()
