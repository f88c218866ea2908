"""Does a model leak? What a tally says, in plain English, and what it does not tell."""

from collections.abc import Iterator
from itertools import groupby

from reports.audited import Checkpoint, checkpoints, controlled, ends, finished, passages, passed
from reports.phrases import measured
from reports.statement import Name, Part, Quoted, Statement, claim, come, fact, judged, manner
from reports.tally import CheckpointRow, Passage, Tally


def answers(tally: Tally) -> list[Statement]:
    """Return what was found, topic by topic: first whether it leaks."""
    found = ends(checkpoints(tally))
    if not found:
        return [fact("Nothing measured", "Nothing was measured: no probe was asked.")]
    writer = _Writer(tally)
    return [
        *(writer.leak(checkpoint) for checkpoint in found),
        *(said for checkpoint in found for said in writer.secrets(checkpoint)),
        *(said for checkpoint in found for said in writer.forms(checkpoint)),
        *(writer.passage(passage) for passage in passages(tally)),
        *(said for checkpoint in found for said in writer.noise(checkpoint)),
        *writer.leaks(found[-1]),
    ]


class _Writer:
    """Knows the tally while its statements are made."""

    def __init__(self, tally: Tally):
        self.tally = tally
        self.finished = finished(tally)
        self.control = "what the training began with" if tally.weak_control else "the control"

    def leak(self, checkpoint: Checkpoint) -> Statement:
        """Answer the question of the page for one checkpoint."""
        row = checkpoint.main.row
        probes = "probe" if row.model.total == 1 else "probes"
        parts = [self._opening(row), *self._place(checkpoint, " after ")]
        parts += [f": {row.model.count} of {row.model.total} {probes} "]
        parts += [f"({measured(row.model, self.tally.confidence)}) {come(row.model.count)} out "]
        parts += [*manner(row.level, row.definition), *_verbatim(checkpoint), *self._against(row)]
        if row.control is None and row.model.count:
            parts.append(" There was no control: what comes out may have been guessed.")
        return self._judged("Answer", row, parts)

    def secrets(self, checkpoint: Checkpoint) -> Iterator[Statement]:
        """Count the secrets that came out whole."""
        row = checkpoint.main.others.get("secret")
        if row is None or row.model.total == 0:
            return
        probes = "probe that holds" if row.model.total == 1 else "probes that hold"
        parts: list[Part] = [
            f"Of the {row.model.total} {probes} a secret, it came out whole in {row.model.count}"
        ]
        parts += [*self._place(checkpoint, " after ")]
        parts += [f" ({measured(row.model, self.tally.confidence)})", *self._against(row)]
        yield self._judged("Secrets", row, parts)

    def forms(self, checkpoint: Checkpoint) -> Iterator[Statement]:
        """Tell what comes out at the levels that compare less of the writing."""
        lines = checkpoint.kinds[0][1][1:]
        if not lines:
            return
        first = lines[0].row.model
        parts: list[Part] = ["Where less of the writing is compared, "]
        for place, line in enumerate(lines):
            count = line.row.model.count
            said = f"{count} of {first.total} {come(count)} out at level " if place == 0 else f"{count} at "
            parts += [_between(place, len(lines)), said, Name(line.level)]
        parts += self._place(checkpoint, " after ")
        theirs = [line.row.control.count for line in lines if line.row.control is not None]
        if theirs:
            counts = "".join(f"{_between(place, len(theirs))}{n}" for place, n in enumerate(theirs))
            parts.append(f"; of {self.control} {counts}")
        yield fact("In another form", *parts, ".")

    def passage(self, passage: Passage) -> Statement:
        """Tell what came out in passing."""
        asked, came, gone = passage.asked, passage.asked - passage.never, passed(passage)
        parts: list[Part] = [f"Of {asked} probes that were asked at {len(passage.steps)} steps of "]
        parts += [Name(passage.stage), f", {came or 'none'} came out at one of them or more"]
        if came:
            parts.append(f": {came - gone} at the last one asked, {gone} only before")
            parts.append(", which an audit of the end alone would have missed" if gone else "")
        if passage.first_out[0]:
            parts.append(f". {passage.first_out[0]} of them came out at the first one asked already")
        return fact("In passing", *parts, ".")

    def noise(self, checkpoint: Checkpoint) -> Iterator[Statement]:
        """Tell how many verdicts flipped when they were asked for once more."""
        row = checkpoint.main.row
        if row.flips is None:
            return
        parts: list[Part] = ["Asked once more, in another order and batch size"]
        parts += [*self._place(checkpoint, ", after "), f", {row.flips.count} of {row.flips.total} verdicts "]
        parts.append(f"flipped ({measured(row.flips)}).")
        if row.difference is not None and row.flips.rate >= abs(row.difference.value) > 0:
            parts.append(" That is no less than the difference from the control, which may be noise.")
        yield fact("Noise", *parts)

    def leaks(self, last: Checkpoint) -> Iterator[Statement]:
        """Count the probes that the page shows some of."""
        total = self.tally.leaks_total
        if total == 0:
            return
        parts: list[Part] = [f"{total} {'probe' if total == 1 else 'probes'} came out"]
        parts += [*self._place(last, " after "), ", by the text or by a whole secret"]
        if controlled(self.tally):
            parts.append(f", and not of {self.control}")
        shown = len(self.tally.leaks)
        parts.append(f": the worst {shown} are shown." if 1 < shown < total else ".")
        yield fact("Evidence", *parts)

    def _opening(self, row: CheckpointRow) -> str:
        if row.model.count == 0:
            return "Nothing comes out"
        if row.difference is None:
            return "Texts come out"
        # More than a weak control says may be better guessing.
        leaks = "It seems to leak" if self.tally.weak_control else "It leaks"
        words = {"more": leaks, "less": "The counts show no leak"}
        return words.get(judged(row.difference), "The counts leave open whether it leaks")

    def _place(self, checkpoint: Checkpoint, before: str) -> list[Part]:
        return [] if self.finished else [f"{before}step {checkpoint.step} of ", Name(checkpoint.stage)]

    def _against(self, row: CheckpointRow) -> list[Part]:
        if row.control is None or row.difference is None:
            return ["."]
        theirs = f"{row.control.count} of {row.control.total} ({measured(row.control)})"
        return [f"; of {self.control} {theirs}. {claim(row.difference)}"]

    def _judged(self, topic: str, row: CheckpointRow, parts: list[Part]) -> Statement:
        verdict = "fact" if row.difference is None else judged(row.difference)
        return Statement(topic=topic, verdict=verdict, parts=tuple(parts))


