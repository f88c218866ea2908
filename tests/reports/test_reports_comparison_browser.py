"""The page of a comparison in a real browser: from a file, with the network off, and nothing on the console."""

from pathlib import Path

import pytest
from comparison_sample import audits, build, empty, hostile
from playwright.sync_api import Browser
from test_reports_browser import browser, opened

from reports.comparison_html import render_comparison_html

pytestmark = pytest.mark.browser
__all__ = ["browser"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("comparisons")
    pages = {"plain": build(shared=12), "hostile": hostile(), "audits": audits(), "empty": empty()}
    for name, report in pages.items():
        (folder / f"{name}.html").write_text(render_comparison_html(report), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in pages}


@pytest.mark.parametrize(
    ("name", "scheme", "width", "plots"),
    [
        ("plain", "light", 1280, 2),
        ("hostile", "dark", 390, 1),
        ("audits", "light", 390, 1),
        ("empty", "dark", 390, 0),
    ],
)
def test_the_page_is_quiet_and_fits(
    browser: Browser, files: dict[str, Path], name: str, scheme: str, width: int, plots: int
):
    with opened(browser, files[name], scheme=scheme, width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".plot:has(.main-svg)").count() == plots
        assert page.evaluate("document.querySelectorAll('iframe, object, img, textarea').length") == 0


def test_long_lists_scroll_by_themselves_and_are_printed_whole(browser: Browser, files: dict[str, Path]):
    height = "document.querySelector('#became .scroll').clientHeight"
    with opened(browser, files["hostile"]) as page:
        inside = page.evaluate("document.querySelector('#became .scroll').scrollHeight")
        assert page.evaluate(height) < inside
        page.emulate_media(media="print")
        assert page.evaluate(height) >= page.evaluate("document.querySelector('#became table').offsetHeight")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
