import re
import subprocess
import sys
from importlib import metadata

from probes import LANGUAGES, grammar, versions


def test_a_grammar_is_loaded_once_and_knows_the_words():
    python = grammar("python")
    assert python is grammar("python")
    assert python is not None
    assert python.version == metadata.version("tree-sitter-python")
    assert {b"lambda", b"None"} <= python.keywords
    assert {b"print", b"ValueError"} <= python.builtins
    assert python.soft_keywords == {b"match", b"case"}


def test_the_words_are_those_of_the_running_python():
    import builtins
    import keyword

    python = grammar("python")
    assert python is not None
    assert {word.encode() for word in keyword.kwlist} == python.keywords
    missing = {name for name in dir(builtins) if not name.startswith("_")} - {
        b.decode() for b in python.builtins
    }
    site = {"exit", "quit", "copyright", "credits", "license", "help"}
    assert {name for name in missing if name not in keyword.kwlist and name not in site} == set()


def test_a_grammar_parses_broken_code_too():
    python = grammar("python")
    assert python is not None
    assert python.parse(b"def f(:\n").root_node.has_error
    assert not python.parse(b"def f(): pass\n").root_node.has_error


def test_an_unknown_language_has_no_grammar():
    assert "cobol" not in LANGUAGES
    assert grammar("cobol") is None


def test_versions_name_the_parser_and_each_grammar():
    found = versions()
    assert found["tree-sitter"] == metadata.version("tree-sitter")
    assert re.fullmatch(r"\d+\.\d+\.\d+ \(abi \d+\)", found["tree-sitter-python"])


def test_the_wing_loads_no_array_library():
    check = "import sys, probes; print(sorted({'numpy', 'jax', 'torch', 'flax'} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", check], capture_output=True, check=True, text=True).stdout
    assert output.strip() == "[]"
