"""The page of a comparison, as HTML and as Markdown."""

import base64
import hashlib
import re
from unittest.mock import patch

import pytest
from comparison_sample import EACH, audits, build, empty, hostile
from determinism import assert_equal_bytes
from findings_sample import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from test_reports_html import Page
from test_reports_study import NUMBER, READER, forms, ids, numbers, words

from reports import comparison, render_json
from reports.comparison import Comparison
from reports.comparison_html import render_comparison_html
from reports.comparison_markdown import render_comparison_markdown
from reports.escape import visible
from reports.phrases import chance, share

TWO = build()
APART = build(shared=0)
PARTLY = build(shared=12)
SAMPLES = {
    "strict": TWO,
    "partial": PARTLY,
    "none": APART,
    "audits": audits(),
    "alone": audits(control=False),
}
SECTIONS = ["pairs", "rates", "became", "gone", "population", "settings", "reading"]


def quick(report: Comparison) -> Page:
    """Render without plotly's five megabytes."""
    with patch("reports.comparison_html.get_plotlyjs", return_value="var Plotly;"):
        return Page(render_comparison_html(report))


def tables(text: str) -> list[tuple[str, list[list[str]]]]:
    """The tables of a Markdown document in their order, each with the heading above it."""
    found: list[tuple[str, list[list[str]]]] = []
    heading, row = "", []
    tokens = READER.parse(text)
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[place + 1].content
        elif token.type == "table_open":
            found.append((heading, []))
        elif token.type == "tr_open":
            row = []
        elif token.type in ("th_open", "td_open"):
            row.append("".join(child.content for child in tokens[place + 1].children or []))
        elif token.type == "tr_close":
            found[-1][1].append(row)
    return found


def table(report: Comparison, heading: str) -> list[list[str]]:
    return next(rows for title, rows in tables(render_comparison_markdown(report)) if title == heading)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_comparison_html(hostile()))


def test_every_field_of_the_contract_is_documented():
    schema = Comparison.model_json_schema()
    own = {
        name
        for name, model in vars(comparison).items()
        if getattr(model, "__module__", "") == comparison.__name__
    }
    bare = [
        f"{name}.{field}"
        for name, model in {"Comparison": schema, **schema["$defs"]}.items()
        for field, about in model["properties"].items()
        if name in own and "description" not in about
    ]
    assert len(own) == 8
    assert bare == []


@pytest.mark.parametrize("report", [*SAMPLES.values(), hostile(), empty()])
def test_the_document_reads_back_equal(report: Comparison):
    text = render_json(report)
    assert Comparison.model_validate_json(text) == report
    assert text.isascii()


def test_the_policy_names_the_two_scripts_and_nothing_from_elsewhere(page: Page):
    runs = [body for values, body in page.scripts if values == {}]
    hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in runs]
    assert re.findall(r"'sha256-([^']+)'", page.policy) == hashes
    assert page.policy.startswith("default-src 'none'")
    assert len(runs) == 2


def test_nothing_on_the_page_points_elsewhere_or_handles_events(page: Page):
    for tag, values in page.elements:
        assert tag not in {"iframe", "object", "embed", "base", "img", "textarea", "svg"}
        assert not [name for name in values if name.startswith("on")]
        assert not {"src", "srcset", "action", "formaction", "srcdoc"} & set(values)
        assert re.fullmatch(r"min-height: \d+px", values.get("style", "min-height: 0px"))
        assert values.get("href", "#").startswith(("#", "data:,"))


