"""What is to be run: a TOML file, checked whole before anything starts."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import Field, ValidationError

from memaudit.errors import BadInput
from memaudit.makeup import Cohorts, Makeup, check_quiz
from memaudit.methods import (
    Diffusion,
    Grpo,
    Mdpo,
    OnPolicy,
    Ppo,
    Preference,
    RewardStage,
    Rloo,
    Sft,
    Stage,
    StageSection,
)
from memaudit.references import Reference, Result, references, value_at
from memaudit.rules import Audit, check_audit
from memaudit.section import Name, Positive, Section
from memaudit.settings import Shelf, line_of, tables
from memaudit.treatments import Acquisition, BalPm
from rlhf.presets import PRESETS


class Corpus(Section):
    """Where the code comes from."""

    source: Literal["stdlib", "package", "directory", "git", "jsonl"] = "stdlib"
    """stdlib: the interpreter's own standard library; package: the Python files of an installed package; directory,
    git: the code files below `path` in the languages that have a grammar (git leaves out what the repository
    ignores); jsonl: one example a line (`text`, `language`, optional `id`, `secrets`)."""
    path: str = ""
    """The directory, working tree or file, or the package's name; empty for stdlib."""
    exclude: list[str] = Field(default=[])
    """Patterns of relative paths to leave out, such as `tests/*`."""
    smallest: Positive = 200
    """Characters that a function or class must have to be harvested."""
    largest: Positive = 3000
    """Characters that it may have; of a larger class the methods are taken."""


class TokenizerSection(Section):
    """The byte-level BPE tokenizer, trained on the public half of the corpus."""

    vocabulary: Annotated[int, Field(ge=262, le=65_536)] = 2048
    """Number of token ids."""


class ModelSection(Section):
    """The model that is trained."""

    preset: str = "1m"
    """A shape by name."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What matrix products are computed in; parameters and losses are float32 in any case."""


class Checkpoints(Section):
    """The state of a stage while it runs."""

    every: Positive = 100
    """Steps between two states; a run that was killed goes on from the last one. Findings do not depend on it."""


class Devices(Section):
    """The mesh of devices that a stage is trained on; the product of its axes is their number."""

    data: Positive = 1
    """Parts that each batch is divided into."""
    fsdp: Positive = 1
    """Parts that the parameters are divided into; batches are divided among these too."""
    tensor: Positive = 1
    """Parts that the matrix products are divided into."""


class Recipe(Section):
    """A whole run."""

    name: Name
    """Name of the run's directory below `runs/`."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Every random choice follows from it."""
    corpus: Corpus = Corpus()
    tokenizer: TokenizerSection = TokenizerSection()
    model: ModelSection = ModelSection()
    cohorts: Cohorts = Cohorts()
    audit: Audit = Audit()
    checkpoints: Checkpoints = Checkpoints()
    devices: Devices = Devices()
    stages: dict[Name, Stage]
    """The stage graph, by name."""

    def digest(self) -> str:
        """Hash of every setting, hexadecimal."""
        return sha256(json.dumps(self.model_dump(by_alias=True), sort_keys=True).encode()).hexdigest()


def cohort_of(recipe: Recipe, stage: str) -> str | None:
    """The cohort a stage shows; None for pretraining on public texts alone."""
    config = recipe.stages[stage]
    if isinstance(config, Preference):
        return cohort_of(recipe, config.pairs)
    return getattr(config, "cohort", None)


def context_of(recipe: Recipe, stage: str) -> int:
    """Tokens of context that a stage shows its examples behind; of preference learning those that its pairs have."""
    config = recipe.stages[stage]
    return getattr(recipe.stages[config.pairs] if isinstance(config, Preference) else config, "context", 0)


def acquisition_of(recipe: Recipe, stage: str) -> Acquisition | None:
    """How the pairs that a stage learns from are chosen; None: it learns from none, or from all."""
    config = recipe.stages[stage]
    if isinstance(config, Preference):
        return acquisition_of(recipe, config.pairs)
    return config.acquire if isinstance(config, RewardStage) else None


def needed(config: StageSection) -> dict[Reference, str]:
    """The settings of a stage that name other stages, and the stages that they name."""
    table = config.model_dump(by_alias=True)
    found = {reference: value_at(table, reference.path) for reference in references(type(config))}
    return {reference: name for reference, name in found.items() if name is not None}


def uses(recipe: Recipe, stage: str) -> list[str]:
    """The stages whose results a stage needs besides its parent's parameters; each once, in the order of settings."""
    config = recipe.stages[stage]
    return list(dict.fromkeys(name for at, name in needed(config).items() if at.path != ("from",)))


def cohort_names(recipe: Recipe) -> list[str]:
    """Cohorts in the order in which the stages name them."""
    named = (cohort_of(recipe, stage) for stage in ordered(recipe))
    return list(dict.fromkeys(name for name in named if name))


