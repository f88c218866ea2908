import ast
import itertools
import random
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_texts import functions, reformat
from rapidfuzz.distance import Levenshtein

from probes.distance import levenshtein
from probes.duplicates import GREATEST, candidates, clusters, yujian_bo
from probes.levels import tokenize

letters = st.text("abc", max_size=8)
# Small changes of a few texts: near-duplicates, chains of them, and strangers.
_BASES = (
    b"total = add(first, second, third) + rest[0]",
    b"while True: yield from read(path, mode)",
    b"x = y",
    b"",
)
short = st.tuples(
    st.sampled_from(_BASES), st.integers(0, 30), st.sampled_from([b"", b" + a", b" # b", b"; c = 1"])
).map(lambda parts: parts[0][parts[1] :] + parts[2])
pools = st.lists(short, max_size=12)
thresholds = st.sampled_from([0.0, 0.1, 0.2, GREATEST])


def relative(a, b):
    distance = levenshtein(a, b)
    assert distance is not None
    return yujian_bo(distance, len(a), len(b))


def at_code(text):
    return [token[:2] for token in tokenize(text, level="code")]


def components(size, pairs):
    """Connected components by spreading the least position until nothing changes."""
    labels = list(range(size))
    changed = True
    while changed:
        changed = False
        for a, b in pairs:
            least = min(labels[a], labels[b])
            changed = changed or labels[a] != labels[b]
            labels[a] = labels[b] = least
    return labels


@cache
def library_functions():
    """600 functions of the standard library as tokens at level `code`, no two alike."""
    found = {}
    for file in sorted(Path(textwrap.__file__).parent.glob("*.py"))[::5]:
        source = file.read_text(encoding="utf-8")
        lines = source.splitlines(keepends=True)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                text = textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno]))
                if 150 < len(text) < 2000:
                    found[text] = None
    drawn = random.Random(1).sample(list(found), 640)
    return list(dict.fromkeys(tuple(at_code(text.encode())) for text in drawn))[:600]


def edited(document, rate, draw, vocabulary):
    """A copy with a share of its tokens replaced, deleted, or followed by a new one."""
    copy = list(document)
    for _ in range(max(1, int(rate * len(copy)))):
        place = draw.randrange(len(copy))
        copy[place : place + draw.randrange(2)] = [draw.choice(vocabulary)] * draw.randrange(2)
    return tuple(copy)


@given(letters, letters, letters)
def test_yujian_bo_is_a_metric(a, b, c):
    assert 0 <= relative(a, b) <= 1
    assert relative(a, b) == relative(b, a)
    assert (relative(a, b) == 0) == (a == b)
    assert relative(a, c) <= relative(a, b) + relative(b, c) + 1e-12


def test_yujian_bo_by_hand():
    assert yujian_bo(0, 0, 0) == 0.0
    assert yujian_bo(5, 5, 0) == 1.0
    assert yujian_bo(1, 9, 10) == 0.1
    # Where the form of the literature breaks the triangle inequality.
    assert relative("ba", "ab") == pytest.approx(2 / 3)
    assert relative("ba", "bab") == relative("bab", "ab") == pytest.approx(1 / 3)


def test_the_proposer_misses_at_most_one_in_a_hundred_of_all_near_pairs():
    draw = random.Random(2)
    originals = library_functions()
    vocabulary = [token for document in originals for token in document]
    rates = (0.02, 0.05, 0.1, 0.15, 0.2)
    copies = [edited(document, draw.choice(rates), draw, vocabulary) for document in originals[:300]]
    documents = list(dict.fromkeys([*originals, *copies]))
    numbers = {token: number for number, token in enumerate(dict.fromkeys(itertools.chain(*documents)))}
    strings = ["".join(chr(numbers[token]) for token in document) for document in documents]
    near = set()
    for a, b in itertools.combinations(range(len(documents)), 2):
        lengths = len(strings[a]), len(strings[b])
        cutoff = sum(lengths) // 8
        distance = Levenshtein.distance(strings[a], strings[b], score_cutoff=cutoff)
        if distance <= cutoff and yujian_bo(distance, *lengths) <= 0.2:
            near.add((a, b))
    proposed = set(candidates(documents))
    assert len(near) >= 250
    assert len(near & proposed) / len(near) >= 0.99
    # It also has to leave out most of the others.
    assert len(proposed) < 0.04 * len(documents) * (len(documents) - 1) / 2


