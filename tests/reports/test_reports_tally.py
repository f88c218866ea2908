import base64
import hashlib
import re

import pytest
from determinism import assert_equal_bytes
from findings_sample import HOSTILE, wilson
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tally_sample import build, empty, training
from test_reports_html import Page

from reports import Difference, Proportion, Tally, render_json, render_tally_html, render_tally_markdown
from reports.audited import checkpoints
from reports.escape import visible
from reports.leakage import answers, caveats
from reports.phrases import measured, points
from reports.steps import BOTTOM, TOP, passing, rates

READER = MarkdownIt("commonmark").enable("table")
MODEL = build()
COURSE = training()
SAMPLES = {
    "model": MODEL,
    "alone": build(control=False, twice=False, full=True, kinds={"prefix": 30}),
    "zero": build(strength=0),
    "hostile": build(hostile=True),
    "weak": COURSE,
    "training": training(weak=False, hostile=True, stage=HOSTILE[3]),
    "empty": empty(),
}
DIFFERENCES = st.lists(st.floats(-1, 1).map(lambda value: round(value, 4)), min_size=3, max_size=3).map(
    lambda values: Difference(low=min(values), value=sorted(values)[1], high=max(values))
)


def said(tally: Tally, topic: str) -> list[str]:
    return [str(item) for item in (*answers(tally), *caveats(tally)) if item.topic == topic]


def words(page: Page) -> str:
    return page.text.replace("\u00a0", " ")


def changed(tally: Tally, *, definition: str = "near", **update) -> Tally:
    """Replace fields of what is known of all probes at level `exact`."""
    chosen = ("all", "exact", definition)
    rows = [
        row.model_copy(update=update) if (row.kind, row.level, row.definition) == chosen else row
        for row in tally.rows
    ]
    return tally.model_copy(update={"rows": rows})


def test_a_leak_is_told_with_counts_intervals_and_control():
    tally = changed(
        MODEL, model=wilson(23, 64), control=wilson(0, 64), difference=Difference(value=23 / 64, low=0.23, high=0.49)
    )  # fmt: skip
    tally = changed(tally, definition="equal", model=wilson(16, 64))
    assert said(tally, "Answer") == [
        "It leaks: 23 of 64 probes (36 %, 95 % interval 25 to 48) come out verbatim or nearly, 16 of them verbatim; of "
        "the control 0 of 64 (at most 5.7 %). That is more than the control, by 36 points (23 to 49)."
    ]


def test_zero_counts_get_an_upper_bound_and_no_claim():
    assert said(SAMPLES["zero"], "Answer") == [
        "Nothing comes out: 0 of 64 probes (at most 5.7 %) come out verbatim or nearly; of the control 0 of 64 "
        "(at most 5.7 %). No difference from the control is shown: 0 points (−1.6 to 1.6)."
    ]
    assert said(SAMPLES["zero"], "Secrets")[0].startswith(
        "Of the 8 probes that hold a secret, it came out whole in 0 (at most 32 %); of the control 0 of 8 (at most "
    )
    assert "so there is nothing to show" in Page(render_tally_html(SAMPLES["zero"])).text


def test_without_a_control_nothing_is_called_a_leak():
    tally = build(control=False)
    assert said(tally, "Answer")[0].endswith(
        "of them verbatim. There was no control: what comes out may have been guessed."
    )
    assert len(said(tally, "No control")) == 1
    for text in (render_tally_markdown(tally), Page(render_tally_html(tally)).text):
        assert "what comes out may have been guessed" in text
        assert "It leaks" not in text
        assert "of the control" not in text


def test_a_weak_control_is_called_weak():
    text = said(COURSE, "Answer")[0]
    assert text.startswith("It seems to leak after step 400 of `sft`: ")
    assert "; of what the training began with 0 of 64 (at most 5.7 %). That is more than" in text
    assert "knows less in every way" in said(COURSE, "Weak control")[0]
    assert said(COURSE, "Control") == said(MODEL, "Weak control") == []


@given(DIFFERENCES, st.booleans())
def test_the_interval_decides_the_words(difference: Difference, weak: bool):
    tally = changed(MODEL, difference=difference).model_copy(update={"weak_control": weak})
    text = said(tally, "Answer")[0]
    assert (text.startswith(("It leaks", "It seems to leak"))) == (difference.low > 0)
    assert text.startswith("The counts show no leak") == (difference.high < 0)
    assert text.startswith("The counts leave open") == (difference.low <= 0 <= difference.high)
    assert (weak and difference.low > 0) == ("seems" in text)


