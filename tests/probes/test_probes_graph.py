"""A repository's graph: what Python's own parser says, and nothing that is not sure."""

import ast

from probes_repository import repository

from probes.graph import build

FILES = {
    "pkg/__init__.py": "",
    "pkg/base.py": 'LIMIT = 7\nLIMIT_TWICE = 1\nLIMIT_TWICE = 2\n\nclass Base:\n    """The base."""\n\n'
    "    def run(self, x, *, y=1):\n        return self.stop()\n\n    def stop(self):\n        return 1\n",
    "pkg/use.py": "from .base import Base as B\nfrom pkg import base\nimport os\n\n\nclass Child(B):\n"
    "    def stop(self):\n        return helper(base.Base())\n\n\n"
    "def helper(a):\n    os.remove(a)\n    return Child(a)\n",
    "pkg/odd.py": "class Diamond(Unknown):\n    def run(self): pass\n",
    "pkg/broken.py": "def f(:\n",
    "pkg/wide.py": "# é\nÄ = 'ü'\ndef wide(ö):\n    return ö\n",
}


def test_names_are_followed_inside_the_repository_and_not_outside() -> None:
    graph = build(FILES)
    assert graph.imports["pkg/use.py"] == ("pkg/base.py",)
    called = {name: [c.callee for c in calls] for name, calls in graph.calls.items() if calls}
    assert called == {
        "pkg/base.py::Base.run": ["pkg/base.py::Base.stop"],
        "pkg/use.py::Child.stop": ["pkg/use.py::helper", "pkg/base.py::Base"],
        "pkg/use.py::helper": ["pkg/use.py::Child"],
    }
    assert graph.symbols["pkg/base.py::Base.run"].parameters == ("x", "y")
    assert [(c.name, c.value) for c in graph.constants] == [("LIMIT", "7"), ("Ä", "'ü'")]


def test_a_method_is_looked_for_as_python_does() -> None:
    graph = build(FILES)
    stop, run = (graph.method("pkg/use.py::Child", name) for name in ("stop", "run"))
    assert stop is not None
    assert stop.owner == "Child"
    assert run is not None
    assert run.owner == "Base"
    assert graph.method("pkg/odd.py::Diamond", "run") is None, "its base is not known"


def test_spans_are_characters() -> None:
    graph = build(FILES)
    start, end = graph.symbols["pkg/wide.py::wide"].head
    assert graph.files["pkg/wide.py"][start:end].strip() == "def wide(ö):"


def test_it_does_not_depend_on_the_order_of_files() -> None:
    assert build(dict(reversed(FILES.items()))) == build(FILES)


def test_definitions_are_those_that_python_parses() -> None:
    files = repository()
    graph = build(files)
    found = set()
    for path, text in files.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(f"{path}::{node.name}")
            if isinstance(node, ast.ClassDef):
                found |= {
                    f"{path}::{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef)
                }
    assert set(graph.symbols) == found


def test_a_package_may_import_itself_by_its_name() -> None:
    graph = build({"a.py": "from pkg.b import f\n", "b.py": "def f(): pass\n"}, package="pkg")
    assert graph.imports == {"a.py": ("b.py",), "b.py": ()}


def test_what_a_function_binds_is_not_what_the_module_calls_so() -> None:
    text = (
        "def rule(f):\n    return rule\n\ndef other(): pass\n\n"
        "def use(data, other):\n    other()\n    if (rule := data): rule(1)\n\n"
        "def again(n):\n    for other in n: other()\n    return again(n), [rule() for rule in n], rule(2)\n\n"
        "def plain():\n    other()\n    rule(3)\n"
    )
    graph = build({"m.py": text})
    called = {name: [c.callee for c in calls] for name, calls in graph.calls.items()}
    # Where one name means both, the call is left out: it is not sure.
    assert called == {
        "m.py::rule": [],
        "m.py::other": [],
        "m.py::use": [],
        "m.py::again": ["m.py::again"],
        "m.py::plain": ["m.py::other", "m.py::rule"],
    }


def test_definitions_are_read_as_python_reads_them() -> None:
    text = (
        'class A(Base, metaclass=Meta):\n    r"""Raw.\n\n    More."""\n\n    @staticmethod\n    def s(a, b): pass\n\n'
        "    @classmethod\n    def c(cls, d): 'One.'\n"
    )
    symbols = build({"m.py": text}).symbols
    assert symbols["m.py::A"].bases == ("Base",)
    assert symbols["m.py::A"].doc == "Raw."
    assert symbols["m.py::A.s"].parameters == ("a", "b")
    assert symbols["m.py::A.c"].parameters == ("d",)
    assert symbols["m.py::A.c"].doc == "One."
