"""A repository of Python as a graph: files, classes, functions, what they call and what is imported from where.

A name is followed as far as it can be without running anything: to the file's own definitions, to what it imports from
another file of the repository, and from `self` to the class and its bases. What leads outside, or nowhere that is
sure, is left out, and so is what a function binds itself: the graph has less than the program, and nothing that is not
in it. Only definitions of a module's or a class's own level are nodes; the calls of a function within another are the
outer one's.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from probes.languages import grammar

if TYPE_CHECKING:
    import tree_sitter

Span = tuple[int, int]
"""First character of a file, and the character after the last."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of something that the repository defines."""

    callee: str
    """Id of a symbol."""
    span: Span
    """The name that is called."""


@dataclass(frozen=True, kw_only=True)
class Symbol:
    """A class, a function or a method."""

    id: str
    """``path::label``."""
    kind: str
    """`class`, `function` or `method`."""
    name: str
    owner: str
    """Of a method, the name of its class; else empty."""
    path: str
    head: Span
    """From the keyword to where the body begins."""
    parameters: tuple[str, ...] = ()
    """Names as declared, without the first of a method."""
    bases: tuple[str, ...] = ()
    """What a class inherits from, as it is written."""
    doc: str = ""
    """First line of the docstring."""
    doc_span: Span = (0, 0)

    @property
    def label(self) -> str:
        """``Class.method``, or the name."""
        return f"{self.owner}.{self.name}" if self.owner else self.name


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A name of a module that is given a literal once."""

    name: str
    value: str
    """As it is written."""
    path: str
    span: Span
    """The whole assignment."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A repository, in the order of paths and places."""

    files: Mapping[str, str]
    """Path -> text."""
    symbols: Mapping[str, Symbol]
    """Id -> symbol."""
    constants: tuple[Constant, ...]
    calls: Mapping[str, tuple[Call, ...]]
    """Id of a function -> its calls, in the order of the text."""
    imports: Mapping[str, tuple[str, ...]]
    """Path -> the files it imports, ascending."""
    parents: Mapping[str, tuple[str, ...]]
    """Id of a class -> ids of its bases; only of classes all of whose bases are known."""
    import_spans: Mapping[tuple[str, str], Span] = field(default_factory=dict)
    """Importing and imported path -> the first statement that imports it."""

    @cached_property
    def known_once(self) -> frozenset[str]:
        """Labels and names that mean one thing in the whole repository."""
        labels = Counter(s.label for s in self.symbols.values()) + Counter(c.name for c in self.constants)
        return frozenset(label for label, times in labels.items() if times == 1)

    def way(self, start: str, end: str) -> tuple[str, ...]:
        """A shortest way from file to file along imports, both ends included; empty where there is none."""
        before: dict[str, str] = {start: ""}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            if here == end:
                way = [here]
                while before[way[-1]]:
                    way.append(before[way[-1]])
                return tuple(reversed(way))
            for there in self.imports.get(here, ()):
                if there not in before:
                    before[there] = here
                    queue.append(there)
        return ()

    def lineage(self, class_id: str) -> tuple[str, ...]:
        """A class and all it inherits from, in the order in which Python looks for a method.

        Empty where a base is not of the repository, or is inherited from twice: there the order takes more than
        reading from left to right.
        """
        if class_id not in self.parents:
            return ()
        found = [class_id]
        for base in self.parents[class_id]:
            above = self.lineage(base) if base != class_id else ()
            if not above:
                return ()
            found += above
        return tuple(found) if len(set(found)) == len(found) else ()

    def method(self, class_id: str, name: str) -> Symbol | None:
        """The method that runs when `name` is called on an object of the class; None where that is not known."""
        for place in self.lineage(class_id):
            if found := self.symbols.get(f"{place}.{name}"):
                return found
        return None


@dataclass
class _File:
    path: str
    text: str
    data: bytes
    root: "tree_sitter.Node"
    scope: dict[str, str] = field(default_factory=dict)
    """Name -> id of a symbol, or path of a module."""
    bodies: dict[str, "tree_sitter.Node"] = field(default_factory=dict)

    def at(self, node: "tree_sitter.Node") -> Span:
        """A node's characters."""
        return self._place(node.start_byte), self._place(node.end_byte)

    def _place(self, byte: int) -> int:
        return byte if len(self.data) == len(self.text) else len(self.data[:byte].decode())

    def said(self, node: "tree_sitter.Node | None") -> str:
        """A node's text."""
        return "" if node is None else self.data[node.start_byte : node.end_byte].decode()


