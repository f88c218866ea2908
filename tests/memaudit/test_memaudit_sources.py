"""Which code files a directory or a git working tree holds, and under which names they are shown."""

import fnmatch
import os
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memaudit.sources import (
    FILES,
    SourceFile,
    directory_files,
    exclusion,
    git_files,
    language_within,
    printable,
    read,
    stdlib_files,
)


def plant(root, files):
    """Writes texts below a directory."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return str(root)


def names(list_files, root, exclude=()):
    return [file.name for file in list_files(root, exclude)]


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A function that runs git in an empty repository, untouched by the settings of the machine."""
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    root = tmp_path / "repository"
    root.mkdir()

    def run(*arguments):
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-C", str(root), *arguments]
        subprocess.run(command, check=True, capture_output=True)

    run("init")
    run.root = root
    return run


def test_what_is_not_the_users_code_is_left_out_of_a_directory(tmp_path):
    root = plant(
        tmp_path / "root",
        {
            "kept.py": "x",
            ".hidden/a.py": "x",
            "__pycache__/b.py": "x",
            "web/node_modules/c.py": "x",
            "env/pyvenv.cfg": "home = /usr/bin\n",
            "env/lib/d.py": "x",
            "e.txt": "x",
            "folder.py/f.txt": "x",
        },
    )
    plant(tmp_path, {"outside.py": "x", "linked/g.py": "x"})
    (tmp_path / "root" / "link.py").symlink_to(tmp_path / "outside.py")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "linked")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    os.mkfifo(tmp_path / "root" / "pipe.py")
    assert names(directory_files, root) == ["kept.py"]
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    assert names(directory_files, str(tmp_path / "alias")) == ["kept.py"]


LANGUAGES = {
    "a.py": "python",
    "b.pyi": "python",
    "c.JS": "javascript",
    "d.mjs": "javascript",
    "e.ts": "typescript",
    "f.d.ts": "typescript",
    "g.java": "java",
    "h.go": "go",
    "i.rs": "rust",
    "j.c": "c",
    "k.h": "c",
    "l.cc": "cpp",
    "m.hpp": "cpp",
}


def test_files_of_all_languages_are_taken_and_told_apart(git):
    root = plant(git.root, dict.fromkeys([*LANGUAGES, "n.md", "o.rb", "py", ".js/p.py", "q.py.orig"], "x"))
    assert {file.name: file.language for file in directory_files(root, ())} == LANGUAGES
    found = {file.name: file.language for file in git_files(root, ())}
    assert found == LANGUAGES | {
        ".js/p.py": "python"
    }  # git says what is the user's, also in hidden directories


def test_the_standard_library_is_python_only():
    files = stdlib_files(())
    assert len(files) > 100
    assert all(file.name.endswith(".py") and file.language == "python" for file in files)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("int f(void);\n", "c"),
        ("", "c"),
        ('#ifdef __cplusplus\nextern "C" {\n#endif\nint f(void);\n', "c"),
        ("/* using a class:\n * class A, namespace b */\nint class_of(void);\n", "c"),
        ("int x; // template <class T>\nint template;\n", "c"),
        ("namespace a {\n}\n", "cpp"),
        ("int a;\n  inline namespace b {}\n", "cpp"),
        ("template<class T> T f();\n", "cpp"),
        ("struct A {\n public:\n  int a;\n};\n", "cpp"),
        ("\tprivate :\n", "cpp"),
        ("using std::string;\n", "cpp"),
        ("class A;\n", "cpp"),
    ],
)
def test_a_header_is_what_its_lines_say(text, language):
    header = SourceFile(name="a/b.h", path="", language="c")
    assert language_within(header, text.encode()) == language
    for name, told in (("b.c", "c"), ("b.py", "python"), ("b.hpp", "cpp")):
        assert language_within(SourceFile(name=name, path="", language=told), text.encode()) == told


def test_messages_name_a_file_of_each_language():
    assert FILES == "code files (*.py, *.js, *.ts, *.java, *.go, *.rs, *.c, *.cpp)"


@pytest.mark.parametrize(
    ("exclude", "kept"),
    [
        (["a.py"], ["b/a.py", "b/c.py", "d/b/e.py", "x [1].py"]),
        (["*a.py"], ["b/c.py", "d/b/e.py", "x [1].py"]),
        (["b"], ["a.py", "d/b/e.py", "x [1].py"]),
        (["b/"], ["a.py", "d/b/e.py", "x [1].py"]),
        (["*/b", "A.py"], ["a.py", "b/a.py", "b/c.py", "x [1].py"]),
        (["?/[!a]*"], ["a.py", "b/a.py", "x [1].py"]),
        (["x [1].py", ""], ["a.py", "b/a.py", "b/c.py", "d/b/e.py", "x [1].py"]),
        (["x [[]1].py"], ["a.py", "b/a.py", "b/c.py", "d/b/e.py"]),
    ],
)
def test_patterns_leave_out_files_and_directories(git, exclude, kept):
    root = plant(git.root, dict.fromkeys(["a.py", "b/a.py", "b/c.py", "d/b/e.py", "x [1].py"], ""))
    assert names(directory_files, root, exclude=exclude) == kept
    assert names(git_files, root, exclude=exclude) == kept


