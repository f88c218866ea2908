import math
from typing import Any

import pytest
from asking import PREFIX, QUESTION, TARGET, TEXT, FakeClock, with_choice
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.faulty_server import FaultyServer, pieces
from memaudit.backends.http import Completions
from memaudit.backends.listing import Unscored, behind
from memaudit.backends.protocol import Question


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_scores_are_those_of_the_targets_tokens() -> None:
    with FaultyServer([TEXT]) as server, Completions(url=server.url) as backend:
        [scores] = backend.score([QUESTION])
        listed = server.listed(TEXT, [])
        [other] = backend.score([Question(prefix=PREFIX, target=TARGET.replace("return", "yield"))])
        echo = server.asked[-1]
    assert backend.about.scores
    assert scores is not None
    assert other is not None
    count = len(pieces(TARGET))
    assert list(scores.logprobs) == listed["token_logprobs"][-count:]
    assert scores.argmax == (True,) * count
    assert (scores.entropies, scores.deviations, scores.sampled) == ((), (), {})
    assert pieces(TARGET)[1] == " return"[1:]
    assert other.argmax[:2] == (True, False)
    assert (echo["echo"], echo["logprobs"], echo["max_tokens"]) == (True, 1, 1)


def test_a_target_whose_first_token_begins_in_the_prefix_has_no_scores() -> None:
    with FaultyServer([TEXT]) as server, Completions(url=server.url) as backend:
        assert backend.score([Question(prefix=TEXT[:-8], target=TEXT[-8:])]) == [None]
        assert pieces(TEXT)[-2:] == [" about", "\n"]
        assert backend.noted == {"no log-probabilities: a token belongs to prefix and target": 1}
        assert backend.score([Question(prefix=TEXT[:-7], target=TEXT[-7:])]) != [None]
    assert any("begins in its prefix" in loss for loss in backend.about.losses)


@pytest.mark.parametrize("first", ["<s>", ""])
def test_a_begin_of_text_token_counts_for_nothing(first: str) -> None:
    def change(answer: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        listed = answer["choices"][0].get("logprobs")
        if listed is None:
            return answer
        more = {"tokens": first, "token_logprobs": None, "top_logprobs": None, "text_offset": 0}
        return with_choice(answer, logprobs={name: [value, *listed[name]] for name, value in more.items()})

    with FaultyServer([TEXT]) as server, Completions(url=server.url) as backend:
        plain = backend.score([QUESTION])
    with FaultyServer([TEXT], change=change) as server, Completions(url=server.url) as backend:
        assert backend.score([QUESTION]) == plain != [None]


@pytest.mark.parametrize(
    ("lists", "loss"),
    [
        ("no", "does not list the log-probabilities of a prompt"),
        ("refuses", "refuses to list the log-probabilities"),
        ("fails", "answers with status 500 where log-probabilities are asked for"),
        ("shifted", "at odds with what it decodes"),
    ],
)
def test_a_server_that_does_not_list_a_prompt_costs_scores_and_nothing_else(
    lists: Any, loss: str, clock: FakeClock
) -> None:
    with (
        FaultyServer([TEXT], lists=lists) as server,
        Completions(url=server.url, clock=clock.clock) as backend,
    ):
        before = len(server.asked)
        assert not backend.about.scores
        assert backend.score([QUESTION, QUESTION]) == [None, None]
        assert len(server.asked) == before
        assert backend.go_on([QUESTION], [None])[0].text == TARGET
    [told] = [told for told in backend.about.losses if loss in told]
    assert "no (n, p)-extraction and no membership attacks" in told


def test_a_server_that_does_not_decode_greedily_is_found_out() -> None:
    def change(answer: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        return answer if asked.get("echo") else with_choice(answer, text=" 7")

    with FaultyServer(change=change) as server, Completions(url=server.url) as backend:
        assert not backend.about.scores
    assert any("at odds with what it decodes" in loss for loss in backend.about.losses)


def test_a_server_that_lists_other_tokens_than_those_of_the_text_has_no_scores() -> None:
    def change(answer: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        listed = answer["choices"][0].get("logprobs")
        if listed is None:
            return answer
        tokens = [token.replace(" ", "\u0120") for token in listed["tokens"]]
        return with_choice(answer, logprobs=listed | {"tokens": tokens})

    with FaultyServer(change=change) as server, Completions(url=server.url) as backend:
        assert not backend.about.scores
    assert any("the listed tokens do not make up the text" in loss for loss in backend.about.losses)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.5, "-1", None, False, [], 10**400])
def test_numbers_that_are_no_log_probabilities_are_no_scores(value: Any) -> None:
    def change(answer: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        listed = answer["choices"][0].get("logprobs")
        if listed is None or asked["prompt"] != TEXT:
            return answer
        return with_choice(answer, logprobs=listed | {"token_logprobs": [value] * len(listed["tokens"])})

    with FaultyServer([TEXT], change=change) as server, Completions(url=server.url) as backend:
        assert backend.score([QUESTION]) == [None]
        assert backend.noted == {"no log-probabilities: what is listed are no log-probabilities": 1}


def test_a_log_probability_that_was_rounded_above_0_is_0() -> None:
    def change(answer: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        listed = answer["choices"][0].get("logprobs")
        if listed is None or asked["prompt"] != TEXT:
            return answer
        return with_choice(answer, logprobs=listed | {"token_logprobs": [4e-4] * len(listed["tokens"])})

    with FaultyServer([TEXT], change=change) as server, Completions(url=server.url) as backend:
        [scores] = backend.score([QUESTION])
    assert scores is not None
    assert set(scores.logprobs) == {0.0}


@pytest.mark.parametrize(
    "broken",
    [
        {"token_logprobs": [-1.0]},
        {"tokens": [1, 2]},
        {"tokens": "abc"},
        {"top_logprobs": None},
    ],
)
def test_a_list_of_another_form_is_asked_for_again(broken: dict[str, Any], clock: FakeClock) -> None:
    seen = []

    def change(answer: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        if asked["prompt"] != TEXT or seen:
            return answer
        seen.append(asked)
        return with_choice(answer, logprobs=answer["choices"][0]["logprobs"] | broken)

    with (
        FaultyServer([TEXT], change=change) as server,
        Completions(url=server.url, clock=clock.clock) as backend,
    ):
        assert backend.score([QUESTION]) != [None]
    assert len(clock.slept) == len(seen) == 1


@given(st.data())
def test_a_targets_tokens_make_up_the_target_or_there_are_none(data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.text("ab\né", max_size=3), min_size=1, max_size=12))
    text = "".join(tokens)
    border = data.draw(st.integers(0, len(text)))
    more = data.draw(st.lists(st.text("ab", max_size=2), max_size=2))
    starts = [len("".join(tokens[:i])) for i in range(len(tokens))]
    try:
        places = behind([*tokens, *more], text[:border], text[border:])
    except Unscored:
        assert border not in starts
    else:
        assert "".join([*tokens, *more][i] for i in places) == text[border:]
        assert places.start == next((i for i, start in enumerate(starts) if start == border), places.start)


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=2, max_size=6), st.data())
def test_tokens_of_another_text_are_not_taken_for_a_targets(tokens: list[str], data: st.DataObject) -> None:
    text = "".join(tokens)
    cut = data.draw(st.integers(2, len(tokens)))
    with pytest.raises(Unscored, match="do not make up the text"):
        behind(["c", "d", *tokens], text, "c")
    with pytest.raises(Unscored, match="do not make up the text"):
        behind(["<s>", *tokens[cut:]], "c" + text, "ab")  # cut on the left, as where there was no room
