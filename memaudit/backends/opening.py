"""From a path or an address to the backend that can ask what is there."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memaudit.backends.folder import files_of, identity_of
from memaudit.backends.protocol import Backend
from memaudit.errors import BadInput
from rlhf.families import to_config
from rlhf.sampling import Sampler
from rlhf.specials import settings
from rlhf.tokenizer import Tokenizer

KEY = "MEMAUDIT_API_KEY"
"""The environment variable that holds the key of an endpoint."""
Kind = Literal["auto", "jax", "transformers"]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a backend is to be opened."""

    kind: Kind = "auto"
    """Of a folder. auto: jax for the shapes that it knows (Llama, Qwen2, GLM), else transformers."""
    batch: int = 64
    """Probes asked at once; fewer where they are long. Of a folder."""
    samplers: tuple[Sampler, ...] = ()
    """Of each, the chance to say a target is told."""
    served: str | None = None
    """Name of the model at an endpoint; None: the one that it has."""
    parallel: int = 4
    """Requests that an endpoint is sent at once."""
    rate: float | None = None
    """Requests a second; None: any number."""


def open_backend(where: str, manner: Manner) -> Backend:
    """The backend for a model folder, or for the address of an OpenAI-compatible endpoint.

    Raises BadInput where there is no model that can be asked.
    """
    if where.startswith(("http://", "https://")):
        # Each imports what it needs, which takes seconds that the others have no use for.
        from memaudit.backends.http import Completions

        return Completions(
            url=where,
            model=manner.served,
            key=os.environ.get(KEY),
            parallel=manner.parallel,
            rate=manner.rate,
        )
    if manner.served is not None:
        raise BadInput(f"--served: expected none beside a folder, got {manner.served!r}: leave it out")
    files = files_of(Path(where))
    if manner.kind == "jax" or (manner.kind == "auto" and _known(Path(where))):
        from memaudit.backends.jax import Jax

        return Jax.read(
            Path(where), identity=identity_of(files), batch=manner.batch, samplers=manner.samplers
        )
    from memaudit.backends import huggingface

    return huggingface.read(Path(where), batch=manner.batch, samplers=manner.samplers)


def _known(folder: Path) -> bool:
    path = folder / "config.json"
    try:
        to_config(settings(path), path)
        Tokenizer.read(folder)
    except ValueError:
        return False
    return True
