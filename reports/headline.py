"""The headline: what the numbers say, in plain English, and never more than they say.

A cohort is said to come out *more than its control* only when the whole interval of the paired difference lies
above zero, *less* only when it lies below, and otherwise no difference is claimed.
"""

from collections.abc import Iterator

from reports import quizzes, selection
from reports.findings import Findings, RateRow, Stage, TransitionRow
from reports.phrases import confident, measured, often, p_value, percent, points
from reports.selection import View
from reports.statement import Name, Part, Statement, Verdict, claim, come, fact, judged, manner

PREFERENCE = frozenset({"dpo", "ipo", "mdpo", "kto", "orpo", "cpo", "simpo"})
"""Methods that learn from preferred completions directly."""
REINFORCEMENT = frozenset({"ppo", "grpo", "rloo", "reinforce"})
"""Methods that learn from a reward model's score."""


def sentences(findings: Findings) -> list[str]:
    """Return the headline sentences as plain text, names in backticks. Not escaped for any page."""
    return [str(statement) for statement in statements(findings)]


def statements(findings: Findings) -> list[Statement]:
    """Return the headline, cohort by cohort in the order of the recipe."""
    view = selection.default_view(findings)
    if view is None:
        return [fact("Nothing measured", "Nothing was measured: the table of rates is empty.")]
    writer = _Writer(findings, view)
    said = [statement for cohort in selection.cohort_names(findings) for statement in writer.cohort(cohort)]
    return [
        *said,
        *writer.preference_against_reinforcement(),
        *writer.negative_controls(),
        *writer.noise(),
    ]


