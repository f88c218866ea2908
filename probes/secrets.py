"""Sensitive spans: what they are, how much of one came out, and how a text keeps them whole."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from probes.tokens import Token


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A sensitive span of an example's text."""

    start: int
    """Offset of its first character."""
    end: int
    """Offset after its last character."""
    kind: str
    """What it is: `person-path`, `credential`, `internal-host`, or a user's own word."""


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How much of a secret a completion holds, in characters, on the exact text."""

    prefix: int
    """Length of the secret's longest prefix that occurs anywhere in the completion."""
    total: int
    """Length of the secret."""

    @property
    def whole(self) -> bool:
        """The whole secret came out. An empty secret never does."""
        return 0 < self.total == self.prefix

    @property
    def verdict(self) -> Literal["none", "prefix", "whole"]:
        """What came out; of a prefix, `prefix` is its length."""
        return "whole" if self.whole else "prefix" if self.prefix else "none"

    def __str__(self) -> str:
        if self.verdict == "prefix":
            return f"a prefix of {self.prefix} of {self.total} characters"
        return self.verdict


def recover(completion: str, secret: str) -> Recovery:
    """Find the longest prefix of `secret` that occurs anywhere in `completion`."""
    low, high = 0, len(secret)
    while low < high:  # with a prefix all shorter ones occur too
        middle = (low + high + 1) // 2
        if secret[:middle] in completion:
            low = middle
        else:
            high = middle - 1
    return Recovery(prefix=low, total=len(secret))


def protect(text: bytes, tokens: Sequence[Token], secrets: Sequence[bytes]) -> list[Token]:
    """Make each secret in `text` one token of kind `secret`, with all tokens it touches, byte for byte.

    No other token has that kind. So texts with equal tokens hold the same secrets in the same order, at every
    level that keeps these tokens. A text that breaks off inside a secret gets such a token too if what there
    is of it spans tokens or ends in white space; inside one token, `ends_in_secret` tells.
    """
    if not secrets:
        return list(tokens)
    spans = sorted(_spans(text, tokens, secrets))
    kept: list[Token] = []
    at = 0
    span = 0
    while span < len(spans):
        start, end = spans[span]
        while at < len(tokens) and tokens[at].end <= start:
            kept.append(tokens[at])
            at += 1
        while True:
            if at < len(tokens) and tokens[at].start < end:
                start, end = min(start, tokens[at].start), max(end, tokens[at].end)
                at += 1
            elif span + 1 < len(spans) and spans[span + 1][0] < end:
                span += 1
                end = max(end, spans[span][1])
            else:
                break
        kept.append(Token(text[start:end], "secret", start, end))
        span += 1
    return kept + list(tokens[at:])


def ends_in_secret(token: Token, secrets: Iterable[bytes]) -> bool:
    """Tell whether the token ends with the beginning of a secret: a text that breaks off there is in one."""
    return any(_overlap(token.text, secret) for secret in secrets)


def words_of(secrets: Iterable[bytes]) -> frozenset[bytes]:
    """Return the words the secrets consist of, which are no names to be replaced, wherever they stand."""
    found = set()
    for secret in secrets:
        separated = bytes(byte if byte in _WORD_BYTES else 0x20 for byte in secret)
        found.update(separated.split())
    return frozenset(found)


_WORD_BYTES = frozenset(b"0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") | frozenset(
    range(0x80, 0x100)
)


def _spans(text: bytes, tokens: Sequence[Token], secrets: Iterable[bytes]) -> Iterable[tuple[int, int]]:
    for secret in secrets:
        if not secret:
            raise ValueError("expected secrets of at least one byte, got an empty one; leave it out")
        length = len(secret)
        at = text.find(secret)
        while at >= 0:
            yield at, at + length
            # Of those that overlap this one the last reaches furthest; in `aaaa` there are very many.
            furthest = text.rfind(secret, at + 1, at + 2 * length - 1)
            at = furthest if furthest >= 0 else text.find(secret, at + length)
        begun = _overlap(text, secret)
        start = len(text) - begun
        inside = tokens and tokens[-1].start <= start and tokens[-1].end == len(text)
        if text[start:].strip() and not inside:
            yield start, len(text)


def _overlap(text: bytes, secret: bytes) -> int:
    """Length of the longest proper prefix of `secret` that `text` ends with."""
    for length in range(min(len(text), len(secret) - 1), 0, -1):
        if text.endswith(secret[:length]):
            return length
    return 0
