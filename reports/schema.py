"""JSON Schemas of the documents, for whoever reads them with other programs: `python -m reports.schema FOLDER`."""

import json
import sys
from pathlib import Path
from typing import Any

from reports.comparison import Comparison
from reports.findings import Findings, Record
from reports.gate import Gate
from reports.study import StudyReport
from reports.tally import Tally

DOCUMENTS: dict[str, type[Record]] = {
    "findings": Findings,
    "tally": Tally,
    "comparison": Comparison,
    "gate": Gate,
    "study": StudyReport,
}
"""What is written as JSON, by the name of its schema."""


def schema_text(name: str) -> str:
    """Return the schema of one of `DOCUMENTS` (JSON Schema 2020-12); it names the version that documents carry.

    A document carries the version of its contract as `schema_version`. It is raised whenever a field is added, changes
    its meaning or goes: as unknown fields are refused, a reader of one version accepts no other.
    """
    schema: dict[str, Any] = DOCUMENTS[name].model_json_schema(mode="serialization")
    version = DOCUMENTS[name].model_fields["schema_version"].default
    schema["properties"]["schema_version"]["const"] = version
    return (
        json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1, sort_keys=True
        )
        + "\n"
    )


def main(folder: str) -> None:
    """Write all of them into a folder."""
    for name in DOCUMENTS:
        (Path(folder) / f"{name}.schema.json").write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
