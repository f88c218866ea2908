"""`memaudit probes build` as a user meets it: what it writes, what it prints, what it refuses."""

import json
import os
import sys
from pathlib import Path

import pytest
from command import Said

import probes
from probes.infill import prompt

KEY = "ghp_" + "x9Yq7Lw3Zt5Rk1Vb8Nc2Md4Fg6Hj0PsQaUe1"
PYTHON = f'''\
import os

TOKEN = None


class Client:
    """Talks to the server."""

    def connect(self, host):
        self.host = host
        self.key = "{KEY}"
        return self.host, self.key

    def leave(self):
        self.host = None
        return self.key
'''
JAVASCRIPT = """\
const a = require('a')

// Doubles what it is given.
function twice (number) {
  const doubled = number * 2
  return doubled
}
"""


@pytest.fixture
def say(say):
    """Run `memaudit probes build`."""

    def run(*arguments: str | Path, small: bool = True) -> Said:
        # What is small is cut too, unless a test says otherwise.
        return say("probes", "build", *arguments, *(["--smallest", "1"] if small else []))

    return run


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory with a file in Python and one in JavaScript."""
    root = tmp_path / "code"
    (root / "web").mkdir(parents=True)
    (root / "client.py").write_text(PYTHON)
    (root / "web" / "twice.js").write_text(JAVASCRIPT)
    return root


def records(said: Said) -> list[dict]:
    """What a command wrote to standard output."""
    assert said.code == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def refused(said: Said, tmp_path: Path) -> str:
    """The one line of a refusal, after which nothing was written."""
    assert said.code == 2, said.err
    assert said.out == "" or not said.out.startswith("{")
    lines = [line for line in said.err.splitlines() if line.startswith("memaudit: error: ")]
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err
    assert not list(tmp_path.rglob("*.part"))
    return lines[0]


def test_a_directory_becomes_lines_of_json(say, code: Path) -> None:
    python, secret, javascript = records(say(code, "-o", "-"))
    class_text = PYTHON[PYTHON.index("class") :]
    assert python["prefix"] + python["target"] == class_text
    assert set(python) == {"id", "prefix", "target", "language", "secrets", "source"}
    assert python["language"] == "python"
    assert python["source"] == {"file": f"{code}/client.py", "first_line": 6, "last_line": 16}
    assert secret["prefix"] + secret["target"] == class_text
    assert secret["target"].startswith(f'{KEY}"\n')
    assert secret["secrets"] == [{"start": 0, "end": len(KEY), "kind": "credential"}]
    assert secret["source"] == python["source"]
    assert javascript["prefix"] + javascript["target"] == JAVASCRIPT[JAVASCRIPT.index("//") :]
    assert set(javascript) == {"id", "prefix", "target", "language", "source"}
    assert javascript["source"] == {"file": f"{code}/web/twice.js", "first_line": 3, "last_line": 7}


def test_methods_keep_the_indentation_of_their_file_and_its_lines_above(say, code: Path) -> None:
    found = records(
        say(code / "client.py", "-o", "-", "--kind", "prefix", "--largest", "170", "--context", "0,2,99")
    )
    assert len(found) == 6
    for record in found:
        assert record["prefix"] + record["target"] in PYTHON
    first = found[:3]
    assert len({record["target"] for record in first}) == 1
    assert [record["prefix"].partition("    def connect")[0] for record in first] == [
        "",
        '    """Talks to the server."""\n\n',
        PYTHON[: PYTHON.index("    def connect")],
    ]
    assert first[0]["source"] == {"file": f"{code}/client.py", "first_line": 9, "last_line": 12}


def test_fractions_and_lines_make_more_probes_of_an_example(say, code: Path) -> None:
    file = code / "web" / "twice.js"
    found = records(say(file, "-o", "-", "--kind", "prefix", "--at", "0.25,0.5,0.75"))
    lengths = [len(record["prefix"]) for record in found]
    assert lengths == sorted(set(lengths))
    assert len(lengths) == 3
    found = records(say(file, "-o", "-", "--kind", "infill", "--lines", "1,2"))
    assert [record["target"] for record in found] == [
        "function twice (number) {",
        "function twice (number) {\n  const doubled = number * 2",
    ]
    assert all(r["prefix"] + r["target"] + r["suffix"] in JAVASCRIPT for r in found)


def test_a_prompt_is_given_in_the_sentinels_of_a_model(say, code: Path) -> None:
    for fim, name, order in (
        ("codellama", "codellama", "psm"),
        ("codellama:spm", "codellama", "spm"),
        ("codestral", "codestral", None),
    ):
        found = records(say(code, "-o", "-", "--kind", "infill", "--kind", "prefix", "--fim", fim))
        assert {"prompt" in record for record in found} == {True, False}
        for record in found:
            assert ("prompt" in record) == ("suffix" in record)
            if "prompt" in record:
                asked = prompt(record["prefix"], record["suffix"], format=name, order=order)
                assert record["prompt"] == asked


def test_a_probe_that_holds_a_sentinel_gets_no_prompt_and_is_left_out(say, code: Path) -> None:
    arguments = (code, "-o", "-", "--kind", "infill")
    before = records(say(*arguments))
    (code / "more.js").write_text(JAVASCRIPT.replace("twice", "more").replace("* 2", "* '<|fim_pad|>'"))
    assert len(records(say(*arguments))) == len(before) + 1
    said = say(*arguments, "--fim", "starcoder")
    assert len(records(said)) == len(before) + 1
    for at in ("0.5", "0.7"):  # in the suffix, and in the target, beyond which no completion goes
        said = say(*arguments, "--fim", "qwen", "--at", at)
        assert len(records(said)) == len(before)
        assert "1 probe left out: it holds a sentinel of qwen" in said.err
    said = say(*arguments, "--fim", "qwen", "--at", "0.5,0.7")
    assert len(records(said)) < len(records(say(*arguments, "--at", "0.5,0.7")))
    assert "2 probes left out: they hold a sentinel of qwen" in said.err


def test_given_examples_keep_their_language_and_secrets(say, tmp_path: Path) -> None:
    text = f"MOVE '{KEY}' TO A.\nADD mine TO B.\n"
    start = text.index("mine")
    line = {"id": "x\n1", "text": text, "language": "cobol", "secrets": [[start, start + 4]]}
    given = tmp_path / "given.jsonl"
    given.write_text(json.dumps(line) + "\n")
    arguments = (given, "-o", "-", "--kind", "secret", "--language", "go", "--context", "3")
    found = records(say(*arguments))
    assert [(r["secrets"][0]["kind"], r["target"][:4]) for r in found] == [
        ("credential", "ghp_"),
        ("secret", "mine"),
    ]
    for record in found:
        assert record["prefix"] + record["target"] == text
        assert record["language"] == "cobol"
        assert record["source"] == {"file": "x\\n1", "first_line": 1, "last_line": 1}
    (record,) = records(say(*arguments, "--no-detect"))
    assert record["target"] == text[start:]


def test_without_detection_no_secrets_are_looked_for(say, code: Path) -> None:
    found = records(say(code, "-o", "-", "--no-detect"))
    assert len(found) == 2
    assert not any("secrets" in record for record in found)


def test_languages_can_be_chosen_and_forced(say, code: Path) -> None:
    assert [r["language"] for r in records(say(code, "-o", "-", "--language", "javascript"))] == [
        "javascript"
    ]
    script = code / "script"
    script.write_text(JAVASCRIPT)
    assert records(say(script, "-o", "-", "--language", "javascript"))[0]["language"] == "javascript"
    assert [r["language"] for r in records(say(code, "-o", "-", "--exclude", "web"))] == ["python"] * 2


def test_a_limit_draws_the_same_probes_again_and_more_add_to_fewer(say, code: Path) -> None:
    arguments = (code, "-o", "-", "--at", "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8", "--kind", "prefix")
    everything = [record["id"] for record in records(say(*arguments))]
    few = [record["id"] for record in records(say(*arguments, "--limit", "3"))]
    more = [record["id"] for record in records(say(*arguments, "--limit", "6"))]
    assert (len(few), len(more)) == (3, 6)
    assert set(few) < set(more) < set(everything)
    assert more == [name for name in everything if name in more]  # in the order of the examples
    assert few == [record["id"] for record in records(say(*arguments, "--limit", "3"))]
    draws = {
        tuple(r["id"] for r in records(say(*arguments, "--limit", "3", "--seed", str(seed))))
        for seed in range(4)
    }
    assert len(draws) > 1
    assert everything == [record["id"] for record in records(say(*arguments, "--limit", "999"))]


def test_the_file_is_written_whole_and_the_terminal_tells_what_is_in_it(say, code: Path, tmp_path) -> None:
    out = tmp_path / "probes.jsonl"
    said = say(code, "-o", out, "--kind", "prefix", "--kind", "secret", "--kind", "infill")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "directory code: 2 files, 2 functions and classes"
    assert lines[-1] == str(out)
    assert [line.split() for line in lines if line.split()[:1] in (["python"], ["javascript"])] == [
        ["javascript", "1", "1", "0", "0"],
        ["python", "1", "1", "2", "4"],
    ]
    assert len(out.read_text().splitlines()) == 6
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["probes.jsonl"]
    assert json.loads(out.read_text().splitlines()[0])["language"] == "python"


def test_several_sources_make_one_file_and_equal_probes_come_once(say, code: Path) -> None:
    whole = records(say(code, "-o", "-"))
    assert records(say(code, code / "client.py", code / "web", "-o", "-")) == whole
    assert [r["id"] for r in records(say(code / "client.py", code / "web", "-o", "-"))] == [
        r["id"] for r in whole
    ]


def test_a_file_that_exists_is_replaced_only_by_force(say, code: Path, tmp_path: Path) -> None:
    out = tmp_path / "probes.jsonl"
    out.write_text("mine\n")
    line = refused(say(code, "-o", out), tmp_path)
    assert "expected a new file" in line
    assert "--force" in line
    assert out.read_text() == "mine\n"
    assert say(code, "-o", out, "--force").code == 0
    assert json.loads(out.read_text().splitlines()[0])["id"]


def test_a_file_that_cannot_be_written_is_bad_input_and_what_was_there_stays(
    say, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "probes.jsonl"
    out.write_text("mine\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    line = refused(say(code, "-o", out, "--force"), tmp_path)
    assert "expected to write" in line
    assert "No space left on device" in line
    assert out.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--kind", "suffix"], ["--kind", "prefix, infill, secret", "suffix"]),
        (["--at", "0.5,1"], ["--at", "above 0 and below 1", "0.5,1"]),
        (["--at", "half"], ["--at", "half"]),
        (["--at", "nan"], ["--at"]),
        (["--context", "-1"], ["--context", "from 0"]),
        (["--context", "1.5"], ["--context", "1.5"]),
        (["--lines", "0"], ["--lines", "from 1"]),
        (["--lines", ""], ["--lines"]),
        (["--fim", "gpt", "--kind", "infill"], ["--fim", "starcoder", "gpt"]),
        (["--fim", "qwen:spm", "--kind", "infill"], ["--fim", "qwen:psm", "qwen:spm"]),
        (["--fim", "codellama:x", "--kind", "infill"], ["codellama:psm or codellama:spm"]),
        (["--fim", "qwen"], ["--fim", "--kind infill"]),
        (["--language", "cobol"], ["--language", "python", "cobol"]),
        (["--limit", "0"], ["--limit", "1 or more"]),
        (["--smallest", "9", "--largest", "8"], ["--smallest", "--largest = 8"]),
        (["--smallest", "8000", "--largest", "9000"], ["8000 to 9000", "--smallest, --largest, --exclude or SOURCE"]),
        (["--exclude", "*"], ["besides what * leaves out", "set --exclude or SOURCE"]),
        (["--kind", "secret", "--no-detect"], ["at least one probe of kind secret", "--detect"]),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line_and_nothing_is_written(
    say, code: Path, tmp_path: Path, arguments: list[str], facts: list[str]
) -> None:
    line = refused(say(code, "-o", tmp_path / "out.jsonl", *arguments, small=False), tmp_path)
    for fact in facts:
        assert fact in line
    assert "corpus." not in line
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "content", "facts"),
    [
        ("nowhere.py", None, ["expected a file or directory"]),
        ("notes.txt", b"hello\n", ["*.rs", "or a .jsonl file", "set --language"]),
        ("latin.py", b"# caf\xe9\n", ["UTF-8", "0xe9", "convert the file"]),
        ("empty.jsonl", b"", ["a JSON object on each line", "SOURCE"]),
        ("bad.jsonl", b'{"text": 1}\n', ["bad.jsonl:1", '"text" to be a string']),
        ("new\nline\x1b[31m.py", b"x = 1\n", ["new\\nline\\u001b", "expected functions or classes"]),
    ],
)
def test_a_source_that_is_of_no_use_is_one_line(
    say, tmp_path: Path, name: str, content: bytes | None, facts: list[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    line = refused(say(tmp_path / name, "-o", "-"), tmp_path)
    for fact in facts:
        assert fact in line
    assert line.isprintable()
    assert "corpus." not in line
    assert "--exclude\n" not in line


def test_an_output_that_is_of_no_use_is_one_line(say, code: Path, tmp_path: Path) -> None:
    assert "got the directory" in refused(say(code, "-o", tmp_path), tmp_path)
    assert "a directory that exists" in refused(say(code, "-o", tmp_path / "no" / "x"), tmp_path)


def test_hostile_names_and_code_are_shown_without_being_obeyed(say, tmp_path: Path) -> None:
    root = tmp_path / "[red]a\x1b[2J"
    root.mkdir()
    hostile = JAVASCRIPT.replace("Doubles", "\u202eé\x1b[2J").replace("* 2", "* '\u2028'")
    (root / "b\n\x07.js").write_text(hostile, encoding="utf-8")
    said = say(root, "-o", "-")
    (record,) = records(said)
    assert record["prefix"] + record["target"] == hostile[hostile.index("//") :]
    assert said.out.isascii()
    assert "\x1b" not in said.out
    assert record["source"]["file"].endswith("[red]a\\u001b[2J/b\\n\\u0007.js")
    assert "[red]a\\u001b[2J: 1 file" in said.err
    assert "\x1b" not in said.err


def test_a_language_without_a_grammar_is_told(say, code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter_javascript", None)
    probes.grammar.cache_clear()
    said = say(code, "-o", "-")
    assert {record["language"] for record in records(said)} == {"python"}
    assert "1 file left out: no grammar for javascript, pip install 'memaudit[languages]'" in said.err


def test_help_says_what_the_command_takes(say) -> None:
    said = say("--help", small=False)
    assert said.code == 0
    for word in ("SOURCE", "--fim", "--context", "Example", "memaudit probes build"):
        assert word in said.out