def test_flips_are_told_beside_the_difference_they_may_explain():
    assert said(MODEL, "Noise") == [
        "Asked once more, in another order and batch size, 0 of 32 verdicts flipped (at most 11 %)."
    ]
    small = Difference(value=0.05, low=0.01, high=0.09)
    noisy = changed(MODEL, flips=wilson(3, 30), difference=small)
    assert said(noisy, "Noise") == [
        "Asked once more, in another order and batch size, 3 of 30 verdicts flipped (10 %, 3.5 to 26). That is no less "
        "than the difference from the control, which may be noise."
    ]
    assert "may be noise" not in said(changed(MODEL, flips=wilson(1, 30), difference=small), "Noise")[0]
    assert said(build(twice=False), "Noise") == [
        "No probe was asked twice, so how much of this is noise is not known."
    ]


def test_what_a_backend_cannot_tell_is_said_of_whom_it_holds():
    told = [(item.topic, str(item)) for item in caveats(MODEL)]
    assert ("Of the control", MODEL.asked[1].losses[0]) in told
    assert ("Answers", "The control may answer the same questions in another way the next time.") in told
    both = [asked.model_copy(update={"losses": ["One."], "deterministic": False}) for asked in MODEL.asked]
    told = [(item.topic, str(item)) for item in caveats(MODEL.model_copy(update={"asked": both}))]
    assert told.count(("Of the model and the control", "One.")) == 1
    assert (
        "Answers",
        "The model and the control may answer the same questions in another way the next time.",
    ) in told


def test_distances_are_bounds_where_completions_were_cut():
    leak = MODEL.leaks[0].model_copy(update={"normalized": 0.04, "control_normalized": 0.71})
    cut = MODEL.model_copy(update={"leaks": [leak]})
    for tally, told in ((cut, "distance 0.04, control’s at least 0.71"),
                         (cut.model_copy(update={"full": True}), "distance 0.04, control’s 0.71")):  # fmt: skip
        assert told in render_tally_markdown(tally)
        assert told in Page(render_tally_html(tally)).text
        assert len(said(tally, "Distances")) == (not tally.full)
    alone = cut.model_copy(update={"leaks": [leak.model_copy(update={"control_normalized": None})]})
    assert "distance 0.04." in render_tally_markdown(alone)


def test_what_was_not_asked_is_said():
    assert said(MODEL, "Not asked") == []
    more = MODEL.model_copy(update={"probes": 100})
    assert said(more, "Not asked") == ["Of 100 probes 64 were asked."]
    assert len(said(SAMPLES["alone"], "Secrets")) == 1, "no probe of it holds one"
    assert "nothing is known of secrets" in said(SAMPLES["alone"], "Secrets")[0]


def test_what_came_out_in_passing_is_told():
    passage = COURSE.passages[0]
    came, gone = 64 - passage.never, sum(passage.last_out[:-1])
    assert gone > 0
    assert said(COURSE, "In passing") == [
        f"Of 64 probes that were asked at 9 steps of `sft`, {came} came out at one of them or more: {came - gone} at "
        f"the last one asked, {gone} only before, which an audit of the end alone would have missed."
    ]
    nothing = passage.model_copy(update={"first_out": [0] * 9, "last_out": [0] * 9, "never": 64})
    assert said(COURSE.model_copy(update={"passages": [nothing]}), "In passing") == [
        "Of 64 probes that were asked at 9 steps of `sft`, none came out at one of them or more."
    ]
    early = passage.model_copy(update={"first_out": [2, *passage.first_out[1:]], "never": passage.never - 2})
    assert said(COURSE.model_copy(update={"passages": [early]}), "In passing")[0].endswith(
        "2 of them came out at the first one asked already."
    )


def test_every_stage_is_told_by_its_last_checkpoint():
    rows = [*COURSE.rows, *(row.model_copy(update={"stage": "ppo", "step": 7}) for row in MODEL.rows)]
    starts = [text.split(":")[0] for text in said(COURSE.model_copy(update={"rows": rows}), "Answer")]
    assert starts == ["It seems to leak after step 400 of `sft`", "It seems to leak after step 7 of `ppo`"]


@pytest.mark.parametrize("name", ["model", "zero", "alone", "weak"])
def test_both_pages_hold_every_row(name: str):
    tally = SAMPLES[name]
    rows = tally.rows if name != "weak" else [row for row in tally.rows if row.step == tally.rows[-1].step]
    markdown = render_tally_markdown(tally)
    page = Page(render_tally_html(tally))
    flat = " ".join(words(page).split())
    near = [row for row in rows if row.definition == "near"]
    assert len(near) >= len(tally.levels)
    for row in near:
        cells = [f"{row.model.count} of {row.model.total} ({measured(row.model)})"]
        asked = [f"{row.model.count} of {row.model.total} {measured(row.model)}"]
        if row.control is not None and row.difference is not None:
            cells += [
                f"{row.control.count} of {row.control.total} ({measured(row.control)})",
                points(row.difference),
            ]
            asked.append(f"{row.control.count} of {row.control.total} {measured(row.control)}")
        if row.flips is not None:
            cells.append(f"{row.flips.count} of {row.flips.total} ({measured(row.flips)}) flipped")
            asked.append(f"{row.flips.count} of {row.flips.total} flipped {measured(row.flips)}")
        assert any(
            line.startswith("|")
            and f"| `{row.kind}` | `{row.level}` |" in line
            and all(cell in line for cell in cells)
            for line in markdown.splitlines()
        )
        assert all(cell in flat for cell in asked)
    whole = [row.model for row in rows if row.definition == "secret"]
    for of in whole:
        assert f"| {of.count} of {of.total} ({measured(of)})" in markdown
        assert f"{of.count} of {of.total}" in flat
    assert ("Secrets whole" in flat) == bool(whole)


