"""A made-up study whose tables agree with each other: every count is counted from the same draws."""

import random

from findings_sample import HOSTILE, mcnemar

from reports import StudyReport
from reports.study import (
    ArmRow,
    CellRow,
    ClaimRow,
    DoseRow,
    Estimate,
    KeptRow,
    LadderRow,
    LengthRow,
    PowerRow,
    SampledRow,
    ShiftRow,
    SurvivalRow,
    Sweep,
    SweepPoint,
)

ARMS = ("base", "kl-0", "kl-0.3", "lr-high", "tuned", "ipo", "ipo-mean")
STAGES = ("pretrain", "sft", "ppo")
COHORTS = ("sft", "reward", "ppo")
LEVELS = ("exact", "layout", "code", "renamed")
TIMES = (1, 4, 16, 64)
SEEDS = (0, 1, 2, 3, 4)
EACH = 32
"""Examples of a cohort with each seed."""
_STRENGTH = {
    "base": 0.8,
    "kl-0": 0.45,
    "kl-0.3": 0.9,
    "lr-high": 0.7,
    "tuned": 0.95,
    "ipo": 0.75,
    "ipo-mean": 0.6,
}
WORDS = ("kind", "definition", "level", "exposure", "verdict", "unit")
"""Fields whose values are the contract's, and no names."""
LISTS = (
    "power", "claims", "sweeps", "cells", "shifts", "kept", "ladder", "lengths", "sampled", "survival", "doses",
    "missing", "corpus", "arms",
)  # fmt: skip


def estimate(
    values: list[float],
    *,
    p: float | None = None,
    least: float = 0.01,
    bounds: tuple[float, float] = (-9.0, 99.0),
) -> Estimate:
    """A mean of seeds with an interval that is never a point."""
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)) ** 0.5
    half = max(least, 2.776 * spread / len(values) ** 0.5)
    return Estimate(
        value=mean,
        low=max(bounds[0], mean - half),
        high=min(bounds[1], mean + half),
        p_value=p,
        seeds=values,
        by="t over 5 seeds, clustered",
    )


def build(*, seed: int = 0, strength: float = 1.0, arms: tuple[str, ...] = ARMS) -> StudyReport:
    """Make a study. `strength` 0: nothing is memorized by either twin."""
    rng = random.Random(seed)
    return StudyReport(
        name="kl",
        text="Does a weaker pull towards the fine-tuned model free what it memorized, and does it make prompts stick?",
        command="memaudit study kl.toml --out runs/kl",
        corpus=["412 functions of a standard library", "96 synthetic sensitive examples"],
        threshold=0.1,
        confidence=0.95,
        levels=list(LEVELS),
        seeds=list(SEEDS),
        arms=[_arm(name) for name in arms],
        missing=["lr-high/seed-3/A", "lr-high/seed-3/B"],
        power=[
            PowerRow(claim="P1", examples=26, seeds=5, detectable=0.143, unit="share"),
            PowerRow(claim="P3", examples=64, seeds=5, detectable=0.081, unit="share"),
            PowerRow(claim="L1", examples=64, seeds=5, detectable=0.21, unit="nats per token"),
            PowerRow(claim="P4", examples=2, seeds=5, detectable=None, unit="share"),
        ],
        claims=_claims(),
        sweeps=_sweeps(rng, strength),
        cells=list(_cells(rng, strength, arms)),
        shifts=list(_shifts(rng, strength, arms)),
        kept=list(_kept(rng, strength, arms)),
        ladder=list(_ladder(rng, strength, arms)),
        lengths=[
            LengthRow(level=level, shortest=low, longest=high, guessed=max(0, place + rung - 2), total=640)
            for rung, level in enumerate(LEVELS)
            for place, (low, high) in enumerate(((33, 64), (17, 32), (8, 16)))
        ],
        sampled=[
            SampledRow(
                arm=arm, stage="ppo", cohort=cohort, sampler="temperature 1, top-k 40", samples=samples,
                exposed=round(strength * (40 + 11 * place) * (1 if cohort == "sft" else 0)), control=0, total=160,
            )
            for arm in arms
            for cohort in ("sft", "reward")
            for place, samples in enumerate((10, 1000))
        ],
        survival=list(_survival(rng, arms)) if strength else [],
        doses=list(_doses(rng, strength, arms)),
        flips=(3, 1280),
        versions={"memaudit": "0.1.0", "jax": "0.10.1", "python": "3.11.2"},
        seconds=48211.7,
    )  # fmt: skip


