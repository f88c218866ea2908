"""The documents of an audit or a study as files: pages, data, and what other programs read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from memaudit.errors import BadInput
from memaudit.findings import conclude
from memaudit.ledger import LEDGER, Ledger
from memaudit.parquet import write_observations
from memaudit.recipe import parse
from memaudit.sources import printable
from memaudit.tally import tally
from reports import (
    Findings,
    StudyReport,
    Tally,
    render_card,
    render_html,
    render_json,
    render_markdown,
    render_sarif,
    render_study_html,
    render_study_markdown,
    render_tally_html,
    render_tally_markdown,
)

Document: TypeAlias = Findings | Tally | StudyReport
"""What there are pages of."""

DOCUMENTS = {"json": "findings.json", "md": "report.md", "html": "report.html"}
"""Format -> file name, of what a run or an audit leaves."""
EXPORTS = {"sarif": "findings.sarif", "card": "model-card.md", "parquet": "observations.parquet"}
"""The same of what is written when it is asked for."""
REVEALABLE = ("html", "md", "json")
"""Formats that hold texts of examples, in which secrets are masked."""
RESULTS = "results.json"
"""The JSON file of a study."""
_PAGES: dict[type, dict[str, Callable[..., str]]] = {
    Findings: {"html": render_html, "md": render_markdown, "sarif": render_sarif, "card": render_card},
    Tally: {
        "html": render_tally_html,
        "md": render_tally_markdown,
        "sarif": render_sarif,
        "card": render_card,
    },
    StudyReport: {"html": render_study_html, "md": render_study_markdown},
}


def open_ledger(folder: Path) -> Ledger:
    """The ledger of a run or an audit that is on disk."""
    path = folder / LEDGER
    if not path.is_file():
        raise BadInput(
            f"expected the directory of a run or an audit, with a {LEDGER} in it, got {folder}: "
            "`memaudit run` and `memaudit audit` print where they lie"
        )
    return Ledger(path)


def conclusion(ledger: Ledger, folder: Path, *, reveal: bool = False) -> Findings | Tally:
    """What a ledger comes to: findings of a run, or the tally of an audited model; with `reveal`, secrets and all."""
    _check_started(ledger, folder)
    if ledger.has("recipe"):
        recipe = parse(ledger.setting("recipe"), where=str(folder / LEDGER))
        return conclude(ledger, recipe, reveal=reveal)
    return tally(ledger, reveal=reveal)


def revealed_name(name: str) -> str:
    """The name of a document with its secrets: it stands beside the masked one and does not take its place."""
    stem, suffix = name.rsplit(".", 1)
    return f"{stem}.revealed.{suffix}"


def _check_started(ledger: Ledger, folder: Path) -> None:
    if not ledger.has("recipe") and not ledger.has("terms"):
        raise BadInput(
            f"{folder}: expected a run or an audit with its examples drawn, got one that never started"
        )


def render(found: Document, form: str) -> str:
    """The text of a document: html, md or json; of a run or an audit also sarif or card."""
    return render_json(found) if form == "json" else _PAGES[type(found)][form](found)


def write_whole(path: Path, text: str, *, option: str, private: bool = False) -> None:
    """Write a file, whole or not at all. Raises BadInput, which `option` begins, where it cannot be written.

    With `private` only its owner can read it, from the first byte on.
    """
    beside = path.with_name(f"{path.name}.partial")
    try:
        if private:
            # What a broken attempt left may be open to others, and keeps its mode when it is written again.
            beside.unlink(missing_ok=True)
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        else:
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BadInput(
            f"{option}: expected to write {printable(str(path))}, got: {error.strerror}: set another"
        ) from None


def write_document(found: Document, form: str, path: Path, *, private: bool = False) -> None:
    """Render into `path`, whole or not at all; with `private` for its owner alone."""
    write_whole(path, render(found, form), option="--output", private=private)


def write_documents(found: Document, folder: Path) -> list[Path]:
    """Write all of them into a directory; returns their paths."""
    names = DOCUMENTS | ({"json": RESULTS} if isinstance(found, StudyReport) else {})
    paths = [folder / name for name in names.values()]
    for form, path in zip(names, paths, strict=True):
        write_document(found, form, path)
    return paths


def write_report(folder: Path, form: str, path: Path, *, reveal: bool = False) -> None:
    """Write a document of a run or an audit that is on disk, in any format.

    With `reveal`, which is for `REVEALABLE` ones, its secrets stand in it, and only its owner can read it.
    """
    with open_ledger(folder) as ledger:
        if form == "parquet":
            # Of the ledger as it is: there may be more observations than fit in memory.
            _check_started(ledger, folder)
            write_observations(ledger, folder, path)
            return
        found = conclusion(ledger, folder, reveal=reveal)
    write_document(found, form, path, private=reveal)
