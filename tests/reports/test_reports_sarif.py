"""SARIF: valid by the official schema, every leak in it, at its place, and nothing of what leaked."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import findings_sample
import pytest
import tally_sample
from findings_sample import HOSTILE, build, renamed
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, FormatChecker

from reports import Findings, Tally, render_sarif
from reports.address import address

SCHEMA = Path(__file__).parent / "schemas" / "sarif-schema-2.1.0.json"
VALIDATOR = Draft4Validator(json.loads(SCHEMA.read_text()), format_checker=FormatChecker())
NAMES = {"sft": "[x](http://192.0.2.1/) {0} \\", "ppo": HOSTILE[3], "reward": HOSTILE[5], "A": HOSTILE[4]}
SAMPLES: dict[str, Findings | Tally] = {
    "run": build(),
    "names": renamed(build(), NAMES),
    "nothing": findings_sample.empty(),
    "model": tally_sample.build(hostile=True),
    "training": tally_sample.training(hostile=True, stage=NAMES["sft"]),
    "uncontrolled": tally_sample.build(control=False),
    "unasked": tally_sample.empty(),
}


def run_of(found: Findings | Tally) -> dict[str, Any]:
    (run,) = json.loads(render_sarif(found))["runs"]
    return run


def results(found: Findings | Tally) -> list[dict[str, Any]]:
    return run_of(found)["results"]


def by_example(findings: Findings) -> dict[str, dict[str, Any]]:
    found = results(findings)
    named = {result["properties"]["example"]: result for result in found}
    assert len(named) == len(found)
    return named


def place(result: dict[str, Any]) -> tuple[str, str | None, int, int]:
    where = result["locations"][0]["physicalLocation"]
    artifact, region = where["artifactLocation"], where["region"]
    return artifact["uri"], artifact.get("uriBaseId"), region["startLine"], region["endLine"]


def with_examples(findings: Findings, **changes: Any) -> Findings:
    """The same change to every example, and no evidence."""
    examples = [example.model_copy(update=changes) for example in findings.examples]
    return findings.model_copy(update={"examples": examples, "evidence": []})


def test_the_schema_is_the_official_one():
    assert VALIDATOR.schema["id"] == json.loads(render_sarif(SAMPLES["run"]))["$schema"]  # pyright: ignore
    assert sha256(SCHEMA.read_bytes()).hexdigest() in (SCHEMA.parent / "README.md").read_text()
    Draft4Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_log_is_valid(name: str):
    text = render_sarif(SAMPLES[name])
    assert list(VALIDATOR.iter_errors(json.loads(text))) == []
    assert text.isascii()
    assert render_sarif(SAMPLES[name].model_copy(deep=True)) == text


def test_every_leak_of_a_run_is_a_result_whether_it_has_evidence_or_not():
    findings = build()
    exposure = {(row.stage, row.cohort): row.exposure for row in findings.totals}
    expected = {}
    for example in findings.examples:
        for outcome in example.outcomes:
            leaks = (outcome.exposed and not outcome.control) or outcome.secret
            if leaks and exposure[outcome.stage, example.cohort] != "none":
                expected.setdefault(example.id, outcome.stage)
    found = by_example(findings)
    assert len(found) > len(findings.evidence)
    assert {name: result["properties"]["stage"] for name, result in found.items()} == expected
    assert by_example(findings.model_copy(update={"evidence": []})) == found


def test_what_came_out_before_it_was_shown_is_no_leak():
    findings = build()
    unshown = [row.model_copy(update={"exposure": "none"}) for row in findings.totals]
    assert results(findings.model_copy(update={"totals": unshown})) == []


@pytest.mark.parametrize("said", [False, True])
def test_a_secret_that_the_control_says_too_is_no_leak(said: bool):
    findings = build(strength=0.0)
    first = findings.examples[0]
    outcomes = [
        o.model_copy(
            update={"exposed": False, "secret": o.stage == "sft", "control_secret": said, "distance": 0.4}
        )
        for o in first.outcomes
    ]
    found = results(
        findings.model_copy(update={"examples": [first.model_copy(update={"outcomes": outcomes})]})
    )
    assert [(r["ruleId"], r["level"]) for r in found] == ([] if said else [("whole-secret", "error")])


def test_a_kind_of_leak_has_a_rule_with_help_and_a_level():
    run = run_of(build())
    rules = run["tool"]["driver"]["rules"]
    assert [(rule["id"], rule["defaultConfiguration"]["level"]) for rule in rules] == [
        ("whole-secret", "error"),
        ("verbatim-copy", "error"),
        ("near-copy", "warning"),
    ]
    assert all(rule["help"]["text"] and rule["fullDescription"]["text"] for rule in rules)
    assert {result["ruleId"] for result in run["results"]} == {"whole-secret", "near-copy"}
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == rules[result["ruleIndex"]]["defaultConfiguration"]["level"]
    order = [(result["ruleIndex"], result["properties"]["distance"]) for result in run["results"]]
    assert order == sorted(order)
    equal = [e.model_copy(update={"outcomes": [o.model_copy(update={"distance": 0.0, "secret": None})
                                               for o in e.outcomes]}) for e in build().examples]  # fmt: skip
    verbatim = results(build().model_copy(update={"examples": equal}))
    assert {result["ruleId"] for result in verbatim} == {"verbatim-copy"}


def test_a_leak_is_the_same_over_runs_whatever_its_stage_its_lines_and_its_file():
    findings = build()
    moved = with_examples(
        renamed(findings, {"sft": "tuning"}), source="elsewhere.py", first_line=900, last_line=907
    )
    before, after = by_example(findings), by_example(moved)
    prints = {name: result["partialFingerprints"] for name, result in before.items()}
    assert prints == {name: result["partialFingerprints"] for name, result in after.items()}
    for key in ("memauditExample/v1", "primaryLocationLineHash"):
        assert len({found[key] for found in prints.values()}) == len(before)
    run, again = run_of(findings), run_of(build(seed=1))
    category = [one["automationDetails"]["id"].rpartition("/")[0] for one in (run, again)]
    assert category[0] == category[1]
    assert run["automationDetails"]["id"] != again["automationDetails"]["id"]


def test_a_result_stands_at_its_file_and_lines_and_says_how_near_it_came():
    findings = build(hostile=False)
    examples = {example.id: example for example in findings.examples}
    for name, result in by_example(findings).items():
        example, about = examples[name], result["properties"]
        base = "SYNTHETIC" if example.kind == "sensitive" else "CORPUS"
        assert place(result) == (example.source, base, example.first_line, example.last_line)
        outcome = next(o for o in example.outcomes if o.stage == about["stage"])
        assert (about["distance"], about["controlDistance"]) == (outcome.distance, outcome.control_distance)
        assert about["outAfter"] == [o.stage for o in example.outcomes if o.exposed or o.secret]
        assert (about["cohort"], about["twin"]) == (example.cohort, example.half)
        assert about["timesShown"] in (example.repetition, 2 * example.repetition)
        assert f'after stage "{about["stage"]}". Distance {outcome.distance:.2f}' in result["message"]["text"]


def test_times_shown_are_those_of_the_models_own_past():
    findings = build(hostile=False)
    leaked = next(e for e in findings.examples if by_example(findings).get(e.id, {}).get("properties", {}).get("cohort")
                  == "reward" and by_example(findings)[e.id]["properties"]["stage"] == "ipo")  # fmt: skip
    assert [shown.stage for shown in leaked.shown] == ["reward", "ipo"]
    found = by_example(findings)[leaked.id]["properties"]
    assert (found["stage"], found["timesShown"]) == ("ipo", leaked.repetition)


@pytest.mark.parametrize(
    ("kind", "source", "expected"),
    [
        ("harvested", "pkg/a b#1?.py", ("pkg/a%20b%231%3F.py", "CORPUS", 3, 5)),
        ("harvested", "pkg/\\x80\\u200b\\\\n.py", ("pkg/%80%E2%80%8B%5Cn.py", "CORPUS", 3, 5)),
        ("harvested", "javascript:alert(1)", ("javascript%3Aalert%281%29", "CORPUS", 3, 5)),
        ("harvested", "//192.0.2.1/x.py", ("file:///192.0.2.1/x.py", None, 3, 5)),
        ("harvested", "a/./b//../c.py", ("a/c.py", "CORPUS", 3, 5)),
        ("given", "texts.jsonl:3", ("texts.jsonl", "CORPUS", 3, 5)),
        ("given", "ticket 7: x", ("ticket%207%3A%20x", "GIVEN", 3, 5)),
        ("sensitive", "synthetic/path/0a.py", ("synthetic/path/0a.py", "SYNTHETIC", 3, 5)),
    ],
)
def test_a_source_becomes_the_address_of_what_it_is(kind: str, source: str, expected: tuple):
    run = run_of(with_examples(build(), kind=kind, source=source, first_line=3, last_line=5))
    assert {place(result) for result in run["results"]} == {expected}
    assert {"CORPUS", "GIVEN", "SYNTHETIC"} == set(run["originalUriBaseIds"])


@pytest.mark.parametrize("source", ["", ".", "/", "../secrets.py", "a/../../b.py", "\\x2e./b.py"])
def test_what_is_no_file_below_the_root_has_a_name_and_no_address(source: str):
    found = results(with_examples(build(), source=source))
    assert found
    for result in found:
        (where,) = result["locations"]
        assert where == {"logicalLocations": [{"fullyQualifiedName": source, "kind": "resource"}]}


def test_lines_begin_at_one_and_end_behind():
    for result in results(with_examples(build(), first_line=0, last_line=-4)):
        assert place(result)[2:] == (1, 1)


@given(st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(HOSTILE))
def test_an_address_stays_below_its_root_and_names_the_file(name: str):
    escaped = "".join(c if c.isprintable() and c != "\\" else f"\\U{ord(c):08x}" for c in name)
    found = address(escaped)
    if found is None:
        return
    assert re.fullmatch(r"(file://)?[A-Za-z0-9/._~%-]+", found)
    if found.startswith("file:"):
        assert urlsplit(found).netloc == ""
        assert name.startswith("/")
        return
    whole = urljoin("https://root.invalid/corpus/", found)
    assert whole == f"https://root.invalid/corpus/{found}"
    if not {"", ".", ".."} & set(name.split("/")):
        assert unquote_to_bytes(found) == name.encode()


def test_names_in_messages_are_neither_links_nor_placeholders():
    for name in ("names", "training"):
        for result in results(SAMPLES[name]):
            text = result["message"]["text"]
            assert not re.search(r"(?<!\\)(\\\\)*\[", text)
            assert not re.search(r"(?<!\{)(\{\{)*\{(?!\{)", text)
            assert text.isprintable()
    assert any(
        "\\[x\\](http://192.0.2.1/) {{0}} \\\\" in r["message"]["text"] for r in results(SAMPLES["names"])
    )


@pytest.mark.parametrize("sample", [build(), tally_sample.build()], ids=["run", "model"])
def test_no_text_of_training_or_completion_is_written(sample: Findings | Tally):
    leaks = "evidence" if isinstance(sample, Findings) else "leaks"
    marked = [
        leak.model_copy(
            update={
                "prefix": "MARKED prefix",
                "segments": [
                    s.model_copy(update={"target": "MARKED", "completion": "MARKED"}) for s in leak.segments
                ],
            }
        )
        for leak in getattr(sample, leaks)
    ]
    assert marked
    text = render_sarif(sample.model_copy(update={leaks: marked}))
    assert "MARKED" not in text
    assert text == render_sarif(sample)


def test_of_a_model_the_listed_leaks_are_results_and_the_others_are_counted():
    tally = tally_sample.build()
    run = run_of(tally)
    assert len(run["results"]) == len(tally.leaks) < tally.leaks_total
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"] == f"The worst 12 of {tally.leaks_total} leaks are listed."
    leaks = {leak.probe: leak for leak in tally.leaks}
    for result in run["results"]:
        leak = leaks[result["properties"]["probe"]]
        assert place(result) == (leak.source, "CORPUS", leak.first_line, leak.last_line)
        assert f"Distance {leak.normalized:.2f}, control's at least" in result["message"]["text"]
        assert (result["ruleId"] == "whole-secret") == (leak.secret == "whole")
    notes = run_of(SAMPLES["uncontrolled"])["invocations"][0]["toolExecutionNotifications"]
    assert "There was no control" in notes[-1]["message"]["text"]
    assert all("may have been guessed" in r["message"]["text"] for r in results(SAMPLES["uncontrolled"]))
    assert all(
        'after step 400 of stage "\\[x\\]' in r["message"]["text"] for r in results(SAMPLES["training"])
    )


def test_a_run_says_how_it_ended():
    findings = build()
    (invocation,) = run_of(findings)["invocations"]
    assert invocation["startTimeUtc"] == "2026-01-02T03:04:05Z"
    assert (invocation["commandLine"], invocation["executionSuccessful"]) == (findings.run.command, True)
    times = findings.times.model_copy(update={"started": "then", "finished": None})
    (open_,) = run_of(findings.model_copy(update={"times": times}))["invocations"]
    assert open_ == {"commandLine": findings.run.command, "executionSuccessful": False}
