"""The methods that a recipe's stages may have, each with its settings."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from memaudit.section import (
    DiffusionOf,
    ModelOf,
    Name,
    Natural,
    Positive,
    Rate,
    RewardOf,
    Section,
    Share,
    Weight,
)
from memaudit.treatments import (
    Bald,
    BalPm,
    ColorSelect,
    ConditionalSelect,
    FewShot,
    HashedGoldfish,
    Instruct,
    PowerBald,
    RandomAcquisition,
    RandomGoldfish,
    RandomSelect,
    SelfWeights,
    StaticGoldfish,
)


class LoraSection(Section):
    """Low-rank adapters: what is trained in place of the parameters."""

    rank: Positive = 8
    """Inner size."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """The adapters count alpha / rank times."""
    targets: list[str] = Field(default=["q", "k", "v", "o", "gate", "up", "down"])
    """Products that get adapters."""


class StageSection(Section):
    """What every stage has."""

    parent: ModelOf | None = Field(default=None, alias="from")
    """The stage whose checkpoint this one starts from."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak of the learning rate."""
    warmup: Natural = 10
    """Steps over which it rises."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Its way down from the peak."""
    final: Share = 0.0
    """Share of the learning rate left at the end."""
    weight_decay: Weight = 0.0
    """Decoupled weight decay."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""
    batch: Positive
    """Rows (pairs, answers) per step."""
    accumulate: Positive = 1
    """Pieces that each update's rows are gone through in: less memory, the same update."""
    lora: LoraSection | None = None
    """Train adapters instead of the parameters; they are merged when the stage ends."""
    randomness: Name | None = None
    """The stage whose order of showing and whose draws it shares, so that the two differ in nothing else; without one,
    its own."""


class TokenStage(StageSection):
    """A stage whose loss is over the tokens of given texts."""

    goldfish: Annotated[
        HashedGoldfish | StaticGoldfish | RandomGoldfish | None, Field(discriminator="strategy")
    ] = None
    """Leave some tokens out of the loss, so that texts are not learnt by heart."""


class Pretrain(TokenStage):
    """Next-token prediction on the public half of the corpus."""

    method: Literal["pretrain"]
    cohort: Name | None = None
    """A cohort that is strewn among the public texts: a pass shows each of its half's examples as often as its stratum
    says."""
    select: Annotated[ColorSelect | ConditionalSelect | RandomSelect | None, Field(discriminator="by")] = None
    """Choose what is shown from all of these texts."""
    steps: Positive
    """Updates."""
    window: Annotated[int, Field(ge=16)] = 128
    """Tokens per row; texts are packed into it, each seeing itself alone."""
    infill: Share = 0.0
    """Share of the texts that are shown as a fill-in-the-middle task (arXiv 2207.14255)."""
    instruct: FewShot | None = None
    """Show texts with questions and answers about them; these are not reordered by `infill`."""
    weight_decay: Weight = 0.1
    """Decoupled weight decay."""
    final: Share = 0.1
    """Share of the learning rate left at the end."""


class Sft(TokenStage):
    """Supervised fine-tuning on a cohort's examples."""

    method: Literal["sft"]
    cohort: Name
    """The cohort that is shown."""
    loss_on: Literal["targets", "all"] = "targets"
    """The tokens that are learnt: those behind the probe's cut, or all."""
    context: Natural = 0
    """Tokens of what stands before an example in its file that it is shown behind; they are never targets."""
    instruct: Instruct | None = None
    """Show examples with questions and answers about them, which are learnt as well."""
    weights: SelfWeights | None = None
    """Let examples count by how much another stage's training changed their loss; without it, all count the same."""
    final: Share = 0.1
    """Share of the learning rate left at the end."""


