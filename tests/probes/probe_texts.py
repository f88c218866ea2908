"""Real code and ways to change it: what the tests of the probes feed on."""

import ast
import builtins
import io
import json.decoder
import keyword
import random
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from probes.levels import LEVELS, tokenize_all
from probes.tokens import DEDENT, INDENT, NEWLINE, Token

TOKEN_LEVELS = LEVELS[1:]


def compared(tokens: Iterable[Token]) -> list[tuple[bytes, str]]:
    return [token[:2] for token in tokens]


def units(text: bytes, **kwargs) -> dict[str, list[tuple[bytes, str]]]:
    return {level: compared(tokens) for level, tokens in tokenize_all(text, **kwargs).items()}


def settled(tokens: list[tuple[bytes, str]]) -> list[tuple[bytes, str]]:
    """All but the last token and the layout before it: what no continuation may change."""
    kept = tokens[:-1]
    while kept and kept[-1][1] == "layout":
        kept.pop()
    return kept


@cache
def library_files() -> tuple[bytes, ...]:
    """Some files of the standard library, whole."""
    folder = Path(textwrap.__file__).parent
    names = (
        "textwrap.py",
        "bisect.py",
        "fnmatch.py",
        "contextlib.py",
        "string.py",
        "colorsys.py",
        "sched.py",
    )
    return (Path(json.decoder.__file__).read_bytes(), *((folder / name).read_bytes() for name in names))


@cache
def functions() -> tuple[str, ...]:
    """Functions and classes of those files, dedented, short enough to cut at every place."""
    found = []
    for file in library_files():
        source = file.decode()
        lines = source.splitlines(keepends=True)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                text = textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno]))
                if 120 < len(text) < 900:
                    found.append(text)
    return tuple(found)


code = st.sampled_from(functions())
seeds = st.integers(0, 2**32)
_SCRAPS = rb"""
 " ' ''' f" f''' rb' { } {{ : !r ! # \ ( ) [ ] , ; . = 0x 1e- \N{ name import as def class lambda match async
""".split()
_SCRAPS += [b'"""', b"\n", b"\r\n", b"\r", b" ", b" ", b"\t", b"\x0c", b"\xc3\xa9", b"\xff", b"\x00"]
hostile = st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(_SCRAPS), max_size=40).map(b"".join))


def python_tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    """What Python's own tokenizer finds, with an f-string as one token, as it was before Python 3.12."""
    lines = text.splitlines(keepends=True)
    opened: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "FSTRING_START":
            opened.append(token)
        elif kind == "FSTRING_END":
            start, end = opened.pop().start, token.end
            if not opened:
                inside = [*lines[start[0] - 1 : end[0] - 1], lines[end[0] - 1][: end[1]]]
                inside[0] = inside[0][start[1] :]
                yield tokenize.TokenInfo(tokenize.STRING, "".join(inside), start, end, token.line)
        elif not opened:
            yield token


def reformat(text: str, seed: int, *, comments: bool = False) -> str:
    """Write the tokens of valid Python with other white space, and with comments put in if asked."""
    draw = random.Random(seed)
    width = draw.choice((" ", "  ", "   ", "        ", "\t"))
    newline = draw.choice(("\n", "\r\n"))
    out: list[str] = []
    depth = inside = 0
    before: tokenize.TokenInfo | None = None

    def remark() -> str:
        return "  # " + draw.choice(("note", "it's", 'say "x"', "(", "def f():")) if comments else ""

    for token in python_tokens(text):
        kind = tokenize.tok_name[token.type]
        if kind == "INDENT":
            depth += 1
        elif kind == "DEDENT":
            depth -= 1
        elif kind == "NL" and not inside:
            out.append(newline)
            before = None
        elif kind == "NEWLINE":
            # What follows a comment of the text itself belongs to that comment.
            trailing = remark() if draw.random() < 0.3 and not out[-1].lstrip().startswith("#") else ""
            out.append(trailing + " " * draw.randrange(3) + newline)
            while draw.random() < 0.3:
                out.append(draw.choice(("", "  ", "\t", remark())) + newline)
            before = None
        elif kind not in ("NL", "ENDMARKER"):
            if before is None:
                out.append(width * depth if kind != "COMMENT" else " " * draw.randrange(4))
            else:
                gap = "" if before.end == token.start else " "
                choices = [gap, gap, gap + " ", gap + " \t"]
                if inside and kind != "COMMENT":
                    choices += [" " + newline + "  ", remark() + newline]
                elif kind != "COMMENT":
                    choices.append(" \\" + newline + " ")
                out.append(draw.choice(choices))
            out.append(token.string.replace("\n", newline))
            if kind == "COMMENT" and inside:
                out.append(newline)
            inside += (token.string in "([{") - (token.string in ")]}") if kind == "OP" else 0
            before = token
    return "".join(out)


def render(tokens: Iterable[Token]) -> bytes:
    """Write tokens of level `layout` or `code` as text again: one blank between them, lines and blocks as told."""
    out: list[bytes] = []
    depth = 0
    line_start = True
    for token in tokens:
        if token.kind == "layout":
            depth += (token.text == INDENT) - (token.text == DEDENT)
            if token.text == NEWLINE:
                out.append(b"\n")
            line_start = True
            continue
        out.append(b"    " * depth if line_start else b" ")
        out.append(token.text)
        if token.kind == "comment" and not token.text.startswith(b"/*"):
            line_start = True
            out.append(b"\n")
        else:
            line_start = False
    return b"".join(out)


class _Rename(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in ("id", "arg", "name", "rest"):
            value = getattr(node, field, None)
            if isinstance(value, str) and not isinstance(
                node, ast.keyword | ast.FunctionDef | ast.ClassDef | ast.alias
            ):
                setattr(node, field, self.names.get(value, value))
        if isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [self.names.get(name, name) for name in node.names]
        return super().generic_visit(node)


def rename(text: str, seed: int) -> tuple[str, str]:
    """Return the text written by `ast`, as it is and with its locals and parameters renamed one to one."""
    tree = ast.parse(text)
    taken = set(dir(builtins)) | set(keyword.kwlist) | {"match", "case"}
    bound = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            taken |= {alias.name.split(".")[0] for alias in node.names} | {a.asname or "" for a in node.names}
    names = sorted(name for name in bound - taken if not name.startswith("__"))
    draw = random.Random(seed)
    fresh = [f"v{number}" for number in draw.sample(range(1000), len(names))]
    # Some trade names among themselves, the others get new ones.
    swapped = names[: len(names) // 2]
    mapping = dict(zip(names, fresh, strict=True)) | dict(
        zip(swapped, draw.sample(swapped, len(swapped)), strict=True)
    )
    return ast.unparse(tree), ast.unparse(_Rename(mapping).visit(ast.parse(text)))
