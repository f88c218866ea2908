"""Other people's packages, imported where they are needed and not before."""

import importlib
from typing import Any

from memaudit.errors import BadInput


def foreign(module: str, package: str) -> Any:
    """A module of somebody else's `package`. Raises BadInput, which says how to install it, where there is none."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadInput(
            f"expected {module} to be there to attach to, got no such library: pip install {package}"
        ) from error
