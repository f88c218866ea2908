"""Corpora from the standard library, directories and git working trees."""

import ast
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from itertools import pairwise

import pytest

import probes
from memaudit import sources
from memaudit.corpus import load, load_file
from memaudit.errors import BadInput
from memaudit.sources import printable

CODE = "def {}(number):\n    return number + 1\n"
JAVASCRIPT = b"function f (a) {\n  return a + 1\n}\n"


def plant(root, files):
    """Writes files below a directory: name -> name of the function inside, or the bytes."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else CODE.format(content).encode())
    return str(root)


def names(source, path, **settings):
    return [unit.source for unit in load(source, path, smallest=1, **settings).units]


def complaint(source, path, **settings):
    with pytest.raises(BadInput) as caught:
        load(source, path, **{"smallest": 1} | settings)
    message = str(caught.value)
    assert message.isprintable()
    return message


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty git repository, untouched by the settings of the machine."""
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    subprocess.run(["git", "init", tmp_path / "repository"], check=True, capture_output=True)
    return tmp_path / "repository"


# The standard library


@pytest.fixture(scope="module")
def stdlib():
    start = time.process_time()
    loaded = load("stdlib", None)
    return loaded, time.process_time() - start


def test_the_standard_library_takes_seconds(stdlib):
    loaded, seconds = stdlib
    assert seconds < 30  # two on an idle machine
    assert len(loaded.units) > 5_000
    assert {unit.kind for unit in loaded.units} == {"harvested"}
    assert {unit.language for unit in loaded.units} == {"python"}


def test_the_standard_library_is_described(stdlib):
    loaded, _ = stdlib
    version = ".".join(map(str, sys.version_info[:3]))
    files = len(sources.stdlib_files(()))
    assert loaded.description.startswith(f"Python {version} standard library: {files:,} files, ")
    assert f" {len(loaded.units):,} functions and classes" in loaded.description
    # Nothing in the library itself is left out: what is not UTF-8 is test data.
    assert "left out" not in loaded.description


def test_the_standard_library_comes_without_tests_and_additions(stdlib):
    loaded, _ = stdlib
    for unit in loaded.units:
        parts = unit.source.split("/")
        assert not {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"} & set(
            parts
        )
        assert parts[0].removesuffix(".py") in sys.stdlib_module_names
        assert "_sysconfigdata" not in unit.source
    assert {"ast.py", "json/decoder.py", "asyncio/events.py"} <= {unit.source for unit in loaded.units}


def test_units_of_the_standard_library_are_ordered_disjoint_and_different(stdlib):
    units = stdlib[0].units
    for before, after in pairwise(units):
        assert (before.source, before.first_line) < (after.source, after.first_line)
        assert before.source != after.source or before.last_line < after.first_line
    assert len({unit.text for unit in units}) == len(units)
    assert all(100 <= len(unit.text) <= 1500 for unit in units)


def test_line_ranges_of_the_standard_library_lead_back_to_the_text(stdlib):
    paths = {file.name: file.path for file in sources.stdlib_files(())}
    for unit in stdlib[0].units[::20]:
        with open(paths[unit.source], encoding="utf-8", newline="") as stream:
            lines = stream.read().split("\n")[unit.first_line - 1 : unit.last_line]
        own = unit.text.split("\n")
        assert own.pop() == ""
        assert [line.strip() for line in own] == [line.strip() for line in lines]
        assert len(ast.parse(unit.text).body) == 1


def test_two_loads_of_the_standard_library_are_equal(stdlib):
    assert load("stdlib", None) == stdlib[0]


def test_the_standard_library_can_be_cut_by_patterns(stdlib):
    all_but = load("stdlib", None, exclude=["[!j]*", "json/tool.py"])
    assert {unit.source for unit in all_but.units} == {
        "json/decoder.py",
        "json/encoder.py",
        "json/__init__.py",
    } & {unit.source for unit in stdlib[0].units}


