"""From the ledger to findings: verdicts, rates with their controls, transitions, and the worst leaks.

A pure function of the ledger and of the rules in the recipe: a new threshold needs no new run.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from memaudit.cases import Case, Facts
from memaudit.cohorts import TWINS
from memaudit.curves import survival, thresholds, told, within
from memaudit.knowledge import quizzes
from memaudit.leaks import find_leaks, numbering, pseudonyms, show
from memaudit.ledger import Ledger
from memaudit.methods import ROLES
from memaudit.rates import difference, paired, proportion
from memaudit.recipe import Recipe, cohort_of, dumps, uses
from memaudit.settings import flat
from memaudit.statistics import CONFIDENCE, paired_mean
from memaudit.transitions import transition
from memaudit.verdicts import Definition
from reports import findings as contract

_BINS = 20
_POINTS = 100  # of a curve
_NOTES = {
    "reward": "a reward model emits no text; its trunk was read through the language head it started with",
    "diffusion": "a diffusion model gives no likelihoods; it was sampled, each window read as the nearest known one",
}


def conclude(ledger: Ledger, recipe: Recipe, *, reveal: bool = False) -> contract.Findings:
    """Everything a page may say of a run; with `reveal` its secrets as well."""
    facts = Facts(ledger, recipe)
    rates = list(_rates(facts))
    leaks = find_leaks(facts)
    grid = thresholds(facts)
    canaries, attacks, blind = told(facts)
    return contract.Findings(
        revealed=reveal,
        run=_run(facts),
        confidence=CONFIDENCE,
        threshold=recipe.audit.threshold,
        thresholds=grid,
        levels=list(recipe.audit.levels),
        definitions=[
            contract.Definition(name=d.name, text=d.text, default=d is facts.definitions[0])
            for d in facts.definitions
        ],
        stages=[_stage(facts, stage) for stage in facts.stages],
        curves=list(_curves(facts)),
        rates=[r for r in rates if r.repetition is not None],
        totals=[r for r in rates if r.repetition is None],
        likelihoods=list(_likelihoods(facts)),
        transitions=list(_transitions(facts)),
        distances=list(_distances(facts)),
        within=list(within(facts, grid)),
        survival=list(survival(facts)),
        canaries=canaries,
        attacks=attacks,
        blind=blind,
        quizzes=list(quizzes(facts)),
        examples=list(_examples(facts)),
        evidence=show(facts, leaks[: recipe.audit.evidence], reveal=reveal),
        evidence_total=len(leaks),
        times=_times(facts),
    )


def _run(facts: Facts) -> contract.Run:
    ledger, recipe = facts.ledger, facts.recipe
    tables = ("examples", "probes", "exposures", "checkpoints", "observations", "matches")
    return contract.Run(
        name=recipe.name,
        recipe_hash=recipe.digest()[:16],
        seed=recipe.seed,
        twins=list(TWINS),
        corpus=ledger.setting("corpus"),
        counts={table: ledger.count(table) for table in tables},
        versions=ledger.setting("versions"),
        command="memaudit run recipe.toml",
        recipe=dumps(recipe),
    )


def _times(facts: Facts) -> contract.Times:
    once = {record.id: record for record in facts.walks.values()}.values()
    return contract.Times(
        started=facts.ledger.setting("started"),
        finished=facts.ledger.setting("finished"),
        stages={
            stage: contract.StageTime(
                training=round(sum(r.seconds for r in once if r.name == stage), 3),
                audit=round(sum(r.audit_seconds for r in once if r.name == stage), 3),
            )
            for stage in facts.stages
        },
    )


def _stage(facts: Facts, stage: str) -> contract.Stage:
    config = facts.recipe.stages[stage]
    records = {twin: facts.walks[twin, stage] for twin in TWINS}
    shared = len({r.id for r in records.values()}) == 1
    shown = [row for row in facts.ledger.shown() if row[2] == stage and (row[1] == TWINS[0] or not shared)]
    return contract.Stage(
        name=stage,
        method=config.method,
        parent=config.parent,
        uses=uses(facts.recipe, stage),
        cohort=cohort_of(facts.recipe, stage),
        role=ROLES.get(config.method),
        steps=records[TWINS[0]].steps,
        examples=len({row[0] for row in shown}),
        exposures=sum(row[4] for row in shown),
        settings={
            key: value
            for key, value in flat(config.model_dump(mode="json")).items()
            if isinstance(value, str | int | float | bool) and key not in ("method", "parent", "from")
        },
        note=_NOTES.get(config.method),
    )


def _curves(facts: Facts) -> Iterator[contract.Curve]:
    for stage in facts.stages:
        took: dict[str, list[str]] = {}
        for twin in TWINS:
            took.setdefault(facts.walks[twin, stage].id, []).append(twin)
        told = {stage_id: facts.ledger.updates(stage_id) for stage_id in took}
        names = sorted({name for updates in told.values() for _, metrics in updates for name in metrics})
        for name in names:
            for stage_id, twins in took.items():
                points = [(step, metrics[name]) for step, metrics in told[stage_id] if name in metrics]
                points = [point for point in points if math.isfinite(point[1])]
                if points:
                    steps, values = zip(*_thinned(points), strict=True)
                    yield contract.Curve(
                        stage=stage, twins=twins, metric=name, steps=list(steps), values=list(values)
                    )


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most so many of the points as a small picture can show, evenly, with the first and the last."""
    if len(points) <= _POINTS:
        return list(points)
    return [points[round(k * (len(points) - 1) / (_POINTS - 1))] for k in range(_POINTS)]


