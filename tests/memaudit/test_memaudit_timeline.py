"""What is asked while a stage is trained: when, of whom, and that it changes nothing else."""

import json
import sqlite3
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from taught import Taught
from tiny import Walked

from memaudit.extraction import Interrogation
from memaudit.ledger import LEDGER, Ledger
from memaudit.sample import drawn, rank
from memaudit.timeline import Timeline
from rlhf.events import StageStarted, Updated
from rlhf.mesh import ONE_DEVICE


def test_a_sample_is_asked_at_every_second_step_but_the_last(walked: Walked) -> None:
    audit = walked.recipe.audit
    with Ledger(walked.folder / LEDGER) as ledger:
        sample = {p.id for p in ledger.probes() if drawn(p.id, audit.sample)}
        everyone = {p.id for p in ledger.probes()}
        assert 0 < len(sample) < len(everyone)
        for record in ledger.walks().values():
            steps = ledger.answers.steps(record.id)
            between = list(range(audit.every, record.steps, audit.every))
            assert [step for step, _, _ in steps] == [*between, record.steps]
            for step, number, seconds in steps:
                assert ledger.answers.asked(number) == (everyone if step == record.steps else sample)
                assert seconds > 0


def test_the_ledger_says_when_an_example_came_out_first_and_last(walked: Walked) -> None:
    db = sqlite3.connect(walked.folder / LEDGER)
    rows = db.execute(
        "SELECT example_id, twin, stage, times_asked, times_out, first_step, last_step FROM came_out "
        "WHERE level = 'exact'"
    ).fetchall()
    near = db.execute(
        "SELECT example_id, twin, stage, step, near FROM timeline WHERE level = 'exact'"
    ).fetchall()
    db.close()
    assert rows
    for example, twin, stage, asked, out, first, last in rows:
        steps = [(step, hit) for e, t, s, step, hit in near if (e, t, s) == (example, twin, stage)]
        hits = sorted(step for step, hit in steps if hit)
        assert (asked, out) == (len(steps), len(hits))
        assert (first, last) == ((hits[0], hits[-1]) if hits else (None, None))


@pytest.fixture
def asking(taught: Taught) -> Interrogation:
    return Interrogation(
        decoder=taught.decoder,
        tokenizer=taught.tokenizer,
        levels=("exact", "code"),
        batch=len(taught.probes),
        examples=taught.examples,
        probes=taught.probes,
        context=1 + max(len(p.prefix_tokens) for p in taught.probes),
        budget=max(len(p.target_tokens) for p in taught.probes),
        closing=0.1,
        scored=False,
    )


def updated(taught: Taught, step: int, known: bool) -> Updated:
    params = taught.params if known else taught.untaught
    return Updated(stage="sft", step=step, metrics={}, model=lambda: params)


def test_what_is_heard_comes_back_as_it_was_and_a_killed_stage_asks_again(
    taught: Taught, asking: Interrogation, tmp_path: Path
) -> None:
    path = tmp_path / "timeline.jsonl"
    timeline = Timeline(path, asking, every=2, layout=ONE_DEVICE)
    timeline.on_stage_started(StageStarted(stage="sft", steps=6))
    for step in range(3):
        timeline.on_update(updated(taught, step, known=True))
    state = timeline.state()
    timeline.on_update(updated(taught, 3, known=False))
    # Killed here; what was heard after the state was saved is heard again.
    resumed = Timeline(path, asking, every=2, layout=ONE_DEVICE)
    resumed.restore(json.loads(json.dumps(state)))
    resumed.on_stage_started(StageStarted(stage="sft", steps=6, first=3))
    for step in range(3, 6):
        resumed.on_update(updated(taught, step, known=False))
    found = resumed.checkpoints()
    assert [c.step for c in found] == [2, 4]
    for checkpoint, params in zip(found, (taught.params, taught.untaught), strict=True):
        assert checkpoint.observations == list(asking.observe(params))
        assert checkpoint.path is None
    assert found[0].observations != found[1].observations


def test_a_sample_depends_on_the_probe_alone_and_grows_with_its_share() -> None:
    numbers = range(1, 5001)
    shares = [0.0, 0.05, 0.3, 1.0]
    samples = [{n for n in numbers if drawn(n, share)} for share in shares]
    assert samples[0] == set()
    assert samples[3] == set(numbers)
    assert all(fewer <= more for fewer, more in pairwise(samples))
    assert 200 < len(samples[1]) < 300
    assert sorted(numbers, key=rank) != list(numbers)


def test_asking_once_more_hears_the_same_in_another_order(walked: Walked) -> None:
    with Ledger(walked.folder / LEDGER) as ledger:
        for record in ledger.walks().values():
            once = ledger.answers.of_stage(record.id)
            again = ledger.answers.of_stage(record.id, asking=1)
            assert 0 < len(again) < len(once)
            for number, observation in again.items():
                assert replace(observation, scores=once[number].scores) == once[number]
    flips = [row.flips for row in walked.findings.rates if row.flips is not None]
    assert flips
    assert all(found.count == 0 for found in flips)