def test_additions_to_an_installation_are_not_the_standard_library(tmp_path, monkeypatch):
    plant(
        tmp_path,
        {
            "json/tool.py": "kept",
            "abc.py": "also_kept",
            "ast.py": b"# caf\xe9\n",
            "json/stub.pyi": "stub",
            "json/script.js": JAVASCRIPT,
            "json/tests/a.py": "a",
            "unittest/test/b.py": "b",
            "idlelib/idle_test/c.py": "c",
            "test/support.py": "d",
            "site-packages/json.py": "e",
            "dist-packages/json.py": "f",
            "sitecustomize.py": "g",
            "_sysconfigdata__linux_x86_64.py": "h",
            "config-3.11-x86_64/python-config.py": "i",
            "ensurepip/_bundled/pip.whl": "j",
            "json/__pycache__/k.py": "k",
        },
    )
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    assert names("stdlib", None) == ["abc.py", "json/tool.py"]
    assert load("stdlib", None, smallest=1).description.endswith("1 file not UTF-8 left out")
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path / "python.zip")})
    assert "expected the standard library as files in" in complaint("stdlib", None)


def test_a_path_means_nothing_to_the_standard_library(tmp_path):
    message = complaint("stdlib", str(tmp_path))
    assert 'expected no corpus.path for corpus.source = "stdlib"' in message
    assert str(tmp_path) in message


# Directories


def test_a_directory_is_read_in_the_order_of_names(tmp_path):
    root = plant(
        tmp_path / "code", {"b.py": "b", "a/z.py": "z", "a.py": "a", "a/b/c.py": "c", "data.txt": "d"}
    )
    loaded = load("directory", root, smallest=1)
    assert [unit.source for unit in loaded.units] == ["a.py", "a/b/c.py", "a/z.py", "b.py"]
    assert [unit.text for unit in loaded.units] == [CODE.format(name) for name in "aczb"]
    assert loaded.description == "directory code: 4 files, 4 functions and classes"
    assert load("directory", root + "/", smallest=1) == loaded


