"""What differs between a target and a completion, token by token, with the reason for each difference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, zip_longest
from typing import Literal

from probes.distance import Edit, edits
from probes.levels import characters, tokenize_all
from probes.secrets import ends_in_secret
from probes.tokens import Token

Op = Literal["equal", "replace", "insert", "delete"]
Reason = Literal["format", "comment", "rename", "literal", "secret", "code"]


_REMARKS = (b"#", b"//", b"/*")
"""What comments begin with, in one language or another."""

_Piece = tuple[Op, Reason | None, bytes, bytes]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of both texts. `insert` has no target text, `delete` no completion text."""

    op: Op
    reason: Reason | None
    """Why the two differ; None if they are equal.

    `format`: equal at level `layout`, or separators and quotes that mean nothing; `comment`: comments and
    docstrings; `rename`: names that can be bound; `literal`: two numbers or strings; `secret`: a secret on
    either side; `code`: all else.
    """
    target: str
    completion: str


class _Side:
    """One text with its tokens at level `layout`, and what the coarser levels make of each."""

    def __init__(self, text: bytes, language: str, prompt: bytes, secrets: Sequence[bytes]) -> None:
        levels = tokenize_all(
            text, language=language, prompt=prompt, secrets=secrets, levels=("layout", "code", "renamed")
        )
        self.text = text
        self.tokens = levels["layout"]
        self.code = levels["code"]
        self.places = {t.start: place for place, t in enumerate(self.tokens) if t.kind != "layout"}
        """Start of a token -> which one it is."""
        self.at_code = {t.start: t for t in levels["code"] if t.kind != "layout"}
        self.at_renamed = {t.start: t for t in levels["renamed"] if t.kind != "layout"}
        self._secrets = secrets
        # At level `renamed` the sign behind the name of an argument or a key carries that name.
        self.carried = {
            word.start
            for word, sign in pairwise(levels["code"])
            if sign.kind == "op" and self.at_renamed.get(sign.start, sign).text != sign.text
        }
        """Starts of the words that name an argument in a call, or a key."""
        # Blocks are compared as they are without comments and docstrings.
        self._blocks = _leads(levels["layout"]) | _leads(levels["code"])

    def block(self, token: Token) -> tuple[bytes, ...]:
        """The layout tokens directly before `token`."""
        return self._blocks[token.start]

    def is_secret(self, token: Token) -> bool:
        """A secret, or the beginning of one at the end of the text."""
        last = token is self.tokens[-1]
        return token.kind == "secret" or (last and ends_in_secret(token, self._secrets))

    def is_comment(self, token: Token) -> bool:
        """A comment, or a string that is gone at level `code`: a docstring."""
        return token.kind == "comment" or (token.kind == "string" and token.start not in self.at_code)

    def is_separator(self, token: Token) -> bool:
        """A separator that means nothing."""
        return token.kind == "op" and token.start not in self.at_code


def _leads(tokens: Sequence[Token]) -> dict[int, tuple[bytes, ...]]:
    """Start of a token -> the layout between it and the last token before it that is no comment."""
    leads = {}
    lead: tuple[bytes, ...] = ()
    for token in tokens:
        if token.kind == "layout":
            lead += (token.text,)
            continue
        leads[token.start] = lead
        if token.kind != "comment":
            lead = ()
    return leads


def align(
    target: bytes,
    completion: bytes,
    *,
    prompt: bytes = b"",
    language: str = "python",
    secrets: Sequence[bytes] = (),
) -> list[Segment]:
    """Align two texts that follow `prompt` by their tokens at level `layout`; deterministic.

    The segments cover both texts, white space included: their `target` fields in order give the target, their
    `completion` fields the completion (decoded as UTF-8, with surrogates for bytes that are not). Neighbours
    with the same op and reason are one segment.
    """
    a = _Side(target, language, prompt, secrets)
    b = _Side(completion, language, prompt, secrets)
    return list(_merged(_pieces(a, b)))


def _pieces(a: _Side, b: _Side) -> Iterator[_Piece]:
    """Yield op, reason and both texts of each token and of the white space before it."""
    at_a = at_b = 0
    for left, right in _pairs(a, b):
        if left is not None and right is not None:
            gap_a, gap_b = a.text[at_a : left.start], b.text[at_b : right.start]
            yield from _replaced(gap_a, gap_b, "format" if a.block(left) == b.block(right) else "code")
            yield from _compared(a, b, left, right)
        elif left is not None:
            yield "delete", _why_alone(a, left), a.text[at_a : left.end], b""
        elif right is not None:
            yield "insert", _why_alone(b, right), b"", b.text[at_b : right.end]
        at_a = left.end if left is not None else at_a
        at_b = right.end if right is not None else at_b
    yield from _replaced(a.text[at_a:], b.text[at_b:], "format")


