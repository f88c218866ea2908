"""The levels: how much of a text is taken away before it is compared.

| level     | takes away                                                                    |
|-----------|-------------------------------------------------------------------------------|
| `exact`   | nothing; the unit is the character                                            |
| `layout`  | white space and line breaks; Python's lines and blocks stay as tokens         |
| `code`    | also comments, docstrings, separators that mean nothing, the style of quotes  |
| `renamed` | also the names that can be bound: one symbol for all                          |

Each level is a function of the tokens of the level before, so equality at one means equality at all that follow.
A language without a grammar gets the generic lexer, which cannot tell a comment from code or a name from a
keyword: there `code` and `renamed` take away no more than `layout`.

A secret is never taken away: see `secrets.protect`.
"""

import re
from collections.abc import Iterator, Sequence

from probes.languages import Grammar, grammar
from probes.secrets import ends_in_secret, protect, words_of
from probes.structure import Walker
from probes.tokens import DEDENT, INDENT, NEWLINE, Token, lex, unify_newlines

LEVELS = ("exact", "layout", "code", "renamed")

SYMBOL = b"<name>"
"""Text of the token that stands for every name that can be bound; no word is spelled so."""

_QUOTES = re.compile(rb"\\([\s\S])|\"")


def tokenize(
    text: bytes, *, level: str, language: str = "python", prompt: bytes = b"", secrets: Sequence[bytes] = ()
) -> tuple[Token, ...]:
    """Return the tokens of `text`, read as what follows `prompt`, at a level. Offsets count from `text`.

    Prompt and text are read together; the tokens that end after the prompt are the text's, and one that
    straddles the border is clipped to the text. Compare tokens by `token[:2]`.

    A text that goes on has the same tokens, all but the last (but for an unfinished secret, which is held
    together as one token until it turns out to be none).
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
    deepest = max((LEVELS.index(level) for level in levels), default=0)
    if not deepest:
        return result
    whole = prompt + text
    tokens = protect(whole, lex(whole, language), secrets)
    source = grammar(language)
    for level in LEVELS[1 : deepest + 1]:
        if level == "code" and source is not None:
            tokens = list(_code(tokens, source, secrets))
            while tokens and tokens[-1].kind == "layout":
                tokens.pop()
        elif level == "renamed" and source is not None:
            tokens = list(_renamed(tokens, source, secrets))
        if level in levels:
            result[level] = tuple(_belonging(tokens, whole, len(prompt)))
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


def _belonging(tokens: Sequence[Token], whole: bytes, border: int) -> Iterator[Token]:
    """Yield the tokens that end after the prompt, clipped to the text and counted from its start."""
    for token in tokens:
        if token.start >= border:
            yield token._replace(start=token.start - border, end=token.end - border)
        elif token.end > border:
            clipped = whole[border : token.end]
            if token.kind == "name":
                clipped = token.text
            elif token.kind != "secret":
                clipped = unify_newlines(clipped)
            yield token._replace(text=clipped, start=0, end=token.end - border)


def _code(tokens: Sequence[Token], source: Grammar, secrets: Sequence[bytes]) -> Iterator[Token]:
    """Drop comments, docstrings and separators that mean nothing, and write quotes in one style."""
    last = tokens[-1] if tokens else None
    open_secret = last is not None and ends_in_secret(last, secrets)
    tokens = [t for t in tokens if t.kind != "comment" or (t is last and open_secret)]
    walker = Walker(source)
    pending: Token | None = None  # an INDENT, held back: a block that held a docstring alone leaves none
    before: Token | None = None
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        following = tokens[position] if position < len(tokens) else None
        kept = token is last and open_secret
        if not kept:
            if walker.documents and _documents(token, following):
                walker.documents = False
                # Its own line goes with it. After `def f():` on one line, the line's end has to stay.
                if following and following.text == NEWLINE and (before is None or before.kind == "layout"):
                    position += 1
                continue
            if token.text in (b";", b",") and _is_redundant(token, following, walker):
                continue
            if token.literal is not None:
                token = token._replace(text=_with_double_quotes(token))
        walker.advance(token)
        before = token
        if pending is not None:
            cancelled = token.kind == "layout" and token.text == DEDENT
            if not cancelled:
                yield pending
            pending = None
            if cancelled:
                continue
        if token.kind == "layout" and token.text == INDENT:
            pending = token
        else:
            yield token
    if pending is not None:
        yield pending


def _documents(token: Token, following: Token | None) -> bool:
    """Tell whether a string in the place of a docstring is one: plain text, and all of its statement."""
    literal = token.literal
    if literal is None or literal.opens or literal.continues:
        return False
    return literal.prefix.lower() in (b"", b"r", b"u") and (following is None or following.kind == "layout")


def _is_redundant(token: Token, following: Token | None, walker: Walker) -> bool:
    """Tell whether a `;` ends its line, or a `,` its bracket without making a tuple."""
    if token.kind != "op":
        return False
    if token.text == b";":
        return following is None or following.kind == "layout"
    if following is None or following.kind != "op" or following.text not in (b")", b"]", b"}"):
        return False
    bracket = walker.bracket
    if bracket.kind in ("group", "subscript"):  # (1,) and x[1,] are tuples, (1) and x[1] are not
        return bracket.commas > 0 and not bracket.lambdas
    return bracket.kind != "line"


def _with_double_quotes(token: Token) -> bytes:
    r"""Return the string with its prefix in lower case and in double quotes, `"` escaped and `'` not.

    An unfinished string stays as it is, and so does a raw one in single quotes that holds a double quote or
    a backslash, or has fields: nothing in it can be escaped.
    """
    literal = token.literal
    if literal is None or not literal.closed:
        return token.text
    mark, raw = literal.quote, b"r" in literal.prefix.lower()
    start = 0 if literal.continues else len(literal.prefix) + len(mark)
    stop = len(token.text) - (0 if literal.opens else len(mark))
    head, body, tail = token.text[:start], token.text[start:stop], token.text[stop:]
    if mark[:1] == b"'":
        if raw and (literal.opens or literal.continues or b'"' in body or b"\\" in body):
            return token.text
        head, tail = head.replace(b"'", b'"'), tail.replace(b"'", b'"')
    if not raw:
        body = _QUOTES.sub(_escape, body)
    prefix = bytes(sorted(literal.prefix.lower().replace(b"u", b""))) if head else b""
    return prefix + head[len(literal.prefix) :] + body + tail


def _escape(found: re.Match[bytes]) -> bytes:
    if found[1] is None:
        return b'\\"'
    return b"'" if found[1] == b"'" else found[0]


def _renamed(tokens: Sequence[Token], source: Grammar, secrets: Sequence[bytes]) -> Iterator[Token]:
    """Replace every word that can be bound by one symbol.

    A word can be bound unless it is a keyword, a built-in, a `__dunder__`, a member after a dot, or imported
    under this spelling before. Whether it *is* bound in the text is not asked: the binding may stand behind
    the use (comprehensions, loops, closures), and then a cut text would have other tokens than the whole, or
    renaming a local would show. So free names that the text does not import count as bindable too. A local
    that shadows a built-in or an import keeps its spelling. The name of a keyword argument belongs to the
    callee: its word becomes the symbol, because only the next token tells, and the equals sign carries it.
    """
    walker = Walker(source)
    kept = source.keywords | source.builtins | words_of(secrets)
    imported: set[bytes] = set()
    unconfirmed = b""  # imported last; `as` would give it another name
    opened = False  # the last token is a word that directly follows the bracket or a comma
    for position, token in enumerate(tokens):
        before = walker.previous
        in_call = walker.bracket.kind == "call" and not walker.bracket.lambdas
        result = token
        if token.kind == "word":
            text = token.text
            member = before is not None and before.text == b"."
            aliased = before is not None and before.text == b"as"
            importing = walker.statement == b"import"
            if text == b"as" and importing:
                imported.discard(unconfirmed)
            elif walker.statement and text not in source.keywords and not aliased:
                if importing and not member:
                    unconfirmed = b"" if text in imported else text
                    imported.add(text)
            elif not (member or text in kept or text in imported or _is_reserved(text)):
                ends = position == len(tokens) - 1 and ends_in_secret(token, secrets)
                result = token if ends else token._replace(text=SYMBOL, kind="name")
            opened = in_call and before is not None and before.text in (b"(", b",")
        else:
            if opened and token.text == b"=" and before is not None:
                result = token._replace(text=before.text + b"=")
            opened = False
        walker.advance(token)
        yield result


def _is_reserved(word: bytes) -> bool:
    """Tell whether the word is no name of the program's: a dunder, or bytes that make no identifier."""
    if word.startswith(b"__") and word.endswith(b"__") and len(word) > 4:
        return True
    return not word.isascii() and not characters(word).isidentifier()
