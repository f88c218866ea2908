"""The worst leaks, with their evidence: the training text and what the model said, aligned, secrets masked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from memaudit.cases import Case, Facts
from memaudit.ledger import Ledger
from memaudit.records import Example, Probe
from probes import align
from reports import Redactor, named
from reports import findings as contract

_PREFIX_SHOWN = 240  # characters of the prompt that stand above a diff
_FOREIGN_FRAGMENT = 12  # characters of another example's secret


@dataclass(frozen=True, kw_only=True)
class Leak:
    """An example that came out of the twin that saw it, and not of its control."""

    case: Case
    stage: str
    """The first stage after which it did."""
    secret: bool
    """Its secret came out whole."""
    distance: float
    """Normalised, of the completion at level `exact`."""
    control: float
    """The same for the control."""


def find_leaks(facts: Facts) -> list[Leak]:
    """What came out of the twin that saw it and not of the other: each example once, at its first stage; worst first.

    Worst: a whole secret before code, then the nearest copy, then the one its control was farthest from.
    """
    leaks: list[Leak] = []
    default = facts.definitions[0]
    for case in facts.cases:
        for stage in facts.stages:
            if facts.exposure[stage, case.example.cohort or ""] == "none":
                continue
            arms = facts.arms(stage, case, "exact", default)
            secret = bool(facts.secret_out(stage, case.exposed, case)) and not facts.secret_out(
                stage, case.control, case
            )
            if not (secret or (arms is not None and arms[0] and not arms[1])):
                continue
            leaks.append(
                Leak(
                    case=case,
                    stage=stage,
                    secret=secret,
                    distance=facts.observation(stage, case.exposed, case).matches["exact"].normalized,
                    control=facts.observation(stage, case.control, case).matches["exact"].normalized,
                )
            )
            break
    return sorted(leaks, key=lambda k: (not k.secret, k.distance, -k.control, k.case.example.id))


def show(facts: Facts, leaks: Sequence[Leak], *, reveal: bool = False) -> list[contract.Evidence]:
    """The leaks side by side with their training texts; with `reveal` nothing is masked."""
    everyone = masking(facts.ledger)
    shown = []
    for leak in leaks:
        example = leak.case.example
        observation = facts.observation(leak.stage, leak.case.exposed, leak.case)
        prefix, segments = side_by_side(
            example, leak.case.probe, observation.completion, everyone, reveal=reveal
        )
        shown.append(
            contract.Evidence(
                example=example.id,
                stage=leak.stage,
                twin=leak.case.exposed,
                cohort=example.cohort or "",
                kind=example.kind,
                source=example.source,
                first_line=example.first_line,
                last_line=example.last_line,
                repetition=example.repetition or 0,
                normalized=round(leak.distance, 6),
                control_normalized=round(leak.control, 6),
                secret=secret_state(observation.recovered),
                secrets=pseudonyms(example, everyone.numbers),
                prefix=prefix,
                segments=segments,
            )
        )
    return shown


def numbering(ledger: Ledger) -> dict[str, int]:
    """The pseudonym of each secret of a ledger: its number in the order of the examples' ids, which are hashes."""
    texts = (text for e in ledger.examples(probed=False) for text in _secrets(e))
    return {text: number for number, text in enumerate(dict.fromkeys(texts), 1)}


def masking(ledger: Ledger) -> Redactor:
    """Masks every secret of a ledger.

    A completion may hold another example's secret, so all of them are masked everywhere; but of those only fragments
    too long to be a word of ordinary code.
    """
    return Redactor(numbering(ledger), smallest=_FOREIGN_FRAGMENT)


def pseudonyms(example: Example, numbers: Mapping[str, int]) -> list[int]:
    """The numbers of an example's secrets, in the order in which they stand in it."""
    return list(dict.fromkeys(numbers[text] for text in _secrets(example)))


def _secrets(example: Example) -> list[str]:
    return [example.text[s.start : s.end] for s in example.secrets]


def side_by_side(
    example: Example, probe: Probe, completion: str, everyone: Redactor, *, reveal: bool = False
) -> tuple[str, list[contract.Segment]]:
    """The end of the prefix, and target and completion aligned, all of it masked; with `reveal` nothing is."""
    secrets = _secrets(example)
    own = Redactor(secrets, like=everyone)
    segments = align(
        probe.target.encode(),
        completion[: len(probe.target)].encode(),
        prompt=probe.prefix.encode(),
        language=example.language,
        secrets=[s.encode() for s in secrets],
    )
    if reveal:
        return probe.prefix[-_PREFIX_SHOWN:], [
            contract.Segment(op=s.op, reason=s.reason, target=s.target, completion=s.completion)
            for s in segments
        ]
    # A secret may lie across the end of the prefix: each side is looked through together with the text before it.
    before = probe.prefix[-_PREFIX_SHOWN:]
    trained = _hidden(probe.prefix + "".join(s.target for s in segments), own, everyone)
    heard = _hidden(before + "".join(s.completion for s in segments), own, everyone)
    end = len(probe.prefix)
    shared = zip(trained[end - len(before) : end], heard, strict=False)
    target, said = iter(trained[end:]), iter(heard[len(before) :])
    return named(before, [one or other for one, other in shared]), [
        contract.Segment(
            op=s.op,
            reason=s.reason,
            # What is hidden is looked for in whole texts; a number is written into what of it lies in one piece.
            target=named(s.target, list(islice(target, len(s.target)))),
            completion=named(s.completion, list(islice(said, len(s.completion)))),
        )
        for s in segments
    ]


def _hidden(text: str, *redactors: Redactor) -> list[int]:
    """What any of the redactors hides is hidden, by the first that does; each sees the text as it is."""
    return [
        next(filter(None, numbers), 0)
        for numbers in zip(*(redactor.hidden(text) for redactor in redactors), strict=True)
    ]


def secret_state(recovered: Mapping[int, tuple[int, int]]) -> str | None:
    """How much of an example's secrets came out: whole, `prefix 12 of 40`, none; None: it has none."""
    if not recovered:
        return None
    got, total = max(recovered.values(), key=lambda r: r[0] / r[1])
    if got == total:
        return "whole"
    return f"prefix {got} of {total}" if got else "none"
