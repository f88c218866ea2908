import json
import random
from dataclasses import replace

import pytest

from benchmarks import fuzz, hostile, probes
from benchmarks.sources import changed, code, library, windows
from benchmarks.timing import Row, alternate
from probes import LANGUAGES, grammar, language_of

ROWS = [
    *(f"normalise/{language}" for language in LANGUAGES),
    "cached-targets",
    "compared-with-cached-target",
    "index",
    "index-bytes-a-token",
    "evidence",
    "evidence-opcodes",
    "evidence-opcodes-characters",
    "evidence-tokens",
    "scaling",
]
SIZES = {"rounds": 1, "windows": 2, "jobs": 20, "tokens": 2000, "queries": 100, "pairs": 1, "length": 40}
TINY = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]


# --- the comparisons


@pytest.mark.slow
def test_json_names_the_ratio_of_every_row(capsys):
    probes.main(["--json", *TINY])
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["ratios"]) == [row["name"] for row in printed["rows"]] == ROWS
    assert all(ratio > 0 for ratio in printed["ratios"].values())
    assert printed["missed"] == [row["name"] for row in printed["rows"] if row["reached"] is False]
    assert {row["name"]: row["bar"] for row in printed["rows"] if row["bar"] and "/" not in row["name"]} == {
        "cached-targets": 30,
        "index": 5,
        "index-bytes-a-token": 16,
        "evidence": 50,
        "scaling": 1.7,
    }


@pytest.mark.slow
def test_the_table_has_a_line_for_every_row_and_names_what_was_missed(capsys):
    probes.main(["--quick", *TINY, "--only", "targets", "index"])
    lines = capsys.readouterr().out.splitlines()
    assert "cores" in lines[0]
    assert [line.split()[0] for line in lines[2:6]] == ROWS[8:12]
    assert lines[-1].startswith("bars missed: ")


@pytest.mark.slow
def test_code_of_a_folder_is_read_instead_of_the_samples(tmp_path, capsys):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.go").write_bytes(b"package a\n" * 400)
    (tmp_path / "b.txt").write_bytes(b"no code")
    assert code("go", tmp_path) == (b"package a\n" * 400,)
    assert code("rust", tmp_path) == code("rust")
    probes.main([*TINY, "--only", "normalise", "--code", str(tmp_path)])
    assert "normalise/go" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "expected --rounds of at least 1, got 0"),
        (["--code", "nowhere"], "expected a folder of code, got nowhere"),
        (["--only", "speed"], "invalid choice: 'speed'"),
    ],
)
def test_wrong_arguments_are_told(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        probes.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ratio", "bar", "most", "reached"),
    [
        (2.0, 2, False, True),
        (1.9, 2, False, False),
        (2.0, 2, True, True),
        (2.1, 2, True, False),
        (2, None, True, None),
    ],
)
def test_a_bar_is_a_lower_or_an_upper_one(ratio, bar, most, reached):
    row = Row(name="a", ours="", theirs="", ratio=ratio, bar=bar, most=most)
    assert row.reached is reached
    assert row.as_json()["reached"] is reached


@pytest.mark.slow
def test_the_sides_take_turns_and_the_first_turn_does_not_count():
    turns = []
    ticks = iter([0, 100, 0, 100, 0, 1, 0, 10, 0, 3, 0, 20, 0, 2, 0, 60])
    sides = (lambda n: turns.append(("ours", n))), (lambda n: turns.append(("theirs", n)))
    assert alternate(*sides, rounds=3, clock=lambda: next(ticks)) == (2, 20)
    assert turns == [(side, number) for number in (-1, 0, 1, 2) for side in ("ours", "theirs")]
    with pytest.raises(ValueError, match="at least 1 round, got 0"):
        alternate(*sides, rounds=0)


def test_the_leaves_are_those_of_a_recursive_walk():
    tree = grammar("go").parse(code("go")[0])

    def walk(node):
        return [span for child in node.children for span in walk(child)] or [(node.start_byte, node.end_byte)]

    assert probes.leaves(tree) == walk(tree.root_node)


# --- the sources


def test_there_is_valid_code_of_every_language():
    for language in LANGUAGES:
        [text, *_] = code(language)
        assert not grammar(language).parse(text).root_node.has_error
        assert len(text) > 2270
    assert len(library()) > 100


def test_windows_lie_one_after_the_other_in_a_file():
    text = b"".join(b"%05d\n" % number for number in range(1000))
    for window in windows([text], 50, random.Random(0)):
        assert window.prompt + window.target in text
        assert len(window.target) == 770
        assert 1490 < len(window.prompt) <= 1500
        assert len(window.target.splitlines()[0]) == len(window.prompt.splitlines()[0]) == 5
    [short] = windows([b"x = 1\n"], 1, random.Random(0))
    assert len(short.target) == 770


