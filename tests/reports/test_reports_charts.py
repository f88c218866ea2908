import math
import re

import plotly.graph_objects as go
import pytest
from findings_sample import BINS, COHORTS, HOSTILE, STAGES, STRATA, build, empty, renamed

from reports import Findings
from reports.charts import distance_histograms, dose_response, forest, likelihood_forest
from reports.curves import curves
from reports.flow import flow
from reports.selection import View
from reports.theme import PALETTE, Panel, label

FULL = build(hostile=False)
DEFAULT = View(level="exact", definition="near")


def panels(findings: Findings) -> list[Panel]:
    found = [forest(findings, DEFAULT), likelihood_forest(findings)]
    for cohort in COHORTS:
        found += [
            *flow(findings, cohort),
            *dose_response(findings, cohort),
            *distance_histograms(findings, cohort),
        ]
    for stage in STAGES:
        found += curves(findings, stage)
    return [panel for panel in found if panel is not None]


def test_plotly_knows_every_property():
    for panel in panels(FULL):
        figure = go.Figure(panel.figure)
        assert len(figure.data) == len(panel.figure["data"])


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("seed", range(4))
def test_as_many_examples_leave_a_stage_as_enter_it(cohort: str, seed: int):
    findings = build(seed=seed, hostile=False)
    total = sum(row.cohort == cohort for row in findings.examples)
    drawn = flow(findings, cohort)
    assert [panel.title for panel in drawn] == [
        "pretrain → sft → reward", "pretrain → sft → ppo", "pretrain → sft → ipo"
    ]  # fmt: skip
    for panel in drawn:
        node, link = panel.figure["data"][0]["node"], panel.figure["data"][0]["link"]
        assert not [value for value in link["value"] if value <= 0]
        columns = [round(2 * x) for x in node["x"]]
        for place, name in enumerate(node["label"]):
            into = sum(v for v, t in zip(link["value"], link["target"], strict=True) if t == place)
            out = sum(v for v, s in zip(link["value"], link["source"], strict=True) if s == place)
            size = int(name.split()[0])
            assert {0: (0, size), 1: (size, size), 2: (size, 0)}[columns[place]] == (into, out)
        for column in range(3):
            sizes = [
                int(name.split()[0]) for name, at in zip(node["label"], columns, strict=True) if at == column
            ]
            assert sum(sizes) == total
        leaving = [v for v, s in zip(link["value"], link["source"], strict=True) if columns[s] == 0]
        assert sum(leaving) == total


def test_the_flow_ends_in_the_counts_of_the_table():
    ends = {panel.title.split(" → ")[-1]: panel.caption for panel in flow(FULL, "sft")}
    for row in FULL.totals:
        if (row.cohort, row.level, row.definition) == ("sft", "exact", "near") and row.stage in ends:
            assert ends[row.stage].endswith(f"{row.exposed.count} after {row.stage}.")


def test_the_flow_follows_checkpoints_not_every_edge():
    extra = [row.model_copy(update={"before": "reward", "after": "ppo"}) for row in FULL.transitions
             if (row.before, row.after) == ("sft", "ppo")]  # fmt: skip
    more = FULL.model_copy(update={"transitions": [*FULL.transitions, *extra]})
    assert flow(more, "sft") == flow(FULL, "sft")


def test_a_flow_without_transitions_is_not_drawn():
    assert flow(FULL.model_copy(update={"transitions": []}), "sft") == []
    assert flow(FULL, "no such cohort") == []


def test_dose_response_draws_rates_and_their_intervals():
    rows = {row.repetition: row for row in FULL.rates
            if (row.stage, row.cohort, row.level, row.definition) == ("sft", "sft", "exact", "near")}  # fmt: skip
    panel = next(panel for panel in dose_response(FULL, "sft") if panel.title == "after sft")
    control, exposed = panel.figure["data"]
    assert panel.figure["layout"]["xaxis"]["type"] == "log"
    assert panel.figure["layout"]["xaxis"]["tickvals"] == list(STRATA)
    for trace, arm in ((exposed, "exposed"), (control, "control")):
        for place, times in enumerate(STRATA):
            rate = getattr(rows[times], arm)
            assert math.isclose(trace["y"][place], 100 * rate.rate)
            assert math.isclose(trace["y"][place] + trace["error_y"]["array"][place], 100 * rate.high)
            low = trace["y"][place] - trace["error_y"]["arrayminus"][place]
            assert math.isclose(low, 100 * rate.low, abs_tol=1e-9)
            assert math.isclose(trace["x"][place], times, rel_tol=0.08)
    assert panel.caption.startswith(f"Shown 64 times: {rows[64].exposed.count} of 16 exposed")


