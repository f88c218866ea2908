"""The page of a study, as HTML and as Markdown."""

import base64
import hashlib
import re
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from determinism import assert_equal_bytes
from findings_sample import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from study_sample import LISTS, build, empty, hostile
from test_reports_html import Page

from reports import StudyReport, render_json, render_study_html, render_study_markdown
from reports.escape import visible
from reports.phrases import share
from reports.study_claims import MEANINGS, SIGNS

READER = MarkdownIt("commonmark").enable("table")
STUDY = build()
SECTIONS = ["claims", "sweeps", "outcomes", "kept", "likelihood", "dose", "survival", "levels", "sampled", "secrets",
            "power", "arms", "repeat", "reading"]  # fmt: skip
NUMBER = re.compile(r"(?<![\w.])[<>]?[+−]?\d+(?:\.\d+)?")


def quick(report: StudyReport) -> Page:
    """Render without plotly's five megabytes."""
    with patch("reports.study_html.get_plotlyjs", return_value="var Plotly;"):
        return Page(render_study_html(report))


def words(page: Page) -> str:
    return page.text.replace("\u00a0", " ")


def ids(page: Page) -> list[str]:
    return [values["id"] for tag, values in page.elements if tag == "section"]


def tables(text: str) -> dict[str, list[list[str]]]:
    """Rows of the tables of a Markdown document by the heading above them; of several below one, the first."""
    found: dict[str, list[list[str]]] = {}
    heading, row, inside = "", [], False
    tokens = READER.parse(text)
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[place + 1].content
        elif token.type == "table_open":
            inside = heading not in found
            if inside:
                found[heading] = []
        elif token.type == "tr_open":
            row = []
        elif token.type in ("th_open", "td_open"):
            row.append("".join(child.content for child in tokens[place + 1].children or []))
        elif token.type == "tr_close" and inside:
            found[heading].append(row)
        elif token.type == "table_close":
            inside = False
    return found


TABLES = tables(render_study_markdown(STUDY))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_study_html(hostile()))


def test_the_document_reads_back_equal():
    for report in (STUDY, hostile(), empty()):
        text = render_json(report)
        assert StudyReport.model_validate_json(text) == report
        assert render_json(StudyReport.model_validate_json(text)) == text
        assert text.isascii()


def test_the_policy_names_the_two_scripts_and_nothing_from_elsewhere(page: Page):
    runs = [body for values, body in page.scripts if values == {}]
    hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in runs]
    assert len(page.scripts) == 3
    assert re.findall(r"'sha256-([^']+)'", page.policy) == hashes
    assert len(runs[0]) > 1_000_000, "plotly is inside, once"
    parts = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert "unsafe" not in parts["script-src"]
    assert set(parts) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_nothing_on_the_page_points_elsewhere_or_handles_events(page: Page):
    for tag, values in page.elements:
        assert tag not in {"iframe", "object", "embed", "base", "img", "textarea", "svg"}
        assert not [name for name in values if name.startswith("on")]
        assert not {"src", "srcset", "action", "formaction", "srcdoc"} & set(values)
        assert re.fullmatch(r"min-height: \d+px", values.get("style", "min-height: 0px"))
        assert values.get("href", "#").startswith(("#", "data:,"))


def test_the_page_is_one_file_of_a_few_megabytes():
    assert len(render_study_html(STUDY).encode()) < 6_000_000


@pytest.mark.parametrize("odd", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_shown_and_nothing_else(page: Page, odd: str):
    assert page.text.count(visible(odd, lines=False)) > 3
    with patch("reports.study_html.get_plotlyjs", return_value="var Plotly;"):
        text = render_study_html(hostile())
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text) == []


