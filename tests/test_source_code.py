"""Which code decides a result: imports, files that modules name, and digests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina import source_code
from lamina.source_code import closure, code_digest, code_lines, imported_modules, named_files, named_imports

HIGH = '''"""Docstring."""

from lamina.low import NUMBER


def double() -> int:
    """Docstring."""
    return 2 * NUMBER
'''
CHAPTER = """TEMPLATE = "page.html.jinja"
STYLE = "page.css"
THIS = "chapter.py"
PACKAGE = "__init__.py"
"""
FILES = {
    "__init__.py": '__version__ = "1"\n',
    "low.py": "NUMBER = 1\n",
    "high.py": HIGH,
    "room/__init__.py": "",
    "room/chapter.py": CHAPTER,
    "room/page.html.jinja": '{% include "part.html.jinja" %}\n{%- from "macros.html.jinja" import figure %}\n',
    "room/part.html.jinja": "<p>part</p>\n",
    "room/page.css": "p { color: black }\n",
    "room/unused.html.jinja": "<p>unused</p>\n",
    "shared/__init__.py": "",
    "shared/macros.html.jinja": "{% macro figure() %}{% endmacro %}\n",
}


def forget() -> None:
    for function in vars(source_code).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of a few modules in place of lamina's own."""
    folder = tmp_path / "lamina"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(source_code, "PACKAGE", folder)
    forget()
    yield folder
    forget()


def digest(package: Path, name: str, text: str, *modules: str) -> str:
    """The digest of some modules' code after a file was written again."""
    (package / name).write_text(text)
    forget()
    return code_digest(*modules)


def test_a_module_needs_what_it_imports_directly_or_not(package: Path) -> None:
    (package / "top.py").write_text("import lamina.high\nfrom lamina import room\nfrom lamina.room import chapter\n")
    assert imported_modules("lamina.top") == {"lamina.high", "lamina.room.chapter"}
    assert closure("lamina.top") == {"lamina.top", "lamina.high", "lamina.low", "lamina.room.chapter"}


def test_imports_inside_functions_count(package: Path) -> None:
    (package / "late.py").write_text("def late() -> None:\n    import lamina.low\n    import numpy as np\n")
    assert named_imports("lamina.late") == {"lamina.low", "numpy"}


def test_imports_for_type_checkers_do_not_count(package: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lamina.low\nelse:\n    import lamina.high\n"
    (package / "typed.py").write_text(text)
    assert imported_modules("lamina.typed") == {"lamina.high"}


@pytest.mark.parametrize(
    "text",
    [
        HIGH.replace("Docstring.", "Another docstring.\n\n    Of more lines.\n    "),
        HIGH.replace("\n\n", "\n\n\n\n"),
        "# a comment\n" + HIGH.replace("2 * NUMBER", "2 * NUMBER  # another"),
        HIGH.replace('    """Docstring."""\n', ""),
    ],
    ids=["docstring", "blank lines", "comment", "no docstring"],
)
def test_comments_docstrings_and_blank_lines_do_not_count(package: Path, text: str) -> None:
    before = code_digest("lamina.high")
    assert digest(package, "high.py", text, "lamina.high") == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("high.py", HIGH.replace("2 *", "3 *")),
        ("high.py", HIGH.replace("    return", "    'no docstring'; return")),
        ("low.py", "NUMBER = 2\n"),
    ],
)
def test_code_counts(package: Path, name: str, text: str) -> None:
    before = code_digest("lamina.high")
    assert digest(package, name, text, "lamina.high") != before


def test_a_string_that_looks_like_a_comment_counts(package: Path) -> None:
    before = digest(package, "low.py", 'COLOR = "#fff"\n', "lamina.low")
    assert digest(package, "low.py", 'COLOR = "#000"\n', "lamina.low") != before


def test_the_version_does_not_count(package: Path) -> None:
    (package / "low.py").write_text("import lamina\nfrom lamina import __version__\n")
    forget()
    before = code_digest("lamina.high", "lamina.room.chapter")
    assert digest(package, "__init__.py", '__version__ = "2"\n', "lamina.high", "lamina.room.chapter") == before


def test_files_that_a_module_names_count_and_what_they_include(package: Path) -> None:
    names = {path.relative_to(package).as_posix() for path in named_files("lamina.room.chapter")}
    assert names == {"room/page.html.jinja", "room/part.html.jinja", "room/page.css", "shared/macros.html.jinja"}
    for name in names:
        before = code_digest("lamina.room.chapter")
        assert digest(package, name, FILES[name] + "\n", "lamina.room.chapter") != before
    before = code_digest("lamina.room.chapter")
    assert digest(package, "room/unused.html.jinja", "changed", "lamina.room.chapter") == before


def test_a_list_has_a_line_for_each_file_sorted_by_its_path(package: Path) -> None:
    lines = [line.split("  ") for line in code_lines("lamina.high", "lamina.room.chapter")]
    names = [name for _, name in lines]
    assert names == sorted(names)
    assert {"high.py", "low.py", "room/chapter.py", "room/page.css"} < set(names)
    assert all(len(digest) == 64 for digest, _ in lines)


def test_what_is_no_module_is_an_error(package: Path) -> None:
    with pytest.raises(ValueError, match=r"lamina\.nothing: not a module of this package"):
        code_lines("lamina.nothing")
