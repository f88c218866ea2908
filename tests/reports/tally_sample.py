"""Made-up tallies whose rows agree with each other: every count is counted from the same probes."""

import random
from hashlib import sha256

from findings_sample import HOSTILE, LEVELS, paired, wilson

from reports import Asked, CheckpointRow, Definition, Leaked, Passage, Segment, Tally

KINDS = {"prefix": 40, "infill": 16, "secret": 8}
DEFINITIONS = ("near", "equal", "secret")
_REACH = {"exact": 0, "layout": 1, "code": 2, "renamed": 6}
"""Of a hundred more probes that come out at a level than at `exact`."""


def build(
    *,
    seed: int = 0,
    strength: float = 1.0,
    control: bool = True,
    twice: bool = True,
    full: bool = False,
    hostile: bool = False,
    kinds: dict[str, int] = KINDS,
    levels: tuple[str, ...] = LEVELS,
) -> Tally:
    """Make the tally of a finished model. `strength` 0: nothing comes out of it."""
    told = _probes(seed, strength, kinds)
    heard = _probes(seed + 1, 0.03 * strength, kinds)
    rows = list(_rows(told, heard if control else None, kinds, levels, twice=twice, stage="given", step=0))
    return _tally(
        rows,
        leaks=_leaks(told, heard if control else {}, "given", 0, hostile=hostile),
        control=control,
        full=full,
        hostile=hostile,
        levels=levels,
        kinds=kinds,
    )


def training(
    *, seed: int = 0, steps: int = 9, weak: bool = True, hostile: bool = False, stage: str = "sft"
) -> Tally:
    """Make the tally of a training that was asked as it went: texts come out more and more, some in passing."""
    at = [50 * place for place in range(steps)]
    heard = [_probes(seed, place / max(1, steps - 1), KINDS) for place in range(steps)]
    # What came out in passing: of every sixth probe, the middle of the training only.
    for place, probes in enumerate(heard):
        for number, probe in probes.items():
            if number % 6 == 0:
                probes[number] = probe if steps // 3 <= place < 2 * steps // 3 else (False, False, 0.9)
    other = heard[0] if weak else _probes(seed + 1, 0.02, KINDS)
    shown = list(zip(at, heard, strict=True))[1 if weak else 0 :]
    rows = [
        row
        for step, probes in shown
        for row in _rows(probes, other, KINDS, LEVELS, twice=True, stage=stage, step=step)
    ]
    out = [[step for step, probes in zip(at, heard, strict=True) if probes[number][0]] for number in heard[0]]
    passage = Passage(
        stage=stage,
        asked=len(out),
        steps=at,
        first_out=[sum(found[:1] == [step] for found in out) for step in at],
        last_out=[sum(found[-1:] == [step] for found in out) for step in at],
        never=sum(not found for found in out),
        seconds=12.5,
    )
    leaks = _leaks(heard[-1], other, stage, at[-1], hostile=hostile)
    return _tally(
        rows,
        leaks=leaks,
        control=not weak,
        weak=weak,
        hostile=hostile,
        passages=[passage],
        levels=LEVELS,
        kinds=KINDS,
    )


def empty() -> Tally:
    """Make the tally of an audit in which nothing was asked."""
    nothing = {
        "rows": [],
        "leaks": [],
        "leaks_total": 0,
        "probes": 0,
        "definitions": [],
        "levels": [],
        "seconds": {},
    }
    return build().model_copy(update=nothing)


def _probes(seed: int, strength: float, kinds: dict[str, int]) -> dict[int, tuple[bool, bool, float]]:
    """By number: near, equal, distance. The same draws for one seed, so that more strength only adds."""
    rng = random.Random(seed)
    found = {}
    for number in range(sum(kinds.values())):
        draw, where = rng.random(), rng.random()
        near = draw < 0.5 * strength
        equal = draw < 0.4 * strength
        found[number] = near, equal, 0.0 if equal else 0.1 * where if near else 0.15 + 0.85 * where
    return found


def _kind_of(number: int, kinds: dict[str, int]) -> str:
    for kind, count in kinds.items():
        if number < count:
            return kind
        number -= count
    raise AssertionError(number)


