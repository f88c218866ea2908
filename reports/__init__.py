"""Renders the findings of a run, the tally of a model, or a study. Knows nothing of how they were obtained."""

from reports.audited_html import render_tally_html
from reports.audited_markdown import render_tally_markdown
from reports.card import render_card
from reports.document import render_json
from reports.findings import (
    SCHEMA_VERSION,
    Arm,
    AttackRow,
    BlindRow,
    CanaryRow,
    Curve,
    Definition,
    Difference,
    DistanceRow,
    Evidence,
    ExampleRow,
    Exposure,
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
from reports.headline import sentences
from reports.html import render_html
from reports.markdown import render_markdown
from reports.redact import MASK, Redactor, named, redact
from reports.sarif import render_sarif
from reports.study import StudyReport
from reports.study_html import render_study_html
from reports.study_markdown import render_study_markdown
from reports.tally import Asked, CheckpointRow, Leaked, Passage, Tally

__all__ = [
    "MASK",
    "SCHEMA_VERSION",
    "Arm",
    "Asked",
    "AttackRow",
    "BlindRow",
    "CanaryRow",
    "CheckpointRow",
    "Curve",
    "Definition",
    "Difference",
    "DistanceRow",
    "Evidence",
    "ExampleRow",
    "Exposure",
    "Findings",
    "Leaked",
    "LikelihoodRow",
    "Operating",
    "Outcome",
    "Passage",
    "Proportion",
    "QuizRow",
    "RateRow",
    "Redactor",
    "Run",
    "Segment",
    "Shown",
    "Stage",
    "StageTime",
    "StudyReport",
    "SurvivalRow",
    "Tally",
    "ThresholdRow",
    "Times",
    "TransitionRow",
    "named",
    "redact",
    "render_card",
    "render_html",
    "render_json",
    "render_markdown",
    "render_sarif",
    "render_study_html",
    "render_study_markdown",
    "render_tally_html",
    "render_tally_markdown",
    "sentences",
]