def _pairs(a: _Side, b: _Side) -> Iterator[tuple[Token | None, Token | None]]:
    """Yield aligned tokens, None where one side has nothing; layout tokens, which have no text, left out.

    What is code is aligned first, as level `code` has it, so that a comment that moved moves no code. Comments and
    separators are aligned between its equal tokens.
    """
    at_a = at_b = 0
    for edit in edits([t[:2] for t in a.code], [t[:2] for t in b.code]):
        if edit.op != "equal":
            continue
        for left, right in zip(
            a.code[edit.a_start : edit.a_end], b.code[edit.b_start : edit.b_end], strict=True
        ):
            if left.kind == "layout":
                continue
            to_a, to_b = a.places[left.start], b.places[right.start]
            if at_a < to_a or at_b < to_b:
                yield from _paired(a.tokens[at_a:to_a], b.tokens[at_b:to_b])
            yield a.tokens[to_a], b.tokens[to_b]
            at_a, at_b = to_a + 1, to_b + 1
    yield from _paired(a.tokens[at_a:], b.tokens[at_b:])


def _paired(a: Sequence[Token], b: Sequence[Token]) -> Iterator[tuple[Token | None, Token | None]]:
    at_a = at_b = 0
    end = Edit("equal", len(a), len(a), len(b), len(b))
    for edit in [*edits([t[:2] for t in a], [t[:2] for t in b]), end]:
        if edit.op != "equal":
            continue
        # Shortest alignments of what differs are many; like goes with like.
        yield from _paired_by_class(a[at_a : edit.a_start], b[at_b : edit.b_start])
        pairs = zip(a[edit.a_start : edit.a_end], b[edit.b_start : edit.b_end], strict=True)
        yield from (pair for pair in pairs if pair[0].kind != "layout")
        at_a, at_b = edit.a_end, edit.b_end


def _paired_by_class(a: Sequence[Token], b: Sequence[Token]) -> Iterator[tuple[Token | None, Token | None]]:
    a = [token for token in a if token.kind != "layout"]
    b = [token for token in b if token.kind != "layout"]
    for edit in edits([_class(token) for token in a], [_class(token) for token in b]):
        for left, right in zip_longest(a[edit.a_start : edit.a_end], b[edit.b_start : edit.b_end]):
            if left and right and edit.op == "replace" and _REMARKS in (_class(left), _class(right)):
                yield left, None  # a comment takes the place of nothing but a comment
                yield None, right
            else:
                yield left, right


def _class(token: Token) -> bytes | str | tuple[bytes, ...]:
    """Return what a token may be shown as replaced by: an operator by itself, a literal by any literal."""
    if token.kind == "comment" or (token.kind == "secret" and token.text.startswith(_REMARKS)):
        return _REMARKS
    if token.kind in ("number", "string", "secret"):
        return "literal"
    return token.text if token.kind == "op" else token.kind


def _compared(a: _Side, b: _Side, left: Token, right: Token) -> Iterator[_Piece]:
    text_a, text_b = a.text[left.start : left.end], b.text[right.start : right.end]
    code_a, code_b = a.at_code.get(left.start), b.at_code.get(right.start)
    renamed_a, renamed_b = a.at_renamed.get(left.start), b.at_renamed.get(right.start)
    reason: Reason = "code"
    if left[:2] == right[:2]:
        reason = "format"
    elif a.is_secret(left) or b.is_secret(right):
        reason = "secret"
    elif a.is_comment(left) and b.is_comment(right):
        reason = "comment"
    elif code_a and code_b and code_a[:2] == code_b[:2]:
        reason = "format"
    elif renamed_a and renamed_b and renamed_a[:2] == renamed_b[:2]:
        reason = "code" if left.start in a.carried or right.start in b.carried else "rename"
    elif {left.kind, right.kind} <= {"number", "string"}:
        reason = "literal"
    yield from _replaced(text_a, text_b, reason)


def _why_alone(side: _Side, token: Token) -> Reason:
    if side.is_secret(token):
        return "secret"
    if side.is_comment(token):
        return "comment"
    return "format" if side.is_separator(token) else "code"


def _replaced(a: bytes, b: bytes, reason: Reason) -> Iterator[_Piece]:
    if a == b:
        yield "equal", None, a, b
    elif not a:
        yield "insert", reason, a, b
    elif not b:
        yield "delete", reason, a, b
    else:
        yield "replace", reason, a, b


def _merged(pieces: Iterator[_Piece]) -> Iterator[Segment]:
    shown = (piece for piece in pieces if piece[2] or piece[3])
    for (op, reason), run in groupby(shown, key=lambda piece: piece[:2]):
        texts = list(run)
        yield Segment(
            op=op,
            reason=reason,
            target=characters(b"".join(a for _, _, a, _ in texts)),
            completion=characters(b"".join(b for _, _, _, b in texts)),
        )
