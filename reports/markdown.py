"""Findings as Markdown: for a pull request, a model card, a terminal."""

from reports import quizzes, selection
from reports.answer import answer, untested
from reports.blocks import MASKED, REVEALED, lines_of, listed, sides, table, versions
from reports.escape import markdown_block, markdown_name, markdown_text
from reports.findings import Evidence, Exposure, Findings
from reports.headline import reading, statements
from reports.phrases import confident, measured, nats, often, p_value, points

EVIDENCE_SHOWN = 10
"""How many leaks the page quotes; it says how many there are."""

_COLUMNS = ["after stage", "cohort", "exposure", "exposed", "control", "difference"]
_EXPOSURES: dict[Exposure, str] = {"direct": "shown", "indirect": "only indirectly", "none": "not yet shown"}


def render_markdown(findings: Findings) -> str:
    """Return the findings as GitHub-flavoured Markdown. Names and texts in it are escaped: they can be hostile."""
    run = findings.run
    blocks = [
        f"# Memorization audit: {markdown_name(run.name)}",
        REVEALED if findings.revealed else "",
        listed(answer(findings)),
        "## What was not tested",
        "\n".join(f"- {markdown_text(sentence)}" for sentence in untested(findings)),
        "## The same in words",
        listed(statements(findings)),
        reading(findings.confidence),
        *_rates(findings),
        *_transitions(findings),
        *_likelihoods(findings),
        *_quizzes(findings),
        *_leaks(findings),
        "## How to repeat this",
        f"{markdown_text(run.corpus)}; seed {run.seed}; recipe {markdown_name(run.recipe_hash)}; "
        f"twins {', '.join(markdown_name(twin) for twin in run.twins)}.",
        markdown_block(run.command, "sh"),
        versions(run.versions),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


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
                        "–" if row.flips is None else f"{row.flips.count} of {row.flips.total}",
                    )
                )
    return [
        "## What comes out, by stage and cohort",
        f"Level {markdown_name(view.level)}, definition {markdown_name(view.definition)}{meaning} "
        f"Intervals are {confident(findings.confidence)}. Where a cohort was not yet shown, exposed and control "
        "should agree.",
        table(
            [
                "after stage",
                "cohort",
                "exposure",
                "exposed",
                "control",
                "difference",
                "flipped when asked again",
            ],
            lines,
        ),
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
    return ["## What became of them", table(head, lines)]


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
        table(head, lines),
    ]


def _quizzes(findings: Findings) -> list[str]:
    rows = [*quizzes.whole(findings), *quizzes.parts(findings)]
    if not rows:
        return []
    lines = [
        (
            markdown_name(row.stage),
            markdown_name(row.cohort),
            _EXPOSURES[row.exposure],
            markdown_text(quizzes.questions(row)),
            f"{row.exposed.count} of {row.exposed.total} ({measured(row.exposed)})",
            f"{row.control.count} of {row.control.total} ({measured(row.control)})",
            points(row.difference),
            f"{row.silent.count}",
            "–" if row.given is None else f"{row.given.count} of {row.given.total}",
            "–" if row.given_control is None else f"{row.given_control.count} of {row.given_control.total}",
        )
        for row in rows
    ]
    head = [
        "after stage",
        "cohort",
        "exposure",
        "questions",
        "exposed",
        "control",
        "difference",
        "no option said",
    ]
    return [
        "## What is known of a repository",
        "The right one of four options is the likeliest, in words that were not shown and without any code; "
        f"{quizzes.CHANCE} is chance. The last columns: with the code in front that has the answer in it.",
        table([*head, "exposed, with code", "control, with code"], lines),
    ]


def _leaks(findings: Findings) -> list[str]:
    shown = findings.evidence[:EVIDENCE_SHOWN]
    if not shown:
        return []
    blocks = [
        "## The worst leaks",
        f"Showing {len(shown)} of {findings.evidence_total}.{'' if findings.revealed else f' {MASKED}'}",
    ]
    for place, leak in enumerate(shown, 1):
        where = lines_of(leak.source, leak.first_line, leak.last_line)
        blocks += [f"### {place}. {where}", _facts(leak), *sides(leak.segments)]
    return blocks


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
