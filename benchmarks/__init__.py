"""Timed comparisons, each a command that prints ratios: `python -m benchmarks.probes`."""
