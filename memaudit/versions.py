"""What ran: the versions that a result may depend on."""

import platform
from importlib.metadata import version

import probes


def versions(*more: str) -> dict[str, str]:
    """Of Python, of the packages that train and compare (and of `more`), and of every grammar."""
    packages = ("memaudit", "jax", "jaxlib", "flax", "optax", "numpy", "tokenizers", "rapidfuzz", *more)
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        **probes.versions(),
    }
