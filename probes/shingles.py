"""Token texts of code, and their shingles: whether one text is contained in another."""

from collections.abc import Sequence, Set
from hashlib import blake2b

from probes.levels import tokenize


def token_texts(
    text: bytes,
    *,
    level: str = "code",
    language: str = "python",
    prompt: bytes = b"",
    secrets: Sequence[bytes] = (),
) -> tuple[bytes, ...]:
    """Return the texts of the tokens at a level, layout tokens left out: what corpus search compares.

    `text` is read as what follows `prompt`, and `secrets` are kept whole, as in `tokenize`.
    """
    tokens = tokenize(text, level=level, language=language, prompt=prompt, secrets=secrets)
    return tuple(token.text for token in tokens if token.kind != "layout")


def shingles(text: bytes, *, language: str = "python", n: int = 8) -> frozenset[int]:
    """Return 64-bit hashes of all runs of `n` tokens at level `code`, layout tokens left out.

    The same on every machine. A text of fewer than `n` tokens has one shingle of all of them, one without
    tokens has none.
    """
    if n < 1:
        raise ValueError(f"expected shingles of at least 1 token, got n = {n}")
    words = token_texts(text, language=language)
    if not words:
        return frozenset()
    # The length in front of each token keeps the border between two of them.
    parts = [len(word).to_bytes(4, "big") + word for word in words]
    runs = (b"".join(parts[start : start + n]) for start in range(max(1, len(parts) - n + 1)))
    return frozenset(int.from_bytes(blake2b(run, digest_size=8).digest(), "big") for run in runs)


def containment(a: Set[int], b: Set[int]) -> float:
    """Return the share of `a`'s shingles that `b` has too, in [0, 1]; 0.0 if `a` is empty."""
    return len(a & b) / len(a) if a else 0.0
