"""The one way in which memaudit says that its input is wrong."""


class BadInput(Exception):
    """What was expected, what came, where, and what to set, in one line.

    The command line prints it and exits with code 2. Raise it before anything is written.
    """
