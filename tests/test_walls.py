"""The house keeps its walls: wings know neither each other nor the hall, and nothing imports the top floor."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WINGS = ("probes", "rlhf", "reports")
HALL = "memaudit"


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports, absolute; also inside functions and under TYPE_CHECKING."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no module in {package}/"
    return found


def under(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_no_other_part_of_the_house(wing: str) -> None:
    others = [p for p in (*WINGS, HALL) if p != wing]
    broken = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in modules(wing)
        for module in imported(path)
        if any(under(module, other) for other in others)
    ]
    assert broken == []


def test_nothing_in_the_hall_imports_the_command_line() -> None:
    broken = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in modules(HALL)
        for module in imported(path)
        if under(module, "memaudit.cli")
        and not path.is_relative_to(ROOT / HALL / "cli")
        and path.name != "__main__.py"
    ]
    assert broken == []


def test_probes_need_neither_arrays_nor_jax() -> None:
    heavy = ("jax", "numpy", "flax", "optax", "scipy")
    corpus_search = {f"probes/{room}.py" for room in ("index", "winnow", "duplicates")}
    broken = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in modules("probes")
        for module in imported(path)
        if any(under(module, name) for name in heavy)
        and not (under(module, "numpy") and path.relative_to(ROOT).as_posix() in corpus_search)
    ]
    assert broken == []


@pytest.mark.parametrize("package", [*WINGS, HALL])
def test_every_package_is_shipped(package: str) -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
