"""A made-up comparison whose tables agree with each other: every count is counted from the same draws."""

import random

from findings_sample import COHORTS, HOSTILE, exposure, mcnemar, paired, wilson

from reports.comparison import Change, Comparison, PopulationRow, Row, Setting, Side, StagePair
from reports.comparison import Pairs as Paired
from reports.findings import Definition, Difference

STAGES = ("sft", "ppo", "ipo")
EACH = 60
"""Examples of a cohort in each of the two."""
_REACH = {"sft": (0.4, 0.45), "ppo": (0.35, 0.15), "ipo": (0.1, 0.45)}
"""By stage, the share that A and B memorize of what was shown."""
LISTS = ("rows", "became", "gone", "population", "settings", "versions")


def _memorized(rng: random.Random, stage: str, cohort: str) -> list[tuple[bool, bool]]:
    """Of each example, whether A and whether B has memorized it: what is easy for one is so for the other."""
    a, b = _REACH[stage] if exposure(stage, cohort) == "direct" else (0.01, 0.01)
    ease = [rng.random() for _ in range(EACH)]
    return [(one < a, one * 0.7 + 0.3 * rng.random() < b) for one in ease]


def _row(place: int, stage: str, cohort: str, told: list[tuple[bool, bool]], shared: int) -> Row:
    same = place == 1
    told = [(one, one) for one, _ in told] if same else told
    a, b = ([pair[side] for pair in told] for side in (0, 1))
    pairs = told[:shared]
    only_a, only_b = pairs.count((True, False)), pairs.count((False, True))
    gap = paired([x for _, x in pairs], [x for x, _ in pairs]) if pairs else None
    value = (sum(b) - sum(a)) / EACH
    return Row(
        stage=StagePair(a=stage, b="ipo-hot" if stage == "ipo" else stage),
        cohort=cohort,
        exposure_a=exposure(stage, cohort),
        exposure_b="indirect" if (stage, cohort) == ("sft", "ppo") else exposure(stage, cohort),
        a=wilson(sum(a), EACH),
        b=wilson(sum(b), EACH),
        paired=Paired(
            both=pairs.count((True, True)), only_a=only_a, only_b=only_b, neither=pairs.count((False, False)),
            difference=gap, p_value=None if same else mcnemar(only_b, only_a),
            p_adjusted=None if same else min(1.0, 8 * mcnemar(only_b, only_a)),
            untested="same checkpoint" if same else None,
        ) if gap else None,
        unpaired=None if shared == EACH else Difference(value=value, low=value - 0.2, high=value + 0.2),
    )  # fmt: skip


def _change(rng: random.Random, place: int, *, gone: bool) -> Change:
    near, far = round(rng.random() * 0.1, 6), round(0.2 + rng.random() * 0.7, 6)
    secret = place < 3
    stages = [StagePair(a="ppo", b="ppo"), StagePair(a="ipo", b="ipo-hot")][: 1 + place % 2]
    return Change(
        example=f"e{rng.getrandbits(60):015x}",
        kind="sensitive" if secret else "harvested",
        cohort=COHORTS[place % 3],
        source=f"lib/{('csv', 'argparse', 'zipfile')[place % 3]}.py",
        first_line=100 + place, last_line=109 + place,
        stages=stages, stage=stages[-1],
        distance_a=near if gone else far, at_least_a=not gone and place % 5 == 0,
        distance_b=far if gone else near, at_least_b=False,
        guessed_a=place == 4, guessed_b=False,
        secret_a=gone if secret else None, secret_b=not gone if secret else None,
        times_a=16, times_b=64 if place == 1 else 16,
    )  # fmt: skip


def _side(name: str, seed: int) -> Side:
    return Side(
        place=f"runs/{name}", name=name, seed=seed, corpus="412 functions of a standard library",
        examples=EACH * len(COHORTS), stages=["pretrain", *STAGES], missing=["dpo"] if name == "after" else [],
        unanswered=0, control="twin", flips=wilson(1 if name == "after" else 0, 320),
    )  # fmt: skip


