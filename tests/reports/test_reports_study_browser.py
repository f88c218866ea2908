"""The page of a study in a real browser: from a file, with the network off, and nothing on the console."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser
from study_sample import build, empty, hostile
from test_reports_browser import DRAWN, browser, opened

from reports import render_study_html

pytestmark = pytest.mark.browser
__all__ = ["browser"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("studies")
    pages = {"plain": build(), "hostile": hostile(), "empty": empty()}
    for name, report in pages.items():
        (folder / f"{name}.html").write_text(render_study_html(report), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in pages}


@pytest.mark.parametrize("name", ["plain", "hostile"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_is_quiet_and_fits(
    browser: Browser, files: dict[str, Path], name: str, scheme: str, width: int
):
    with opened(browser, files[name], scheme=scheme, width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".plot .main-svg:visible").count() > 10
        assert page.evaluate("document.querySelectorAll('iframe, object, img, textarea').length") == 0
        for seal in page.locator("#claims .seal").all():
            box = seal.bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= width, "a verdict is seen without scrolling"


def test_an_empty_page_is_quiet(browser: Browser, files: dict[str, Path]):
    with opened(browser, files["empty"]) as page:
        assert page.locator(".plot").count() == 0


def test_on_a_narrow_screen_the_claims_are_still_a_table(browser: Browser, files: dict[str, Path]):
    with opened(browser, files["plain"], width=390) as page:
        claims = page.get_by_role("region", name="Claims, scrollable")
        assert claims.get_by_role("row").count() == 1 + 2 + 6
        assert claims.get_by_role("columnheader").count() == 6
        assert claims.get_by_role("cell").count() == 6 * 5


def test_folded_numbers_are_printed_and_plots_follow_the_scheme(browser: Browser, files: dict[str, Path]):
    ink = "getComputedStyle(document.querySelector('#sweeps-0 .ytick text')).fill"
    light, dark = "rgb(42, 45, 49)", "rgb(228, 226, 220)"
    with opened(browser, files["plain"], scheme="dark", width=800) as page:
        assert page.evaluate(ink) == dark
        assert page.locator("details[open]").count() == 0
        page.emulate_media(media="print", color_scheme="dark")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.wait_for_function(f"() => {ink} === '{light}'")
        page.wait_for_function(DRAWN)
        assert page.locator("details:not([open])").count() == 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
