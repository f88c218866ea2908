import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from asking import KEY, PREFIX, QUESTION, TARGET, TEXT, FakeClock, always, asked_of, only, with_choice
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.faulty_server import KINDS, FaultyServer, seeded
from memaudit.backends import wire
from memaudit.backends.http import Completions
from memaudit.backends.patience import Unanswered
from memaudit.backends.protocol import Question
from memaudit.backends.wire import Refused
from memaudit.errors import BadInput


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


# --- faults


@pytest.mark.parametrize(
    "fault", [kind for kind in KINDS if not kind.startswith("stall")] + ["408", "409", "425"]
)
def test_after_a_fault_that_passes_the_question_is_put_again(fault: str, clock: FakeClock) -> None:
    with (
        FaultyServer([TEXT], plan=only(PREFIX, fault, fault)) as server,
        Completions(url=server.url, clock=clock.clock) as backend,
    ):
        assert backend.go_on([QUESTION], [None])[0].text == TARGET
        assert server.answered[PREFIX] == 1
    # Half a second and a second, less the quarter that was drawn; or what the server asked for.
    assert clock.slept == ([2.0, 2.0] if "Retry-After" in fault else [0.375, 0.75])


@pytest.mark.parametrize("fault", ["stall before an answer", "stall in the body"])
def test_a_server_that_stalls_is_given_up_in_time(fault: str, clock: FakeClock) -> None:
    with (
        FaultyServer([TEXT], plan=only(PREFIX, fault)) as server,
        Completions(url=server.url, clock=clock.clock, timeout=0.3) as backend,
    ):
        assert backend.go_on([QUESTION], [None])[0].text == TARGET
        assert server.injected[fault] == 1


@pytest.mark.parametrize(
    "body", [b"", b"[" * 10**5, b"1" * 5000, b'{"choices": [\xff]}', b"\x00", b"null", b"[]"], ids=range(7)
)
def test_bytes_that_are_no_object_are_no_answer(body: bytes, clock: FakeClock) -> None:
    with (
        FaultyServer([TEXT]) as server,
        Completions(url=server.url, clock=clock.clock, attempts=2) as backend,
    ):
        server.change = lambda answer, asked: body
        with pytest.raises(
            Unanswered, match=r"at last: (\d+ bytes that are no JSON|JSON that is no object);"
        ):
            backend.go_on([QUESTION], [None])


def test_an_answer_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    with (
        FaultyServer([TEXT]) as server,
        Completions(url=server.url, clock=clock.clock, attempts=2) as backend,
    ):
        monkeypatch.setattr(wire, "_LARGEST", 2**20)
        server.change = lambda answer, asked: with_choice(answer, text="x" * 2**20)
        with pytest.raises(Unanswered, match="2 attempts, and at last: an answer of more than 1 MiB"):
            backend.go_on([QUESTION], [None])