def test_the_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    root = plant(tmp_path, {f"{name}.py": "same" if name in "ab" else name for name in "cbad"})
    loaded = load("directory", root, smallest=1)
    scandir = os.scandir

    class Backwards(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(
        "os.scandir", lambda path: Backwards(sorted(scandir(path), key=lambda e: e.name)[::-1])
    )
    assert load("directory", root, smallest=1) == loaded
    assert [unit.source for unit in loaded.units] == [
        "a.py",
        "c.py",
        "d.py",
    ]  # of equal texts the first is kept


def test_a_class_that_is_too_large_is_taken_by_its_methods(tmp_path):
    source = "class C:\n    def f(self):\n        return 1\n\n    def g(self):\n        return 2\n"
    root = plant(tmp_path, {"a.py": source.encode()})
    (whole,) = load("directory", root, smallest=1).units
    assert (whole.text, whole.first_line, whole.last_line) == (source, 1, 6)
    methods = load("directory", root, smallest=1, largest=len(source) - 1).units
    assert [(unit.text, unit.first_line, unit.last_line) for unit in methods] == [
        ("def f(self):\n    return 1\n", 2, 3),
        ("def g(self):\n    return 2\n", 5, 6),
    ]


def test_line_ends_and_byte_order_mark_make_no_difference(tmp_path):
    source = CODE.format("f").encode() + b"# \x0c\xc2\x85 one line\n\x0c\nclass C:\n\tx = 1\n"
    loaded = load("directory", plant(tmp_path / "a", {"a.py": source}), smallest=1)
    windows = b"\xef\xbb\xbf" + source.replace(b"\n", b"\r\n")
    assert load("directory", plant(tmp_path / "b", {"a.py": windows}), smallest=1).units == loaded.units
    assert [(unit.text, unit.first_line, unit.last_line) for unit in loaded.units] == [
        (CODE.format("f"), 1, 2),
        ("class C:\n\tx = 1\n", 5, 6),
    ]


def test_what_python_does_not_run_is_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("memaudit.corpus._LARGEST_FILE", 1000)
    root = plant(
        tmp_path / "code",
        {
            "a.py": "a",
            "exact.py": CODE.format("exact").encode().ljust(1000),
            "large.py": b"x = 1\n".ljust(1001),
            "nul.py": CODE.format("n").encode() + b"\0",
            "utf16.py": CODE.format("u").encode("utf-16-le"),
            "empty.py": b"",
            "python2.py": b"def f(:\n    print 1\n",
        },
    )
    loaded = load("directory", root, smallest=1)
    assert [unit.source for unit in loaded.units] == ["a.py", "exact.py"]
    assert loaded.description == (
        "directory code: 7 files, 2 functions and classes, 1 file over 2 MB left out, 2 files with NUL bytes left out"
    )


@pytest.mark.parametrize("source", ["directory", "git"])
def test_a_file_that_is_not_utf8_is_told_with_its_offset_and_how_to_exclude_it(repository, source):
    content = b"# -*- coding: latin-1 -*-\n" + CODE.format("f").encode() + b"# caf\xe9\n"
    name = "old [1]/caf\\\u2028.py"
    root = plant(repository, {name: content, "good.py": "good"})
    message = complaint(source, root)
    assert message.startswith(printable(f"{repository}/{name}") + ": expected UTF-8")
    assert f"got byte 0xe9 at offset {content.index(0xE9)};" in message
    pattern = message.partition('add "')[2].partition('" to corpus.exclude')[0]
    assert names(source, root, exclude=[pattern]) == ["good.py"]


def test_a_byte_order_mark_of_utf16_is_not_utf8(tmp_path):
    message = complaint("directory", plant(tmp_path, {"a.py": CODE.format("f").encode("utf-16")}))
    assert "got byte 0xff at offset 0;" in message


@pytest.mark.parametrize("name", ["", "closed", "closed/a.py"])
def test_what_cannot_be_read_is_bad_input(tmp_path, monkeypatch, name):
    root = plant(tmp_path, {"closed/a.py": "a", "b.py": "b"})
    closed = str(tmp_path / name)

    def refuse_one(function):
        def refuse(path, *arguments):
            if path == closed:
                raise PermissionError(13, "Permission denied")
            return function(path, *arguments)

        return refuse

    monkeypatch.setattr("os.scandir", refuse_one(os.scandir))
    monkeypatch.setattr("memaudit.sources.open", refuse_one(open), raising=False)
    message = complaint("directory", root)
    assert message.startswith(f"{closed}: expected to read it, got: Permission denied; make it readable")
    if name:
        assert f'or add "{name}" to corpus.exclude' in message
        assert names("directory", root, exclude=[name]) == ["b.py"]


# Languages

RUST = b"fn f() -> i32 {\n    1\n}\n"
FILES = {
    "a.py": "a",
    "b.js": JAVASCRIPT,
    "c.ts": b"function g(a: number): number {\n  return a;\n}\n",
    "d.java": b"class A {\n  void f() {}\n}\n",
    "e.go": b"func f() int {\n\treturn 1\n}\n",
    "f.rs": RUST,
    "g.c": b"int f(void) {\n  return 1;\n}\n",
    "h.h": b"int h(void) {\n  return 1;\n}\n",
    "i.h": b"class A {\n  int i() { return 1; }\n};\n",
    "j.cpp": b"int A::f() {\n  return 1;\n}\n",
}


@pytest.fixture
def without_rust(monkeypatch):
    """An installation without Rust's grammar."""
    monkeypatch.setitem(sys.modules, "tree_sitter_rust", None)
    probes.grammar.cache_clear()


@pytest.mark.parametrize("source", ["directory", "git"])
def test_files_of_eight_languages_are_harvested(repository, source):
    loaded = load(source, plant(repository, FILES), smallest=1)
    languages = ["python", "javascript", "typescript", "java", "go", "rust", "c", "c", "cpp", "cpp"]
    assert [unit.language for unit in loaded.units] == languages
    assert [unit.source for unit in loaded.units] == list(FILES)
    assert loaded.description == f"{source} repository: 10 files, 10 functions and classes"
    for unit in loaded.units[1:]:
        assert unit.text.encode() == FILES[unit.source]


def test_a_corpus_can_be_of_one_language(tmp_path):
    root = plant(tmp_path / "code", FILES)
    loaded = load("directory", root, smallest=1, language="cpp")
    assert [unit.source for unit in loaded.units] == ["i.h", "j.cpp"]
    assert loaded.description == "directory code: 2 files, 2 functions and classes"


def test_files_without_a_grammar_are_counted_and_the_rest_is_kept(tmp_path, without_rust):
    root = plant(tmp_path / "code", {**FILES, "k.rs": b"\xff", "l.js": b"\0"})
    loaded = load("directory", root, smallest=1)
    assert "rust" not in {unit.language for unit in loaded.units}
    assert loaded.description == (
        "directory code: 12 files, 9 functions and classes, 1 file with NUL bytes left out; "
        "2 files left out: no grammar for rust, pip install 'memaudit[languages]'"
    )


def test_nothing_but_files_without_a_grammar_is_bad_input(tmp_path, without_rust):
    message = complaint("directory", plant(tmp_path / "code", {"f.rs": RUST}))
    assert "1 file left out: no grammar for rust, pip install 'memaudit[languages]': expected" in message


def test_what_a_machine_wrote_is_left_out_and_counted(tmp_path):
    longest = b"// " + "é".encode() * 4_997
    root = plant(
        tmp_path / "code",
        {
            "a.js": JAVASCRIPT + longest,
            "a.min.js": JAVASCRIPT.replace(b"f", b"g") + longest + b"x",
            "b.py": CODE.format("f").encode() + b"#" * 6_000,
        },
    )
    loaded = load("directory", root, smallest=1)
    assert [unit.source for unit in loaded.units] == ["a.js", "b.py"]
    assert loaded.description.endswith(", 1 file with a line over 5,000 characters left out")


def test_one_file_can_be_loaded(tmp_path):
    path = plant(tmp_path, {"a.js": JAVASCRIPT, "b.txt": JAVASCRIPT, "i.h": FILES["i.h"]})
    loaded = load_file(f"{path}/a.js", smallest=1)
    assert [(unit.text, unit.source) for unit in loaded.units] == [(JAVASCRIPT.decode(), "a.js")]
    assert loaded.description == "a.js: 1 file, 1 function or class"
    assert load_file(f"{path}/b.txt", smallest=1, language="javascript").units[0].language == "javascript"
    assert load_file(f"{path}/i.h", smallest=1).units[0].language == "cpp"
    assert load_file(f"{path}/i.h", smallest=1, language="c").units[0].language == "c"
    with pytest.raises(
        BadInput, match=r"a\.js: 1 file: expected functions or classes of 99 to 100 characters"
    ):
        load_file(f"{path}/a.js", smallest=99, largest=100)
    with pytest.raises(BadInput, match=r"b\.txt: expected one of the code files .* say its language"):
        load_file(f"{path}/b.txt")
    with pytest.raises(BadInput, match="smallest"):
        load_file(f"{path}/a.js", smallest=3, largest=2)


def test_the_text_of_the_files_is_kept_on_request(tmp_path):
    root = plant(tmp_path, {"a.js": JAVASCRIPT.replace(b"\n", b"\r\n"), "b.js": b"x\n", "c.js": JAVASCRIPT})
    assert load("directory", root, smallest=1).files == {}
    assert load("directory", root, smallest=1, keep_files=True).files == {
        "a.js": JAVASCRIPT.decode(),
        "b.js": "x\n",
        "c.js": JAVASCRIPT.decode(),
    }


# Secrets

KEY = "ghp_" + "x9Yq7Lw3Zt5Rk1Vb8Nc2Md4Fg6Hj0PsQaUe1"


def test_secrets_are_detected_in_harvested_code_but_not_in_the_standard_library(tmp_path, stdlib):
    code = f'def f():\n    é = "{KEY}"\n'
    root = plant(tmp_path, {"a.py": code.encode()})
    (unit,) = load("directory", root, smallest=1).units
    assert [unit.text[span.start : span.end] for span in unit.secrets] == [KEY]
    assert unit.secrets[0].kind == "credential"
    assert load("directory", root, smallest=1, detect=False).units[0].secrets == ()
    assert not any(unit.secrets for unit in stdlib[0].units)


def test_given_secrets_are_kept_and_detected_ones_added_beside_them(tmp_path):
    text = f'a = "{KEY}"\nb = "mine"\nc = "{KEY[:-1]}Z"\n'
    first, mine, last = text.index(KEY), text.index("mine"), text.rindex("ghp_")
    line = {"text": text, "language": "python", "secrets": [[mine, mine + 4], [first + 3, first + 9]]}
    path = tmp_path / "given.jsonl"
    path.write_text(json.dumps(line) + "\n")
    given = [(first + 3, first + 9, "secret"), (mine, mine + 4, "secret")]

    def spans(**settings):
        (unit,) = load("jsonl", str(path), **settings).units
        return [(span.start, span.end, span.kind) for span in unit.secrets]

    assert spans(detect=False) == given
    assert spans() == [*given, (last, last + len(KEY), "credential")]

    # Spans that only touch do not overlap.
    quotes = [[last - 1, last], [last + len(KEY), last + len(KEY) + 1]]
    path.write_text(json.dumps(line | {"secrets": [[first, first + 9], *quotes]}) + "\n")
    assert (last, last + len(KEY), "credential") in spans()
    assert len(spans()) == 4


# Git


def test_a_working_tree_is_described(repository):
    loaded = load("git", plant(repository, {"a.py": "a", "b/c.py": "c"}), smallest=1)
    assert [unit.text for unit in loaded.units] == [CODE.format("a"), CODE.format("c")]
    assert loaded.description == "git repository: 2 files, 2 functions and classes"


def test_a_directory_that_is_no_repository_is_bad_input(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    message = complaint("git", plant(tmp_path, {"a.py": "a"}))
    assert message.startswith(f"{tmp_path}: expected a git working tree, got: fatal: not a git repository")
    assert 'set corpus.source = "directory"' in message


def test_a_machine_without_git_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    message = complaint("git", str(tmp_path))
    assert 'expected the git command for corpus.source = "git", got: No such file or directory' in message
    assert 'set corpus.source = "directory"' in message


# Settings


def test_an_unknown_source_is_bad_input():
    message = complaint("zip\n", None)
    assert "expected corpus.source to be one of stdlib, package, directory, git, jsonl" in message
    assert "zip" in message


@pytest.mark.parametrize(("smallest", "largest"), [(0, 10), (-1, 10), (11, 10)])
def test_bounds_that_nothing_fits_are_bad_input(tmp_path, smallest, largest):
    message = complaint("directory", str(tmp_path), smallest=smallest, largest=largest)
    assert f"corpus.smallest = {smallest} and corpus.largest = {largest}" in message


@pytest.mark.parametrize("source", ["directory", "git"])
def test_a_path_that_is_not_a_directory_is_bad_input(tmp_path, source):
    plant(tmp_path, {"a.py": "a"})
    expected = f'expected a directory for corpus.source = "{source}"'
    assert f"{expected}, got no path; set corpus.path" in complaint(source, None)
    assert f"{expected}, got no path" in complaint(source, "")
    assert f"{tmp_path}/b: {expected}, got a path that does not exist" in complaint(source, f"{tmp_path}/b")
    assert f"{expected}, got a path that does not exist" in complaint(source, "a\0b")
    assert f"{tmp_path}/a.py: {expected}, got a file; set corpus.path" in complaint(
        source, f"{tmp_path}/a.py"
    )
    os.mkfifo(tmp_path / "pipe")
    assert f"{expected}, got something else" in complaint(source, f"{tmp_path}/pipe")


@pytest.mark.parametrize("source", ["directory", "git"])
def test_no_code_file_is_bad_input(repository, source):
    plant(repository, {"a.txt": "a"})
    message = complaint(source, str(repository))
    assert message == f"{source} repository: expected {sources.FILES}, got none; set corpus.path"
    plant(repository, {"a.py": "a"})
    message = complaint(source, str(repository), exclude=["*.py"])
    assert "besides what *.py leaves out, got none; set corpus.exclude or corpus.path" in message


def test_no_unit_is_bad_input(tmp_path):
    root = plant(tmp_path / "code", {"a.py": b"x = 1\n", "b.py": "b", "c.py": b"\0"})
    message = complaint("directory", root, smallest=50, largest=60)
    assert "directory code: 3 files, 1 file with NUL bytes left out: expected functions or classes" in message
    assert "of 50 to 60 characters, got none" in message
    for key in ("corpus.smallest", "corpus.largest", "corpus.exclude", "corpus.path"):
        assert key in message


def test_an_installed_package_is_found_by_its_name_and_not_imported(tmp_path, monkeypatch):
    plant(
        tmp_path,
        {
            "wares/__init__.py": b"raise RuntimeError('imported')\n",
            "wares/goods.py": "sell",
            "wares/tests/test_goods.py": "test_sell",
            "wares/old/prices.py": "price",
            "wares/page.js": JAVASCRIPT,
        },
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert names("package", "wares") == ["goods.py", "old/prices.py"]
    assert names("package", "wares", exclude=["old"]) == ["goods.py"]
    assert (
        load("package", "wares", smallest=1).description == "package wares: 3 files, 2 functions and classes"
    )


def test_a_distribution_is_named_with_its_version():
    version = importlib.metadata.version("tomli-w")
    assert load("package", "tomli_w", smallest=1).description.startswith(f"package tomli_w {version}: ")


@pytest.mark.parametrize("name", ["no_such_package", "os.path", "", "..", "math"])
def test_what_is_no_installed_package_is_refused(name):
    assert 'expected corpus.path to be the name of an installed package, such as "numpy", got "' in complaint(
        "package", name
    )