def build(files: Mapping[str, str], *, package: str = "") -> Graph:
    """The graph of the Python files of a repository, path (with slashes, ending in ``.py``) -> text.

    `package` is the name by which the files import one another absolutely, if their paths do not begin with it.
    A file that does not parse is in the graph without definitions. Raises MissingGrammar without the wheel.
    """
    parser = grammar("python")
    read: dict[str, _File] = {}
    for path in sorted(files):
        data = files[path].encode()
        read[path] = _File(path=path, text=files[path], data=data, root=parser.parse(data).root_node)
    symbols: dict[str, Symbol] = {}
    constants: list[Constant] = []
    for file in read.values():
        if file.root.has_error:
            continue
        for symbol, body in _definitions(file):
            symbols.setdefault(symbol.id, symbol)
            file.bodies.setdefault(symbol.id, body)
        file.scope = {s.name: s.id for s in symbols.values() if s.path == file.path and not s.owner}
        constants += _constants(file)
    spans: dict[tuple[str, str], Span] = {}
    for file in read.values():
        for name, target, statement in _imported(file, read, package):
            meant = target if name == "" else f"{target}::{name}"
            path = target
            for alias in statement[1]:
                if meant in symbols or meant in read:
                    file.scope.setdefault(alias, meant)
            if path != file.path:
                spans.setdefault((file.path, path), statement[0])
    parents = {
        s.id: tuple(_meant(read[s.path], base, symbols) for base in s.bases if base != "object")
        for s in symbols.values()
        if s.kind == "class"
    }
    found = Graph(
        files={path: file.text for path, file in read.items()},
        symbols=symbols,
        constants=tuple(constants),
        calls={},
        imports={path: tuple(sorted(t for f, t in spans if f == path)) for path in read},
        parents={
            name: above
            for name, above in parents.items()
            if all(b in symbols and symbols[b].kind == "class" for b in above)
        },
        import_spans=spans,
    )
    calls = {s.id: tuple(_calls(read[s.path], s, found)) for s in symbols.values() if s.kind != "class"}
    return Graph(**{**{name: getattr(found, name) for name in found.__dataclass_fields__}, "calls": calls})


def _inner(node: "tree_sitter.Node") -> "tree_sitter.Node":
    """What a decorator stands before."""
    return node.child_by_field_name("definition") or node if node.type == "decorated_definition" else node


def _definitions(file: _File) -> Iterator[tuple[Symbol, "tree_sitter.Node"]]:
    for child in map(_inner, file.root.named_children):
        if child.type == "function_definition":
            yield _symbol(file, child, "")
        elif child.type == "class_definition":
            symbol, body = _symbol(file, child, "")
            yield symbol, body
            for inner in map(_inner, body.named_children):
                if inner.type == "function_definition":
                    yield _symbol(file, inner, symbol.name)


def _symbol(file: _File, node: "tree_sitter.Node", owner: str) -> tuple[Symbol, "tree_sitter.Node"]:
    name, body = file.said(node.child_by_field_name("name")), node.child_by_field_name("body")
    assert body is not None, "a definition that parses has a body"
    is_class = node.type == "class_definition"
    listed = node.child_by_field_name("superclasses" if is_class else "parameters")
    entries = [e for e in listed.named_children if e.type != "keyword_argument"] if listed else []
    first = body.named_children[0] if body.named_children else None
    doc, doc_span = "", (0, 0)
    if first is not None and first.type == "expression_statement":
        text = first.named_children[0]
        if text.type == "string":
            said = "".join(file.said(part) for part in text.named_children if part.type == "string_content")
            doc, doc_span = said.strip().split("\n")[0].strip(), file.at(text)
    label = f"{owner}.{name}" if owner else name
    parameters = () if is_class else tuple(filter(None, (_parameter(file, e) for e in entries)))
    return (
        Symbol(
            id=f"{file.path}::{label}",
            kind="class" if is_class else "method" if owner else "function",
            name=name,
            owner=owner,
            path=file.path,
            head=(file.at(node)[0], file.at(body)[0]),
            parameters=parameters[1:] if owner and not _is_static(file, node) else parameters,
            bases=tuple(file.said(e) for e in entries) if is_class else (),
            doc=doc,
            doc_span=doc_span,
        ),
        body,
    )


def _is_static(file: _File, node: "tree_sitter.Node") -> bool:
    around = node.parent
    return around is not None and any(
        child.type == "decorator" and file.said(child) == "@staticmethod" for child in around.children
    )


