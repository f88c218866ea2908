"""Every string of the hostile corpus through every format: none does anything, none changes what a document is made of.

Nothing is written as comma-separated values; what a sheet would take for a formula is text in all that there is.
"""

import io
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import comparison_sample
import findings_sample
import gate_sample
import pyarrow.parquet as pq
import pytest
import study_sample
import tally_sample
import yaml
from hostile import CORPUS, STRINGS, infested, rounds, texts_in
from jsonschema import Draft4Validator, FormatChecker
from markdown_it import MarkdownIt
from parsed import Page
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Sheet
from rich.console import Console

from memaudit.audit import MODEL
from memaudit.cli import check, compare
from memaudit.cli.terminal import Terminal
from memaudit.ledger import LEDGER, Ledger
from memaudit.parquet import write_observations
from memaudit.records import Example, Observation, Probe, StageRecord
from reports import (
    render_card,
    render_html,
    render_json,
    render_markdown,
    render_sarif,
    render_study_html,
    render_study_markdown,
    render_tally_html,
    render_tally_markdown,
)
from reports.comparison_html import render_comparison_html
from reports.comparison_markdown import render_comparison_markdown
from reports.escape import markdown_name, markdown_text, visible
from reports.gate_markdown import render_gate_markdown
from reports.junit import render_junit

Pairs = dict[str, list[tuple[Any, Any]]]

SAMPLES: dict[str, Callable[[], Any]] = {
    "findings": lambda: findings_sample.build(per_stratum=4, hostile=False),
    "tally": lambda: tally_sample.training(weak=False, stage="sft"),
    "study": study_sample.build,
    "comparison": comparison_sample.build,
    "gate": gate_sample.build,
}
OURS = frozenset(
    {
        # Words of a few, which are written as they are, or which decide what is written.
        *("Bound.judged", "RuleRow.rule", "RuleRow.quantity", "PowerRow.unit", "ClaimRow.unit", "Sweep.unit"),
        *("Asked.kind", "Asked.role", "CheckpointRow.kind"),
        *("Gate.checked", "Gate.policy_digest"),  # a time and a hash
    }
)
"""Texts that nobody but the program writes."""
TURNS = 2
"""Each string goes into so many fields of a document."""
PAGES = {
    "findings": render_html,
    "tally": render_tally_html,
    "study": render_study_html,
    "comparison": render_comparison_html,
}
TEXTS = {
    "findings": render_markdown,
    "tally": render_tally_markdown,
    "study": render_study_markdown,
    "comparison": render_comparison_markdown,
    "gate": render_gate_markdown,
}
CARDS = ["findings", "tally"]
SARIF = Draft4Validator(
    json.loads((Path(__file__).parent / "schemas" / "sarif-schema-2.1.0.json").read_text()),
    format_checker=FormatChecker(),
)
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
WORDS = {"text", "code_inline", "softbreak", "text_special"}
UNSEEN = {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160), 0xAD, 0x34F, 0x3164, 0xFE0F, 0xFEFF)} | {
    chr(code) for code in (*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070))
}  # fmt: skip
REFERENCE = re.compile(r'[@#!~%&][\w"]|\bGH-\d', re.IGNORECASE)
"""What GitHub and GitLab take for a reference, in the text of a finished page."""
ADDRESS = re.compile(r"www\.|://", re.IGNORECASE)
"""What they take for an address, in Markdown."""


@pytest.fixture(scope="module")
def made() -> Pairs:
    """By document: records that hold the whole corpus, each with its harmless twin."""
    return {
        name: [pair for turn in range(TURNS) for pair in rounds(build(), keep=OURS, turn=turn)]
        for name, build in SAMPLES.items()
    }


def test_the_corpus_is_large_and_goes_whole_into_every_document(made: Pairs):
    assert len(set(STRINGS)) == len(STRINGS) >= 200
    assert len(CORPUS) >= 14
    for name, pairs in made.items():
        assert set(STRINGS) <= set().union(*(texts_in(bad.model_dump()) for bad, _ in pairs)), name


# pages


def quick(render: Callable[[Any], str], record: Any) -> str:
    """The page without plotly."""
    stub = "var Plotly;"
    with (
        patch("reports.html.get_plotlyjs", return_value=stub),
        patch("reports.study_html.get_plotlyjs", return_value=stub),
        patch("reports.comparison_html.get_plotlyjs", return_value=stub),
    ):
        return render(record)


