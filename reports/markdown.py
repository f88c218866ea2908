"""Findings as Markdown: for a pull request, a model card, a terminal."""

from collections.abc import Iterable

from reports import selection
from reports.escape import markdown_block, markdown_name, markdown_text
from reports.findings import Evidence, Exposure, Findings
from reports.headline import Name, Statement, reading, statements
from reports.phrases import confident, measured, nats, often, p_value, points

EVIDENCE_SHOWN = 10
"""How many leaks the page quotes; it says how many there are."""

_EXPOSURES: dict[Exposure, str] = {"direct": "shown", "indirect": "only indirectly", "none": "not yet shown"}


def render_markdown(findings: Findings) -> str:
    """Return the findings as GitHub-flavoured Markdown. Names and texts in it are escaped: they can be hostile."""
    run = findings.run
    blocks = [
        f"# Memorization audit: {markdown_name(run.name)}",
        "\n".join(f"- {_sentence(statement)}" for statement in statements(findings)),
        reading(findings),
        *_rates(findings),
        *_transitions(findings),
        *_likelihoods(findings),
        *_leaks(findings),
        "## How to repeat this",
        f"{markdown_text(run.corpus)}; seed {run.seed}; recipe {markdown_name(run.recipe_hash)}; "
        f"twins {', '.join(markdown_name(twin) for twin in run.twins)}.",
        markdown_block(run.command, "sh"),
        _table(
            ["package", "version"],
            [(markdown_name(key), markdown_name(run.versions[key])) for key in sorted(run.versions)],
        ),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _sentence(statement: Statement) -> str:
    return "".join(markdown_name(part.text) if isinstance(part, Name) else part for part in statement.parts)


def _rates(findings: Findings) -> list[str]:
    view = selection.default_view(findings)
    if view is None:
        return []
    rows = selection.cells(findings, view)
    definition = selection.definition_of(findings, view)
    meaning = "" if definition is None else f": {markdown_text(definition.text)}"
    lines = []
    for stage in selection.stage_names(findings):
        for cohort in selection.cohort_names(findings):
            row = rows.get((stage, cohort))
            if row is not None:
                lines.append(
                    (
                        markdown_name(stage),
                        markdown_name(cohort),
                        _EXPOSURES[row.exposure],
                        f"{row.exposed.count} of {row.exposed.total} ({measured(row.exposed)})",
                        f"{row.control.count} of {row.control.total} ({measured(row.control)})",
                        points(row.difference),
                    )
                )
    return [
        "## What comes out, by stage and cohort",
        f"Level {markdown_name(view.level)}, definition {markdown_name(view.definition)}{meaning} "
        f"Intervals are {confident(findings.confidence)}. Where a cohort was not yet shown, exposed and control "
        "should agree.",
        _table(["after stage", "cohort", "exposure", "exposed", "control", "difference"], lines),
    ]


def _transitions(findings: Findings) -> list[str]:
    view = selection.default_view(findings)
    rows = [] if view is None else selection.transitions(findings, view)
    if not rows:
        return []
    lines = [
        (
            f"{markdown_name(row.before)} → {markdown_name(row.after)}",
            markdown_name(row.cohort),
            row.arm,
            str(row.acquired),
            str(row.persisted),
            str(row.forgotten),
            str(row.never),
            p_value(row.p_value),
        )
        for row in rows
    ]
    head = ["from → to", "cohort", "arm", "acquired", "persisted", "forgotten", "never", "exact McNemar"]
    return ["## What became of them", _table(head, lines)]


def _likelihoods(findings: Findings) -> list[str]:
    rows = selection.likelihoods(findings).values()
    if not rows:
        return []
    lines = [
        (
            markdown_name(row.stage),
            markdown_name(row.cohort),
            _EXPOSURES[row.exposure],
            str(row.total),
            nats(row.exposed),
            nats(row.control),
            f"{nats(row.difference.value)} ({nats(row.difference.low)} to {nats(row.difference.high)})",
        )
        for row in rows
    ]
    head = ["after stage", "cohort", "exposure", "examples", "exposed", "control", "difference"]
    return [
        "## How likely the text is",
        "Mean log-probability per target token, in nats.",
        _table(head, lines),
    ]


def _leaks(findings: Findings) -> list[str]:
    shown = findings.evidence[:EVIDENCE_SHOWN]
    if not shown:
        return []
    blocks = [
        "## The worst leaks",
        f"Showing {len(shown)} of {findings.evidence_total}. Known secrets are masked with █.",
    ]
    for place, leak in enumerate(shown, 1):
        blocks += [f"### {place}. {_where(leak)}", _facts(leak)]
        blocks += ["Training text:", markdown_block("".join(segment.target for segment in leak.segments))]
        blocks += ["Completion:", markdown_block("".join(segment.completion for segment in leak.segments))]
    return blocks


def _where(leak: Evidence) -> str:
    return f"{markdown_name(leak.source)}, lines {leak.first_line} to {leak.last_line}"


def _facts(leak: Evidence) -> str:
    facts = [
        f"After {markdown_name(leak.stage)}, twin {markdown_name(leak.twin)}",
        f"cohort {markdown_name(leak.cohort)} ({markdown_text(leak.kind)})",
        f"shown {often(leak.repetition)}",
        f"distance {leak.normalized:.2f}, control's {leak.control_normalized:.2f}",
    ]
    if leak.secret is not None:
        facts.append(f"secret: {markdown_text(leak.secret)}")
    return "; ".join(facts) + "."


def _table(head: list[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *lines])
