"""The pages say what is true: links lead somewhere, commands and their options exist, Python code runs."""

import ast
import importlib.util
import json
import re
import shlex
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from checkout import ROOT
from finished import CONVERT, run_settings, write_params
from lamina import cli
from tracked import write_run

PAGES = sorted(
    path for pattern in ("*.md", "docs/*.md", "bench/README.md", "pipelines/*/README.md") for path in ROOT.glob(pattern)
)
GUIDES = [page for page in PAGES if page.name != "CHANGELOG.md"]  # it names commands of old versions
NOTEBOOK = ROOT / "docs" / "tour.ipynb"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```([\w{}-]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
FOREIGN = {
    "cd",
    "dask",
    "pip",
    "git",
    "source",
    "export",
    "cp",
    "curl",
    "docker",
    "mlflow",
    "sh",
    "argo",
}  # commands of others


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return [text for _, found, text in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---- links


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    missing = []
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert not missing


def test_every_page_is_in_the_table_of_contents() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {line for block in blocks(index, "{toctree}") for line in block.splitlines() if line and line[0] != ":"}
    there = {page.stem for page in ROOT.glob("docs/*.md") if page != index} | {NOTEBOOK.name}
    assert {entry for entry in listed if "/" not in entry} == there
    assert all((index.parent / f"{entry}.md").exists() for entry in listed if "/" in entry)


def test_the_readme_fits_on_about_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90


# ---- commands


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command of a page's shell blocks."""
    for block in blocks(page, "console"):
        joined = re.sub(r"(\||\\)\n", r"\1 ", block)
        for line in joined.splitlines():
            for part in re.split(r"&&|\|", re.sub(r"\s+#.*", "", line)):
                words = shlex.split(part.replace("<", "").replace(">", ""))
                while words and re.fullmatch(r"\w+=.*", words[0]):
                    words = words[1:]
                if words:
                    yield words


def refusal(parser: ArgumentParser, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a parser says against a command; nothing if it takes it."""
    try:
        parser.parse_args(words)
    except SystemExit:
        return capsys.readouterr().err
    return ""


def problem(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    program, *rest = words
    if program == "lamina":
        return refusal(cli._parser(cli.COMMANDS), rest, capsys)
    if program == "dvc":
        from dvc.cli.parser import get_main_parser

        return refusal(get_main_parser(), rest, capsys)
    if program == "make" and "-f" not in rest:  # our own Makefile
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return "" if {word for word in rest if "=" not in word} <= set(targets) else f"no target {rest}"
    if program == "python":
        places = [ROOT / rest[0], *ROOT.glob(f"pipelines/*/{rest[0]}")]
        return "" if rest[0] in ("-m", "-c") or any(place.is_file() for place in places) else f"no script {rest[0]}"
    return "" if program in {*FOREIGN, "make"} else f"unknown program {program}"


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_commands_and_their_options_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {" ".join(words): problem(words, capsys) for words in commands(page)}
    assert not {command: said for command, said in found.items() if said}


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_commands_in_sentences_exist(page: Path) -> None:
    """Their arguments may be left out there; names of commands, options and scripts may not be wrong."""
    wrong = []
    for text in INLINE.findall(prose(page)):
        words = text.split()
        if words[0] == "lamina" and len(words) > 1:
            helped = _options(words[1]) if words[1] in cli.COMMANDS else set()
            wrong += [text] if words[1] not in cli.COMMANDS or {w for w in words if w.startswith("--")} - helped else []
        if words[0] == "python" and len(words) > 1 and words[1].endswith(".py"):
            wrong += [] if any(place.is_file() for place in (ROOT / words[1], page.parent / words[1])) else [text]
    assert not wrong


def _options(command: str) -> set[str]:
    parser = ArgumentParser()
    import_module(f"lamina.commands.{command.replace('-', '_')}").add_arguments(parser)
    return {option for action in parser._actions for option in action.option_strings} | {"--system"}


# ---- Python


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages talk of: systems with trained runs, and pictures."""
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    folder = tmp_path_factory.mktemp("place")
    runs = ("frozen", "fine_tuned")
    write_params(folder, {run: run_settings("head") for run in runs}, convert=CONVERT)
    for run in runs:
        saved = write_run(folder, run=run) / "model.keras"
        save_model(build_network("small_cnn", 8, 2, dropout=0.5, seed=3), saved)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8))
    for path in ("docs/smear.png", "new/leaf.png", "novas/folha.png"):
        (folder / path).parent.mkdir()
        picture.save(folder / path)
    (folder / "pipelines").mkdir()
    for system in ("leaves", "folhas"):
        (folder / "pipelines" / system).symlink_to(folder)
    return folder


@pytest.mark.parametrize("page", [page for page in GUIDES if blocks(page, "python")], ids=name)
def test_python_code_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for code in blocks(page, "python"):
        tree = ast.parse(code)
        imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        if all(importlib.util.find_spec(module) for module in imports):  # PyTorch is not there
            exec(compile(tree, name(page), "exec"), {})  # noqa: S102 - our own pages


def test_the_notebook_was_saved_after_it_ran() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    ran = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in ran] == list(range(1, len(ran) + 1))
    assert not [output for cell in ran for output in cell["outputs"] if output["output_type"] in ("error", "stream")]
    assert str(ROOT) not in NOTEBOOK.read_text(encoding="utf-8")
