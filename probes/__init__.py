"""Matching code: tokens, levels of normalisation, distances, evidence, secrets and synthetic sensitive examples.

Pure functions of bytes. Nothing here knows of models, training or reports.
"""

from probes.canaries import WATERMARK, Canary
from probes.distance import levenshtein, normalized, within
from probes.evidence import Segment, align
from probes.index import containment, shingles
from probes.languages import LANGUAGES, Grammar, grammar, versions
from probes.levels import LEVELS, tokenize
from probes.match import Match, compare, compare_completion
from probes.secrets import Recovery, Secret, recover
from probes.tokens import Token

__all__ = [
    "LANGUAGES",
    "LEVELS",
    "WATERMARK",
    "Canary",
    "Grammar",
    "Match",
    "Recovery",
    "Secret",
    "Segment",
    "Token",
    "align",
    "compare",
    "compare_completion",
    "containment",
    "grammar",
    "levenshtein",
    "normalized",
    "recover",
    "shingles",
    "tokenize",
    "versions",
    "within",
]