def test_names_do_not_change_the_page(page: Page):
    plain = quick(STUDY).shape
    # It lists more corpora and missing runs, but has the same tables.
    assert [tag for tag, _ in plain if tag in ("tr", "th", "td", "table", "section")] == [
        tag for tag, _ in page.shape if tag in ("tr", "th", "td", "table", "section")
    ]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_text_leaves_the_page_its_shape(text: str):
    def quoting(odd: str) -> StudyReport:
        small = build(arms=("base",))
        claim = small.claims[1].model_copy(update={"text": odd, "note": odd, "where": odd, "measure": odd})
        none = {name: [] for name in LISTS}
        return small.model_copy(update={**none, "name": odd, "text": odd, "corpus": [odd], "claims": [claim]})

    found = quick(quoting(text))
    assert found.shape == quick(quoting("x")).shape
    assert visible(text, lines=False).replace("\u00a0", " ") in words(found)


def test_the_sections_come_in_their_order(page: Page):
    assert ids(page) == SECTIONS
    links = [values["href"] for tag, values in page.elements if tag == "a"][1:]
    assert links == ["#headline", *(f"#{name}" for name in SECTIONS)]
    heads = [values for tag, values in page.elements if tag == "th"]
    assert all(values["scope"] in ("row", "col", "rowgroup") for values in heads)
    assert sum(tag == "table" for tag, _ in page.elements) == sum(
        tag == "caption" for tag, _ in page.elements
    )
    found = [values["id"] for _, values in page.elements if "id" in values]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("field", "gone"),
    [
        ("claims", ["claims"]), ("sweeps", ["sweeps"]), ("cells", ["outcomes", "secrets"]), ("kept", ["kept"]),
        ("shifts", ["likelihood"]), ("doses", ["dose"]), ("survival", ["survival"]), ("sampled", ["sampled"]),
        ("power", ["power"]), ("arms", ["arms"]), ("ladder", []), ("lengths", []),
    ],
)  # fmt: skip
def test_a_section_without_anything_is_left_out(field: str, gone: list[str]):
    report = STUDY.model_copy(update={field: []})
    assert ids(quick(report)) == [name for name in SECTIONS if name not in gone]
    headings = re.findall("^## (.*)$", render_study_markdown(report), re.MULTILINE)
    whole = re.findall("^## (.*)$", render_study_markdown(STUDY), re.MULTILINE)
    assert len(whole) - len(headings) == len(gone)


def test_a_study_of_which_nothing_is_done_has_a_page():
    found = quick(empty())
    assert ids(found) == ["repeat", "reading"]
    assert found.data["figures"] == {}
    assert "0 arms () were run with no seed" in words(found)
    assert "| --- |" in render_study_markdown(empty()), "its versions"


def test_every_plot_has_its_figure_and_its_caption(page: Page):
    plots = [values["id"] for tag, values in page.elements if values.get("class") == "plot"]
    assert sorted(page.data["figures"]) == sorted(plots)
    assert len(plots) == 3 + 1 + 3 + 2 + 1
    captions = [tag for tag, _ in page.elements if tag == "figcaption"]
    assert len(captions) == len(plots)


def test_verdicts_are_words():
    rows = {row[0].split(" ")[0]: row[-1] for row in TABLES["Memorization study: `kl`"][1:]}
    assert rows == {
        "P1": "✓ holds", "P2": "? not resolved", "P3": "✗ contradicted", "P4": "– not tested", "L1": "✓ holds",
        "R1": "✓ holds",
    }  # fmt: skip
    text = words(quick(STUDY))
    for verdict, sign in SIGNS.items():
        assert f"{sign} {verdict}" in text
        assert MEANINGS[verdict] in text
    assert "Of 4 headline claims, 1 holds, 1 is contradicted, 1 is not resolved and 1 is not tested." in text


