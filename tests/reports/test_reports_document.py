import json

import pytest
from findings_sample import HOSTILE, build, empty, renamed
from pydantic import ValidationError

from reports import SCHEMA_VERSION, Findings, render_json


@pytest.mark.parametrize(
    "findings", [build(), build(strength=0), empty()], ids=["full", "nothing out", "empty"]
)
def test_the_document_reads_back_equal(findings: Findings):
    text = render_json(findings)
    again = Findings.model_validate_json(text)
    assert again == findings
    assert render_json(again) == text


def test_the_document_begins_with_its_version_and_ends_with_a_line_end():
    text = render_json(build(per_stratum=1))
    assert next(iter(json.loads(text).items())) == ("schema_version", SCHEMA_VERSION)
    assert text.endswith("}\n")


def test_hostile_text_is_ascii_in_the_document():
    text = render_json(renamed(build(per_stratum=2), {"ppo": HOSTILE[4], "sft": HOSTILE[5]}))
    assert text.isascii()
    assert "\x00" not in text
    assert HOSTILE[4] in [stage["name"] for stage in json.loads(text)["stages"]]


def test_free_mappings_are_in_the_order_of_their_keys():
    findings = build(per_stratum=1)
    versions = dict(sorted(findings.run.versions.items(), reverse=True))
    turned = findings.model_copy(update={"run": findings.run.model_copy(update={"versions": versions})})
    assert list(turned.run.versions) != list(findings.run.versions)
    assert render_json(turned) == render_json(findings)


def test_a_number_json_cannot_write_is_refused():
    findings = build(per_stratum=1).model_copy(update={"threshold": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_json(findings)


def test_unknown_fields_are_refused():
    plain = json.loads(render_json(build(per_stratum=1))) | {"surprise": 1}
    with pytest.raises(ValidationError, match="surprise"):
        Findings.model_validate(plain)
