"""The languages that are known: their words, their files and their tree-sitter grammars."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tree_sitter


class MissingGrammar(ImportError):
    """A language's grammar is needed, and its wheel is not installed."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """A language that has a lexer of its own."""

    name: str
    wheel: str
    """Distribution that its grammar comes in, one version of which `pyproject.toml` pins."""
    entry: str = "language"
    """Function of the wheel's module that returns the grammar."""
    suffixes: tuple[str, ...]
    """Ends of the names of its files."""


LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        language.name: language
        for language in (
            Language(name="python", wheel="tree-sitter-python", suffixes=(".py", ".pyi")),
            Language(
                name="javascript", wheel="tree-sitter-javascript", suffixes=(".js", ".mjs", ".cjs", ".jsx")
            ),
            Language(
                name="typescript",
                wheel="tree-sitter-typescript",
                entry="language_typescript",
                suffixes=(".ts", ".mts", ".cts"),
            ),
            Language(name="java", wheel="tree-sitter-java", suffixes=(".java",)),
            Language(name="go", wheel="tree-sitter-go", suffixes=(".go",)),
            Language(name="rust", wheel="tree-sitter-rust", suffixes=(".rs",)),
            Language(name="c", wheel="tree-sitter-c", suffixes=(".c", ".h")),
            Language(
                name="cpp",
                wheel="tree-sitter-cpp",
                suffixes=(".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx"),
            ),
        )
    }
)
"""By name. A text in any other language is read by the generic lexer."""


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """A language's tree-sitter grammar. It finds whole definitions in files; it reads no completions."""

    name: str
    wheel: str
    version: str
    """Version of the wheel."""
    language: "tree_sitter.Language"

    def parse(self, text: bytes) -> "tree_sitter.Tree":
        """Parse `text`. Total: broken code gives a tree with errors. Each call has a parser of its own."""
        import tree_sitter

        return tree_sitter.Parser(self.language).parse(text)

    @cache  # noqa: B019  grammars live as long as the process
    def query(self, name: str) -> "tree_sitter.Query":
        """Return the query in `grammars/<language>/<name>.scm`, with those it inherits from."""
        import tree_sitter

        return tree_sitter.Query(self.language, _patterns(self.name, name))


_INHERITS = "; inherits: "


def _patterns(folder: str, name: str) -> str:
    """Return the text of a query file, behind that of the folder that its first line names, if it names one."""
    data = resources.files("probes") / "grammars" / folder / f"{name}.scm"
    text = data.read_text(encoding="utf-8")
    first, _, _ = text.partition("\n")
    if not first.startswith(_INHERITS):
        return text
    return _patterns(first.removeprefix(_INHERITS), name) + text


@cache
def grammar(name: str) -> Grammar:
    """Return the grammar of one of `LANGUAGES`.

    Raises MissingGrammar if its wheel is not installed, and KeyError for a language that is not known.
    """
    from importlib import metadata

    import tree_sitter

    language = LANGUAGES[name]
    try:
        module = import_module(language.wheel.replace("-", "_"))
    except ModuleNotFoundError:
        raise MissingGrammar(
            f"expected the grammar of {name} ({language.wheel}), which is not installed; "
            "run: pip install 'memaudit[languages]'"
        ) from None
    return Grammar(
        name=name,
        wheel=language.wheel,
        version=metadata.version(language.wheel),
        language=tree_sitter.Language(getattr(module, language.entry)()),
    )


@cache
def words(name: str) -> Mapping[str, frozenset[bytes]]:
    """Return the groups of words in `grammars/<language>/words.toml`, such as `keywords` and `builtins`."""
    data = resources.files("probes") / "grammars" / name / "words.toml"
    groups = tomllib.loads(data.read_text(encoding="utf-8"))
    return MappingProxyType(
        {kind: frozenset(word.encode() for word in group) for kind, group in groups.items()}
    )


def lexer(language: str) -> str:
    """Return which lexer reads a language: its own, by the language's name, or `generic`."""
    return language if language in LANGUAGES else "generic"


def language_of(file_name: str) -> str | None:
    """Return the language of a file by the end of its name; None if it is none of `LANGUAGES`."""
    suffix = PurePath(file_name).suffix.lower()
    return next((name for name, language in LANGUAGES.items() if suffix in language.suffixes), None)


def versions() -> dict[str, str]:
    """Return what to record with a run: the versions of tree-sitter and, with its ABI, of each grammar there is."""
    from importlib import metadata

    found = {"tree-sitter": metadata.version("tree-sitter")}
    for name in LANGUAGES:
        try:
            present = grammar(name)
        except MissingGrammar:
            continue
        found[present.wheel] = f"{present.version} (abi {present.language.abi_version})"
    return found