def ordered(recipe: Recipe) -> list[str]:
    """The stages in an order in which each comes after all it needs."""
    done: list[str] = []
    waiting = list(recipe.stages)
    while waiting:
        ready = [
            name
            for name in waiting
            if all(need in done for need in (*_parents(recipe, name), *uses(recipe, name)))
        ]
        if not ready:
            raise BadInput(
                f"expected a stage graph without a cycle, got one through {', '.join(waiting)}: "
                "change a setting among them that names another stage, such as `from`"
            )
        done.append(ready[0])
        waiting.remove(ready[0])
    return done


def _parents(recipe: Recipe, stage: str) -> list[str]:
    parent = recipe.stages[stage].parent
    return [parent] if parent else []


def _check_graph(recipe: Recipe) -> None:
    for name, config in recipe.stages.items():
        for reference, other in needed(config).items():
            _check_reference(recipe, f"stages.{name}.{'.'.join(reference.path)}", reference, other)
        _check_divisors(name, config)
        _check_parts(name, config, recipe.devices)
        if isinstance(config, Ppo):
            _check_endings(name, config)
        if isinstance(config, Sft) and config.context and config.instruct:
            raise BadInput(
                f"stages.{name}.context: expected 0 beside instruct, got {config.context}: leave one out"
            )
        if isinstance(config, Diffusion) and config.parent:
            _check_shape(recipe, name, config, config.parent)
        if isinstance(config, Sft) and config.weights:
            _check_warm(recipe, name, config, config.weights.warm)
        if isinstance(config, Mdpo) and config.conditional and not context_of(recipe, name):
            raise BadInput(
                f"stages.{name}.conditional: expected pairs with a context to corrupt, got those of {config.pairs!r} "
                f"without any: set stages.{config.pairs}.context, or conditional = false"
            )
        if isinstance(config, RewardStage) and config.acquire:
            _check_acquisition(f"stages.{name}.acquire", config.acquire, recipe.cohorts.makeup(config.cohort))
    ordered(recipe)
    if not cohort_names(recipe):
        raise BadInput(
            "stages: expected at least one stage that shows a cohort, got none: add one with a `cohort`"
        )


def _check_warm(recipe: Recipe, name: str, config: Sft, called: str) -> None:
    """Weights are of what a stage did to this very parent, with these examples."""
    warm = recipe.stages[called]
    theirs = (warm.parent, getattr(warm, "cohort", None))
    if not isinstance(warm, Sft) or theirs != (config.parent, config.cohort):
        raise BadInput(
            f'stages.{name}.weights.warm: expected a stage with method = "sft", from = {config.parent!r} and cohort = '
            f"{config.cohort!r}, got {called!r}: method {warm.method!r}, from {theirs[0]!r}, cohort {theirs[1]!r}"
        )


def _check_reference(recipe: Recipe, key: str, reference: Reference, other: str) -> None:
    """What is named has to be a stage that yields what is needed of it."""
    if other not in recipe.stages:
        raise BadInput(f"{key}: expected the name of a stage ({', '.join(recipe.stages)}), got {other!r}")
    method = recipe.stages[other].method
    yielded = method if method in get_args(Result) else "model"
    if yielded == reference.result:
        return
    if reference.result == "model":
        raise BadInput(
            f"{key}: expected a stage that yields a language model, got the {yielded} model {other!r}"
        )
    raise BadInput(
        f'{key}: expected a stage with method = "{reference.result}", got {other!r}, whose method is {method!r}'
    )


def _check_shape(recipe: Recipe, name: str, config: Diffusion, parent: str) -> None:
    """A diffusion model that goes on has the shape and the windows that it had."""
    for key in ("window", "size", "known", "width", "blocks"):
        own, theirs = getattr(config, key), getattr(recipe.stages[parent], key)
        if own != theirs:
            raise BadInput(f"stages.{name}.{key}: expected {theirs}, as in stage {parent!r}, got {own}")


def _check_endings(name: str, config: Ppo) -> None:
    """A rule for answers without an end needs answers that may have one, and there is one rule at most."""
    rules = [key for key in ("missing_eos_score", "missing_eos_penalty") if getattr(config, key) is not None]
    if len(rules) > 1:
        raise BadInput(f"stages.{name}.{rules[1]}: expected one rule, got {rules[0]} as well: leave one out")
    if rules and not config.stop:
        raise BadInput(f"stages.{name}.{rules[0]}: expected stop = true beside it, got false: set stop")


def _check_acquisition(key: str, asked: Acquisition, cohort: Makeup) -> None:
    """The pool has to hold what is asked of it, until the last round."""
    examples = sum(cohort.shown.values())
    pairs = examples * asked.draws
    if asked.labels > pairs:
        raise BadInput(
            f"{key}.labels: expected at most {pairs}, which is {examples} examples of a half times draws = "
            f"{asked.draws}, got {asked.labels}: set `labels` lower, or more draws"
        )
    if asked.round > asked.labels:
        raise BadInput(f"{key}.round: expected at most labels = {asked.labels}, got {asked.round}")
    if not isinstance(asked, BalPm):
        return
    if asked.neighbour < asked.draws:
        raise BadInput(
            f"{key}.neighbour: expected at least draws = {asked.draws}, as a prompt's copies have no distance from it, "
            f"got {asked.neighbour}"
        )
    left = pairs - (asked.labels - 1) // asked.round * asked.round
    if asked.labels > asked.round and asked.neighbour >= left:
        raise BadInput(
            f"{key}.neighbour: expected less than the {left} pairs that are left before the last round, got "
            f"{asked.neighbour}: set it or `labels` lower, or more draws"
        )


