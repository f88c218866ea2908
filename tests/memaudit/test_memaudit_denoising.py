"""A recipe names the diffusion loss: a stage shows what it says, is asked by sampling, and has no likelihoods."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY, Quiet, Walked

from memaudit import denoising, stages
from memaudit.comparison import compare
from memaudit.denoising import LATENTS, PARTS, Continuation
from memaudit.documents import EXPORTS, write_report
from memaudit.errors import BadInput
from memaudit.gate import check
from memaudit.instruments import Instruments
from memaudit.ledger import LEDGER, Ledger
from memaudit.measuring import measure
from memaudit.policy import load
from memaudit.recipe import parse
from memaudit.records import StageRecord
from memaudit.run import Plan, read, run
from memaudit.stages import key_of, result_of
from rlhf.batches import Rows
from rlhf.diffusion import losses_at
from rlhf.events import Hook, StageStarted, Updated
from rlhf.generate import row_keys
from rlhf.latents import Latents
from rlhf.model import hidden_states

WINDOW = 4
SHAPE = "window = 4\nsize = 6\nknown = 50\nwidth = 8\nblocks = 1\nbatch = 4\nlearning_rate = 1e-3\n"
TEXT = f"""{TINY.partition("[stages.")[0]}
[stages.diffusion]
method = "diffusion"
cohort = "seen"
loss_on = "all"
{SHAPE}
[stages.sft]
method = "sft"
cohort = "seen"
batch = 4
learning_rate = 1e-3

