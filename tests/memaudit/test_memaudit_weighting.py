"""Self-weighted fine-tuning in a recipe: what it may name, and what makes it another stage."""

import pytest

from memaudit.errors import BadInput
from memaudit.recipe import parse, uses

TEXT = """
name = "weighed"
[stages.pretrain]
method = "pretrain"
steps = 1
batch = 8
learning_rate = 1e-3
[stages.sft]
method = "sft"
from = "pretrain"
cohort = "c"
batch = 8
learning_rate = 1e-3
[stages.swft]
method = "sft"
from = "pretrain"
cohort = "c"
batch = 8
learning_rate = 1e-3
weights = { warm = "sft" }
"""


def test_the_warm_stage_is_needed_first() -> None:
    assert uses(parse(TEXT, where="here"), "swft") == ["sft"]


@pytest.mark.parametrize("named", ["nothing", "swft"])
def test_a_warm_stage_that_cannot_be_is_refused_in_one_line(named: str) -> None:
    with pytest.raises(BadInput) as error:
        parse(TEXT.replace('warm = "sft"', f'warm = "{named}"'), where="here")
    assert "\n" not in str(error.value)
