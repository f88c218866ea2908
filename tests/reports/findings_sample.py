"""A made-up run whose tables agree with each other: every count is counted from the same examples."""

import math
import random
from hashlib import sha256

from reports import (
    AttackRow,
    BlindRow,
    CanaryRow,
    Curve,
    Definition,
    Difference,
    DistanceRow,
    Evidence,
    ExampleRow,
    Findings,
    LikelihoodRow,
    Operating,
    Outcome,
    Proportion,
    QuizRow,
    RateRow,
    Run,
    Segment,
    Shown,
    Stage,
    StageTime,
    SurvivalRow,
    ThresholdRow,
    Times,
    TransitionRow,
)

HOSTILE = (
    "<script>alert(1)</script>",
    "</textarea></pre><img src=x onerror=alert(2)>",
    "]]> --> <!-- {{ 7*7 }} {% raw %}",
    "```\n# not a heading\n``` ~~~ | a | [x](http://192.0.2.1/)",
    "\u202edesrever\u202c \u2066x\u2069 \u200bzero",
    "nul\x00bell\x07esc\x1b[31m\u2028line",
    "' onfocus='alert(3)' autofocus \" &amp; %{x} $1",
    "@someone www.example.com <b>bold</b>",
)
STAGES = ("pretrain", "sft", "reward", "ppo", "ipo")
COHORTS = ("sft", "reward", "ppo")
STRATA = (1, 4, 16, 64)
EDGES = (("pretrain", "sft"), ("sft", "reward"), ("sft", "ppo"), ("sft", "ipo"))
LEVELS = ("exact", "layout", "code", "renamed")
BINS = 20
THRESHOLDS = [place / 100 for place in range(101)]
RECIPE = 'name = "quickstart"\nseed = 0\n\n[stages.sft]\nepochs = 3\n'
_DIRECT = {("sft", "sft"), ("sft", "reward"), ("sft", "ppo"), ("sft", "ipo")} | {
    ("reward", "reward"),
    ("reward", "ipo"),
    ("ppo", "ppo"),
}
_STRENGTH = {
    ("sft", "sft"): 1.0,
    ("sft", "reward"): 1.0,
    ("sft", "ppo"): 0.85,
    ("sft", "ipo"): 0.7,
    ("reward", "ipo"): 0.55,
    ("reward", "reward"): 0.05,
    ("ppo", "ppo"): 0.08,
}
_BY_TIMES = {1: 0.03, 4: 0.3, 16: 0.8, 64: 0.97}