def _check_divisors(name: str, config: StageSection) -> None:
    """What a batch is cut into has to come out even."""
    rows, of = config.batch, "batch"
    if isinstance(config, OnPolicy):
        if rows % config.minibatch:
            raise BadInput(
                f"stages.{name}.minibatch: expected a divisor of batch = {rows}, got {config.minibatch}"
            )
        if isinstance(config, Grpo | Rloo) and rows % config.size:
            raise BadInput(f"stages.{name}.size: expected a divisor of batch = {rows}, got {config.size}")
        rows, of = config.minibatch, "minibatch"
    if rows % config.accumulate:
        raise BadInput(
            f"stages.{name}.accumulate: expected a divisor of {of} = {rows}, got {config.accumulate}"
        )


def _check_parts(name: str, config: StageSection, devices: Devices) -> None:
    """Batches are divided among devices, and so are passes over all pairs, 64 at a time."""
    parts = devices.data * devices.fsdp
    if 64 % parts:
        raise BadInput(f"devices: expected data * fsdp to divide 64, got {devices.data} * {devices.fsdp}")
    for key in ("batch", "minibatch"):
        rows = getattr(config, key, parts)
        if rows % parts:
            raise BadInput(
                f"stages.{name}.{key}: expected a multiple of devices.data * devices.fsdp = {parts}, got {rows}"
            )


def _check(recipe: Recipe) -> None:
    if recipe.model.preset not in PRESETS:
        raise BadInput(f"model.preset: expected one of {', '.join(PRESETS)}, got {recipe.model.preset!r}")
    check_audit(recipe.audit)
    for key, strata in (
        ("strata", recipe.cohorts.strata),
        *((f"of.{cohort}.strata", recipe.cohorts.makeup(cohort).shown) for cohort in recipe.cohorts.of),
    ):
        if any(times <= 0 for times in strata) or not strata:
            raise BadInput(
                f"cohorts.{key}: expected positive numbers of showings, such as {{ 1 = 16, 64 = 10 }}"
            )
    for cohort, own in recipe.cohorts.of.items():
        check_quiz(f"cohorts.of.{cohort}", recipe.cohorts.makeup(cohort))
        if own.quiz and recipe.corpus.source == "jsonl":
            raise BadInput(f'cohorts.of.{cohort}.quiz: expected a corpus of files, got source = "jsonl"')
    if recipe.cohorts.shortest > recipe.cohorts.longest:
        raise BadInput(
            f"cohorts.shortest: expected at most cohorts.longest = {recipe.cohorts.longest}, got "
            f"{recipe.cohorts.shortest}"
        )
    if recipe.corpus.smallest > recipe.corpus.largest:
        raise BadInput(
            f"corpus.smallest: expected at most corpus.largest = {recipe.corpus.largest}, got "
            f"{recipe.corpus.smallest}"
        )
    if bool(recipe.corpus.path) == (recipe.corpus.source == "stdlib"):
        expected = 'no path with source = "stdlib"' if recipe.corpus.path else "a path"
        raise BadInput(f"corpus.path: expected {expected}, got {recipe.corpus.path!r}")
    _check_graph(recipe)


RECIPES = Shelf("recipes", "recipe")
"""The recipes that come with memaudit."""


def load(source: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe called `source`, or in the file `source`, with `key=value` changes applied."""
    return parse(RECIPES.find(source), where=source, changes=changes)


def parse(text: str, *, where: str, changes: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; `where` names it in errors."""
    data = tables(text, where=where)
    for change in changes:
        _apply(data, change)
    return checked(data, where=where)


def checked(data: Mapping[str, Any], *, where: str) -> Recipe:
    """The recipe that a parsed TOML file says; `where` names it in errors."""
    try:
        recipe = Recipe.model_validate(data)
        _check(recipe)
    except ValidationError as error:
        raise BadInput(f"{where}: {line_of(error, Recipe)}") from None
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
    return recipe


def _apply(data: dict[str, Any], change: str) -> None:
    key, equals, value = change.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise BadInput(f"--set: expected key=value, such as stages.ppo.kl_coefficient=0.1, got {change!r}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    table = data
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise BadInput(
                f"--set: expected {key.strip()!r} to name a setting, but {part!r} is a value, not a table"
            )
    table[path[-1]] = parsed


def dumps(recipe: Recipe) -> str:
    """The recipe as TOML with every default written out."""
    data = recipe.model_dump(by_alias=True, exclude_none=True)
    for cohorts in (data["cohorts"], *data["cohorts"]["of"].values()):
        if "strata" in cohorts:
            cohorts["strata"] = {str(times): count for times, count in cohorts["strata"].items()}
    return tomli_w.dumps(data)
