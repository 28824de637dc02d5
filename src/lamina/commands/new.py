"""`lamina new FOLDER --from SOURCE`: look into a source and set up a system for it."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lamina.commands.look import PACKAGE, above, look_into
from lamina.commands.template import fill, smear_values, source_values, story
from lamina.data.sources.fetched import DOWNLOADS
from lamina.errors import UserError
from lamina.files import staged, write_json

IGNORED: Final = ("/data/", "/models/", "/reports/", "/exported/", "/.lamina/")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lamina new`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the system shall be; made if missing")
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="SOURCE",
        help="folder, zip or tar, or the URL of one; tfds:NAME; smear",
    )
    parser.add_argument("--sha256", metavar="HEX", help="digest that the archive must have")


def run(arguments: argparse.Namespace) -> int:
    """Set up the system and print what was found, what was written, and what to type next."""
    for line in new(arguments.folder, arguments.source, pipeline=find_pipeline(), sha256=arguments.sha256):
        print(line)
    return 0


def new(folder: Path, source: str, *, pipeline: Path, sha256: str | None = None) -> list[str]:
    """Make a system in `folder` that reads `source`; all of its files, or none.

    source: path of a folder or an archive, URL of an archive, `tfds:` and a dataset's name, or `smear`; pipeline: the
    dvc.yaml to link; sha256: what the archive's digest must be. Returns what to tell the person. Raises UserError
    for what is no usable source, and where a system stands already. What was fetched stays in the folder even then,
    so that another attempt does not fetch it again.
    """
    if source == "smear" and sha256 is not None:
        raise UserError("--sha256: smear is drawn here and has none; leave it out")
    _check_target(folder)
    baseline = folder / "baselines" / "data.json"
    with _all_or_nothing(folder, [folder / ".gitignore", folder / "dvc.yaml", baseline.parent, baseline]):
        look = None if source == "smear" else look_into(source, folder, _digest(sha256))
        told = [f"found {story(look)}" if look else "smear: pictures of stained blood, drawn here"]
        text = fill(source_values(look) if look else smear_values(folder), folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not baseline.exists():
            write_json(baseline, {})  # what DVC watches must be there
        _ignore_outputs(folder / ".gitignore")
        (folder / "dvc.yaml").symlink_to(_link(pipeline, folder))
        told += _make_repository(folder)
        with staged(folder / "params.yaml") as part:
            part.write_text(text, encoding="utf-8")
    told.append(f"wrote {folder / 'params.yaml'}: every line says what it does; look it through")
    return [*told, f"cd {shlex.quote(str(folder))} && dvc repro"]


def _check_target(folder: Path) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        if os.path.lexists(folder / name):
            raise UserError(f"{folder / name}: exists already; choose another folder, or remove it first")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; name a folder")


def _digest(told: str | None) -> str | None:
    if told is not None and not re.fullmatch("[0-9a-fA-F]{64}", told):
        raise UserError(f"--sha256: expected 64 hexadecimal digits, got {told!r}")
    return told and told.lower()


def find_pipeline() -> Path:
    """The project's dvc.yaml: at the root of a checkout, or inside an installed package."""
    for path in (PACKAGE.parents[1] / "dvc.yaml", PACKAGE / "dvc.yaml"):
        if path.is_file():
            return path
    raise UserError(f"{PACKAGE.parents[1] / 'dvc.yaml'}: not found; install lamina again, or check it out whole")


def _link(pipeline: Path, folder: Path) -> str:
    """Where the folder's dvc.yaml points: a relative path within the project, which may then be moved as a whole."""
    if folder.resolve().is_relative_to(pipeline.parent):
        return os.path.relpath(pipeline, folder.resolve())
    return str(pipeline)


def _ignore_outputs(path: Path) -> None:
    """See that git ignores what the stages write; lines that are there stay."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    missing = [line for line in IGNORED if line not in lines]
    if missing:
        with staged(path) as part:
            part.write_text("\n".join([*lines, *missing]) + "\n", encoding="utf-8")


def _make_repository(folder: Path) -> list[str]:
    """Where the folder lies in no DVC repository, make one: at git's root, or in the folder itself."""
    if above(folder, ".dvc"):
        return []
    git = above(folder, ".git")
    command = [sys.executable, "-m", "dvc", "init", "--quiet", *([] if git else ["--no-scm"])]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=git or folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise UserError(f"{git or folder}: `dvc init` failed: {said}")
    return [f"made a DVC repository in {git or folder}" + ("" if git else " (without git)")]


@contextmanager
def _all_or_nothing(folder: Path, files: list[Path]) -> Iterator[None]:
    """After an error, remove what was not there before, but for what was fetched."""
    root = above(folder, ".git") or folder
    news = [*files, root / ".dvc", root / ".dvcignore"]
    made = [path for path in news if not os.path.lexists(path)]
    downloads = folder.absolute() / DOWNLOADS
    folders = [path for path in (downloads, *downloads.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in made:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for path in folders:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise
