"""A gate in words and as Markdown: what it says of each outcome, and that names in it stay names."""

import re

import pytest
from findings_sample import HOSTILE
from gate_sample import build, found, passing, row
from markdown_it import MarkdownIt

from reports.document import render_json
from reports.gate import Gate
from reports.gate_markdown import render_gate_markdown
from reports.gate_statements import LISTED, bound, ordered, outcome, plain, sentences, short

READER = MarkdownIt("commonmark").enable("table")


def test_failing_rules_come_first_and_the_rest_in_the_order_of_the_policy() -> None:
    assert [(outcome(r), r.name) for r in ordered(build())] == [
        ("FAIL", "crosses"),
        ("FAIL", "too few"),
        ("FAIL", "missing"),
        ("FAIL", "rises"),
        ("skip", "may be missing"),
        ("pass", "holds"),
        ("pass", "detected"),
        ("pass", "enough"),
        ("pass", "control"),
    ]


def test_every_kind_of_rule_says_what_was_found_against_what() -> None:
    said = {r.name: (plain(short(r)), bound(r)) for r in build().rules}
    assert said == {
        "holds": ("0 of 100 (0.0 %), up to 3.0 %", "at most 5 %"),
        "crosses": ("3 of 500 (0.6 %), up to 1.5 %", "at most 1.25 %"),
        "too few": ("0 of 100 (0.0 %), up to 3.0 %", "at most 0.1 %"),
        "missing": ("not applied: there is no stage v", "at most 0"),
        "may be missing": ("not applied: nothing has a secret", "at most 0"),
        "detected": ("80 of 100 (80.0 %), down to 72.3 %", "at least 50 %"),
        "rises": ("9 became and 1 no longer, of 60, p = 0.021", "no rise with p < 0.05"),
        "enough": ("60 asked", "at least 50"),
        "control": ("the twin", "any control"),
    }


def test_a_rule_that_holds_only_where_it_could_be_applied_says_so() -> None:
    partly = row("x", "upper", 0.5, found(0, 100, edge=0.03), gaps=["no stage dpo"], passed=True)
    assert plain(short(partly)) == "0 of 100 (0.0 %), up to 3.0 %; not applied everywhere"
    failed = partly.model_copy(update={"passed": False, "verdict": "not applied"})
    assert plain(short(failed)) == "not applied: no stage dpo"
    assert plain(list(sentences(failed))[-1]) == "Not applied: no stage dpo."


def test_rounding_never_hides_on_which_side_of_a_bound_an_end_lies() -> None:
    for edge, shown in ((0.010049, "1.005"), (0.00996, "0.996"), (0.0100001, "1.00001"), (0.0125, "1.2")):
        (said,) = sentences(row("x", "upper", 0.01, found(0, 298, edge=edge, holds=edge <= 0.01)))
        assert f"up to {shown} %" in plain(said)


def test_a_long_list_of_places_is_cut_and_says_so() -> None:
    places = [found(9, 10, stage=f"s{n}", edge=0.99, holds=False) for n in range(LISTED + 5)]
    lines = [plain(parts) for parts in sentences(row("x", "upper", 0.5, *places))]
    assert len(lines) == LISTED + 1
    assert lines[-1] == "And 5 more places."


def test_the_markdown_says_it_all() -> None:
    text = render_gate_markdown(build())
    assert text.startswith("## Memorization gate `mine` on `runs/t`: NOT passed, 4 of 9 rules failed\n")
    assert (
        "| ❌ **fail** | crosses | 3 of 500 (0.6 %), up to 1.5 % | at most 1.25 % | cohort `reward` after"
        in text
    )
    assert "0 of 100 can only exclude 3.0 %: needs at least 2,995 examples" in text
    assert "### What this does not show" in text
    good = render_gate_markdown(passing())
    assert "NOT" not in good
    assert "### What failed" not in good


def test_the_json_is_read_back() -> None:
    gate = build(hostile=True)
    assert Gate.model_validate_json(render_json(gate)) == gate


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_names_in_markdown(name: str) -> None:
    gate = build()
    rules = [r.model_copy(update={"name": name, "why": name, "gaps": [name]}) for r in gate.rules]
    odd = gate.model_copy(
        update={
            "place": name,
            "name": name,
            "text": name,
            "not_shown": [name],
            "command": name,
            "rules": rules,
        }
    )
    text = render_gate_markdown(odd)
    tokens = [child for token in READER.parse(text) for child in (token, *(token.children or []))]
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "blockquote_open", "hr"}
    assert sum(token.type == "tr_open" for token in tokens) == 10
    assert all(sum(t.type == "td_open" for t in tokens) == 9 * 5 for _ in "x")
    headings = [token.tag for token in tokens if token.type == "heading_open"]
    assert headings == ["h2", "h3", "h3"]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b\u202a-\u202e\u2066-\u2069]", text)
