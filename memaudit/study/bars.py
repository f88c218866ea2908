"""What a study's own script needs to read off ledgers what no measure of claims is for, and to say it as claims do."""

from pathlib import Path

from memaudit.cases import Case, Facts
from memaudit.ledger import Ledger
from memaudit.recipe import parse
from memaudit.records import Scores
from memaudit.statistics import Estimate


def read(path: Path) -> Facts:
    """The facts of the run whose ledger is at `path`."""
    ledger = Ledger(path)
    return Facts(ledger, parse(ledger.setting("recipe"), where=str(path)))


def scores(run: Facts, stage: str, twin: str, case: Case) -> Scores:
    """What a twin thinks of a target after a stage."""
    found = run.observation(stage, twin, case).scores
    assert found is not None, "a stage scores every target or none"
    return found


def interval(found: Estimate, form: str = "+.3f") -> str:
    """A value with its 95 % interval, where seeds tell one; `form` is that of each number."""
    bounds = "no interval" if found.method == "unknown" else f"{found.low:{form}} to {found.high:{form}}"
    return f"{found.value:{form}} ({bounds})"


def verdict(holds: bool) -> str:
    """In the words of the claims."""
    return "holds" if holds else "does not hold"
