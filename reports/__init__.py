"""Renders the findings of an audit. Knows nothing of how they were obtained."""

from reports.document import render_json
from reports.findings import (
    SCHEMA_VERSION,
    Arm,
    Curve,
    Definition,
    Difference,
    DistanceRow,
    Evidence,
    ExampleRow,
    Exposure,
    Findings,
    LikelihoodRow,
    Outcome,
    Proportion,
    RateRow,
    Run,
    Segment,
    Shown,
    Stage,
    StageTime,
    Times,
    TransitionRow,
)
from reports.headline import sentences
from reports.html import render_html
from reports.markdown import render_markdown
from reports.redact import MASK, Redactor, redact

__all__ = [
    "MASK",
    "SCHEMA_VERSION",
    "Arm",
    "Curve",
    "Definition",
    "Difference",
    "DistanceRow",
    "Evidence",
    "ExampleRow",
    "Exposure",
    "Findings",
    "LikelihoodRow",
    "Outcome",
    "Proportion",
    "RateRow",
    "Redactor",
    "Run",
    "Segment",
    "Shown",
    "Stage",
    "StageTime",
    "Times",
    "TransitionRow",
    "redact",
    "render_html",
    "render_json",
    "render_markdown",
    "sentences",
]