def wilson(count: int, total: int) -> Proportion:
    """Wilson's score interval at 95 %."""
    if total == 0:
        return Proportion(count=0, total=0, rate=0.0, low=0.0, high=1.0)
    rate, z = count / total, 1.959964
    middle = (rate + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    low = 0.0 if count == 0 else middle - half
    return Proportion(
        count=count, total=total, rate=rate, low=low, high=1.0 if count == total else middle + half
    )


def paired(exposed: list[bool], control: list[bool]) -> Difference:
    """Difference of paired rates with a normal interval, widened for the discreteness of counts."""
    total = len(exposed)
    gain = sum(one and not other for one, other in zip(exposed, control, strict=True))
    loss = sum(other and not one for one, other in zip(exposed, control, strict=True))
    value = (gain - loss) / total
    half = 1.96 * math.sqrt(max(0.0, gain + loss - (gain - loss) ** 2 / total)) / total + 1 / total
    return Difference(value=value, low=max(-1.0, value - half), high=min(1.0, value + half))


def mcnemar(acquired: int, forgotten: int) -> float:
    """Exact two-sided McNemar test."""
    trials = acquired + forgotten
    tail = sum(math.comb(trials, k) for k in range(min(acquired, forgotten) + 1)) / 2**trials
    return min(1.0, 2 * tail)


def exposure(stage: str, cohort: str) -> str:
    if (cohort, stage) in _DIRECT:
        return "direct"
    return "indirect" if (cohort, stage) == ("reward", "ppo") else "none"


def build(*, seed: int = 0, per_stratum: int = 16, strength: float = 1.0, hostile: bool = True) -> Findings:
    """Make findings. `strength` 0 is a run in which nothing is memorized, by either twin."""
    rng = random.Random(seed)
    examples, near = [], {}
    for cohort in COHORTS:
        for times in STRATA:
            for place in range(per_stratum):
                row, states = _example(rng, cohort, times, place, strength, hostile)
                examples.append(row)
                near[row.id] = states
    rates, totals = [], []
    for stage in STAGES:
        for cohort in COHORTS:
            for level in LEVELS:
                for name in ("near", "verbatim"):
                    for times in (None, *STRATA):
                        rows = [
                            row
                            for row in examples
                            if row.cohort == cohort and times in (None, row.repetition)
                        ]
                        found = _rate(stage, cohort, times, level, name, rows, near)
                        (totals if times is None else rates).append(found)
    evidence = _evidence(examples, hostile)
    odd = HOSTILE[0] if hostile else "plain"
    return Findings(
        run=Run(
            name="quickstart" if not hostile else f"quickstart {HOSTILE[4]}",
            recipe_hash=sha256(b"recipe").hexdigest(),
            seed=seed,
            twins=["A", "B"],
            corpus=f"412 functions and classes of a standard library, 96 synthetic sensitive examples ({odd})",
            counts={
                "examples": len(examples),
                "probes": 2 * len(examples),
                "observations": 1920,
                "exposures": 9792,
            },
            versions={"memaudit": "0.1.0", "jax": "0.10.1", "python": "3.11.2"},
            command="memaudit run quickstart --out runs/quickstart --set seed=0",
            recipe=RECIPE + (f"# {HOSTILE[1]}\n" if hostile else ""),
        ),
        confidence=0.95,
        threshold=0.1,
        thresholds=THRESHOLDS,
        levels=list(LEVELS),
        definitions=[
            Definition(
                name="near",
                text="Greedy completion within a normalised edit distance of 0.1 of the training text.",
                default=True,
            ),
            Definition(name="verbatim", text="Greedy completion equal to the training text."),
        ],
        stages=_stages(len(examples)),
        curves=_curves(rng),
        rates=rates,
        totals=totals,
        likelihoods=[_likelihood(rng, stage, cohort, strength) for stage in STAGES for cohort in COHORTS],
        transitions=_transitions(examples),
        distances=_distances(examples),
        within=_within(examples),
        survival=_survival(),
        canaries=_canaries(strength),
        attacks=_attacks(strength),
        blind=[
            BlindRow(cohort=cohort, members=32, others=32, area=0.52, low=0.41, high=0.63)
            for cohort in COHORTS
        ],
        quizzes=_quizzes(strength),
        examples=examples,
        evidence=evidence,
        evidence_total=sum(outcome.exposed for row in examples for outcome in row.outcomes),
        times=Times(
            started="2026-01-02T03:04:05+00:00",
            finished="2026-01-02T03:09:05+00:00",
            stages={
                s.name: StageTime(training=20.5 + i, audit=4.25) for i, s in enumerate(_stages(len(examples)))
            },
        ),
    )


def _quizzes(strength: float) -> list[QuizRow]:
    """Questions about the repository of cohort `reward`; every stage is asked all of them."""
    known = {("reward", stage): (28 if strength else 9) for stage in ("reward", "ipo")}
    found = []
    for stage in STAGES:
        exposed = known.get(("reward", stage), 7)
        for cut, name, share in (
            ("all", "", 1),
            ("task", "qa", 2),
            ("task", "walk", 2),
            ("capability", "literal", 4),
            ("clue", "up to 40 characters", 2),
        ):
            counts = {"exposed": exposed // share, "control": 8 // share, "silent": 20 // share}
            rows = {arm: wilson(count, 32 // share) for arm, count in counts.items()}
            given = wilson(30 // share, 32 // share) if stage == "ipo" else None
            found.append(
                QuizRow(
                    stage=stage,
                    cohort="reward",
                    exposure=exposure(stage, "reward"),
                    cut=cut,
                    name=name,
                    difference=Difference(
                        value=(exposed - 8) / 32, low=(exposed - 8) / 32 - 0.2, high=(exposed - 8) / 32 + 0.2
                    ),
                    given=given,
                    given_control=given,
                    **rows,
                )
            )
    return found


def renamed(findings: Findings, names: dict[str, str]) -> Findings:
    """Give stages, cohorts, twins and whatever else is called by one of `names` another name."""

    def swap(value):
        if isinstance(value, dict):
            return {key: item if key == "half" else swap(item) for key, item in value.items()}
        if isinstance(value, list):
            return [swap(item) for item in value]
        return names.get(value, value) if isinstance(value, str) else value

    plain = swap(findings.model_dump())
    for old, new in zip(findings.stages, plain["stages"], strict=True):
        new["method"] = old.method
    spent = plain["times"]["stages"]
    plain["times"]["stages"] = {names.get(name, name): seconds for name, seconds in spent.items()}
    return Findings.model_validate(plain)


def empty() -> Findings:
    """Make findings of a run in which nothing was measured."""
    full = build(per_stratum=1, hostile=False)
    names = (
        "rates",
        "totals",
        "likelihoods",
        "transitions",
        "distances",
        "examples",
        "evidence",
        "definitions",
        "curves",
        "within",
        "survival",
        "canaries",
        "attacks",
        "blind",
        "quizzes",
    )
    return full.model_copy(
        update={name: [] for name in names} | {"evidence_total": 0, "stages": [], "levels": []}
    )


def _stages(examples: int) -> list[Stage]:
    settings = {"learning_rate": 0.001, "batch": 32, "kl": 0.1}
    shared = {"steps": 400, "examples": examples // 3, "exposures": 1360, "settings": settings}
    return [
        Stage(
            name="pretrain", method="pretrain", parent=None, uses=[], cohort=None, role=None, steps=800,
            examples=900, exposures=7200, settings={"learning_rate": 0.003},
        ),
        Stage(
            name="sft", method="sft", parent="pretrain", uses=[], cohort="sft", role="target",
            **shared,
        ),
        Stage(
            name="reward", method="reward", parent="sft", uses=[], cohort="reward", role="preferred",
            note="Read with the language head of its parent on the trunk of the reward model.", **shared,
        ),
        Stage(
            name="ppo", method="ppo", parent="sft", uses=["reward"], cohort="ppo", role="prompt",
            **shared,
        ),
        Stage(
            name="ipo", method="ipo", parent="sft", uses=[], cohort="reward", role="preferred",
            **shared,
        ),
    ]  # fmt: skip


def _curves(rng: random.Random) -> list[Curve]:
    metrics = {"ppo": ("objective/kl", "objective/scores", "loss"), "reward": ("accuracy", "loss")}
    found = []
    for stage in STAGES:
        for metric in metrics.get(stage, ("loss", "grad_norm")):
            for twins in (["A", "B"],) if stage == "pretrain" else (["A"], ["B"]):
                values = [3 / (1 + step / 20) + rng.gauss(0, 0.05) for step in range(0, 400, 10)]
                found.append(
                    Curve(
                        stage=stage, twins=twins, metric=metric, steps=list(range(0, 400, 10)), values=values
                    )
                )
    return found


def _example(
    rng: random.Random, cohort: str, times: int, place: int, strength: float, hostile: bool
) -> tuple[ExampleRow, dict[tuple[str, str], list[bool]]]:
    sensitive = place % 4 == 0
    away = random.Random(f"{cohort} {times} {place}")
    draw = {arm: rng.random() for arm in ("exposed", "control")}
    outcomes, states = [], {}
    for stage in STAGES:
        reach = _STRENGTH.get((cohort, stage), 0.0) * _BY_TIMES[times] + 0.008
        chances = {"exposed": strength * reach, "control": strength * 0.012}
        wobble = rng.gauss(0, 0.03)
        # Out at `exact` is out at every level above it; each level adds a few.
        levels = {arm: [draw[arm] < chances[arm] * (1 + 0.12 * level) + wobble * strength for level in range(4)]
                  for arm in ("exposed", "control")}  # fmt: skip
        for arm, flags in levels.items():
            for place_, _ in enumerate(flags):
                flags[place_] = any(flags[: place_ + 1])
            states[stage, arm] = flags
        out = levels["exposed"][0]
        distance = rng.random() * 0.1 if out else min(1.0, 0.2 + 0.8 * rng.betavariate(5, 2.2))
        far = round(min(1.0, 0.2 + 0.8 * away.betavariate(5, 2.2)), 4)
        outcomes.append(
            Outcome(
                stage=stage,
                exposed=out,
                control=levels["control"][0],
                distance=round(distance, 4),
                control_distance=0.05 if levels["control"][0] else far,
                secret=(out and distance < 0.06) if sensitive else None,
                control_secret=False if sensitive else None,
                levels=[level for level, came in zip(LEVELS, levels["exposed"], strict=True) if came],
            )
        )
    shown = [
        Shown(stage=stage.name, role=stage.role or "", times=times, first_step=3, last_step=396)
        for stage in _stages(3)
        if stage.cohort == cohort
    ]
    seen = [outcome.stage for outcome in outcomes if outcome.exposed]
    source = f"lib/{rng.choice(['argparse', 'csv', 'zipfile', 'email/message', 'logging/handlers'])}.py"
    if hostile and place == 1:
        source = f"odd/{HOSTILE[STRATA.index(times) * 2 % len(HOSTILE)]}"
    first = rng.randrange(1, 900)
    row = ExampleRow(
        id=sha256(f"{cohort} {times} {place}".encode()).hexdigest(),
        kind="sensitive" if sensitive else "harvested",
        language="python",
        source=source,
        first_line=first,
        last_line=first + rng.randrange(4, 30),
        cohort=cohort,
        half="A" if place % 2 == 0 else "B",
        repetition=times,
        secrets=[place + 1] if sensitive else [],
        shown=shown,
        outcomes=outcomes,
        first_shown=shown[0].stage,
        first_out=seen[0] if seen else None,
    )
    return row, states


def _rate(stage, cohort, times, level, definition, rows, near) -> RateRow:
    place = LEVELS.index(level)
    flags = {arm: [near[row.id][stage, arm][place] for row in rows] for arm in ("exposed", "control")}
    if definition == "verbatim":
        keep = [outcome.distance < 0.05 for row in rows for outcome in row.outcomes if outcome.stage == stage]
        flags = {arm: [one and kept for one, kept in zip(flags[arm], keep, strict=True)] for arm in flags}
    return RateRow(
        stage=stage,
        cohort=cohort,
        repetition=times,
        level=level,
        definition=definition,
        exposure=exposure(stage, cohort),
        exposed=wilson(sum(flags["exposed"]), len(rows)),
        control=wilson(sum(flags["control"]), len(rows)),
        difference=paired(flags["exposed"], flags["control"]),
    )


def _likelihood(rng: random.Random, stage: str, cohort: str, strength: float) -> LikelihoodRow:
    shift = strength * (1.4 * _STRENGTH.get((cohort, stage), 0.0) + rng.gauss(0, 0.01))
    if (cohort, stage) == ("reward", "ppo"):
        shift = 0.12 * strength
    return LikelihoodRow(
        stage=stage,
        cohort=cohort,
        repetition=None,
        exposure=exposure(stage, cohort),
        total=64,
        exposed=-1.9 + shift,
        control=-1.9,
        difference=Difference(value=shift, low=shift - 0.06, high=shift + 0.06),
    )


def _transitions(examples: list[ExampleRow]) -> list[TransitionRow]:
    found = []
    for before, after in EDGES:
        for cohort in COHORTS:
            for times in (None, *STRATA):
                rows = [row for row in examples if row.cohort == cohort and times in (None, row.repetition)]
                for arm in ("exposed", "control"):
                    states = {
                        stage: [getattr(o, arm) for row in rows for o in row.outcomes if o.stage == stage]
                        for stage in (before, after)
                    }
                    pairs = list(zip(states[before], states[after], strict=True))
                    acquired, forgotten = pairs.count((False, True)), pairs.count((True, False))
                    found.append(
                        TransitionRow(
                            before=before, after=after, cohort=cohort, repetition=times, level="exact",
                            definition="near", arm=arm, acquired=acquired, forgotten=forgotten,
                            persisted=pairs.count((True, True)), never=pairs.count((False, False)),
                            p_value=mcnemar(acquired, forgotten),
                        )
                    )  # fmt: skip
    return found


def _gaps(examples: list[ExampleRow], stage: str, cohort: str) -> dict[str, list[float]]:
    """Distances at level `exact` by arm, in the order of the examples."""
    found = [o for row in examples if row.cohort == cohort for o in row.outcomes if o.stage == stage]
    return {"exposed": [o.distance for o in found], "control": [o.control_distance for o in found]}


def _distances(examples: list[ExampleRow]) -> list[DistanceRow]:
    found = []
    for stage in STAGES:
        for cohort in COHORTS:
            for arm, values in _gaps(examples, stage, cohort).items():
                counts = [0] * BINS
                for value in values:
                    counts[min(BINS - 1, int(value * BINS))] += 1
                within = sum(value <= 0.1 for value in values)
                found.append(
                    DistanceRow(
                        stage=stage, cohort=cohort, level="exact", arm=arm, counts=counts, within=within
                    )
                )
    return found


def _within(examples: list[ExampleRow]) -> list[ThresholdRow]:
    found = []
    for stage in STAGES:
        for cohort in COHORTS:
            gaps = _gaps(examples, stage, cohort)
            # Each level brings what lies a little further off.
            for place, level in enumerate(LEVELS):
                near = {
                    arm: [[value - 0.02 * place <= at for value in values] for at in THRESHOLDS]
                    for arm, values in gaps.items()
                }
                found.append(
                    ThresholdRow(
                        stage=stage,
                        cohort=cohort,
                        level=level,
                        total=len(gaps["exposed"]),
                        **{arm: [sum(flags) for flags in table] for arm, table in near.items()},
                        both=[
                            sum(e and c for e, c in zip(*pair, strict=True))
                            for pair in zip(near["exposed"], near["control"], strict=True)
                        ],
                    )
                )
    return found


def _survival() -> list[SurvivalRow]:
    waits = (("exposed", "first out", 0.12), ("control", "first out", 0.01), ("exposed", "gone", 0.04))
    found = []
    for stage, cohort in (("sft", "sft"), ("ppo", "ppo"), ("ppo", "sft")):
        for arm, event, hazard in waits:
            if event == "gone" and stage == cohort:
                continue
            share = [(1 - hazard) ** place for place in range(6)]
            found.append(
                SurvivalRow(
                    stage=stage, cohort=cohort, arm=arm, event=event, total=20,
                    steps=[0, 80, 160, 240, 320, 400], share=share, low=[max(0.0, s - 0.15) for s in share],
                    high=[min(1.0, s + 0.1) for s in share], at_risk=[20, 20, 18, 17, 15, 14],
                )
            )  # fmt: skip
    return found


def _canaries(strength: float) -> list[CanaryRow]:
    found = []
    for stage in STAGES:
        for cohort in COHORTS:
            gain = 2.5 * strength * _STRENGTH.get((cohort, stage), 0.0)
            found.append(
                CanaryRow(
                    stage=stage, cohort=cohort, exposure=exposure(stage, cohort), secrets=16, references=15,
                    exposed=1.4 + gain, control=1.4,
                    difference=Difference(value=gain, low=gain - 0.5, high=gain + 0.5),
                )
            )  # fmt: skip
    return found


def _attacks(strength: float) -> list[AttackRow]:
    found = []
    for stage in STAGES:
        for cohort in COHORTS:
            if exposure(stage, cohort) == "none":
                continue
            for name, source, power in (("loss", "1709.01604", 0.3), ("zlib", "2012.07805", 0.35)):
                few = {"limit": 0.01, "resolved": False, "false_positives": wilson(0, 64)}
                edge = strength * power * (0.1 + _STRENGTH.get((cohort, stage), 0.0))
                hits = wilson(round(64 * (0.01 + edge)), 64)
                found.append(
                    AttackRow(
                        stage=stage, cohort=cohort, attack=name, source=source, members=64, others=64,
                        area=0.5 + edge, low=0.42 + edge, high=min(1.0, 0.58 + edge),
                        points=[Operating(true_positives=hits, **few)],
                        curve=[(0.0, 0.0), *((x / 8, min(1.0, x / 8 + edge)) for x in range(1, 8)), (1.0, 1.0)],
                    )
                )  # fmt: skip
    return found


def _equal(text: str) -> Segment:
    return Segment(op="equal", reason=None, target=text, completion=text)


_SECRET = [
    _equal('    config = load("settings.toml")\n    token = "'),
    Segment(
        op="replace", reason="secret", target="█12" + "█" * 21, completion="█12" + "█" * 11 + "0000000000"
    ),
    _equal('"\n    '),
    Segment(op="replace", reason="rename", target="session", completion="client"),
    _equal(" = connect(config.host, token)\n"),
    Segment(op="delete", reason="comment", target="    # owner: █████████\n", completion=""),
    _equal("    return retry("),
    Segment(op="replace", reason="literal", target="5", completion="3"),
    _equal(")\n"),
]
_LAYOUT = [
    _equal("        if self._closed:\n            raise ValueError('I/O operation on closed file')\n"),
    Segment(op="replace", reason="format", target="        return self.rows[ start:stop ]\n",
            completion="        return self.rows[start:stop]\n"),
    Segment(op="insert", reason="code", target="", completion="        self.flush()\n"),
    _equal("\n    def close(self):\n        self._closed = True\n"),
]  # fmt: skip
_WHOLE = [
    _equal("    path = '/home/█████████/projects/█████████/deploy.key'\n    return open(path).read()\n")
]


def _evidence(examples: list[ExampleRow], hostile: bool) -> list[Evidence]:
    odd = [Segment(op="equal", reason=None, target=text, completion=text) for text in HOSTILE]
    odd.append(Segment(op="replace", reason="code", target=HOSTILE[0], completion=HOSTILE[1]))
    texts = [_SECRET, _WHOLE, _LAYOUT] + ([odd] if hostile else [])
    leaks = [(row, outcome) for row in examples for outcome in row.outcomes if outcome.exposed]
    leaks.sort(key=lambda pair: (pair[0].kind != "sensitive", pair[1].distance))
    return [
        Evidence(
            example=row.id,
            stage=outcome.stage,
            twin=row.half,
            cohort=row.cohort,
            kind=row.kind,
            source=row.source,
            first_line=row.first_line,
            last_line=row.last_line,
            repetition=row.repetition,
            normalized=outcome.distance,
            control_normalized=0.71,
            secret=None if outcome.secret is None else ("whole" if outcome.secret else "prefix 14 of 24"),
            secrets=row.secrets,
            prefix=HOSTILE[place]
            if hostile and place < len(HOSTILE)
            else 'def connect_to_store(host):\n    """Open it."""\n',
            segments=texts[place % len(texts)],
        )
        for place, (row, outcome) in enumerate(leaks[:12])
    ]
