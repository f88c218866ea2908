import ast
import ipaddress
import itertools
import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from probes import canaries
from probes.balance import deal
from probes.canaries import KINDS, WATERMARK, Canary, enumerate_slot, generate, plan, references
from probes.distance import levenshtein, normalized
from probes.safety import PROVIDER_FORMATS, check, is_reserved
from probes.slots import Form, check_digit, forms

MANY = generate(count=350, seed=5)

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


def secret_of(canary: Canary) -> str:
    return canary.text[canary.secret.start : canary.secret.end]


def of_kind(kind: str) -> Canary:
    return next(c for c in MANY if c.kind == kind)


def with_form(form: str) -> Canary:
    return next(c for c in MANY if c.slot.form == form)


def test_texts_are_code_of_the_promised_size():
    for canary in MANY:
        ast.parse(canary.text)
        assert canary.text.endswith("\n")
        assert 7 <= canary.text.count("\n") <= 16
        assert 180 <= len(canary.text) <= 240


def test_the_secret_stands_near_the_end_and_once():
    for canary in MANY:
        assert canary.secret.kind == canary.kind
        assert canary.secret.start >= 0.55 * len(canary.text)
        assert canary.secret.end < len(canary.text)
        assert canary.text.count(secret_of(canary)) == 1


def test_kinds_take_turns():
    assert [c.kind for c in MANY[:14]] == [*KINDS, *KINDS]


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
    assert len(found) == 50
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


def test_mail_goes_to_invented_people_at_reserved_hosts():
    names = canaries.words()
    people = {f"{a}{mark}{b}" for a in names["first_names"] for mark in "._" for b in names["last_names"]}
    for canary in MANY:
        if canary.kind == "email":
            person, host = secret_of(canary).split("@")
            assert re.sub(r"[789]\d$", "", person) in people
            assert re.search(r"(^|\.)(example\.(com|net|org)|(example|test|invalid))$", host)


def test_connection_strings_carry_the_watermark_and_a_reserved_host():
    for canary in MANY:
        if canary.kind == "connection-string":
            assert re.fullmatch(
                rf"[a-z]+://[a-z]+:{WATERMARK}-[a-z2-9]{{8}}@[a-z]+\.(example|test|invalid)/[a-z]+",
                secret_of(canary),
            )


def test_pins_carry_the_watermark():
    for canary in MANY:
        if canary.kind == "pin":
            assert re.fullmatch(rf"[a-z]+-{WATERMARK}-\d{{4}}", secret_of(canary))


def luhn_holds(number: str) -> bool:
    """The formula as it is taught: from the right double every second digit, add up the digits, divide by 10."""
    digits = [int(d) for d in number[::-1]]
    digits[1::2] = [2 * d - 9 if d > 4 else 2 * d for d in digits[1::2]]
    return sum(digits) % 10 == 0


@given(st.text("0123456789", min_size=1, max_size=20))
def test_the_check_digit_is_the_one_that_completes_a_number(digits):
    assert [d for d in range(10) if luhn_holds(f"{digits}{d}")] == [check_digit(digits)]


def test_the_formula_holds_for_published_test_numbers():
    for number in ("4111111111111111", "5555555555554444", "378282246310005", "79927398713"):
        assert luhn_holds(number)
        assert check_digit(number[:-1]) == int(number[-1])


def test_cards_fail_the_formula_and_begin_as_no_issuer_s():
    for canary in MANY:
        if canary.kind == "card":
            for number in (secret_of(canary), canary.control[canary.secret.start : canary.secret.end]):
                assert re.fullmatch(r"9999\d{12}", number)
                assert not luhn_holds(number)


@given(st.integers(0, 9 * 10**11 - 1))
def test_no_filling_of_a_card_is_a_right_number(number):
    assert not luhn_holds("9999" + forms()["card"].fill(number))


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