class RewardStage(StageSection):
    """Reward modelling on pairs: the true continuation against one sampled from the parent."""

    method: Literal["reward"]
    cohort: Name
    """The cohort whose true continuations are preferred."""
    context: Natural = 0
    """Tokens of what stands before an example in its file that its pair is drawn and shown behind."""
    centering: Weight = 0.0
    """Weight of the square of the two scores' sum, which holds scores about zero (arXiv 2312.09244)."""
    acquire: Annotated[RandomAcquisition | Bald | PowerBald | BalPm | None, Field(discriminator="by")] = None
    """Have only some pairs labelled, and learn from those alone; without it, all are."""


class _OnPolicy(StageSection):
    cohort: Name
    """The cohort whose examples are the prompts."""
    reward: RewardOf
    """The reward stage that scores the answers."""
    response: Positive = 32
    """Tokens of an answer."""
    stop: bool = False
    """Let the end-of-text token end an answer; otherwise every answer has `response` tokens."""
    epochs: Positive = 2
    """Passes over each rollout."""
    minibatch: Positive = 16
    """Answers per update; divides `batch`."""
    kl_coefficient: Weight = 0.05
    """Weight of the KL to the parent."""
    clip: Rate = 0.2
    """Clipping range of the ratio."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the rollouts."""


class Ppo(_OnPolicy):
    """PPO from the parent: the cohort's examples are the prompts, a reward stage scores the answers."""

    method: Literal["ppo"]
    kl_target: Annotated[float, Field(gt=0)] | None = None
    """KL per answer (nats) that the coefficient is adapted to; without one it is fixed."""
    kl_horizon: Positive = 10_000
    """Answers in which the coefficient may grow or shrink by a fifth."""
    score_clip: Annotated[float, Field(gt=0)] | None = None
    """Cut scores to plus or minus this."""
    missing_eos_score: float | None = None
    """Where `stop` is on: replaces the score of an answer that does not end."""
    missing_eos_penalty: Annotated[float, Field(gt=0)] | None = None
    """Where `stop` is on: taken off the score of an answer that does not end."""
    whiten_rewards: bool = False
    """Scale the shaped rewards of a rollout to unit variance."""
    value_clip: Annotated[float, Field(gt=0)] = 0.2
    """Range of the value's change that is followed."""
    value_coefficient: Weight = 0.1
    """Weight of the value loss."""
    critic: Literal["head", "trunk", "model"] = "head"
    """Where values come from: a head on the policy's trunk that leaves the trunk alone, one whose loss moves the
    trunk, or a model of its own that starts from the reward model."""
    discount: Rate = 1.0
    """Discount of later rewards."""
    smoothing: Share = 0.95
    """Lambda of generalised advantage estimation."""


class Grpo(_OnPolicy):
    """GRPO from the parent: each prompt is answered several times, and answers are judged by their group."""

    method: Literal["grpo"]
    size: Annotated[int, Field(ge=2)] = 4
    """Answers to each prompt; divides `batch`. Each is a showing of the prompt."""
    aggregation: Literal["grpo", "dapo", "dr_grpo"] = "grpo"
    """What the loss is divided by: each answer's length, all tokens, or the longest possible length."""
    normalise: bool = True
    """Divide advantages by their group's standard deviation."""


class Rloo(_OnPolicy):
    """RLOO from the parent: each answer is judged by the mean of the others to the same prompt."""

    method: Literal["rloo"]
    size: Annotated[int, Field(ge=2)] = 4
    """Answers to each prompt; divides `batch`. Each is a showing of the prompt."""


class Preference(StageSection):
    """Direct preference learning from the parent on the pairs of a reward stage."""

    pairs: RewardOf
    """The reward stage whose pairs are used."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the leash to the parent."""
    average: bool = False
    """Mean instead of sum of a sequence's log-probabilities."""


class Direct(Preference):
    """IPO or DPO."""

    method: Literal["ipo", "dpo"]