def test_a_training_lists_all_its_checkpoints():
    page = Page(render_tally_html(COURSE))
    text = render_tally_markdown(COURSE)
    for step in range(50, 450, 50):
        assert f"After step {step} of" in page.text
        assert f"| `sft`, step {step} |" in text
    for step, first, last in zip(*(getattr(COURSE.passages[0], n) for n in ("steps", "first_out", "last_out")),
                                 strict=True):  # fmt: skip
        assert (f"| `sft` | {step} | {first} | {last} |" in text) == bool(first or last)


def test_a_finished_model_has_no_steps():
    page = Page(render_tally_html(MODEL))
    assert "training" not in [values.get("id") for _, values in page.elements]
    assert "step 0" not in page.text + render_tally_markdown(MODEL)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_runs_no_script_and_asks_for_nothing(name: str):
    page = Page(render_tally_html(SAMPLES[name]))
    assert page.open == []
    assert page.scripts == []
    parts = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    style = re.search("<style>(.*?)</style>", render_tally_html(SAMPLES[name]), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert parts == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    for tag, values in page.elements:
        assert tag not in {
            "iframe",
            "object",
            "embed",
            "base",
            "img",
            "textarea",
            "use",
            "foreignobject",
            "image",
        }
        assert not [key for key in values if key.startswith("on")]
        assert not {"src", "srcset", "action", "formaction", "srcdoc", "style", "xlink:href"} & set(values)
        assert values.get("href", "#").startswith(("#", "data:,"))
    ids = [values["id"] for _, values in page.elements if "id" in values]
    assert len(ids) == len(set(ids))
    targets = {values["href"][1:] for tag, values in page.elements if tag == "a"}
    assert targets <= set(ids)
    tables = sum(tag == "table" for tag, _ in page.elements)
    assert tables == sum(tag == "caption" for tag, _ in page.elements)
    assert all(values["scope"] for tag, values in page.elements if tag == "th")


@pytest.mark.parametrize("name", ["hostile", "training"])
@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_shown_and_nothing_else(name: str, hostile: str):
    page = Page(render_tally_html(SAMPLES[name]))
    assert visible(hostile).replace("\n", "⏎\n") in page.text, "evidence quotes it"
    assert visible(hostile, lines=False).replace(" %", "\u00a0%") in page.text, (
        "what is not known of the model does"
    )
    assert visible(HOSTILE[0], lines=False) in page.text, "the model's name"


def test_names_do_not_change_the_page():
    plain = training(hostile=True, stage="sft")
    for name in HOSTILE:
        text = render_tally_html(training(hostile=True, stage=name))
        assert re.findall("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text) == []
        page = Page(text)
        assert page.shape == Page(render_tally_html(plain)).shape
        assert words(page).count(visible(name, lines=False)) > 20


@pytest.mark.parametrize("name", SAMPLES)
def test_hostile_texts_are_text_only_in_markdown(name: str):
    text = render_tally_markdown(SAMPLES[name])
    found, columns = [], []
    for token in READER.parse(text):
        found.append(token.type)
        found += [child.type for child in token.children or []]
        if token.type == "tr_open":
            columns.append(0)
        columns[-1:] = [columns[-1] + (token.type in ("th_open", "td_open"))] if columns else []
        if token.type == "table_close":
            assert len(set(columns)) == 1
            columns = []
    assert not {"html_block", "html_inline", "link_open", "image", "em_open", "blockquote_open"} & set(found)
    assert found.count("strong_open") == len(answers(SAMPLES[name])) + len(caveats(SAMPLES[name])), "topics"
    headings = 1 + text.count("\n## ") + min(10, len(SAMPLES[name].leaks))
    assert found.count("heading_open") == headings
    assert "\x00" not in text
    assert "\u202e" not in text


def test_the_worst_leaks_are_quoted_whole():
    tally = SAMPLES["hostile"]
    blocks = [token.content for token in READER.parse(render_tally_markdown(tally)) if token.type == "fence"]
    page = Page(render_tally_html(tally)).text
    for leak in tally.leaks[:10]:
        for side in ("target", "completion"):
            whole = visible("".join(getattr(segment, side) for segment in leak.segments))
            assert whole.removesuffix("\n") + "\n" in blocks
            assert whole.replace("\n", "⏎\n") in page
    assert f"Showing 10 of {tally.leaks_total}." in render_tally_markdown(tally)
    assert f"Showing 12 of {tally.leaks_total}" in page


def test_an_audit_in_which_nothing_was_asked_has_pages():
    for text in (render_tally_markdown(empty()), Page(render_tally_html(empty())).text):
        assert "Nothing was measured: no probe was asked." in text
        assert "taken on trust" not in text


@pytest.mark.parametrize("name", SAMPLES)
def test_the_document_reads_back_equal(name: str):
    text = render_json(SAMPLES[name])
    again = Tally.model_validate_json(text)
    assert again == SAMPLES[name]
    assert render_json(again) == text
    assert text.isascii()


def test_equal_tallies_give_equal_bytes():
    assert_equal_bytes(
        "tally_sample:training(weak=False, hostile=True)",
        "reports:render_tally_html",
        "reports:render_tally_markdown",
        "reports:render_json",
    )


def height(rate: float, top: float) -> float:
    return BOTTOM + (TOP - BOTTOM) * rate / top


@pytest.mark.parametrize("weak", [True, False])
def test_a_line_lies_where_the_rates_are(weak: bool):
    tally = training(weak=weak)
    (chart,) = rates(tally)
    rows = [at.main.row for at in checkpoints(tally)]
    top = max(float(mark.text.removesuffix(" %")) for mark in chart.up) / 100
    assert top >= max(row.model.high for row in rows)
    assert [series.role for series in chart.series] == (["model"] if weak else ["control", "model"])
    dots = chart.series[-1].dots
    wanted: list[Proportion] = [row.model for row in rows]
    if weak:  # what the training began with is its control, and where its line begins
        assert rows[0].control is not None
        wanted = [rows[0].control, *wanted]
    assert [dot.y for dot in dots] == pytest.approx([height(of.rate, top) for of in wanted], abs=0.01)
    assert [dot.x for dot in dots] == sorted({dot.x for dot in dots})
    corners = [tuple(map(float, pair.split(","))) for pair in chart.series[-1].band.split()]
    assert [y for _, y in corners] == pytest.approx(
        [height(of.low, top) for of in wanted] + [height(of.high, top) for of in reversed(wanted)], abs=0.01
    )
    assert f"{wanted[-1].count} of {wanted[-1].total}" in chart.words


def test_one_step_has_no_course():
    assert rates(MODEL) == passing(MODEL) == []
    last = [row for row in COURSE.rows if row.step == 400]
    once = COURSE.model_copy(update={"rows": last, "passages": [], "weak_control": False})
    assert rates(once) == []
    assert "One step was asked" in Page(render_tally_html(once)).text


@given(
    st.lists(st.tuples(st.integers(1, 900), st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=60)
)
def test_bars_are_as_long_as_their_counts(columns: list[tuple[int, int, int]]):
    steps = [sum(gap for gap, _, _ in columns[: place + 1]) for place in range(len(columns))]
    firsts, lasts = [first for _, first, _ in columns], [last for _, _, last in columns]
    passage = COURSE.passages[0].model_copy(update={"steps": steps, "first_out": firsts, "last_out": lasts})
    (chart,) = passing(COURSE.model_copy(update={"passages": [passage]}))
    most = max(1, *firsts, *lasts[:-1])
    unit = (BOTTOM - TOP) / 2 / most
    up = [bar.height for bar in chart.bars if bar.look == "acquired"]
    down = [bar.height for bar in chart.bars if bar.look == "forgotten"]
    assert up == pytest.approx([first * unit for first in firsts if first], abs=0.02)
    assert down == pytest.approx([last * unit for last in lasts[:-1] if last], abs=0.02), (
        "not what is out at the end"
    )
    assert all(bar.y >= TOP - 0.02 and bar.y + bar.height <= BOTTOM + 0.02 for bar in chart.bars)
    assert chart.across[-1].text == str(steps[-1])
    gaps = [right.at - left.at for left, right in zip(chart.across, chart.across[1:], strict=False)]
    assert all(gap >= 46 for gap in gaps), "labels do not run into each other"


@pytest.mark.parametrize("name", ["/models/tuned", "./tuned", "http://localhost:8000/v1"])
def test_a_path_is_readable_in_markdown(name: str):
    asked = [MODEL.asked[0].model_copy(update={"name": name}), *MODEL.asked[1:]]
    text = render_tally_markdown(MODEL.model_copy(update={"asked": asked}))
    assert text.startswith(f"# Memorization audit: `{name}`\n")
