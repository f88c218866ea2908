"""Where an example is cut: laws that hold for every text, and the cuts a reader would make."""

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from probes.build import (
    KINDS,
    Example,
    Probe,
    Source,
    build,
    infill_probe,
    prefix_probe,
    secret_probes,
    with_context,
)
from probes.levels import tokenize
from probes.secrets import Secret

PYTHON = '''\
def send(host, token="t0k3n-é"):
    """Sends it.

    Twice.
    """
    url = f"https://{host}/{token!r}?x={1 + 2}"  # not ours
    for _ in range(2):
        post(url)

    return url
'''
JAVASCRIPT = """\
function send (host) {
  const url = `https://${host}/${[
    'a', 'b'
  ].join('/')}`
  /* twice
     over */
  return post(url)
}
"""
GO = 'func Send(host string) error {\n\tkey := "AKIA"\n\treturn post(`\n' + "a\n" * 3 + '`, key, "ключ")\n}\n'
TEXTS = {"python": PYTHON, "javascript": JAVASCRIPT, "go": GO, "cobol": "MOVE 1 TO A.\nADD 'x y' TO B.\n"}

fractions = st.floats(0.01, 0.99)


@st.composite
def examples(draw):
    """An example in some language, whole or damaged, with secrets anywhere and something above it."""
    language = draw(st.sampled_from(sorted(TEXTS)))
    text = TEXTS[language]
    if draw(st.booleans()):
        start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        text = (
            text[:start] + draw(st.sampled_from(["", "é", '"', "`${", "\r\n", "\n\n  ", "{f'{"])) + text[end:]
        )
    secrets = []
    for _ in range(draw(st.integers(0, 3)) if text else 0):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, min(len(text), start + 12)))
        secrets.append(Secret(start=start, end=end, kind=draw(st.sampled_from(["key", "person"]))))
    before = draw(st.sampled_from(["", "a\n", "import a\n\n# b\u2028c\n\n"]))
    source = draw(st.sampled_from([None, Source(file="a", first_line=3, last_line=9)]))
    return Example(text=text, language=language, secrets=tuple(secrets), before=before, source=source)


def python(text, *secrets, **more):
    """An example with the secrets that are the given parts of it."""
    spans = tuple(Secret(start=text.index(s), end=text.index(s) + len(s), kind="key") for s in secrets)
    return Example(text=text, language="python", secrets=spans, **more)


def agrees(example, probe):
    """Checks what holds for every probe of an example: its parts are the example's, and so are its secrets."""
    assert probe.prefix + probe.target + (probe.suffix or "") == example.text
    assert probe.prefix.strip()
    assert probe.target
    assert (probe.language, probe.source) == (example.language, example.source)
    start = len(probe.prefix)
    assert [(s.start + start, s.end + start, s.kind) for s in probe.secrets] == [
        (s.start, s.end, s.kind)
        for s in example.secrets
        if start <= s.start and s.end <= start + len(probe.target)
    ]
    for secret in probe.secrets:
        assert 0 <= secret.start < secret.end <= len(probe.target)


def cuts_nothing(example, cut):
    """Checks that a cut falls into no token and no secret; written without the code that it checks."""
    assert not any(secret.start < cut < secret.end for secret in example.secrets)
    at = len(example.text[:cut].encode())
    depth = 0
    for token in tokenize(example.text.encode(), level="layout", language=example.language):
        if token.start < at:
            assert token.end <= at
            depth += token.literal.opens - token.literal.continues if token.literal else 0
    assert depth == 0


# Cut in two


@given(examples(), fractions)
def test_a_prefix_probe_divides_the_text_between_tokens(example, at):
    probe = prefix_probe(example, at=at)
    if probe is None:
        return
    agrees(example, probe)
    assert probe.suffix is None
    assert probe.prefix == probe.prefix.rstrip()
    assert probe.target.strip()
    cuts_nothing(example, len(probe.prefix))


