"""Every string of the hostile corpus through every format: none does anything, none changes what a document is made of.

No document is a sheet of comma-separated values; what a sheet would take for a formula is text in all that there are.
"""

import json
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import comparison_sample
import findings_sample
import gate_sample
import pytest
import study_sample
import tally_sample
import yaml
from hostile import CORPUS, STRINGS, rounds
from jsonschema import Draft4Validator
from markdown_it import MarkdownIt
from parsed import Page
from playwright.sync_api import Browser, sync_playwright

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
from reports.escape import visible
from reports.gate_markdown import render_gate_markdown
from reports.junit import render_junit

SAMPLES: dict[str, Callable[[], Any]] = {
    "findings": lambda: findings_sample.build(per_stratum=4, hostile=False),
    "tally": lambda: tally_sample.training(weak=False, stage="sft"),
    "study": study_sample.build,
    "comparison": comparison_sample.build,
    "gate": gate_sample.build,
}
OURS = frozenset(
    {"checked", "finished", "judged", "kind", "policy_digest", "quantity", "role", "rule", "started", "unit"}
)
"""Texts that nobody but the program writes: times, hashes, and words of a few."""
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
SARIF = Draft4Validator(
    json.loads((Path(__file__).parent / "schemas" / "sarif-schema-2.1.0.json").read_text())
)
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
WORDS = {"text", "code_inline", "softbreak", "text_special"}


@pytest.fixture(scope="module")
def made() -> dict[str, list[tuple[Any, Any]]]:
    """By document: records that hold the whole corpus, each with its harmless twin."""
    return {name: list(rounds(build(), keep=OURS)) for name, build in SAMPLES.items()}


def test_the_corpus_is_large_and_goes_whole_into_every_document(made: dict[str, list[tuple[Any, Any]]]):
    assert len(set(STRINGS)) == len(STRINGS) >= 200
    assert len(CORPUS) >= 14
    for name, pairs in made.items():
        texts = set()
        for bad, _ in pairs:
            walk = [bad.model_dump()]
            while walk:
                item = walk.pop()
                walk += (
                    [*item, *item.values()]
                    if isinstance(item, dict)
                    else item
                    if isinstance(item, list | tuple)
                    else []
                )
                texts |= {item} if isinstance(item, str) else set()
        assert set(STRINGS) <= texts, name


def quick(render: Callable[[Any], str], record: Any) -> str:
    stub = "var Plotly;"
    with (
        patch("reports.html.get_plotlyjs", return_value=stub),
        patch("reports.study_html.get_plotlyjs", return_value=stub),
        patch("reports.comparison_html.get_plotlyjs", return_value=stub),
    ):
        return render(record)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_elements_of_a_harmless_one(made: dict[str, list[tuple[Any, Any]]], name: str):
    for bad, good in made[name]:
        text = quick(PAGES[name], bad)
        page, twin = Page(text), Page(quick(PAGES[name], good))
        assert Counter(page.shape) == Counter(twin.shape)
        for tag, values in page.elements:
            assert not [key for key in values if key.startswith("on")]
            assert not {"src", "srcset", "action", "formaction", "srcdoc", "xlink:href"} & set(values)
            assert values.get("href", "#").startswith(("#", "data:,")), (tag, values)
        assert not set(text) & {
            chr(code) for code in (*range(9), *range(11, 32), 127, 0x202E, 0x2028, 0x200B)
        }


@pytest.mark.parametrize("name", TEXTS)
def test_markdown_has_the_parts_of_a_harmless_one(made: dict[str, list[tuple[Any, Any]]], name: str):
    def parts(text: str) -> Counter[str]:
        tokens = [token for block in READER.parse(text) for token in (block, *(block.children or []))]
        return Counter(token.type for token in tokens if token.type not in WORDS)

    for bad, good in made[name]:
        text = TEXTS[name](bad)
        assert parts(text) == parts(TEXTS[name](good))
        assert not set(text) & {
            chr(code) for code in (*range(9), *range(11, 32), 127, 0x202E, 0x2028, 0x200B)
        }


