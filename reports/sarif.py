"""Leaks as SARIF 2.1.0, for code scanning: each one a result at the training file and the lines it came from.

Standard: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0 plus Errata 01. Numbers in brackets
are its sections. Names of stages and files are hostile: they are quoted in messages and percent-encoded in addresses.
No training text, no completion and no part of a secret is written anywhere.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from reports.address import address
from reports.audited import distances, finished, model_name
from reports.escape import visible
from reports.findings import Findings, Outcome
from reports.phrases import often
from reports.tally import Leaked, Tally

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
"""Where the schema of what is written stands."""

_JSONL_LINE = re.compile(r"(?P<file>.+\.jsonl):\d+", re.DOTALL)
# Embedded links [3.11.6] and placeholders [3.11.5] are what a plain message can be made to hold.
_INERT = str.maketrans({"\\": "\\\\", "[": "\\[", "]": "\\]", "{": "{{", "}": "}}", '"': "'"})
_BASES = {
    "CORPUS": "The root of the training code that was audited.",
    "SYNTHETIC": "No files: examples that memaudit made and put among the training code.",
    "GIVEN": "No files: ids of texts that were given line by line. A region is a line of the file they were given in.",
}
_TAGS = ["security", "privacy", "memorization"]


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A kind of leak."""

    id: str
    name: str
    level: str
    short: str
    full: str
    help: str


_ADVICE = (
    "Whoever may ask the model for completions can get this text out of it. Take the example out of the data that "
    "stages learn from, show it less often, or do not release the checkpoint; then run the audit again."
)
SECRET = _Rule(
    id="whole-secret",
    name="WholeSecret",
    level="error",
    short="A secret comes out whole",
    full="The sensitive part of a training example occurs whole in what the model says when it is given the text "
    "before it.",
    help=f"Treat the secret as published: replace it. {_ADVICE}",
)
VERBATIM = _Rule(
    id="verbatim-copy",
    name="VerbatimCopy",
    level="error",
    short="Training code comes out word for word",
    full="Given the beginning of a training example, the model says the rest of it, character for character.",
    help=_ADVICE,
)
NEAR = _Rule(
    id="near-copy",
    name="NearCopy",
    level="warning",
    short="A near copy of training code comes out",
    full="Given the beginning of a training example, the model says the rest of it but for a few characters: their "
    "normalised edit distance is at most the audit's threshold.",
    help=_ADVICE,
)
RULES = (SECRET, VERBATIM, NEAR)
"""All kinds of leaks, worst first."""


@dataclass(frozen=True, kw_only=True)
class _Leak:
    """What one result says."""

    id: str
    rule: _Rule
    source: str
    first_line: int
    last_line: int
    synthetic: bool
    given: bool
    """It was given as text, so that its source need not be a file."""
    message: str
    properties: Mapping[str, Any]


