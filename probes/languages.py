"""The languages that have a grammar, and the words that are theirs."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata, resources
from types import MappingProxyType

import tree_sitter

LANGUAGES: Mapping[str, str] = MappingProxyType({"python": "tree_sitter_python"})
"""Languages that are known -> the module of the grammar's wheel. All others get the generic lexer."""


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """A language's grammar, and the words of the language that no program renames."""

    name: str
    wheel: str
    """Distribution the grammar comes in."""
    version: str
    """Version of that distribution."""
    language: tree_sitter.Language
    keywords: frozenset[bytes]
    soft_keywords: frozenset[bytes]
    """Keywords only at the start of a statement; elsewhere names."""
    builtins: frozenset[bytes]

    def parse(self, text: bytes) -> tree_sitter.Tree:
        """Parse `text`. Total: broken code gives a tree with errors. Each call has a parser of its own."""
        return tree_sitter.Parser(self.language).parse(text)


@cache
def grammar(name: str) -> Grammar | None:
    """Return the grammar of the language, or None if the language has none and gets the generic lexer.

    A registered grammar whose wheel is missing raises ImportError: no silent fall-back.
    """
    if name not in LANGUAGES:
        return None
    module = LANGUAGES[name]
    wheel = module.replace("_", "-")
    data = resources.files("probes") / "grammars" / name / "words.toml"
    words = {
        kind: frozenset(word.encode() for word in group)
        for kind, group in tomllib.loads(data.read_text(encoding="utf-8")).items()
    }
    return Grammar(
        name=name,
        wheel=wheel,
        version=metadata.version(wheel),
        language=tree_sitter.Language(import_module(module).language()),
        keywords=words["keywords"],
        soft_keywords=words["soft_keywords"],
        builtins=words["builtins"],
    )


def versions() -> dict[str, str]:
    """Return what to record with a run: the version of tree-sitter and, with its ABI, of each grammar's wheel."""
    grammars = [found for found in map(grammar, LANGUAGES) if found is not None]
    return {"tree-sitter": metadata.version("tree-sitter")} | {
        found.wheel: f"{found.version} (abi {found.language.abi_version})" for found in grammars
    }