def build(*, seed: int = 0, shared: int = EACH) -> Comparison:
    """Make a comparison in which so many of each cohort's examples are in both."""
    rng = random.Random(seed)
    rows = [
        _row(place, stage, cohort, _memorized(rng, stage, cohort), shared)
        for place, (stage, cohort) in enumerate((stage, cohort) for stage in STAGES for cohort in COHORTS)
    ]
    became = sum(row.paired.only_b for row in rows if row.paired)
    gone = sum(row.paired.only_a for row in rows if row.paired)
    return Comparison(
        kind="run",
        command="memaudit compare runs/before runs/after --stage sft --stage ppo --stage ipo=ipo-hot",
        a=_side("before", 3),
        b=_side("after", 3 if shared == EACH else 4),
        pairing="strict" if shared == EACH else "partial" if shared else "none",
        confidence=0.95,
        level="exact",
        definition=Definition(
            name="near", text="Within a normalised edit distance of 0.1 of the target.", default=True
        ),
        threshold=0.1,
        counterfactual=True,
        stages=[StagePair(a=stage, b="ipo-hot" if stage == "ipo" else stage) for stage in STAGES],
        population=[
            PopulationRow(
                cohort=cohort, both=shared, crossed=0, only_a=EACH - shared, only_b=EACH - shared,
                otherwise_often=1 if shared else 0, recut=0,
            )
            for cohort in COHORTS
        ],
        rows=rows,
        became=[_change(rng, place, gone=False) for place in range(min(became, 28))],
        became_total=became,
        gone=[_change(rng, place, gone=True) for place in range(min(gone, 28))],
        gone_total=gone,
        settings=[
            Setting(key="seed", a="3", b="4"),
            Setting(key="stages.ipo/ipo-hot.learning_rate", a="0.001", b="0.01"),
            Setting(key="stages.dpo.method", a=None, b='"dpo"'),
        ],
        versions=[Setting(key="jax", a="0.10.1", b="0.10.2")],
    )  # fmt: skip


def audits(*, control: bool = True) -> Comparison:
    """Make a comparison of two audits of models."""
    found = build()
    stage = StagePair(a="given", b="given")
    row = found.rows[0].model_copy(
        update={"stage": stage, "cohort": None, "exposure_a": None, "exposure_b": None}
    )
    changes = {"cohort": None, "stages": [stage], "stage": stage, "times_a": None, "times_b": None}

    def listed(changed: list[Change]) -> list[Change]:
        return [change.model_copy(update=changes) for change in changed[:4]]

    sides = {
        name: side.model_copy(
            update={"seed": None, "corpus": None, "control": "model" if control else "none", "stages": ["given"],
                    "missing": [], "unanswered": 2 if name == "b" else 0}
        )
        for name, side in (("a", found.a), ("b", found.b))
    }  # fmt: skip
    return found.model_copy(
        update={
            **sides, "kind": "audit", "counterfactual": control, "stages": [stage], "rows": [row],
            "population": [found.population[0].model_copy(update={"cohort": None, "otherwise_often": 0})],
            "became": listed(found.became), "became_total": 4, "gone": listed(found.gone), "gone_total": 4,
        }
    )  # fmt: skip


def empty() -> Comparison:
    """Make a comparison of two runs with nothing in common."""
    found = build(shared=0)
    return found.model_copy(
        update={name: [] for name in LISTS} | {"became_total": 0, "gone_total": 0, "command": ""}
    )


def hostile(found: Comparison | None = None) -> Comparison:
    """Give the comparison the worst of names."""
    plain = (found or build()).model_dump()
    names = {
        "sft": HOSTILE[0], "ppo": HOSTILE[3], "reward": HOSTILE[6], "ipo": HOSTILE[5], "ipo-hot": HOSTILE[1],
        "lib/csv.py": HOSTILE[2], "lib/argparse.py": HOSTILE[4], "jax": HOSTILE[7], "before": HOSTILE[5],
        "after": HOSTILE[6], "runs/before": HOSTILE[1], "runs/after": HOSTILE[4], "dpo": HOSTILE[2],
        "0.10.1": HOSTILE[3], "412 functions of a standard library": HOSTILE[7],
        "stages.ipo/ipo-hot.learning_rate": HOSTILE[0],
    }  # fmt: skip

    def swap(value):
        if isinstance(value, dict):
            return {key: swap(item) for key, item in value.items()}
        if isinstance(value, list):
            return [swap(item) for item in value]
        return names.get(value, value) if isinstance(value, str) else value

    swapped = Comparison.model_validate(swap(plain))
    return swapped.model_copy(
        update={
            "command": HOSTILE[3],
            "became": [
                change.model_copy(update={"example": HOSTILE[place % 8]})
                for place, change in enumerate(swapped.became)
            ],
        }
    )
