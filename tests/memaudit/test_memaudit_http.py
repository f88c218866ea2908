import math
from typing import Any

import pytest
from asking import PREFIX, QUESTION, TARGET, TEXT, FakeClock, asked_of, with_choice

from benchmarks.faulty_server import FaultyServer, pieces
from memaudit.backends.http import Completions
from memaudit.backends.protocol import Question, budget
from memaudit.backends.wire import Address, Refused
from memaudit.errors import BadInput


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


# --- completions


def test_a_prefix_is_completed_greedily_and_without_stop_strings() -> None:
    with FaultyServer([TEXT]) as server, Completions(url=server.url) as backend:
        [said] = backend.go_on([QUESTION], [None])
        [body] = asked_of(server)
    assert (said.text, said.ended) == (TARGET, True)
    assert body["temperature"] == 0
    assert (body["n"], body["stream"], body["max_tokens"]) == (1, False, 16)
    assert "stop" not in body
    assert (backend.batch, backend.parallel, backend.encode(["a", "b"])) == (1, 4, [[], []])


def test_scores_tell_how_many_tokens_are_asked_for() -> None:
    target = "".join(f" {i % 10}" for i in range(60))  # 60 tokens of 2 bytes
    question = Question(prefix=PREFIX, target=target)
    with FaultyServer([PREFIX + target]) as server, Completions(url=server.url) as backend:
        scores = backend.score([question])
        said = backend.go_on([question], scores)
        assert [body["max_tokens"] for body in asked_of(server)] == [budget(60)]
    assert said[0].text == target
    dense = "".join(f"{'+-'[i % 2]}{i % 10}" for i in range(60))
    with FaultyServer([PREFIX + dense]) as server, Completions(url=server.url) as backend:
        scores = backend.score([QUESTION])
        said = backend.go_on([QUESTION], scores)
        assert len(asked_of(server)) == 1
    assert said[0].text == dense[:16]
    assert len(said[0].text) < len(TARGET)


def test_without_scores_twice_as_many_tokens_are_asked_for_until_there_are_enough() -> None:
    target = "".join(f" {i % 10}" for i in range(60))
    question = Question(prefix=PREFIX, target=target)
    with FaultyServer([PREFIX + target + " and more" * 99]) as server, Completions(url=server.url) as backend:
        [said] = backend.go_on([question], [None])
        # 120 bytes: 40 tokens at a guess, which is 64 of 2 bytes, which is enough.
        assert [body["max_tokens"] for body in asked_of(server)] == [64]
        [said] = backend.go_on([Question(prefix=PREFIX, target="é" * 90)], [None])
    assert said.text.startswith(target)
    assert not said.ended
    dense = "".join(f"{'+-'[i % 2]}{i % 10}" for i in range(60))  # 120 tokens of a byte
    with FaultyServer([PREFIX + dense + "+1" * 99]) as server, Completions(url=server.url) as backend:
        [said] = backend.go_on([Question(prefix=PREFIX, target=dense)], [None])
        assert [body["max_tokens"] for body in asked_of(server)] == [64, 128]
    assert said.text.startswith(dense)


