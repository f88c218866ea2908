"""Hypothesis strategies for tests of code that matches code.

`code` writes valid programs in eight languages. The pairs are one program written twice: in another layout, with
other comments, separators, names, literals or secrets. What differs is known because the program was written so,
not because a lexer found it.

hypothesis comes with `memaudit[test]`. `import probes` does not import this package.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
except ModuleNotFoundError:
    raise ImportError(
        "expected hypothesis, which is not installed; run: pip install 'memaudit[test]'"
    ) from None

from probes.testing.strategies import (
    LANGUAGES,
    LiteralPair,
    Pair,
    SecretPair,
    canaries,
    code,
    commented,
    cuts,
    hostile,
    places,
    reformatted,
    renamed,
    separated,
    with_other_literal,
    with_other_secret,
)

__all__ = [
    "LANGUAGES",
    "LiteralPair",
    "Pair",
    "SecretPair",
    "canaries",
    "code",
    "commented",
    "cuts",
    "hostile",
    "places",
    "reformatted",
    "renamed",
    "separated",
    "with_other_literal",
    "with_other_secret",
]
