import itertools
import random
import subprocess
import sys
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_texts import functions, reformat

from probes.index import Hit, NgramIndex, Run
from probes.shingles import token_texts

words = st.sampled_from([b"a", b"b", b"c"])
corpora = st.lists(st.lists(words, max_size=12), max_size=6)
queries = st.lists(st.one_of(words, words, words, st.just(b"unknown")), max_size=12)
lengths = st.integers(1, 4)
# How the tokens of an n-gram are weighed in its hash: as they are; all alike, so that order does not count; not at all.
weights = st.sampled_from(["full", "ones", "zeros"])
blocks = st.sampled_from([(1 << 20, 1 << 13), (5, 2), (1, 1)])


@contextmanager
def weakened(weights="full", blocks=(1 << 20, 1 << 13)):
    """Make hashes collide, and blocks so small that there are several."""
    with pytest.MonkeyPatch.context() as patch:
        if weights != "full":
            make = np.ones if weights == "ones" else np.zeros
            # Only the upper half of a hash is kept.
            patch.setattr("probes.index.powers", lambda n: make(n, dtype=np.uint64) << np.uint64(32))
        patch.setattr("probes.index._BATCH", blocks[0])
        patch.setattr("probes.index._BLOCK", blocks[1])
        yield


def named(corpus):
    return [(f"document {position}", document) for position, document in enumerate(corpus)]


def scan(corpus, query):
    """Every place of the query, by looking at all of them."""
    return tuple(
        Hit(document=name, offset=offset)
        for name, document in named(corpus)
        for offset in range(len(document) - len(query) + 1)
        if document[offset : offset + len(query)] == query
    )


def longest_shared(corpus, query, shortest):
    """The longest common run by the quadratic table, on a tie the first in the query, then in the corpus."""
    runs = []
    for number, document in enumerate(corpus):
        table = [[0] * (len(document) + 1) for _ in range(len(query) + 1)]
        for i, j in itertools.product(range(len(query)), range(len(document))):
            if query[i] == document[j]:
                length = table[i + 1][j + 1] = table[i][j] + 1
                runs.append((-length, i + 1 - length, number, j + 1 - length))
    length, start, number, offset = min(runs, default=(0, 0, 0, 0))
    if -length < shortest:
        return None
    return Run(document=named(corpus)[number][0], offset=offset, start=start, length=-length)


@given(corpora, queries, lengths, weights, blocks)
def test_the_index_finds_what_a_scan_finds(corpus, query, n, weights, blocks):
    with weakened(weights, blocks):
        index = NgramIndex(named(corpus), n=n)
        query = [*query, *[b"a"] * (n - len(query))]
        expected = scan(corpus, query)
        assert index.find(query) == expected
        assert index.documents(query) == tuple(dict.fromkeys(hit.document for hit in expected))


@given(corpora, st.lists(queries, max_size=4), lengths, weights, blocks)
def test_many_look_ups_at_once_are_those_of_a_set(corpus, queries, n, weights, blocks):
    with weakened(weights, blocks):
        index = NgramIndex(named(corpus), n=n)
        grams = np.concatenate([index.grams(query) for query in [[], *queries]])
        known = {tuple(doc[i : i + n]) for doc in corpus for i in range(len(doc) - n + 1)}
        asked = [tuple(query[i : i + n]) for query in queries for i in range(len(query) - n + 1)]
        assert index.contains(grams).tolist() == [gram in known for gram in asked]


@given(corpora, queries, lengths, weights, blocks)
def test_the_longest_run_is_that_of_the_quadratic_table(corpus, query, n, weights, blocks):
    with weakened(weights, blocks):
        assert NgramIndex(named(corpus), n=n).longest_run(query) == longest_shared(corpus, query, n)


@pytest.mark.parametrize("weights", ["ones", "zeros"])
def test_n_grams_of_equal_hashes_are_told_apart(weights):
    with weakened(weights):
        index = NgramIndex([("one", [b"a", b"b", b"c", b"c"]), ("two", [b"b", b"b", b"a"])], n=3)
        known = {(b"a", b"b", b"c"), (b"b", b"c", b"c"), (b"b", b"b", b"a")}
        for gram in itertools.product((b"a", b"b", b"c"), repeat=3):
            assert index.contains(index.grams(gram)).tolist() == [gram in known]
            assert len(index.find(gram)) == (gram in known)