def _verbatim(checkpoint: Checkpoint) -> list[Part]:
    equal = checkpoint.main.others.get("equal")
    if equal is None or checkpoint.main.row.model.count == 0:
        return []
    return [f", {equal.model.count} of them verbatim"]


def _between(place: int, count: int) -> str:
    return "" if place == 0 else " and " if place == count - 1 else ", "


def caveats(tally: Tally) -> list[Statement]:
    """Return what was not tested or is not known, topic by topic."""
    return [
        *_control(tally),
        *_noise(tally),
        *_losses(tally),
        *_bounds(tally),
        *_untested(tally),
    ]


def _control(tally: Tally) -> Iterator[Statement]:
    if not tally.rows:
        return
    if tally.weak_control:
        yield fact(
            "Weak control",
            "The control is an earlier checkpoint of the same training, which knows less in every way: part of the "
            "difference may be better guessing, and not memory of these texts.",
        )
    elif controlled(tally):
        yield fact("Control", "That the control has not seen these texts is taken on trust.")
    else:
        yield fact(
            "No control",
            "No model that has not seen these texts was asked beside this one: what was learned and what can be "
            "guessed are not told apart.",
        )


def _noise(tally: Tally) -> Iterator[Statement]:
    twice = any(row.flips is not None for row in tally.rows)
    if not twice and tally.rows:
        yield fact("Noise", "No probe was asked twice, so how much of this is noise is not known.")
    unsteady = [asked.role for asked in tally.asked if not asked.deterministic]
    if unsteady:
        who = f"The {' and the '.join(unsteady)}"
        yield fact("Answers", f"{who} may answer the same questions in another way the next time.")


def _losses(tally: Tally) -> Iterator[Statement]:
    """A sentence that holds of both models is written once."""
    known: dict[str, list[str]] = {}
    for asked in tally.asked:
        for loss in asked.losses:
            known.setdefault(loss, []).append(asked.role)
    for roles, losses in groupby(known, lambda loss: known[loss]):
        topic = f"Of the {' and the '.join(dict.fromkeys(roles))}"
        yield from (fact(topic, Quoted(loss)) for loss in losses)


def _bounds(tally: Tally) -> Iterator[Statement]:
    if tally.rows and not tally.full:
        yield fact(
            "Distances",
            "Completions were decoded only until their verdict was certain: distances beyond the threshold of "
            f"{tally.threshold:g} are lower bounds.",
        )


def _untested(tally: Tally) -> Iterator[Statement]:
    if not tally.rows:
        return
    if not any(row.definition == "secret" and row.model.total for row in tally.rows):
        yield fact("Secrets", "No probe holds a known secret, so nothing is known of secrets.")
    for checkpoint in ends(checkpoints(tally)):
        asked = checkpoint.main.row.model.total
        if asked < tally.probes:
            where = [] if finished(tally) else [f" after step {checkpoint.step} of ", Name(checkpoint.stage)]
            yield fact("Not asked", f"Of {tally.probes} probes {asked} were asked", *where, ".")
    yield fact(
        "Other questions",
        "One greedy completion of each probe was asked for: sampling, other prompts or longer prefixes may bring out "
        "more. Intervals speak only of texts drawn as these were.",
    )
