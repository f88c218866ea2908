"""A control is one only if nothing like it was shown."""

import itertools

import pytest
from tiny import TINY

from memaudit import corpus as corpora
from memaudit.cohorts import populate
from memaudit.corpus import Corpus, Unit
from memaudit.errors import BadInput
from memaudit.population import Population
from memaudit.recipe import Recipe, dumps, parse
from probes import levenshtein, normalized, shingles


def drawn(*changes: str) -> tuple[Corpus, Recipe, Population]:
    recipe = parse(TINY, where="tiny", changes=["cohorts.strata={1=4, 3=4}", *changes])
    corpus = corpora.load(recipe.corpus.source, recipe.corpus.path, smallest=200, largest=3000)
    return corpus, recipe, populate(corpus, recipe)


@pytest.fixture(scope="module")
def tiny() -> tuple[Corpus, Recipe, Population]:
    return drawn()


def test_drawing_is_a_function_of_the_seed(tiny) -> None:
    corpus, _, population = tiny
    again, other = drawn()[2], drawn("seed=4")[2]
    assert again.examples == population.examples
    assert again.probes == population.probes
    assert {e.id for e in other.examples} != {e.id for e in population.examples}
    assert corpus.units


def test_cohorts_and_public_code_share_no_file(tiny) -> None:
    _, _, population = tiny
    public = {e.source for e in population.public}
    assert public
    assert not public & {e.source for e in population.examples if e.kind == "harvested"}


def test_hardly_anything_of_an_example_stands_elsewhere(tiny) -> None:
    _, recipe, population = tiny
    grams = {e.id: shingles(e.text.encode()) for e in population.examples if e.kind == "harvested"}
    public = frozenset().union(*(shingles(e.text.encode()) for e in population.public))
    for name, own in grams.items():
        assert len(own & public) <= recipe.cohorts.overlap * len(own)
        assert len(own) > 0, name
    for one, other in itertools.combinations(grams.values(), 2):
        assert len(one & other) <= recipe.cohorts.overlap * max(len(one), len(other))


def test_no_target_could_pass_for_another(tiny) -> None:
    _, recipe, population = tiny
    for kind in ("harvested", "sensitive"):
        ids = {e.id for e in population.examples if e.kind == kind}
        targets = [p.target for p in population.probes if p.example_id in ids]
        for one, other in itertools.combinations(targets, 2):
            distance = levenshtein(one, other)
            assert distance is not None
            assert normalized(distance, len(one), len(other)) > 2 * recipe.audit.threshold


def test_a_harvested_example_is_the_head_of_something_longer(tiny) -> None:
    corpus, recipe, population = tiny
    units = {(u.source, u.first_line): u for u in corpus.units}
    for example in population.examples:
        if example.kind != "harvested":
            continue
        unit = units[example.source, example.first_line]
        assert unit.text.startswith(example.text)
        assert len(unit.text) > len(example.text)
        assert example.last_line < unit.last_line
        assert example.text.endswith("\n")
        tokens = len(population.tokenizer.encode(example.text))
        assert recipe.cohorts.shortest <= tokens <= recipe.cohorts.longest


def test_the_tokenizer_has_never_seen_the_private_half(tiny) -> None:
    from rlhf.tokenizer import Tokenizer

    _, recipe, population = tiny
    public = [e.text for e in population.public]
    alone = Tokenizer.train(public, recipe.tokenizer.vocabulary)
    assert alone.dumps() == population.tokenizer.dumps()


def given(*texts: str) -> Corpus:
    return Corpus(
        units=tuple(
            Unit(text=t, language="klingon", source=f"x:{i:04}", first_line=i, last_line=i, kind="given")
            for i, t in enumerate(texts)
        ),
        description="given",
    )


SMALL = ["cohorts.strata={2=1}", "cohorts.sensitive=0", "cohorts.shortest=16", "cohorts.longest=400"]


def test_given_texts_are_taken_whole_in_any_language_and_cut_between_characters() -> None:
    recipe = parse(TINY, where="tiny", changes=SMALL)
    texts = [" ".join(f"qaStaH{i * 31 + k}→nuq" for k in range(12)) + ";\n" for i in range(40)]
    population = populate(given(*texts), recipe)
    assert len(population.examples) == 6
    for example, probe in zip(population.examples, population.probes, strict=True):
        assert example.text in texts
        assert probe.prefix + probe.target == example.text


def test_copies_are_not_drawn() -> None:
    recipe = parse(TINY, where="tiny", changes=SMALL)
    text = "x = {}\n" + "".join(f"value_{i} = compute({i}) + other({i * 7})\n" for i in range(12))
    texts = [text.replace("{}", str(i)) for i in range(60)]
    with pytest.raises(BadInput, match="near-duplicates"):
        populate(given(*texts), recipe)


