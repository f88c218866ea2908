"""A run, or an audit of a model, held against a policy: every rule with its number, its bound and its verdict.

It is the end of an interval that is judged, never the estimate. A rule looks at each stage and cohort for itself and
holds where all of them do; a policy holds where all its rules do. Such an intersection of tests needs no adjustment for
their number: it lets through what it should not with at most the chance of the one test that should have failed
(Berger 1982, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24, 295). The one rule that
fails only where something is shown, `regression` with `alpha`, is adjusted.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from memaudit.compared import side
from memaudit.errors import BadInput
from memaudit.judges import RULES
from memaudit.ledger import Ledger
from memaudit.places import Gap, View, listed
from memaudit.policy import KINDS, Judged, Noise, Policy, Regression, Rule, Tested
from memaudit.sources import printable
from reports.gate import Bound, Gate, Measurement, RuleRow


def check(
    ledger: Ledger,
    folder: Path,
    policy: Policy,
    *,
    baseline: tuple[Ledger, Path] | None = None,
    command: str = "",
) -> Gate:
    """Hold a run, or an audit of a model, against a policy.

    Args:
        ledger: Of the run or audit.
        folder: Where it lies, as the reader is told it.
        policy: What it has to keep to.
        baseline: What the rule `regression` compares it with, and where that lies.
        command: That repeats it, as the reader is told it.

    Raises:
        BadInput: Nothing is done yet, one of the two is a run and the other an audit, a baseline is given that no rule
            looks at, or the policy's threshold is one up to which completions were not decoded.
    """
    one = side(ledger, folder)
    beside = None if baseline is None else side(*baseline)
    if beside is not None and beside.kind != one.kind:
        raise BadInput(
            f"--baseline: expected another {one.kind}, as {printable(str(folder))} is one, got a directory of the "
            "other kind"
        )
    if beside is not None and not any(isinstance(rule, Regression) for rule in policy.rules):
        raise BadInput(
            f'--baseline: expected a policy with a rule = "regression", got {policy.name}, which has none: leave '
            "--baseline out, or add one"
        )
    view = View(one, policy, beside)
    rows = [_row(view, rule) for rule in policy.rules]
    return Gate(
        kind=one.kind,
        place=printable(str(folder)),
        name=printable(one.name),
        seed=one.seed,
        baseline=None if baseline is None else printable(str(baseline[1])),
        policy=policy.name,
        policy_digest=policy.digest(),
        text=policy.text,
        not_shown=policy.not_shown,
        threshold=view.threshold,
        command=command,
        checked=datetime.now(UTC).isoformat(timespec="seconds"),
        passed=all(row.passed for row in rows),
        rules=rows,
    )


def _row(view: View, rule: Rule) -> RuleRow:
    kind = next(name for name, settings in KINDS.items() if settings is type(rule))
    judge = RULES[kind]
    level = getattr(rule, "level", "exact")
    if level not in view.side.levels:
        found = [Gap(f"nothing was compared at level {level} (there are {listed(view.side.levels)})")]
    elif judge.controlled and view.side.control == "none":
        found = [Gap("there is no control, so that what is memorized cannot be told from what is guessed")]
    else:
        found = list(judge.judge(view, rule))
    measured = [m for m in found if isinstance(m, Measurement)]
    gaps = list(dict.fromkeys(gap.text for gap in found if isinstance(gap, Gap)))
    if not measured and not gaps:
        gaps = ["there was nothing to look at"]
    crossed = any(not m.holds for m in measured)
    kept = not crossed and (not gaps or rule.missing == "pass")
    verdict: Literal["holds", "crossed", "not applied"] = (
        "crossed" if crossed else "holds" if measured and kept else "not applied"
    )
    return RuleRow(
        name=rule.name,
        rule=kind,
        why=rule.why,
        quantity=_quantity(judge.quantity, rule),
        bound=judge.bound(view, rule),
        verdict=verdict,
        passed=kept,
        measured=sorted(measured, key=lambda m: _badness(m, judge.bound(view, rule))),
        gaps=gaps,
    )


def _quantity(text: str, rule: Rule) -> str:
    if isinstance(rule, Tested):
        return f"{text}, of those with a secret" if rule.definition == "secret" else text
    if not isinstance(rule, Judged | Noise):
        return text
    how = {"near": "verbatim or nearly", "equal": "verbatim", "secret": "with the secret whole"}
    return f"{text}, {how[rule.definition]}, at level {rule.level}"


def _badness(found: Measurement, bound: Bound) -> tuple[bool, float]:
    """Sorts the worst first: what does not hold, then what is nearest to its bound."""
    size = found.edge if found.edge is not None else float(found.found.count)
    if bound.kind == "test" and found.p_value is not None:
        return found.holds, found.p_value if found.found.count > (found.gone or 0) else 1.0
    return found.holds, size if bound.kind in ("lower", "least") else -size
