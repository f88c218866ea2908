"""The levels: how much of a text is taken away before it is compared.

| level     | takes away                                                                    |
|-----------|-------------------------------------------------------------------------------|
| `exact`   | nothing; the unit is the character                                            |
| `layout`  | white space and line breaks; those that carry meaning stay as tokens          |
| `code`    | also comments, docstrings, separators that mean nothing, the style of quotes  |
| `renamed` | also the names that can be bound: one symbol for all                          |
| `shape`   | also literals that are not sensitive. A diagnostic, never a verdict           |

Each level is a function of the tokens of the level before, so equality at one means equality at all that follow.
A language that is not known gets the generic lexer, which cannot tell a comment from code or a name from a
keyword: there `code` and `renamed` take away no more than `layout`.

A secret is never taken away: see `secrets.protect`.
"""

from collections.abc import Iterator, Sequence

from probes import blocks, braces
from probes.detect import sensitive
from probes.languages import LANGUAGES
from probes.lexing import lex
from probes.secrets import ends_in_secret, protect
from probes.tokens import Token, make, unify_newlines

LEVELS = ("exact", "layout", "code", "renamed", "shape")
VERDICT_LEVELS = LEVELS[:-1]
"""Levels at which equality may mean that code was repeated. `shape` says only that two texts are built alike."""


def tokenize(
    text: bytes, *, level: str, language: str = "python", prompt: bytes = b"", secrets: Sequence[bytes] = ()
) -> tuple[Token, ...]:
    """Return the tokens of `text`, read as what follows `prompt`, at a level. Offsets count from `text`.

    Prompt and text are read together; the tokens that end after the prompt are the text's, and one that
    straddles the border is clipped to the text. Compare tokens by `token[:2]`.

    A text that goes on has the same tokens, all but the last and the layout before it. (An unfinished secret
    at the end counts as one token until it turns out to be none.)
    """
    return tokenize_all(text, language=language, prompt=prompt, secrets=secrets, levels=(level,))[level]


def tokenize_all(
    text: bytes,
    *,
    language: str = "python",
    prompt: bytes = b"",
    secrets: Sequence[bytes] = (),
    levels: Sequence[str] = LEVELS,
) -> dict[str, tuple[Token, ...]]:
    """Return what `tokenize` does for several levels at once; the text is read once."""
    check_levels(levels)
    result: dict[str, tuple[Token, ...]] = {}
    if "exact" in levels:
        result["exact"] = tuple(_characters(text))
    if not set(levels) - {"exact"}:
        return result
    whole = prompt + text
    before, tokens = _parted(protect(whole, lex(whole, language), secrets), len(prompt))
    if "layout" in levels:
        result["layout"] = _clipped(tokens, text)
    deeper = [level for level in LEVELS[2:] if level in levels]
    if not deeper:
        return result
    if language in LANGUAGES:
        read = blocks.read if language == "python" else braces.read
        pairs = read(before, tokens, language, secrets)
        while pairs and pairs[-1][0].kind == "layout":
            pairs.pop()
    else:
        pairs = [(token, token) for token in tokens]
    if "code" in deeper:
        result["code"] = _clipped([code for code, _ in pairs], text)
    if deeper != ["code"]:
        renamed = _clipped([renamed for _, renamed in pairs], text)
        if "renamed" in deeper:
            result["renamed"] = renamed
        if "shape" in deeper:
            begun = bool(tokens) and ends_in_secret(tokens[-1], secrets)
            result["shape"] = tuple(_shaped(renamed, tokens[-1].end if begun else -1))
    return result


def check_levels(levels: Sequence[str]) -> None:
    """Raise ValueError if one of `levels` is none."""
    for level in levels:
        if level not in LEVELS:
            raise ValueError(f"expected a level of {', '.join(LEVELS)}, got {level!r}; set one of them")


def characters(text: bytes) -> str:
    """Decode `text` for level `exact`; a byte that is not UTF-8 counts as one character."""
    return text.decode("utf-8", errors="surrogateescape")


def _characters(text: bytes) -> Iterator[Token]:
    at = 0
    for character in characters(text):
        raw = character.encode("utf-8", errors="surrogateescape")
        yield Token(raw, "character", at, at + len(raw))
        at += len(raw)


def _parted(tokens: Sequence[Token], border: int) -> tuple[Sequence[Token], Sequence[Token]]:
    """Return the tokens before `border`, and the others with offsets from there; the first may begin before it."""
    if not border:
        return (), tokens
    first = len(tokens)
    # A layout token has no bytes: at the border it belongs to the text, as the token it stands before does.
    while first and (tokens[first - 1][3] > border or tokens[first - 1][2] >= border):
        first -= 1
    return tokens[:first], [
        make((text, kind, start - border, end - border, literal))
        for text, kind, start, end, literal in tokens[first:]
    ]


def _clipped(tokens: Sequence[Token], text: bytes) -> tuple[Token, ...]:
    """Return the tokens with the first, if it begins in the prompt, cut to `text`."""
    if not tokens or tokens[0].start >= 0:
        return tuple(tokens)
    spelled, kind, _, end, literal = tokens[0]
    if kind != "name":
        spelled = text[:end] if kind == "secret" else unify_newlines(text[:end])
    return (Token(spelled, kind, 0, end, literal), *tokens[1:])


def _shaped(tokens: Sequence[Token], kept: int) -> Iterator[Token]:
    """Replace each literal by the symbol of its kind, unless it is open, sensitive, or ends at `kept`."""
    for token in tokens:
        text, kind, start, end, literal = token
        broken_off = literal is not None and not literal.closed
        if kind not in ("number", "string") or broken_off or end == kept or sensitive(text):
            yield token
            continue
        symbol = b"<%b>" % kind.encode()
        if literal is not None:
            symbol = (b"}" if literal.continues else b"") + symbol + (b"{" if literal.opens else b"")
        yield make((symbol, "literal", start, end, literal))
