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
from probes.structure import Bracket, Walker
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
    # A text that breaks off inside a secret keeps the token it breaks off in.
    kept = tokens[-1] if tokens and ends_in_secret(tokens[-1], secrets) else None
    bare = list(_without_line_ends([t for t in tokens if t.kind != "comment" or t is kept], kept))
    walker = Walker(source)
    held: Token | None = None  # an INDENT: a block that held a docstring alone leaves none
    before: Token | None = None
    position = 0
    while position < len(bare):
        token = bare[position]
        position += 1
        following = bare[position] if position < len(bare) else None
        if token is not kept:
            if walker.documents and _documents(token, following):
                # Its own line goes with it. After `def f():` on one line, the line's end has to stay.
                if following and following.text == NEWLINE and (before is None or before.kind == "layout"):
                    position += 1
                continue
            if token.text == b"," and _is_redundant(token, following, walker.bracket):
                continue
            if token.literal is not None:
                token = token._replace(text=_with_double_quotes(token))
        walker.advance(token)
        before = token
        block = token.text if token.kind == "layout" else b""
        if held is not None and block != DEDENT:
            yield held
        if block == INDENT:
            held = token
        else:
            if held is None or block != DEDENT:
                yield token
            held = None


def _without_line_ends(tokens: Sequence[Token], kept: Token | None) -> Iterator[Token]:
    """Leave out each `;` that ends its line."""
    for position, token in enumerate(tokens):
        ends = position + 1 == len(tokens) or tokens[position + 1].kind == "layout"
        if token is kept or not (ends and token.kind == "op" and token.text == b";"):
            yield token


def _documents(token: Token, following: Token | None) -> bool:
    """Tell whether a string in the place of a docstring is one: plain text, and all of its statement."""
    literal = token.literal
    if literal is None or literal.opens or literal.continues:
        return False
    return literal.prefix.lower() in (b"", b"r", b"u") and (following is None or following.kind == "layout")


def _is_redundant(comma: Token, following: Token | None, bracket: Bracket) -> bool:
    """Tell whether the comma ends its bracket without making a tuple."""
    if comma.kind != "op" or following is None or following.kind != "op":
        return False
    if following.text not in (b")", b"]", b"}"):
        return False
    if bracket.kind in ("group", "subscript"):  # (1,) and x[1,] are tuples, (1) and x[1] are not
        return bracket.commas > 0
    return bracket.kind != "line"


def _with_double_quotes(token: Token) -> bytes:
    r"""Return the string with its prefix in lower case and in double quotes, `"` escaped and `'` not.

    An unfinished string stays as it is, and so do the quotes of a raw one in single quotes that holds a double
    quote or has fields: nothing in it can be escaped.
    """
    literal = token.literal
    if literal is None or not literal.closed:
        return token.text
    prefix = literal.prefix.lower().replace(b"u", b"")
    raw = b"r" in prefix
    mark = len(literal.quote)
    start = 0 if literal.continues else len(literal.prefix) + mark
    stop = len(token.text) - (0 if literal.opens else mark)
    body = token.text[start:stop]
    quote = literal.quote
    if not raw:
        body = _QUOTES.sub(_escape, body)
    if not (raw and (literal.opens or literal.continues or b'"' in body)):
        quote = b'"' * mark
    head = b"" if literal.continues else bytes(sorted(prefix)) + quote
    return head + body + (b"" if literal.opens else quote)


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
    that shadows a built-in or an import keeps its spelling; `match` and `case` are words like any other. The
    name of a keyword argument belongs to the callee: its word becomes the symbol, because only the next token
    tells what it is, and the equals sign carries the name.
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