def _scales(facts: Facts) -> Iterator[tuple[str, Definition]]:
    """Level and definition, where the definition has something to say at the level."""
    for level in facts.recipe.audit.levels:
        for definition in facts.definitions:
            if definition.name != "secret" or level == "exact":
                yield level, definition


def _rates(facts: Facts) -> Iterator[contract.RateRow]:
    for stage in facts.stages:
        for cohort, repetition, cases in facts.groups():
            for level, definition in _scales(facts):
                pairs = [p for c in cases if (p := facts.arms(stage, c, level, definition)) is not None]
                if not pairs:
                    continue
                yield contract.RateRow(
                    stage=stage,
                    cohort=cohort,
                    repetition=repetition,
                    level=level,
                    definition=definition.name,
                    exposure=facts.exposure[stage, cohort],
                    exposed=proportion([e for e, _ in pairs]),
                    control=proportion([c for _, c in pairs]),
                    difference=paired(pairs),
                    flips=proportion(flips)
                    if (flips := facts.flips(stage, cases, level, definition))
                    else None,
                )


def _likelihoods(facts: Facts) -> Iterator[contract.LikelihoodRow]:
    def mean(stage: str, twin: str, case: Case) -> float:
        scores = facts.observation(stage, twin, case).scores
        assert scores is not None, "a stage scores every target or none"
        return sum(scores.logprobs) / len(scores.logprobs)

    for stage in filter(facts.scored, facts.stages):
        for cohort, repetition, cases in facts.groups():
            exposed = [mean(stage, c.exposed, c) for c in cases]
            control = [mean(stage, c.control, c) for c in cases]
            yield contract.LikelihoodRow(
                stage=stage,
                cohort=cohort,
                repetition=repetition,
                exposure=facts.exposure[stage, cohort],
                total=len(cases),
                exposed=sum(exposed) / len(cases),
                control=sum(control) / len(cases),
                difference=difference(paired_mean(exposed, control)),
            )


