"""A recipe names a selection, and a pretraining stage shows what was selected and nothing else."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny import TINY

from memaudit import corpus as corpora
from memaudit import training
from memaudit.attacks import reference_difference
from memaudit.cohorts import populate
from memaudit.course import course
from memaudit.errors import BadInput
from memaudit.instruments import setting_of
from memaudit.job import Job
from memaudit.population import Population
from memaudit.readings import _selection
from memaudit.recipe import Recipe, dumps, ordered, parse, uses
from memaudit.records import Example, Scores
from memaudit.select import SELECTION
from memaudit.stages import Setting, shown_to
from memaudit.training import train
from rlhf.batches import rows
from rlhf.difference import mean_losses
from rlhf.model import Decoder, initialise
from rlhf.presets import preset
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

COLOR = "{by='color', prior='pretrain', conditional='sft', keep=3}"
MORE = "method='pretrain', steps=4, batch=2, window=32, learning_rate=1e-3, from='pretrain'"


def recipe_of(select: str | None = COLOR, cohort: str | None = "ppo", *changes: str) -> Recipe:
    """The tiny recipe with a stage `more`."""
    settings = MORE + (f", select={select}" if select else "") + (f", cohort='{cohort}'" if cohort else "")
    return parse(TINY, where="tiny", changes=[f"stages.more={{{settings}}}", *changes])


TEXTS = [f"def f{n}(x):\n    return x + {n} * {'y' * n}\n" for n in range(12)]


def example(number: int, **more: Any) -> Example:
    return Example(
        id=f"e{number}",
        kind="harvested",
        language="python",
        text=TEXTS[number],
        source=f"{number}.py",
        first_line=1,
        last_line=2,
        **more,
    )


OFFERED = [
    *(example(n) for n in range(9)),
    *(example(n, cohort="ppo", half="A", repetition=4) for n in range(9, 12)),
]


@pytest.fixture(scope="module")
def job() -> Job:
    tokenizer = Tokenizer.train(TEXTS, 262)
    decoder = Decoder(preset("tiny", tokenizer.vocabulary))
    drawn = jax.jit(initialise, static_argnums=0)
    models = {name: drawn(decoder, jax.random.key(n)) for n, name in enumerate(("pretrain", "sft"))}
    return Job(
        stage=Stage(name="more"),
        decoder=decoder,
        tokenizer=tokenizer,
        parent={},
        seed=7,
        examples=OFFERED,
        population=Population(tokenizer=tokenizer, public=(), examples=OFFERED, probes=()),
        probes=[],
        contexts={},
        time=32,
        folder=Path(),
        scorer=lambda name: {},
        pairs=Path,
        model=models.__getitem__,
    )


def shown_by(job: Job, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a pass of the stage shows each example."""
    given: list[Any] = []
    monkeypatch.setattr(training.sft, "train", lambda parent, shown, *_, **named: given.append(shown))
    train(recipe.stages["more"], job)
    return Counter(name for row in given[0].ids for name in row)


def losses(job: Job, name: str) -> dict[str, float]:
    t = job.tokenizer
    texts = [[*t.encode(e.text), t.eos] for e in OFFERED]
    shown = rows([[t.bos]] * len(texts), texts, [(e.id,) for e in OFFERED], time=96, fill=t.pad)
    return dict(
        zip([e.id for e in OFFERED], mean_losses(job.decoder, job.model(name), shown).tolist(), strict=True)
    )


WIDE = "stages.more.window=96"