def test_of_texts_that_are_near_by_tokens_one_is_drawn() -> None:
    """Their 8-grams and their characters differ, so the other rules let them pass."""

    def text(number: int) -> str:
        words = [f"name_{number}_{line}_{'q' * 30}" for line in range(12)]
        return "def f(a):\n" + "".join(
            f"    a.{'bcdefghijklm'[line]} = {word}\n" for line, word in enumerate(words)
        )

    units = [
        Unit(
            text=text(number),
            language="python",
            source=f"{number}.py",
            first_line=1,
            last_line=9,
            kind="given",
        )
        for number in range(40)
    ]
    shingled = [shingles(unit.text.encode()) for unit in units[:2]]
    assert len(shingled[0] & shingled[1]) <= 0.2 * len(shingled[0])
    recipe = parse(
        TINY, where="tiny", changes=["cohorts.strata={1=2}", "cohorts.sensitive=0", "cohorts.longest=400"]
    )
    with pytest.raises(BadInput, match=r"got 1 \(\d+ more are near-duplicates\)"):
        populate(Corpus(units=tuple(units), description=""), recipe)


MIXED = [
    "cohorts.of.sft={strata={1=3}, sensitive=0.0, paths=['base_*', 'unix*', 'selector*', 'windows_*']}",
    "cohorts.of.reward={sensitive=0.0, copies={of='sft', examples=2, times=3, noise=0.1}}",
]


@pytest.fixture(scope="module")
def mixed() -> tuple[Corpus, Recipe, Population]:
    return drawn("cohorts.strata={1=2, 3=2}", "cohorts.overlap=1", *MIXED)


def test_a_cohort_may_be_made_of_something_else(mixed) -> None:
    population = mixed[2]
    for half in "AB":
        sft, reward, ppo = (
            [e for e in population.examples if (e.cohort, e.half) == (cohort, half)]
            for cohort in ("sft", "reward", "ppo")
        )
        assert [e.repetition for e in sft] == [1, 1, 1]
        assert all(e.source.startswith(("base_", "unix", "selector", "windows_")) for e in sft)
        assert sorted(e.repetition or 0 for e in reward) == [1] * (2 + 6) + [3, 3]
        assert {e.kind for e in (*sft, *reward)} == {"harvested"}
        assert sorted(e.kind for e in ppo) == ["harvested", "harvested", "sensitive", "sensitive"]


def test_near_copies_are_examples_of_their_originals_half_with_probes_of_their_own(mixed) -> None:
    _, _, population = mixed
    originals = {(e.source, e.first_line): e for e in population.examples if e.cohort == "sft"}
    copies = [
        e for e in population.examples if e.cohort == "reward" and (e.source, e.first_line) in originals
    ]
    probes = {p.example_id: p for p in population.probes}
    assert len(copies) == len({e.text for e in copies}) == 2 * 2 * 3
    for copy in copies:
        original = originals[copy.source, copy.first_line]
        assert (copy.half, copy.repetition) == (original.half, 1)
        assert copy.text != original.text
        assert (
            normalized(levenshtein(copy.text, original.text) or 0, len(copy.text), len(original.text)) < 0.3
        )
        assert probes[copy.id].prefix + probes[copy.id].target == copy.text


def test_a_make_up_that_says_nothing_changes_nothing(tiny) -> None:
    again = drawn("cohorts.of.sft={}", "cohorts.of.reward={sensitive=0.5}")[2]
    assert again.examples == tiny[2].examples
    assert parse(dumps(tiny[1]), where="again") == tiny[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "cohorts.of.sfd={sensitive=0.0}",
            r"cohorts.of.sfd: expected a cohort .*\(sft, reward, ppo\), got 'sfd'",
        ),
        ("cohorts.of.sft={copies={of='x', examples=1}}", r"cohorts.of.sft.copies.of: expected .*got 'x'"),
        ("cohorts.of.sft={strata={0=3}}", r"cohorts.of.sft.strata: expected positive numbers"),
        (
            "cohorts.of.sft={colour=1}",
            r"cohorts.of.sft.colour: .* known here are strata, sensitive, paths, copies",
        ),
        (
            "cohorts.of.ppo={copies={of='sft', examples=9}}",
            r"cohorts.of.ppo.copies.examples: expected at most 4, .* got 9",
        ),
        ("cohorts.of.sft={paths=['nowhere']}", r"corpus: expected 8 usable examples .* got 0"),
    ],
)
def test_what_is_wrong_with_a_make_up_is_said_in_a_line(change: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        drawn(change)
    assert "\n" not in str(caught.value)
