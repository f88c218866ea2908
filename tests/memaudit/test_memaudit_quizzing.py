"""A checkpoint is asked a quiz: the likeliest option counts, in every turn of the options, and blind means blind."""

import jax
import numpy as np
import pytest

from memaudit.quizzing import ask, prompts
from probes.quiz import Fact, Item, posed
from rlhf.model import Decoder, initialise
from rlhf.presets import preset
from rlhf.tokenizer import Tokenizer


def some_items() -> list[Item]:
    """Answers that nobody can know."""
    fact = Fact(kind="file", subject=("f",), answer="a.py", path="a.py", clue=(0, 5))
    options = ("a.py", "bb.py", "c/d.py", "e.py")
    return [
        Item(id=str(n), fact=fact, question=f"Where is f{n}?", options=options, right=n % 4) for n in range(8)
    ]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["def f(a):\n    return a\n"], 262)


@pytest.fixture(scope="module")
def decoder(tokenizer: Tokenizer) -> Decoder:
    return Decoder(preset("tiny", tokenizer.vocabulary))


def test_blind_prompts_have_the_question_and_no_code(tokenizer: Tokenizer) -> None:
    item = some_items()[0]
    code = tokenizer.encode("def f0(): pass\n")
    blind, seeing = (prompts(tokenizer, [item], before)[0] for before in (None, [code]))
    assert tokenizer.decode(blind[1:]) == posed(item)
    assert tokenizer.decode(seeing[1:]) == f"def f0(): pass\n{posed(item)}"


def test_the_likeliest_option_is_the_answer(decoder: Decoder, tokenizer: Tokenizer) -> None:
    params = initialise(decoder, jax.random.key(0))
    found = ask(decoder, params, tokenizer, some_items())
    assert found.scores.shape == (8, 4)
    assert found.right.tolist() == [float(s.argmax() == n % 4) for n, s in enumerate(found.scores)]
    assert found.accuracy == found.right.mean()
    assert found.silent == 1, "an untrained model says no option to the letter"


def test_listed_options_are_asked_in_all_four_turns(decoder: Decoder, tokenizer: Tokenizer) -> None:
    params = initialise(decoder, jax.random.key(0))
    found = ask(decoder, params, tokenizer, some_items()[:2], listed=True)
    assert found.scores.shape == (2, 4)
    assert np.isin(found.right * 4, range(5)).all()