class _Writer:
    """Holds the tables of one view while its statements are made."""

    def __init__(self, findings: Findings, view: View):
        self.findings = findings
        self.rows = selection.cells(findings, view)
        self.strata = selection.strata(findings, view)
        self.likelihoods = selection.likelihoods(findings)
        self.transitions = selection.transitions(findings, view)
        self.stages = selection.stage_names(findings)
        self.manner = manner(view.level, view.definition)

    def cohort(self, cohort: str) -> Iterator[Statement]:
        """Yield what is known of one cohort: first shown, by repetition, over later stages, indirectly, secrets."""
        for row in self._first(cohort, "direct"):
            stage = selection.stage_named(self.findings, row.stage)
            role = stage.role if stage is not None and stage.cohort == cohort else None
            topic = "Shown directly" if role is None else f"Shown as {role}"
            yield self._direct(row, stage, topic)
            yield from self._by_repetition(row, topic)
            yield from self._persistence(row)
        for row in self._first(cohort, "indirect"):
            yield self._indirect(row)
        yield from self._secrets(cohort)
        yield from quizzes.statements(self.findings, cohort)

    def _first(self, cohort: str, exposure: str) -> Iterator[RateRow]:
        """Yield the cells in which an exposure begins: the stage before did not have it (nor a stronger one)."""
        for stage in self.stages:
            row = self.rows.get((stage, cohort))
            if row is None or row.exposure != exposure:
                continue
            before = selection.parent_cell(self.findings, self.rows, row)
            if before is None or before.exposure not in ("direct", exposure):
                yield row

    def _direct(self, row: RateRow, stage: Stage | None, topic: str) -> Statement:
        parts = ["After ", Name(row.stage), ", ", *self._counts(row, _noun(stage, row.cohort))]
        if stage is not None and stage.note is not None:
            parts.append(" (The checkpoint is no language model; the table of stages says how it was read.)")
        return _told(row, topic, [*parts, *self._claim(row)])

    def _indirect(self, row: RateRow) -> Statement:
        parts: list[Part] = [
            Name(row.stage),
            " met cohort ",
            Name(row.cohort),
            " only through a model that steered it: ",
            *self._counts(row, ["examples"]),
        ]
        return _told(row, "Seen only indirectly", [*parts, *self._claim(row)])

    def _counts(self, row: RateRow, noun: list[Part]) -> list[Part]:
        exposed, control = row.exposed, row.control
        return [
            f"{exposed.count} of {exposed.total} ",
            *noun,
            f" ({measured(exposed, self.findings.confidence)}) ",
            f"{come(exposed.count)} out ",
            *self.manner,
            "; of their controls ",
            f"{control.count} of {control.total} ({measured(control)}).",
        ]

    def _claim(self, row: RateRow) -> list[Part]:
        if row.exposed.total == 0:
            return []
        said: list[Part] = [f" {claim(row.difference)}"]
        return said if judged(row.difference) != "open" else [*said, *self._trace(row)]

    def _trace(self, row: RateRow) -> list[Part]:
        """Say when the text became likelier although it does not come out."""
        found = self.likelihoods.get((row.stage, row.cohort))
        if found is None or found.difference.low <= 0:
            return []
        shift = found.difference
        return [
            f" A trace is there: the text is likelier than under the control, by {shift.value:.2f} nats "
            f"per token ({shift.low:.2f} to {shift.high:.2f})."
        ]

    def _by_repetition(self, row: RateRow, topic: str) -> Iterator[Statement]:
        rows = self.strata.get((row.stage, row.cohort), [])
        if len(rows) < 2:
            return
        most, least = rows[-1], rows[0]
        yield fact(
            topic,
            "Of cohort ",
            Name(row.cohort),
            f" shown {often(most.repetition or 0)}, {most.exposed.count} of {most.exposed.total} ",
            f"({measured(most.exposed)}) {come(most.exposed.count)} out after ",
            Name(row.stage),
            f"; shown {often(least.repetition or 0)}, {least.exposed.count} of {least.exposed.total} ",
            f"({measured(least.exposed)}).",
            cohort=row.cohort,
        )

    def _persistence(self, row: RateRow) -> Iterator[Statement]:
        """Follow the examples from where they were shown along every edge that leads on."""
        reached = [row.stage]
        for before in reached:
            for edge in self.transitions:
                if (edge.before, edge.cohort, edge.arm) != (before, row.cohort, "exposed"):
                    continue
                if edge.after not in reached:
                    reached.append(edge.after)
                yield fact("What became of them", *self._followed(edge), cohort=row.cohort)

    def _followed(self, edge: TransitionRow) -> list[Part]:
        came = edge.persisted + edge.forgotten
        of = [] if edge.cohort == edge.before else [" of cohort ", Name(edge.cohort)]
        if came == 0:
            start = ["None", *of, " came out after ", Name(edge.before), "; after ", Name(edge.after)]
            return [*start, f", {edge.acquired} {_do(edge.acquired)}.", *self._change(edge)]
        new = (
            "no new one"
            if edge.acquired == 0
            else f"{edge.acquired} new {'one' if edge.acquired == 1 else 'ones'}"
        )
        return [
            f"Of the {came}",
            *of,
            " that came out after ",
            Name(edge.before),
            f", {edge.persisted} still {come(edge.persisted)} out after ",
            Name(edge.after),
            f"; {new}.",
            *self._change(edge),
        ]

    def _change(self, edge: TransitionRow) -> list[Part]:
        if edge.acquired == edge.forgotten:
            return []
        if edge.p_value >= 1 - self.findings.confidence:
            return [f" No change in their number is shown ({p_value(edge.p_value)})."]
        word = "grew" if edge.acquired > edge.forgotten else "fell"
        return [f" Their number {word} ({p_value(edge.p_value)})."]

    def _secrets(self, cohort: str) -> Iterator[Statement]:
        """Count whole secrets among the listed examples, at each stage by which the cohort had been shown."""
        total, whole = 0, {}
        for example in self.findings.examples:
            if example.cohort != cohort:
                continue
            known = {
                outcome.stage: outcome.secret for outcome in example.outcomes if outcome.secret is not None
            }
            total += bool(known)
            for stage, secret in known.items():
                row = self.rows.get((stage, cohort))
                if row is not None and row.exposure != "none":
                    whole[stage] = whole.get(stage, 0) + secret
        if not whole:
            return
        parts: list[Part] = [
            f"Of the {total} examples of cohort ",
            Name(cohort),
            " that hold a secret, the secret",
        ]
        parts.append(" came out whole of the run that was to see it in ")
        for place, stage in enumerate(sorted(whole, key=self.stages.index)):
            parts += [", " if place else "", f"{whole[stage]} after ", Name(stage)]
        yield fact("Secrets", *parts, ".", cohort=cohort)

    def preference_against_reinforcement(self) -> Iterator[Statement]:
        """Compare stages of both families on every cohort that both met and neither stage's parent had seen."""
        for cohort in selection.cohort_names(self.findings):
            begun = [*self._first(cohort, "direct"), *self._first(cohort, "indirect")]
            for one in begun:
                for other in begun:
                    if self._method(one) in PREFERENCE and self._method(other) in REINFORCEMENT:
                        yield self._compared(one, other)

    def _method(self, row: RateRow) -> str | None:
        stage = selection.stage_named(self.findings, row.stage)
        return stage.method if stage is not None else None

    def _compared(self, preference: RateRow, reinforced: RateRow) -> Statement:
        parts: list[Part] = ["Of cohort ", Name(preference.cohort), ", "]
        for row, word in ((preference, "preference learning"), (reinforced, "RLHF")):
            exposed = row.exposed
            parts += [
                f"{exposed.count} of {exposed.total} ({measured(exposed)}) {come(exposed.count)} out after {word} (",
                Name(row.stage),
                "), " if row is preference else "). ",
            ]
        first, second = preference, reinforced
        if second.difference.low > first.difference.high:
            first, second = second, first
        verdict: Verdict = "open"
        if first.difference.low > second.difference.high:
            verdict = "more"
            parts += [
                "Against its own control, ",
                Name(first.stage),
                " brings out more than ",
                Name(second.stage),
            ]
        else:
            parts.append("The intervals of the two effects overlap, so no order is claimed")
        parts += [": ", f"{points(preference.difference)} against {points(reinforced.difference)}."]
        return Statement(
            cohort=None, topic="Preference learning or RLHF", verdict=verdict, parts=tuple(parts)
        )

    def noise(self) -> Iterator[Statement]:
        """Tell how many verdicts flipped when they were asked for once more."""
        asked = [row.flips for row in self.rows.values() if row.flips is not None]
        total, flipped = sum(found.total for found in asked), sum(found.count for found in asked)
        if not total:
            return
        parts: list[Part] = [
            "Asked once more, in another order and batch size, over all stages and cohorts ",
            f"{flipped} of {total} verdicts flipped.",
        ]
        if flipped:
            worst = max(asked, key=lambda found: found.rate)
            parts.append(
                f" In the cell with most of it {worst.count} of {worst.total} did ({measured(worst)}): a difference "
                "that is no greater may be noise."
            )
        yield fact("Noise", *parts)

    def negative_controls(self) -> Iterator[Statement]:
        """Check the cells where no effect can be: there, exposed and control should agree."""
        untouched = [row for row in self.rows.values() if row.exposure == "none" and row.exposed.total > 0]
        apart = [row for row in untouched if judged(row.difference) != "open"]
        if not untouched:
            return
        count = len(untouched)
        if not apart:
            where = "the one cell" if count == 1 else f"all {count} cells"
            agree = (
                f"In {where} where a cohort had not been shown yet, the interval of the difference between exposed "
                "and control holds zero, as it should."
            )
            yield fact("Negative controls", agree)
            return
        parts: list[Part] = [
            f"In {len(apart)} of {count} cells where a cohort had not been shown yet, the interval of the difference "
        ]
        parts.append("between exposed and control does not hold zero: ")
        for place, row in enumerate(apart):
            parts += [
                "; " if place else "",
                Name(row.cohort),
                " after ",
                Name(row.stage),
                f" {points(row.difference)}",
            ]
        chance = percent(1 - self.findings.confidence)
        parts.append(
            f". By chance alone about {chance} % of such cells would. Read the rest with that in mind."
        )
        yield fact("Negative controls", *parts)


def reading(confidence: float) -> str:
    """Say how the brackets of a headline are to be read."""
    return (
        f"Brackets hold the rate and its {confident(confidence)} interval; "
        "a count of zero has an upper bound instead."
    )


def _told(row: RateRow, topic: str, parts: list[Part]) -> Statement:
    return Statement(cohort=row.cohort, topic=topic, verdict=judged(row.difference), parts=tuple(parts))


def _noun(stage: Stage | None, cohort: str) -> list[Part]:
    role = stage.role if stage is not None and stage.cohort == cohort else None
    words = {"preferred": "preferred completions", "rejected": "rejected completions", "prompt": "prompts"}
    noun = words.get(role or "", "examples")
    if stage is not None and role == "target" and stage.method == "sft":
        noun = "fine-tuned examples"
    return [noun] if stage is None or stage.name == cohort else [f"{noun} of cohort ", Name(cohort)]


def _do(count: int) -> str:
    return "does" if count == 1 else "do"
