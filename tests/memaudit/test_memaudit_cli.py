"""The command line as a user meets it: what it prints, what it refuses, with which exit code."""

import io
import json
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command import refused
from rich.console import Console
from tiny import TINY, Walked

from memaudit.cli.terminal import table
from memaudit.recipe import RECIPES


@pytest.mark.parametrize(
    "command", [["run"], ["report"], ["probes", "match"], ["recipe", "show"], ["probes"], ["recipe"], []]
)
def test_help_says_what_a_command_takes(say, command: list[str]) -> None:
    said = say(*command, "--help")
    assert said.code == 0
    assert "Usage: memaudit" in said.out
    if command in (["run"], ["report"], ["probes", "match"], ["recipe", "show"]):
        assert "Example" in said.out
        assert f"memaudit {' '.join(command)}" in said.out


def test_recipe_show_prints_the_toml_itself(say) -> None:
    said = say("recipe", "show", "quickstart")
    assert said.code == 0
    assert said.out == RECIPES.text("quickstart")
    assert tomllib.loads(said.out)["name"] == "quickstart"


def test_recipe_show_names_what_there_is(say) -> None:
    assert "quickstart" in refused(say("recipe", "show", "slowstart"))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("def f(x):\n    # add one\n    return x + 1\n")
    b.write_text("def f(y):\n    return  y + 1\n")
    return a, b


def test_match_prints_distance_and_equality_at_every_level(say, pair) -> None:
    said = say("probes", "match", *pair, "--json")
    assert said.code == 0
    data = json.loads(said.out)
    assert list(data["levels"]) == ["exact", "layout", "code", "renamed", "shape"]
    assert [v["equal"] for v in data["levels"].values()] == [False, False, False, True, True]
    assert data["levels"]["renamed"] == {
        "equal": True,
        "distance": 0,
        "normalized": 0.0,
        "length_a": 12,
        "length_b": 12,
    }
    assert data["levels"]["code"]["distance"] == 2
    assert {d["reason"] for d in data["differences"]} == {"rename", "comment", "format"}

    said = say("probes", "match", *pair)
    assert said.code == 0
    for word in ("exact", "layout", "code", "renamed", "rename", "comment"):
        assert word in said.out


def test_match_of_a_file_with_itself_finds_no_difference(say, pair) -> None:
    data = json.loads(say("probes", "match", pair[0], pair[0], "--json").out)
    assert all(v["equal"] and v["distance"] == v["normalized"] == 0 for v in data["levels"].values())
    assert data["differences"] == []
    assert "no difference" in say("probes", "match", pair[0], pair[0]).out


def test_match_keeps_a_secret_apart_at_every_level(say, tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("hunter_two = 1\n")
    b.write_text("hunter_three = 1\n")
    renamed = json.loads(say("probes", "match", a, b, "--json").out)["levels"]["renamed"]
    assert renamed["equal"]
    kept = json.loads(say("probes", "match", a, b, "--json", "--secret", "hunter_two").out)["levels"]
    assert not any(v["equal"] for v in kept.values())


def test_match_says_when_a_language_is_not_known(say, pair) -> None:
    assert json.loads(say("probes", "match", *pair, "--json").out)["lexer"] == "python"
    assert (
        json.loads(say("probes", "match", *pair, "--json", "--language", "cobol").out)["lexer"] == "generic"
    )
    assert "cobol: not a language that is known" in say("probes", "match", *pair, "--language", "cobol").out
    assert "not a language" not in say("probes", "match", *pair).out


def test_match_takes_the_language_from_a_files_name(say, tmp_path: Path) -> None:
    a, b = tmp_path / "a.txt", tmp_path / "b.rs"
    a.write_text("let a = 1; // one")
    b.write_text("let b = 1;")
    found = json.loads(say("probes", "match", a, b, "--json").out)
    assert (found["language"], found["levels"]["renamed"]["equal"]) == ("rust", True)


def test_match_reads_the_standard_input(say, pair, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(pair[1].read_bytes())))
    found = json.loads(say("probes", "match", pair[0], "-", "--json").out)
    assert found["levels"]["renamed"]["equal"]
    assert "standard input" in refused(say("probes", "match", "-", "-"))


