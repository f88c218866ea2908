"""Matching code: tokens, levels of normalisation, distances, evidence, secrets and synthetic sensitive examples.

Pure functions of bytes. Nothing here knows of models, training or reports.
"""

from probes.bound import at_least
from probes.canaries import WATERMARK, Canary, enumerate_slot, plan, references
from probes.detect import detect, sensitive
from probes.distance import levenshtein, normalized, within
from probes.evidence import Segment, align
from probes.languages import (
    LANGUAGES,
    Grammar,
    Language,
    MissingGrammar,
    grammar,
    language_of,
    lexer,
    versions,
)
from probes.levels import LEVELS, VERDICT_LEVELS, tokenize
from probes.match import Match, compare, compare_completion
from probes.secrets import Recovery, Secret, recover
from probes.shingles import containment, shingles
from probes.tokens import Token

__all__ = [
    "LANGUAGES",
    "LEVELS",
    "VERDICT_LEVELS",
    "WATERMARK",
    "Canary",
    "Grammar",
    "Language",
    "Match",
    "MissingGrammar",
    "Recovery",
    "Secret",
    "Segment",
    "Token",
    "align",
    "at_least",
    "compare",
    "compare_completion",
    "containment",
    "detect",
    "enumerate_slot",
    "grammar",
    "language_of",
    "levenshtein",
    "lexer",
    "normalized",
    "plan",
    "recover",
    "references",
    "sensitive",
    "shingles",
    "tokenize",
    "versions",
    "within",
]