@pytest.mark.parametrize("odd", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_shown_and_nothing_else(page: Page, odd: str):
    assert visible(odd, lines=False) in page.text
    assert not re.findall("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", page.text)
    assert [tag for tag, _ in page.shape] == [tag for tag, _ in quick(TWO).shape]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_text_leaves_the_page_its_shape(text: str):
    small = audits()

    def quoting(odd: str) -> Comparison:
        changes = [change.model_copy(update={"source": odd, "example": odd}) for change in small.became[:1]]
        side = small.a.model_copy(update={"name": odd, "place": odd})
        settings = [small.settings[0].model_copy(update={"key": odd, "a": odd})]
        return small.model_copy(
            update={"a": side, "became": changes, "gone": [], "settings": settings, "command": odd}
        )

    found = quick(quoting(text))
    assert found.shape == quick(quoting("x")).shape
    assert visible(text, lines=False).replace("\u00a0", " ") in words(found)


def test_markdown_holds_hostile_names_as_text_only():
    tokens = READER.parse(render_comparison_markdown(hostile()))
    kinds = [token.type for token in tokens]
    inline = [child.type for token in tokens for child in token.children or []]
    assert not {"html_block", "blockquote_open"} & set(kinds)
    assert not {"html_inline", "link_open", "image", "em_open"} & set(inline)
    plain = [token.type for token in READER.parse(render_comparison_markdown(TWO))]
    for kind in ("heading_open", "table_open", "tr_open", "fence", "bullet_list_open", "list_item_open"):
        assert kinds.count(kind) == plain.count(kind)


@pytest.mark.parametrize("report", SAMPLES.values(), ids=SAMPLES)
def test_every_number_in_a_table_is_in_the_comparison(report: Comparison):
    allowed = {form for value in set(numbers(report.model_dump())) for form in forms(value)}
    changes = [*report.became, *report.gone]
    allowed |= {f"{value:.3f}" for change in changes for value in (change.distance_a, change.distance_b)}
    pairs = [row.paired for row in report.rows if row.paired]
    allowed |= {str(p.both + p.only_a + p.only_b + p.neither) for p in pairs}
    seen = 0
    for heading, rows in tables(render_comparison_markdown(report)):
        assert len({len(row) for row in rows}) == 1, heading
        for row in rows[1:]:
            for cell in row:
                for found in NUMBER.findall(cell):
                    seen += 1
                    assert found in allowed or found in ("0.001", "<0.1"), f"{heading}: {cell}"
    assert seen > 20


def test_pairs_stand_as_they_were_counted():
    _, *rows = table(TWO, "What changed, pair by pair")
    for row, found in zip(TWO.rows, rows, strict=True):
        pairs = row.paired
        assert pairs is not None
        assert found[3:8] == [str(n) for n in (EACH, pairs.both, pairs.only_a, pairs.only_b, pairs.neither)]
        gap = pairs.difference
        if pairs.p_value is None or pairs.p_adjusted is None:
            assert found[8:] == ["0.0", "–; not tested: same checkpoint"]
        else:
            assert found[8].endswith(f"; {share(gap.low)} to {share(gap.high)}")
            assert found[9] == f"{chance(pairs.p_adjusted)}; alone: {chance(pairs.p_value)}"
    assert rows[-1][0] == "ipo → ipo-hot"
    assert {row[2] for row in rows} >= {"shown", "not shown yet", "A: not shown yet; B: only indirectly"}


def test_the_headline_names_what_was_shown_and_the_unpaired_as_unpaired():
    text = words(quick(TWO))
    sure = [row for row in TWO.rows if row.paired and (row.paired.p_adjusted or 1) <= 0.05]
    assert sure
    assert text.count("is memorized in B after ") == len(sure)
    assert "Both have seed 3 and the same 180 examples: each is its own partner." in text
    apart = words(quick(APART))
    assert "No example is in both, so nothing can be paired. Unpaired, " in apart
    assert "The seeds differ: 3 and 4." in apart
    assert "Unpaired: B − A, points" in apart
    assert "Unpaired: B" not in text
    assert ids(quick(APART)) == [name for name in SECTIONS if name not in ("pairs", "became", "gone")]


def test_where_nothing_is_shown_that_is_not_said_to_be_nothing():
    rows = [
        row.model_copy(update={"paired": row.paired and row.paired.model_copy(update={"p_adjusted": 0.4})})
        for row in TWO.rows[:2]
    ]
    text = words(quick(TWO.model_copy(update={"rows": rows})))
    assert "At none of the 2 places that were tested is a difference shown" in text
    assert "That is not evidence that there is none" in text


def test_audits_have_no_cohorts_and_say_what_they_are_set_against():
    head, row = table(audits(), "What changed, pair by pair")
    assert (head[:3], row[1]) == (["After stage", "Of", "Pairs"], "all probes")
    for report, said in (
        (audits(), "and not of its control"),
        (audits(control=False), "may have been guessed"),
    ):
        text = words(quick(report))
        assert said in text
        assert "twin" not in text.lower()
        assert "2 questions have no answer in B." in text


def test_lists_say_how_many_there_are():
    _, *rows = table(TWO, "Became memorized")
    assert len(rows) == min(25, len(TWO.became)) < TWO.became_total
    assert f"{len(rows)} of {TWO.became_total}, worst first." in render_comparison_markdown(TWO)
    first = TWO.became[0]
    assert rows[0][0] == f"{first.source}, lines {first.first_line} to {first.last_line}; {first.example}"
    assert rows[0][6] == "in B"
    assert rows[0][4] == f"≥ {first.distance_a:.3f}"
    assert any(row[4].endswith("; guessed") for row in rows)


def test_the_sections_come_in_their_order(page: Page):
    assert ids(page) == SECTIONS
    links = [values["href"] for tag, values in page.elements if tag == "a"][1:]
    assert links == ["#headline", *(f"#{name}" for name in SECTIONS)]
    assert ids(quick(empty())) == ["settings", "reading"]
    plots = [values["id"] for _, values in page.elements if values.get("class") == "plot"]
    assert sorted(page.data["figures"]) == sorted(plots) == ["pairs-0"]
    assert sorted(quick(PARTLY).data["figures"]) == ["pairs-0", "rates-0"]


def test_equal_comparisons_give_equal_bytes():
    assert_equal_bytes(
        "comparison_sample:hostile()",
        "reports.comparison_html:render_comparison_html",
        "reports.comparison_markdown:render_comparison_markdown",
        "reports:render_json",
    )
