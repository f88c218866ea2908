"""The schemas in `docs/schemas` are those of the contracts, and refuse what the contracts refuse."""

import json
from pathlib import Path

import comparison_sample
import findings_sample
import gate_sample
import jsonschema
import pytest
import study_sample
import tally_sample

from reports import render_json
from reports.schema import DOCUMENTS, schema_text

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
SAMPLES = {
    "findings": findings_sample.build,
    "tally": lambda: tally_sample.training(weak=False, hostile=True, stage="sft"),
    "comparison": comparison_sample.build,
    "gate": gate_sample.build,
    "study": study_sample.build,
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_documented_schema_is_the_contracts(name: str):
    assert (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8") == schema_text(name), (
        "run: python -m reports.schema docs/schemas"
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_valid_and_one_of_another_version_is_not(name: str):
    check = jsonschema.Draft202012Validator(json.loads(schema_text(name)))
    document = json.loads(render_json(SAMPLES[name]()))
    check.validate(document)
    for other in ({"schema_version": 99}, {"surprise": 1}):
        with pytest.raises(jsonschema.ValidationError):
            check.validate(document | other)
    for key in document:
        if key in check.schema["required"]:
            with pytest.raises(jsonschema.ValidationError):
                check.validate({k: v for k, v in document.items() if k != key})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_record_is_described(name: str):
    schema = json.loads(schema_text(name))
    for record in schema["$defs"].values():
        assert record.get("description"), record
