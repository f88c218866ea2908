import re

import pytest
from findings_sample import HOSTILE, build, empty, renamed
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports import render_markdown
from reports.escape import markdown_block, markdown_name, visible

READER = MarkdownIt("commonmark").enable("table")
NAMES = {"sft": HOSTILE[0], "ppo": HOSTILE[3], "reward": HOSTILE[7], "ipo": HOSTILE[5], "A": HOSTILE[1]}
HARMLESS = {"text", "code_inline", "softbreak"}


def kinds(text: str) -> list[str]:
    """List every token of a document, those inside lines as well."""
    found = []
    for token in READER.parse(text):
        found.append(token.type)
        found += [child.type for child in token.children or []]
    return found


def test_hostile_names_are_text_only():
    text = render_markdown(renamed(build(), NAMES))
    found = set(kinds(text))
    assert not found & {
        "html_block",
        "html_inline",
        "link_open",
        "image",
        "em_open",
        "strong_open",
        "blockquote_open",
    }
    assert kinds(text).count("heading_open") == kinds(render_markdown(build())).count("heading_open")
    assert "\x00" not in text
    assert "\u202e" not in text


def test_every_row_has_as_many_cells_as_its_head():
    tokens = READER.parse(render_markdown(renamed(build(), NAMES)))
    rows, cells = [], 0
    for token in tokens:
        if token.type == "tr_open":
            cells = 0
        elif token.type in ("th_open", "td_open"):
            cells += 1
        elif token.type == "tr_close":
            rows.append(cells)
        elif token.type == "table_close":
            assert len(set(rows)) == 1
            assert len(rows) > 1
            rows = []
    text = render_markdown(renamed(build(), NAMES))
    for line in text.splitlines():
        if line.startswith("| ") and "&#124;" in line:
            return
    raise AssertionError("expected a hostile name with a pipe in a table")


def test_the_worst_leaks_are_quoted_whole():
    findings = build()
    blocks = [token.content for token in READER.parse(render_markdown(findings)) if token.type == "fence"]
    for leak in findings.evidence[:10]:
        for side in ("target", "completion"):
            whole = visible("".join(getattr(segment, side) for segment in leak.segments))
            assert whole.removesuffix("\n") + "\n" in blocks
    assert f"Showing 10 of {findings.evidence_total}." in render_markdown(findings)


@given(st.text(st.sampled_from("`~ \n#|<a"), max_size=30))
def test_a_fence_holds_any_text(text: str):
    tokens = READER.parse(markdown_block(text) + "\n\nafter\n")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content == visible(text).removesuffix("\n") + "\n"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_name_is_harmless_in_a_sentence_and_in_a_cell(name: str):
    shown = visible(name, lines=False)
    for text in (
        f"After {markdown_name(name)}, x",
        f"| a | b |\n| --- | --- |\n| {markdown_name(name)} | x |",
    ):
        tokens = READER.parse(text)
        inline = [child for token in tokens for child in token.children or []]
        assert {child.type for child in inline} <= HARMLESS
        assert len([token for token in tokens if token.type == "td_open"]) in (0, 2)
        assert " ".join(shown.split()) in " ".join("".join(child.content for child in inline).split())


@pytest.mark.parametrize(
    "name", ["@someone", "#12", "www.example.com", "www.1.example (x)", "https://example.com", "a_b_c*d*"]
)
def test_a_name_that_a_forge_acts_on_is_broken_up_or_code(name: str):
    written = markdown_name(name)
    assert written.startswith("`") or not re.search(r"[@#*_]|www\.|://", written.replace("&#", ""))


def test_the_page_opens_with_the_headline_and_ends_with_the_command():
    findings = build(hostile=False)
    text = render_markdown(findings)
    assert text.startswith("# Memorization audit: `quickstart`\n\n- It leaks: ")
    assert f"```sh\n{findings.run.command}\n```" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert sum("| not yet shown |" in row for row in rows) == 7 + 7 + 2, "rates, likelihoods and questions"


def test_a_run_in_which_nothing_was_measured_has_a_page():
    text = render_markdown(empty())
    assert "- Nothing was measured: the table of rates is empty." in text
    assert "worst leaks" not in text