[stages.later]
method = "diffusion"
from = "diffusion"
cohort = "later"
{SHAPE}"""
BYTES = ("tokenizer.vocabulary=262", "cohorts.sensitive=0", "cohorts.longest=80")
CHANGES = (*BYTES, "audit.samples=2", "audit.twice=0.5")
DENOISED = ("diffusion", "later")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    folder = tmp_path_factory.mktemp("run") / "denoised"
    recipe, progress = parse(TEXT, where="denoised", changes=CHANGES), Quiet()
    return Walked(recipe, folder, run(recipe, folder, progress), progress)


@pytest.fixture(scope="module")
def instruments(ran: Walked) -> Instruments:
    return Instruments(Plan.of(ran.recipe, ran.folder, read(ran.recipe)).setting)


def record_of(ran: Walked, stage: str, twin: str = "A") -> StageRecord:
    with Ledger(ran.folder / LEDGER) as ledger:
        return ledger.walks()[twin, stage]


def made(ran: Walked, instruments: Instruments, stage: str = "diffusion") -> Continuation:
    config = ran.recipe.stages[stage]
    result = result_of(config, ran.folder / "stages" / record_of(ran, stage).id)
    decoder = instruments.setting.decoder
    return Continuation(
        config=config,  # pyright: ignore[reportArgumentType]
        decoder=decoder,
        parts=result.params(decoder),
        folder=result.folder,
        seed=5,
    )


def left(folder: Path, stage: str) -> list[tuple]:
    """All that a stage left, under either twin."""
    found = []
    with Ledger(folder / LEDGER) as ledger:
        shown = [row for row in ledger.shown() if row[2] == stage]
        for twin in "AB":
            name = ledger.walks()[twin, stage].id
            read_off = [ledger.answers.readings(name, q) for q in ("denoising_loss", "sampled_hits")]
            files = sorted((folder / "stages" / name / "params").rglob("*"))
            found.append((name, ledger.updates(name), ledger.answers.of_stage(name), read_off))
            found.append(tuple((f.name, f.read_bytes()) for f in files if f.is_file()))
    return [*found, tuple(shown)]


# --- what is shown


def test_exposures_are_those_that_were_planned(ran: Walked) -> None:
    with Ledger(ran.folder / LEDGER) as ledger:
        shown = {row[:5] for row in ledger.shown()}
        examples = list(ledger.examples())
    assert len(examples) == 16
    assert shown == {
        (e.id, e.half, stage, "target", e.repetition)
        for e in examples
        for stage in {"seen": ("sft", "diffusion"), "later": ("later",)}[e.cohort or ""]
    }


def test_a_text_is_whole_windows_on_either_side_of_its_cut(
    ran: Walked, instruments: Instruments, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict = {}
    monkeypatch.setattr(
        denoising.diffusion,
        "train",
        lambda model, head, shown, latents, order, optimiser, **more: asked.update(
            shown=shown, latents=latents
        ),
    )
    population, config = instruments.setting.population, ran.recipe.stages["later"]
    probes, tokenizer = population.probes[:5], population.tokenizer
    denoising.train(
        config,  # pyright: ignore[reportArgumentType]
        parent={"model": {}, "head": {}},
        population=population,
        probes=probes,
        decoder=instruments.setting.decoder,
        order=np.zeros((1, 4), int),
        optimiser=None,  # pyright: ignore[reportArgumentType]
        stage=denoising.Stage(name="later"),
        folder=ran.folder,
        seed=0,
    )
    shown: Rows = asked["shown"]
    assert shown.ids == tuple((p.example_id,) for p in probes)
    for tokens, weights, probe in zip(shown.tokens.tolist(), shown.weights, probes, strict=True):
        real = [t for t in tokens if t not in (tokenizer.bos, tokenizer.eos, tokenizer.pad)]
        assert real == [*probe.prefix_tokens, *probe.target_tokens]
        assert tokens[0] == tokenizer.bos
        cut = tokens.index(probe.prefix_tokens[0], 1) + len(probe.prefix_tokens)
        assert cut % WINDOW == 1
        learnt = np.flatnonzero(weights[1::WINDOW])
        assert learnt.tolist() == [
            (cut - 1) // WINDOW + n for n in range(-(-len(probe.target_tokens) // WINDOW))
        ]
    with np.load(ran.folder / LATENTS) as data:
        latents = Latents(**data)
    (ran.folder / LATENTS).unlink()
    windows = shown.tokens[:, 1:].reshape(len(probes), -1, WINDOW)
    assert (asked["latents"] == latents.encode(windows)).all()
    known = {tuple(w) for w in latents.windows.tolist()}
    assert {tuple(w) for row in windows.tolist() for w in row if tokenizer.pad not in w} <= known


def test_windows_of_all_texts_are_known_whoever_sees_them(ran: Walked, instruments: Instruments) -> None:
    """So that a look-up tells nothing of what was shown."""
    kept = []
    for stage, twin in (("diffusion", "A"), ("diffusion", "B"), ("later", "A")):
        with np.load(ran.folder / "stages" / record_of(ran, stage, twin).id / LATENTS) as data:
            kept.append(data["windows"].tolist())
    assert kept[0] == kept[1] == kept[2]
    known = {tuple(w) for w in kept[0]}
    own = {
        tuple(part)
        for p in instruments.setting.population.probes
        for part in zip(*[iter(p.target_tokens)] * WINDOW, strict=False)
    }
    assert own <= known
    assert len(known) > len(own) + 20


# --- what is asked


def test_each_probe_is_continued_and_no_target_is_scored(ran: Walked) -> None:
    for stage in DENOISED:
        with Ledger(ran.folder / LEDGER) as ledger:
            record = ledger.walks()["A", stage]
            said, again = (ledger.answers.of_stage(record.id, asking=asking) for asking in (0, 1))
        assert len(said) == 16
        assert 0 < len(again) < 16
        for observation in said.values():
            assert observation.scores is None
            assert set(observation.matches) == set(ran.recipe.audit.levels)
        for probe, observation in again.items():
            assert observation.completion == said[probe].completion


def test_readings_are_of_all_examples_under_both_twins(ran: Walked) -> None:
    with Ledger(ran.folder / LEDGER) as ledger:
        names = {e.id for e in ledger.examples()}
        for (_, stage), record in ledger.walks().items():
            for quantity, count in (("denoising_loss", PARTS), ("sampled_hits", 2)):
                found = ledger.answers.readings(record.id, quantity)
                assert {name: len(values) for name, values in found.items()} == (
                    dict.fromkeys(names, count) if stage in DENOISED else {}
                )


def test_the_loss_is_that_of_the_targets_windows_at_fixed_times(
    ran: Walked, instruments: Instruments
) -> None:
    made_of = made(ran, instruments)
    probe = instruments.setting.population.probes[3]
    tokenizer = instruments.setting.population.tokenizer
    prompt = [*[tokenizer.bos] * (1 + -len(probe.prefix_tokens) % WINDOW), *probe.prefix_tokens]
    target = [*probe.target_tokens, *[tokenizer.eos] * (-len(probe.target_tokens) % WINDOW)]
    first, count = (len(prompt) - 1) // WINDOW, len(target) // WINDOW
    states = jax.jit(hidden_states, static_argnums=0)
    hidden = states(made_of.decoder, made_of.parts["model"], jnp.array([[*prompt, *target]]))[0]
    with np.load(made_of.folder / LATENTS) as data:
        latents = Latents(**data).encode(np.array(target).reshape(-1, WINDOW))
    keys = row_keys(jax.random.fold_in(jax.random.key(0), probe.id), jnp.arange(first, first + count))
    times = tuple(t for middle in range(62, 1000, 125) for t in [middle] * 4)
    found = jax.jit(losses_at, static_argnums=(0, 5))(
        denoising.denoiser(made_of.config),
        made_of.parts["head"],
        jnp.asarray(latents),
        hidden[len(prompt) - 1 :: WINDOW][:count],
        keys,
        times,
    )
    expected = np.asarray(found).mean(axis=0).reshape(PARTS, 4).mean(axis=1)
    with Ledger(ran.folder / LEDGER) as ledger:
        told = ledger.answers.readings(made_of.folder.name, "denoising_loss")[probe.example_id]
    np.testing.assert_allclose(told, expected, rtol=1e-3)


def test_a_target_that_is_said_is_a_match_and_a_hit(
    ran: Walked, instruments: Instruments, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = instruments.interrogation
    tokenizer, wrong = asking.tokenizer, asking.probes[1]
    asked: list[tuple[list[int], float]] = []

    def say(parts, prompts, lengths, count, keys, *, temperature, **more) -> np.ndarray:
        said = []
        for tokens, length in zip(prompts.tolist(), lengths, strict=True):
            given = [t for t in tokens[:length] if t != tokenizer.bos]
            (probe,) = (p for p in asking.probes if list(p.prefix_tokens) == given)
            asked.append((given, temperature))
            words = [*probe.target_tokens[: -1 if probe is wrong else None], *[tokenizer.eos] * 99]
            said.append(words[: count * WINDOW])
        return np.array(said)

    monkeypatch.setattr(denoising.diffusion, "complete", say)
    model = made(ran, instruments)
    for observation, probe in zip(model.observe(asking), asking.probes, strict=True):
        assert observation.probe_id == probe.id
        assert observation.matches["exact"].equal == (probe is not wrong)
        assert observation.ended
    assert {temperature for _, temperature in asked} == {0.0}
    asked.clear()
    hits = [r for r in model.readings(asking, 3) if r.quantity == "sampled_hits"]
    assert {temperature for _, temperature in asked} == {1.0}
    assert Counter(r.number for r in hits) == {0: 16, 1: 16, 2: 16}
    assert {r.example_id for r in hits if not r.value} == {wrong.example_id}


def test_samples_are_known_windows_and_the_same_again(ran: Walked, instruments: Instruments) -> None:
    model, asking = made(ran, instruments), replace(instruments.interrogation, batch=4)
    first, second, third = (list(model._said(asking, number, 1.0)) for number in (1, 2, 1))
    assert first == third
    assert first != second
    few = replace(asking, probes=asking.probes[3:5])
    assert list(model._said(few, 1, 1.0)) == first[3:5]
    known = {tuple(w) for w in model._latents.windows.tolist()}
    assert {tuple(w) for row in first for w in np.reshape(row, (-1, WINDOW)).tolist()} <= known
    assert {len(row) for row in first} == {-(-asking.budget // WINDOW) * WINDOW}


# --- what is said of it


def test_what_needs_likelihoods_is_left_out_and_the_rest_is_there(ran: Walked) -> None:
    found = ran.findings
    assert {row.stage for row in found.rates} == {"sft", "diffusion", "later"}
    assert {row.after for row in found.transitions} == {"later"}
    assert {row.stage for row in found.likelihoods} == {row.stage for row in found.attacks} == {"sft"}
    assert {row.stage for row in found.survival} <= {"sft"}
    assert {s.name for s in found.stages if s.note} == set(DENOISED)
    for name in ("report.html", "report.md"):
        page = (ran.folder / name).read_text()
        assert "no likelihoods" in page
        assert "reward model emits no text" not in page


def test_documents_measures_comparison_and_gate_go_through(ran: Walked, tmp_path: Path) -> None:
    for form, name in EXPORTS.items():
        write_report(ran.folder, form, tmp_path / name)
        assert (tmp_path / name).stat().st_size
    with Ledger(ran.folder / LEDGER) as ledger:
        measured = measure(ledger)
        assert {row.stage for row in measured.profile} == {"sft", "diffusion", "later"}
        assert {row.stage for row in measured.sampled} == {row.stage for row in measured.known} == {"sft"}
        compared = compare((ledger, ledger), (ran.folder, ran.folder), stages=["diffusion", "sft=diffusion"])
        assert {row.stage.b for row in compared.rows} == {"diffusion"}
        assert check(ledger, ran.folder, load("user-code"))


# --- what may be named


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "stages.sft.from=diffusion",
            "stages.sft.from: expected a stage that yields a language model, got the diffusion model 'diffusion'",
        ),
        (
            "stages.diffusion.from=sft",
            "stages.diffusion.from: expected a stage with method = \"diffusion\", got 'sft', whose method is 'sft'",
        ),
        ("stages.later.from=none", "stages.later.from: expected the name of a stage .*, got 'none'"),
        ("stages.later.window=8", "stages.later.window: expected 4, as in stage 'diffusion', got 8"),
        ("stages.diffusion.width=7", "stages.diffusion.width: .*multiple of 2"),
        (
            'stages.ppo={ method = "ppo", from = "sft", reward = "diffusion", cohort = "seen", batch = 16, '
            "learning_rate = 1e-3 }",
            "stages.ppo.reward: expected a stage with method = \"reward\", got 'diffusion', whose .* 'diffusion'",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(change: str, said: str) -> None:
    with pytest.raises(BadInput, match=f"^denoised: {said}"):
        parse(TEXT, where="denoised", changes=[*CHANGES, change])


def test_more_numbers_than_windows_have_directions_is_told(tmp_path: Path) -> None:
    recipe = parse(
        TEXT, where="denoised", changes=[*CHANGES, "stages.diffusion.size=5000", "stages.later.size=5000"]
    )
    recipe = recipe.model_copy(update={"stages": {"diffusion": recipe.stages["diffusion"]}})
    with pytest.raises(BadInput, match=r"^stages\.diffusion\.size: expected `size` from 1 to \d+"):
        run(recipe, tmp_path / "run", Quiet())


def test_what_is_known_makes_it_another_stage(ran: Walked, instruments: Instruments) -> None:
    setting = instruments.setting
    fewer = replace(setting, population=replace(setting.population, public=setting.population.public[1:]))
    assert key_of(setting, "A", "diffusion", {}) == record_of(ran, "diffusion").id
    assert key_of(fewer, "A", "diffusion", {}) != record_of(ran, "diffusion").id
    assert key_of(fewer, "A", "sft", {}) == record_of(ran, "sft").id
    assert "denoising.py" in stages._ASKING


# --- a stage that is killed


class Stopped(Exception):
    """Stands for whatever ends a run."""


def stop_at(monkeypatch: pytest.MonkeyPatch, *at: tuple[str, int]) -> None:
    """Let the progress hook of a stage end the run at a step."""

    class Stops(Hook):
        def __init__(self, progress: Quiet) -> None:
            self.progress, self.all = progress, 0

        def on_stage_started(self, event: StageStarted) -> None:
            self.all = event.steps
            self.progress.say(f"{event.stage} from {event.first}")

        def on_update(self, event: Updated) -> None:
            if (event.stage, event.step) in at:
                raise Stopped

    # The hooks of a resumed stage have to be those of the one that was stopped.
    Stops.__name__ = "_Steps"
    monkeypatch.setattr("memaudit.instruments._Steps", Stops)


@pytest.mark.slow
def test_a_stage_that_was_stopped_ends_alike(
    ran: Walked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = parse(TEXT, where="denoised", changes=[*CHANGES, "checkpoints.every=1"])
    folder, progress = tmp_path / "run", Quiet()
    for place in (("diffusion", 1), ("sft", 0)):
        stop_at(monkeypatch, place)
        with pytest.raises(Stopped):
            run(recipe, folder, progress)
    assert "diffusion from 1" in progress.lines
    assert left(folder, "diffusion") == left(ran.folder, "diffusion")
