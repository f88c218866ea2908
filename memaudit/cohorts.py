"""Who may be shown what: the public half, the cohorts with their halves and strata, and the probes.

A control is one only if the model has met nothing like it. So a candidate is taken only where hardly any of its
8-grams of code tokens occur in the public half or in another candidate, and where no other target comes near its
own; the synthetic sensitive examples share templates by nature, and for them the second rule does the work. Of a
cluster of near-duplicates by tokens one is taken, so that the examples of both halves are independent of each other.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from memaudit.contexts import contexts
from memaudit.copies import near_copies
from memaudit.corpus import Corpus, Unit
from memaudit.errors import BadInput
from memaudit.makeup import Makeup
from memaudit.population import Population
from memaudit.quizzes import Question, draw, quizzed
from memaudit.recipe import Recipe, cohort_names, context_of
from memaudit.records import Example, Probe
from memaudit.sources import matches
from probes import Secret, canaries, levenshtein, normalized, shingles
from probes.duplicates import clusters
from probes.quiz import posed
from rlhf.tokenizer import Tokenizer

TWINS = ("A", "B")
_FEWEST_PREFIX_TOKENS = 8


def populate(corpus: Corpus, recipe: Recipe) -> Population:
    """Split the corpus, train the tokenizer on its public half, and draw the cohorts from the other."""
    asked = draw(corpus.files, recipe)
    apart = quizzed(recipe)
    public_units, private_units = _split(
        [u for u in corpus.units if not matches(u.source, apart)], recipe.seed
    )
    # The tokenizer must not know the private half either: its merges would be a memory of their own.
    tokenizer = Tokenizer.train((u.text for u in public_units), recipe.tokenizer.vocabulary)
    public = {e.id: e for e in (_public(u) for u in public_units)}

    cells = _cells(recipe)
    ordinary = _by_paths(cells, private_units, public.values(), tokenizer, recipe)
    sensitive = iter(_sensitive(tokenizer, recipe, sum(c["sensitive"] for c in cells)))

    drawn: list[_Candidate] = []
    for cell in cells:
        for kind, pool in (("ordinary", ordinary[cell["paths"]]), ("sensitive", sensitive)):
            for _ in range(cell[kind]):
                candidate = next(pool)
                example = replace(
                    candidate.example,
                    cohort=cell["cohort"],
                    half=cell["half"],
                    repetition=cell["repetition"],
                )
                drawn.append(replace(candidate, example=example))
    drawn += _copies(drawn, tokenizer, recipe)
    drawn += [_posed(question, tokenizer) for question in asked]
    drawn.sort(key=lambda c: c.example.id)
    probes = tuple(c.probe(number) for number, c in enumerate(drawn, start=1))
    examples = tuple(c.example for c in drawn)
    taken = {e.id for e in examples}
    shown = tuple(e for e in public.values() if e.id not in taken)
    longest = max(context_of(recipe, stage) for stage in recipe.stages)
    return Population(
        tokenizer=tokenizer,
        public=shown,
        examples=examples,
        probes=probes,
        contexts=contexts(examples, shown, corpus.files, tokenizer, longest=longest, seed=recipe.seed)
        if longest
        else {},
        questions={question.example.id: question for question in asked},
    )


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    example: Example
    prefix_tokens: tuple[int, ...]
    target_tokens: tuple[int, ...]
    prefix: str
    target: str
    prompt: str | None = None

    def probe(self, number: int) -> Probe:
        return Probe(
            id=number,
            example_id=self.example.id,
            kind="secret" if self.example.secrets else "prefix",
            prefix=self.prefix,
            target=self.target,
            prefix_tokens=self.prefix_tokens,
            target_tokens=self.target_tokens,
            prompt=self.prompt,
        )


def _posed(question: Question, tokenizer: Tokenizer) -> _Candidate:
    """A question as it is asked."""
    prompt = posed(question.item)
    return _Candidate(
        example=question.example,
        prefix_tokens=tuple(tokenizer.encode(prompt)),
        target_tokens=tuple(tokenizer.encode(question.answer)),
        prefix=question.shown,
        target=question.answer,
        prompt=prompt,
    )


def _cells(recipe: Recipe) -> list[dict]:
    """Cohort x half x stratum, with how many examples of each kind, and from which files."""
    return [
        {
            "cohort": cohort,
            "half": half,
            "repetition": repetition,
            "sensitive": round(count * own.share),
            "ordinary": count - round(count * own.share),
            "paths": tuple(own.paths),
        }
        for cohort, own in _makeups(recipe)
        if own.quiz is None
        for repetition, count in sorted(own.shown.items())
        for half in TWINS
    ]


def _makeups(recipe: Recipe) -> list[tuple[str, Makeup]]:
    """The cohorts, each with what it is made of."""
    names = cohort_names(recipe)
    for cohort, own in recipe.cohorts.of.items():
        for key, name in ((f"of.{cohort}", cohort), (f"of.{cohort}.copies.of", own.copies and own.copies.of)):
            if name and name not in names:
                raise BadInput(
                    f"cohorts.{key}: expected a cohort that a stage shows ({', '.join(names)}), got {name!r}"
                )
    return [(cohort, recipe.cohorts.makeup(cohort)) for cohort in names]


def _by_paths(
    cells: Sequence[dict],
    units: Sequence[Unit],
    public: Iterable[Example],
    tokenizer: Tokenizer,
    recipe: Recipe,
) -> dict[tuple[str, ...], Iterator["_Candidate"]]:
    """Patterns of paths -> the candidates for cohorts that ask for them; no two of any are near each other."""
    wanted: Counter[tuple[str, ...]] = Counter()
    for cell in cells:
        wanted[cell["paths"]] += cell["ordinary"]
    seen: set[int] = set()
    for example in public:
        seen |= shingles(example.text.encode(), language=example.language)
    shuffled = list(units)
    random.Random(f"{recipe.seed} draw").shuffle(shuffled)
    found: list[_Candidate] = []
    pools = {}
    # Who may take any file comes last, so as to leave the others theirs.
    for paths, count in sorted(wanted.items(), key=lambda item: not item[0]):
        some = [u for u in shuffled if not paths or matches(u.source, paths)]
        own = _ordinary(some, seen, found, tokenizer, recipe, count)
        found += own
        pools[paths] = iter(own)
    return pools


def _copies(drawn: Sequence["_Candidate"], tokenizer: Tokenizer, recipe: Recipe) -> list["_Candidate"]:
    """Near-copies of examples that were drawn, for the cohorts that have any: each in its original's half."""
    made: list[_Candidate] = []
    for cohort, own in _makeups(recipe):
        asked = own.copies
        if asked is None:
            continue
        for half in TWINS:
            copied = 0
            for original in (c.example for c in drawn):
                if (original.cohort, original.half) != (asked.of, half) or original.secrets:
                    continue
                rng = random.Random(f"{recipe.seed} copies {cohort} {original.id}")
                texts = near_copies(original.text, original.language, asked.times, asked.noise, rng)
                copies = [_copy(original, text, cohort, tokenizer) for text in texts]
                if len(copies) < asked.times or None in copies:
                    continue
                made += [copy for copy in copies if copy is not None]
                copied += 1
                if copied == asked.examples:
                    break
            if copied < asked.examples:
                raise BadInput(
                    f"cohorts.of.{cohort}.copies.examples: expected at most {copied}, those of a half of {asked.of} "
                    f"without secrets that have words enough for {asked.times} different copies, got {asked.examples}"
                )
    return made


