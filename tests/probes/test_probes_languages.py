import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from probes import LANGUAGES, MissingGrammar, grammar, language_of, languages, lexer, versions
from probes.languages import words

KNOWN = ("python", "javascript", "typescript", "java", "go", "rust", "c", "cpp")


def test_eight_languages_are_known():
    assert tuple(LANGUAGES) == KNOWN


@pytest.mark.parametrize("name", KNOWN)
def test_a_grammar_is_loaded_once_and_is_of_its_wheel(name):
    found = grammar(name)
    assert found is grammar(name)
    assert found.version == metadata.version(found.wheel)
    assert 13 <= found.language.abi_version <= 15


@pytest.mark.parametrize("name", KNOWN)
def test_each_wheel_is_pinned_to_the_version_that_is_installed(name):
    wheel = LANGUAGES[name].wheel
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    lines = project["dependencies"] if name == "python" else project["optional-dependencies"]["languages"]
    assert [line for line in lines if re.match(rf"{wheel}\b", line)] == [
        f"{wheel}=={metadata.version(wheel)}"
    ]


@pytest.mark.parametrize("name", KNOWN)
def test_keywords_and_operators_are_tokens_of_the_grammar(name):
    language = grammar(name).language
    kinds = {language.node_kind_for_id(number) or "" for number in range(language.node_kind_count)}
    # The grammars have no names for what they read by other means, or that is no token of theirs alone.
    of_grammar = {text.encode() for text in kinds}
    operators = {operator for operator in words(name)["operators"] if operator not in of_grammar}
    assert operators <= {b"<>", b"#", b"$", b"\\", b"~", b"//", b"%", b"?", b"##", b"@", b"...", b"'", b"?."}


def test_a_grammar_parses_broken_code_too():
    python = grammar("python")
    assert python.parse(b"def f(:\n").root_node.has_error
    assert not python.parse(b"def f(): pass\n").root_node.has_error


def test_the_words_are_those_of_the_running_python():
    import builtins
    import keyword

    known = words("python")
    assert {word.encode() for word in keyword.kwlist} == known["keywords"]
    missing = {name for name in dir(builtins) if not name.startswith("_")} - {
        b.decode() for b in known["builtins"]
    }
    site = {"exit", "quit", "copyright", "credits", "license", "help"}
    assert {name for name in missing if name not in keyword.kwlist and name not in site} == set()
    assert known["soft_keywords"] == {b"match", b"case"}


def test_a_missing_wheel_is_one_clear_line(monkeypatch):
    def nothing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(languages, "import_module", nothing)
    grammar.cache_clear()
    try:
        with pytest.raises(MissingGrammar, match=r"tree-sitter-rust.*pip install 'memaudit\[languages\]'"):
            grammar("rust")
        assert set(versions()) == {"tree-sitter"}
    finally:
        grammar.cache_clear()


def test_any_other_language_has_the_generic_lexer():
    assert lexer("rust") == "rust"
    assert lexer("cobol") == lexer("") == "generic"
    with pytest.raises(KeyError):
        grammar("cobol")


@pytest.mark.parametrize(
    ("file", "language"),
    [
        ("a/b.py", "python"),
        ("x.test.mjs", "javascript"),
        ("X.TS", "typescript"),
        ("a.h", "c"),
        ("a.hpp", "cpp"),
        ("a.rs", "rust"),
        ("Makefile", None),
        ("a.cob", None),
        (".py", None),
    ],
)
def test_a_file_name_tells_the_language(file, language):
    assert language_of(file) == language


def test_versions_name_the_parser_and_each_grammar():
    found = versions()
    assert found["tree-sitter"] == metadata.version("tree-sitter")
    assert set(found) == {"tree-sitter"} | {language.wheel for language in LANGUAGES.values()}
    assert re.fullmatch(r"\d+\.\d+\.\d+ \(abi \d+\)", found["tree-sitter-python"])


def test_the_wing_loads_neither_arrays_nor_a_parser():
    # The parser is loaded by who asks for a grammar.
    heavy = {"numpy", "jax", "torch", "tree_sitter", "hypothesis"}
    check = f"import sys, probes; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", check], capture_output=True, check=True, text=True).stdout
    assert output.strip() == "[]"


def test_the_wing_is_loaded_fast():
    check = "import time; start = time.process_time(); import probes; print(time.process_time() - start)"
    runs = [
        float(
            subprocess.run([sys.executable, "-c", check], capture_output=True, check=True, text=True).stdout
        )
        for _ in range(3)
    ]
    assert min(runs) < 0.4
