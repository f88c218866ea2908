"""What a gate says, in words: one way to write a rule, its numbers and its bound in every format."""

from collections.abc import Iterator

from reports.gate import Gate, Measurement, RuleRow
from reports.phrases import chance, portion, share
from reports.statement import Name, Part, Quoted

LISTED = 20
"""Places of a rule that are written out; the JSON has all of them."""


def outcome(row: RuleRow) -> str:
    """Return the word for a rule's outcome: pass, FAIL, or skip where it was not applied and may pass so."""
    if not row.passed:
        return "FAIL"
    return "skip" if row.verdict == "not applied" else "pass"


def ordered(gate: Gate) -> list[RuleRow]:
    """Return the rules with the failing ones first, each group in the policy's order."""
    return sorted(gate.rules, key=lambda row: (row.passed, row.verdict == "holds"))


def title(gate: Gate) -> list[Part]:
    """Return what was held against what, and whether it passed, with how many rules did not."""
    failed = sum(not row.passed for row in gate.rules)
    count = f"{failed} of {len(gate.rules)} rule{'s' if len(gate.rules) != 1 else ''}"
    verdict = "passed" if gate.passed else f"NOT passed, {count} failed"
    return ["Memorization gate ", Name(gate.policy), " on ", Name(gate.place), f": {verdict}"]


def subject(gate: Gate) -> list[Part]:
    """Return what was looked at, in a sentence."""
    what: list[Part] = [f"{'Run' if gate.kind == 'run' else 'Audit of'} ", Name(gate.name)]
    seed = [] if gate.seed is None else [f", seed {gate.seed}"]
    beside: list[Part] = [] if gate.baseline is None else ["; baseline ", Name(gate.baseline)]
    return [
        *what,
        *seed,
        *beside,
        f"; near copies lie within a distance of {gate.threshold:g}; policy {gate.policy_digest[:12]}.",
    ]


def bound(row: RuleRow) -> str:
    """Return what a rule allows."""
    limit = row.bound.limit
    if limit is None:
        return row.bound.judged
    if row.bound.kind in ("upper", "lower"):
        return f"{'at most' if row.bound.kind == 'upper' else 'at least'} {_exactly(limit)} %"
    if row.bound.kind == "test":
        return f"no rise with p < {limit:g}"
    return f"at {'most' if row.bound.kind == 'count' else 'least'} {limit:,.0f}"


def measured(row: RuleRow, found: Measurement) -> str:
    """Return what was counted, of how many, and the end of the interval that is judged."""
    count, total = found.found.count, found.found.total
    if row.bound.kind == "control":
        return found.note or ""
    if row.bound.kind == "test":
        p_value = "" if found.p_value is None else f", p = {chance(found.p_value)}".replace("= <", "<")
        return f"{count} became and {found.gone} no longer, of {total}{p_value}"
    if row.bound.kind == "least":
        return f"{total:,} asked"
    if found.edge is None:
        return f"{count} of {total}"
    return f"{portion(count, total)}, {'up' if row.bound.kind == 'upper' else 'down'} to {_beside(found.edge, row)} %"


def where(found: Measurement) -> list[Part]:
    """Return the place of a measurement; nothing where it is the whole audit."""
    parts: list[Part] = []
    if found.cohort is not None:
        parts += ["cohort ", Name(found.cohort), " "]
    if found.stage is not None:
        parts += ["after ", Name(found.stage)]
    if found.before is not None:
        parts += [", before it ", Name(found.before)]
    return parts


def places(row: RuleRow) -> list[Part]:
    """Return the place that decides a rule, and of how many it is the worst."""
    if not row.measured:
        return []
    parts = where(row.measured[0])
    return [*parts, f" (worst of {len(row.measured)})"] if len(row.measured) > 1 else parts


def short(row: RuleRow) -> list[Part]:
    """Return what a rule found, in the middle of a line: the place that decides, or why there is none."""
    if row.measured and (row.gaps == [] or not row.measured[0].holds):
        return [_counted(row, row.measured[0])]
    if row.measured and row.passed:
        return [_counted(row, row.measured[0]), "; not applied everywhere"]
    return ["not applied: ", Quoted(row.gaps[0])]


def too_few(row: RuleRow, found: Measurement) -> str | None:
    """Say that a sample is too small to show a bound, whatever came of it; None where it is not."""
    if found.needs is None:
        return None
    total = found.found.total
    needs = f"needs at least {found.needs:,} examples"
    if row.bound.kind == "upper" and found.least is not None:
        return f"0 of {total} can only exclude {_beside(found.least, row)} %: {needs}"
    if row.bound.kind == "lower" and found.least is not None:
        return f"{total} of {total} can only show {_beside(found.least, row)} %: {needs}"
    return f"{total} pairs cannot reach p < {row.bound.limit:g}, whatever came of them: {needs}"


def sentences(row: RuleRow) -> Iterator[list[Part]]:
    """Yield a line for each place where a rule does not hold or, where all do, for the one that decides; then gaps."""
    broken = [found for found in row.measured if not found.holds]
    for found in (broken or row.measured[:1])[:LISTED]:
        yield _sentence(row, found)
    if len(broken) > LISTED:
        yield [f"And {len(broken) - LISTED} more places."]
    for gap in row.gaps[:LISTED]:
        yield ["Not applied: ", Quoted(gap), "."]


def _sentence(row: RuleRow, found: Measurement) -> list[Part]:
    at = where(found)
    more = "" if row.bound.kind == "control" or not found.note else f" {found.note}."
    too = too_few(row, found)
    against = f"the bound is {bound(row)}"
    if row.bound.kind in ("upper", "lower", "test"):
        against += f" ({row.bound.judged})"
    return [
        *([*at, ": "] if at else []),
        _counted(row, found),
        f"; {against}.",
        f" {too}." if too else "",
        Quoted(more),
    ]


def _counted(row: RuleRow, found: Measurement) -> Part:
    """What was measured; where that is a note, as words that are not ours."""
    words = measured(row, found)
    return Quoted(words) if row.bound.kind == "control" else words


def plain(parts: list[Part]) -> str:
    """Return words with the names as they are. Hostile."""
    return "".join(part.text if isinstance(part, Name) else part for part in parts)


def _beside(edge: float, row: RuleRow) -> str:
    """An end of an interval in percent, with as many digits as tell it from the limit beside it."""
    limit = row.bound.limit or 0.0
    if share(edge) != share(limit) or edge == limit:
        return share(edge)
    digits = next((n for n in range(2, 9) if f"{100 * edge:.{n}f}" != f"{100 * limit:.{n}f}"), 9)
    return f"{100 * edge:.{digits}f}"


def _exactly(limit: float) -> str:
    """A limit in percent as the policy has it, not rounded."""
    return f"{100 * limit:.10g}"
