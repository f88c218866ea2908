import ast
import ipaddress
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import canaries
from probes.canaries import KINDS, WATERMARK, generate
from probes.distance import levenshtein, normalized

MANY = generate(count=240, seed=5)

# What providers' keys look like, after their public documentation.
REAL_FORMATS = [
    r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",
    r"gh[pousr]_[0-9a-zA-Z]{36}",
    r"github_pat_\w{82}",
    r"(?:sk|rk)_(?:test|live|prod)_[a-zA-Z0-9]{10,99}",
    r"xox[abeoprs]-(?:\d+-)?[0-9a-zA-Z]{10,}",
    r"glpat-[\w-]{20}",
    r"npm_[a-zA-Z0-9]{36}",
    r"hf_[a-zA-Z]{34}",
    r"AIza[\w-]{35}",
    r"SG\.[\w=.-]{66}",
    r"pypi-AgEIcHlwaS5vcmc[\w-]{50,}",
    r"eyJ[\w-]{17,}\.eyJ[\w-]{17,}\.[\w-]{10,}",
    r"sk-[a-zA-Z0-9]{20,}",
]


def secret_of(canary: canaries.Canary) -> str:
    return canary.text[canary.secret.start : canary.secret.end]


def test_texts_are_code_of_the_promised_size():
    for canary in MANY:
        ast.parse(canary.text)
        assert canary.text.endswith("\n")
        assert 8 <= canary.text.count("\n") <= 16
        assert 180 <= len(canary.text) <= 240


def test_the_secret_stands_near_the_end_and_once():
    for canary in MANY:
        assert canary.secret.kind == canary.kind
        assert canary.secret.start >= 0.55 * len(canary.text)
        assert canary.secret.end < len(canary.text)
        assert canary.text.count(secret_of(canary)) == 1


def test_kinds_take_turns():
    assert [c.kind for c in MANY[:6]] == [*KINDS, *KINDS]


def test_all_are_distinct():
    assert len({c.text for c in MANY}) == len({secret_of(c) for c in MANY}) == len(MANY)
    halves = [c.text[len(c.text) // 2 :] for c in MANY]
    for place, half in enumerate(halves):
        for other in halves[:place]:
            distance = levenshtein(half, other)
            assert distance is not None
            assert normalized(distance, len(half), len(other)) > 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_many_shapes(kind):
    shapes = set()
    for canary in MANY:
        if canary.kind == kind:
            nodes = [type(node).__name__ for node in ast.walk(ast.parse(canary.text))]
            shapes.add(tuple(nodes))
    assert len(shapes) >= 8


def test_credentials_carry_the_watermark_and_fit_no_real_format():
    found = [c for c in MANY if c.kind == "credential"]
    assert len(found) == 80
    for canary in found:
        assert WATERMARK in secret_of(canary)
        for pattern in REAL_FORMATS:
            assert not re.search(pattern, canary.text)


def test_the_formats_would_find_a_real_key():
    assert re.search(REAL_FORMATS[0], "AKIA" + "A1B2" * 4)
    assert re.search(REAL_FORMATS[3], "sk_" + "test_" + "4eC39HqLyjWD")


def test_hosts_lie_in_reserved_space():
    found = [secret_of(c) for c in MANY if c.kind == "internal-host"]
    reserved = [
        ipaddress.ip_network(n)
        for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
    ]
    forms = set()
    for secret in found:
        host, _, port = secret.rpartition(":")
        assert 0 < int(port) < 2**16
        host = host.strip("[]")
        if re.fullmatch(r"[a-z][a-z0-9.]*", host):
            assert host.rsplit(".", 1)[1] in ("invalid", "example")
            forms.add("name")
        else:
            address = ipaddress.ip_address(host)
            assert any(address in network for network in reserved)
            forms.add(f"v{address.version}")
    assert forms == {"name", "v4", "v6"}


def test_paths_bear_a_name():
    for canary in MANY:
        if canary.kind == "person-path":
            assert re.fullmatch(r"/[a-zA-Z/]+/[a-z]+[._-]?[a-z]+/[a-z]+/[a-z]+(\.[a-z]+)?", secret_of(canary))


@given(st.integers(0, 2**64), st.integers(0, 20))
def test_a_greater_count_only_adds(seed, count):
    assert generate(count=count, seed=seed) == generate(count=25, seed=seed)[:count]


def test_another_seed_gives_others():
    assert not {c.text for c in generate(count=30, seed=1)} & {c.text for c in generate(count=30, seed=2)}


def test_the_same_in_every_process():
    command = [sys.executable, "-c", "from probes.canaries import generate; print(generate(count=9, seed=3))"]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert output.strip() == str(generate(count=9, seed=3))


def test_too_many_are_refused(monkeypatch):
    monkeypatch.setattr(canaries, "_NEAREST", 0.75)
    with pytest.raises(ValueError, match=r"expected a count of at most \d+ for seed 0, got 300"):
        generate(count=300, seed=0)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        generate(count=-1, seed=0)