def test_changed_texts_are_near_and_the_same_for_the_same_seed():
    text = library()[0]
    once = changed(text, random.Random(1))
    assert once == changed(text, random.Random(1)) != text
    assert changed(text, random.Random(1), share=0.0) == text
    assert abs(len(once) - len(text)) < len(text) / 20


# --- the fuzzer


def test_an_input_depends_on_seed_and_number_alone():
    cases = [hostile.make(number, 3) for number in range(300)]
    assert cases == [hostile.make(number, 3) for number in range(300)]
    assert {case.language for case in cases} == {*LANGUAGES, "cobol"}
    assert {case.kind for case in cases} > {
        "bytes",
        "scraps",
        "part",
        "mutated",
        "mixed_lines",
        "deep",
        "cut",
    }
    assert sum(case.text != hostile.make(case.number, 4).text for case in cases) > 200


def test_cuts_come_at_every_byte_of_a_file():
    [text, *_] = code("rust")
    numbers = [
        n for n in range(36 * (len(text) + 1)) if n % 36 == 32
    ]  # every fourth, in the sixth of nine languages
    cuts = [hostile.make(number, 0) for number in numbers[:400]]
    assert {(case.kind, case.language) for case in cuts} == {("cut", hostile.READ_AS[32 % 9])}
    source = code(hostile.READ_AS[32 % 9])[0]
    for at, case in enumerate(cuts):
        assert source[:at].endswith(case.prompt + case.text)
        assert len(case.text) == min(at, 160)


def test_a_run_finds_nothing_and_says_so(capsys, tmp_path):
    failures = tmp_path / "failures"
    assert fuzz.main(["--inputs", "60", "--workers", "1", "--failures", str(failures)]) == 0
    out = capsys.readouterr().out
    assert "60 inputs of seed 0" in out
    assert "failed: 0" in out
    assert [line.split()[0] for line in out.splitlines()[1:10]] == list(hostile.READ_AS)
    assert not failures.exists()


def test_a_run_that_was_stopped_goes_on_to_the_same_digest(tmp_path, capsys):
    state = tmp_path / "state"
    digests = []
    for arguments in (
        ["--inputs", "20", "--state", str(state)],
        ["--inputs", "45", "--state", str(state)],
        ["--inputs", "45"],
    ):
        assert fuzz.main([*arguments, "--workers", "1"]) == 0
        digests.append(capsys.readouterr().out.partition("digest ")[2][:16])
    assert digests[1] == digests[2] != digests[0]
    with pytest.raises(SystemExit):
        fuzz.main(["--inputs", "45", "--seed", "1", "--state", str(state)])
    assert "expected a state of the same seed" in capsys.readouterr().err


def test_inputs_that_are_slow_or_lost_are_failures_and_are_written_down(tmp_path, capsys):
    failures = tmp_path / "failures"
    arguments = ["--inputs", "4", "--workers", "1", "--failures", str(failures)]
    assert fuzz.main([*arguments, "--bound", "0.0000001"]) == 1
    rows = [json.loads(line) for line in failures.read_text().splitlines()]
    assert [row["number"] for row in rows] == list(range(4))
    assert all(row["failure"].startswith("slow: ") for row in rows)
    assert bytes.fromhex(rows[3]["text"]) == hostile.make(3, 0).text
    assert fuzz.main([*arguments, "--timeout", "0.0000001"]) == 1
    assert "timed out after 1e-07 s" in failures.read_text()
    assert "failed: 4" in capsys.readouterr().out


BROKEN = {
    "tokens lost": (
        "tokenize_all",
        lambda real: lambda *a, **k: {n: t[1:] for n, t in real(*a, **k).items()},
    ),
    "tokens twice": (
        "tokenize_all",
        lambda real: lambda *a, **k: {n: t + t for n, t in real(*a, **k).items()},
    ),
    "an error": ("compare", lambda real: lambda *a, **k: {}["x"]),
    "no level": ("compare_completion", lambda real: lambda *a, **k: dict(list(real(*a, **k).items())[:2])),
    "no evidence": ("align", lambda real: lambda *a, **k: []),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_function_is_found(broken, monkeypatch):
    name, breaking = BROKEN[broken]
    monkeypatch.setattr(hostile, name, breaking(getattr(hostile, name)))
    reports = [hostile.check(number, seed=0, bound=60.0) for number in range(40)]
    assert any(report.failure for report in reports)


def test_equality_that_is_lost_at_the_next_level_is_found(monkeypatch):
    real = hostile.compare

    def compare(*arguments, **options):
        found = real(*arguments, **options)
        return found | {"exact": replace(found["exact"], distance=0)}

    monkeypatch.setattr(hostile, "compare", compare)
    failures = [hostile.check(number, seed=0, bound=60.0).failure for number in range(40)]
    assert any("equality goes on to the next level" in failure for failure in failures if failure)


def test_samples_are_named_for_their_language():
    from pathlib import Path

    samples = sorted((Path(probes.__file__).parent / "samples").iterdir())
    assert sorted(str(language_of(path.name)) for path in samples) == sorted(set(LANGUAGES) - {"python"})