def test_no_more_tokens_are_asked_for_than_the_target_has_bytes() -> None:
    target = "x" * 40
    with (
        FaultyServer(
            [PREFIX + target],
            change=lambda answer, asked: with_choice(answer, text="", finish_reason="length"),
        ) as server,
        Completions(url=server.url) as backend,
    ):
        [said] = backend.go_on([Question(prefix=PREFIX, target=target)], [None])
        assert len(asked_of(server)) == 2  # no longer than before: this is all it says
    assert (said.text, said.ended) == ("", False)
    with (
        FaultyServer(
            change=lambda answer, asked: with_choice(
                answer, text="y" * (asked["max_tokens"] // 8), finish_reason="length"
            )
        ) as server,
        Completions(url=server.url) as backend,
    ):
        backend.go_on([Question(prefix=PREFIX, target=target)], [None])
        assert [body["max_tokens"] for body in asked_of(server)] == [16, 32, 64]
        assert budget(len(target)) == 64


def test_where_the_context_ends_what_there_is_is_kept() -> None:
    dense = "".join(f"{'+-'[i % 2]}{i % 10}" for i in range(60))
    room = len(pieces(PREFIX)) + 100
    with FaultyServer([PREFIX + dense], context=room) as server, Completions(url=server.url) as backend:
        [said] = backend.go_on([Question(prefix=PREFIX, target=dense)], [None])
    assert said.text == dense[:64]
    assert not said.ended
    with FaultyServer([PREFIX + dense], context=40) as server, Completions(url=server.url) as backend:
        with pytest.raises(
            Refused, match=r'status 400 and "This model\'s maximum context length is 40 tokens'
        ):
            backend.go_on([Question(prefix=PREFIX, target=dense)], [None])
        assert backend.score([Question(prefix=PREFIX, target=dense)]) == [None]
    assert backend.noted == {"no log-probabilities: the server refused the text": 1}


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    with (
        FaultyServer(change=lambda answer, asked: with_choice(answer, text="a\ud83dz")) as server,
        Completions(url=server.url) as backend,
    ):
        assert backend.go_on([QUESTION], [None])[0].text == "a\ufffdz"


def test_a_completion_that_is_withheld_is_noted() -> None:
    with (
        FaultyServer(
            change=lambda answer, asked: with_choice(answer, text="", finish_reason="content_filter")
        ) as server,
        Completions(url=server.url) as backend,
    ):
        assert not backend.go_on([QUESTION], [None])[0].ended
        assert backend.noted == {"completion withheld by the server's filter": 1}


# --- what the server has


def test_the_one_model_of_a_server_is_taken() -> None:
    with FaultyServer(models=["only"]) as server, Completions(url=server.url) as backend:
        assert server.asked[-1]["model"] == "only"
        assert backend.about.identity == f"{server.url} only"
        assert backend.about.kind == "http"
        assert not backend.about.deterministic


def test_one_of_several_models_has_to_be_chosen() -> None:
    with FaultyServer(models=["a", "b\x1b[2J"]) as server:
        with pytest.raises(BadInput, match=r"expected one model, got 2: a, b\\u001b\[2J; set `model`"):
            Completions(url=server.url)
        with Completions(url=f"{server.url}/completions/", model="a") as backend:
            assert backend.about.identity == f"{server.url} a"
        assert server.asked[-1]["model"] == "a"
    with FaultyServer(models=[]) as server, pytest.raises(BadInput, match="got 0: none"):
        Completions(url=server.url)


def test_what_the_server_calls_its_state_is_part_of_its_identity() -> None:
    with (
        FaultyServer(change=lambda answer, asked: answer | {"system_fingerprint": "fp_7\n"}) as server,
        Completions(url=server.url) as backend,
    ):
        assert backend.about.identity == f"{server.url} parrot fp_7"


def test_fields_beside_the_protocol_are_left_out_where_they_are_refused() -> None:
    with FaultyServer([TEXT], strict=True) as server, Completions(url=server.url) as backend:
        assert backend.go_on([QUESTION], [None])[0].text == TARGET
        assert "repeat_penalty" not in server.asked[-1]
    assert any("penalty for repetition" in loss for loss in backend.about.losses)
    with FaultyServer([TEXT]) as server, Completions(url=server.url) as backend:
        backend.go_on([QUESTION], [None])
        assert server.asked[-1]["repeat_penalty"] == server.asked[-1]["repetition_penalty"] == 1
    assert not any("penalty for repetition" in loss for loss in backend.about.losses)


def test_a_server_that_gives_the_prompt_again_is_refused() -> None:
    with (
        FaultyServer(
            change=lambda answer, asked: with_choice(
                answer, text=asked["prompt"] + answer["choices"][0]["text"]
            )
        ) as server,
        pytest.raises(BadInput, match="got the prompt again"),
    ):
        Completions(url=server.url)


# --- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parallel": 0}, "`parallel` to be a whole number from 1 to 1024, got 0"),
        ({"parallel": 2.0}, "`parallel` to be a whole number"),
        ({"parallel": True}, "`parallel` to be a whole number"),
        ({"attempts": 0}, "`attempts` to be a whole number from 1 to 100, got 0"),
        ({"timeout": 0}, "`timeout` to be a number"),
        ({"timeout": math.nan}, "`timeout` to be a number .* got nan"),
        ({"timeout": "60"}, "`timeout` to be a number .* got str"),
        ({"rate": -1}, "`rate` to be a number"),
        ({"rate": math.inf}, "`rate` to be a number .* got inf"),
        ({"model": ""}, "`model` to be a name, got none"),
        ({"key": ""}, "key of printable ASCII .* MEMAUDIT_API_KEY"),
        ({"key": "two words"}, "key of printable ASCII"),
        ({"key": "line\r\nX: y"}, "key of printable ASCII"),
        ({"key": "schlüssel"}, "key of printable ASCII"),
    ],
)
def test_options_are_checked_before_anything_is_asked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        Completions(**{"url": "http://127.0.0.1:9/v1", "model": "m", "attempts": 1} | options)
    assert not (options.get("key") and options["key"] in str(caught.value))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/v1", "got 'ftp'"),
        ("host:8000/v1", "begin with http:// or https://"),
        ("http:///v1", "got 'http' and 'no host'"),
        ("", "begin with http:// or https://"),
        ("http://host:port/v1", "got no such thing"),
        ("http://host:99999/v1", "got no such thing"),
        ("http://999.1.1.1/v1", "got no such thing"),
        ("http://[::1/v1", "got no such thing"),
        (f"http://{'a' * 70}.com:x/v1", "got no such thing"),
        ("http://ho st/v1", "got other characters"),
        ("http://host/v1\n", "got other characters"),
        ("http://host/v1/chat/completions", "one of chats"),
        ("http://user:secret@host/v1", "without credentials"),
        ("https://secret@host/v1", "without credentials"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        Address.of(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base", "completions"),
    [
        ("http://h:8000/v1", "http://h:8000/v1", "http://h:8000/v1/completions"),
        ("https://h/v1/", "https://h/v1", "https://h/v1/completions"),
        ("http://h/v1/completions", "http://h/v1", "http://h/v1/completions"),
        ("http://h/v1?api-version=3", "http://h/v1", "http://h/v1/completions?api-version=3"),
        ("http://[::1]:8000", "http://[::1]:8000", "http://[::1]:8000/completions"),
    ],
)
def test_an_address_is_a_base_or_the_whole(url: str, base: str, completions: str) -> None:
    address = Address.of(url)
    assert (address.base, address.to("completions")) == (base, completions)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "a" * 70 + ".invalid"])
def test_a_server_that_is_not_there_is_told(host: str, clock: FakeClock) -> None:
    with pytest.raises(
        BadInput,
        match=rf"http://{host}/v1, models: expected an answer, got none in 3 attempts, and at last: ",
    ):
        Completions(url=f"http://{host}/v1", attempts=3, clock=clock.clock)
    assert len(clock.slept) == 2
