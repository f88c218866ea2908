"""Cuts functions, methods, classes and their like out of source files with tree-sitter.

What they are in each language, `probes/grammars/<language>/definitions.scm` says.
"""

import re
from dataclasses import dataclass

import tree_sitter

import probes

_REST_OF_LINE = {
    "python": re.compile(rb"[ \t\f]*(?:#[^\n]*)?"),
    "": re.compile(rb"[ \t\f]*[;,]?[ \t\f]*(?://[^\n]*|/\*[^\n]*?\*/[ \t\f]*)?"),
}
_INDENT_OF_NEXT_CODE = re.compile(rb"(?:[ \t\f]*(?:#[^\n]*)?\n)*([ \t]*)")
_MAY_SPAN_LINES = re.compile(rb"\"\"\"|'''|\\\n")  # in Python; saves a search of the tree
_BLANK = frozenset((b" ", b"\t", b"\f", b"\n"))


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A function, method, class or the like as it stands in a file.

    Attributes:
        text: Whole lines, decorators and the like included, dedented, ending with a newline.
        first_line: Its first line in the file, from 1; lines end at ``\\n`` and nowhere else.
        last_line: Its last line, inclusive.
    """

    text: str
    first_line: int
    last_line: int


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A node that the query captured."""

    node: tree_sitter.Node
    closed: bool = False
    inside: int | None = None
    """Where what it holds begins, if it may be opened."""


def harvest(source: bytes, *, language: str = "python", smallest: int, largest: int) -> list[Definition]:
    """Returns the definitions of one file whose text has `smallest` to `largest` characters, in order.

    They are the outermost ones; in Python those at the top level and inside ``if`` and ``try``. A class, or
    what is like one (``impl``, ``trait``, ``interface``, ...), that is too large, or that cannot be dedented,
    gives its methods and inner classes instead. A function that is too large gives nothing. So the line ranges
    never overlap.

    Comments, annotations, attributes and decorators on the lines directly above a definition belong to it; in
    Python only decorators do.

    A definition is left out when its tree holds an error, when the parser lost a part of it, when it shares a
    line with other code, and when taking the same indentation off all its lines is not possible or would change
    the value of a string. Docstrings are dedented along with the code around them.

    Args:
        source: UTF-8 without byte order mark, lines ending in ``\\n``. Syntax errors are allowed.
        language: One of `probes.LANGUAGES`.
        smallest: The least number of characters, the final newline included.
        largest: The greatest number of characters.

    Raises:
        probes.MissingGrammar: The grammar of `language` is not installed.
        KeyError: `language` is not known.
    """
    grammar = probes.grammar(language)
    root = grammar.parse(source).root_node
    found, leading = _search(root, source, grammar)
    definitions: list[Definition] = []
    skipped = 0  # all that begins before this byte is part of what was seen
    for one in found:
        node = one.node
        if node.start_byte < skipped:
            continue
        skipped = node.end_byte
        if one.closed:
            continue
        definition = _cut(source, node, leading, grammar)
        size = largest + 1 if definition is None else len(definition.text)
        if size > largest and one.inside is not None:
            skipped = one.inside
        elif (
            definition is not None
            and smallest <= size <= largest
            and not (node.has_error or _orphaned(node, source))
        ):
            definitions.append(definition)
    return definitions


def _search(
    root: tree_sitter.Node, source: bytes, grammar: probes.Grammar
) -> tuple[list[_Found], dict[int, int]]:
    """Returns what the query captured, outer nodes first, and end -> start of all that may lead a definition."""
    found: list[_Found] = []
    leading: dict[int, int] = {}
    for _, captures in tree_sitter.QueryCursor(grammar.query("definitions")).matches(root):
        for node in captures.get("leading", ()):
            end = node.end_byte
            while source[end - 1 : end] == b"\n":  # a line comment of Rust holds its line end
                end -= 1
            leading[end] = node.start_byte
        for node in captures.get("closed", ()):
            if node.id != root.id:
                found.append(_Found(node=node, closed=True))
        for node in captures.get("definition", ()):
            inside = min((inner.start_byte for inner in captures.get("container", ())), default=None)
            found.append(_Found(node=node, inside=inside))
    found.sort(key=lambda one: (one.node.start_byte, -one.node.end_byte))
    return found, leading


def _orphaned(node: tree_sitter.Node, source: bytes) -> bool:
    """Tells whether the parser lost the decorator before a definition."""
    before = node.prev_sibling
    return before is not None and before.type == "ERROR" and source[before.start_byte] == ord("@")


def _cut(
    source: bytes, node: tree_sitter.Node, leading: dict[int, int], grammar: probes.Grammar
) -> Definition | None:
    """Returns the node's whole lines, dedented, or None where lines and node do not agree."""
    start = _start(source, node.start_byte, leading)
    end = source.find(b"\n", node.end_byte)
    end = len(source) if end < 0 else end
    body = source[start:end]
    before = _before(source, start)
    rest_of_line = _REST_OF_LINE.get(grammar.name, _REST_OF_LINE[""])
    # A carriage return that is not part of a line end starts a new line for most languages, but not for an editor.
    if before.strip(b" \t\f") or not rest_of_line.fullmatch(source, node.end_byte, end) or b"\r" in body:
        return None
    indent = before.rpartition(b"\f")[2]  # Python counts the indentation anew after a form feed
    if grammar.name == "python" and _goes_on(source, end, indent):
        return None
    if indent and _has_value_over_lines(node, body, grammar):
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
    first_line = node.start_point.row + 1 - source.count(b"\n", start, node.start_byte)
    text = b"\n".join(lines).decode("utf-8") + "\n"
    return Definition(text=text, first_line=first_line, last_line=first_line + len(rest))


def _before(source: bytes, start: int) -> bytes:
    """Returns what stands before a byte on its line."""
    return source[source.rfind(b"\n", 0, start) + 1 : start]


def _start(source: bytes, start: int, leading: dict[int, int]) -> int:
    """Returns where a definition begins with the comments and the like that directly precede it, indented alike."""
    best, indent = start, None
    at = start
    while True:
        before = _before(source, at)
        if not before.strip(b" \t\f"):
            if indent is not None and before != indent:
                return best
            best, indent = at, before
        end = at
        while source[end - 1 : end] in _BLANK and end:
            end -= 1
        if end not in leading or source.count(b"\n", end, at) > 1:
            return best
        at = leading[end]


def _goes_on(source: bytes, end: int, indent: bytes) -> bool:
    """Tells whether code follows that is indented deeper and so belongs to it: Python's parser ended too early."""
    following = _INDENT_OF_NEXT_CODE.match(source, end + 1)
    return bool(
        following
        and following.end() < len(source)
        and following[1].startswith(indent)
        and following[1] != indent
    )


def _has_value_over_lines(node: tree_sitter.Node, body: bytes, grammar: probes.Grammar) -> bool:
    """Tells whether a string that is more than a docstring goes on over a line end."""
    if b"\n" not in body or (grammar.name == "python" and not _MAY_SPAN_LINES.search(body)):
        return False
    strings = tree_sitter.QueryCursor(grammar.query("strings")).captures(node).get("string", [])
    return any(
        string.start_point.row < string.end_point.row
        and (string.parent is None or string.parent.type != "expression_statement")
        for string in strings
    )
