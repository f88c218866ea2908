"""Records as `memaudit view` makes them, small and made up."""

from reports import Segment, Shown
from reports.catalogue import (
    Answer,
    Choices,
    Heard,
    Life,
    Listing,
    Moment,
    Pair,
    Question,
    Row,
    Subject,
)

STAGES = ["pretrain", "sft", "ppo"]
LEVELS = ["exact", "renamed"]


def subject(*, audited: bool = False, finished: bool = True, report: bool = True) -> Subject:
    return Subject(name="walk", audited=audited, finished=finished, threshold=0.1, report=report)


def heard(distance: float, *, at_least: bool = False, secret: bool | None = None) -> Heard:
    return Heard(distance=distance, at_least=at_least, out=distance <= 0.1 and not at_least, secret=secret)


def listing(*, audited: bool = False, rows: int = 3, page: int = 2, pages: int = 3, **asked) -> Listing:
    question = Question(
        **{"level": "exact", "cohort": None if audited else "sft", "sort": "stage", "by": "sft", **asked},
        page=page,
    )
    return Listing(
        subject=subject(audited=audited),
        choices=Choices(
            stages=STAGES, cohorts=[] if audited else ["sft", "ppo"], levels=LEVELS, times=[] if audited else [1, 4]
        ),
        question=question,
        total=1000,
        found=(pages - 1) * 50 + rows if rows else 0,
        first=(page - 1) * 50 + 1,
        pages=pages,
        rows=[
            Row(
                id=f"example-{number}",
                source=f"lib/file_{number}.py",
                first_line=3,
                last_line=9,
                kind="harvested",
                cohort=None if audited else "sft",
                times=None if audited else 4,
                heard=[
                    Pair(exposed=heard(0.31, at_least=True), control=None),
                    Pair(exposed=heard(0.0, secret=True), control=heard(0.05, secret=False)),
                    Pair(exposed=None, control=None),
                ],
            )
            for number in range(rows)
        ],
    )  # fmt: skip


def life(*, audited: bool = False, answered: bool = True) -> Life:
    return Life(
        subject=subject(audited=audited, finished=False),
        id="example-1",
        kind="sensitive",
        language="python",
        source="lib/file_1.py",
        first_line=3,
        last_line=9,
        cohort=None if audited else "sft",
        half=None if audited else "A",
        times=None if audited else 4,
        secrets=[12],
        shown=[] if audited else [Shown(stage="sft", role="target", times=4, first_step=2, last_step=7)],
        levels=LEVELS,
        level="exact",
        moments=[
            Moment(
                stage=stage,
                step=step,
                final=step == 8,
                heard=Pair(exposed=heard(0.4, secret=False), control=heard(0.0, secret=True)),
                levels=["renamed"],
            )
            for stage in STAGES
            for step in (4, 8)
        ]
        if answered
        else [],
        answer=Answer(
            stage="sft",
            step=4,
            arm="control",
            secret="prefix 3 of 9",
            prefix="def f(a):\n    ",
            segments=[
                Segment(op="equal", reason=None, target="return ", completion="return "),
                Segment(op="replace", reason="rename", target="value", completion="other"),
                Segment(op="delete", reason="secret", target="█12█████", completion=""),
            ],
        )
        if answered
        else None,
    )