@given(examples(), fractions)
def test_no_border_is_nearer_to_the_fraction_than_the_one_that_is_taken(example, at):
    probe = prefix_probe(example, at=at)
    text, ends = example.text, set()
    for token in tokenize(text.encode(), level="layout", language=example.language):
        end = len(text.encode()[: token.end].decode())
        try:
            cuts_nothing(example, end)
        except AssertionError:
            continue
        if text[:end] == text[:end].rstrip() and text[end:].strip():
            ends.add(end)
    # A secret may end inside a token of another, and so be one more border.
    if probe is None:
        assert not ends
    else:
        distance = abs(len(probe.prefix) - at * len(text))
        assert distance <= min((abs(end - at * len(text)) for end in ends), default=distance)


@given(examples(), fractions, fractions)
def test_a_later_fraction_never_cuts_earlier(example, one, other):
    probes = [prefix_probe(example, at=at) for at in sorted((one, other))]
    assume(probes[0] is not None)
    assert len(probes[0].prefix) <= len(probes[1].prefix)


@pytest.mark.parametrize(
    ("at", "last", "first"),
    [
        (0.01, "def", "send"),
        (0.1, "token", '="t0k3n-é"'),  # inside of the literal
        (0.3, '"""', "url"),  # inside of the docstring
        (0.44, "url =", 'f"https:'),  # inside of the f-string, in its field
        (0.7, "# not ours", "for"),
        (0.99, "return", "url"),
    ],
)
def test_a_prefix_ends_where_a_reader_would_cut(at, last, first):
    probe = prefix_probe(python(PYTHON), at=at)
    assert probe.prefix.endswith(last)
    assert probe.target.lstrip().startswith(first)


def test_of_two_borders_that_are_equally_near_the_first_is_taken():
    assert prefix_probe(python("a bcd"), at=0.6).prefix == "a"
    assert prefix_probe(python("a b cc d"), at=0.25).prefix == "a"
    assert prefix_probe(python("a b cc d"), at=0.26).prefix == "a b"


def test_a_secret_is_not_cut_though_it_has_tokens():
    example = python("path = /home/jane/notes + x", "/home/jane/notes")
    assert prefix_probe(example, at=0.6).prefix == "path = /home/jane/notes"
    assert prefix_probe(example, at=0.3).prefix == "path ="
    assert prefix_probe(example, at=0.6).secrets == ()
    (secret,) = prefix_probe(example, at=0.3).secrets
    assert prefix_probe(example, at=0.3).target[secret.start : secret.end] == "/home/jane/notes"


@pytest.mark.parametrize("text", ["", "x", "   \n", "'one literal'\n", "# comment\n", "word \n\n"])
def test_a_text_with_one_token_is_not_cut(text):
    assert prefix_probe(python(text), at=0.5) is None
    assert infill_probe(python(text), at=0.5) is None


@pytest.mark.parametrize("at", [0, 1, -0.5, 1.5, float("nan")])
def test_a_fraction_that_leaves_nothing_is_refused(at):
    for cut in (prefix_probe, infill_probe):
        with pytest.raises(ValueError, match="above 0 and below 1, got"):
            cut(python("a b"), at=at)


# Taken out of the middle


@given(examples(), fractions, st.integers(1, 4))
def test_an_infill_probe_takes_whole_lines(example, at, lines):
    probe = infill_probe(example, at=at, lines=lines)
    if probe is None:
        return
    agrees(example, probe)
    assert probe.prefix.endswith("\n")
    assert probe.suffix.startswith(("\n", "\r\n"))
    assert probe.suffix.strip()
    taken = probe.target.split("\n")
    assert len(taken) == lines
    assert all(any(map(str.isalnum, line)) for line in (taken[0], taken[-1]))
    assert not probe.target.endswith("\r")
    for cut in (len(probe.prefix), len(probe.prefix) + len(probe.target)):
        cuts_nothing(example, cut)


