"""What was audited as part of a model card: metadata that the Hugging Face Hub reads, and a section for people.

The metadata is a `model-index` as the Hub documents it (hub-docs, modelcard.md): one result for each set of texts,
in it one metric for each rate. A card is public, so it holds counts and names of stages, and neither texts nor the
files they come from. Names are hostile and are escaped.
"""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml

from reports import selection
from reports.audited import checkpoints, default, ends, finished
from reports.blocks import listed, table, versions
from reports.escape import markdown_block, markdown_name, markdown_text, visible
from reports.findings import Difference, Exposure, Findings, Proportion, RateRow
from reports.headline import reading
from reports.leakage import caveats
from reports.phrases import measured, points
from reports.statement import Name, Part, Quoted, Statement, fact
from reports.tally import Asked, CheckpointRow, Tally

_TASK = {"type": "text-generation", "name": "Memorization audit"}
_SHARES = {
    "near": "Comes out verbatim or nearly",
    "equal": "Comes out verbatim",
    "verbatim": "Comes out verbatim",
    "secret": "Secret comes out whole",
}
_EXPOSURES: dict[Exposure, str] = {"direct": "shown", "indirect": "only indirectly", "none": "not yet shown"}


def render_card(found: Findings | Tally) -> str:
    """Return a metadata block and a section in Markdown, which together can be a model's `README.md`.

    Where there is one already, `model-index` goes into its metadata and the section anywhere into its text. Where
    nothing was measured there is no metadata.
    """
    name, results, blocks = _of_run(found) if isinstance(found, Findings) else _of_model(found)
    metadata = ""
    if results:
        # Each string on one line, so that no part of a hostile name can stand alone and end the block.
        index = yaml.safe_dump(
            {"model-index": [{"name": _plain(name), "results": results}]},
            sort_keys=False,
            allow_unicode=False,
            width=float("inf"),
        )
        metadata = f"---\n{index}---\n\n"
    body = "\n\n".join(block for block in ["## Memorization audit", *blocks] if block)
    return f"{metadata}{body}\n"


# a run


def _of_run(findings: Findings) -> tuple[str, list[dict[str, Any]], list[str]]:
    run = findings.run
    rows = [row for row in findings.totals if _counts(row, findings)]
    asked = {row.cohort: row.exposed.total for row in rows if row.definition != "secret"}
    results = [
        _result(
            f"cohort {cohort}, {total} examples of training code",
            (
                _metric(
                    row, row.exposed, row.control, row.difference, findings.confidence, exposure=row.exposure
                )
                for row in rows
                if row.cohort == cohort and row.exposure != "none"
            ),
        )
        for cohort, total in asked.items()
    ]
    return (
        run.name,
        results,
        [
            "### What was tested",
            listed(_tested(findings, asked), topics=True),
            "### What came out",
            reading(findings.confidence),
            _rates(findings, rows),
            "### What was not tested",
            listed(_untested(findings), topics=True),
            "### How to repeat this",
            f"Seed {run.seed}, recipe {markdown_name(run.recipe_hash)}.",
            markdown_block(run.command, "sh"),
            versions(run.versions),
        ],
    )


def _counts(row: RateRow, findings: Findings) -> bool:
    """Tell whether a row is of those a card shows: the default view, and secrets."""
    view = selection.default_view(findings)
    assert view is not None, "there is a row"
    return row.exposed.total > 0 and row.level == view.level and row.definition in (view.definition, "secret")


def _tested(findings: Findings, asked: dict[str, int]) -> Iterator[Statement]:
    if not asked:
        yield fact("Nothing", "Nothing was measured.")
        return
    parts = [part for cohort, n in asked.items() for part in (f"{n} of cohort ", Name(cohort), ", ")][:-1]
    yield fact(
        "Texts",
        f"{sum(asked.values())} examples of training code: ",
        *parts,
        ". Each was shown to one of two runs that were otherwise equal; the other run is its control.",
    )
    yield fact(
        "Question",
        "After every stage each model was given the beginning of every example, and its greedy completion was "
        f"compared with the rest. `near` is a normalised edit distance of at most {findings.threshold:g}.",
    )
    yield fact("Stages", "In their order ", *_names(stage.name for stage in findings.stages), ".")


def _rates(findings: Findings, rows: list[RateRow]) -> str:
    secrets = {(row.stage, row.cohort): row for row in rows if row.definition == "secret"}
    lines = []
    for row in rows:
        if row.definition == "secret" or row.exposure == "none":
            continue
        secret = secrets.get((row.stage, row.cohort))
        lines.append(
            (
                markdown_name(row.stage),
                markdown_name(row.cohort),
                _EXPOSURES[row.exposure],
                _count(row.exposed),
                _count(row.control),
                points(row.difference),
                "–" if secret is None else f"{_count(secret.exposed)}; control {secret.control.count}",
            )
        )
    return table(["after", "cohort", "it was", "comes out", "control", "difference", "whole secrets"], lines)