def skeleton(page: Page) -> list[tuple[str, str]]:
    """Headings, sections and what can be linked to, in their order."""
    named = [(tag, values.get("id", "")) for tag, values in page.elements]
    return [
        (tag, name) for tag, name in named if name or tag in {"h1", "h2", "h3", "section", "main", "title"}
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_elements_of_a_harmless_one(made: Pairs, name: str):
    for bad, good in made[name]:
        text = quick(PAGES[name], bad)
        page, twin = Page(text), Page(quick(PAGES[name], good))
        assert Counter(page.shape) == Counter(twin.shape)
        assert skeleton(page) == skeleton(twin)
        assert page.policy == twin.policy
        for tag, values in page.elements:
            assert not [key for key in values if key.startswith("on")]
            assert not {"src", "srcset", "action", "formaction", "srcdoc", "xlink:href"} & set(values)
            assert values.get("href", "#").startswith(("#", "data:,")), (tag, values)
        assert not set(text) & UNSEEN


def test_no_script_of_ours_makes_elements_or_code_of_texts():
    scripts = [
        path for path in (resources.files("reports") / "templates").iterdir() if path.name.endswith(".js")
    ]
    assert len(scripts) >= 2
    acts = r"innerHTML|outerHTML|insertAdjacentHTML|ContextualFragment|DOMParser|document\.write|\beval\b|Function\("
    assert [path.name for path in scripts if re.search(acts, path.read_text(encoding="utf-8"))] == []


# Markdown


@pytest.mark.parametrize("name", TEXTS)
def test_markdown_has_the_parts_of_a_harmless_one(made: Pairs, name: str):
    def parts(text: str) -> Counter[str]:
        tokens = [token for block in READER.parse(text) for token in (block, *(block.children or []))]
        return Counter(token.type for token in tokens if token.type not in WORDS)

    for bad, good in made[name]:
        text = TEXTS[name](bad)
        assert parts(text) == parts(TEXTS[name](good))
        assert not set(text) & UNSEEN


@pytest.mark.parametrize("write", [markdown_text, markdown_name])
def test_no_text_refers_to_anything_on_a_forge(write: Callable[[str], str]):
    found = 0
    for hostile in STRINGS:
        written = write(hostile)
        found += bool(REFERENCE.search(hostile) or ADDRESS.search(hostile))
        (block,) = READER.parseInline(f"x {written} x")
        # What stands in code is left alone; in the rest escapes are undone before references are looked for.
        told = "".join(
            "\0" if token.type == "code_inline" else token.content for token in block.children or []
        )
        assert not REFERENCE.search(told), hostile
        assert written.startswith("`") or not ADDRESS.search(written), hostile
    assert found > 50


@pytest.mark.parametrize("hostile", CORPUS["markdown"])
def test_a_text_begins_nothing_where_it_begins_a_line(hostile: str):
    for before in ("", "- ", "1. ", "> "):
        twin = [token.type for token in READER.parse(f"{before}x\n\nx\n")]
        assert [token.type for token in READER.parse(f"{before}{markdown_text(hostile)}\n\nx\n")] == twin


@pytest.mark.parametrize("name", CARDS)
def test_a_card_has_the_metadata_of_a_harmless_one(made: Pairs, name: str):
    def keys(value: Any) -> Any:
        if isinstance(value, dict):
            return sorted((key, keys(item)) for key, item in value.items())
        return [keys(item) for item in value] if isinstance(value, list) else type(value).__name__

    for bad, good in made[name]:
        heads = [yaml.safe_load(render_card(record).split("---\n")[1]) for record in (bad, good)]
        assert keys(heads[0]) == keys(heads[1])


# data


@pytest.mark.parametrize("name", SAMPLES)
def test_json_is_ascii_and_reads_back(made: Pairs, name: str):
    for bad, _ in made[name]:
        text = render_json(bad)
        assert text.isascii()
        assert not set(text) & UNSEEN
        assert type(bad).model_validate_json(text) == bad


def valid_places(text: str) -> list[str]:
    """Where the results of a log are, if it is valid and they are files below a root or absolute paths."""
    document = json.loads(text)
    SARIF.validate(document)
    assert not set(text) & UNSEEN
    (run,) = document["runs"]
    found = []
    for result in run["results"]:
        if "physicalLocation" not in result["locations"][0]:
            found.append("")  # a source that names no file below a root
            continue
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        address = urlsplit(place["uri"])
        assert address.netloc == address.query == address.fragment == ""
        assert (address.scheme, address.path[:1] == "/", "uriBaseId" in place) in (
            ("", False, True),
            ("file", True, False),
        )
        assert ".." not in address.path.split("/")
        assert not address.path.startswith("//")
        found.append(place["uri"])
    return found


@pytest.mark.parametrize("name", CARDS)
def test_sarif_is_valid_and_points_nowhere_else(made: Pairs, name: str):
    for bad, good in made[name]:
        assert len(valid_places(render_sarif(bad))) == len(valid_places(render_sarif(good))) > 0


def test_sarif_says_of_every_string_where_it_is():
    findings = findings_sample.build(per_stratum=4, hostile=False)
    first = next(row for row in findings.examples if any(outcome.exposed for outcome in row.outcomes))
    rows = [
        first.model_copy(update={"id": f"e{place}", "source": text}) for place, text in enumerate(STRINGS)
    ]
    found = valid_places(render_sarif(findings.model_copy(update={"examples": rows, "evidence": []})))
    assert len(found) == len(STRINGS)
    assert "" in found
    assert [place for place in found if place.startswith("file:")]


def test_junit_reads_back(made: Pairs):
    for bad, good in made["gate"]:
        found, twin = ET.fromstring(render_junit(bad)), ET.fromstring(render_junit(good))
        assert [(item.tag, list(item.attrib)) for item in found.iter()] == [
            (item.tag, list(item.attrib)) for item in twin.iter()
        ]
        said = {
            name.replace(" ", "") for case in found.iter("testcase") if (name := case.get("name")) is not None
        }
        # XML cannot hold U+FFFF, and a name has no spaces at its ends.
        rows = {visible(row.name, lines=False).replace("\uffff", "").replace(" ", "") for row in bad.rules}
        assert said == rows


def test_a_formula_stays_text_in_markdown():
    for text in CORPUS["sheets"]:
        shown = visible(text, lines=False)
        (block,) = READER.parseInline(markdown_name(text))
        assert "".join(token.content for token in block.children or []).strip() == shown.strip()


def test_every_string_is_text_in_parquet(tmp_path: Path):
    examples = [
        Example(
            id=f"{place} {text}", kind="given", language="python", text="a = 1\n", source=text, first_line=1,
            last_line=1,
        )
        for place, text in enumerate(STRINGS)
    ]  # fmt: skip
    cut = {"kind": "prefix", "prefix": "a =", "target": " 1\n", "prefix_tokens": (), "target_tokens": ()}
    probes = [Probe(id=place, example_id=one.id, **cut) for place, one in enumerate(examples, 1)]
    nothing = {"completion": "", "ended": True, "scores": None, "matches": {}, "recovered": {}}
    stage = StageRecord(id=MODEL, name=STRINGS[0], method="given", steps=0, seconds=0, audit_seconds=0)
    with Ledger(tmp_path / LEDGER) as ledger:
        ledger.add_examples(examples, probes, {"terms": {}, "versions": {}})
        ledger.enter(stage, MODEL, 0)
        said = [Observation(probe_id=probe.id, **nothing) for probe in probes]
        ledger.answers.add(ledger.answers.checkpoint(MODEL, 0), said)
        write_observations(ledger, tmp_path, tmp_path / "o.parquet")
    rows = pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert [row["source"] for row in rows] == STRINGS
    assert [row["example"] for row in rows] == [one.id for one in examples]
    assert {row["stage"] for row in rows} == {STRINGS[0]}


def test_half_a_character_can_be_written():
    """No record that is read from a file has one, but a name of the file system can."""
    for write in (visible, markdown_text, markdown_name):
        assert write("a\ud800\udcff").encode()


# what a terminal shows


@pytest.mark.parametrize(("name", "show"), [("gate", check.show), ("comparison", compare.show)])
def test_a_terminal_is_told_nothing_but_text(made: Pairs, name: str, show: Callable[[Any, Console], None]):
    for bad, good in made[name]:
        drawn, twin = io.StringIO(), io.StringIO()
        for record, out in ((bad, drawn), (good, twin)):
            show(record, Console(file=out, width=200, force_terminal=True, color_system=None))
        assert not set(drawn.getvalue()) & (UNSEEN - {"\x1b"})
        # Bold and the like come from us, links and everything else would not.
        codes = [re.findall(r"\x1b.{0,8}", out.getvalue()) for out in (drawn, twin)]
        assert {code.split("m")[0] for code in codes[0]} <= {code.split("m")[0] for code in codes[1]}


def test_progress_is_nothing_but_text():
    out = io.StringIO()
    with patch("memaudit.cli.terminal.Console", lambda **_: Console(file=out, width=200, color_system=None)):
        terminal = Terminal()
        for text in STRINGS:
            terminal.say(text)
    assert not set(out.getvalue()) & UNSEEN


# in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


DRAWN = "() => [...document.querySelectorAll('.plot:not([hidden] *)')].every(plot => plot.querySelector('.main-svg'))"
FITS = "() => document.documentElement.scrollWidth <= innerWidth"  # figures follow the window a little later


def elements(sheet: Sheet) -> Counter[str]:
    """Elements outside of figures, whoever made them."""
    names = "[...document.querySelectorAll('*:not(.plot *)')].map((item) => item.localName)"
    return Counter(sheet.evaluate(names))


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_nothing_runs_and_nothing_is_asked_for(browser: Browser, made: Pairs, name: str, tmp_path: Path):
    file, twin = tmp_path / "page.html", tmp_path / "twin.html"
    pairs = made[name][: len(made[name]) // TURNS]
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    heard, asked = [], []
    for place, (bad, good) in enumerate(pairs):
        file.write_text(PAGES[name](bad), encoding="utf-8")
        scheme = ("light", "dark")[place % 2]
        page = context.new_page()
        page.emulate_media(color_scheme=scheme)
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message) or dialog.dismiss())
        page.on("popup", lambda popup: heard.append(popup.url))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        page.wait_for_function(DRAWN)
        page.wait_for_function(FITS)
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_function(FITS)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1047})  # A4 less Chromium's margins
        page.wait_for_function(FITS)
        page.emulate_media(media="screen")
        # What waits for a pointer or the focus gets it.
        page.evaluate(
            """() => { for (const item of document.querySelectorAll('main *')) {
                 item.dispatchEvent(new MouseEvent('mouseover', { bubbles: false }));
                 if (item.tabIndex >= 0) item.focus({ preventScroll: true }); } }"""
        )
        # plotly makes elements of some texts.
        assert (
            page.evaluate(
                "document.querySelectorAll('.plot :is(a, script, image, iframe, [href], [style*=url])').length"
            )
            == 0
        )
        assert page.evaluate("[window.owned, ({}).owned]") == [None, None]
        if place == 0:
            found = elements(page)
            twin.write_text(PAGES[name](good), encoding="utf-8")
            page.goto(twin.as_uri())
            assert found == elements(page)
        page.close()
    context.close()
    assert heard == []
    assert {url.split("#")[0] for url in asked} == {file.as_uri(), twin.as_uri()}


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["prototype", "plots"])
def test_a_figure_says_what_is_written_in_light_and_in_dark(browser: Browser, tmp_path: Path, kind: str):
    numbered = infested(study_sample.build(), map("t{}".format, count()), keep=OURS)
    drawn = texts_in(Page(quick(render_study_html, numbered)).data["figures"])
    short = [text for text in CORPUS[kind] if len(text) <= 28]  # longer ones are cut
    left = iter(short)
    names = (next(left, one) if one in drawn else one for one in map("t{}".format, count()))
    record = infested(study_sample.build(), names, keep=OURS)
    (tmp_path / "page.html").write_text(render_study_html(record), encoding="utf-8")
    used = short[: len(short) - len(list(left))]
    assert len(used) >= 5
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_function(DRAWN)
        said = page.locator(".plot text").all_text_contents()
        assert [text for text in used if text not in said] == [], scheme
        assert page.locator(".plot a").count() == 0
        page.close()
