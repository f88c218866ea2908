"""The command line."""

from memaudit.cli.app import main

__all__ = ["main"]
