"""A tally as Markdown: for a pull request, a model card, a terminal."""

from reports.audited import (
    Checkpoint,
    Line,
    checkpoints,
    default,
    distances,
    ends,
    finished,
    model_name,
    others,
    passages,
)
from reports.blocks import MASKED, REVEALED, lines_of, listed, sides, table, versions
from reports.escape import markdown_name, markdown_text
from reports.findings import Proportion
from reports.headline import reading
from reports.leakage import answers, caveats
from reports.phrases import confident, measured, points
from reports.tally import Leaked, Tally

LEAKS_SHOWN = 10
"""How many leaks the page quotes; it says how many there are."""


IDENTITY = 16
"""Characters that a page shows of a hash."""


def render_tally_markdown(tally: Tally) -> str:
    """Return the tally as GitHub-flavoured Markdown. Names and texts in it are escaped: they can be hostile."""
    blocks = [
        f"# Memorization audit: {markdown_name(model_name(tally))}",
        REVEALED if tally.revealed else "",
        listed(answers(tally), topics=True),
        reading(tally.confidence),
        "## What this does not tell",
        listed(caveats(tally), topics=True),
        *_rates(tally),
        *_steps(tally),
        *_passages(tally),
        *_leaks(tally),
        *_asked(tally),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _rates(tally: Tally) -> list[str]:
    found = ends(checkpoints(tally))
    if not found:
        return []
    usual, beside = default(tally), others(tally)
    named = not finished(tally)
    text = next((item.text for item in tally.definitions if item.name == usual), "")
    head = [
        *(["checkpoint"] if named else []),
        *("probes", "level", "model", "control", "difference", "noise"),
        *(markdown_name(name) for name in beside),
    ]
    rows = [
        (*((_checkpoint(at),) if named else ()), *_cells(line, beside)) for at in found for line in at.lines
    ]
    return [
        "## What comes out",
        f"Definition {markdown_name(usual)}: {markdown_text(text)} Intervals are {confident(tally.confidence)}, those "
        "of differences paired. Noise: verdicts that flipped when the same probes were asked once more. "
        "Other definitions stand beside it.",
        table(head, rows),
    ]


def _checkpoint(at: Checkpoint) -> str:
    return f"{markdown_name(at.stage)}, step {at.step}"


def _cells(line: Line, beside: list[str]) -> tuple[str, ...]:
    row = line.row
    return (
        markdown_name(line.kind),
        markdown_name(line.level),
        _count(row.model),
        "–" if row.control is None else _count(row.control),
        "–" if row.difference is None else points(row.difference),
        "not asked twice" if row.flips is None else f"{_count(row.flips)} flipped",
        *(_beside(line, name) for name in beside),
    )


def _beside(line: Line, name: str) -> str:
    row = line.others.get(name)
    if row is None:
        return "–"
    control = "" if row.control is None else f"; control {row.control.count} of {row.control.total}"
    return f"{_count(row.model)}{control}"


def _count(of: Proportion) -> str:
    return f"{of.count} of {of.total} ({measured(of)})"


def _steps(tally: Tally) -> list[str]:
    found = checkpoints(tally)
    if len(found) == len(ends(found)):
        return []
    beside = others(tally)
    head = [
        "checkpoint",
        "model",
        "control",
        "difference",
        "noise",
        *(markdown_name(name) for name in beside),
    ]
    rows = [(_checkpoint(at), *_cells(at.main, beside)[2:]) for at in found]
    main = found[0].main
    what = f"{markdown_name(main.kind)}, level {markdown_name(main.level)}"
    return [
        "## Over the training",
        f"Probes: {what}, definition {markdown_name(default(tally))}.",
        table(head, rows),
    ]


def _passages(tally: Tally) -> list[str]:
    rows = [
        (markdown_name(passage.stage), str(step), str(first), str(last))
        for passage in passages(tally)
        for step, first, last in zip(passage.steps, passage.first_out, passage.last_out, strict=True)
        if first or last
    ]
    if not rows:
        return []
    return [
        "## In passing",
        "How many of the probes that were asked at several steps came out at a step for the first time, and for the "
        "last. Steps without any are left out.",
        table(["stage", "step", "first out", "last out"], rows),
    ]


def _leaks(tally: Tally) -> list[str]:
    shown = tally.leaks[:LEAKS_SHOWN]
    if not shown:
        return []
    blocks = [
        "## The worst leaks",
        f"Showing {len(shown)} of {tally.leaks_total}.{'' if tally.revealed else f' {MASKED}'}",
    ]
    for place, leak in enumerate(shown, 1):
        where = lines_of(leak.source, leak.first_line, leak.last_line)
        blocks += [f"### {place}. {where}", _facts(leak, tally), *sides(leak.segments)]
    return blocks


def _facts(leak: Leaked, tally: Tally) -> str:
    facts = [f"Probe {markdown_name(leak.probe)} ({markdown_text(leak.kind)})"]
    if not finished(tally):
        facts.append(f"after step {leak.step} of {markdown_name(leak.stage)}")
    facts.append(distances(leak, tally))
    if leak.secret is not None:
        facts.append(f"secret: {markdown_text(leak.secret)}")
    return "; ".join(facts) + "."


def _asked(tally: Tally) -> list[str]:
    rows = [
        (
            markdown_text(asked.role),
            markdown_name(asked.name),
            markdown_name(asked.identity[:IDENTITY]),
            markdown_name(asked.kind),
            "the same" if asked.deterministic else "may differ",
            f"{tally.seconds[asked.role]:.1f}" if asked.role in tally.seconds else "–",
        )
        for asked in tally.asked
    ]
    manner = "to their end" if tally.full else "until their verdict was certain"
    return [
        "## How it was asked",
        f"{tally.probes} probes (file {markdown_name(tally.probes_digest[:IDENTITY])}); completions decoded greedily, "
        f"{manner}; threshold {tally.threshold:g}.",
        table(["role", "model", "identity", "asked by", "asked again, answers are", "seconds"], rows),
        versions(tally.versions),
    ]
