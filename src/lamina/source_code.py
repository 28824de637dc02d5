"""Which modules of the package import which, read from the source without running it."""

import ast
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent


def module_path(module: str) -> Path | None:
    """The file of `lamina.a.b`, or None where that names no module (but, say, a class)."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def source(module: str) -> Path:
    """The file of `lamina.a.b`. Raises ValueError where that names no module."""
    path = module_path(module)
    if path is None:
        raise ValueError(f"{module}: no module of this package")
    return path


def all_modules() -> list[str]:
    """Every module of the package, by dotted name; packages' `__init__` excepted, which hold no code."""
    files = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return [".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)) for path in files]


@cache
def named_imports(module: str) -> frozenset[str]:
    """Everything that a module imports anywhere in its text, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(source(module).read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@cache
def imported_modules(module: str) -> frozenset[str]:
    """The package's own modules that a module imports directly."""
    found = set()
    for name in named_imports(module):
        if name.split(".")[0] != PACKAGE.name:
            continue
        whole, parent = module_path(name), name.rpartition(".")[0]
        found.add(name if whole and whole.name != "__init__.py" else parent)
    return frozenset(name for name in found if (path := module_path(name)) and path.name != "__init__.py")


def closure(module: str) -> set[str]:
    """A module and all of the package's modules that it needs, directly or not."""
    found, waiting = {module}, [module]
    while waiting:
        new = imported_modules(waiting.pop()) - found
        found |= new
        waiting += new
    return found