@pytest.mark.parametrize(
    ("at", "lines", "target"),
    [
        (0.1, 1, '    url = f"https://{host}/{token!r}?x={1 + 2}"  # not ours'),  # the docstring is not cut
        (0.75, 1, "    for _ in range(2):"),
        (0.85, 2, "    for _ in range(2):\n        post(url)"),
        (0.2, 3, PYTHON[PYTHON.index("    url") : PYTHON.index("\n\n    return")]),
    ],
)
def test_the_lines_around_the_fraction_are_taken(at, lines, target):
    assert infill_probe(python(PYTHON), at=at, lines=lines).target == target


def test_lines_that_say_nothing_are_not_asked_for():
    example = Example(text="if (a) {\n  b()\n}\n\n{\n  c()\n}\n", language="javascript")
    assert [infill_probe(example, at=at).target for at in (0.2, 0.5, 0.9)] == ["  b()", "  b()", "  c()"]
    assert infill_probe(example, at=0.5, lines=5).target == "  b()\n}\n\n{\n  c()"
    assert infill_probe(example, at=0.5, lines=2) is None
    with pytest.raises(ValueError, match="expected 1 or more lines to fill in, got 0"):
        infill_probe(example, at=0.5, lines=0)


def test_lines_may_end_as_on_windows():
    probe = infill_probe(python("a = 1\r\nb = 2\r\nc = 3\r\n"), at=0.5)
    assert (probe.prefix, probe.target, probe.suffix) == ("a = 1\r\n", "b = 2", "\r\nc = 3\r\n")


# Secrets


@given(examples(), st.booleans())
def test_each_secret_is_asked_for_from_its_first_character(example, infill):
    probes = list(secret_probes(example, infill=infill))
    asked = set()
    for probe in probes:
        agrees(example, probe)
        assert probe.kind == "secret"
        assert (probe.suffix is None) != infill
        asked.add(len(probe.prefix))
    assert asked == {s.start for s in example.secrets if example.text[: s.start].strip()}
    if infill:
        assert {(len(p.prefix), len(p.prefix + p.target)) for p in probes} == {
            (s.start, s.end) for s in example.secrets if s.start in asked
        }


def test_a_secret_inside_a_literal_is_cut_out_of_it():
    example = python(PYTHON, "t0k3n-é")
    (probe,) = secret_probes(example)
    assert probe.prefix == 'def send(host, token="'
    assert probe.target.startswith('t0k3n-é"):\n')
    assert probe.secrets == (Secret(start=0, end=7, kind="key"),)
    (probe,) = secret_probes(example, infill=True)
    assert (probe.target, probe.suffix[:3]) == ("t0k3n-é", '"):')


# Offsets


@given(examples(), fractions, st.integers(0, 5))
def test_context_goes_in_front_and_changes_nothing_else(example, at, lines):
    probe = prefix_probe(example, at=at)
    assume(probe is not None)
    placed = with_context(probe, example.before, lines=lines)
    assert placed == replace(probe, prefix=placed.prefix)
    assert placed.prefix.endswith(probe.prefix)
    context = placed.prefix.removesuffix(probe.prefix)
    assert example.before.endswith(context)
    assert context.count("\n") == min(lines, example.before.count("\n"))


def test_context_is_the_nearest_lines():
    probe = Probe(prefix="a", target="b", language="python")
    before = "1\n\n2\u2028\x0c\n3\n"
    prefixes = [with_context(probe, before, lines=lines).prefix for lines in range(6)]
    assert prefixes == ["a", "3\na", "2\u2028\x0c\n3\na", "\n2\u2028\x0c\n3\na"] + [before + "a"] * 2
    with pytest.raises(ValueError, match="expected 0 or more lines of context, got -1"):
        with_context(probe, before, lines=-1)


def test_an_example_is_asked_at_several_offsets():
    example = python(PYTHON, before="import a\nimport b\n\n")
    probes = list(build([example], kinds=["prefix"], at=(0.25, 0.5, 0.75), context=(0, 1, 3)))
    assert len(probes) == 9
    assert len({probe.target for probe in probes}) == 3
    for group in (probes[:3], probes[3:6], probes[6:]):
        assert len({probe.target for probe in group}) == 1
        assert [probe.prefix.partition("def")[0] for probe in group] == ["", "\n", example.before]


