"""What a model knows of a repository: answers to questions about it, in words that it was not shown."""

from collections.abc import Iterator

from reports import selection
from reports.findings import Findings, QuizRow
from reports.forest import Line, draw
from reports.phrases import measured, points
from reports.statement import Name, Part, Statement, claim, judged
from reports.theme import Panel, label

CHANCE = "one in four"
"""What whoever knows nothing has right."""
_CUTS = {"all": "all", "task": "task", "capability": "asking for", "clue": "clue of"}


def whole(findings: Findings, cohort: str | None = None) -> list[QuizRow]:
    """The rows of all questions, of one cohort or of all cohorts in their order."""
    cohorts, stages = selection.cohort_names(findings), selection.stage_names(findings)
    rows = [row for row in findings.quizzes if row.cut == "all" and cohort in (None, row.cohort)]
    return sorted(rows, key=lambda row: (cohorts.index(row.cohort), stages.index(row.stage)))


def parts(findings: Findings) -> list[QuizRow]:
    """The rows of some questions each, after every stage whose model had been shown the cohort."""
    return [row for row in findings.quizzes if row.cut != "all" and row.exposure != "none"]


def questions(row: QuizRow) -> str:
    """Which questions a row is about. Hostile, as far as names are."""
    return f"{_CUTS[row.cut]} {row.name}".strip()


def forest(findings: Findings) -> Panel | None:
    """Draw how much more the twin answers that was shown them, for every cohort and stage."""
    return draw([_line(row) for row in whole(findings)], "Exposed minus control", "percentage points")


def _line(row: QuizRow) -> Line:
    gap, name = row.difference, f"{label(row.cohort)} after {label(row.stage)}"
    counts = f"{row.exposed.count} of {row.exposed.total} against {row.control.count}"
    return Line(
        group=row.cohort,
        name=f"{label(row.cohort)} · after {label(row.stage)}",
        exposure=row.exposure,
        low=100 * gap.low,
        value=100 * gap.value,
        high=100 * gap.high,
        words=f"{name}: {points(gap)}, {counts}",
    )


def statements(findings: Findings, cohort: str) -> Iterator[Statement]:
    """Tell what is answered after the first stage that shows a cohort of questions."""
    row = next((row for row in whole(findings, cohort) if row.exposure == "direct"), None)
    if row is None:
        return
    said: list[Part] = [
        "Asked in words that were not shown, without any code, the twin that was shown cohort ",
        Name(cohort),
        " finds the right one of four options likeliest in ",
        f"{row.exposed.count} of {row.exposed.total} questions ({measured(row.exposed, findings.confidence)}) after ",
        Name(row.stage),
        f", its control in {row.control.count} ({measured(row.control)}); {CHANCE} is chance. {claim(row.difference)}",
    ]
    if row.given is not None:
        said.append(
            f" With the code in front that has the answer in it, {row.given.count} of {row.given.total} "
            f"({measured(row.given)})"
        )
        said.append("." if row.given_control is None else f", its control {row.given_control.count}.")
    yield Statement(
        cohort=cohort, topic="Known of a repository", verdict=judged(row.difference), parts=tuple(said)
    )