def test_match_with_a_prompt_takes_a_completion_that_runs_on_or_breaks_off(say, tmp_path: Path) -> None:
    prompt, target, completion = (tmp_path / name for name in ("p.py", "t.py", "c.py"))
    prompt.write_text("def f(x):\n    return 'a")
    target.write_text("b' + x\n")
    completion.write_text("b'  +  x\n\ndef g():\n    pass\n")
    found = json.loads(say("probes", "match", target, completion, "--prompt", prompt, "--json").out)
    assert [v["equal"] for v in found["levels"].values()] == [False, True, True, True, True]
    without = json.loads(say("probes", "match", target, completion, "--json").out)
    assert not without["levels"]["layout"]["equal"]


def test_match_finds_secrets_and_prints_none(say, tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    secret = "jane." + "doe@mail.example.org"
    a.write_text(f"send(1, to='{secret}')\n")
    b.write_text(f"send(2, to='{secret[:8]}')\n")
    said = say("probes", "match", a, b)
    assert "jane" not in said.out
    assert "secret (email): a prefix of 8 of 25 characters" in said.out
    found = say("probes", "match", a, b, "--json").out
    assert "jane" not in found
    assert json.loads(found)["secrets"] == [
        {"kind": "email", "verdict": "prefix", "recovered": 8, "length": 25}
    ]
    assert "jane" in say("probes", "match", a, b, "--reveal").out
    assert json.loads(say("probes", "match", a, b, "--json", "--no-detect").out)["secrets"] == []


def test_match_shows_hostile_text_without_obeying_it(say, tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("x = 1\n")
    b.write_text('x = "\x1b[2J[bold red]\x07"\n')
    said = say("probes", "match", a, b)
    assert said.code == 0
    assert "\x1b[2J" not in said.out
    assert "\x07" not in said.out
    assert "[bold red]" in said.out


def test_match_takes_any_bytes(say, tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_bytes(bytes(range(256)))
    b.write_bytes(b"\xff\xfe(((")
    assert say("probes", "match", a, b).code == 0
    assert not json.loads(say("probes", "match", a, b, "--json").out)["levels"]["exact"]["equal"]


def test_match_of_a_file_that_is_not_there(say, tmp_path: Path, pair) -> None:
    assert "nowhere.py" in refused(say("probes", "match", pair[0], tmp_path / "nowhere.py"))
    assert "a directory" in refused(say("probes", "match", tmp_path, pair[0]))


def test_a_hostile_file_name_stays_on_its_line(say, tmp_path: Path, pair) -> None:
    line = refused(say("probes", "match", pair[0], tmp_path / "no\nmemaudit: error: \x1b[31mwhere.py"))
    assert "\\n" in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["nowhere.toml"], ["nowhere.toml", "quickstart"]),
        (["--set", "stages.ppo.kl=1"], ["stages.ppo.kl", "kl_coefficient"]),
        (["--set", "stages.pretrain.from=ppo"], ["cycle"]),
        (["--set", "stages.sft.from=nothing"], ["stages.sft.from", "'nothing'", "pretrain"]),
        (["--set", "corpus.source=directory", "--set", "corpus.path=no/such"], ["no/such", "corpus.path"]),
    ],
)
def test_run_refuses_a_bad_recipe_and_writes_nothing(
    say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], facts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(say("run", *arguments))
    for fact in facts:
        assert fact in line
    assert list(tmp_path.iterdir()) == []


