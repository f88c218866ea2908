"""A recipe names the goldfish loss, and the stage is trained with it."""

from pathlib import Path
from typing import Any

import pytest
from tiny import TINY

from memaudit import training
from memaudit.errors import BadInput
from memaudit.job import Job
from memaudit.population import Population
from memaudit.recipe import dumps, parse
from memaudit.records import Example, Probe
from memaudit.training import train
from rlhf.goldfish import Goldfish, Hashed, Random, Static
from rlhf.model import Decoder
from rlhf.presets import preset
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

TEXT = "def f(x):\n    return x + 1\n"


@pytest.fixture(scope="module")
def job() -> Job:
    tokenizer = Tokenizer.train([TEXT], 262)
    tokens = tuple(tokenizer.encode(TEXT))
    example = Example(
        id="f",
        kind="harvested",
        language="python",
        text=TEXT,
        source="f.py",
        first_line=1,
        last_line=2,
        repetition=4,
    )
    probe = Probe(
        id=1,
        example_id="f",
        kind="prefix",
        prefix=TEXT[:9],
        target=TEXT[9:],
        prefix_tokens=tokens[:9],
        target_tokens=tokens[9:],
    )
    return Job(
        stage=Stage(name="stage"),
        decoder=Decoder(preset("tiny", tokenizer.vocabulary)),
        tokenizer=tokenizer,
        parent={},
        seed=7,
        examples=[example],
        population=Population(tokenizer=tokenizer, public=(), examples=(example,), probes=(probe,)),
        probes=[probe],
        contexts={},
        time=1 + len(tokens),
        folder=Path(),
        scorer=lambda name: {},
        pairs=Path,
        model=lambda name: {},
    )


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("{ strategy = 'hashed' }", Hashed(every=4, context=13, seed=0)),
        (
            "{ strategy = 'hashed', every = 50, context = 128, seed = 3 }",
            Hashed(every=50, context=128, seed=3),
        ),
        ("{ strategy = 'static', every = 3 }", Static(every=3)),
        ("{ strategy = 'random' }", Random(every=4, seed=7)),
    ],
)
@pytest.mark.parametrize("stage", ["pretrain", "sft"])
def test_a_stage_on_given_tokens_is_trained_as_its_recipe_says(
    job: Job, monkeypatch: pytest.MonkeyPatch, stage: str, setting: str, wanted: Goldfish
) -> None:
    """The hash is the recipe's, the same in all stages and seeds; random draws are the stage's own."""
    given: list[Any] = []
    monkeypatch.setattr(training.sft, "train", lambda *_, **named: given.append(named["goldfish"]))
    recipe = parse(TINY, where="tiny", changes=[f"stages.{stage}.goldfish={setting}"])
    assert parse(dumps(recipe), where="again") == recipe
    train(recipe.stages[stage], job)
    train(parse(TINY, where="tiny").stages[stage], job)
    assert given == [wanted, None]


@pytest.mark.parametrize(
    ("stage", "setting", "said"),
    [
        (
            "sft",
            "{ strategy = 'static', context = 3 }",
            "goldfish.context: expected no such key, got 3: known",
        ),
        ("sft", "{ strategy = 'hashed', every = 1 }", "goldfish.every: .* equal to 2, got 1"),
        ("sft", "{ strategy = 'hashed', context = 0 }", "goldfish.context: .* greater than 0, got 0"),
        ("sft", "{ strategy = 'trout' }", "goldfish: .*'trout'.*'hashed', 'static', 'random'"),
        ("sft", "{ every = 4 }", "goldfish.strategy: expected one of hashed, static, random, got none"),
        ("ppo", "{ strategy = 'hashed' }", "goldfish: expected no such key"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_a_line(stage: str, setting: str, said: str) -> None:
    with pytest.raises(BadInput, match=rf"^tiny: stages.{stage}.{said}") as caught:
        parse(TINY, where="tiny", changes=[f"stages.{stage}.goldfish={setting}"])
    assert "\n" not in str(caught.value)