def test_a_query_longer_than_the_corpus():
    index = NgramIndex([("one", [b"a", b"a", b"a", b"b"])], n=2)
    query = [*[b"a"] * 30, b"b"]
    assert index.find(query) == index.documents(query) == ()
    assert index.longest_run(query) == Run(document="one", offset=0, start=27, length=4)


def test_real_code_is_found_whatever_its_layout():
    corpus = [(f"function {number}", token_texts(text.encode())) for number, text in enumerate(functions())]
    index = NgramIndex(corpus)
    known = {gram for _, tokens in corpus for gram in zip(*(tokens[i:] for i in range(8)), strict=False)}
    draw = random.Random(1)
    for number in draw.sample([number for number, (_, tokens) in enumerate(corpus) if len(tokens) > 20], 20):
        name, tokens = corpus[number]
        completion = token_texts(reformat(functions()[number], number, comments=True).encode())
        assert completion == tokens
        assert name in index.documents(completion)
        start = draw.randrange(len(tokens) - 16)
        part = tokens[start : start + 16]
        assert Hit(document=name, offset=start) in index.find(part)
        run = index.longest_run((b"not", b"of", b"it", *part, b"nor", b"this"))
        assert run is not None
        assert run.start <= 3
        assert run.length >= 16
        mixed = tuple(draw.sample(tokens, len(tokens))) + tokens[:20]
        grams = list(zip(*(mixed[i:] for i in range(8)), strict=False))
        assert index.contains(index.grams(mixed)).tolist() == [gram in known for gram in grams]
        assert index.contains(index.grams(mixed))[-13:].all()


def test_more_look_ups_than_one_block_holds():
    draw = np.random.default_rng(3)
    tokens = [b"%d" % number for number in draw.integers(0, 30, 40_000)]
    index = NgramIndex([("one", tokens[:25_000]), ("two", tokens[25_000:])], n=3)
    asked = [b"%d" % number for number in draw.integers(0, 32, 30_000)]
    known = {*zip(*(tokens[i:25_000] for i in range(3)), strict=False)}
    known |= {*zip(*(tokens[25_000 + i :] for i in range(3)), strict=False)}
    grams = list(zip(*(asked[i:] for i in range(3)), strict=False))
    expected = [gram in known for gram in grams]
    assert 0.2 < sum(expected) / len(expected) < 0.9
    assert index.contains(index.grams(asked)).tolist() == expected


def test_runs_that_differ_in_one_token_have_different_hashes():
    """Only half of the hash is kept; were a token of the run without weight in it, look-ups would crawl."""
    for place in range(8):
        runs = [[b"x"] * place + [b"%d" % number] + [b"x"] * (7 - place) for number in range(2000)]
        index = NgramIndex([(str(number), run) for number, run in enumerate(runs)])
        assert len(np.unique(index._hashes)) >= 1999


def test_a_document_shorter_than_n_is_kept_but_never_found():
    index = NgramIndex([("short", [b"a", b"b"]), ("none", []), ("long", [b"a", b"b", b"c"])], n=3)
    assert index.find([b"a", b"b", b"c"]) == (Hit(document="long", offset=0),)
    assert index.token_count == 5
    assert index.longest_run([b"a", b"b"]) is None


def test_an_empty_index_holds_nothing():
    index = NgramIndex([], n=2)
    assert index.find([b"a", b"b"]) == ()
    assert index.contains(np.ones((3, 2), dtype=np.uint32)).tolist() == [False] * 3
    assert index.longest_run([b"a", b"b"]) is None
    assert index.bytes_per_token == 0.0
    assert index.token_count == 0


