"""A model behind an OpenAI-compatible endpoint for text completions (`/v1/completions`).

Prompts go out as text, and the server's tokenizer makes tokens of them. Completions are always decoded from the prefix
alone; log-probabilities, where the server lists those of a prompt, are of prefix and target tokenised as one text.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from memaudit.backends.listing import Listing, Unscored, listing
from memaudit.backends.patience import Clock, Fault, Patience, Unanswered
from memaudit.backends.protocol import About, Question, Said, budget
from memaudit.backends.wire import Address, Refused, Wire
from memaudit.errors import BadInput
from memaudit.records import Scores

_T = TypeVar("_T")

_GREEDY = {"temperature": 0, "n": 1, "stream": False, "frequency_penalty": 0, "presence_penalty": 0}
_NEUTRAL = {"repeat_penalty": 1.0, "repetition_penalty": 1.0}
"""Not of the protocol; but llama-cpp-python's default, and vLLM's for many a model, is not greedy decoding."""
_CLOCK = Clock()
_BYTES = 3  # of a token of code, where nothing else is known
_TOO_MUCH = (400, 413, 422)  # how a server refuses more tokens than it has room for
_UNKNOWN = (400, 422)  # how it refuses a field that it does not know
_UNABLE = (500, 501)  # how it fails at one
_REASONS = ("stop", "length", "content_filter")
_SHOWN = 20  # models that a message names
_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs, which no text may hold
_TRIALS = (
    "def add(a, b):\n    return a +",
    "import os\nimport sys\n\nfor name in",
    "class Point:\n    def __init__(self, x, y):\n        self.x =",
)
"""What the model is asked first. No token of what follows begins before the end."""

_LOSSES = (
    "The server's tokenizer is not known, so nothing is counted in its tokens.",
    "The server makes tokens of the prefix by itself: it may put a begin-of-text token before it, and may read text "
    "that spells a special token as that token.",
    "The server is trusted to decode greedily, with no stop strings or biases of its own.",
    "Special tokens of completions are not seen.",
)
_PENALTY = (
    "The server takes no field that switches a penalty for repetition off: if it has one by default, it does not "
    "decode greedily."
)
_UNSCORED = "so there are no log-probabilities, no (n, p)-extraction and no membership attacks."
_BORDER = (
    "Log-probabilities are of prefix and target tokenised as one text: a target whose first token begins in its prefix "
    "has none."
)


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """What a server said, once it has its form."""

    text: str
    ended: bool
    cut: bool
    """It would have gone on."""
    fingerprint: str
    """What the server calls the state that it is in; empty where it does not."""


class Completions:
    """A backend over HTTP. Threads may share it.

    Attributes:
        noted: What was not known of a question, and why -> how many questions.
    """

    batch = 1

    def __init__(
        self,
        *,
        url: str,
        model: str | None = None,
        key: str | None = None,
        parallel: int = 4,
        rate: float | None = None,
        attempts: int = 6,
        timeout: float = 60.0,
        clock: Clock = _CLOCK,
    ) -> None:
        """Asks the server a few things of no consequence, to know what it can do.

        Args:
            url: Its base, such as http://host:8000/v1, or the whole of .../completions. No credentials.
            model: As the server calls it. None: the one that it has.
            key: What the environment variable MEMAUDIT_API_KEY held. Sent to the server, and put nowhere else.
            parallel: Calls that may be open at once.
            rate: Requests in a second, of all calls together. None: any number.
            attempts: At each request, before the audit is given up.
            timeout: Seconds after which a request is given up, whatever the server has sent of its answer.
            clock: Time and chance of the pauses between attempts.

        Raises:
            BadInput: An option is none, or the server does not complete text.
        """
        _check("parallel", parallel, 1, 1024, whole=True)
        _check("attempts", attempts, 1, 100, whole=True)
        _check("timeout", timeout, 1e-3, 86_400, whole=False)
        if rate is not None:
            _check("rate", rate, 1e-3, 1e6, whole=False)
        if key is not None and not (
            isinstance(key, str) and key.isascii() and key.isprintable() and key.split() == [key]
        ):
            raise BadInput(
                "expected a key of printable ASCII without blanks, got another: set the environment variable "
                "MEMAUDIT_API_KEY to the key and nothing else"
            )
        self.parallel = parallel
        self.noted: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._patience = Patience(attempts=attempts, rate=rate, clock=clock)
        self._wire = Wire(Address.of(url), key=key, timeout=timeout)
        try:
            self._model = self._only_model() if model is None else model
            if not isinstance(self._model, str) or not self._model:
                raise BadInput(
                    "expected `model` to be a name, got none: set it to a model that the server has"
                )
            self._fields: dict[str, Any] = {"model": self._model, **_GREEDY, **_NEUTRAL}
            self.about = self._introduce()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"Completions({self._wire.address.base!r}, {self._model!r})"

    def __enter__(self) -> "Completions":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections. Nothing can be asked after that."""
        self._wire.close()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Nothing: a server does not tell its tokens."""
        return [[] for _ in texts]

    def score(self, questions: Sequence[Question]) -> list[Scores | None]:
        """What the server lists of each target, behind its prefix. None where that is not of the target alone."""
        return [self._score(question) if self.about.scores else None for question in questions]

    def go_on(self, questions: Sequence[Question], scores: Sequence[Scores | None]) -> list[Said]:
        """Complete each prefix.

        Where scores tell how many tokens a target has, that decides how many are asked for. Elsewhere it is guessed
        from its bytes, and where what comes is cut before it has as many characters as the target, twice as many are
        asked for, until it has: a token has a byte at least.
        """
        return [self._complete(*both) for both in zip(questions, scores, strict=True)]

    def _complete(self, question: Question, scores: Scores | None) -> Said:
        size = len(question.target.encode())
        tokens = budget(len(scores.logprobs) if scores else -(-size // _BYTES))
        choice = self._decode(question.prefix, tokens)
        while not scores and choice.cut and len(choice.text) < len(question.target) and tokens < budget(size):
            tokens *= 2
            try:
                longer = self._decode(question.prefix, tokens)
            except Refused as refused:
                if refused.status in _TOO_MUCH:
                    break  # the server's context ends here
                raise
            if len(longer.text) <= len(choice.text):
                break
            choice = longer
        if not choice.ended and not choice.cut:
            self._note("completion withheld by the server's filter")
        return Said(text=choice.text, ended=choice.ended)

    def _score(self, question: Question) -> Scores | None:
        try:
            listed = self._list(question.prefix + question.target, _listing)
            return listed.scores(question.prefix, question.target)
        except Refused as refused:
            if refused.status not in _TOO_MUCH:
                raise
            self._note("no log-probabilities: the server refused the text")
        except Unscored as unscored:
            self._note(f"no log-probabilities: {unscored}")
        return None

    def _note(self, what: str) -> None:
        with self._lock:
            self.noted[what] += 1

    def _decode(self, prompt: str, tokens: int) -> _Choice:
        return self._ask("completion", {"prompt": prompt, "max_tokens": tokens}, _choice)

    def _list(self, text: str, form: Callable[[dict[str, Any]], _T]) -> _T:
        # One token more, because some servers take 0 for as many as there is room for.
        fields = {"prompt": text, "max_tokens": 1, "echo": True, "logprobs": 1}
        return self._ask("log-probabilities", fields, form)

    def _ask(self, what: str, fields: Mapping[str, Any], form: Callable[[dict[str, Any]], _T]) -> _T:
        body = {**self._fields, **fields}
        return self._patience.ask(
            lambda: form(self._wire.post("completions", body)), f"{self._wire.address.base}, {what}"
        )

    def _only_model(self) -> str:
        base = self._wire.address.base
        models = self._patience.ask(lambda: _models(self._wire.get("models")), f"{base}, models")
        if len(models) != 1:
            names = ", ".join(self._wire.shown(name) for name in models[:_SHOWN]) or "none"
            more = ", ..." if len(models) > _SHOWN else ""
            raise BadInput(
                f"{base}: expected one model, got {len(models)}: {names}{more}; set `model` to one of them"
            )
        return models[0]

    def _introduce(self) -> About:
        losses = [*_LOSSES]
        try:
            choice = self._decode(_TRIALS[0], 1)
        except Refused as refused:
            if refused.status not in _UNKNOWN:
                raise
            for name in _NEUTRAL:
                del self._fields[name]
            choice = self._decode(_TRIALS[0], 1)
            losses.append(_PENALTY)
        base = self._wire.address.base
        if choice.text.startswith(_TRIALS[0]):
            raise BadInput(
                f"{base}: expected what follows a prompt, got the prompt again: set the server to leave it out"
            )
        reason = self._why_unscored()
        losses.append(_BORDER if reason is None else f"{reason}, {_UNSCORED}")
        names = [base, self._model, choice.fingerprint]
        return About(
            kind="http",
            name=base,
            identity=" ".join(self._wire.shown(name) for name in names if name),
            deterministic=False,  # a server puts requests together as they come, and sums differ in their last digits
            scores=reason is None,
            losses=tuple(losses),
        )

    def _why_unscored(self) -> str | None:
        """Why there are no log-probabilities; None where there are.

        A token that the server decodes has to be the likeliest in what it lists of the same text. That does not hold
        where the list is shifted by a token, as llama-cpp-python's is without a begin-of-text token, or where greedy
        decoding is not what was done.
        """
        agreed, reason = False, ""
        for prompt in _TRIALS:
            said = self._decode(prompt, 1).text
            try:
                listed = self._list(prompt + said, lambda answer: listing(_only(answer).get("logprobs")))
            except Refused as refused:
                if refused.status not in _UNKNOWN:
                    raise
                return "The server refuses to list the log-probabilities of a prompt"
            except Unanswered as unanswered:
                if unanswered.fault.status not in _UNABLE:
                    raise
                return f"The server answers with status {unanswered.fault.status} where log-probabilities are asked for"
            if listed is None:
                return "The server does not list the log-probabilities of a prompt"
            try:
                hits = listed.scores(prompt, said).argmax
            except Unscored as unscored:
                reason = str(unscored)
                continue
            if not all(hits):
                return "The server lists log-probabilities that are at odds with what it decodes"
            agreed = agreed or bool(hits)
        if agreed:
            return None
        return f"The server lists log-probabilities that could not be checked ({reason or 'it said nothing'})"


def _check(name: str, value: Any, least: float, most: float, *, whole: bool) -> None:
    right = type(value) is int or (type(value) is float and not whole)
    if not (right and least <= value <= most):
        kind = "a whole number" if whole else "a number"
        got = repr(value) if isinstance(value, int | float) else type(value).__name__
        raise BadInput(f"expected `{name}` to be {kind} from {least:g} to {most:g}, got {got}")


def _only(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one choice of an answer."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        raise Fault("JSON without one choice")
    return choices[0]


def _choice(answer: dict[str, Any]) -> _Choice:
    found = _only(answer)
    text, reason, fingerprint = (
        found.get("text"),
        found.get("finish_reason"),
        answer.get("system_fingerprint"),
    )
    if not isinstance(text, str):
        raise Fault("a choice without a text")
    if reason not in _REASONS:
        raise Fault("a choice that neither ended nor was cut")
    return _Choice(
        text=_HALVES.sub("\ufffd", text),
        ended=reason == "stop",
        cut=reason == "length",
        fingerprint=fingerprint if isinstance(fingerprint, str) else "",
    )


def _listing(answer: dict[str, Any]) -> Listing:
    found = listing(_only(answer).get("logprobs"))
    if found is None:
        raise Fault("a choice without log-probabilities")
    return found


def _models(answer: dict[str, Any]) -> list[str]:
    found = answer.get("data")
    if not isinstance(found, list):
        raise Fault("JSON that lists no models")
    names = [model.get("id") if isinstance(model, Mapping) else None for model in found]
    models = [name for name in names if isinstance(name, str) and name]
    if len(models) != len(names):
        raise Fault("JSON that lists models without names")
    return models