def _transitions(facts: Facts) -> Iterator[contract.TransitionRow]:
    for after in facts.stages:
        before = facts.recipe.stages[after].parent
        if before is None:
            continue
        for cohort, repetition, cases in facts.groups():
            for level, definition in _scales(facts):
                for arm in ("exposed", "control"):
                    changes = list(_changes(facts, before, after, cases, level, definition, arm))
                    if not changes:
                        continue
                    change = transition(changes)
                    yield contract.TransitionRow(
                        before=before,
                        after=after,
                        cohort=cohort,
                        repetition=repetition,
                        level=level,
                        definition=definition.name,
                        arm=arm,
                        acquired=change.acquired,
                        persisted=change.persisted,
                        forgotten=change.forgotten,
                        never=change.never,
                        p_value=change.p_value,
                    )


def _changes(
    facts: Facts,
    before: str,
    after: str,
    cases: Iterable[Case],
    level: str,
    definition: Definition,
    arm: contract.Arm,
) -> Iterator[tuple[bool, bool]]:
    for case in cases:
        twin = case.exposed if arm == "exposed" else case.control
        verdicts = [facts.verdict(stage, twin, case, level, definition) for stage in (before, after)]
        if verdicts[0] is not None and verdicts[1] is not None:
            yield verdicts[0], verdicts[1]


def _distances(facts: Facts) -> Iterator[contract.DistanceRow]:
    near = facts.definitions[0]
    for stage in facts.stages:
        for cohort, repetition, cases in facts.groups():
            if repetition is not None:
                continue
            for level in facts.recipe.audit.levels:
                arms: dict[contract.Arm, Callable[[Case], str]] = {
                    "exposed": lambda c: c.exposed,
                    "control": lambda c: c.control,
                }
                for arm, twin_of in arms.items():
                    matches = [facts.observation(stage, twin_of(c), c).matches[level] for c in cases]
                    counts = [0] * _BINS
                    for match in matches:
                        counts[min(int(match.normalized * _BINS), _BINS - 1)] += 1
                    yield contract.DistanceRow(
                        stage=stage,
                        cohort=cohort,
                        level=level,
                        arm=arm,
                        counts=counts,
                        within=sum(bool(near.decide(match, None)) for match in matches),
                    )


def _examples(facts: Facts) -> Iterator[contract.ExampleRow]:
    shown: dict[str, list[contract.Shown]] = {}
    for name, twin, stage, role, times, first, last in facts.ledger.shown():
        del twin  # an example of a cohort is shown to one twin only
        shown.setdefault(name, []).append(
            contract.Shown(stage=stage, role=role, times=times, first_step=first, last_step=last)
        )
    default, numbers = facts.definitions[0], numbering(facts.ledger)
    for case in facts.cases:
        outcomes = []
        for stage in facts.stages:
            arms = facts.arms(stage, case, "exact", default)
            assert arms is not None, "the default definition applies to every probe"
            distances = [
                round(facts.observation(stage, twin, case).matches["exact"].normalized, 6)
                for twin in (case.exposed, case.control)
            ]
            outcomes.append(
                contract.Outcome(
                    stage=stage,
                    exposed=arms[0],
                    control=arms[1],
                    distance=distances[0],
                    control_distance=distances[1],
                    secret=facts.secret_out(stage, case.exposed, case),
                    control_secret=facts.secret_out(stage, case.control, case),
                    levels=[
                        level
                        for level in facts.recipe.audit.levels
                        if facts.verdict(stage, case.exposed, case, level, default)
                    ],
                )
            )
        example = case.example
        lives = shown.get(example.id, [])
        yield contract.ExampleRow(
            id=example.id,
            kind=example.kind,  # pyright: ignore[reportArgumentType]  # pydantic checks it
            language=example.language,
            source=example.source,
            first_line=example.first_line,
            last_line=example.last_line,
            cohort=example.cohort or "",
            half=example.half,  # pyright: ignore[reportArgumentType]
            repetition=example.repetition or 0,
            secrets=pseudonyms(example, numbers),
            shown=lives,
            outcomes=outcomes,
            first_shown=lives[0].stage if lives else None,
            first_out=next((o.stage for o in outcomes if o.exposed), None),
        )
