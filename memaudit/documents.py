"""The documents of an audit: findings of a run, or the tally of a model, as HTML, Markdown and JSON files."""

from pathlib import Path

from memaudit.errors import BadInput
from memaudit.findings import conclude
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import parse
from memaudit.tally import tally
from reports import (
    Findings,
    Tally,
    render_html,
    render_json,
    render_markdown,
    render_tally_html,
    render_tally_markdown,
)

DOCUMENTS = {"json": "findings.json", "md": "report.md", "html": "report.html"}
"""Format -> file name."""
_OF_A_RUN = {"html": render_html, "md": render_markdown}
_OF_A_MODEL = {"html": render_tally_html, "md": render_tally_markdown}


def open_ledger(folder: Path) -> Ledger:
    """The ledger of a run or an audit that is on disk."""
    path = folder / LEDGER
    if not path.is_file():
        raise BadInput(
            f"expected the directory of a run or an audit, with a {LEDGER} in it, got {folder}: "
            "`memaudit run` and `memaudit audit` print where they lie"
        )
    return Ledger(path)


def conclusion(ledger: Ledger, folder: Path) -> Findings | Tally:
    """What a ledger comes to: findings of a run, or the tally of an audited model."""
    if ledger.has("recipe"):
        return conclude(ledger, parse(ledger.setting("recipe"), where=str(folder / LEDGER)))
    if ledger.has("terms"):
        return tally(ledger)
    raise BadInput(
        f"{folder}: expected a run or an audit with its examples drawn, got one that never started"
    )


def render(found: Findings | Tally, form: str) -> str:
    """The text of a document: html, md or json."""
    if form == "json":
        return render_json(found)
    return _OF_A_RUN[form](found) if isinstance(found, Findings) else _OF_A_MODEL[form](found)


def write_document(found: Findings | Tally, form: str, path: Path) -> None:
    """Render as html, md or json into `path`, whole or not at all."""
    beside = path.with_name(path.name + ".partial")
    beside.write_text(render(found, form), encoding="utf-8")
    beside.replace(path)


def write_documents(found: Findings | Tally, folder: Path) -> list[Path]:
    """Write all of them into a directory; returns their paths."""
    paths = [folder / name for name in DOCUMENTS.values()]
    for form, path in zip(DOCUMENTS, paths, strict=True):
        write_document(found, form, path)
    return paths
