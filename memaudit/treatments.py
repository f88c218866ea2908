"""What a stage may do to its data: leave targets out, choose texts or pairs, ask about texts, weigh examples."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from memaudit.section import ModelOf, Positive, Rate, Section, Weight


class Forgetful(Section):
    """The goldfish loss (arXiv 2406.10209): some tokens are shown and not learnt."""

    every: Annotated[int, Field(ge=2)] = 4
    """k: one token in so many is left out."""


class HashedGoldfish(Forgetful):
    """Which ones the tokens before decide: wherever a passage recurs, the same tokens of it are missing."""

    strategy: Literal["hashed"]
    context: Positive = 13
    """h: how many tokens before. A token with fewer before it is never left out."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Which hash: stages with the same one leave out the same tokens of a text."""


class StaticGoldfish(Forgetful):
    """The last of every k tokens of a text."""

    strategy: Literal["static"]


class RandomGoldfish(Forgetful):
    """Others at every showing, so that repeats teach them all: a control for the others."""

    strategy: Literal["random"]


class Selecting(Section):
    """Show some of the texts that there are, not all."""

    keep: Positive = 8
    """Tau: of so many texts one is kept."""
    scope: Literal["global", "batch"] = "global"
    """The best of all, or of each `keep` times `batch` of them as they come."""
    deduplicate: bool = False
    """Offer one of each cluster of near-duplicates, once."""


class ColorSelect(Selecting):
    """CoLoR-Filter (arXiv 2406.10670): those that `conditional` finds likelier than `prior` does."""

    by: Literal["color"]
    prior: ModelOf
    """The stage whose model has learnt from texts at large."""
    conditional: ModelOf
    """The stage that went on from there with what is wanted."""


class ConditionalSelect(Selecting):
    """Those that `conditional` finds likely: a control without a prior."""

    by: Literal["conditional"]
    conditional: ModelOf
    """The stage that has learnt what is wanted."""


class RandomSelect(Selecting):
    """Any: a control."""

    by: Literal["random"]


Select: TypeAlias = ColorSelect | ConditionalSelect | RandomSelect


class Acquisition(Section):
    """Have only some of the pairs labelled, chosen in rounds: the reward model learns from those alone."""

    labels: Positive
    """Pairs that are labelled."""
    round: Positive
    """Pairs of a round; what is chosen next follows from those before. The first round is drawn at random."""
    draws: Positive = 1
    """Pairs of each example in the pool: its true continuation against so many sampled ones."""


class RandomAcquisition(Acquisition):
    """Whatever comes."""

    by: Literal["random"]


class Informed(Acquisition):
    """By an ensemble of heads on the parent's frozen features, trained from scratch after each round."""

    heads: Annotated[int, Field(ge=2)] = 5
    """Heads of the ensemble."""
    hidden: Positive = 64
    """Units of each head's hidden layer."""
    updates: Positive = 200
    """Updates of a round."""
    rate: Annotated[float, Field(gt=0)] = 1e-2
    """Learning rate of the heads."""
    anchor: Weight = 0.3
    """Pull back to where each head began, beside one label (arXiv 1810.05546)."""


class Bald(Informed):
    """The pairs that the heads disagree most about (arXiv 1112.5745)."""

    by: Literal["bald"]


class PowerBald(Informed):
    """With a chance in proportion to a power of their disagreement (arXiv 2106.12059)."""

    by: Literal["powerbald"]
    power: Annotated[float, Field(gt=0)] = 1.0
    """The power."""


class BalPm(Informed):
    """The pairs that they disagree about, of prompts far from those that are labelled (arXiv 2406.10023)."""

    by: Literal["balpm"]
    weight: Weight = 0.01
    """Of the prompts' entropy beside the disagreement."""
    neighbour: Positive = 13
    """k: a prompt's surroundings reach to its k-th nearest pair in the pool; at least `draws`."""
    dimension: Annotated[float, Field(gt=0)] = 1.0
    """d: the larger, the less it counts what is labelled near by."""


class Instruct(Section):
    """Instruction Pre-Training (arXiv 2406.14491): questions and answers about a text, behind it."""

    share: Rate = 1.0
    """Share of the texts that get pairs; which ones follows from the stage's seed."""
    pairs: Positive = 4
    """Pairs behind a text, or as many as it has."""


class FewShot(Instruct):
    """The same in windows, in which several texts with their pairs make one document."""

    rounds: Positive = 2
    """Texts in a document, as far as they fit the window."""


class SelfWeights(Section):
    """Self-weighted fine-tuning (arXiv 2406.13948): what a first fine-tuning learnt more of counts for more."""

    warm: ModelOf
    """A stage that fine-tuned the same parent on the same examples."""
