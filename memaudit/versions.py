"""What ran: the versions that a result may depend on."""

import platform
from importlib.metadata import PackageNotFoundError, version

import probes


def versions(*more: str) -> dict[str, str]:
    """Of Python, of the packages that train and compare (and of `more`), and of every grammar."""
    packages = ("memaudit", "jax", "jaxlib", "flax", "optax", "numpy", "tokenizers", "rapidfuzz", *more)
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        **probes.versions(),
    }


def _version(name: str) -> str:
    """A package may be read from a path without having been installed, as this one is in another's environment."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