def test_never_shown_examples_are_drawn_on_a_plain_axis():
    rows = [row.model_copy(update={"repetition": 0}) if row.repetition == 1 else row for row in FULL.rates]
    panel = dose_response(FULL.model_copy(update={"rates": rows}), "sft")[0]
    assert panel.figure["layout"]["xaxis"]["type"] == "linear"
    assert panel.figure["data"][0]["x"] == [0, 4, 16, 64]


def test_histograms_hold_every_example_and_the_threshold():
    for panel in distance_histograms(FULL, "reward"):
        bars, steps = panel.figure["data"]
        assert sum(bars["y"]) == sum(steps["y"][1:-1]) == 64
        assert len(bars["y"]) == BINS
        assert steps["x"][1:-1] == [place / BINS for place in range(BINS)]
        line = panel.figure["layout"]["shapes"][0]
        assert line["x0"] == line["x1"] == FULL.threshold


def test_the_forest_has_one_line_for_each_cell():
    panel = forest(FULL, DEFAULT)
    assert panel is not None
    rows = {f"{row.cohort} · after {row.stage}": row for row in FULL.totals
            if (row.level, row.definition) == ("exact", "near")}  # fmt: skip
    axis = panel.figure["layout"]["yaxis"]
    names = dict(zip(axis["tickvals"], axis["ticktext"], strict=True))
    seen = []
    for trace, exposure in zip(panel.figure["data"], ("direct", "indirect", "none"), strict=True):
        for place, height in enumerate(trace["y"]):
            row = rows[names[height]]
            seen.append(names[height])
            assert row.exposure == exposure
            assert math.isclose(trace["x"][place], 100 * row.difference.value)
            end = trace["x"][place] + trace["error_x"]["array"][place]
            assert math.isclose(end, 100 * row.difference.high, abs_tol=1e-9)
    assert sorted(seen) == sorted(rows)


def test_likelihoods_are_drawn_in_nats():
    panel = likelihood_forest(FULL)
    assert panel is not None
    drawn = sorted(x for trace in panel.figure["data"] for x in trace["x"])
    assert drawn == sorted(row.difference.value for row in FULL.likelihoods)
    assert panel.figure["layout"]["xaxis"]["title"]["text"] == "nats per token"


def test_curves_draw_every_metric_of_a_stage_with_a_line_for_each_twin():
    told = {(c.metric, *c.twins): c for c in FULL.curves if c.stage == "ppo"}
    drawn = curves(FULL, "ppo")
    assert [panel.title for panel in drawn] == ["loss", "objective/kl", "objective/scores"]
    for panel in drawn:
        first, second = panel.figure["data"]
        assert first["line"] != second["line"]
        for trace, twin in ((first, "A"), (second, "B")):
            curve = told[panel.title, twin]
            assert (trace["x"], trace["y"]) == (curve.steps, curve.values)
            assert f"win {twin} ends at {curve.values[-1]:.4g}" in panel.caption
    (shared,) = [panel for panel in curves(FULL, "pretrain") if panel.title == "loss"]
    assert len(shared.figure["data"]) == 1
    assert shared.caption.startswith("Twins A and B end at")


def test_nothing_measured_is_nothing_drawn():
    assert panels(empty()) == []


def test_every_colour_has_its_partner_or_serves_both():
    both = {"rgba(230,159,0,0.60)", "rgba(86,180,233,0.60)", "rgba(0,0,0,0)"}
    used = set(
        re.findall(r"'(#[0-9a-fA-F]{3,8}|rgba?\([^)]*\))'", str([panel.figure for panel in panels(FULL)]))
    )
    assert used - both <= set(PALETTE)
    assert len(used) > 8


def test_labels_are_text_to_plotly():
    hostile = renamed(FULL, {"sft": HOSTILE[0], "ppo": "<a href='x'>&amp;"})
    drawn = str([panel.figure for panel in panels(hostile)])
    assert "<script" not in drawn
    assert "<a href" not in drawn
    assert "&lt;a href='x'&gt;&amp;amp;" in drawn
    assert label("x" * 40) == "x" * 27 + "…"