class Cdpo(Preference):
    """DPO that takes some pairs to be labelled the wrong way round."""

    method: Literal["cdpo"]
    label_smoothing: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of pairs that are."""


class Mdpo(Preference):
    """DPO that also learns to prefer an answer's true context to a corrupted one (arXiv 2406.11839)."""

    method: Literal["mdpo"]
    conditional: bool = True
    """Prefer the chosen answer behind its true context to the same behind a corrupted one; the reward stage has a
    `context` then."""
    anchor: bool = True
    """Keep the chosen answer's likelihood from falling below the parent's."""


class Rest(StageSection):
    """Self-training by tree search (ReST-MCTS*, arXiv 2406.03816): the policy learns the programs that it found and
    whose tests pass."""

    method: Literal["rest"]
    cohort: Name
    """The cohort whose examples, functions with doctests, are the problems."""
    rounds: Positive = 2
    """Searches, each followed by learning from what it found."""
    steps: Positive
    """Updates of the policy in a round."""
    value_steps: Positive
    """Updates of the value net in a round."""
    value_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak of the value net's learning rate."""
    budget: Positive = 48
    """Lines that the policy may propose for a problem in a round, and once more for the first lessons."""
    branch: Positive = 3
    """Lines proposed where a program is continued."""
    rollout: Natural = 1
    """Lines of the greedy rollout."""
    alpha: Share = 0.5
    """Weight of the best value in a rollout."""
    epsilon: Weight = 0.5
    """Weight of exploration."""
    unvisited: Weight = 0.9
    """What is added to the value of what was not visited yet."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    """Of the proposals."""
    line: Annotated[int, Field(ge=2)] = 16
    """Tokens of a line at most."""
    lines: Annotated[int, Field(ge=2)] = 8
    """Lines of a program at most."""


class Diffusion(StageSection):
    """The diffusion loss on a cohort's examples, in windows of tokens (arXiv 2406.11838): what it makes gives no
    distribution over tokens, and is asked by sampling alone."""

    method: Literal["diffusion"]
    parent: DiffusionOf | None = Field(default=None, alias="from")
    """The diffusion stage that this one goes on from; without one, it starts fresh."""
    cohort: Name
    """The cohort that is shown."""
    loss_on: Literal["targets", "all"] = "targets"
    """The windows that are learnt: those behind the probe's cut, or all."""
    window: Positive = 8
    """Tokens of a window."""
    size: Positive = 16
    """Numbers of a window's latent."""
    known: Natural = 20_000
    """Windows of public texts that latents can be read as, besides those of the cohorts."""
    width: Annotated[int, Field(gt=0, multiple_of=2)] = 128
    """Inner size of the network that takes noise off latents."""
    blocks: Positive = 3
    """Its residual blocks."""
    draws: Positive = 4
    """Times and noises that each latent is noised with at a showing."""
    final: Share = 0.1
    """Share of the learning rate left at the end."""


OnPolicy: TypeAlias = Ppo | Grpo | Rloo
Stage: TypeAlias = Annotated[
    Pretrain | Sft | RewardStage | Ppo | Grpo | Rloo | Direct | Cdpo | Mdpo | Rest | Diffusion,
    Field(discriminator="method"),
]
BY_METHOD: dict[str, type[StageSection]] = {
    "pretrain": Pretrain,
    "sft": Sft,
    "reward": RewardStage,
    "ppo": Ppo,
    "grpo": Grpo,
    "rloo": Rloo,
    "ipo": Direct,
    "dpo": Direct,
    "cdpo": Cdpo,
    "mdpo": Mdpo,
    "rest": Rest,
    "diffusion": Diffusion,
}
"""Method -> its section."""
ROLES = {
    "sft": "target",
    "reward": "preferred",
    "ppo": "prompt",
    "grpo": "prompt",
    "rloo": "prompt",
    "ipo": "preferred",
    "dpo": "preferred",
    "cdpo": "preferred",
    "mdpo": "preferred",
    "rest": "prompt",
    "diffusion": "target",
}
"""Method -> how a cohort's examples enter it."""
