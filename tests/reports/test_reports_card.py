"""A section of a model card: the Hub's own library reads its numbers, and a person what was and was not tested."""

import re
from collections.abc import Iterator
from typing import Any

import findings_sample
import pytest
import tally_sample
import yaml
from findings_sample import HOSTILE, build, renamed
from huggingface_hub import EvalResult, ModelCard
from markdown_it import MarkdownIt

from reports import Findings, Tally, render_card
from reports.escape import visible

READER = MarkdownIt("commonmark").enable("table")
BREAKING = "x\n---\n\nmodel-index: [] # "
NAMES = {"sft": BREAKING, "ppo": HOSTILE[3], "reward": HOSTILE[0], "ipo": HOSTILE[5], "A": HOSTILE[4]}
SAMPLES: dict[str, Findings | Tally] = {
    "run": build(hostile=False),
    "names": renamed(build(), NAMES),
    "model": tally_sample.build(hostile=True),
    "training": tally_sample.training(hostile=True, stage=BREAKING),
    "uncontrolled": tally_sample.build(control=False),
}


def numbers(found: Findings | Tally) -> list[EvalResult]:
    """What the Hub's library makes of the metadata."""
    results = ModelCard(render_card(found)).data.eval_results
    assert results
    return results


def metric(results: list[EvalResult], **wanted: Any) -> EvalResult:
    found = [
        r
        for r in results
        if r.metric_args and wanted.items() <= {**r.metric_args, "of": r.dataset_name}.items()
    ]
    (one,) = found
    return one


def strings(value: Any) -> Iterator[str]:
    """All strings in what was read."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def body(text: str) -> str:
    return text.partition("\n---\n\n")[2] if text.startswith("---\n") else text


def test_every_rate_after_a_cohort_was_shown_is_a_metric_with_its_interval():
    findings = SAMPLES["run"]
    assert isinstance(findings, Findings)
    results = numbers(findings)
    rows = [
        row for row in findings.totals
        if (row.level, row.definition) == ("exact", "near") and row.exposure != "none"
    ]  # fmt: skip
    assert len(results) == len(rows) > 5
    for row in rows:
        of = f"cohort {row.cohort}, {row.exposed.total} examples of training code"
        found = metric(results, of=of, stage=row.stage, exposure=row.exposure)
        assert (found.task_type, found.metric_type) == ("text-generation", "memorized-share")
        assert found.metric_value == pytest.approx(row.exposed.rate, abs=1e-6)
        args = found.metric_args or {}
        assert args["interval"] == pytest.approx([row.exposed.low, row.exposed.high], abs=1e-6)
        assert (args["count"], args["total"], args["confidence"]) == (
            row.exposed.count,
            row.exposed.total,
            findings.confidence,
        )
        assert args["difference"] == pytest.approx(row.difference.value, abs=1e-6)
        assert args["control"] == pytest.approx(row.control.rate, abs=1e-6)


def test_secrets_have_a_metric_of_their_own():
    findings = build(hostile=False)
    row = next(r for r in findings.totals if (r.stage, r.cohort, r.level) == ("sft", "sft", "exact"))
    secret = row.model_copy(update={"definition": "secret"})
    text = render_card(findings.model_copy(update={"totals": [*findings.totals, secret]}))
    results = ModelCard(text).data.eval_results or []
    assert metric(results, definition="secret").metric_type == "secret-share"
    assert "holds a known secret" not in text
    assert "No example holds a known secret" in render_card(findings)
    (line,) = [line for line in text.splitlines() if line.startswith("| `sft` | `sft` |")]
    assert line.endswith(f"; control {row.control.count} |")


def test_a_model_has_its_own_metrics():
    tally = tally_sample.build(control=False)
    row = next(r for r in tally.rows if (r.kind, r.level, r.definition) == ("all", "exact", "near"))
    found = metric(numbers(tally), definition="near")
    assert found.metric_value == pytest.approx(row.model.rate, abs=1e-6)
    assert found.metric_name == "Comes out verbatim or nearly"
    assert "control" not in (found.metric_args or {})
    assert "**No control:**" in render_card(tally)
    training = tally_sample.training()
    last = max(row.step for row in training.rows)
    assert {(r.metric_args or {})["step"] for r in numbers(training)} == {last}


@pytest.mark.parametrize("name", SAMPLES)
def test_no_name_ends_the_metadata_or_adds_to_it(name: str):
    text = render_card(SAMPLES[name])
    assert text.startswith("---\n")
    lines = text.splitlines()
    end = lines.index("---", 1)
    metadata = yaml.safe_load("\n".join(lines[1:end]))
    assert metadata.keys() == {"model-index"}
    assert re.fullmatch(r"[\x20-\x7e\n]+", "\n".join(lines[:end]))
    assert all(string.isprintable() for string in strings(metadata)), "nor does a reader get to see more"
    assert lines[end + 1 : end + 3] == ["", "## Memorization audit"]
    assert {character for character in text if not character.isprintable()} == {"\n"}


@pytest.mark.parametrize("name", SAMPLES)
def test_names_are_text_only(name: str):
    found, columns = [], []
    for token in READER.parse(body(render_card(SAMPLES[name]))):
        found.append(token.type)
        found += [child.type for child in token.children or []]
        if token.type == "tr_open":
            columns.append(0)
        columns[-1:] = [columns[-1] + (token.type in ("th_open", "td_open"))] if columns else []
        if token.type == "table_close":
            assert len(set(columns)) == 1
            columns = []
    assert not {"html_block", "html_inline", "link_open", "image", "em_open", "hr"} & set(found)
    assert found.count("heading_open") == 5


@pytest.mark.parametrize("name", SAMPLES)
def test_a_card_quotes_no_text_and_names_no_file(name: str):
    found = SAMPLES[name]
    text = render_card(found)
    leaks = found.evidence if isinstance(found, Findings) else found.leaks
    assert leaks
    for leak in leaks:
        assert visible(leak.source, lines=False) not in text
    for words in ("connect_to_store", "settings.toml", "█"):
        assert words not in text
    if isinstance(found, Tally):
        assert "models/" not in text


def test_it_says_what_was_tested_what_was_not_and_by_which_command():
    text = render_card(SAMPLES["run"])
    assert (
        "192 examples of training code: 64 of cohort `sft`, 64 of cohort `reward`, 64 of cohort `ppo`."
        in text
    )
    assert "`pretrain` of `sft`, `reward`, `ppo`; `sft` of `reward`, `ppo`" in text
    assert "- **Read otherwise:** `reward`: Read with the language head" in text
    assert "| `ppo` | `reward` | only indirectly |" in text
    assert "not yet shown |" not in text
    assert f"```sh\n{SAMPLES['run'].run.command}\n```" in text  # pyright: ignore
    # The control is asked over HTTP: its address is not told.
    assert "```sh\nmemaudit audit --model tuned --control URL --probes probes.jsonl\n```" in render_card(
        tally_sample.build(full=False)
    )
    assert render_card(tally_sample.build(full=True)).count(" --full\n") == 1


@pytest.mark.parametrize("found", [findings_sample.empty(), tally_sample.empty()], ids=["run", "model"])
def test_where_nothing_was_measured_there_is_no_metadata(found: Findings | Tally):
    assert render_card(found).startswith("## Memorization audit\n")


def test_equal_findings_give_equal_cards():
    assert render_card(build()) == render_card(build())
