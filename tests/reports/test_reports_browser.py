"""The page in a real browser: from a file, with the network off, and nothing on the console."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from findings_sample import HOSTILE, build, empty, renamed, wilson
from playwright.sync_api import Browser, Page, sync_playwright
from tally_sample import training

from memaudit.statistics import paired_difference
from reports import render_html, render_tally_html
from reports.phrases import percent, signed

pytestmark = pytest.mark.browser
NAMES = {"sft": HOSTILE[0], "ppo": HOSTILE[3], "reward": HOSTILE[6]}
SHOWN = ".plot:not([hidden] *, details:not([open]) *)"
DRAWN = f"() => [...document.querySelectorAll('{SHOWN}')].every(plot => plot.querySelector('.main-svg'))"
DISTANCES = "() => [...document.querySelectorAll('#example-table td.outcome:nth-child(10)')].map(c => +c.dataset.sort)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    pages = {"plain": build(hostile=False), "hostile": renamed(build(), NAMES), "empty": empty()}
    for name, findings in pages.items():
        (folder / f"{name}.html").write_text(render_html(findings), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in pages}


@contextmanager
def opened(
    browser: Browser, file: Path, *, scheme: str = "light", width: int = 1280, hash: str = ""
) -> Iterator[Page]:
    """Open a page and hold it to silence: no message, error, dialog or request."""
    context = browser.new_context(
        offline=True, color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    heard, asked = [], []
    page = context.new_page()
    page.on("console", lambda message: heard.append((message.type, message.text)))
    page.on("pageerror", lambda error: heard.append(("error", str(error))))
    page.on("dialog", lambda dialog: (heard.append(("dialog", dialog.message)), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(file.as_uri() + hash)
        page.wait_for_function(DRAWN)
        yield page
        assert heard == []
        assert [url.split("#")[0] for url in asked] == [file.as_uri()]
    finally:
        context.close()


def shown_rows(page: Page) -> list[str]:
    return page.locator("#example-table tbody tr:visible").all_inner_texts()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_is_quiet_and_fits(browser: Browser, files: dict[str, Path], scheme: str, width: int):
    with opened(browser, files["hostile"], scheme=scheme, width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".plot .main-svg:visible").count() > 10
        assert page.locator(".sankey-link").count() > 0
        assert page.evaluate("document.querySelectorAll('iframe, object, img, textarea').length") == 0


def test_an_empty_page_is_quiet(browser: Browser, files: dict[str, Path]):
    with opened(browser, files["empty"]) as page:
        assert page.get_by_text("Nothing was measured").count() == 2


def test_figures_follow_the_scheme_and_the_printer(browser: Browser, files: dict[str, Path]):
    ink = "getComputedStyle(document.querySelector('#forest-0 .ytick text')).fill"
    light, dark = "rgb(42, 45, 49)", "rgb(228, 226, 220)"
    with opened(browser, files["plain"]) as page:
        assert page.evaluate(ink) == light
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"() => {ink} === '{dark}'")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
        assert page.locator("details:not([open])").count() > 0
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.wait_for_function(f"() => {ink} === '{light}'")
        assert page.locator("details:not([open], .curves)").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.wait_for_function(f"() => {ink} === '{dark}'")
        page.emulate_media(color_scheme="light")
        page.wait_for_function(f"() => {ink} === '{light}'")


def test_curves_are_drawn_when_their_stage_is_opened(browser: Browser, files: dict[str, Path]):
    with opened(browser, files["hostile"]) as page:
        folds = page.locator("details.curves")
        assert folds.count() == 5
        assert folds.locator(".main-svg").count() == 0
        folds.last.locator("summary").click()
        page.wait_for_function(DRAWN)
        assert folds.last.locator(".main-svg:visible").count() > 0
        assert folds.first.locator(".main-svg").count() == 0


def test_what_is_chosen_narrows_the_page_and_the_hash_keeps_it(browser: Browser, files: dict[str, Path]):
    findings = build(hostile=False)
    wanted = [row for row in findings.examples if row.cohort == "reward" and "csv" in row.source
              and any(outcome.exposed for outcome in row.outcomes if outcome.stage == "ipo")]  # fmt: skip
    assert 0 < len(wanted) < len(findings.examples)

    def is_as_chosen(page: Page):
        assert len(shown_rows(page)) == len(wanted)
        assert (
            page.locator("#filter-count").inner_text()
            == f"Showing {len(wanted)} of {len(findings.examples)} examples."
        )
        assert page.input_value("#filter-text") == "CSV"
        order = page.evaluate(DISTANCES)
        assert order == sorted(order, reverse=True)
        assert page.locator("#example-table th[aria-sort=descending] button").inner_text() == "ipo"
        assert page.locator("#pick-view").evaluate("s => s.selectedOptions[0].text") == "renamed, verbatim"
        assert (
            page.locator(".view:visible").get_attribute("data-view") == page.input_value("#pick-view") != "0"
        )
        assert page.locator(".panels[data-cohort]:visible").count() == 6
        assert page.locator("#flow .panels:visible").get_attribute("data-cohort") == "1"
        assert page.locator(".pick-cohort").last.evaluate("s => s.selectedOptions[0].text") == "reward"

    with opened(browser, files["plain"]) as page:
        assert len(shown_rows(page)) == len(findings.examples)
        page.fill("#filter-text", "CSV")
        page.select_option("#filter-cohort", "reward")
        page.select_option("#filter-out", "ipo")
        page.select_option("#pick-view", label="renamed, verbatim")
        page.locator(".pick-cohort").first.select_option(label="reward")
        page.locator("#example-table thead button", has_text="ipo").focus()
        page.keyboard.press("Enter")
        rising = page.evaluate(DISTANCES)
        assert rising == sorted(rising)
        page.keyboard.press("Enter")
        is_as_chosen(page)
        page.wait_for_function(DRAWN)
        hash = page.evaluate("location.hash")
    with opened(browser, files["plain"], hash=hash) as page:
        is_as_chosen(page)


def stated(page: Page) -> list[list[str]]:
    return [
        line.split("\t") for line in page.locator("#threshold-rates tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent).join('\\t'))"
        )
    ]  # fmt: skip


def test_the_slider_counts_as_the_findings_do(browser: Browser, files: dict[str, Path]):
    findings = build(hostile=False)
    rows = {(row.stage, row.cohort, row.level): row for row in findings.within}

    def holds(page: Page, cohort: str, level: str, place: int):
        lines = stated(page)
        assert [line[0] for line in lines] == [stage.name for stage in findings.stages]
        for line in lines:
            row = rows[line[0], cohort, level]
            exposed, control = (wilson(counts[place], row.total) for counts in (row.exposed, row.control))
            gap = paired_difference(
                row.both[place],
                row.exposed[place] - row.both[place],
                row.control[place] - row.both[place],
                row.total - row.exposed[place] - row.control[place] + row.both[place],
            )
            assert line[1:] == [
                f"{exposed.count} of {row.total}",
                f"{percent(exposed.low)} to {percent(exposed.high)}",
                f"{control.count} of {row.total}",
                f"{percent(control.low)} to {percent(control.high)}",
                signed(gap.value),
                f"{percent(gap.low)} to {percent(gap.high)}",
            ]

    totals = {(r.stage, r.cohort): r for r in findings.totals if (r.level, r.definition) == ("exact", "near")}
    with opened(browser, files["plain"]) as page:
        slider = page.locator("#threshold")
        own = findings.thresholds.index(findings.threshold)
        assert slider.evaluate("s => s.valueAsNumber") == own
        holds(page, "sft", "exact", own)
        for line in stated(page):
            assert line[1] == f"{totals[line[0], 'sft'].exposed.count} of 64", "as the table above it"
        slider.focus()
        for _ in range(15):
            page.keyboard.press("ArrowRight")
        holds(page, "sft", "exact", own + 15)
        assert page.locator("#threshold-value").inner_text() == "0.25"
        assert slider.get_attribute("aria-valuetext") == "0.25"
        assert page.locator("#distance .plot:visible .annotation").first.text_content() == "threshold 0.25"
        page.select_option("#threshold-level", "renamed")
        page.locator(".pick-cohort").first.select_option(label="reward")
        holds(page, "reward", "renamed", own + 15)
        for place in (0, 1, 50, 100):
            slider.evaluate(f"s => {{ s.value = {place}; s.dispatchEvent(new Event('input')); }}")
            holds(page, "reward", "renamed", place)
        hash = page.evaluate("location.hash")
        page.click("#threshold-reset")
        holds(page, "reward", "renamed", own)
    assert "at=1" in hash
    with opened(browser, files["plain"], hash=hash) as page:
        holds(page, "reward", "exact", 100)


@pytest.mark.parametrize(
    ("chosen", "fits"),
    [
        ({"level": "renamed"}, lambda o: "renamed" in o.levels),
        ({"level": "layout", "out": "ppo"}, lambda o: o.stage == "ppo" and "layout" in o.levels),
        ({"within": "0.05"}, lambda o: o.distance <= 0.05),
        ({"within": "0.5", "out": "ipo"}, lambda o: o.stage == "ipo" and o.distance <= 0.5),
        ({"secret": "whole"}, lambda o: o.secret is True),
        ({"secret": "kept", "out": "sft"}, lambda o: o.stage == "sft" and o.secret is False),
        ({"only": "1"}, lambda o: (o.exposed or o.secret) and not o.control),
        ({"only": "1", "out": "reward"}, lambda o: o.stage == "reward" and o.exposed and not o.control),
    ],
)  # fmt: skip
def test_every_filter_keeps_what_it_says(browser: Browser, files: dict[str, Path], chosen: dict, fits):
    findings = build(hostile=False)
    wanted = {row.id for row in findings.examples if any(map(fits, row.outcomes))}
    assert 0 < len(wanted) < len(findings.examples)
    with opened(browser, files["plain"], hash=f"#{urlencode(chosen)}") as page:
        shown = page.locator("#example-table tbody tr:visible td.hash").evaluate_all(
            "c => c.map(x => x.title)"
        )
        assert set(shown) == wanted
        leaks = page.locator(".leak:visible").evaluate_all("items => items.map(x => x.dataset.id)")
        assert leaks == [leak.example for leak in findings.evidence if leak.example in wanted]
        page.click("#filter-reset")
        page.wait_for_function("() => location.hash === ''")
        assert len(shown_rows(page)) == len(findings.examples)
        assert page.locator(".leak:visible").count() == len(findings.evidence)


def test_leaks_are_sorted_and_a_link_leads_to_one(browser: Browser, files: dict[str, Path]):
    findings = build(hostile=False)
    with opened(browser, files["plain"]) as page:
        page.select_option("#leak-sort", "source")
        sources = page.locator(".leak .where").all_inner_texts()
        assert len(set(sources)) > 3
        assert sources == sorted(sources, key=lambda s: (s.split(":")[0], int(s.split(":")[1].split("–")[0])))
        page.locator(".leak").nth(7).locator("summary").click()
        page.locator(".leak").nth(7).locator(".hash a").click()
        page.wait_for_function("() => document.querySelector('.pointed')")
        hash = page.evaluate("location.hash")
        name = page.locator(".leak").nth(7).get_attribute("data-id")
        assert hash == f"#example={name}"
    with opened(browser, files["plain"], hash=hash) as page:
        assert page.locator(".pointed").get_attribute("data-id") == name
        assert page.locator(".pointed pre").first.is_visible()
    other = next(r.id for r in findings.examples if r.id not in {leak.example for leak in findings.evidence})
    with opened(browser, files["plain"], hash=f"#example={other}") as page:
        assert page.locator("tr.pointed td.hash").get_attribute("title") == other
        assert page.locator("tr.pointed").is_visible()


def test_a_count_leads_to_its_examples(browser: Browser, files: dict[str, Path]):
    findings = build()
    out = sum(
        any(o.exposed for o in row.outcomes if o.stage == "sft")
        for row in findings.examples
        if row.cohort == "sft"
    )
    with opened(browser, files["hostile"]) as page:
        page.locator(f".view:visible .matrix a[href$='out={quote(HOSTILE[0], safe='/')}']").first.click()
        # Here and below the hash changes at once, and its event, which the page waits for, comes later.
        page.wait_for_function("() => document.querySelector('#filter-out').selectedIndex > 0")
        assert "cohort=" in page.evaluate("location.hash")
        assert len(shown_rows(page)) == out
        page.locator("#example-table tbody tr:visible a.see").first.click()
        page.wait_for_function("() => location.hash.startsWith('#leak-')")
        page.wait_for_function("() => document.querySelector(location.hash).open")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 400)])
def test_the_page_of_a_tally_is_quiet_and_fits(browser: Browser, tmp_path: Path, scheme: str, width: int):
    file = tmp_path / "tally.html"
    file.write_text(render_tally_html(training(weak=False, hostile=True, stage=HOSTILE[0])), encoding="utf-8")
    with opened(browser, file, scheme=scheme, width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.querySelectorAll('script, iframe, object, img, textarea').length") == 0
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(252, 251, 248)", "dark": "rgb(23, 25, 28)"}[scheme], (
            "its style is allowed"
        )
        for part in (".course", ".control.point", ".acquired"):
            box = page.locator(f".drawing {part}").first.bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= width, "nothing is drawn outside"
        folded = page.locator(".leak").nth(5)
        assert not folded.locator("pre").first.is_visible()
        page.emulate_media(media="print")
        assert folded.locator("pre").first.is_visible(), "what is folded is printed"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
