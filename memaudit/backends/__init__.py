"""Models that can be asked, whoever runs them: *score this target*, *continue this prefix*."""

from memaudit.backends.protocol import About, Backend, Question, Said, budget

__all__ = ["About", "Backend", "Question", "Said", "budget"]