def test_the_claims_come_first_headlines_before_others():
    head, *rows = TABLES["Memorization study: `kl`"]
    assert head == ["Claim", "Measured", "95 % interval", "p", "Verdict"]
    assert rows[0][1:4] == ["41.2 %", "38.3 to 44.1 %", "< 0.001"]
    assert [row[0].split(" ")[0] for row in rows] == ["P1", "P2", "P3", "P4", "L1", "R1"]
    assert rows[3][1:4] == ["–", "–", "–"]
    details = re.findall(r"^- \*\*(\w+):\*\*", render_study_markdown(STUDY), re.MULTILINE)
    assert details == [row[0].split(" ")[0] for row in rows]
    assert rows[4][1:3] == ["+0.03 nats per token", "+0.01 to +0.05"]
    text = words(quick(STUDY))
    assert (
        "What could have been seen: 6.2 % or more. Rewards differ among the arms by more than a tenth."
        in text
    )


def test_what_is_missing_is_said():
    said = "2 runs are missing (lr-high/seed-3/A, lr-high/seed-3/B): what is said here is said without them."
    assert said in words(quick(STUDY))
    assert "missing" not in words(quick(STUDY.model_copy(update={"missing": []})))


def test_outcomes_hold_the_counts_of_near_copies_at_level_exact():
    head, *rows = TABLES["What comes out, by arm and stage"]
    assert head[2:] == ["Cohort sft", "Cohort reward", "Cohort ppo"]
    named = {"direct": "shown", "indirect": "only indirectly", "none": "not shown yet"}
    found = {}
    for row in rows:
        for title, cell in zip(head[2:], row[2:], strict=True):
            found[row[0], row[1], title.removeprefix("Cohort ")] = cell
    chosen = [row for row in STUDY.cells if (row.kind, row.definition, row.level) == ("all", "near", "exact")]
    assert len(found) == len(chosen)
    for row in chosen:
        gap = row.difference
        cell = found[row.arm, row.stage, row.cohort]
        assert cell.startswith(f"{row.exposed} against {row.control} of {row.total}; ")
        assert cell.endswith(f"({share(gap.low)} to {share(gap.high)}); {named[row.exposure]}")


def test_what_was_not_shown_is_marked():
    marks = [values.get("class", "") for tag, values in quick(STUDY).elements if tag == "td"]
    shown = {("all", "near"), ("sensitive", "secret"), ("harvested", "near")}
    chosen = [row for row in STUDY.cells if row.level == "exact" and (row.kind, row.definition) in shown]
    for exposure in ("direct", "indirect", "none"):
        there = [mark for mark in marks if re.fullmatch(f"{exposure} (more|less|open)", mark)]
        assert len(there) == sum(row.exposure == exposure for row in chosen)


def test_what_is_kept_and_what_became_likelier_stand_as_they_were_counted():
    rows = TABLES["What is kept"][1:]
    for row, found in zip(STUDY.kept, rows, strict=True):
        assert found[:4] == [row.arm, f"{row.before} → {row.stage}", row.cohort,
                             f"{row.kept} of {row.total} ({share(row.kept / row.total)} %)"]  # fmt: skip
        assert found[6] == str(row.acquired)
    rows = TABLES["How much likelier the text became"][1:]
    for row, found in zip(STUDY.shifts, rows, strict=True):
        assert found[4] == f"{row.difference.value:+.2f}".replace("-", "−")
        assert found[7].startswith(f"{row.listed} of {row.total} (")


def test_sampling_stands_beside_what_is_greedy():
    head, *rows = TABLES["Greedy decoding and sampling"]
    assert head[3:] == ["Greedy, near", "Greedy, equal", "n = 10; temperature 1, top-k 40",
                        "n = 1000; temperature 1, top-k 40"]  # fmt: skip
    greedy = {(row.arm, row.stage, row.cohort, row.definition): row for row in STUDY.cells
              if (row.kind, row.level) == ("all", "exact")}  # fmt: skip
    sampled = {(row.arm, row.stage, row.cohort, row.samples): row for row in STUDY.sampled}
    for arm, stage, cohort, *cells in rows:
        kinds = [greedy[arm, stage, cohort, "near"], greedy[arm, stage, cohort, "equal"],
                 sampled[arm, stage, cohort, 10], sampled[arm, stage, cohort, 1000]]  # fmt: skip
        assert cells == [f"{row.exposed} against {row.control} of {row.total}" for row in kinds]


