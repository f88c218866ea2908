"""The graph of stages, the ladder of levels, sweeps, waits and attacks: what is drawn is what was found."""

from findings_sample import HOSTILE, LEVELS, STAGES, build, empty, renamed

from reports import Findings
from reports.escape import visible
from reports.graph import HEAD, LINE, WIDTH, graph
from reports.membership import attacked, canaries, roc
from reports.rungs import ladder, sweeps
from reports.waits import waits


def swept(findings: Findings, *, more: bool = False) -> Findings:
    """Let `ipo` be a second `ppo` under another coefficient."""
    stages = []
    for stage in findings.stages:
        if stage.name == "ipo":
            ppo = next(s for s in findings.stages if s.name == "ppo")
            settings = {**ppo.settings, "kl": 0.02, "randomness": "ppo"} | ({"batch": 7} if more else {})
            stage = ppo.model_copy(update={"name": "ipo", "settings": settings})
        stages.append(stage)
    return findings.model_copy(update={"stages": stages})


def test_every_stage_stands_right_of_what_it_starts_from_and_none_on_another():
    findings = build(hostile=False)
    drawn = graph(findings)
    assert drawn is not None
    nodes = dict(zip((s.name for s in findings.stages), drawn.nodes, strict=True))
    for stage in findings.stages:
        if stage.parent:
            assert nodes[stage.name].x >= nodes[stage.parent].x + WIDTH
    boxes = [(n.x, n.y, n.x + WIDTH, n.y + n.height) for n in drawn.nodes]
    for place, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= drawn.width
        assert 0 <= top < bottom <= drawn.height
        for other in boxes[:place]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    assert [edge.steered for edge in drawn.edges].count(True) == 1, "ppo needs the reward model"
    assert len(drawn.edges) == 4 + 1
    assert nodes["pretrain"].lines == []
    assert nodes["ppo"].height == HEAD + 3 * LINE
    assert [line.exposure for line in nodes["ppo"].lines] == ["direct", "indirect", "direct"]
    assert "cohort sft: 31 of 64" in drawn.words


def test_the_graph_of_hostile_names_is_short_and_says_them_whole():
    drawn = graph(renamed(build(), {"sft": HOSTILE[1], "ppo": HOSTILE[4]}))
    assert drawn is not None
    assert all(len(node.name) <= 21 and len(node.about) <= 27 for node in drawn.nodes)
    assert all("\u202e" not in node.name for node in drawn.nodes)
    assert visible(HOSTILE[1], lines=False)[:20] in {node.name[:20] for node in drawn.nodes}
    assert graph(empty()) is None


def test_the_ladder_has_a_rung_for_each_level_and_no_panel_before_the_cohort_was_shown():
    findings = build(hostile=False)
    panels = ladder(findings, "reward")
    assert [panel.title for panel in panels] == [f"after {stage}" for stage in ("reward", "ppo", "ipo")]
    rates = {r.level: r.exposed.rate for r in findings.totals
             if (r.stage, r.cohort, r.definition) == ("ipo", "reward", "near")}  # fmt: skip
    exposed = panels[-1].figure["data"][1]
    assert exposed["x"] == list(LEVELS)
    assert exposed["y"] == [100 * rates[level] for level in LEVELS]


def test_a_sweep_is_of_stages_that_differ_in_one_setting_alone():
    assert sweeps(build(hostile=False)) == []
    assert sweeps(swept(build(hostile=False), more=True)) == []
    findings = swept(build(hostile=False))
    panels = sweeps(findings)
    assert [panel.title for panel in panels] == ["sft, over kl of ppo", "reward, over kl of ppo"]
    of_sft = next(panel for panel in panels if panel.title.startswith("sft"))
    assert of_sft.figure["data"][1]["x"] == ["0.02", "0.1"], "in the order of the values"
    counts = {r.stage: r.exposed.count for r in findings.totals
              if (r.cohort, r.level, r.definition) == ("sft", "exact", "near")}  # fmt: skip
    assert f"{counts['ipo']} at 0.02, {counts['ppo']} at 0.1" in of_sft.caption


def test_waits_begin_whole_and_have_a_panel_for_each_stage_and_event():
    findings = build(hostile=False)
    panels = waits(findings, "sft")
    assert [panel.title for panel in panels] == [
        "not yet out, in sft",
        "not yet out, in ppo",
        "still out, in ppo",
    ]
    for panel in panels:
        for trace in panel.figure["data"][2::3]:
            assert (trace["x"][0], trace["y"][0]) == (0, 100)
    assert len(panels[0].figure["data"]) == 6, "both arms, each with its band"
    assert waits(findings, "nobody") == []


def test_the_best_attack_is_marked_and_every_attack_is_listed():
    findings = build(hostile=False)
    rows = attacked(findings, "sft")
    assert [row.stage for row in rows] == [stage for stage in STAGES[1:] for _ in range(2)]
    panels = roc(findings, "sft")
    assert [panel.title for panel in panels] == [f"after {stage}" for stage in STAGES[1:]]
    best = panels[0].figure["data"][-1]
    assert (best["x"][0], best["y"][0], best["x"][-1], best["y"][-1]) == (0, 0, 1, 1)
    assert f"Best of 2: zlib, area {rows[0].area:.2f}" in panels[0].caption
    assert "The texts alone, with no model: 0.52." in panels[0].caption


def test_canaries_have_a_line_each():
    findings = build(hostile=False)
    panel = canaries(findings)
    assert panel is not None
    points = sum(len(trace["x"]) for trace in panel.figure["data"])
    assert points == len(findings.canaries) == 15
    assert canaries(empty()) is None