def _parameter(file: _File, node: "tree_sitter.Node") -> str:
    while node.type not in ("identifier",):
        inner = node.child_by_field_name("name") or next(iter(node.named_children), None)
        if inner is None:
            return ""  # a bare star
        node = inner
    return file.said(node)


def _constants(file: _File) -> Iterator[Constant]:
    found: dict[str, list[Constant]] = {}
    for child in file.root.named_children:
        node = child.named_children[0] if child.type == "expression_statement" else None
        if node is None or node.type != "assignment":
            continue
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None or left.type != "identifier":
            continue
        name = file.said(left)
        constant = Constant(name=name, value=file.said(right), path=file.path, span=file.at(node))
        literal = right.type in ("integer", "float", "string") and "\n" not in constant.value
        found.setdefault(name, []).append(constant)
        if not literal:
            found[name].append(constant)  # twice: it is no constant
    yield from (all_of[0] for all_of in found.values() if len(all_of) == 1)


def _walk(node: "tree_sitter.Node") -> Iterator["tree_sitter.Node"]:
    yield node
    for child in node.named_children:
        yield from _walk(child)


def _imported(
    file: _File, read: Mapping[str, _File], package: str
) -> Iterator[tuple[str, str, tuple[Span, list[str]]]]:
    """Name (empty: the module itself), path of the file, and the statement's place with what it is called here."""
    for node in _walk(file.root):
        if node.type == "import_statement":
            for entry in node.named_children:
                alias = entry.child_by_field_name("alias") if entry.type == "aliased_import" else None
                module = file.said(entry.child_by_field_name("name") if alias else entry)
                if target := _module(module, file.path, read, package):
                    yield "", target, (file.at(node), [file.said(alias) if alias else module])
        elif node.type == "import_from_statement":
            module = file.said(node.child_by_field_name("module_name"))
            for entry in node.children_by_field_name("name"):
                alias = entry.child_by_field_name("alias") if entry.type == "aliased_import" else None
                name = file.said(entry.child_by_field_name("name") if alias else entry)
                called = [file.said(alias) if alias else name]
                joined = module + name if module.endswith(".") else f"{module}.{name}"
                if target := _module(joined, file.path, read, package):
                    yield "", target, (file.at(node), called)
                elif target := _module(module, file.path, read, package):
                    yield name, target, (file.at(node), called)


def _module(name: str, path: str, read: Mapping[str, _File], package: str) -> str | None:
    """Path of a module of the repository."""
    rest = name.lstrip(".")
    if dots := len(name) - len(rest):
        parents = PurePosixPath(path).parents
        if dots > len(parents):
            return None
        base = parents[dots - 1]
        places = [base.joinpath(*rest.split(".")) if rest else base]
    else:
        places = [PurePosixPath(*rest.split("."))]
        if package and (rest == package or rest.startswith(f"{package}.")):
            places.append(PurePosixPath(*rest.split(".")[1:]))
    for place in places:
        for found in (f"{place}.py", str(place / "__init__.py")):
            if found in read:
                return found
    return None


def _meant(file: _File, written: str, symbols: Mapping[str, Symbol]) -> str:
    """Id of what a name or ``module.name`` means in a file; empty where it is not known."""
    if written in file.scope and file.scope[written] in symbols:
        return file.scope[written]
    module, _, name = written.rpartition(".")
    found = f"{file.scope.get(module, '')}::{name}"
    return found if module and found in symbols else ""


def _calls(file: _File, symbol: Symbol, graph: Graph) -> Iterator[Call]:
    found, own = [], _bound(file, file.bodies[symbol.id])
    for node in _walk(file.bodies[symbol.id]):
        function = node.child_by_field_name("function") if node.type == "call" else None
        if function is None or function.type not in ("identifier", "attribute"):
            continue
        written = file.said(function)
        if symbol.owner and written.startswith("self.") and written.count(".") == 1:
            method = graph.method(f"{symbol.path}::{symbol.owner}", written.removeprefix("self."))
            callee = method.id if method else ""
        else:
            callee = "" if written.partition(".")[0] in own else _meant(file, written, graph.symbols)
        if callee:
            found.append(Call(callee=callee, span=file.at(function)))
    yield from sorted(found, key=lambda call: call.span)


def _bound(file: _File, body: "tree_sitter.Node") -> frozenset[str]:
    """Names that a function binds itself: in it they do not mean what they mean in the module."""
    import tree_sitter

    around = body.parent
    assert around is not None, "a body is that of a definition"
    name = around.child_by_field_name("name")
    captures = tree_sitter.QueryCursor(grammar("python").query("names")).captures(around)
    return frozenset(file.said(node) for node in captures.get("bound", ()) if node != name)