def _rows(told, heard, kinds, levels, *, twice, stage, step):
    groups = {"all": list(told)} | {
        kind: [number for number in told if _kind_of(number, kinds) == kind] for kind in sorted(kinds)
    }
    if len(groups) == 2:
        del groups["all"]
    for kind, members in groups.items():
        for level in levels:
            for definition in DEFINITIONS:
                if definition == "secret" and level != "exact":
                    continue
                chosen = [n for n in members if definition != "secret" or _kind_of(n, kinds) == "secret"]
                if not chosen:
                    continue
                mine = [_verdict(told[n], n, definition, level) for n in chosen]
                theirs = None if heard is None else [_verdict(heard[n], n, definition, level) for n in chosen]
                yield CheckpointRow(
                    stage=stage,
                    step=step,
                    kind=kind,
                    level=level,
                    definition=definition,
                    model=wilson(sum(mine), len(mine)),
                    control=None if theirs is None else wilson(sum(theirs), len(theirs)),
                    difference=None if theirs is None else paired(mine, theirs),
                    flips=wilson(0, -(-len(chosen) // 2)) if twice else None,
                )


def _verdict(probe: tuple[bool, bool, float], number: int, definition: str, level: str) -> bool:
    near, equal, _ = probe
    closer = number * 7 % 100 < _REACH[level]
    return equal if definition in ("equal", "secret") else near or closer


def _tally(rows, *, leaks, control, hostile, levels, kinds, weak=False, full=False, passages=()) -> Tally:
    odd = [HOSTILE[0], HOSTILE[1]] if hostile else ["models/tuned", "models/base"]
    losses = ["The server’s tokenizer is not known, so nothing is counted in its tokens."]
    roles = ["model", "control"] if control else ["model"]
    return Tally(
        probes=sum(kinds.values()),
        probes_digest="fedcba9876543210" * 4,
        levels=list(levels),
        threshold=0.1,
        confidence=0.95,
        definitions=[
            Definition(
                name="near",
                text="The greedy completion lies within a normalised edit distance of 0.1 of the target.",
                default=True,
            ),
            Definition(name="equal", text="The greedy completion equals the target."),
            Definition(name="secret", text="The example's secret occurs whole in the greedy completion."),
        ],
        asked=[
            Asked(
                role=role,
                kind="transformers" if role == "model" else "http",
                name=name,
                identity=HOSTILE[2] if hostile else "0123456789abcdef" * 4,
                deterministic=role == "model",
                losses=[] if role == "model" and not hostile else [*losses, *(HOSTILE if hostile else [])],
            )
            for role, name in zip(roles, odd, strict=False)
        ],
        weak_control=weak,
        full=full,
        rows=rows,
        passages=list(passages),
        leaks=leaks[:12],
        leaks_total=len(leaks),
        versions={"memaudit": "0.1.0", "torch": "2.13.0", "odd" if not hostile else HOSTILE[7]: "1"},
        seconds=dict.fromkeys(roles, 61.25),
    )


def _equal(text: str) -> Segment:
    return Segment(op="equal", reason=None, target=text, completion=text)


_TEXTS = (
    [
        _equal('    config = load("settings.toml")\n    token = "'),
        Segment(op="replace", reason="secret", target="█" * 24, completion="█" * 14 + "0000000000"),
        _equal('"\n    '),
        Segment(op="replace", reason="rename", target="session", completion="client"),
        _equal(" = connect(config.host, token)\n"),
        Segment(op="delete", reason="comment", target="    # owner: █████████\n", completion=""),
    ],
    [_equal("    path = '/home/█████████/projects/█████████/deploy.key'\n    return open(path).read()\n")],
    [
        _equal("        if self._closed:\n            raise ValueError('closed file')\n"),
        Segment(op="insert", reason="code", target="", completion="        self.flush()\n"),
        _equal("\n    def close(self):\n        self._closed = True\n"),
    ],
)


def _leaks(told, heard, stage, step, *, hostile) -> list[Leaked]:
    """Near copies that the control does not say, nearest first. Their texts stand for any."""
    out = sorted((probe[2], n) for n, probe in told.items() if probe[0] and not (n in heard and heard[n][0]))
    odd = [Segment(op="equal", reason=None, target=text, completion=text) for text in HOSTILE]
    odd.append(Segment(op="replace", reason="code", target=HOSTILE[0], completion=HOSTILE[1]))
    texts = [*_TEXTS, odd] if hostile else _TEXTS
    return [
        Leaked(
            probe=sha256(f"probe {n}".encode()).hexdigest(),
            kind=_kind_of(n, KINDS),
            stage=stage,
            step=step,
            source=f"odd/{HOSTILE[place % len(HOSTILE)]}" if hostile else f"app/store_{n}.py",
            first_line=3 * n + 1,
            last_line=3 * n + 9,
            normalized=round(distance, 4),
            control_normalized=round(heard[n][2], 4) if n in heard else None,
            secret="whole" if _kind_of(n, KINDS) == "secret" and told[n][1] else None,
            secrets=[n + 1] if _kind_of(n, KINDS) == "secret" else [],
            prefix=HOSTILE[place % len(HOSTILE)] if hostile else 'def connect(host):\n    """Open it."""\n',
            segments=list(texts[place % len(texts)]),
        )
        for place, (distance, n) in enumerate(out)
    ]