def test_levels_show_what_only_they_find_and_what_is_guessed():
    head, *rows = TABLES["What each level finds"]
    ladder = {(row.arm, row.stage, row.cohort, f"Level {row.level}"): row for row in STUDY.ladder}
    for arm, stage, cohort, *cells in rows:
        for level, cell in zip(head[3:], cells, strict=True):
            row = ladder[arm, stage, cohort, level]
            assert cell == f"{row.memorized} of {row.total}; {row.only} only here; {row.guessed} guessed"


def test_what_nothing_can_show_is_said_so():
    assert [row[-1] for row in TABLES["What the study could see"][1:]] == ["14.3 %", "8.1 %", "0.21 nats per token",
                                                                           "none"]  # fmt: skip


def test_noise_versions_and_the_command_are_told():
    text = words(quick(STUDY))
    for said in ("3 of 1280 (0.2 %) verdicts differed", "jax 0.10.1", STUDY.command, "48212 seconds (13.4 hours)",
                 "stages.ppo.kl_coefficient = 0.3"):  # fmt: skip
        assert said in text
    assert f"```sh\n{STUDY.command}\n```" in render_study_markdown(STUDY)
    assert "verdicts differed" not in words(quick(STUDY.model_copy(update={"flips": (0, 0)})))


def numbers(value: object) -> Iterator[float]:
    """Every number of a report, also inside its texts."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(key)
            yield from numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, str):
        yield from (float(found.replace("−", "-").lstrip("<>+")) for found in NUMBER.findall(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


@pytest.mark.parametrize("report", [STUDY, build(seed=3), build(strength=0)], ids=["one", "another", "zero"])
def test_every_number_in_a_table_is_in_the_report(report: StudyReport):
    plain = report.model_dump()
    known = set(numbers(plain))
    allowed = {form for value in known for form in forms(value)}
    pairs = [(row.kept, row.total) for row in report.kept] + [
        (row.listed, row.total) for row in report.shifts
    ]
    pairs += [(row.guessed, row.total) for row in report.lengths]
    pairs += [pair for row in report.doses for pair in zip(row.memorized, row.totals, strict=True)]
    allowed |= {share(count / total) for count, total in pairs if total}
    for heading, rows in tables(render_study_markdown(report)).items():
        for row in rows[1:]:
            for cell in row:
                for found in NUMBER.findall(cell):
                    assert found in allowed or found == "0.001", f"{heading}: {cell}"


def forms(value: float) -> set[str]:
    """The ways in which a page may write a number."""
    plain = f"{value:.2f}".replace("-", "−")
    nats = f"{value:+.2f}".replace("-", "−")
    written = share(value)
    whole = {str(int(value))} if value.is_integer() else set()
    return {plain, nats, written, f"+{written}", f"{value:.2g}", f"{value:g}", repr(value)} | whole


def test_markdown_holds_hostile_names_as_text_only():
    text = render_study_markdown(hostile())
    kinds = [token.type for token in READER.parse(text)]
    inline = [child.type for token in READER.parse(text) for child in token.children or []]
    assert not {"html_block", "blockquote_open"} & set(kinds)
    assert not {"html_inline", "link_open", "image", "em_open"} & set(inline)
    assert "\x00" not in text
    assert "\u202e" not in text
    plain = [token.type for token in READER.parse(render_study_markdown(STUDY))]
    for kind in ("heading_open", "table_open", "tr_open", "fence"):
        assert kinds.count(kind) == plain.count(kind)


def test_every_row_of_markdown_has_as_many_cells_as_its_head():
    for report in (STUDY, hostile(), build(strength=0)):
        for heading, rows in tables(render_study_markdown(report)).items():
            assert len({len(row) for row in rows}) == 1, heading
            assert len(rows) > 1


def test_equal_reports_give_equal_bytes():
    assert_equal_bytes(
        "study_sample:hostile()",
        "reports:render_study_html",
        "reports:render_study_markdown",
        "reports:render_json",
    )
