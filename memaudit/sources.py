"""Finds the code files a corpus is harvested from: the standard library, a directory or a git working tree."""

import fnmatch
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import probes
from memaudit.errors import BadInput

_TEST_DIRECTORIES = frozenset(("test", "tests", "idle_test"))
_LEFT_OUT_DIRECTORIES = frozenset(("__pycache__", "node_modules"))
# A git hook runs with these set. They would point git at another repository than the one asked for.
_GIT_VARIABLES = frozenset(("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"))
# What a line of a header begins with in C++ and not in C.
_CPP_LINE = re.compile(
    rb"^[ \t]*+(?:(?:inline[ \t]+)?namespace\b|template[ \t]*<|(?:public|private|protected)[ \t]*:"
    rb"|using[ \t]+\w|class[ \t]+\w)",
    re.MULTILINE,
)

FILES = "code files (" + ", ".join(f"*{language.suffixes[0]}" for language in probes.LANGUAGES.values()) + ")"
"""What a directory is expected to hold, for messages."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file to harvest.

    Attributes:
        name: Path relative to the corpus root, with forward slashes, made printable.
        path: The path to open. It may hold anything that a file name may hold.
        language: What its name says, one of `probes.LANGUAGES`.
    """

    name: str
    path: str
    language: str


def printable(text: str) -> str:
    """Escapes what is not printable, and the backslash, so that different texts stay different.

    A byte of a file name that is not UTF-8 (which Python keeps as a lone surrogate) becomes ``\\xNN``.
    """
    return text if text.isprintable() and "\\" not in text else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return named or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")


def stdlib_files(exclude: Sequence[str]) -> list[SourceFile]:
    """Lists the standard library of the running interpreter, without its test packages.

    Only what `sys.stdlib_module_names` names is taken. This leaves out site-packages and whatever else an
    installation adds: the build configuration (``config-*``, ``_sysconfigdata*``, which hold paths of the
    machine that built the interpreter), ``sitecustomize`` and the like.

    Raises:
        BadInput: The library lies nowhere in the file system as ``*.py``, or something cannot be read.
    """

    def skips(name: str, entry: os.DirEntry[str]) -> bool:
        if "/" not in name and name.removesuffix(".py") not in sys.stdlib_module_names:
            return True
        return entry.name in _TEST_DIRECTORIES or entry.name == "__pycache__" or matches(name, exclude)

    root = sysconfig.get_paths()["stdlib"]
    if not os.path.isdir(root):
        raise BadInput(
            f"expected the standard library as files in {printable(root)}, got no such directory; "
            'set corpus.source = "directory" and corpus.path'
        )
    return [file for file in _walk(root, skips) if file.name.endswith(".py")]


def package_files(name: str, exclude: Sequence[str]) -> tuple[str, list[SourceFile]]:
    """Lists the Python files of an installed package without its tests; with it one line that says which it is.

    The package is looked for and not imported.

    Args:
        name: What it is imported by, without dots.
        exclude: Patterns of relative paths to leave out.

    Raises:
        BadInput: There is no such package, or it does not lie in the file system.
    """
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    places = list(found.submodule_search_locations or ()) if found else []
    if not places or not os.path.isdir(places[0]):
        raise BadInput(
            f'expected corpus.path to be the name of an installed package, such as "numpy", got "{printable(name)}"; '
            "install it into the environment that memaudit is in, or set corpus.source"
        )

    def skips(path: str, entry: os.DirEntry[str]) -> bool:
        return entry.name in _TEST_DIRECTORIES or entry.name == "__pycache__" or matches(path, exclude)

    about = f"package {name}"
    if distribution := importlib.metadata.packages_distributions().get(name):
        about += f" {importlib.metadata.version(distribution[0])}"
    return about, [file for file in _walk(places[0], skips) if file.name.endswith(".py")]