def render_sarif(found: Findings | Tally) -> str:
    """Return a SARIF log with one run and one result for each leak, worst first; the same leaks give the same bytes.

    Of a run these are the examples that came out of the twin that saw them and not of its control, each at the first
    stage after which it did. Of an audited model they are those that the tally lists, and a notification says how many
    there are. `partialFingerprints` depend on an example's id alone, so that a leak is the same over runs, stages and
    moves of its file.
    """
    leaks = list(_of_run(found) if isinstance(found, Findings) else _of_model(found))
    leaks.sort(key=lambda leak: (RULES.index(leak.rule), leak.properties["distance"], leak.id))
    run = _run(found) if isinstance(found, Findings) else _audit(found)
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(_versions(found))},
                **run,
                "originalUriBaseIds": {
                    name: {"description": {"text": text}} for name, text in _BASES.items()
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(leak) for leak in leaks],
            }
        ],
    }
    return json.dumps(log, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _versions(found: Findings | Tally) -> Mapping[str, str]:
    return found.run.versions if isinstance(found, Findings) else found.versions


def _driver(versions: Mapping[str, str]) -> dict[str, Any]:
    version = {"version": versions["memaudit"]} if "memaudit" in versions else {}
    return {
        "name": "memaudit",
        **version,
        "rules": [
            {
                "id": rule.id,
                "name": rule.name,
                "shortDescription": {"text": rule.short},
                "fullDescription": {"text": rule.full},
                "help": {"text": rule.help, "markdown": rule.help},
                "defaultConfiguration": {"level": rule.level},
                "properties": {"tags": _TAGS},
            }
            for rule in RULES
        ],
    }


def _run(findings: Findings) -> dict[str, Any]:
    run = findings.run
    identity = f"{quote(run.recipe_hash, safe='')}-seed-{run.seed}"
    times = {"startTimeUtc": findings.times.started, "endTimeUtc": findings.times.finished}
    return {
        "automationDetails": _automation("run", run.name, identity),
        "invocations": [
            {
                "commandLine": run.command,
                **{name: utc for name, time in times.items() if (utc := _utc(time)) is not None},
                "executionSuccessful": findings.times.finished is not None,
            }
        ],
        "properties": {
            "recipe": run.recipe_hash,
            "seed": run.seed,
            "threshold": findings.threshold,
            "versions": dict(sorted(run.versions.items())),
        },
    }


def _audit(tally: Tally) -> dict[str, Any]:
    listed, total = len(tally.leaks), tally.leaks_total
    notes = [f"The worst {listed} of {total} leaks are listed."] if listed < total else []
    if tally.rows and not any(row.control is not None for row in tally.rows):
        notes.append("There was no control: what came out may have been guessed.")
    return {
        "automationDetails": _automation("audit", model_name(tally), tally.probes_digest),
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "note", "message": {"text": note}} for note in notes
                ],
            }
        ],
        "properties": {
            "models": [{"role": a.role, "name": a.name, "identity": a.identity} for a in tally.asked],
            "probes": tally.probes_digest,
            "threshold": tally.threshold,
            "versions": dict(sorted(tally.versions.items())),
        },
    }


def _automation(what: str, name: str, identity: str) -> dict[str, Any]:
    """All before the last slash is the category, the same over runs [3.17.3]."""
    return {
        "id": f"memaudit/{what}/{quote(name, safe='')}/{identity}",
        "description": {"text": "What a code model has memorized of the code it was trained on."},
    }


def _utc(time: str | None) -> str | None:
    """Return a time as the standard wants it [3.9]; None where it is none."""
    try:
        moment = datetime.fromisoformat(time or "")
    except ValueError:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# what leaked


def _of_run(findings: Findings) -> Iterator[_Leak]:
    exposure = {(row.stage, row.cohort): row.exposure for row in findings.totals}
    lineage = _lineages(findings)
    for example in findings.examples:
        outcome = next(
            (o for o in example.outcomes if exposure[o.stage, example.cohort] != "none" and _leaks(o)), None
        )
        if outcome is None:
            continue
        indirect = exposure[outcome.stage, example.cohort] == "indirect"
        rule = SECRET if outcome.secret else VERBATIM if outcome.distance == 0 else NEAR
        line = lineage.get(outcome.stage, {outcome.stage})
        # A reward model's showings count where they are all that reached the stage.
        times = sum(s.times for s in example.shown if s.stage in line) or sum(s.times for s in example.shown)
        yield _Leak(
            id=example.id,
            rule=rule,
            source=example.source,
            first_line=example.first_line,
            last_line=example.last_line,
            synthetic=example.kind == "sensitive",
            given=example.kind == "given",
            message=f"{_came_out(rule)} after stage {_named(outcome.stage)}. Distance {outcome.distance:.2f}, "
            f"control's {outcome.control_distance:.2f} (0 is equal). Twin {_named(example.half)}, cohort "
            f"{_named(example.cohort)}, shown {often(times)}"
            f"{', only to a model that steered this one' if indirect else ''}.",
            properties={
                "example": example.id,
                "stage": outcome.stage,
                "outAfter": [o.stage for o in example.outcomes if o.exposed or o.secret],
                "cohort": example.cohort,
                "exposure": "indirect" if indirect else "direct",
                "twin": example.half,
                "distance": outcome.distance,
                "controlDistance": outcome.control_distance,
                "timesShown": times,
                "repetition": example.repetition,
                "kind": example.kind,
                "language": example.language,
                "secretWhole": outcome.secret,
                "secrets": example.secrets,
            },
        )


