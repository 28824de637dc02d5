"""Which code decides a result: the modules that a module imports, and a digest of what they do.

One rule for the whole package. Stages, studies, caches and records all depend on the code of some modules and of every
module of the package that these import, directly or not. Comments, docstrings and blank lines do not count: they decide
nothing. A file that a module names (a template, a style sheet) counts as part of it.
"""

import ast
import hashlib
import io
import re
import tokenize
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent
DATA_SUFFIXES: Final = (".jinja", ".css", ".js", ".yaml", ".py")  # of files that modules name in strings
_NAMED_IN_TEMPLATES: Final = re.compile(r"""{%-?\s*(?:include|import|from|extends)\s+["']([^"']+)["']""")


def module_path(module: str) -> Path | None:
    """Return the file of a dotted name such as `lamina.a.b`; None where it names no module (but a class, say)."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def source(module: str) -> Path:
    """Return the file of a module.

    Raises:
        ValueError: if the name is not that of a module of this package.
    """
    path = module_path(module)
    if path is None:
        raise ValueError(f"{module}: not a module of this package")
    return path


def all_modules() -> list[str]:
    """List every module of the package by its dotted name, without the packages' own (empty) `__init__`."""
    files = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return [".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)) for path in files]


@cache
def named_imports(module: str) -> frozenset[str]:
    """List everything that a module imports anywhere in its text, as dotted names.

    Imports for type checkers alone (`if TYPE_CHECKING:`) are left out: they decide nothing.
    """
    found = set()
    waiting: list[ast.AST] = [_tree(source(module))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        waiting += ast.iter_child_nodes(node)
    return frozenset(found)


@cache
def imported_modules(module: str) -> frozenset[str]:
    """List the package's own modules that a module imports directly."""
    found = set()
    for name in named_imports(module):
        if name.split(".")[0] != PACKAGE.name:
            continue
        path, parent = module_path(name), name.rpartition(".")[0]
        found.add(name if path and path.name != "__init__.py" else parent)
    return frozenset(name for name in found if (path := module_path(name)) and path.name != "__init__.py")


def closure(*modules: str) -> set[str]:
    """Return modules and all modules of the package that they need, directly or not."""
    found, waiting = set(modules), list(modules)
    while waiting:
        new = imported_modules(waiting.pop()) - found
        found |= new
        waiting += new
    return found


@cache
def named_files(module: str) -> frozenset[Path]:
    """Return the package's data files that a module names in a string, and the files that those templates include.

    Not `__init__.py`: packages hold no code, except for the version, which decides nothing.
    """
    folder = source(module).parent
    names = {
        node.value
        for node in ast.walk(_tree(source(module)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(DATA_SUFFIXES)
    }
    waiting = [folder / name for name in names if (folder / name).is_file()]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in found or path == source(module) or path.name == "__init__.py":
            continue
        found.add(path)
        if path.suffix == ".jinja":
            included = _NAMED_IN_TEMPLATES.findall(path.read_text(encoding="utf-8"))
            waiting += [place for name in included for place in (path.parent / name, *PACKAGE.glob(f"*/{name}"))]
            waiting = [place for place in waiting if place.is_file()]
    return frozenset(found)


def code_lines(*modules: str) -> list[str]:
    """List what the code of some modules is: a line `DIGEST  PATH` for each file of their closure, sorted by path.

    Args:
        modules: dotted names.

    Returns:
        Lines with the SHA-256 of each file's code in hexadecimal, and its path inside the package.
    """
    needed = closure(*modules)
    files = {source(module) for module in needed} | {path for module in needed for path in named_files(module)}
    return [f"{_digest(path)}  {path.relative_to(PACKAGE).as_posix()}" for path in sorted(files)]


@cache
def code_digest(*modules: str) -> str:
    """Return the SHA-256, in hexadecimal, of the code of some modules and of all that they import."""
    return hashlib.sha256("\n".join(code_lines(*modules)).encode()).hexdigest()


@cache
def _digest(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return hashlib.sha256((_code_alone(text, _tree(path)) if path.suffix == ".py" else text).encode()).hexdigest()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _code_alone(text: str, tree: ast.Module) -> str:
    """Return Python code without comments, docstrings and blank lines."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno or node.body[0].lineno
            lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())