def directory_files(root: str, exclude: Sequence[str]) -> list[SourceFile]:
    """Lists every file below `root` in a language of `probes.LANGUAGES`; `root` may itself be a symbolic link.

    Hidden directories, ``__pycache__``, ``node_modules``, virtual environments (directories that hold
    ``pyvenv.cfg``), symbolic links and what `exclude` names are left out.

    Raises:
        BadInput: A directory cannot be read.
    """

    def skips(name: str, entry: os.DirEntry[str]) -> bool:
        if matches(name, exclude):
            return True
        return entry.is_dir(follow_symlinks=False) and (
            entry.name.startswith(".")
            or entry.name in _LEFT_OUT_DIRECTORIES
            or os.path.lexists(os.path.join(entry.path, "pyvenv.cfg"))
        )

    return _walk(root, skips)


def git_files(root: str, exclude: Sequence[str]) -> list[SourceFile]:
    """Lists the files at or below `root` that `directory_files` would take, git tracks or would not ignore, and exist.

    Submodules are not entered, symbolic links not followed.

    Raises:
        BadInput: There is no git command, or `root` lies in no working tree.
    """
    # Reading a repository must not run what its configuration names as a file system monitor.
    command = ["git", "-c", "core.fsmonitor=false", "-C", root]
    command += ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    environment = {key: value for key, value in os.environ.items() if key not in _GIT_VARIABLES}
    instead = 'or set corpus.source = "directory" to take all code files below corpus.path'
    try:
        done = subprocess.run(
            command,
            env=environment | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise BadInput(
            f'expected the git command for corpus.source = "git", got: {error.strerror}; install git, {instead}'
        ) from None
    if done.returncode:
        complaint = os.fsdecode(done.stderr).strip().partition("\n")[0] or f"exit code {done.returncode}"
        raise BadInput(
            f"{printable(root)}: expected a git working tree, got: {printable(complaint)}; "
            f"set corpus.path to one, {instead}"
        )
    base = os.path.realpath(root)
    files: dict[str, SourceFile] = {}
    for relative in map(os.fsdecode, done.stdout.split(b"\0")):
        path = os.path.join(base, relative)
        language = probes.language_of(relative)
        # A tracked directory may since have been replaced by a link that leads out of the working tree.
        if language and os.path.isfile(path) and os.path.realpath(path) == path:
            name = printable(relative)
            if not matches(name, exclude):
                files[name] = SourceFile(name=name, path=path, language=language)
    return [files[name] for name in sorted(files)]


def read(file: SourceFile, *, limit: int) -> bytes:
    """Returns at most the first `limit` bytes of a file.

    Raises:
        BadInput: It cannot be read.
    """
    try:
        with open(file.path, "rb") as stream:
            return stream.read(limit)
    except OSError as error:
        raise _unreadable(file.path, file.name, error) from None


def language_within(file: SourceFile, data: bytes) -> str:
    """Returns the language of a file that was read: a ``*.h`` file is C++ if a line begins as only C++ does."""
    if file.language == "c" and file.name.lower().endswith(".h") and _CPP_LINE.search(data):
        return "cpp"
    return file.language


def exclusion(name: str) -> str:
    """Returns the pattern for `corpus.exclude` that matches exactly this name."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Tells whether a pattern (`fnmatch`) matches a path or a directory above it."""
    parts = name.split("/")
    paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(fnmatch.fnmatchcase(path, pattern.rstrip("/")) for pattern in patterns for path in paths)


def _walk(root: str, skips: Callable[[str, os.DirEntry[str]], bool]) -> list[SourceFile]:
    files: list[SourceFile] = []
    pending = [(root, "")]
    while pending:
        directory, name = pending.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    inner = f"{name}/{printable(entry.name)}" if name else printable(entry.name)
                    if skips(inner, entry):
                        continue
                    # A symbolic link is neither a directory nor a file here.
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, inner))
                    elif (language := probes.language_of(entry.name)) and entry.is_file(
                        follow_symlinks=False
                    ):
                        files.append(SourceFile(name=inner, path=entry.path, language=language))
        except OSError as error:
            raise _unreadable(directory, name, error) from None
    return sorted(files, key=lambda file: file.name)


def _unreadable(path: str, name: str, error: OSError) -> BadInput:
    remedy = f', or add "{exclusion(name)}" to corpus.exclude' if name else ""
    return BadInput(
        f"{printable(path)}: expected to read it, got: {error.strerror}; make it readable{remedy}"
    )
