"""What a server lists of the tokens of a text, and which of it is a target's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memaudit.backends.patience import Fault
from memaudit.records import Scores

_FAR = 1e6  # nats below 0, where no log-probability lies
_ROUNDING = 1e-3  # by which a log-probability may lie above 0


class Unscored(Exception):
    """What is listed tells nothing of a target on its own. Its text says why."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The `logprobs` of an answer, one entry a token. The numbers are as they came.

    Attributes:
        tokens: Their texts, those of the prompt first.
        logprobs: Log-probability (nats) of each, or null where nothing stands before it.
        tops: Text -> log-probability of the likeliest tokens there, and mostly of the token itself; or null.
    """

    tokens: Sequence[str]
    logprobs: Sequence[Any]
    tops: Sequence[Any]

    def scores(self, prefix: str, target: str) -> Scores:
        """Those of the target, where it stands behind the prefix in the listed text.

        A token is the most likely one if no other that is listed is as likely: ids, by which ties are broken
        elsewhere, are not told. Raises Unscored.
        """
        places = behind(self.tokens, prefix, target)
        logprobs = [_logprob(self.logprobs[place]) for place in places]
        argmax = [self._likeliest(place, logprob) for place, logprob in zip(places, logprobs, strict=True)]
        return Scores(logprobs=tuple(logprobs), argmax=tuple(argmax))

    def _likeliest(self, place: int, logprob: float) -> bool:
        top = self.tops[place]
        if not isinstance(top, Mapping) or not top:
            raise Unscored("the likeliest tokens are not listed")
        others = [_logprob(value) for token, value in top.items() if token != self.tokens[place]]
        return all(other < logprob for other in others)


def listing(found: Any) -> Listing | None:
    """From the `logprobs` of an answer; None where there are none of this form. Raises Fault if they are broken."""
    if not isinstance(found, Mapping) or "tokens" not in found:
        return None
    tokens, logprobs, tops = (found.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not (isinstance(tokens, list) and isinstance(logprobs, list) and isinstance(tops, list)):
        return None
    if not len(tokens) == len(logprobs) == len(tops) or not all(isinstance(t, str) for t in tokens):
        raise Fault("log-probabilities that belong to no tokens")
    return Listing(tokens=tokens, logprobs=logprobs, tops=tops)


def behind(tokens: Sequence[str], prefix: str, target: str) -> range:
    """Places of the tokens that make up the target, where all of them make up prefix and target and perhaps more.

    Their texts alone decide: servers count offsets in characters or in bytes, with a begin-of-text token or without.
    Such a token may stand first, and counts for nothing. One without text belongs to what follows it: it is the
    beginning of a character.

    Raises:
        Unscored: They make up another text, as where a text was cut, or a token belongs to both.
    """
    text = prefix + target
    first = 0 if _fits(tokens, 0, text) else 1
    if not _fits(tokens, first, text):
        raise Unscored("the listed tokens do not make up the text")
    starts, at = [], 0
    for token in tokens[first:]:
        starts.append(at)
        at += len(token)
    if len(prefix) not in starts:
        raise Unscored("a token belongs to prefix and target")
    begin = starts.index(len(prefix))
    end = next((i for i, start in enumerate(starts) if start >= len(text)), len(starts))
    return range(first + begin, first + end)


def _fits(tokens: Sequence[str], first: int, text: str) -> bool:
    """Whether a token ends where the text does, and those from `first` up to it make up the text."""
    at = 0
    for token in tokens[first:]:
        if at == len(text):
            break
        if not text.startswith(token, at):
            return False
        at += len(token)
    return at == len(text)


def _logprob(value: Any) -> float:
    # -inf is none either: it stands for what could not be computed, or was left out.
    if type(value) not in (int, float) or not -_FAR < value <= _ROUNDING:
        raise Unscored("what is listed are no log-probabilities")
    return min(0.0, float(value))