def empty() -> StudyReport:
    """Make a study of which nothing is done."""
    return build().model_copy(
        update={key: [] for key in LISTS} | {"levels": [], "seeds": [], "flips": (0, 0)}
    )


def renamed(report: StudyReport, names: dict[str, str]) -> StudyReport:
    """Give whatever is called by one of `names` another name; keys of settings and versions as well."""

    def swap(value):
        if isinstance(value, dict):
            return {names.get(key, key): item if key in WORDS else swap(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [swap(item) for item in value]
        return names.get(value, value) if isinstance(value, str) else value

    return StudyReport.model_validate(swap(report.model_dump()))


def hostile(report: StudyReport | None = None) -> StudyReport:
    """Give the study the worst of names, and quote the worst of texts."""
    found = renamed(
        report or build(),
        {
            "sft": HOSTILE[0], "ppo": HOSTILE[3], "reward": HOSTILE[6], "kl-0": HOSTILE[5], "tuned": HOSTILE[1],
            "ipo": HOSTILE[2], "lr-high": HOSTILE[4], "ipo-mean": HOSTILE[7],
            "temperature 1, top-k 40": HOSTILE[0], "jax": HOSTILE[1], "stages.ppo.kl_coefficient": HOSTILE[6],
        },
    )  # fmt: skip
    odd = HOSTILE
    claims = [
        claim.model_copy(
            update={
                "name": odd[place % len(odd)], "text": odd[(place + 1) % len(odd)],
                "measure": odd[(place + 2) % len(odd)], "where": odd[(place + 3) % len(odd)],
                "expected": odd[(place + 4) % len(odd)], "note": odd[(place + 5) % len(odd)],
            }
        )
        for place, claim in enumerate(found.claims)
    ]  # fmt: skip
    sweeps = [
        sweep.model_copy(
            update={
                "claim": odd[0], "title": odd[1], "setting": odd[2],
                "points": [
                    point.model_copy(update={"label": odd[(place + 3) % len(odd)]})
                    for place, point in enumerate(sweep.points)
                ],
            }
        )
        for sweep in found.sweeps
    ]  # fmt: skip
    return found.model_copy(
        update={
            "name": f"kl {odd[4]}", "text": "".join(odd), "command": odd[3], "corpus": list(odd), "missing": list(odd),
            "claims": claims, "sweeps": sweeps,
            "power": [row.model_copy(update={"claim": odd[1]}) for row in found.power],
            "arms": [row.model_copy(update={"about": odd[2]}) for row in found.arms],
        }
    )  # fmt: skip


def _arm(name: str) -> ArmRow:
    about = {
        "base": ("The recipe as it is", {}),
        "kl-0": ("No pull at all", {"stages.ppo.kl_coefficient": "0.0"}),
        "kl-0.3": ("A strong pull", {"stages.ppo.kl_coefficient": "0.3"}),
        "lr-high": (
            "Twice the learning rate",
            {"stages.ppo.learning_rate": "2e-5", "stages.sft.epochs": "3"},
        ),
        "tuned": ("Fine-tuned on what the reward model sees", {"stages.ppo.method": '"sft"'}),
    }
    words, changes = about.get(name, ("", {"stages.ppo.method": f'"{name}"'}))
    seeds = [0, 1, 2, 4] if name == "lr-high" else list(SEEDS)
    return ArmRow(name=name, about=words, changes=changes, seeds=seeds, shares=name != "tuned")


def _claims() -> list[ClaimRow]:
    def claim(name: str, text: str, **more) -> ClaimRow:
        fields = {
            "headline": True, "measure": "persistence: of what was memorized after sft, the share that still is",
            "where": "arms kl-0, base, kl-0.3 after ppo, cohort sft", "expected": "rises", "unit": "share",
            "examples": 1440, "p_adjusted": 0.0004, "verdict": "holds", "note": None, "detectable": 0.062,
        }  # fmt: skip
        return ClaimRow(name=name, text=text, **fields | more)

    return [
        claim(
            "L1", "Reward-model data become likelier although nothing comes out", headline=False,
            measure="likelihood: how much likelier than under the control", where="arm base after ppo, cohort reward",
            expected="above 0", unit="nats per token", estimate=estimate([0.02, 0.05, 0.01, 0.04, 0.03], p=0.018),
            p_adjusted=None, detectable=0.021,
        ),
        claim(
            "P1", "What fine-tuning memorized is kept less as the KL coefficient falls",
            estimate=estimate([0.411, 0.38, 0.44, 0.40, 0.427], p=0.0001),
        ),
        claim(
            "P2", "Prompts are memorized more as the KL coefficient falls", measure="memorized", expected="falls",
            where="arms kl-0, base, kl-0.3 after ppo, cohort ppo",
            estimate=estimate([0.02, -0.01, 0.01, 0.0, 0.01], p=0.31), p_adjusted=0.31, verdict="not resolved",
            note="Rewards differ among the arms by more than a tenth.",
        ),
        claim(
            "P3", "Reward-model data come out less under PPO than when they are fine-tuned on directly",
            measure="memorized, the difference", where="base after ppo and tuned after ppo, cohort reward",
            expected="below 0", estimate=estimate([0.31, 0.36, 0.33, 0.30, 0.35], p=0.002), p_adjusted=0.006,
            verdict="contradicted",
        ),
        claim(
            "P4", "IPO memorizes its pairs more than PPO its reward model’s", measure="memorized, the difference",
            where="ipo after ppo and base after ppo, at equal reward", expected="above 0", estimate=None, examples=0,
            p_adjusted=None, verdict="not tested", note="No two arms reach the same reward.", detectable=None,
        ),
        claim(
            "R1", "The reward rises", headline=False, measure="reward", where="base after ppo", expected="above 0.5",
            unit="reward", estimate=estimate([0.71, 0.66, 0.80, 0.74, 0.69], p=None), p_adjusted=None,
        ),
    ]  # fmt: skip


def _sweeps(rng: random.Random, strength: float) -> list[Sweep]:
    def points(middle: float, step: float) -> list[SweepPoint]:
        return [
            SweepPoint(
                arm=arm, label=label,
                estimate=estimate([strength * (middle + step * place) + rng.gauss(0, 0.02) for _ in SEEDS]),
            )
            for place, (arm, label) in enumerate((("kl-0", "0"), ("base", "0.05"), ("kl-0.3", "0.3")))
        ]  # fmt: skip

    return [
        Sweep(
            claim="P1", title="What is kept of what fine-tuning memorized", setting="KL coefficient", unit="share",
            points=points(0.45, 0.22),
        ),
        Sweep(claim="P2", title="Prompts memorized", setting="KL coefficient", unit="share", points=points(0.02, 0)),
        Sweep(
            claim="L2", title="How much likelier prompts became", setting="KL coefficient", unit="nats per token",
            points=points(0.2, -0.05),
        ),
    ]  # fmt: skip


def _exposure(stage: str, cohort: str) -> str:
    if (cohort, stage) in {("sft", "sft"), ("sft", "ppo"), ("ppo", "ppo")}:
        return "direct"
    return "indirect" if (cohort, stage) == ("reward", "ppo") else "none"


def _rate(arm: str, stage: str, cohort: str, strength: float) -> float:
    if _exposure(stage, cohort) != "direct":
        return 0.0 if cohort != "reward" or arm != "tuned" else 0.6 * strength
    return strength * (0.03 if cohort == "ppo" else 0.6 if stage == "sft" else 0.6 * _STRENGTH.get(arm, 0.5))


def _places(arms: tuple[str, ...]):
    """An arm that shares stages with the base has rows of its own for the last one alone."""
    for arm in arms:
        for stage in STAGES if arm == "base" else STAGES[-1:]:
            for cohort in COHORTS:
                yield arm, stage, cohort


def _cells(rng: random.Random, strength: float, arms: tuple[str, ...]):
    kinds = (
        ("all", "near", 1.0),
        ("all", "equal", 1.0),
        ("harvested", "near", 0.8),
        ("sensitive", "secret", 0.2),
    )
    for arm, stage, cohort in _places(arms):
        for kind, definition, share in kinds:
            rate = _rate(arm, stage, cohort, strength) * (0.7 if definition == "equal" else 1)
            for level in LEVELS if definition == "near" else LEVELS[:1]:
                each = max(4, round(EACH * share))
                out = [sum(rng.random() < rate for _ in range(each)) for _ in SEEDS]
                guessed = [int(level == "renamed" and rng.random() < 0.3) for _ in SEEDS]
                both = [min(one, other) for one, other in zip(out, guessed, strict=True)]
                yield CellRow(
                    arm=arm, stage=stage, cohort=cohort, exposure=_exposure(stage, cohort), kind=kind, level=level,
                    definition=definition, exposed=sum(out), control=sum(guessed), both=sum(both),
                    total=each * len(SEEDS),
                    difference=estimate([(o - g) / each for o, g in zip(out, guessed, strict=True)]),
                )  # fmt: skip


def _shifts(rng: random.Random, strength: float, arms: tuple[str, ...]):
    for arm, stage, cohort in _places(arms):
        exposure = _exposure(stage, cohort)
        middle = 1.6 * _rate(arm, stage, cohort, strength) + (
            0.04 * strength if exposure == "indirect" else 0
        )
        yield ShiftRow(
            arm=arm, stage=stage, cohort=cohort, exposure=exposure,
            difference=estimate([middle + rng.gauss(0, 0.03) for _ in SEEDS]),
            listed=round(100 * _rate(arm, stage, cohort, strength)), total=EACH * len(SEEDS),
        )  # fmt: skip


def _kept(rng: random.Random, strength: float, arms: tuple[str, ...]):
    for arm in arms:
        each = round(20 * strength)
        out = [sum(rng.random() < _STRENGTH.get(arm, 0.5) for _ in range(each)) for _ in SEEDS]
        values = [kept / each for kept in out] if each else [0.0] * len(SEEDS)
        total = each * len(SEEDS)
        yield KeptRow(
            arm=arm, before="sft", stage="ppo", cohort="sft", kept=sum(out), total=total,
            share=estimate(values, bounds=(0.0, 1.0)),
            acquired=2, p_value=mcnemar(2, total - sum(out)),
        )  # fmt: skip


def _ladder(rng: random.Random, strength: float, arms: tuple[str, ...]):
    for arm in arms:
        for cohort in ("sft", "ppo"):
            found = round(EACH * len(SEEDS) * _rate(arm, "ppo", cohort, strength))
            for place, level in enumerate(LEVELS):
                yield LadderRow(
                    arm=arm, stage="ppo", cohort=cohort, level=level, memorized=found + 2 * place, only=place // 3 * 2,
                    guessed=place, total=EACH * len(SEEDS),
                )  # fmt: skip


def _survival(rng: random.Random, arms: tuple[str, ...]):
    for arm in arms[:4]:
        left, sizes, risk = 1.0, [1.0], [60]
        steps = list(range(0, 240, 40))
        for _ in steps[1:]:
            left *= 1 - (1 - _STRENGTH.get(arm, 0.5)) * rng.random() * 0.5
            sizes.append(left)
            risk.append(round(60 * left))
        yield SurvivalRow(
            arm=arm, stage="ppo", cohort="sft", steps=steps, survival=sizes, low=[max(0.0, s - 0.09) for s in sizes],
            high=[min(1.0, s + 0.07) for s in sizes], at_risk=risk,
        )  # fmt: skip


def _doses(rng: random.Random, strength: float, arms: tuple[str, ...]):
    reach = {1: 0.03, 4: 0.3, 16: 0.8, 64: 0.97}
    for arm in arms:
        for cohort in ("sft", "ppo"):
            rate = _STRENGTH.get(arm, 0.5) * strength * (1 if cohort == "sft" else 0)
            counts = [sum(rng.random() < reach[times] * rate for _ in range(40)) for times in TIMES]
            fitted = any(counts)
            yield DoseRow(
                arm=arm, stage="ppo", cohort=cohort, times=list(TIMES), memorized=counts, totals=[40] * len(TIMES),
                slope=estimate([0.9 + rng.gauss(0, 0.1) for _ in SEEDS]) if fitted else None,
                half=estimate([9 + rng.gauss(0, 2) for _ in SEEDS]) if fitted else None,
            )  # fmt: skip
