"""Forty hand-made pairs. `python tests/probes/test_probes_pairs.py` prints them as a table."""

import tomllib
from pathlib import Path

import pytest

from probes import LANGUAGES, LEVELS, compare

# Put together here, so that no file holds what looks like a key.
KEYS = ("ghp_" + "w8Jq2Zs5" * 4 + "Lp0x", "ghp_" + "w8Jq2Zs5" * 4 + "Lp0y")
PAIRS = [
    (language, pair)
    for language, pairs in tomllib.loads(
        (Path(__file__).parent / "pairs.toml").read_text(encoding="utf-8")
    ).items()
    for pair in pairs
]


def equal_at(language: str, pair: dict) -> list[str]:
    a, b = (pair[side].replace("{A}", KEYS[0]).replace("{B}", KEYS[1]).encode() for side in ("a", "b"))
    matches = compare(a, b, language=language, secrets=[KEYS[0].encode()])
    return [level for level in LEVELS if matches[level].equal]


def test_there_are_five_pairs_for_each_language():
    changes = [(language, pair["change"]) for language, pair in PAIRS]
    kinds = ("layout", "comment", "rename", "literal", "secret")
    assert changes == [(language, kind) for language in LANGUAGES for kind in kinds]


@pytest.mark.parametrize(
    ("language", "pair"), PAIRS, ids=[f"{name}-{pair['change']}" for name, pair in PAIRS]
)
def test_a_pair_is_equal_at_the_levels_it_should_be(language, pair):
    assert pair["a"] != pair["b"]
    assert equal_at(language, pair) == pair["equal"]


if __name__ == "__main__":
    print("language    change   " + "".join(f"{level:<9}" for level in LEVELS))
    for name, each in PAIRS:
        found = equal_at(name, each)
        print(f"{name:<12}{each['change']:<9}" + "".join(f"{'=' if x in found else '/':<9}" for x in LEVELS))
