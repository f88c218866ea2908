"""The plots of a study: what they draw is what the report says."""

import math
import re
import sys

import plotly.graph_objects as go
import pytest
from findings_sample import HOSTILE
from study_sample import ARMS, SEEDS, TIMES, build, empty, hostile

from reports import StudyReport
from reports.phrases import between, chance, joined, portion, quantity, share, spent
from reports.study_charts import doses, kept, key, shifts, survival, sweep
from reports.theme import PALETTE, Panel

STUDY = build()


def panels(report: StudyReport) -> list[Panel]:
    return [
        *(sweep(found) for found in report.sweeps),
        *kept(report),
        *shifts(report),
        *doses(report),
        *survival(report),
    ]


@pytest.mark.parametrize("report", [STUDY, hostile(), build(strength=0)], ids=["plain", "hostile", "zero"])
def test_plotly_knows_every_property(report: StudyReport):
    for panel in panels(report):
        assert len(go.Figure(panel.figure).data) == len(panel.figure["data"])
        assert panel.caption


def test_nothing_measured_is_nothing_drawn():
    assert panels(empty()) == []
    assert kept(build(strength=0)) == [], "of nothing, nothing can be kept"


def test_a_sweep_draws_its_points_their_intervals_and_every_seed():
    for found in STUDY.sweeps:
        panel = sweep(found)
        seeds, points = panel.figure["data"]
        scale = 100 if found.unit == "share" else 1
        for place, point in enumerate(found.points):
            assert math.isclose(points["y"][place], scale * point.estimate.value)
            assert math.isclose(
                points["y"][place] + points["error_y"]["array"][place], scale * point.estimate.high
            )
            assert math.isclose(
                points["y"][place] - points["error_y"]["arrayminus"][place], scale * point.estimate.low
            )
        drawn = [value / scale for value in seeds["y"]]
        assert drawn == pytest.approx([value for point in found.points for value in point.estimate.seeds])
        assert panel.figure["layout"]["xaxis"]["ticktext"] == [point.label for point in found.points]
        first, last = found.points[0].estimate, found.points[-1].estimate
        assert quantity(first.value, found.unit) in panel.caption
        assert between(last.low, last.high, found.unit) in panel.caption


def test_forests_have_a_line_for_each_arm_and_a_heading_for_each_stage():
    (panel,) = kept(STUDY)
    strokes, points = panel.figure["data"][:2]
    axis = panel.figure["layout"]["yaxis"]
    assert axis["ticktext"] == ["<b>sft → ppo</b>", *ARMS]
    assert points["x"] == [100 * row.share.value for row in STUDY.kept]
    assert len(strokes["x"]) == len(ARMS) * len(SEEDS)
    drawn = {panel.title: panel for panel in shifts(STUDY)}
    for cohort in ("sft", "reward", "ppo"):
        rows = [row for row in STUDY.shifts if row.cohort == cohort]
        _, *traces = drawn[f"Cohort {cohort}"].figure["data"]
        assert [len(trace["x"]) for trace in traces] == [
            sum(row.exposure == exposure for row in rows) for exposure in ("direct", "indirect", "none")
        ]
        axis = drawn[f"Cohort {cohort}"].figure["layout"]["yaxis"]
        assert [name for name in axis["ticktext"] if name.startswith("<b>")] == [
            "<b>after pretrain</b>", "<b>after sft</b>", "<b>after ppo</b>"
        ]  # fmt: skip
        heights = axis["tickvals"]
        assert heights == sorted(set(heights)), "nothing stands on anything else"


def test_dose_response_draws_the_shares_of_every_arm():
    (panel,) = [panel for panel in doses(STUDY) if panel.title == "sft, after ppo"]
    rows = [row for row in STUDY.doses if row.cohort == "sft"]
    for trace, row in zip(panel.figure["data"], rows, strict=True):
        assert trace["x"] == list(TIMES)
        assert trace["y"] == [100 * count / 40 for count in row.memorized]
    looks = [(trace["line"]["color"], trace["line"]["dash"]) for trace in panel.figure["data"]]
    assert len(set(looks)) == len(ARMS)
    assert panel.figure["layout"]["xaxis"]["type"] == "log"


def test_survival_draws_curves_over_their_bands():
    (panel,) = survival(STUDY)
    count = len(STUDY.survival)
    bands, lines = panel.figure["data"][:count], panel.figure["data"][count:]
    for band, line, row in zip(bands, lines, STUDY.survival, strict=True):
        assert line["x"] == row.steps
        assert line["y"] == [100 * size for size in row.survival]
        assert len(band["x"]) == len(band["y"]) == 2 * (2 * len(row.steps) - 1)
        assert max(band["y"]) == 100 * max(row.high)
        assert f"{row.arm}: {share(row.survival[-1])} % at step {row.steps[-1]}" in panel.caption


def test_an_arm_looks_the_same_everywhere_and_the_key_says_how():
    marks = key(STUDY, ["kl-0", "base", "kl-0", "ipo-mean"])
    assert [str(mark.words[0].text) for mark in marks] == ["base", "kl-0", "ipo-mean"]
    assert [mark.words[1] for mark in marks] == ["", "", ", dashed"]
    assert marks[0].look == marks[2].look


def test_every_colour_has_its_partner():
    used = set(
        re.findall(r"'(#[0-9a-fA-F]{3,8}|rgba?\([^)]*\))'", str([panel.figure for panel in panels(STUDY)]))
    )
    assert used - {"rgba(0,0,0,0)"} <= set(PALETTE)
    assert len(used) > 8


def test_labels_are_text_to_plotly():
    drawn = str([panel.figure for panel in panels(hostile())])
    for odd in ("<script", "<img", "<b>bold"):
        assert odd not in drawn
    assert HOSTILE[4] not in drawn


def test_numbers_are_written_in_one_way():
    assert [share(rate) for rate in (0, 0.0003, -0.0003, 0.123, -0.05, 0.9997, 1, -1)] == [
        "0.0", "<0.1", ">−0.1", "12.3", "−5.0", ">99.9", "100.0", "−100.0"
    ]  # fmt: skip
    assert portion(0, 64) == "0 of 64 (0.0 %)"
    assert portion(0, 0) == "none asked"
    assert quantity(0.413, "share") == "41.3 %"
    assert quantity(-0.02, "nats per token") == "−0.02 nats per token"
    assert quantity(0.7, "reward") == "0.70 reward"
    assert between(-0.01, 0.2, "share") == "−1.0 to 20.0 %"
    assert [chance(value) for value in (0.00001, 0.034, 1)] == ["< 0.001", "0.034", "1"]
    assert [joined(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
    assert [spent(seconds) for seconds in (90, 48211.7)] == ["90 seconds", "48212 seconds (13.4 hours)"]


def test_an_interval_that_nothing_bounds_is_not_known():
    most = sys.float_info.max
    assert between(-most, most, "nats per token") == between(-most, most, "reward") == "not known"
    assert between(-0.1, 0.25, "nats per token") == "−0.10 to +0.25"
