"""Trainings that are not ours: what they say is watched, and what they roll out is heard."""

from memaudit.attach.reward import wrap_reward
from memaudit.attach.rollouts import Rollouts
from memaudit.attach.summary import Summary, summarise
from memaudit.attach.watch import Watch

__all__ = ["Rollouts", "Summary", "Watch", "summarise", "wrap_reward"]
