"""The pages of a catalogue: what they say, where they lead, and that no text in them is anything but text."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from catalogue_sample import LEVELS, STAGES, life, listing
from hostile import STRINGS, rounds
from parsed import Page

from reports.catalogue import Life, Listing, Question
from reports.catalogue_html import policy, render_life, render_listing, render_refusal

OURS = frozenset({"sort", "out", "secret", "arm"})
SAMPLES: dict[str, tuple[Callable[[], Any], Callable[[Any], str]]] = {
    "listing": (listing, render_listing),
    "life": (life, render_life),
}
UNSEEN = {"\x00", "\x1b", "\x7f", "\x9b", "\xad", "\u200b", "\u202e", "\u2028", "\ufeff"}


def links(page: Page) -> list[str]:
    return [values["href"] for tag, values in page.elements if tag == "a"]


def asked(link: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(link).query, keep_blank_values=True))


def test_the_list_says_which_of_how_many_and_leads_to_each_example():
    page = Page(render_listing(listing()))
    assert "51 to 53 of 103 found, of 1,000 examples." in page.text
    examples = [asked(link) for link in links(page) if link.startswith("example?")]
    assert examples == [{"id": f"example-{n}", "level": "exact"} for n in range(3)]
    assert "report" in links(page)


def test_pages_and_heads_keep_the_question_and_change_their_part_of_it():
    page = Page(render_listing(listing(text="a b&c", least=0.25, descending=True)))
    whole = {
        "cohort": "sft", "level": "exact", "sort": "stage", "by": "sft", "text": "a b&c", "least": "0.25",
        "order": "desc",
    }  # fmt: skip
    found = [asked(link) for link in links(page) if link.startswith("./?")]
    assert found.count(whole) == 4, "the first page and the one before, above and below"
    assert found.count({**whole, "page": "3"}) == 4
    turned = {key: value for key, value in whole.items() if key != "order"}
    assert turned in found, "the head of the column that sorts turns the order"
    ascending = {**turned, "by": "ppo"}
    assert ascending in found
    heads = [values for tag, values in page.elements if tag == "th" and "aria-sort" in values]
    assert [values["aria-sort"] for values in heads] == ["descending"]


def test_a_question_comes_back_from_its_address_as_it_was():
    question = Question(
        level="exact", stage="a&b", least=0.1, most=1 / 3, out="only", text="é", times=4, sort="times",
        descending=True, page=7,
    )  # fmt: skip
    assert question.query() == {
        "level": "exact", "stage": "a&b", "least": "0.1", "most": repr(1 / 3), "out": "only", "text": "é", "times": "4",
        "sort": "times", "order": "desc", "page": "7",
    }  # fmt: skip


def test_the_form_shows_what_was_asked_and_every_control_has_a_label():
    page = Page(render_listing(listing(text="x", most=0.5, out="only", secret="kept", stage="ppo", times=4)))
    controls = [(tag, values) for tag, values in page.elements if tag in ("input", "select")]
    labels = {values["for"] for tag, values in page.elements if tag == "label"}
    assert {values["id"] for _, values in controls if values.get("type") != "hidden"} == labels
    values = {v["name"]: v["value"] for tag, v in controls if tag == "input"}
    assert values == {"text": "x", "least": "", "most": "0.5", "by": "sft"}
    chosen = [values["value"] for tag, values in page.elements if tag == "option" and "selected" in values]
    assert chosen == ["sft", "4", "ppo", "exact", "only", "kept", "stage", "asc"]


def test_marks_say_what_came_out_of_whom():
    text = render_listing(listing(rows=1))
    assert text.count('class="number outcome out"') == 1
    assert text.count(">c</b>") == text.count(">s</b>") == 2, "one in the caption"
    assert '<span title="at least">≥</span>0.31' in text


def test_an_audited_model_has_neither_cohorts_nor_exposures():
    text = render_listing(listing(audited=True, rows=2))
    assert "Cohort" not in text
    assert "of the model" in text
    text = render_life(life(audited=True))
    assert "When it was shown" not in text
    assert ">Model</th>" in text


def test_nothing_found_is_said():
    text = render_listing(listing(rows=0, page=1, pages=1))
    assert "None found, of 1,000 examples." in text
    assert "<table" not in text


def test_an_example_leads_to_each_of_its_answers_and_says_which_one_is_shown():
    page = Page(render_life(life()))
    found = [
        (v["href"], "aria-current" in v) for tag, v in page.elements if tag == "a" and "arm=" in v["href"]
    ]
    cells = [(asked(link), now) for link, now in found if link.endswith("#answer")]
    wanted = [
        ({"id": "example-1", "level": "exact", "stage": stage, "step": step, "arm": arm},
         (stage, step, arm) == ("sft", "4", "control"))
        for stage in STAGES for step in ("4", "8") for arm in ("exposed", "control")
    ]  # fmt: skip
    assert cells == wanted
    assert [asked(link)["level"] for link, _ in found if link.endswith("#life")] == LEVELS
    assert "What the control said after sft" in page.text
    assert "prefix 3 of 9" in page.text
    assert "It was not asked for yet." in render_life(life(answered=False))


@pytest.mark.parametrize("name", SAMPLES)
def test_no_string_of_the_hostile_corpus_is_anything_but_text(name: str):
    build, render = SAMPLES[name]
    met = set()
    for bad, good in rounds(build(), keep=OURS):
        text = render(bad)
        page, twin = Page(text), Page(render(good))
        assert Counter(page.shape) == Counter(twin.shape)
        assert not page.scripts
        assert not set(text) & UNSEEN
        for tag, values in page.elements:
            assert not [key for key in values if key.startswith("on")]
            assert not {"src", "srcset", "formaction", "srcdoc", "xlink:href", "style"} & set(values)
            assert values.get("action", "./") == "./"
            assert values.get("href", "#").startswith(("#", "data:,", "./", "example?", "report")), (
                tag,
                values,
            )
        met |= names(bad)
    assert met == set(STRINGS)


def names(record: Listing | Life) -> set[str]:
    found, left = set(), [record.model_dump()]
    while left:
        match left.pop():
            case str() as text:
                found.add(text)
            case dict() as inner:
                left += inner.values()
            case list() as inner:
                left += inner
    return found & set(STRINGS)


def test_hostile_ids_are_whole_in_the_addresses_that_lead_to_them():
    plain = listing(rows=1)
    for text in STRINGS:
        if not text:
            continue
        row = plain.rows[0].model_copy(update={"id": text})
        page = Page(render_listing(plain.model_copy(update={"rows": [row]})))
        (link,) = [link for link in links(page) if link.startswith("example?")]
        assert parse_qs(urlsplit(link).query, keep_blank_values=True)["id"] == [text]


def test_the_policy_allows_one_style_and_forms_that_lead_to_where_they_are():
    for text in (render_listing(listing()), render_life(life()), render_refusal("x", "y")):
        assert Page(text).policy == policy()
        assert [values for tag, values in Page(text).elements if tag in ("h1", "main")] != []
        assert text.count("<h1") == text.count("<main") == 1
    assert "script" not in policy()
    assert policy().startswith("default-src 'none'; style-src 'sha256-")
    assert policy().endswith("form-action 'self'")
