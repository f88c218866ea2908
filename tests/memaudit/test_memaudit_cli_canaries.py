"""`memaudit probes canaries`: the files it writes, what it says of them, and what it refuses."""

import json
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from command import Said
from tiny import TINY

import probes.canaries
from memaudit.cohorts import populate
from memaudit.corpus import load
from memaudit.recipe import parse
from probes.canaries import KINDS, generate, plan


@pytest.fixture
def say(say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run `memaudit probes canaries` in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return partial(say, "probes", "canaries")


def lines_of(path: str | Path) -> list[dict]:
    text = Path(path).read_bytes().decode("utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_the_files_hold_the_plan(say) -> None:
    said = say("--count", "40", "--seed", "3", "--strata", "1,8", "-o", "c.jsonl")
    assert said.code == 0, said.err
    planned = plan(count=40, seed=3, strata=(1, 8))
    texts, registry = lines_of("c.jsonl"), lines_of("c.registry.jsonl")
    assert len(texts) == len(registry) == 40
    for canary, line, entry in zip(planned, texts, registry, strict=True):
        start, end = canary.secret.start, canary.secret.end
        assert line == {
            "id": canary.id,
            "language": "python",
            "text": canary.text,
            "secrets": [{"start": start, "end": end, "kind": canary.kind}],
        }
        assert entry.pop("slot") == {
            "start": canary.slot.start,
            "end": canary.slot.end,
            "form": canary.slot.form,
            "number": canary.slot.number,
            "size": canary.slot.size,
            "bits": canary.slot_bits,
        }
        assert entry == {
            "id": canary.id,
            "half": canary.half,
            "repetition": canary.repetition,
            "kind": canary.kind,
            "template": canary.template,
            "language": "python",
            "secret": [start, end],
            "text": canary.text,
            "control": canary.control,
        }
    assert sorted(p.name for p in Path().iterdir()) == ["c.jsonl", "c.registry.jsonl"]


def test_the_defaults_are_sixty_in_four_strata(say) -> None:
    assert say("-o", "c.jsonl").code == 0
    assert [line["text"] for line in lines_of("c.jsonl")] == [c.text for c in generate(count=60, seed=0)]
    assert Counter(e["repetition"] for e in lines_of("c.registry.jsonl")) == {1: 15, 4: 15, 16: 15, 64: 15}


def test_the_same_arguments_write_the_same_bytes(say) -> None:
    for name in ("a", "b"):
        assert say("--count", "20", "-o", f"{name}.jsonl", "--registry", f"{name}.kept").code == 0
    assert Path("a.jsonl").read_bytes() == Path("b.jsonl").read_bytes()
    assert Path("a.kept").read_bytes() == Path("b.kept").read_bytes()


def test_it_says_what_it_wrote(say) -> None:
    said = say("--count", "61", "--strata", "4, 1", "-o", "c.jsonl")
    rows = {}
    for line in said.out.splitlines():
        name, *counts = re.split(r"\s{2,}", line.strip())
        rows[name] = counts
    assert rows["kind"] == ["shown 1x", "shown 4x", "all"]
    registry = lines_of("c.registry.jsonl")
    for kind in (*KINDS, "all"):
        expected = []
        for wanted in ([1], [4], [1, 4]):
            found = [e for e in registry if kind in (e["kind"], "all") and e["repetition"] in wanted]
            expected.append(" | ".join(str(sum(e["half"] == half for e in found)) for half in "AB"))
        assert rows[kind] == expected
    assert said.out.splitlines()[-2:] == ["c.jsonl", "c.registry.jsonl"]


def test_kinds_of_which_there_are_none_have_no_row(say) -> None:
    out = say("--count", "2", "--strata", "1", "-o", "c.jsonl").out
    assert "person-path" in out
    assert "credential" in out
    assert "pin" not in out


def test_the_file_is_a_corpus(say) -> None:
    assert say("--count", "50", "-o", "c.jsonl").code == 0
    units = {u.id: u for u in load("jsonl", "c.jsonl").units}
    canaries = generate(count=50, seed=0)
    assert len(units) == 50
    for canary in canaries:
        unit = units[canary.id]
        assert (unit.text, unit.language) == (canary.text, "python")
        assert [(s.start, s.end, s.kind) for s in unit.secrets] == [
            (canary.secret.start, canary.secret.end, canary.kind)
        ]


def test_a_run_can_be_made_of_the_file(say) -> None:
    """All that `memaudit run` does with a corpus before it trains."""
    assert say("--count", "120", "-o", "c.jsonl").code == 0
    changes = ["source=jsonl", 'path="c.jsonl"']
    recipe = parse(
        TINY,
        where="tiny",
        changes=[f"corpus.{c}" for c in changes]
        + ["cohorts.sensitive=0", "cohorts.overlap=1", "cohorts.longest=200"],
    )
    population = populate(load("jsonl", "c.jsonl"), recipe)
    known = {c.id: c for c in generate(count=120, seed=0)}
    assert len(population.examples) == 24
    for example in population.examples:
        canary = known[example.id]
        assert example.text == canary.text
        assert example.secrets == (canary.secret,)
    assert {p.kind for p in population.probes} == {"secret"}
    assert not {e.id for e in population.public} & {e.id for e in population.examples}


# --- refusals


def refused(said: Said) -> str:
    assert said.code == 2, said.err
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("memaudit: error: ")
    return said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count: expected at least 1, got 0"),
        (["--count", "-4"], "--count: expected at least 1, got -4"),
        (["--seed", "-1"], "--seed: expected at least 0, got -1"),
        (["--strata", ""], "--strata: expected numbers from 1 to 999999999 with commas between"),
        (["--strata", "1,,4"], "such as 1,4,16,64, got '1,,4'"),
        (["--strata", "0,4"], "got '0,4'"),
        (["--strata", "-1"], "got '-1'"),
        (["--strata", "1.5"], "got '1.5'"),
        (["--strata", "1,x"], "got '1,x'"),
        (["--strata", "٣"], "--strata: expected numbers"),
        (["--strata", "1" * 5000], "got '" + "1" * 60 + "...'"),
        (["--strata", "4,1,04"], "--strata: expected every number once, got '4,1,04'"),
        (["--registry", "c.jsonl"], "--registry: expected another file than --output, got c.jsonl for both"),
        (
            ["--registry", "./x/../c.jsonl"],
            "--registry: expected a file in a directory that exists, got x/../c",
        ),
        (["--registry", "none/r"], "--registry: expected a file in a directory that exists, got none/r"),
        (["-o", "none/c.jsonl"], "--output: expected a file in a directory that exists, got none/c.jsonl"),
        (["-o", "."], "--output: expected a file, got ., which is a directory"),
        (["-o", "/dev/null", "--registry", "r", "--force"], "got /dev/null, which is no regular file"),
        (["-o", "x" * 300], "--output: expected the name of a file, got"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(say, arguments, message) -> None:
    said = say("-o", "c.jsonl", *arguments)
    assert message in refused(said)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("there", ["c.jsonl", "c.registry.jsonl"])
def test_a_file_that_is_there_stays_unless_forced(say, there) -> None:
    Path(there).write_text("mine")
    line = refused(say("-o", "c.jsonl"))
    assert f"expected a file that is not there yet, got {there}; set --force to replace it" in line
    assert Path(there).read_text() == "mine"
    assert [p.name for p in Path().iterdir()] == [there]
    assert say("-o", "c.jsonl", "--force").code == 0
    assert len(lines_of("c.jsonl")) == len(lines_of("c.registry.jsonl")) == 60


def test_two_names_of_one_file_are_one_file(say) -> None:
    Path("c.jsonl").write_text("mine")
    Path("r.jsonl").symlink_to("c.jsonl")
    assert "expected another file than --output" in refused(
        say("-o", "c.jsonl", "--registry", "r.jsonl", "--force")
    )
    assert Path("c.jsonl").read_text() == "mine"


def test_more_than_there_are_is_refused(say, monkeypatch) -> None:
    monkeypatch.setattr(probes.canaries, "_NEAREST", 0.75)
    line = refused(say("--count", "300", "-o", "c.jsonl"))
    assert re.search(r"--count: expected a count of at most \d+ for seed 0, got 300; set --count lower", line)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_disk_that_is_full_leaves_nothing_half_done(say, monkeypatch, failing) -> None:
    """Whichever of the two writes and two replacements fails, what is there is whole."""
    Path("c.jsonl").write_text("mine")
    Path("c.registry.jsonl").write_text("mine too")
    calls = []

    def failing_one(method):
        def call(path, *arguments, **options):
            calls.append(method)
            if len(calls) == failing:
                if method == "write_text":
                    path.write_bytes(b"half a li")
                raise OSError(28, "No space left on device", str(path))
            return original[method](path, *arguments, **options)

        return call

    original = {name: getattr(Path, name) for name in ("write_text", "replace")}
    with monkeypatch.context() as patch:
        for name in original:
            patch.setattr(Path, name, failing_one(name))
        said = say("-o", "c.jsonl", "--force")
    line = refused(said)
    assert "expected to write it, got: No space left on device" in line
    assert sorted(p.name for p in Path().iterdir()) == ["c.jsonl", "c.registry.jsonl"]
    assert Path("c.registry.jsonl").read_text() == "mine too"
    if failing < 4:
        assert Path("c.jsonl").read_text() == "mine"
    else:
        assert len(lines_of("c.jsonl")) == 60


def test_an_unsafe_canary_is_never_written(say, monkeypatch) -> None:
    room = sys.modules["memaudit.cli.probes.canaries"]
    monkeypatch.setattr(room, "check", lambda canary: ("it is a real one",) if canary.kind == "card" else ())
    with pytest.raises(RuntimeError, match="is not safe, and nothing was written: it is a real one"):
        say("-o", "c.jsonl")
    assert list(Path().iterdir()) == []


def test_help_says_what_the_files_are(say) -> None:
    said = say("--help")
    assert said.code == 0
    for part in ("Usage: memaudit probes canaries", "Example", "registry", "--force", "1,4,16,64"):
        assert part in said.out
