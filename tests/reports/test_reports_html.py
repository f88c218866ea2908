import base64
import hashlib
import re
from unittest.mock import patch

import pytest
from determinism import assert_equal_bytes
from findings_sample import HOSTILE, build, empty, renamed
from hypothesis import example, given, settings
from hypothesis import strategies as st
from parsed import Page

from reports import Findings, Segment, render_html
from reports.escape import visible

NAMES = {"sft": HOSTILE[0], "ppo": HOSTILE[3], "reward": HOSTILE[6], "ipo": HOSTILE[5], "A": HOSTILE[1]}


def quick(findings: Findings) -> Page:
    """Render without plotly's five megabytes, for tests that read the page many times."""
    with patch("reports.html.get_plotlyjs", return_value="var Plotly;"):
        return Page(render_html(findings))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_html(renamed(build(), NAMES)))


def test_the_page_holds_three_scripts_and_the_policy_names_two(page: Page):
    runs = [body for values, body in page.scripts if values == {}]
    assert [values for values, _ in page.scripts] == [
        {"type": "application/json", "id": "report-data"},
        {},
        {},
    ]
    hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in runs]
    assert re.findall(r"'sha256-([^']+)'", page.policy) == hashes
    assert len(runs[0]) > 1_000_000, "plotly is inside, once"


def test_the_policy_allows_nothing_from_elsewhere(page: Page):
    parts = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert "unsafe" not in parts["script-src"]
    assert parts["img-src"] == "data:"
    assert set(parts) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_nothing_on_the_page_points_elsewhere_or_handles_events(page: Page):
    for tag, values in page.elements:
        assert tag not in {"iframe", "object", "embed", "base", "img", "textarea"}
        assert not [name for name in values if name.startswith("on")]
        assert not {"src", "srcset", "action", "formaction", "srcdoc"} & set(values)
        assert re.fullmatch(r"min-height: \d+px", values.get("style", "min-height: 0px"))
        assert values.get("href", "#").startswith(("#", "data:,"))


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_shown_and_nothing_else(page: Page, hostile: str):
    shown = visible(hostile).replace("\n", "⏎\n")
    assert shown in page.text, "evidence quotes it, its line breaks marked"
    assert "\x00" not in page.text
    assert "\u202e" not in page.text


def test_a_hostile_name_is_a_name_in_every_table(page: Page):
    shown = visible(HOSTILE[0], lines=False)
    assert page.text.count(shown) > 20
    options = [values["value"] for tag, values in page.elements if tag == "option"]
    assert {visible(name, lines=False) for name in NAMES.values()} - {HOSTILE[1]} <= set(options)


def test_nothing_in_the_file_hides_or_reorders_text():
    with patch("reports.html.get_plotlyjs", return_value="var Plotly;"):
        text = render_html(renamed(build(), NAMES))
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text) == []


def test_names_do_not_change_the_page(page: Page):
    plain = quick(build())
    assert plain.shape == quick(renamed(build(), NAMES)).shape == page.shape


SMALL = build(per_stratum=1)


def leaking(text: str) -> Page:
    """Render a page that quotes one text wherever a page quotes hostile texts."""
    parts = [Segment(op="replace", reason="code", target=f"<{text}", completion=f"{text}\n&lt;")]
    leak = SMALL.evidence[0].model_copy(update={"source": text, "prefix": f"x{text}", "segments": parts})
    return quick(SMALL.model_copy(update={"evidence": [leak]}))


@example(HOSTILE[1])
@example(HOSTILE[5])
@example("\"'><b onclick=x>&amp;")
@settings(max_examples=20)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_leaves_the_page_its_shape(text: str):
    page = leaking(text)
    letters_only = re.sub("[^█\n]+", "x", text)  # masks and line breaks are marked up
    assert page.shape == leaking(letters_only).shape
    assert visible(f"<{text}").replace("\n", "⏎\n") in page.text
    assert visible(text, lines=False) in page.text


def test_data_for_scripts_cannot_end_its_script(page: Page):
    body = next(body for values, body in page.scripts if values.get("id"))
    assert not re.search("[<>&\u2028\u2029]", body)
    assert body.isascii()
    figures = page.data["figures"]
    plots = [values["id"] for tag, values in page.elements if values.get("class") == "plot"]
    assert sorted(figures) == sorted(plots)
    assert len(plots) == len(set(plots)) > 20