def given(tmp_path: Path, data: bytes) -> list[str]:
    path = tmp_path / "given.jsonl"
    path.write_bytes(data)
    out = ["--out", str(tmp_path / "run")]
    return [*out, "--set", "corpus.source=jsonl", "--set", f"corpus.path={path}"]


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (b'{"text": "x = 1\\n", "language": "python"}\n{"text": \n', ["given.jsonl", "2"]),
        (b'{"text": "x = 1\\n", "language": "python"}\n\xff\n', ["given.jsonl", "UTF-8", "0xff"]),
        (b"", ["given.jsonl"]),
        (b'{"text": "x = 1\\n", "language": "python"}\n', ["usable examples"]),
    ],
)
def test_run_refuses_a_bad_corpus_and_writes_nothing(
    say, tmp_path: Path, data: bytes, facts: list[str]
) -> None:
    line = refused(say("run", *given(tmp_path, data)))
    for fact in facts:
        assert fact in line, line
    assert [p.name for p in tmp_path.iterdir()] == ["given.jsonl"]


def test_run_refuses_a_file_that_is_not_utf8(say, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("def f():\n    return 1\n" * 20)
    (code / "b.py").write_bytes(b"name = 'caf\xe9'\n")
    where = ["--set", "corpus.source=directory", "--set", f"corpus.path={code}"]
    line = refused(say("run", "--out", tmp_path / "run", *where))
    for fact in ("b.py", "UTF-8", "0xe9", "corpus.exclude"):
        assert fact in line, line
    assert not (tmp_path / "run").exists()


def test_run_refuses_a_directory_with_another_run(say, walked: Walked) -> None:
    line = refused(say("run", "quickstart", "--out", walked.folder))
    assert "another recipe" in line
    assert "--out" in line


def test_run_ends_with_the_table_and_the_paths(say, walked: Walked, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(walked.folder, folder)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY)
    said = say("run", recipe, "--out", folder)
    assert said.code == 0
    lines = said.out.rstrip().splitlines()
    assert lines[-1] == str(folder / "report.html")
    for stage in walked.recipe.stages:
        assert any(stage in line for line in lines)
    # The run is done: this is what going on with it says.
    assert said.err.count("already done") == 9


def test_the_table_fits_a_narrow_terminal_and_shows_each_count(walked: Walked) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(walked.findings))
    text = console.export_text()
    assert "…" not in text
    for row in walked.findings.totals:
        if (row.level, row.definition) == ("exact", "near"):
            line = next(line for line in text.splitlines() if line.split()[:1] == [row.stage])
            assert f"{row.exposed.count} | {row.control.count}" in line
    for cohort in ("sft", "reward", "ppo"):
        assert f"{cohort} (of 8)" in text


def test_report_makes_the_same_documents_anew(say, walked: Walked, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(walked.folder, folder)
    for form, name in (("html", "report.html"), ("md", "report.md"), ("json", "findings.json")):
        (folder / name).unlink()
        said = say("report", folder, "--format", form)
        assert said.code == 0
        assert said.out.strip() == str(folder / name)
        assert (folder / name).read_bytes() == (walked.folder / name).read_bytes()
        assert say("report", folder, "--format", form, "--output", "-").out == (folder / name).read_text()


def test_report_refuses_what_is_no_run(say, tmp_path: Path, walked: Walked) -> None:
    assert "ledger.sqlite" in refused(say("report", tmp_path))
    assert "directory that exists" in refused(say("report", walked.folder, "--output", tmp_path / "no" / "x"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_was_interrupted_says_so_and_goes_on(
    walked: Walked, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Ctrl-C in a real process: exit code 130, and the same command ends with the same findings."""
    recipe, folder = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(TINY)
    command = [sys.executable, "-m", "memaudit", "run", str(recipe), "--out", str(folder)]
    # A shell that runs the tests in the background has interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process as p:
        assert p.stderr is not None
        for line in p.stderr:
            if line.startswith("sft, twin A: audit"):
                p.send_signal(signal.SIGINT)
                break
        _, rest = p.communicate()
    assert p.returncode == 130, rest
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert not (folder / "findings.json").exists()

    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "pretrain: already done" in done.stderr
    kept = json.loads((folder / "findings.json").read_text())
    asked = json.loads((walked.folder / "findings.json").read_text())
    del kept["times"], asked["times"]
    assert kept == asked