@pytest.mark.parametrize(
    ("count", "seed", "message"),
    [
        (-1, 0, "expected count of at least 0, got -1"),
        (True, 0, "expected count to be an integer of at least 0, got True"),
        (1.0, 0, "expected count to be an integer of at least 0, got 1.0"),
        (1, -1, "expected seed of at least 0, got -1"),
        (1, "1", "expected seed to be an integer of at least 0, got '1'"),
    ],
)
def test_wrong_arguments_are_refused(count, seed, message):
    for call in (
        lambda: generate(count=count, seed=seed),
        lambda: plan(count=count, seed=seed, strata=(1,)),
        lambda: references(MANY[0], count=count, seed=seed),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()


# --- slots, controls, references

SIZES = {
    "first.last": 26 * 25,
    "first_last": 26 * 25,
    "last-first": 26 * 25,
    "person-year": 26 * 25 * 30,
    "body-12": 32**12,
    "body-8": 32**8,
    "host-name": 16 * 40 * 16,
    "address-v4": 254 * 14,
    "group-v6": 15 * 16**3,
    "card": 9 * 10**11,
    "pin": 10**4,
}
SMALL = sorted(name for name, size in SIZES.items() if size <= 2**16)


def test_the_forms_have_the_sizes_their_table_gives():
    assert {name: form.size for name, form in forms().items()} == SIZES
    assert {c.slot.form for c in MANY} == set(SIZES)
    for canary in MANY:
        assert canary.slot.size == SIZES[canary.slot.form]
        assert canary.slot_bits == canary.slot.bits == math.log2(SIZES[canary.slot.form])


@pytest.mark.parametrize("name", SMALL)
def test_no_two_fillings_of_a_small_form_are_equal(name):
    form = forms()[name]
    fillings = [form.fill(number) for number in range(form.size)]
    assert len(set(fillings)) == form.size
    assert min(map(len, fillings)) == form.shortest
    assert max(map(len, fillings)) == form.longest
    assert all(map(form.holds, fillings[:: form.size // 100]))


@given(st.sampled_from(sorted(set(SIZES) - set(SMALL))), st.data())
def test_no_two_fillings_of_a_large_form_are_equal(name, data):
    form = forms()[name]
    numbers = st.integers(0, form.size - 1)
    a = data.draw(numbers)
    b = data.draw(st.one_of(numbers, st.integers(max(a - 40, 0), min(a + 40, form.size - 1))))
    assert (form.fill(a) == form.fill(b)) == (a == b)
    assert form.holds(form.fill(a))
    assert form.shortest == len(form.fill(a)) == form.longest


def test_a_form_holds_nothing_but_its_fillings():
    assert forms()["first.last"].holds("arvel.benka") is False
    assert forms()["first.last"].holds("arvel.abrenk") is True
    assert not forms()["first.last"].holds("arvel_abrenk")
    assert not any(forms()["pin"].holds(text) for text in ("123", "12345", "123x", ""))
    assert not any(forms()["address-v4"].holds(text) for text in ("0:22", "255:22", "1:23"))
    right = "12345678901" + str(check_digit("999912345678901"))
    assert not forms()["card"].holds(right)
    assert forms()["card"].holds(right[:-1] + str((int(right[-1]) + 1) % 10))
    assert not forms()["card"].holds(right[:-1] + "x")


@pytest.mark.parametrize("number", [-1, 10_000])
def test_a_filling_that_is_not_there_is_refused(number):
    with pytest.raises(ValueError, match=f"at least 0 and below 10000, got {number}"):
        forms()["pin"].fill(number)


def test_the_slot_lies_in_the_secret_and_holds_its_filling():
    for canary in MANY:
        slot, secret = canary.slot, canary.secret
        assert secret.start <= slot.start < slot.end <= secret.end
        assert canary.text[slot.start : slot.end] == forms()[slot.form].fill(slot.number)


def test_the_id_is_the_hash_of_the_text():
    for canary in MANY[:20]:
        assert canary.id == sha256(canary.text.encode()).hexdigest()[:16]
    assert len({c.id for c in MANY}) == len(MANY)


def test_canaries_say_what_they_are_made_from():
    for canary in MANY:
        assert re.fullmatch(rf"{canary.kind}-\d+-\d+", canary.template)
        assert canary.language == "python"
        assert canary.half is canary.repetition is None
    # Same template, same outline.
    shapes: dict[str, set[tuple[str, ...]]] = {}
    for canary in MANY:
        nodes = tuple(type(node).__name__ for node in ast.walk(ast.parse(canary.text)))
        shapes.setdefault(canary.template, set()).add(nodes)
    assert all(len(found) == 1 for found in shapes.values())
    assert len(shapes) > 100


def test_a_control_differs_in_the_slot_and_nowhere_else():
    for canary in MANY:
        before, after = canary.text[: canary.slot.start], canary.text[canary.slot.end :]
        assert canary.control.startswith(before)
        assert canary.control.endswith(after)
        filling = canary.control[len(before) : len(canary.control) - len(after)]
        assert forms()[canary.slot.form].holds(filling)
        assert filling != canary.text[canary.slot.start : canary.slot.end]
        ast.parse(canary.control)


def test_no_control_has_the_secret_of_a_canary():
    secrets = [secret_of(c) for c in MANY]
    controls = [c.control[c.secret.start : c.secret.end + len(c.control) - len(c.text)] for c in MANY]
    assert len({*secrets, *controls}) == 2 * len(MANY)


def test_no_control_has_one_even_where_fillings_are_few(monkeypatch):
    few = Form(name="pin", parts=("01", "0123456789"))
    monkeypatch.setattr(canaries, "forms", lambda: {**forms(), "pin": few})
    pins = [c for c in generate(count=350, seed=5) if c.kind == "pin"]
    controls = [c.control[c.secret.start : c.secret.end] for c in pins]
    assert len({*map(secret_of, pins), *controls}) == 2 * len(pins) == 100


@pytest.mark.parametrize("shortest", [180, 205])
def test_the_size_of_a_text_does_not_depend_on_what_fills_the_slot(monkeypatch, shortest):
    monkeypatch.setattr(canaries, "_SHORTEST", shortest)
    for canary in generate(count=350, seed=5):
        form = forms()[canary.slot.form]
        around = len(canary.text) - (canary.slot.end - canary.slot.start)
        assert around + form.shortest >= shortest
        assert around + form.longest <= 240
        assert canary.secret.start >= 0.55 * (around + form.longest)


def test_slots_and_controls_are_filled_from_all_fillings_alike():
    numbers = {name: {forms()[name].fill(n): n for n in range(SIZES[name])} for name in SMALL}
    places, others = [], []
    for canary in MANY:
        name = canary.slot.form
        places.append((canary.slot.number + 0.5) / SIZES[name])
        if name in SMALL:
            end = canary.slot.end + len(canary.control) - len(canary.text)
            others.append((numbers[name][canary.control[canary.slot.start : end]] + 0.5) / SIZES[name])
    assert kstest(places, "uniform").pvalue > 0.01
    assert kstest(others, "uniform").pvalue > 0.01


@given(st.sampled_from(MANY), st.integers(0, 2**40), st.integers(0, 30))
def test_references_are_other_fillings_each_once(canary, seed, count):
    texts = references(canary, count=count, seed=seed)
    assert len(texts) == len({*texts, canary.text}) - 1 == count
    form = forms()[canary.slot.form]
    before, after = canary.text[: canary.slot.start], canary.text[canary.slot.end :]
    for text in texts:
        assert text.startswith(before)
        assert text.endswith(after)
        assert form.holds(text[len(before) : len(text) - len(after)])
    assert references(canary, count=40, seed=seed)[:count] == texts


def test_references_differ_by_seed_and_canary():
    assert references(MANY[0], count=9, seed=1) != references(MANY[0], count=9, seed=2)
    a, b = [c for c in MANY if c.slot.form == "pin"][:2]
    numbers = [[text[c.slot.start : c.slot.end] for text in references(c, count=9, seed=1)] for c in (a, b)]
    assert len(set(numbers[0]) & set(numbers[1])) <= 1


@pytest.mark.parametrize("name", SMALL)
def test_all_references_are_the_whole_slot(name):
    canary = with_form(name)
    listed = enumerate_slot(canary)
    assert len(listed) == SIZES[name] - 1
    assert len({*listed, canary.text}) == SIZES[name]
    assert canary.control in listed
    drawn = references(canary, count=SIZES[name] - 1, seed=3)
    assert set(drawn) == set(listed)
    assert drawn != listed
    with pytest.raises(ValueError, match=f"at most {SIZES[name] - 1}, .* form {name}, got {SIZES[name]}"):
        references(canary, count=SIZES[name], seed=3)


def test_references_are_drawn_from_all_fillings_alike():
    canary = with_form("pin")
    numbers = []
    for seed in range(400):
        for text in references(canary, count=3, seed=seed):
            numbers.append(int(text[canary.slot.start : canary.slot.end]))
    for first in range(3):
        assert kstest([number / 10_000 for number in numbers[first::3]], "uniform").pvalue > 0.01


def test_an_enumeration_goes_by_number():
    canary = with_form("pin")
    pins = [text[canary.slot.start : canary.slot.end] for text in enumerate_slot(canary)]
    assert pins == [f"{n:04d}" for n in range(10_000) if n != canary.slot.number]


@pytest.mark.parametrize("name", sorted(set(SIZES) - set(SMALL)))
def test_a_large_slot_is_not_enumerated(name):
    with pytest.raises(ValueError, match=rf"at most 16 bits, got form {name} with \d+\.\d; .*references"):
        enumerate_slot(with_form(name))


# --- strata and halves


@given(st.lists(st.integers(0, 30), max_size=9), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_dealt_halves_differ_by_one_at_most(sizes, shares):
    dealt = deal(sizes, shares)
    assert [len(members) for members in dealt] == sizes
    cells = Counter((group, *member) for group, members in enumerate(dealt) for member in members)

    def difference(group=None, stratum=None):
        wanted = [c for c in cells if group in (None, c[0]) and stratum in (None, c[1])]
        return abs(sum(cells[c] * (-1) ** c[2] for c in wanted))

    groups, strata = range(len(sizes)), range(len(shares))
    assert difference() <= 1
    assert all(difference(group=g) <= 1 for g in groups)
    assert all(difference(stratum=s) <= 1 for s in strata)
    assert all(difference(g, s) <= 1 for g in groups for s in strata)


@given(st.lists(st.integers(0, 30), max_size=9), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_dealt_strata_keep_to_their_shares(sizes, shares):
    dealt = deal(sizes, shares)
    for stratum, share in enumerate(shares):
        counts = [sum(s == stratum for s, _ in members) for members in dealt]
        # Tijdeman's bound, which for one stratum is 0 and for two a half.
        bound = 1 - Fraction(1, max(2 * len(shares) - 2, 1))
        assert abs(sum(counts) - Fraction(sum(sizes) * share, sum(shares))) <= bound
        for count, size in zip(counts, sizes, strict=True):
            assert abs(count - size * share / sum(shares)) < 2
    for members in deal(sizes, [1] * len(shares)):
        counts = [sum(s == stratum for s, _ in members) for stratum in range(len(shares))]
        assert max(counts) - min(counts) <= 1


def test_a_plan_is_what_generate_makes_with_a_stratum_and_a_half():
    planned = plan(count=90, seed=4, strata=(1, 4, 16, 64))
    assert [replace(c, repetition=None, half=None) for c in planned] == generate(count=90, seed=4)
    assert (
        planned
        == plan(count=90, seed=4, strata=[64, 16, 4, 1])
        == plan(count=90, seed=4, strata=dict.fromkeys((1, 4, 16, 64), 7))
    )
    assert Counter(c.half for c in planned) == {"A": 45, "B": 45}
    assert set(Counter(c.repetition for c in planned).values()) <= {22, 23}
    for kind in KINDS:
        counts = Counter(c.repetition for c in planned if c.kind == kind)
        assert set(counts) == {1, 4, 16, 64}
        assert set(counts.values()) <= {3, 4}


def test_a_plan_gives_strata_their_shares():
    planned = plan(count=100, seed=4, strata={1: 16, 64: 10, 4: 12, 16: 12})
    assert Counter(c.repetition for c in planned) == {1: 32, 4: 24, 16: 24, 64: 20}


def test_who_gets_what_is_random():
    plans = [plan(count=56, seed=seed, strata=(1, 9)) for seed in (1, 2)]
    assert [(c.repetition, c.half) for c in plans[0]] != [(c.repetition, c.half) for c in plans[1]]
    first = [(c.repetition, c.half) for c in plans[0] if c.kind == "pin"]
    assert first != sorted(first)


def test_a_plan_of_none_is_empty():
    assert plan(count=0, seed=0, strata=(1,)) == ()


@pytest.mark.parametrize(
    ("strata", "message"),
    [
        ((), "at least one stratum and none twice, got ()"),
        ({}, "at least one stratum and none twice, got {}"),
        ((1, 4, 1), "none twice, got (1, 4, 1)"),
        ((0, 4), "expected a repetition of at least 1, got 0"),
        ((1, 4.0), "expected a repetition to be an integer of at least 1, got 4.0"),
        ((True,), "expected a repetition to be an integer of at least 1, got True"),
        ({4: 0}, "expected the share of 4 repetitions of at least 1, got 0"),
        ({4: 0.5}, "expected the share of 4 repetitions to be an integer of at least 1, got 0.5"),
    ],
)
def test_strata_that_are_none_are_refused(strata, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plan(count=4, seed=0, strata=strata)


# --- the check


@pytest.mark.parametrize("seed", [0, 5, 2**40])
def test_every_canary_passes_the_check(seed):
    for canary in generate(count=210, seed=seed):
        assert check(canary) == ()


@given(st.sampled_from(MANY), st.integers(0, 2**30))
def test_every_reference_passes_the_check(canary, seed):
    for text in references(canary, count=2, seed=seed):
        end = canary.slot.end + len(text) - len(canary.text)
        other = replace(canary, control=text)
        assert check(other) == ()
        assert text[canary.slot.start : end] in text


def remade(
    canary: Canary, *, before: str | None = None, after: str | None = None, opening: str = ""
) -> Canary:
    """The canary with something else around its slot, and all offsets right."""
    opening += canary.text[: canary.secret.start]
    closing = canary.text[canary.secret.end :]
    if before is None:
        before = canary.text[canary.secret.start : canary.slot.start]
    if after is None:
        after = canary.text[canary.slot.end : canary.secret.end]
    filling = canary.text[canary.slot.start : canary.slot.end]
    tail = len(canary.text) - canary.slot.end
    other = canary.control[canary.slot.start : len(canary.control) - tail]
    start = len(opening) + len(before)
    end = start + len(filling)
    return replace(
        canary,
        text=opening + before + filling + after + closing,
        control=opening + before + other + after + closing,
        secret=replace(canary.secret, start=len(opening), end=end + len(after)),
        slot=replace(canary.slot, start=start, end=end),
    )


def test_remade_as_it_was_a_canary_is_itself():
    for canary in MANY:
        assert remade(canary) == canary


V4, V6, NAME = (with_form(name) for name in ("address-v4", "group-v6", "host-name"))


@pytest.mark.parametrize(
    ("canary", "reason"),
    [
        (remade(of_kind("credential"), before="ghp_"), "expected the watermark 'not-a-key' in the secret"),
        (remade(of_kind("pin"), before="pin-"), "expected the watermark"),
        (remade(of_kind("connection-string"), before="mysql://app:"), "expected the watermark"),
        (remade(of_kind("connection-string"), after="@db.corp/x"), "expected a reserved host, got 'db.corp'"),
        (
            remade(of_kind("connection-string"), before="mysql://app:not-a-key-", after=""),
            "expected a reserved host, got 'app'",
        ),
        (
            remade(of_kind("connection-string"), before="not-a-key-", after=""),
            "expected a host in the connection",
        ),
        (remade(of_kind("email"), after="@mail.corp.com"), "expected a reserved host, got 'mail.corp.com'"),
        (remade(of_kind("email"), after="@myexample.com"), "invented person at a reserved host"),
        (remade(of_kind("email"), before="john."), "invented person at a reserved host"),
        (remade(V4, before="192.168.0."), "expected an address for documentation, got '192.168.0."),
        (remade(V4, before="203.0.114."), "expected a reserved host and a port"),
        (remade(V6, before="[2001:4860:"), "expected an address for documentation, got '[2001:4860:"),
        (remade(NAME, after=".corp.com:443"), "expected a reserved host and a port, got"),
        (remade(NAME, after=".example"), "expected a reserved host and a port, got"),
        (remade(NAME, after=".example:https"), "expected a reserved host and a port, got"),
        (
            remade(of_kind("person-path"), before="/home/smith-"),
            "expected an invented person's folder, got 'smith-",
        ),
        (remade(of_kind("person-path"), before="/srv/"), "expected a path through one person's folder"),
        (
            remade(of_kind("person-path"), after="/home/smith/x"),
            "expected an invented person's folder, got 'smith'",
        ),
        (remade(of_kind("card"), before="4111"), "whose number begins with 9999"),
        (remade(of_kind("card"), before="9999x"), "whose number begins with 9999, got another"),
        (
            remade(of_kind("pin"), opening="# call 8.8.8.8\n"),
            "expected an address for documentation, got '8.8.8.8'",
        ),
        (remade(of_kind("pin"), opening="# jane@doe.com\n"), "expected a reserved host, got 'doe.com'"),
        (remade(of_kind("pin"), opening="# ftp://doe.com/\n"), "expected a reserved host, got 'doe.com'"),
        (remade(of_kind("pin"), opening="# see /Users/jane/x\n"), "invented person's folder, got 'jane'"),
        (
            remade(of_kind("pin"), opening="# 4111 1111 1111 1111\n"),
            "expected a card with a wrong check digit",
        ),
        (remade(of_kind("pin"), opening="# 378282246310005\n"), "expected a card with a wrong check digit"),
    ],
)
def test_what_is_not_safe_is_refused(canary, reason):
    found = check(canary)
    assert any(reason in r for r in found), found
    # What is wrong stands around the slot, so in the control as well.
    assert {r.partition(":")[0] for r in found} == {"text", "control"}


def test_only_the_control_may_be_at_fault():
    canary = of_kind("email")
    john = canary.control[: canary.slot.start] + "john.smith" + canary.text[canary.slot.end :]
    assert check(replace(canary, control=john)) == (
        f"expected a filling of form {canary.slot.form} in the control's slot, got something else",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: replace(c, kind="passport"), "expected a kind among"),
        (
            lambda c: replace(c, secret=replace(c.secret, kind="pin")),
            "expected a secret of kind card, got 'pin'",
        ),
        (
            lambda c: replace(c, secret=replace(c.secret, end=c.slot.end - 1)),
            "expected the slot inside the secret",
        ),
        (
            lambda c: replace(c, secret=replace(c.secret, start=c.slot.start + 1)),
            "expected the slot inside the secret",
        ),
        (lambda c: replace(c, secret=replace(c.secret, end=999)), "and the secret inside the text"),
        (lambda c: replace(c, slot=replace(c.slot, form="none")), "expected a form among"),
        (lambda c: replace(c, slot=replace(c.slot, number=c.slot.number ^ 1)), "expected filling"),
        (
            lambda c: replace(c, slot=replace(c.slot, number=-1)),
            "expected filling -1 of form card in the slot",
        ),
        (lambda c: replace(c, control=c.text), "expected a control that differs in the slot"),
        (lambda c: replace(c, control=c.control + "\n"), "expected a control that differs in the slot"),
        (lambda c: replace(c, control="#" + c.control), "expected a control that differs in the slot"),
    ],
)
def test_what_does_not_hang_together_is_refused(change, reason):
    found = check(change(of_kind("card")))
    assert any(reason in r for r in found), found


B = "a1B2c3D4e5"
LIVE = {
    "AWS": ["AKIA" + "A1B2" * 4],
    "Anthropic": ["sk-" + "ant-api03-" + B * 9],
    "Azure": ["AccountKey=" + (B * 9)[:86] + "=="],
    "DigitalOcean": ["dop_v1_" + "0a" * 32],
    "GitHub": ["ghp_" + (B * 4)[:36], "github_pat_" + (B * 3)[:22] + "_" + (B * 6)[:59]],
    "GitLab": ["glpat-" + B * 2],
    "Google": ["AIza" + (B * 4)[:35], "GOCSPX-" + (B * 3)[:28], "ya29." + B * 4],
    "Hugging Face": ["hf_" + (B * 4)[:34]],
    "JSON web token": ["eyJ" + B + ".eyJ" + B + "." + B],
    "npm": ["npm_" + (B * 4)[:36]],
    "OpenAI": ["sk-" + B * 3, "sk-proj-" + B * 4],
    "private key": ["-----BEGIN " + "RSA PRIVATE KEY-----"],
    "PyPI": ["pypi-AgEIcHlwaS5vcmc" + B * 5],
    "SendGrid": ["SG." + (B * 3)[:22] + "." + (B * 5)[:43]],
    "Slack": ["xox" + "b-123456789012-123456789012-" + B * 2, "hooks.slack.com/services/T0A/B0C/" + B * 2],
    "Stripe": ["sk_" + "live_" + B * 2, "whsec_" + B * 3],
    "Telegram": ["123456789:AA" + (B * 4)[:33]],
    "Twilio": ["AC" + "0a" * 16],
}


def test_there_is_a_live_key_for_every_format():
    assert set(LIVE) == set(PROVIDER_FORMATS)


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in LIVE.items() for key in keys])
def test_the_format_of_a_live_key_is_refused_wherever_it_stands(name, key):
    assert any(f"got that of {name}" in r for r in check(remade(of_kind("pin"), opening=f"# {key}\n")))


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "a.b.EXAMPLE.com.",
        "x.example",
        "invalid",
        "y.test",
        "localhost",
        "192.0.2.255",
        "[2001:db8::1]",
        "2001:db8:ffff::",
    ],
)
def test_reserved_hosts_are_known(host):
    assert is_reserved(host)


@pytest.mark.parametrize(
    "host",
    [
        "example.de",
        "myexample.org",
        "example.org.evil.com",
        "",
        "192.0.3.1",
        "2001:db9::1",
        "10.0.0.1",
        "::1",
    ],
)
def test_other_hosts_are_not_reserved(host):
    assert not is_reserved(host)


def test_seven_kinds_are_balanced_against_each_other():
    counts = Counter(c.kind for c in generate(count=20, seed=9))
    assert all(abs(counts[a] - counts[b]) <= 1 for a, b in itertools.combinations(KINDS, 2))
