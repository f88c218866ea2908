"""Made-up gates: a rule of every kind and verdict, with hostile names where a gate can have some."""

from findings_sample import HOSTILE, wilson

from reports.gate import Bound, Gate, Measurement, RuleRow

EXACT = "exact one-sided 95 % bound, Clopper-Pearson"


def found(
    count: int, total: int, *, stage: str | None = "ppo", cohort: str | None = "reward", **more
) -> Measurement:
    told = (
        dict.fromkeys(("before", "edge", "gone", "p_value", "least", "needs", "note"))
        | {"holds": True}
        | more
    )
    return Measurement(stage=stage, cohort=cohort, found=wilson(count, total), **told)  # pyright: ignore


def row(
    name: str, kind: str, limit: float | None, *measured: Measurement, rule: str = "memorized", **more
) -> RuleRow:
    crossed = any(not m.holds for m in measured)
    told = {
        "why": "",
        "quantity": "comes out of the model that saw it",
        "verdict": "crossed" if crossed else "holds" if measured else "not applied",
        "passed": bool(measured) and not crossed,
        "gaps": [],
    } | more
    bound = Bound(kind=kind, limit=limit, judged="any control" if kind == "control" else EXACT)  # pyright: ignore
    return RuleRow(name=name, rule=rule, bound=bound, measured=list(measured), **told)  # pyright: ignore


def build(*, hostile: bool = False) -> Gate:
    """Make a gate that is not passed: four of nine rules fail, one of them for want of what it asks about."""
    odd = HOSTILE if hostile else ("x", "y", "z", "u", "v", "w", "s", "t")
    rules = [
        row("holds", "upper", 0.05, found(0, 100, edge=0.02951)),
        row("crosses", "upper", 0.0125, found(3, 500, edge=0.0154, holds=False), why=f"Because of {odd[0]}."),
        row(
            "too few",
            "upper",
            0.001,
            found(0, 100, edge=0.02951, least=0.02951, needs=2995, holds=False),
            found(1, 90, edge=0.05, stage=odd[1], cohort=odd[2], before=odd[3], holds=False),
        ),
        row(
            "missing", "count", 0, gaps=[f"there is no stage {odd[4]}", f"and none {odd[5]}"], rule="secrets"
        ),
        row("may be missing", "count", 0, gaps=["nothing has a secret"], passed=True, rule="secrets"),
        row("detected", "lower", 0.5, found(80, 100, edge=0.723), rule="detected"),
        row("rises", "test", 0.05, found(9, 60, gone=1, p_value=0.0215, holds=False), rule="regression"),
        row("enough", "least", 50, found(60, 60, note=odd[6]), rule="tested"),
        row(
            "control", "control", None, found(0, 0, stage=None, cohort=None, note="the twin"), rule="control"
        ),
    ]
    if hostile:
        rules = [
            r.model_copy(update={"name": f"{r.name} {HOSTILE[n % len(HOSTILE)]}"})
            for n, r in enumerate(rules)
        ]
    return Gate(
        kind="run",
        place=f"runs/{odd[7]}",
        name=odd[0],
        seed=3,
        baseline=odd[1],
        policy="mine",
        policy_digest="0123456789abcdef" * 4,
        text=odd[2],
        not_shown=[odd[3], odd[5]],
        threshold=0.1,
        command=f"memaudit check {odd[4]} --policy mine",
        checked="2026-01-02T03:04:05+00:00",
        passed=False,
        rules=rules,
    )


def passing() -> Gate:
    """Make one that is passed."""
    full = build()
    return full.model_copy(update={"passed": True, "rules": [r for r in full.rules if r.passed]})