@pytest.mark.parametrize("name", ["findings", "tally"])
def test_a_card_has_the_metadata_of_a_harmless_one(made: dict[str, list[tuple[Any, Any]]], name: str):
    def keys(value: Any) -> Any:
        if isinstance(value, dict):
            return sorted((key, keys(item)) for key, item in value.items())
        return [keys(item) for item in value] if isinstance(value, list) else type(value).__name__

    for bad, good in made[name]:
        heads = [yaml.safe_load(render_card(record).split("---\n")[1]) for record in (bad, good)]
        assert keys(heads[0]) == keys(heads[1])


@pytest.mark.parametrize("name", SAMPLES)
def test_json_is_ascii_and_reads_back(made: dict[str, list[tuple[Any, Any]]], name: str):
    for bad, _ in made[name]:
        text = render_json(bad)
        assert text.isascii()
        assert "\x1b" not in text
        assert type(bad).model_validate_json(text) == bad


@pytest.mark.parametrize("name", ["findings", "tally"])
def test_sarif_is_valid_and_points_nowhere_else(made: dict[str, list[tuple[Any, Any]]], name: str):
    for bad, good in made[name]:
        text = render_sarif(bad)
        document = json.loads(text)
        SARIF.validate(document)
        (run,) = document["runs"]
        assert len(run["results"]) == len(json.loads(render_sarif(good))["runs"][0]["results"]) > 0
        for result in run["results"]:
            if "physicalLocation" not in result["locations"][0]:
                continue  # a source without a name
            address = urlsplit(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
            assert (address.scheme, address.netloc) == ("", "")
            assert not address.path.startswith("/")
            assert ".." not in address.path.split("/")
        assert not set(text) & {chr(code) for code in (*range(9), *range(11, 32), 127)}


def test_junit_reads_back(made: dict[str, list[tuple[Any, Any]]]):
    for bad, good in made["gate"]:
        found, twin = ET.fromstring(render_junit(bad)), ET.fromstring(render_junit(good))
        assert [item.tag for item in found.iter()] == [item.tag for item in twin.iter()]


def test_a_formula_stays_text():
    for text in CORPUS["sheets"]:
        assert (
            visible(text, lines=False).strip() == visible(text.strip("\t\r"), lines=False)
            or "␉" in visible(text, lines=False)
            or "␍" in visible(text, lines=False)
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_nothing_runs_and_nothing_is_asked_for(
    browser: Browser, made: dict[str, list[tuple[Any, Any]]], name: str, tmp_path: Path
):
    file = tmp_path / "page.html"
    for place, (bad, _) in enumerate(made[name]):
        file.write_text(PAGES[name](bad), encoding="utf-8")
        scheme, width = (("light", 1280), ("dark", 390))[place % 2]
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        heard, asked = [], []
        page = context.new_page()
        page.on("console", lambda message, heard=heard: heard.append(message.text))
        page.on("pageerror", lambda error, heard=heard: heard.append(str(error)))
        page.on("dialog", lambda dialog, heard=heard: (heard.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("popup", lambda popup, heard=heard: heard.append(popup.url))
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.plot:not([hidden] *)')].every(p => p.querySelector('.main-svg'))"
        )
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        # What waits for a pointer or the focus gets it.
        page.evaluate(
            """() => { for (const item of document.querySelectorAll('main *')) {
                 item.dispatchEvent(new MouseEvent('mouseover', { bubbles: false }));
                 if (item.tabIndex >= 0) item.focus({ preventScroll: true }); } }"""
        )
        assert page.evaluate("window.owned") is None
        assert page.evaluate("({}).owned") is None
        assert heard == []
        assert [url.split("#")[0] for url in asked] == [file.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert (
            page.evaluate("document.querySelectorAll('iframe, object, embed, base, form[action]').length")
            == 0
        )
        context.close()