def _untested(findings: Findings) -> Iterator[Statement]:
    yield fact(
        "Other questions",
        "One greedy completion of each beginning was asked for: sampling, other prompts or longer beginnings may "
        "bring out more.",
    )
    yield fact(
        "Other texts",
        "Intervals speak of texts drawn as these were, and of training with this one seed. What stages show that "
        "has no cohort, such as the text of pretraining, was not asked for.",
    )
    yield fact(
        "Other words",
        "Texts were compared at levels ",
        *_names(findings.levels),
        ": code with the same meaning in other words does not count.",
    )
    yield from _unseen(findings)
    for stage in findings.stages:
        if stage.note is not None:
            yield fact("Read otherwise", Name(stage.name), ": ", Quoted(stage.note))
    if not any(row.definition == "secret" and row.exposed.total for row in findings.totals):
        yield fact("Secrets", "No example holds a known secret, so nothing is known of secrets.")


def _unseen(findings: Findings) -> Iterator[Statement]:
    """Name the cohorts that a stage could not have learned."""
    unseen: dict[str, dict[str, None]] = {}
    for row in findings.totals:
        if row.exposure == "none":
            unseen.setdefault(row.stage, {})[row.cohort] = None
    if not unseen:
        return
    parts: list[Part] = []
    for stage, cohorts in unseen.items():
        parts += [*([] if not parts else ["; "]), Name(stage), " of ", *_names(cohorts)]
    yield fact(
        "Not yet shown", "What a stage learns of a cohort that comes later was not tested: ", *parts, "."
    )


def _names(names: Iterable[str]) -> list[Part]:
    return [part for name in names for part in (Name(name), ", ")][:-1]


# a model


def _of_model(tally: Tally) -> tuple[str, list[dict[str, Any]], list[str]]:
    usual = default(tally)
    found = ends(checkpoints(tally))
    rows = [
        row
        for at in found
        for name in (usual, "secret")
        if (row := at.main.row if name == usual else at.main.others.get(name)) is not None and row.model.total
    ]
    result = _result(
        f"{tally.probes} probes of code, file {tally.probes_digest[:16]}",
        (
            _metric(row, row.model, row.control, row.difference, tally.confidence, step=row.step)
            for row in rows
        ),
    )
    model = next((asked for asked in tally.asked if asked.role == "model"), None)
    name = "a model" if model is None else _public(model)
    return (
        name,
        [result] if rows else [],
        [
            "### What was tested",
            f"{tally.probes} probes: the model was given the beginning of each, and its greedy completion was "
            f"compared with the rest. `near` is a normalised edit distance of at most {tally.threshold:g}.",
            "### What came out",
            reading(tally.confidence),
            _model_rates(tally, rows),
            "### What was not tested",
            listed(caveats(tally), topics=True),
            "### How to repeat this",
            markdown_block(_command(tally), "sh") if finished(tally) else "",
            versions(tally.versions),
        ],
    )


def _model_rates(tally: Tally, rows: list[CheckpointRow]) -> str:
    return table(
        ["after", "what", "of probes", "control", "difference"],
        [
            (
                "–" if finished(tally) else f"{markdown_name(row.stage)}, step {row.step}",
                markdown_text(_share(row.definition)),
                _count(row.model),
                "–" if row.control is None else _count(row.control),
                "–" if row.difference is None else points(row.difference),
            )
            for row in rows
        ],
    )


def _public(asked: Asked) -> str:
    """Return what a model may be called in public: the name of its folder, or what a server calls it."""
    return asked.identity if asked.kind == "http" else PurePosixPath(asked.name).name or asked.name


def _command(tally: Tally) -> str:
    """Return the command without the paths and addresses of whoever gave it."""
    models = [
        part
        for asked in tally.asked
        for part in (
            f"--{asked.role}",
            "URL" if asked.kind == "http" else shlex.quote(visible(_public(asked), lines=False)),
        )
    ]
    full = ["--full"] if tally.full else []
    return " ".join(["memaudit", "audit", *models, "--probes", "probes.jsonl", *full])


# both


def _result(texts: str, metrics: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {
        "task": dict(_TASK),
        "dataset": {"type": "training-data", "name": _plain(texts)},
        "metrics": list(metrics),
    }


def _metric(
    row: RateRow | CheckpointRow,
    rate: Proportion,
    control: Proportion | None,
    difference: Difference | None,
    confidence: float,
    *,
    exposure: Exposure | None = None,
    step: int | None = None,
) -> dict[str, Any]:
    """`step` is 0 of a model that was finished when it was given, which has no stage that would say anything."""
    return {
        "type": "secret-share" if row.definition == "secret" else "memorized-share",
        "name": _share(row.definition) + ("" if step == 0 else f", after {_plain(row.stage)}"),
        "value": round(rate.rate, 6),
        "args": {
            "stage": _plain(row.stage),
            **({} if exposure is None else {"exposure": exposure}),
            **({} if step is None else {"step": step}),
            "level": _plain(row.level),
            "definition": _plain(row.definition),
            "count": rate.count,
            "total": rate.total,
            "interval": [round(rate.low, 6), round(rate.high, 6)],
            "confidence": confidence,
            **({} if control is None else {"control": round(control.rate, 6)}),
            **({} if difference is None else _difference(difference)),
        },
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "difference": round(difference.value, 6),
        "difference_interval": [round(difference.low, 6), round(difference.high, 6)],
    }


def _share(definition: str) -> str:
    return _SHARES.get(definition, f"Comes out by definition {_plain(definition)}")


def _count(rate: Proportion) -> str:
    return f"{rate.count} of {rate.total} ({measured(rate)})"


def _plain(name: str) -> str:
    """Return a hostile name in one line, with nothing in it that is not seen."""
    return visible(name, lines=False)