# All probes


@given(st.lists(examples(), max_size=3), st.sets(st.sampled_from(KINDS), min_size=1))
def test_all_probes_are_different_and_of_the_kinds_asked_for(given_examples, kinds):
    probes = list(build(given_examples, kinds=sorted(kinds), at=(0.3, 0.6), context=(0, 2), lines=(1, 2)))
    assert len({probe.id for probe in probes}) == len(probes)
    if "infill" not in kinds:
        assert all(probe.suffix is None for probe in probes)
    if kinds == {"infill"}:
        assert all(probe.suffix is not None for probe in probes)
    if kinds == {"secret"}:
        assert all(probe.kind == "secret" for probe in probes)
    again = list(build(given_examples, kinds=sorted(kinds), at=(0.3, 0.6), context=(0, 2), lines=(1, 2)))
    assert again == probes


def test_infill_also_takes_out_the_secrets():
    example = python(PYTHON, "t0k3n-é")
    probes = list(build([example], kinds=["infill"]))
    assert [probe.kind for probe in probes] == ["infill", "secret"]
    assert all(probe.suffix is not None for probe in probes)
    assert [probe.kind for probe in build([example])] == ["prefix", "infill", "secret", "secret"]


def test_equal_probes_of_different_examples_come_once():
    source = Source(file="a", first_line=1, last_line=1)
    other = Source(file="b", first_line=1, last_line=1)
    probes = list(build([python("a = b", source=source), python("a = b", source=other)], kinds=["prefix"]))
    assert [probe.source for probe in probes] == [source]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ["suffix"]}, "expected a kind of prefix, infill, secret, got 'suffix'"),
        ({"at": (0.5, 1.0)}, "above 0 and below 1, got 1.0"),
        ({"context": (0, -1)}, "expected 0 or more lines of context, got -1"),
        ({"lines": (0,)}, "expected 1 or more lines to fill in, got 0"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_cut(settings, message):
    with pytest.raises(ValueError, match=message):
        build([], **settings)


# Records


@given(examples(), fractions)
def test_a_record_holds_the_probe(example, at):
    for probe in build([example], at=(at,)):
        record = json.loads(json.dumps(probe.record()))
        assert list(record) == [
            key
            for key in ("id", "prefix", "target", "language", "suffix", "secrets", "source")
            if key in record
        ]
        assert ("suffix" in record, "secrets" in record, "source" in record) == (
            probe.suffix is not None,
            bool(probe.secrets),
            probe.source is not None,
        )
        assert record["id"] == probe.id
        source = record.get("source")
        read = Probe(
            prefix=record["prefix"],
            target=record["target"],
            language=record["language"],
            suffix=record.get("suffix"),
            secrets=tuple(Secret(**span) for span in record.get("secrets", [])),
            source=source and Source(**source),
        )
        assert read == probe


@given(examples(), st.data())
def test_equal_ids_mean_equal_prompts_targets_and_languages(example, data):
    probes = list(build([example], at=(0.3, 0.6)))
    assume(probes)
    probe = data.draw(st.sampled_from(probes))
    assert len(probe.id) == 16
    assert int(probe.id, 16) >= 0
    assert replace(probe, secrets=(), source=None).id == probe.id
    moved = replace(probe, prefix=probe.prefix + probe.target[0], target=probe.target[1:])
    others = [moved, replace(probe, language="x"), replace(probe, suffix=(probe.suffix or "") + "x")]
    others.append(replace(probe, suffix="" if probe.suffix is None else None))
    assert probe.id not in {other.id for other in others}


def test_an_id_is_the_same_everywhere():
    probe = Probe(prefix="é", target="b", language="python")
    assert probe.id == sha256(b'["python", "\\u00e9", null, "b"]').hexdigest()[:16]


def test_building_needs_no_parser():
    code = "import sys; import probes.build; assert not {'tree_sitter', 'numpy'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True)
