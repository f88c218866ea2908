"""What a study will take, before it runs: from the arithmetic of its stages and the speed of this machine.

An estimate: the arithmetic counts matrix products alone, two operations a parameter and token, six where gradients
are taken, and how much of the machine's speed they reach was measured once, with a model of a million parameters.
"""

import time

import numpy as np

from memaudit.course import Leg
from memaudit.methods import Grpo, OnPolicy, Preference, Pretrain, RewardStage, Rloo
from memaudit.stages import Setting, steps_of
from rlhf.presets import parameters

_FORWARD, _TRAINED = 2, 6  # operations a parameter and token
_REACHED = 0.6  # of the speed of a large product, in training and scoring
_DECODED = 4  # times as much as a scored token, in small batches
_COMPILING = 4.0  # seconds a leg, for what has to be compiled or looked up


def speed() -> float:
    """Operations a second that one thread of this machine reaches in a product of large matrices (float32)."""
    a, b = np.ones((512, 512), np.float32), np.ones((512, 512), np.float32)
    best = 0.0
    for _ in range(5):
        # Of the processors' time, as the product may take several threads and a worker has one.
        start = time.process_time()
        for _ in range(4):
            np.matmul(a, b)
        best = max(best, 4 * 2 * 512**3 / (time.process_time() - start))
    return best


def operations(setting: Setting, leg: Leg) -> float:
    """Of training a leg and asking what it made."""
    recipe, population = setting.recipe, setting.population
    config = recipe.stages[leg.stage]
    size = parameters(setting.decoder.config)
    length, probes = setting.time, len(population.probes)
    steps = steps_of(setting, leg.twins[0], leg.stage)
    if isinstance(config, Pretrain):
        trained = steps * config.batch * config.window * _TRAINED
    elif isinstance(config, RewardStage | Preference):
        trained = steps * config.batch * 2 * length * _TRAINED + probes * length * _DECODED
    elif isinstance(config, OnPolicy):
        whole = length + config.response
        # The answer, its scores by the parent, the policy and the reward model, and the updates.
        shown = (
            config.response * _DECODED * _FORWARD + 3 * whole * _FORWARD + config.epochs * whole * _TRAINED
        )
        trained = steps * config.batch * shown
    else:
        trained = steps * config.batch * length * _TRAINED
    samples = recipe.audit.samples if isinstance(config, OnPolicy | Grpo | Rloo) else 0
    asked = probes * (1 + recipe.audit.twice) * length * _FORWARD * 2
    asked += probes / 3 * samples * getattr(config, "response", 0) * _DECODED * _FORWARD
    return float(size) * (trained + asked)


def seconds(setting: Setting, leg: Leg, rate: float) -> float:
    """How long a leg takes one thread that reaches `rate` operations a second (see `speed`)."""
    return _COMPILING + operations(setting, leg) / (_REACHED * rate)