def _leaks(outcome: Outcome) -> bool:
    """Whether it came out of the twin that saw it, or its secret did, and not of the control."""
    return (outcome.exposed and not outcome.control) or bool(outcome.secret and not outcome.control_secret)


def _lineages(findings: Findings) -> dict[str, set[str]]:
    """Stage -> itself and all it descends from."""
    parents = {stage.name: stage.parent for stage in findings.stages}
    found: dict[str, set[str]] = {}
    for name in parents:
        line, at = set(), name
        while at is not None and at not in line:
            line.add(at)
            at = parents.get(at)
        found[name] = line
    return found


def _of_model(tally: Tally) -> Iterator[_Leak]:
    for leak in tally.leaks:
        rule = _rule_of(leak)
        place = "" if finished(tally) else f" after step {leak.step} of stage {_named(leak.stage)}"
        far = distances(leak, tally).capitalize().replace("’", "'")
        control = {} if leak.control_normalized is None else {"controlDistance": leak.control_normalized}
        unsure = "" if control else " There was no control: it may have been guessed."
        yield _Leak(
            id=leak.probe,
            rule=rule,
            source=leak.source,
            first_line=leak.first_line,
            last_line=leak.last_line,
            synthetic=False,
            given=False,
            message=f"{_came_out(rule)}{place}. {far} (0 is equal).{unsure}",
            properties={
                "probe": leak.probe,
                "kind": leak.kind,
                "stage": leak.stage,
                "step": leak.step,
                "distance": leak.normalized,
                **control,
                "secretWhole": None if leak.secret is None else leak.secret == "whole",
                "secrets": leak.secrets,
            },
        )


def _rule_of(leak: Leaked) -> _Rule:
    if leak.secret == "whole":
        return SECRET
    return VERBATIM if leak.normalized == 0 else NEAR


def _came_out(rule: _Rule) -> str:
    return {
        SECRET: "The secret in these lines came out whole",
        VERBATIM: "The rest of these lines came out word for word when their beginning was given",
        NEAR: "A near copy of the rest of these lines came out when their beginning was given",
    }[rule]


def _named(name: str) -> str:
    """Return a hostile name for the middle of a message: quoted, in one line, and neither link nor placeholder."""
    return f'"{visible(name, lines=False).translate(_INERT)}"'


# where


def _result(leak: _Leak) -> dict[str, Any]:
    key = sha256(leak.id.encode("utf-8", "surrogatepass")).hexdigest()
    return {
        "ruleId": leak.rule.id,
        "ruleIndex": RULES.index(leak.rule),
        "level": leak.rule.level,
        "message": {"text": leak.message},
        "locations": [_location(leak)],
        # The second name is the only one that GitHub reads. It is a place's there, and a leak's here.
        "partialFingerprints": {"memauditExample/v1": key, "primaryLocationLineHash": f"{key[:16]}:1"},
        "properties": dict(leak.properties),
    }


def _location(leak: _Leak) -> dict[str, Any]:
    logical = {"fullyQualifiedName": leak.source, "kind": "resource"}
    line = _JSONL_LINE.fullmatch(leak.source)
    uri = address(line["file"] if line else leak.source)
    if uri is None:
        return {"logicalLocations": [logical]}
    base = "SYNTHETIC" if leak.synthetic else "GIVEN" if leak.given and not line else "CORPUS"
    first = max(1, leak.first_line)
    absolute = uri.startswith("file:")
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": uri} if absolute else {"uri": uri, "uriBaseId": base},
            "region": {"startLine": first, "endLine": max(first, leak.last_line)},
        },
        **({"logicalLocations": [logical]} if base != "CORPUS" else {}),
    }
