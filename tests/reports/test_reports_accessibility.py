"""Every page by the rules of axe-core, and by keyboard alone."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import axe_playwright_python
import comparison_sample
import findings_sample
import pytest
import study_sample
import tally_sample
from playwright.sync_api import Browser, sync_playwright

from reports import render_html, render_study_html, render_tally_html
from reports.comparison_html import render_comparison_html

pytestmark = pytest.mark.browser
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
PAGES: dict[str, Callable[[], str]] = {
    "findings": lambda: render_html(findings_sample.build(per_stratum=4)),
    "tally": lambda: render_tally_html(tally_sample.training(weak=False, hostile=True, stage="sft")),
    "study": lambda: render_study_html(study_sample.hostile()),
    "comparison": lambda: render_comparison_html(comparison_sample.hostile()),
}
LOOKS: list[tuple[int, Literal["light", "dark"]]] = [(1280, "light"), (390, "dark")]
CONTROLS = 'a[href], button, input, select, summary, [tabindex="0"]'
KEYS = {
    "SUMMARY": "Enter",
    "BUTTON": "Enter",
    "A": "Enter",
    "SELECT": "ArrowDown",
    "range": "ArrowRight",
    "checkbox": "Space",
}
"""By element, or by type of an input: the key that does something. All others take text."""
STATE = "(item) => JSON.stringify([item.parentElement.open, location.hash, window.changes])"
"""What changes when something is done: a fold, the address, or anything in the page."""
WATCH = """() => { window.changes = 0; new MutationObserver((seen) => { window.changes += seen.length; }).observe(
    document.body, { attributes: true, childList: true, characterData: true, subtree: true }); }"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, render in PAGES.items():
        (folder / f"{name}.html").write_text(render(), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.mark.parametrize("name", PAGES)
def test_no_rule_is_broken(browser: Browser, files: dict[str, Path], name: str):
    # The page's own policy would not let the rules in.
    context = browser.new_context(
        bypass_csp=True, viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(files[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot:not([hidden] *)')].every((p) => p.querySelector('.main-svg'))"
    )
    page.evaluate(AXE)
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate("async () => await axe.run(document, { resultTypes: ['violations'] })")
        broken = [(v["impact"], v["id"], v["nodes"][0]["target"]) for v in found["violations"]]
        assert broken == [], (width, scheme)
        assert len(found["passes"]) > 30, "the rules were asked"
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_control_is_reached_by_keyboard_and_shows_where_it_is(
    browser: Browser, files: dict[str, Path], name: str
):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.goto(files[name].as_uri())
    wanted = page.evaluate(
        f"""() => [...document.querySelectorAll('{CONTROLS}')].filter(
              (item) => !item.disabled && item.checkVisibility()).length"""
    )
    page.evaluate("window.reached = new Set()")
    for _ in range(wanted + 3):
        page.keyboard.press("Tab")
        lost = page.evaluate(
            """() => {
              const item = document.activeElement;
              if (item === document.body) return null;
              window.reached.add(item);
              const { outlineStyle, outlineWidth } = getComputedStyle(item);
              return outlineStyle === 'none' || parseFloat(outlineWidth) < 1 ? item.outerHTML.slice(0, 200) : null;
            }"""
        )
        assert lost is None
    assert page.evaluate("window.reached.size") >= wanted > 0
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_control_can_be_worked_by_keyboard(browser: Browser, files: dict[str, Path], name: str):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.goto(files[name].as_uri())
    page.evaluate(WATCH)
    worked = Counter()
    for item in page.query_selector_all(f":is({CONTROLS}):not([tabindex])"):
        tag, kind, last = item.evaluate(
            "(item) => [item.tagName, item.type, item.selectedIndex + 1 === item.options?.length]"
        )
        idle = item.evaluate(
            "(item) => item.disabled || !item.checkVisibility() || item.options?.length === 1"
        )
        if idle:
            continue
        item.evaluate("(item) => { item.focus(); history.replaceState(null, '', location.pathname); }")
        before = item.evaluate(STATE)
        page.keyboard.press("ArrowUp" if last else KEYS.get(kind) or KEYS.get(tag) or "1")
        page.wait_for_function(
            f"([item, before]) => ({STATE})(item) !== before", arg=[item, before], timeout=5000
        )
        worked[tag] += 1
        if kind in {"search", "number"}:
            page.keyboard.press("Backspace")
    assert worked["A"] > 0
    assert worked.total() > 10 or name == "comparison"
    page.close()
