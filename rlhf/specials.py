"""Which tokens of a foreign tokenizer play which part: its files say so in several places, and not always well."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROLES = ("pad", "bos", "eos", "prefix", "suffix", "middle")
"""The parts special tokens play: padding, beginning and end of a text, and the sentinels of filling in the middle."""

_INFILL = {
    "prefix": ("<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<｜fim▁begin｜>", "<|code_prefix|>"),
    "suffix": ("<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<｜fim▁hole｜>", "<|code_suffix|>"),
    "middle": ("<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<｜fim▁end｜>", "<|code_middle|>"),
}


def settings(path: Path) -> dict[str, Any]:
    """What a JSON file of a folder says: nothing where there is none. Raises ValueError for what is no JSON object."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"expected JSON in {path}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object in {path}, got {type(found).__name__}")
    return found


def find_roles(
    folder: Path, tokenizer: Mapping[str, Any], chosen: Mapping[str, str | None]
) -> tuple[dict[str, int | None], int]:
    """Token ids by role, and the number of ids the model of `folder` has (or its tokenizer, if there is no model).

    `tokenizer` is the parsed tokenizer.json. What is `chosen` by name goes first, then what tokenizer_config.json
    names, then the ids of generation_config.json and config.json.
    """
    named = settings(folder / "tokenizer_config.json")
    config = settings(folder / "config.json")
    generation = settings(folder / "generation_config.json")
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    known = {**tokenizer["model"]["vocab"], **added}
    spelled = {i: content for content, i in added.items()}

    def of_name(role: str, name: str) -> int:
        if name not in known:
            raise ValueError(
                f"expected `{role}` to name a token of {folder / 'tokenizer.json'}, got {name!r}"
            )
        return known[name]

    def find(role: str) -> int | None:
        if (choice := chosen[role]) is not None:
            return of_name(role, choice)
        entry = named.get(f"{role}_token")
        if entry is not None:
            return of_name(role, entry["content"] if isinstance(entry, dict) else entry)
        for source in (generation, config):
            found = source.get(f"{role}_token_id")
            if isinstance(found, list) and len(found) == 1:
                found = found[0]
            if isinstance(found, list):
                names = ", ".join(repr(spelled.get(i, i)) for i in found)
                raise ValueError(
                    f"expected one `{role}` token in {folder}, got {names}: set `{role}` to one of them"
                )
            if found is not None:
                return found
        return None

    roles = {role: find(role) for role in ("pad", "bos", "eos")}
    for role in ("bos", "eos"):
        if roles[role] is None:
            raise ValueError(
                f"expected {folder} to name its `{role}` token, got none: set `{role}` to one of {_some(added)}"
            )
    if roles["pad"] is None or roles["pad"] in (roles["bos"], roles["eos"]):
        if chosen["pad"] is not None:
            raise ValueError(
                f"expected a `pad` that is neither `bos` nor `eos`, got {chosen['pad']!r} for both"
            )
        spare = sorted(
            i for content, i in added.items() if "pad" in content.lower() and i not in roles.values()
        )
        if not spare:
            same = (
                "no pad token"
                if roles["pad"] is None
                else f"{spelled.get(roles['pad'], roles['pad'])!r} for both"
            )
            free = {content: i for content, i in added.items() if i not in roles.values()}
            raise ValueError(
                f"expected a pad token in {folder} that is neither its beginning nor its end of text, got {same}: "
                f"set `pad` to a special token that texts never use, such as one of {_some(free)}"
            )
        roles["pad"] = spare[0]
    for role, names in _INFILL.items():
        roles[role] = next((added[name] for name in names if name in added), None)
    size = max(max(known.values()) + 1, config.get("vocab_size", 0))
    outside = {role: i for role, i in roles.items() if i is not None and not 0 <= i < size}
    if outside:
        raise ValueError(f"expected special tokens below {size} in {folder}, got {outside}")
    return roles, size


def _some(added: Mapping[str, int]) -> str:
    names = [repr(content) for content in added]
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
