"""Whether renderers give the same bytes in every process, whatever order sets and dictionaries have there."""

import subprocess
import sys
from pathlib import Path


def assert_equal_bytes(sample: str, *renderers: str) -> None:
    """Render `sample` (`module:expression`) by all of `renderers` (`module:name`) under two hash seeds."""
    module, expression = sample.split(":")
    code = f"import hashlib, importlib\nfrom {module} import *\nfound = {expression}\n"
    code += "".join(
        f"print(hashlib.sha256(importlib.import_module({where!r}).{name}(found).encode()).hexdigest())\n"
        for where, name in (renderer.split(":") for renderer in renderers)
    )
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(paths)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == len(renderers)
