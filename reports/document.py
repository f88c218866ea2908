"""Findings, a tally or a study as a JSON document."""

import json

from pydantic import BaseModel

from reports.findings import Record


def render_json(record: Record) -> str:
    """Return the document that the record's own `model_validate_json` reads back.

    Fields stand in the order of the contract, free mappings in the order of their keys, so equal records give
    equal bytes. The text is pure ASCII: hostile characters appear as escapes. Raises `ValueError` for a number
    that JSON cannot write (NaN, infinity).
    """
    return json.dumps(_plain(record), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