@pytest.mark.parametrize(
    "choices",
    [
        None,
        {},
        "text",
        [None],
        [[]],
        [{"text": "a", "finish_reason": "stop"}] * 2,
        [{"text": None, "finish_reason": "stop"}],
        [{"text": ["a"], "finish_reason": "stop"}],
        [{"finish_reason": "stop"}],
        [{"text": "a"}],
        [{"text": "a", "finish_reason": None}],
        [{"text": "a", "finish_reason": ["stop"]}],
        [{"text": "a", "finish_reason": "abort"}],
    ],
)
def test_an_answer_of_another_shape_is_none(choices: Any, clock: FakeClock) -> None:
    with (
        FaultyServer([TEXT]) as server,
        Completions(url=server.url, clock=clock.clock, attempts=3) as backend,
    ):
        server.change = lambda answer, asked: answer | {"choices": choices}
        with pytest.raises(Unanswered, match=r"3 attempts, and at last: (JSON without one|a) choice"):
            backend.go_on([QUESTION], [None])
        assert len(asked_of(server)) == 3


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["stop", "length"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "text", "finish_reason", "logprobs", "tokens", "token_logprobs", "top_logprobs"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def hostile() -> Iterator[tuple[FaultyServer, Completions]]:
    with FaultyServer([TEXT]) as server, Completions(url=server.url, attempts=1) as backend:
        yield server, backend


@given(answer=JSON, choice=JSON, logprobs=JSON, depth=st.integers(0, 2))
def test_whatever_is_sent_is_an_answer_or_none(
    hostile: tuple[FaultyServer, Completions], answer: Any, choice: Any, logprobs: Any, depth: int
) -> None:
    server, backend = hostile
    sent = [
        answer,
        {"choices": [choice]},
        {"choices": [{"text": "", "finish_reason": "stop", "logprobs": logprobs}]},
    ][depth]
    server.change = lambda right, asked: sent
    for ask in (lambda: backend.go_on([QUESTION], [None]), lambda: backend.score([QUESTION])):
        with suppress(Unanswered):  # and nothing else
            [found] = ask()
            assert found is None or isinstance(found.text, str)


def test_after_the_last_attempt_the_error_says_what_became_of_it(clock: FakeClock) -> None:
    with (
        FaultyServer([TEXT], plan=always("503")) as server,
        Completions(url=server.url, clock=clock.clock) as backend,
    ):
        with pytest.raises(
            Unanswered,
            match=rf"{server.url}, completion: expected an answer, got none in 6 attempts, and at last: "
            r'status 503 and "not now"; nothing is lost, .* set `attempts`, `timeout` or `rate`',
        ):
            backend.go_on([QUESTION], [None])
        assert len(asked_of(server)) == 6
    assert clock.slept == [0.375, 0.75, 1.5, 3.0, 6.0]


def test_no_question_is_lost_among_faults_and_none_is_answered_twice(clock: FakeClock) -> None:
    questions = [Question(prefix=f"def f{i}():\n    return", target=f" {i} * {i}\n") for i in range(200)]
    # Real time passes in stalls alone, which are left to two questions: a limit that is long enough for a busy machine.
    quick = {kind: weight for kind, weight in KINDS.items() if not kind.startswith("stall")}
    faults = seeded(0.3, 1, kinds=quick)
    stalls = {questions[50].prefix: "stall before an answer", questions[51].prefix: "stall in the body"}

    def plan(prompt: str, before: int) -> str | None:
        return stalls.get(prompt) if before == 0 and prompt in stalls else faults(prompt, before)

    with (
        FaultyServer([q.prefix + q.target for q in questions], plan=plan) as server,
        Completions(url=server.url, clock=clock.clock, timeout=2.5) as backend,
        ThreadPoolExecutor(backend.parallel) as threads,
    ):
        scores = list(threads.map(lambda q: backend.score([q])[0], questions))
        said = list(threads.map(lambda q, s: backend.go_on([q], [s])[0], questions, scores))
    assert [answer.text for answer in said] == [question.target for question in questions]
    assert all(score is not None and all(score.argmax) for score in scores)
    assert [server.answered[question.prefix] for question in questions] == [1] * 200
    assert set(server.injected) == set(KINDS)
    assert sum(server.injected.values()) > 0.2 * len(server.asked)


# --- refusals


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "set `model` to one that completes text"),
        (401, "set the environment variable MEMAUDIT_API_KEY"),
        (403, "set the environment variable MEMAUDIT_API_KEY"),
        (404, "set `url` to a base"),
        (422, "set `model` to one that completes text"),
        (307, "set `url` to where the server now is"),
    ],
)
def test_a_refusal_is_not_asked_again(status: int, remedy: str, clock: FakeClock) -> None:
    with (
        FaultyServer(plan=always(str(status))) as server,
        Completions(url=server.url, clock=clock.clock) as backend,
    ):
        with pytest.raises(Refused, match=rf'got status {status} and "not now"; {remedy}'):
            backend.go_on([QUESTION], [None])
        assert len(asked_of(server)) == 1
    assert clock.slept == []


def test_a_servers_words_are_made_printable_and_short() -> None:
    with FaultyServer(models=["m"]) as server, pytest.raises(BadInput) as caught:
        Completions(url=server.url, model="\x1b]0;owned\x07" + "x" * 500)
    assert str(caught.value).isprintable()
    assert "\\u001b]0;owned\\u0007xxx" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_key_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture, clock: FakeClock) -> None:
    caplog.set_level(logging.DEBUG)
    shown = []
    with FaultyServer([TEXT], key=KEY) as server:
        with pytest.raises(Refused, match="MEMAUDIT_API_KEY") as refused:
            Completions(url=server.url, key=KEY + "x")
        shown.append(str(refused.value))  # the server repeats the key
        with Completions(url=server.url, key=KEY, clock=clock.clock) as backend:
            assert backend.go_on([QUESTION], [None])[0].text == TARGET
            shown += [repr(backend), repr(backend.about), repr(backend.__dict__)]
            server.change = lambda answer, asked: {"error": KEY}
            with pytest.raises(Unanswered) as unanswered:
                backend.go_on([QUESTION], [None])
            shown.append(str(unanswered.value))
    assert "Bearer [key]" in shown[0]
    assert caplog.records
    for text in (*shown, caplog.text):
        assert KEY not in text
    with FaultyServer(models=[KEY, "b"]) as server, pytest.raises(BadInput, match=r"got 2: \[key\], b"):
        Completions(url=server.url, key=KEY)
