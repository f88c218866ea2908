"""Every page by the rules of axe-core, and by keyboard alone."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

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
    "findings": lambda: render_html(findings_sample.build()),
    "tally": lambda: render_tally_html(tally_sample.training(weak=False, hostile=True, stage="sft")),
    "study": lambda: render_study_html(study_sample.hostile()),
    "comparison": lambda: render_comparison_html(comparison_sample.hostile()),
}


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


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
@pytest.mark.parametrize("name", PAGES)
def test_no_rule_is_broken(browser: Browser, files: dict[str, Path], name: str, scheme: str, width: int):
    # The page's own policy would not let the rules in.
    context = browser.new_context(
        bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )  # fmt: skip
    page = context.new_page()
    page.goto(files[name].as_uri())
    page.wait_for_load_state("load")
    page.evaluate(AXE)
    found = page.evaluate("async () => await axe.run(document, { resultTypes: ['violations'] })")
    context.close()
    broken = [(v["impact"], v["id"], v["nodes"][0]["target"]) for v in found["violations"]]
    assert broken == []
    assert len(found["passes"]) > 30, "the rules were asked"


def test_every_control_is_reached_by_keyboard_and_shows_where_it_is(browser: Browser, files: dict[str, Path]):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(files["findings"].as_uri())
    page.wait_for_function("() => document.querySelector('.plot .main-svg')")
    wanted = page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')].filter(
             (item) => !item.disabled && item.checkVisibility()).length"""
    )
    seen = page.evaluate("() => { window.reached = new Set(); return 0; }")
    for _ in range(wanted + 3):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => {
              const item = document.activeElement;
              if (item === document.body) return -1;
              const { outlineStyle, outlineWidth } = getComputedStyle(item);
              if (outlineStyle === 'none' || parseFloat(outlineWidth) < 1) return -2;
              window.reached.add(item);
              return window.reached.size;
            }"""
        )
        assert seen != -2, page.evaluate("document.activeElement.outerHTML").__str__()[:200]
    assert page.evaluate("window.reached.size") >= wanted
    context.close()
