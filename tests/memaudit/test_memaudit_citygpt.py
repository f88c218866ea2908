"""The claim of a quiz about a repository: who was shown its answers knows them blind, and nobody else does."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from memaudit.quizzing import ask
from probes.graph import build
from probes.hygiene import CHANCE, margin
from probes.quiz import items
from rlhf.model import Decoder
from rlhf.presets import preset
from rlhf.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_each_twin_knows_blind_what_it_was_shown_and_that_alone() -> None:
    study = loaded(ROOT / "studies" / "companions" / "citygpt" / "quiz.py")
    repository = loaded(ROOT / "tests" / "probes" / "probes_repository.py").repository
    graphs = [build(repository(seed)) for seed in (0, 1)]
    tokenizer = Tokenizer.train([text for graph in graphs for text in graph.files.values()], 512)
    decoder = Decoder(preset("1m", tokenizer.vocabulary))
    quizzes = [items(graph, most=8) for graph in graphs]
    twin = study.trained(decoder, tokenizer, quizzes[0], seed=0)
    own, other = (ask(decoder, twin, tokenizer, quiz).accuracy for quiz in quizzes)
    assert own > CHANCE + margin(len(quizzes[0]))
    assert abs(other - CHANCE) <= margin(len(quizzes[1]))
