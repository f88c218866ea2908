"""Settings every test shares."""

from hypothesis import settings

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=10_000)
settings.load_profile("ci")
