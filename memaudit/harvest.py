"""Cuts functions and classes out of Python source with tree-sitter."""

import functools
import re
from dataclasses import dataclass

import tree_sitter

import probes

# Statements that may hold a definition without giving it a scope of its own.
_BLOCKS = frozenset(
    (
        "block",
        "if_statement",
        "elif_clause",
        "else_clause",
        "try_statement",
        "except_clause",
        "finally_clause",
    )
)
_DEFINITIONS = frozenset(("function_definition", "class_definition"))
_REST_OF_LINE = re.compile(rb"[ \t\f]*(?:#[^\n]*)?")
_INDENT_OF_NEXT_CODE = re.compile(rb"(?:[ \t\f]*(?:#[^\n]*)?\n)*([ \t]*)")
_MAY_SPAN_LINES = re.compile(rb"\"\"\"|'''|\\\n")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A function or class as it stands in a file.

    Attributes:
        text: Whole lines, decorators included, dedented, ending with a newline.
        first_line: Its first line in the file, from 1; lines end at ``\\n`` and nowhere else.
        last_line: Its last line, inclusive.
    """

    text: str
    first_line: int
    last_line: int


def harvest(source: bytes, *, smallest: int, largest: int) -> list[Definition]:
    """Returns the definitions of one file whose text has `smallest` to `largest` characters, in order.

    They are the functions and classes at the top level, also those inside ``if`` and ``try``. A class that is
    too large, or that cannot be dedented, gives its methods and inner classes instead. A function that is too
    large gives nothing. So the line ranges never overlap.

    A definition is left out when its tree holds an error, when the parser lost a part of it, and when taking
    the same indentation off all its lines is not possible or would change the value of a string. Docstrings
    are dedented along with the code around them.

    Args:
        source: UTF-8 without byte order mark, lines ending in ``\\n``. Syntax errors are allowed.
        smallest: The least number of characters, the final newline included.
        largest: The greatest number of characters.
    """
    found: list[Definition] = []
    pending = [_grammar().parse(source).root_node]
    while pending:
        decorator_lost = False
        for node in pending.pop().children:
            orphaned, decorator_lost = (
                decorator_lost,
                node.type == "ERROR" and source[node.start_byte] == ord("@"),
            )
            if node.type in _BLOCKS:
                pending.append(node)
                continue
            inner = node.child_by_field_name("definition") if node.type == "decorated_definition" else node
            if inner is None or inner.type not in _DEFINITIONS:
                continue
            definition = _cut(source, node)
            size = largest + 1 if definition is None else len(definition.text)
            if size > largest and inner.type == "class_definition":
                pending.append(inner)
            elif definition is not None and smallest <= size <= largest and not (node.has_error or orphaned):
                found.append(definition)
    return sorted(found, key=lambda definition: definition.first_line)


def _grammar() -> probes.Grammar:
    found = probes.grammar("python")
    assert found is not None, "Python's grammar comes with the core install"
    return found


@functools.cache
def _strings() -> tree_sitter.Query:
    return tree_sitter.Query(_grammar().language, "(string) @string")


def _cut(source: bytes, node: tree_sitter.Node) -> Definition | None:
    """Returns the node's whole lines, dedented, or None where lines and node do not agree."""
    before = source[source.rfind(b"\n", 0, node.start_byte) + 1 : node.start_byte]
    end = source.find(b"\n", node.end_byte)
    end = len(source) if end < 0 else end
    body = source[node.start_byte : end]
    # A carriage return that is not part of a line end starts a new line for Python, but not for an editor.
    if before.strip(b" \t\f") or not _REST_OF_LINE.fullmatch(source, node.end_byte, end) or b"\r" in body:
        return None
    indent = before.rpartition(b"\f")[2]  # Python counts the indentation anew after a form feed
    # Code that follows and is indented deeper belongs to the definition: the parser ended it too early.
    following = _INDENT_OF_NEXT_CODE.match(source, end + 1)
    if (
        following
        and following.end() < len(source)
        and following[1].startswith(indent)
        and following[1] != indent
    ):
        return None
    if indent and _MAY_SPAN_LINES.search(body) and _has_value_over_lines(node):
        return None
    first, *rest = body.split(b"\n")
    lines = [first]
    for line in rest:
        if line.startswith(indent):
            lines.append(line[len(indent) :])
        elif indent.startswith(line):  # a blank line that is shorter than the indentation
            lines.append(b"")
        else:
            return None
    first_line = node.start_point.row + 1
    text = b"\n".join(lines).decode("utf-8") + "\n"
    return Definition(text=text, first_line=first_line, last_line=first_line + len(rest))


def _has_value_over_lines(node: tree_sitter.Node) -> bool:
    """Tells whether a string that is more than a docstring goes on over a line end."""
    strings = tree_sitter.QueryCursor(_strings()).captures(node).get("string", [])
    return any(
        string.start_point.row < string.end_point.row
        and (string.parent is None or string.parent.type != "expression_statement")
        for string in strings
    )