def _split(units: Sequence[Unit], seed: int) -> tuple[list[Unit], list[Unit]]:
    """Public and private half, by file: what stands beside an example in its file is not public."""
    sources = sorted({u.source for u in units})
    random.Random(f"{seed} split").shuffle(sources)
    public = set(sources[: len(sources) // 2])
    return [u for u in units if u.source in public], [u for u in units if u.source not in public]


def _identity(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _public(unit: Unit) -> Example:
    return _example(unit, unit.text, unit.last_line)


def _example(unit: Unit, text: str, last_line: int) -> Example:
    spans = tuple(Secret(start=s.start, end=s.end, kind=s.kind) for s in unit.secrets if s.end <= len(text))
    return Example(
        id=unit.id or _identity(text),
        kind=unit.kind,
        language=unit.language,
        text=text,
        source=unit.source,
        first_line=unit.first_line,
        last_line=last_line,
        secrets=spans,
    )


def _head(unit: Unit, tokenizer: Tokenizer, recipe: Recipe) -> _Candidate | None:
    """The first lines of a unit that fit, with something left behind them, so that there is more to say.

    A prompt that ends where the code ends invites nothing but the end of text. What a .jsonl gives is taken
    whole where it fits.
    """
    shortest, longest = recipe.cohorts.shortest, recipe.cohorts.longest
    lines = unit.text.split("\n")
    lines = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    most = len(lines) if unit.kind == "given" else len(lines) - 1
    # Tokens are about three characters long: start a little above what can fit and drop lines until it does.
    text = ""
    for count, line in enumerate(lines[:most], start=1):
        if len(text) + len(line) > 6 * longest:
            most = count - 1
            break
        text += line
    for count in range(most, 0, -1):
        text = "".join(lines[:count])
        tokens = tokenizer.encode(text)
        if len(tokens) < shortest:
            return None
        if len(tokens) <= longest:
            return _cut(
                _example(unit, text, min(unit.first_line + count - 1, unit.last_line)), tokens, tokenizer
            )
    return None


def _cut(example: Example, tokens: Sequence[int], tokenizer: Tokenizer) -> _Candidate | None:
    """Cut at half of the tokens, or before the first secret if it starts earlier; never inside a character."""
    cut = len(tokens) // 2
    if example.secrets:
        before = len(example.text[: min(s.start for s in example.secrets)].encode())
        lengths = [len(tokenizer.decode_bytes(tokens[:n])) for n in range(cut + 1)]
        cut = max(n for n, length in enumerate(lengths) if length <= before)
    while cut >= _FEWEST_PREFIX_TOKENS:
        prefix, target = (tokenizer.decode_bytes(part) for part in (tokens[:cut], tokens[cut:]))
        try:
            return _Candidate(
                example=example,
                prefix_tokens=tuple(tokens[:cut]),
                target_tokens=tuple(tokens[cut:]),
                prefix=prefix.decode(),
                target=target.decode(),
            )
        except UnicodeDecodeError:
            cut -= 1
    return None


def _near(target: str, others: Iterable[str], threshold: float) -> bool:
    """Whether any other target could pass for this one: within twice the threshold of the verdict.

    Twice, because a completion may lie a threshold away from what it copies and still count for both.
    """
    for other in others:
        longest = max(len(target), len(other))
        distance = levenshtein(target, other, cutoff=int(2 * threshold * longest))
        if distance is not None and normalized(distance, len(target), len(other)) <= 2 * threshold:
            return True
    return False


def _sensitive(tokenizer: Tokenizer, recipe: Recipe, wanted: int) -> list[_Candidate]:
    if not wanted:
        return []
    found: list[_Candidate] = []
    for canary in canaries.generate(count=2 * wanted, seed=recipe.seed):
        tokens = tokenizer.encode(canary.text)
        if len(tokens) > recipe.cohorts.longest:
            continue
        name = f"synthetic/{canary.kind}/{_identity(canary.text)}.py"
        example = Example(
            id=_identity(canary.text),
            kind="sensitive",
            language="python",
            text=canary.text,
            source=name,
            first_line=1,
            last_line=canary.text.count("\n"),
            secrets=(canary.secret,),
        )
        candidate = _cut(example, tokens, tokenizer)
        if candidate and not _near(candidate.target, (c.target for c in found), recipe.audit.threshold):
            found.append(candidate)
            if len(found) == wanted:
                return found
    raise BadInput(
        f"cohorts: expected {wanted} synthetic sensitive examples of at most {recipe.cohorts.longest} tokens, "
        f"got {len(found)}: raise cohorts.longest or lower cohorts.sensitive"
    )


def _copy(original: Example, text: str, cohort: str, tokenizer: Tokenizer) -> _Candidate | None:
    """A near-copy of an example, as an example of its own."""
    example = replace(original, id=_identity(text), text=text, cohort=cohort, repetition=1)
    return _cut(example, tokenizer.encode(text), tokenizer)


def _ordinary(
    units: Sequence[Unit],
    seen: set[int],
    others: Sequence[_Candidate],
    tokenizer: Tokenizer,
    recipe: Recipe,
    wanted: int,
) -> list[_Candidate]:
    """The first candidates among `units` that are near nothing `seen`, which grows, nor near `others` or each other."""
    pool = iter(units)
    found: list[_Candidate] = []
    near = 0
    while len(found) < wanted:
        before = len(found)
        for unit in pool:
            candidate = _head(unit, tokenizer, recipe)
            if candidate is None:
                continue
            grams = shingles(candidate.example.text.encode(), language=unit.language)
            if len(grams & seen) > recipe.cohorts.overlap * len(grams) or _near(
                candidate.target, (c.target for c in (*others, *found)), recipe.audit.threshold
            ):
                near += 1
                continue
            # All of the unit counts as seen, also the lines behind the head.
            seen |= grams | shingles(unit.text.encode(), language=unit.language)
            found.append(candidate)
            if len(found) == wanted:
                break
        if len(found) == before:
            raise BadInput(
                f"corpus: expected {wanted} usable examples of {recipe.cohorts.shortest} to "
                f"{recipe.cohorts.longest} tokens in the private half, got {len(found)} ({near} more are "
                "near-duplicates): give more code, or set cohorts.strata smaller, or cohorts.shortest lower"
            )
        apart = _one_of_each_cluster([*others, *found])[len(others) :]
        near += len(found) - len(apart)
        found = apart
    return found


def _one_of_each_cluster(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """The first of each cluster of near-duplicates: what is left is independent, and no two halves share a text."""
    texts = [c.example.text.encode() for c in candidates]
    first: dict[int, _Candidate] = {}
    for label, candidate in zip(
        clusters(texts, language=[c.example.language for c in candidates]), candidates, strict=True
    ):
        first.setdefault(label, candidate)
    return list(first.values())
