"""A gate as JUnit XML: what a CI system reads out of it, and what hostile names cannot put into it."""

import re
import xml.etree.ElementTree as ET

import pytest
from gate_sample import build, passing
from hypothesis import given
from hypothesis import strategies as st

from reports.gate import Gate
from reports.junit import render_junit

# Elements and attributes of Windy Road's JUnit.xsd, the stricter of the two schemas, and `skipped` of the other: what
# must be there, and what may be.
ATTRIBUTES = {
    "testsuites": (set(), set()),
    "testsuite": (
        {"id", "package", "name", "timestamp", "hostname", "tests", "failures", "errors", "time"},
        {"skipped"},
    ),
    "properties": (set(), set()),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "classname", "time"}, set()),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"type", "message"}, set()),
    "system-out": (set(), set()),
    "system-err": (set(), set()),
}
TOKENS = ("name", "classname", "package", "hostname")


def read(gate: Gate) -> ET.Element:
    """The one suite of a gate, as anybody's parser reads it."""
    root = ET.fromstring(render_junit(gate).encode())
    assert root.tag == "testsuites"
    (suite,) = root
    return suite


def cases(gate: Gate) -> dict[str, ET.Element]:
    return {case.attrib["name"]: case for case in read(gate).findall("testcase")}


@pytest.mark.parametrize(
    "gate", [build(), build(hostile=True), passing()], ids=["plain", "hostile", "passing"]
)
def test_it_has_the_shape_that_readers_of_junit_expect(gate: Gate) -> None:
    root = ET.fromstring(render_junit(gate).encode())
    for element in root.iter():
        must, may = ATTRIBUTES[element.tag]
        assert must <= set(element.attrib) <= must | may, element.tag
        for name in TOKENS:
            value = element.attrib.get(name, "x")
            assert value == " ".join(value.split()) != "", (element.tag, name)
    (suite,) = root
    order = [child.tag for child in suite]
    assert order == ["properties", *["testcase"] * len(gate.rules), "system-out", "system-err"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    assert all(len(case) <= 1 for case in suite.findall("testcase"))


def test_each_rule_is_a_case_and_the_numbers_add_up() -> None:
    suite = read(build())
    assert {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "9",
        "failures": "3",
        "errors": "1",
        "skipped": "1",
    }
    told = {name: [child.tag for child in case] for name, case in cases(build()).items()}
    assert told == {
        "holds": [],
        "crosses": ["failure"],
        "too few": ["failure"],
        "missing": ["error"],
        "may be missing": ["skipped"],
        "detected": [],
        "rises": ["failure"],
        "enough": [],
        "control": [],
    }
    assert "skipped" not in read(build().model_copy(update={"rules": build().rules[:2]})).attrib


def test_a_failure_says_its_numbers() -> None:
    found = cases(build())
    crossed = found["crosses"][0]
    assert crossed.attrib["message"] == (
        "3 of 500 (0.6 %), up to 1.5 %, cohort reward after ppo; bound: at most 1.25 %"
    )
    assert "exact one-sided 95 % bound, Clopper-Pearson" in (crossed.text or "")
    assert "Why: Because of x." in (crossed.text or "")
    few = found["too few"][0]
    assert "0 of 100 can only exclude 3.0 %: needs at least 2,995 examples" in few.attrib["message"]
    assert "cohort z after y, before it u: 1 of 90 (1.1 %), up to 5.0 %" in (few.text or "")
    assert found["missing"][0].attrib["message"] == "not applied: there is no stage v; bound: at most 0"
    rises = found["rises"][0].attrib["message"]
    assert rises.startswith("9 became and 1 no longer, of 60, p = 0.021")
    assert rises.endswith("bound: no rise with p < 0.05")


def test_the_output_has_a_line_for_each_rule_with_failing_ones_first() -> None:
    lines = (read(build()).findtext("system-out") or "").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["FAIL"] * 4 + ["skip"] + ["pass"] * 4


@given(st.text(st.characters(), max_size=30))
def test_no_name_can_break_the_document(name: str) -> None:
    gate = build()
    renamed = gate.model_copy(
        update={
            "place": name,
            "rules": [
                gate.rules[1].model_copy(update={"name": f"a{name}b", "why": name}),
                gate.rules[3].model_copy(update={"gaps": [name]}),
            ],
        }
    )
    suite = read(renamed)
    assert len(suite.findall("testcase")) == 2
    assert [case[0].tag for case in suite.findall("testcase")] == ["failure", "error"]
    text = render_junit(renamed)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", text)
    text.encode("utf-8")


def test_what_xml_forbids_is_shown_or_left_out() -> None:
    gate = build()
    name = "a\x00b\x1b[31m\ud800\ufffe]]><x y='1'>&amp;\"\u202e"
    (case,) = read(
        gate.model_copy(update={"rules": [gate.rules[0].model_copy(update={"name": name})]})
    ).findall("testcase")
    assert case.attrib["name"] == "a␀b␛[31m‹U+D800›]]><x y='1'>&amp;\"‹U+202E›"