def test_sizes_are_what_is_held_and_what_was_foretold():
    draws = np.random.default_rng(5).zipf(1.3, (800, 250)) % 20_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    index = NgramIndex((f"d{row}", [b"token %d" % t for t in draw]) for row, draw in enumerate(draws))
    held, peak = (size - before for size in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    needs = NgramIndex.needs(index.token_count)
    assert index.token_count == 200_000
    # Numbers, one for each token and each border; hash and position of each 8-gram; starts.
    assert index.nbytes == 4 * (200_000 + 801) + 8 * 800 * 243 + 4 * 800
    assert index.bytes_per_token == index.nbytes / 200_000 <= 12
    assert index.nbytes <= needs.holding == 12 * 200_000
    assert held == pytest.approx(index.nbytes + index.table_nbytes, rel=0.02)
    # One block's temporaries come on top.
    assert needs.building * 0.8 < peak - index.table_nbytes <= needs.building + 600_000


@given(st.lists(st.lists(words, min_size=2, max_size=20), min_size=1, max_size=9), st.integers(3, 6))
def test_the_foretold_size_is_a_bound(corpus, n):
    index = NgramIndex(named(corpus), n=n)
    assert index.nbytes <= NgramIndex.needs(index.token_count).holding
    assert index.bytes_per_token <= 12


def test_more_than_one_index_can_number_is_foretold_and_refused(monkeypatch):
    small, great = NgramIndex.needs(10_000_000), NgramIndex.needs(10**10)
    assert (small.shards, small.holding, small.building) == (1, 120_000_000, 200_000_000)
    assert str(small) == "10,000,000 tokens need 0.12 GB in 1 index, and 0.20 GB while one is built"
    assert (great.shards, great.holding) == (3, 12 * 10**10)
    assert great.building == 20 * 3_333_333_334
    assert "in 3 indexes" in str(great)
    assert NgramIndex.needs(0).shards == 1
    assert NgramIndex.needs(2**32 - 1).shards == 1
    assert NgramIndex.needs(2**32).shards == 2
    with pytest.raises(ValueError, match="at least 0 tokens, got -1"):
        NgramIndex.needs(-1)
    monkeypatch.setattr("probes.index.LIMIT", 9)
    assert NgramIndex([("a", [b"x"] * 3), ("b", [b"x"] * 3)], n=2).token_count == 6
    with pytest.raises(
        ValueError, match=r"at most 9 tokens and ends .* with document 'b'; build one index for each"
    ):
        NgramIndex([("a", [b"x"] * 3), ("b", [b"x"] * 4)], n=2)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="at least 1 token, got n = 0"):
        NgramIndex([], n=0)
    with pytest.raises(ValueError, match="different ids, got 'a' twice"):
        NgramIndex([("a", []), ("a", [])])
    with pytest.raises(TypeError, match=r"for document 'a', got bytes; use token_texts\(text\)"):
        NgramIndex([("a", b"x = 1")])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="bytes of a token, got str"):
        NgramIndex([("a", ["x"])])  # pyright: ignore[reportArgumentType]
    index = NgramIndex([("a", [b"x", b"y"])], n=2)
    with pytest.raises(
        ValueError, match="at least 2 tokens to look for, got 1; build the index with a lower n"
    ):
        index.find([b"x"])
    with pytest.raises(TypeError, match="sequence of token texts, got str"):
        index.longest_run("x y")  # pyright: ignore[reportArgumentType]
    for wrong in (np.ones((1, 3), np.uint32), np.ones(2, np.uint32), np.ones((1, 2), np.int64)):
        with pytest.raises(ValueError, match=r"rows of 2 token numbers .* use index.grams\(tokens\)"):
            index.contains(wrong)  # pyright: ignore[reportArgumentType]


def test_the_index_is_the_same_in_every_process():
    show = "i._hashes.tolist(), i._positions.tolist(), i._corpus.tolist(), i.find([b'b', b'a'])"
    build = "NgramIndex([('x', [b'a', b'b', b'a', b'c']), ('y', [b'b'])], n=2)"
    command = f"from probes.index import NgramIndex; i = {build}; print(({show}))"
    output = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, check=True, text=True
    ).stdout
    index = NgramIndex([("x", [b"a", b"b", b"a", b"c"]), ("y", [b"b"])], n=2)
    assert output.strip() == str(eval(show, {"i": index}))