def test_names_that_no_one_should_use_become_printable(git):
    raw = [
        b"caf\xe9.py",
        b"new\nline.py",
        b"sp ace.py",
        b"back\\slash.py",
        "\u202egpj.py".encode(),
        b"-rf.py",
        b"c\xc3\xa9.py",
    ]
    for name in raw:
        with open(os.path.join(os.fsencode(git.root), name), "wb") as stream:
            stream.write(name)
    expected = [
        "-rf.py",
        "\\u202egpj.py",
        "back\\\\slash.py",
        "caf\\xe9.py",
        "cé.py",
        "new\\nline.py",
        "sp ace.py",
    ]
    assert names(directory_files, str(git.root)) == expected
    found = git_files(str(git.root), ())
    assert [file.name for file in found] == expected
    for file in found:
        assert os.path.basename(os.fsencode(file.path)) == read(file, limit=99)
    for name in expected:
        assert name not in names(git_files, str(git.root), exclude=[exclusion(name)])


def test_git_takes_what_is_tracked_or_not_ignored_and_exists(git):
    root = plant(
        git.root,
        {
            ".gitignore": "ignored*\nbuild/\n",
            "tracked.py": "x",
            "sub/deep.py": "x",
            "ignored_but_tracked.py": "x",
            "deleted.py": "x",
            "moved/away.py": "x",
        },
    )
    git("add", ".")
    git("add", "--force", "ignored_but_tracked.py")
    git("commit", "-m", "first")
    (git.root / "deleted.py").unlink()
    (git.root / "moved" / "away.py").unlink()
    (git.root / "moved").rmdir()
    plant(git.root.parent / "elsewhere", {"away.py": "x"})
    (git.root / "moved").symlink_to(git.root.parent / "elsewhere")
    (git.root / "link.py").symlink_to(git.root / "tracked.py")
    plant(
        git.root,
        {"untracked.py": "x", "ignored.py": "x", "build/out.py": "x", "notes.txt": "x"},
    )
    assert names(git_files, root) == ["ignored_but_tracked.py", "sub/deep.py", "tracked.py", "untracked.py"]
    assert names(git_files, str(git.root / "sub")) == ["deep.py"]
    (git.root.parent / "alias").symlink_to(git.root / "sub")
    assert names(git_files, str(git.root.parent / "alias")) == ["deep.py"]


def test_a_file_in_conflict_is_taken_once(git):
    plant(git.root, {"a.py": "x"})
    git("add", ".")
    git("commit", "-m", "base")
    git("branch", "other")
    for branch, name in (("other", "theirs"), ("-", "ours")):
        git("checkout", branch)
        plant(git.root, {"a.py": name})
        git("commit", "-a", "-m", name)
    with pytest.raises(subprocess.CalledProcessError):
        git("merge", "other")
    assert names(git_files, str(git.root)) == ["a.py"]


def test_reading_a_repository_runs_nothing_from_its_configuration(git, tmp_path):
    plant(git.root, {"a.py": "x"})
    git("add", ".")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/sprung'\n")
    trap.chmod(0o755)
    git("config", "core.fsmonitor", str(trap))
    assert names(git_files, str(git.root)) == ["a.py"]
    assert not (tmp_path / "sprung").exists()
    git("ls-files", "--others")
    assert (tmp_path / "sprung").exists()  # without the precaution git runs it


def test_the_surroundings_of_a_git_hook_do_not_lead_elsewhere(git, tmp_path, monkeypatch):
    plant(git.root, {"a.py": "x"})
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "no-index"))
    assert names(git_files, str(git.root)) == ["a.py"]


ESCAPES = re.compile(r"\\(?:x(?P<byte>..)|u(?P<short>....)|U(?P<long>.{8})|(?P<one>.))", re.DOTALL)


def unescaped(match):
    if match["byte"]:
        return chr(0xDC00 + int(match["byte"], 16))
    if code := match["short"] or match["long"]:
        return chr(int(code, 16))
    return {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}[match["one"]]


@given(
    st.text(st.characters()) | st.text(st.sampled_from("\\\n\r\tnxuU80\x80\udc80\u202e\U000e0001😀\ud800"))
)
def test_an_escaped_name_is_printable_and_holds_the_whole_name(name):
    escaped = printable(name)
    assert escaped.isprintable()
    assert ESCAPES.sub(unescaped, escaped) == name
    assert escaped == name or "\\" in name or not name.isprintable()


@given(st.text(st.sampled_from("ab*?[]!-"), min_size=1), st.text(st.sampled_from("ab*?[]!-"), min_size=1))
def test_the_pattern_for_a_name_matches_that_name_only(name, other):
    assert fnmatch.fnmatchcase(name, exclusion(name))
    assert fnmatch.fnmatchcase(other, exclusion(name)) == (other == name)
