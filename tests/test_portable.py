"""What keeps lamina running on macOS and Windows, as far as a test on Linux can say: modules, calls, text files."""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from checkout import ROOT
from lamina.commands import new
from lamina.installation import PACKAGE
from lamina.source_code import all_modules

UNIX = {"fcntl", "grp", "pwd", "resource", "termios"}  # modules that Windows does not have
PROCESSES = {"fork", "forkpty", "getuid", "geteuid", "killpg", "setsid", "mkfifo", "chown"}
CALLS = PROCESSES | {"AF_UNIX", "SIGKILL", "SIGCHLD", "SIGHUP"}
ON_LINUX_ALONE = "lamina.stages.warm"  # where nothing else runs it: `warm.run` says so first
GUARDED = {("lamina.data.memory", "getuid"), ("lamina.files", "getuid")}  # behind hasattr


@cache
def tree_of(module: str) -> ast.Module:
    found = importlib.util.find_spec(module)
    assert found
    assert found.origin
    return ast.parse(Path(found.origin).read_text(encoding="utf-8"))


def names_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_no_module_needs_unix_to_be_imported() -> None:
    at_import = [(module, name) for module in all_modules() for node in tree_of(module).body for name in names_of(node)]
    assert len({module for module, _ in at_import}) > 100
    assert [one for one in at_import if one[1] in UNIX] == []


def test_no_module_calls_what_only_unix_has() -> None:
    used = {
        (module, node.attr)
        for module in all_modules()
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute) and node.attr in CALLS and module != ON_LINUX_ALONE
    }
    assert used - GUARDED == set()


def test_the_warm_process_is_for_linux_alone() -> None:
    (run,) = (node for node in tree_of(ON_LINUX_ALONE).body if isinstance(node, ast.FunctionDef) and node.name == "run")
    first = next(node for node in run.body if not isinstance(node, ast.Expr))
    assert 'sys.platform != "linux"' in ast.unparse(first).replace("'", '"')


def calls(*names: str) -> Iterator[tuple[str, ast.Call, set[str | None]]]:
    """Yield the calls of methods of these names: the module, the call, and its keywords."""
    for module in all_modules():
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
                yield module, node, {keyword.arg for keyword in node.keywords}


def test_text_files_have_an_encoding_and_the_same_line_ends_everywhere() -> None:
    for module, call, given in calls("read_text"):
        assert call.args or "encoding" in given, f"{module}: {ast.unparse(call)}"
    for module, call, given in calls("write_text"):
        if "/proc/" not in ast.unparse(call):
            assert {"encoding", "newline"} <= given, f"{module}: {ast.unparse(call)}"


def test_a_system_gets_a_copy_of_the_pipeline_where_links_are_not_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("[WinError 1314] A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)
    monkeypatch.setattr(new, "repository", lambda folder: ROOT)
    new._write_pipeline(tmp_path, ROOT / "dvc.yaml")
    assert not (tmp_path / "dvc.yaml").is_symlink()
    assert "stages:" in (tmp_path / "dvc.yaml").read_text(encoding="utf-8")


def test_no_file_of_the_package_has_a_name_that_windows_refuses() -> None:
    names = [path.name for path in PACKAGE.rglob("*") if path.suffix != ".pyc"]
    assert not [name for name in names if set(name) & set('<>:"\\|?*') or name.endswith((" ", "."))]
