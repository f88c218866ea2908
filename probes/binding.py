"""Which names a complete text binds, and the text with some of them renamed.

The grammar's tree is asked, and `grammars/<language>/names.scm` says what its identifiers are. This is for code that
parses. Level `renamed` reads cut code as well, and goes by lexical rules (`blocks.py`, `braces.py`); tests hold the
two to each other.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from probes.languages import LANGUAGES, grammar, words
from probes.lexing import lex
from probes.names import is_spelled, normal_form

if TYPE_CHECKING:
    import tree_sitter

_REFERRING = frozenset(("identifier", "type_identifier", "lifetime"))
"""Kinds of leaves that can stand for a local. Of any other kind a name is left alone."""
_WHOLE = frozenset(("lifetime", "label"))
"""Nodes of several leaves that are one word."""
_RAW = frozenset(("preproc_arg", "interpreted_string_literal_content", "raw_string_literal_content"))
"""Leaves whose words the grammar does not tell apart: the body of a macro, the path of an import."""
_EXCLUDING = ("member", "imported", "shorthand", "separate")
_WORD = re.compile(rb"[0-9A-Za-z_$\x80-\xff]+")
_IN_FORMAT = re.compile(rb"\{([A-Za-z_\x80-\xff][0-9A-Za-z_\x80-\xff]*)")


def bound(text: bytes, language: str) -> frozenset[bytes]:
    """Return the names of locals and parameters in `text` that can be renamed by their spelling alone.

    A name is one of them if all of this holds:

    - the text binds it, and only in functions, comprehensions or blocks; what a module, a class or a record binds
      can be seen from outside. Parameters of types count, names of functions only where one stands in another;
    - it stands nowhere but inside of the scopes that bind it, so that it means no name from elsewhere;
    - it stands nowhere as a member, a key, a keyword argument, a shorthand for a key, a part of an import or a
      label, nor in the body of a macro of C or a format string of Rust;
    - it stands either for values or for types, not for both;
    - it is no keyword, no built-in, no `__dunder__` and not `_`.

    Names that a text makes at run time (`locals()`, `eval`) are not seen. Raises ValueError if `text` has errors
    or `language` is none of `LANGUAGES`, and MissingGrammar if its wheel is not installed.
    """
    return frozenset(_renamable(_leaves(text, language), language))


def rename(text: bytes, names: Mapping[bytes, bytes], *, language: str) -> bytes:
    """Return `text` with each name in `names` replaced by the other, wherever it stands for it.

    Names may trade places. Comments and strings stay as they are. Raises ValueError if a name is none of
    `bound(text, language)`, if two would become one, if a new name is no identifier of the language, or if it
    stands in the code of `text` already and is not renamed itself; also as `bound` does.
    """
    leaves = _leaves(text, language)
    free = _renamable(leaves, language)
    _check(names, text, free, language)
    out = bytearray(text)
    for leaf in reversed(leaves):
        new = names.get(leaf.word)
        if new is not None and leaf.kind in _REFERRING:
            out[leaf.start : leaf.end] = new
    return bytes(out)


@dataclass(slots=True, eq=False)
class _Scope:
    """Where names are bound."""

    exposed: bool
    """What is bound in it can be seen outside."""
    around: "_Scope | None"
    binds: set[bytes] = field(default_factory=set)


class _Leaf(NamedTuple):
    word: bytes
    kind: str
    start: int
    end: int
    captures: frozenset[str]
    scope: _Scope | None


def _leaves(text: bytes, language: str) -> list[_Leaf]:
    """Return the words of the tree from left to right, each with what the query says of it and its scope."""
    import tree_sitter

    if language not in LANGUAGES:
        raise ValueError(
            f"expected one of {', '.join(LANGUAGES)}, got {language!r}; set language to one of them"
        )
    known = grammar(language)
    root = known.parse(text).root_node
    if root.has_error:
        row = _first_error(root).start_point[0] + 1
        raise ValueError(
            f"expected {language} that parses, got an error in line {row}; set language to the text's"
        )
    found: defaultdict[int, set[str]] = defaultdict(set)
    for name, nodes in tree_sitter.QueryCursor(known.query("names")).captures(root).items():
        for node in nodes:
            found[node.id].add(name)
    return list(_walk(root, found))


def _first_error(node: "tree_sitter.Node") -> "tree_sitter.Node":
    for child in node.children:
        if child.has_error or child.is_missing:
            return child if child.is_error or child.is_missing else _first_error(child)
    return node


def _walk(root: "tree_sitter.Node", found: Mapping[int, set[str]]) -> Iterator[_Leaf]:
    stack: list[tuple[tree_sitter.Node, _Scope | None]] = [(root, None)]
    while stack:
        node, scope = stack.pop()
        captures = found.get(node.id, ())
        if "exposed" in captures:
            scope = _Scope(exposed=True, around=scope)
        if "scope" in captures:
            scope = _Scope(exposed=False, around=scope)
        if node.child_count and node.type not in _WHOLE:
            stack.extend((child, scope) for child in reversed(node.children))
        elif node.is_named and node.text is not None:
            word = normal_form(node.text).removeprefix(b"#")  # of a private member of JavaScript
            yield _Leaf(word, node.type, node.start_byte, node.end_byte, frozenset(captures), scope)


def _renamable(leaves: list[_Leaf], language: str) -> set[bytes]:
    names: set[bytes] = set()
    left: set[bytes] = set(_never(language))  # alone
    kinds: defaultdict[bytes, set[str]] = defaultdict(set)
    for leaf in leaves:
        if _is_name(leaf):
            kinds[leaf.word].add(leaf.kind)
        if leaf.kind in _RAW:
            left.update(_WORD.findall(leaf.word))
        elif not leaf.captures.isdisjoint(_EXCLUDING):
            left.add(leaf.word)
        elif language == "rust" and leaf.kind == "string_content":
            left.update(_IN_FORMAT.findall(leaf.word))
        if "bound" in leaf.captures or "alias" in leaf.captures:
            scope = leaf.scope
            if "outer" in leaf.captures and scope is not None:
                scope = scope.around
            if scope is None or scope.exposed or "alias" in leaf.captures:
                left.add(leaf.word)
            else:
                scope.binds.add(leaf.word)
                names.add(leaf.word)
    # A string that spells a name does not mean it.
    left |= {x.word for x in leaves if x.word in names and _is_name(x) and not _is_bound_around(x)}
    return {
        name
        for name in names - left
        if len(kinds[name]) == 1 and kinds[name] <= _REFERRING and not is_spelled(name)
    }


def _is_name(leaf: _Leaf) -> bool:
    return leaf.kind.endswith("identifier") or leaf.kind in _WHOLE


def _is_bound_around(leaf: _Leaf) -> bool:
    """Tell whether one of the scopes that the leaf stands in binds its word."""
    scope = leaf.scope
    while scope is not None:
        if leaf.word in scope.binds:
            return True
        scope = scope.around
    return False


@cache
def _never(language: str) -> frozenset[bytes]:
    known = words(language)
    return known["keywords"] | known["builtins"] | known.get("soft_keywords", frozenset()) | {b"_"}


def _check(names: Mapping[bytes, bytes], text: bytes, free: set[bytes], language: str) -> None:
    unknown = [name for name in names if name not in free]
    if unknown:
        raise ValueError(
            f"expected names that bound(text, {language!r}) returns, got {_show(unknown)}; leave them out"
        )
    if len(set(names.values())) < len(names):
        twice = [new for new in set(names.values()) if list(names.values()).count(new) > 1]
        raise ValueError(
            f"expected a new name of its own for each name, got {_show(twice)} twice; set others"
        )
    for new in names.values():
        quoted = language == "rust" and new.startswith(b"'")  # a lifetime
        word = new[quoted:]
        alone = [token[:2] for token in lex(word, language)] == [(word, "word")]
        if not alone or new in _never(language) or is_spelled(new):
            raise ValueError(
                f"expected a name that {language} programs can bind, got {_show([new])}; set another"
            )
        if any(old.startswith(b"'") != quoted for old, other in names.items() if other == new):
            raise ValueError(f"expected a lifetime for a lifetime alone, got {_show([new])}; set another")
    present = {normal_form(token.text) for token in lex(text, language) if token.kind == "word"}
    if language == "rust":
        present.update(_IN_FORMAT.findall(text))
    taken = [new for new in names.values() if new not in names and normal_form(new) in present]
    if taken:
        raise ValueError(f"expected names that are not in the text, got {_show(taken)}; set others")


def _show(names: list[bytes]) -> str:
    return ", ".join(repr(name.decode(errors="replace")) for name in sorted(names))