def test_the_sections_come_in_their_order(page: Page):
    sections = [values["id"] for tag, values in page.elements if tag == "section"]
    assert sections == ["graph", "rates", "detail", "flow", "dose", "waits", "distance", "levels", "likelihood",
                        "attacks", "canaries", "quizzes", "noise", "training", "evidence", "examples", "run",
                        "reading"]  # fmt: skip
    contents = [values["href"] for tag, values in page.elements if tag == "a"][1 : len(sections) + 2]
    assert contents == ["#headline", *(f"#{name}" for name in sections)]
    heads = [values for tag, values in page.elements if tag == "th"]
    assert heads
    assert all(values["scope"] in ("row", "col") for values in heads)
    tables = sum(tag == "table" for tag, _ in page.elements)
    assert tables == sum(tag == "caption" for tag, _ in page.elements)


def test_ids_are_unique(page: Page):
    ids = [values["id"] for _, values in page.elements if "id" in values]
    assert len(ids) == len(set(ids))


def test_cells_tell_what_the_cohort_met():
    marks = [
        values.get("class", "").split() for tag, values in quick(build(hostile=False)).elements if tag == "td"
    ]
    cells = [mark[0] for mark in marks if mark[-1:] in (["more"], ["open"], ["less"])]
    assert len(cells) == 8 * 15, "four levels and two definitions of five stages and three cohorts"
    for start in range(0, len(cells), 15):
        view = cells[start : start + 15]
        assert [view.count(kind) for kind in ("direct", "indirect", "none")] == [7, 1, 7]


def test_what_is_cut_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("reports.html.EXAMPLES_SHOWN", 10)
    findings = build(hostile=False)
    page = quick(findings)
    assert f"Showing 10 of {len(findings.examples)} examples." in page.text
    assert f"Showing {len(findings.evidence)} of {findings.evidence_total} leaks" in page.text


def test_of_too_many_examples_those_that_leaked_are_listed(monkeypatch: pytest.MonkeyPatch):
    findings = build(hostile=False)
    leaked = [row.id for row in findings.examples if any(o.exposed and not o.control for o in row.outcomes)]
    monkeypatch.setattr("reports.html.EXAMPLES_SHOWN", len(leaked) + 5)
    page = quick(findings)
    listed = [
        values["title"] for tag, values in page.elements if tag == "td" and values.get("class") == "hash"
    ]
    assert set(listed[: len(leaked)]) == set(leaked)
    assert len(listed) == len(page.data["examples"]["rows"]) == len(leaked) + 5
    monkeypatch.setattr("reports.html._CELLS", 140)
    assert len(quick(findings).data["examples"]["rows"]) == 10, "with many stages fewer are listed"


def test_each_leak_has_its_life_and_its_exposures():
    findings = build(hostile=False)
    page = quick(findings)
    assert sum(values.get("class") == "life" for _, values in page.elements) == len(findings.evidence)
    leak = findings.evidence[0]
    row = next(row for row in findings.examples if row.id == leak.example)
    assert f"{row.shown[0].times} times as {row.shown[0].role}, steps 3 to 396" in page.text


def test_masks_are_marked_as_such():
    page = quick(build(hostile=False))
    masks = [values for tag, values in page.elements if values.get("class") == "mask"]
    assert {values.get("title") for values in masks} == {"masked", "masked, secret 12", None}
    assert "█12" + "█" * 21 in page.text


def test_a_run_in_which_nothing_was_measured_has_a_page():
    page = quick(empty())
    for words in ("Nothing was measured", "No rates were measured.", "No transitions were recorded",
                  "No stage has finished.", "No probe was asked twice",
                  "No example came out", "No examples were recorded."):  # fmt: skip
        assert words in page.text
    assert page.data["figures"] == {}


def test_equal_findings_give_equal_bytes():
    assert_equal_bytes(
        "findings_sample:build()",
        "reports:render_html",
        "reports:render_markdown",
        "reports:render_json",
    )


def test_a_script_that_could_end_early_is_refused():
    with (
        patch("reports.html.get_plotlyjs", return_value="x = '</script>'"),
        pytest.raises(ValueError, match="expected a script that can stand in a page"),
    ):
        render_html(SMALL)


def test_visible_shows_what_hides():
    assert visible("a\x00b\x7f\u202e\u200b\r\n\t") == "a␀b␡‹U+202E›‹U+200B›␍\n\t"
    assert visible("a\n\tb", lines=False) == "a␊␉b"
    assert visible("naïve = 'Ω→█'") == "naïve = 'Ω→█'"