@given(pools, thresholds)
def test_clusters_are_the_connected_near_pairs_that_were_proposed(texts, threshold):
    documents = [at_code(text) for text in texts]
    pairs = [pair for pair in candidates(documents) if relative(*(documents[i] for i in pair)) <= threshold]
    equal = [p for p in itertools.combinations(range(len(texts)), 2) if documents[p[0]] == documents[p[1]]]
    found = clusters(texts, threshold=threshold)
    assert found == components(len(texts), [*pairs, *equal])
    assert all(found[label] == label <= position for position, label in enumerate(found))


@given(pools, st.randoms(use_true_random=False), thresholds)
def test_the_partition_does_not_depend_on_the_order(texts, draw, threshold):
    order = draw.sample(range(len(texts)), len(texts))
    straight, mixed = (
        clusters(texts, threshold=threshold),
        clusters([texts[i] for i in order], threshold=threshold),
    )
    for i, j in itertools.combinations(range(len(texts)), 2):
        assert (mixed[i] == mixed[j]) == (straight[order[i]] == straight[order[j]])


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.just("word")), max_size=6), max_size=9
    )
)
def test_candidates_come_once_and_in_order_and_equal_documents_always(documents):
    found = list(candidates(documents))
    assert len(found) == len(set(found))
    assert all(0 <= a < b < len(documents) for a, b in found)
    for pair in itertools.combinations(range(len(documents)), 2):
        a, b = (documents[position] for position in pair)
        shared = (
            {*a} & {*b} if min(len(a), len(b)) == 1 else {*itertools.pairwise(a)} & {*itertools.pairwise(b)}
        )
        if a and a == b:
            assert pair in found
        if len(a) != 1 != len(b) and not shared:
            assert pair not in found


def test_copies_in_another_layout_are_one_cluster_even_at_zero():
    texts = [text.encode() for text in functions()[:25]]
    copies = [reformat(text, 1, comments=True).encode() for text in functions()[:25]]
    found = clusters([*texts, *copies], threshold=0)
    assert found[25:] == found[:25]
    assert len(set(found)) == len({tuple(at_code(text)) for text in texts})


def test_a_chain_is_one_cluster():
    words = [b"w%d" % number for number in range(40)]
    chain = [
        b" ".join([*words[:place], *(b"n%d" % i for i in range(place, 40))]) for place in (40, 35, 30, 25)
    ]
    assert clusters(chain, threshold=0.15) == [0, 0, 0, 0]
    assert clusters([chain[0], chain[3]], threshold=0.15) == [0, 1]
    assert clusters([b"other(1)", *chain], threshold=0.15) == [0, 1, 1, 1, 1]


def test_a_distance_of_just_the_threshold_joins():
    texts = [b"a b c d", b"a b c d e"]
    assert yujian_bo(1, 4, 5) == 0.2
    assert clusters(texts, threshold=0.2) == [0, 0]
    assert clusters(texts, threshold=0.1999) == [0, 1]


def test_texts_without_tokens_are_together_and_kinds_are_kept_apart():
    assert clusters([b"# only", b"x", b"", b"# a comment"]) == [0, 1, 0, 0]
    assert clusters([]) == []


def test_each_text_is_read_in_its_language():
    texts = [b"int f(int a) { return a; } // b", b"int f(int a) { return a; }", b"x = 1 # b", b"x = 1"]
    assert clusters(texts, language=["c", "c", "python", "python"], threshold=0) == [0, 0, 2, 2]
    assert clusters(texts, language="python", threshold=0) == [0, 1, 2, 2]


def test_many_distinct_tokens_give_the_same_clusters(monkeypatch):
    texts = [text.encode() for text in functions()[:30]]
    texts += [text.replace(b"self", b"this", 2) for text in texts]
    expected = clusters(texts)
    assert expected != clusters(texts, threshold=0)
    monkeypatch.setattr("probes.duplicates._CODE_POINTS", 5)
    assert clusters(texts) == expected


@pytest.mark.parametrize("threshold", [-0.1, 0.31, float("nan")])
def test_a_threshold_outside_of_the_range_is_refused(threshold):
    with pytest.raises(ValueError, match=r"threshold between 0 and 0\.3, got"):
        clusters([b"a"], threshold=threshold)


def test_languages_must_be_as_many_as_texts():
    with pytest.raises(ValueError, match="one language for each of 1 texts, got 2"):
        clusters([b"a"], language=["python", "c"])


def test_clusters_are_the_same_in_every_process():
    texts = [text.encode() for text in functions()[:20]]
    texts += [text.replace(b"self", b"this", 2) for text in texts]
    show = "import sys; from probes.duplicates import clusters; print(clusters(eval(sys.stdin.read())))"
    command = [sys.executable, "-c", show]
    output = subprocess.run(command, input=repr(texts), capture_output=True, check=True, text=True).stdout
    assert output.strip() == str(clusters(texts))