def test_a_cohort_is_strewn_among_public_texts_as_often_as_its_stratum_says(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shown_by(job, recipe_of(None, "ppo", WIDE), monkeypatch)
    assert found == {e.id: e.repetition or 1 for e in OFFERED}


@pytest.mark.parametrize("by", ["color", "conditional"])
def test_the_texts_with_the_highest_scores_are_shown_and_no_others(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    """Copies have one score, so all or none of them are taken but for those at the edge."""
    select = COLOR if by == "color" else "{by='conditional', conditional='sft', keep=3}"
    found = shown_by(replace(job, folder=tmp_path), recipe_of(select, "ppo", WIDE), monkeypatch)
    prior, conditional = losses(job, "pretrain"), losses(job, "sft")
    score = {e.id: (prior[e.id] if by == "color" else 0) - conditional[e.id] for e in OFFERED}
    ranked = sorted(OFFERED, key=lambda e: -score[e.id])
    wanted = Counter([e.id for e in ranked for _ in range(e.repetition or 1)][: (9 + 12) // 3])
    assert found == wanted
    with np.load(tmp_path / SELECTION) as kept:
        assert dict(zip(kept["ids"].tolist(), kept["taken"].tolist(), strict=True)) == {
            e.id: wanted[e.id] for e in OFFERED
        }
        assert kept["offered"].tolist() == [e.repetition or 1 for e in OFFERED]
        np.testing.assert_allclose(kept["scores"], [score[e.id] for e in OFFERED], rtol=1e-3, atol=1e-4)
    readings = list(_selection(tmp_path / SELECTION))
    assert {r.example_id: r.value for r in readings if r.quantity == "selection_taken"} == wanted
    assert {r.example_id for r in readings if r.quantity == "selection_score"} == {e.id for e in OFFERED}


def test_chance_asks_no_model_and_follows_from_the_seed(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = recipe_of("{by='random', keep=3}", "ppo", WIDE)

    def nobody(name: str) -> Any:
        raise AssertionError(name)

    blind = replace(job, folder=tmp_path, model=nobody)
    found = [shown_by(replace(blind, seed=seed), recipe, monkeypatch) for seed in (7, 7, 8)]
    assert found[0] == found[1] != found[2]
    assert all(counted.total() == 7 for counted in found)
    assert {r.quantity for r in _selection(tmp_path / SELECTION)} == {"selection_taken"}


def test_batch_by_batch_each_batch_gives_its_share(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Batches of two: of six candidates at a time two, of the three that are left over one."""
    folder = replace(job, folder=tmp_path)
    select = COLOR.replace("keep=3", "keep=3, scope='batch'")
    found = shown_by(folder, recipe_of(select, "ppo", WIDE), monkeypatch)
    assert found.total() == 7
    assert found != shown_by(folder, recipe_of(COLOR, "ppo", WIDE), monkeypatch)


def test_with_deduplication_one_of_each_cluster_is_offered_once(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    again = replace(example(3), id="again", text=TEXTS[3].replace("    ", "  "))
    folder = replace(job, folder=tmp_path, examples=[*OFFERED, again])
    select = COLOR.replace("keep=3", "keep=1, deduplicate=true")
    found = shown_by(folder, recipe_of(select, "ppo", WIDE), monkeypatch)
    assert set(found.values()) == {1}
    assert "again" not in found
    assert set(found) <= {e.id for e in OFFERED}


def test_more_is_not_kept_than_there_is(job: Job, tmp_path: Path) -> None:
    recipe = recipe_of("{by='random', keep=22}")
    with pytest.raises(BadInput, match=r"^stages.more.select.keep: expected at most 21, .* got 22$"):
        train(recipe.stages["more"], replace(job, folder=tmp_path))


def test_the_score_is_the_membership_score_of_what_the_conditional_model_was_shown() -> None:
    """One number: conditional less prior log-likelihood in the attack, prior less conditional loss in the selection."""
    member = Scores(logprobs=(-0.5, -1.0), argmax=(True, True))
    reference = Scores(logprobs=(-2.0, -2.5), argmax=(False, False))
    assert reference_difference(member, reference) == 2.25 - 0.75


def test_a_selection_needs_its_models_first_and_is_written_out_whole() -> None:
    recipe = recipe_of(COLOR)
    assert uses(recipe, "more") == ["pretrain", "sft"]
    assert ordered(recipe).index("more") > ordered(recipe).index("sft")
    assert parse(dumps(recipe), where="again") == recipe


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("{by='color', prior='pretrain'}", "select.conditional: expected a value, got none"),
        (
            "{by='color', prior='pretrain', conditional='stf'}",
            "select.conditional: expected the name of a stage",
        ),
        (
            "{by='color', prior='reward', conditional='sft'}",
            "select.prior: expected a stage that yields a language",
        ),
        (
            "{by='random', prior='sft'}",
            "select.prior: expected no such key, got 'sft': known here are keep, scope",
        ),
        ("{keep=8}", "select.by: expected one of color, conditional, random, got none"),
        ("{by='random', keep=0}", "select.keep: .* greater than 0, got 0"),
        ("{by='random', scope='all'}", "select.scope: .*'global' or 'batch'"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_a_line(select: str, said: str) -> None:
    with pytest.raises(BadInput, match=rf"^tiny: stages.more.{said}") as caught:
        recipe_of(select)
    assert "\n" not in str(caught.value)


def test_a_stage_may_not_choose_by_a_model_that_waits_for_it() -> None:
    late = "stages.late={" + MORE.replace("from='pretrain'", "from='more'") + "}"
    with pytest.raises(BadInput, match="stage graph without a cycle"):
        recipe_of(COLOR.replace("'sft'", "'late'"), "ppo", late)


def test_what_decides_a_selection_decides_which_stage_it_is(tmp_path: Path) -> None:
    corpus = corpora.load("directory", recipe_of().corpus.path, smallest=200, largest=3000)
    population = populate(corpus, recipe_of())

    def legs(recipe: Recipe) -> tuple[Setting, dict[str, str]]:
        setting = setting_of(recipe, population, tmp_path)
        return setting, {
            twin: leg.key for leg in course(setting) if leg.stage == "more" for twin in leg.twins
        }

    setting, base = legs(recipe_of())
    assert base["A"] != base["B"]
    assert [e.id for e in shown_to(setting, "A", "more")] == [
        *(e.id for e in population.public),
        *(e.id for e in population.examples if (e.cohort, e.half) == ("ppo", "A")),
    ]
    for other in (
        recipe_of(COLOR.replace("keep=3", "keep=4")),
        recipe_of(COLOR.replace("keep=3", "keep=3, deduplicate=true")),
        recipe_of("{by='random', keep=3}"),
        recipe_of(None),
        recipe_of(COLOR, None),
        recipe_of(COLOR, "ppo", "stages.sft.learning_rate=1e-3"),
        recipe_of(COLOR.replace("prior='pretrain'", "prior='ppo'")),
    ):
        assert legs(other)[1]["A"] != base["A"]
    public = legs(recipe_of("{by='random', keep=3}", None))[1]
    assert public["A"] == public["B"], "what shows both twins the same is one stage"
    assert len(set(legs(recipe_of(COLOR, None))[1].values())) == 2, "each twin chooses by its own models"
