"""`lamina new FOLDER --from SOURCE`: look into a source and set up a system for it."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lamina import installation
from lamina.commands.look import Look, TextLook, above, look_into, repository
from lamina.commands.template import Filling, fill, picture_filling, smear_filling, story, text_filling
from lamina.data.sources.fetched import DOWNLOADS
from lamina.data.sources.places import in_the_way
from lamina.errors import UserError
from lamina.files import discard, staged, write_json
from lamina.locks import LOCKS
from lamina.tracking.store import store_root

IGNORED: Final = ("/data/", "/models/", "/ensembles/", "/weights/", "/reports/", "/exported/", "/.lamina/")
IGNORED_AT_ROOT: Final = ("/mlflow/",)  # where MLflow's store is, `store_root`
OUTSIDE: Final = (
    "note: source.location is outside this repository: others cannot reproduce it; copy it inside or use a URL"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lamina new`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the new system; made if missing")
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="SOURCE",
        help="folder, zip or tar of pictures or texts, or the URL of an archive; tfds:NAME; sklearn:digits; smear",
    )
    parser.add_argument("--sha256", metavar="HEX", help="digest that the archive must have")


def run(arguments: argparse.Namespace) -> int:
    """Set up the system and print what was found, what was written, and what to type next."""
    for line in new(arguments.folder, arguments.source, sha256=arguments.sha256):
        print(line)
    return 0


def new(folder: Path, source: str, *, sha256: str | None = None) -> list[str]:
    """Set up a system; all of its files, or none.

    An archive that was downloaded stays in the folder even after an error, so that another attempt does not
    download it again.

    Args:
        folder: folder of the system; made if missing.
        source: path of a folder or an archive, URL of an archive, `tfds:` and the name of a dataset,
            `sklearn:digits`, or `smear`.
        sha256: the digest that the archive must have.

    Returns:
        Lines for the person: what was found, what was written, what to type next.

    Raises:
        UserError: the source cannot be used, or a system is there already.
    """
    if source == "smear" and sha256 is not None:
        raise UserError("--sha256: smear is drawn here and has none; leave it out")
    _check_target(folder)
    baseline = folder / "baselines" / "data.json"
    with _all_or_nothing(folder, [folder / "dvc.yaml", baseline.parent, baseline]):
        look = None if source == "smear" else look_into(source, folder, _digest(sha256))
        lines = [f"found {story(look)}" if look else "smear: pictures of stained blood, drawn by lamina"]
        lines += look.notes if look else []
        lines += [OUTSIDE] if look and look.place.outside else []
        text = fill(_filling(look))
        pipeline = find_pipeline("texts.dvc.yaml" if isinstance(look, TextLook) else "dvc.yaml")
        folder.mkdir(parents=True, exist_ok=True)
        if not baseline.exists():
            write_json(baseline, {})  # DVC needs every dependency to exist
        _ignore(folder / ".gitignore", IGNORED)
        _write_pipeline(folder, pipeline)
        lines += _make_repository(folder)
        with staged(folder / "params.yaml") as part:
            part.write_text(text, encoding="utf-8", newline="\n")
    lines.append(f"wrote {folder / 'params.yaml'}: read it through; every line has a comment")
    if look and look.labels.choices:
        lines.append(f"then choose source.labels there: {' or '.join(look.labels.choices)}")
        lines.append("and set source.origin, if each of the other folders holds one patient, slide or scene")
    if look and look.labels.targets and look.place.kind != "folder":
        lines.append(f"then copy {Path(look.labels.targets.table).name} out of the archive into {folder}")
    return [*lines, _next_command(folder)]


def _filling(look: Look | TextLook | None) -> Filling:
    if look is None:
        return smear_filling()
    return text_filling(look) if isinstance(look, TextLook) else picture_filling(look)


def _check_target(folder: Path) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        if os.path.lexists(folder / name):
            raise UserError(f"{folder / name}: exists already; choose another folder, or remove it first")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; name a folder")
    if (place := in_the_way(folder)) is not None:
        raise UserError(
            f"{place}: is there already, and `dvc repro` would remove it to write its own; choose another folder, or "
            "move it away"
        )


def _digest(digest: str | None) -> str | None:
    if digest is not None and not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise UserError(f"--sha256: expected 64 hexadecimal digits, got {digest!r}")
    return digest and digest.lower()


def find_pipeline(name: str) -> Path:
    """Find a pipeline of lamina: `dvc.yaml` for pictures, `texts.dvc.yaml` for texts.

    Raises:
        UserError: this installation does not have it.
    """
    root = installation.checkout()
    places = [*([root / name] if root else []), installation.PACKAGE / name]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise UserError(f"{places[-1]}: not found; install a complete or newer lamina: `pip install --upgrade lamina`")
    return found


def _write_pipeline(folder: Path, pipeline: Path) -> None:
    """Link the pipeline within a checkout of lamina; copy it everywhere else."""
    root = installation.checkout()
    if root and repository(folder) == root:
        with suppress(OSError):  # Windows lets not everybody make links
            (folder / "dvc.yaml").symlink_to(os.path.relpath(pipeline, folder.resolve()))
            return
    text = installation.stamped(pipeline.read_text(encoding="utf-8"))
    with staged(folder / "dvc.yaml") as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def _ignore(path: Path, patterns: Iterable[str]) -> None:
    """Add patterns to a .gitignore; its lines stay, whatever their encoding."""
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if path.exists() else []
    missing = [line for line in patterns if line not in lines]
    if missing:
        with staged(path) as part:
            text = "\n".join([*lines, *missing]) + "\n"
            part.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def _make_repository(folder: Path) -> list[str]:
    """Make a DVC repository, at the root of git or in the folder, unless there is one; git ignores MLflow's store."""
    _check_seen_by_git(folder)
    made = [] if above(folder, ".dvc") else [_initialize_dvc(folder)]
    _ignore(store_root(folder) / ".gitignore", IGNORED_AT_ROOT)
    return made


def _initialize_dvc(folder: Path) -> str:
    git = above(folder, ".git")
    root = git or folder
    command = [sys.executable, "-m", "dvc", "init", "--quiet", *([] if git else ["--no-scm"])]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        output = " ".join((done.stderr or done.stdout).split())[:300]
        raise UserError(f"{root}: `dvc init` failed: {output}")
    return f"made a DVC repository in {root}" + ("" if git else " (without git)")


def _check_seen_by_git(folder: Path) -> None:
    """Refuse a folder that git ignores, where DVC reads no pipeline. Raises UserError with the line that says so."""
    project = above(folder, ".dvc")
    settings = project / ".dvc" / "config" if project else None
    if settings and settings.is_file() and "no_scm" in settings.read_text(encoding="utf-8"):
        return
    command = ["git", "check-ignore", "--verbose", "dvc.yaml"]
    with suppress(FileNotFoundError):  # without git
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            line = done.stdout.partition("\t")[0]
            raise UserError(f"{folder}: git ignores it ({line}), and DVC runs nothing there; choose another folder")


def _next_command(folder: Path) -> str:
    """What to type next: `python`, as dvc.yaml names it, must be the one that runs this."""
    here = Path(sys.executable).parent
    found = shutil.which("python")
    path = "" if found and Path(found).parent.resolve() == here.resolve() else f'PATH={shlex.quote(str(here))}:"$PATH" '
    place = f"./{folder}" if str(folder).startswith("-") else str(folder)  # else cd takes it for an option
    return f"cd {shlex.quote(place)} && {path}dvc repro"


@contextmanager
def _all_or_nothing(folder: Path, files: list[Path]) -> Iterator[None]:
    """After an error, remove what was not there before, except what was downloaded."""
    root = above(folder, ".git") or folder
    others = (folder / LOCKS, root / ".dvc", root / ".dvcignore")
    made = [path for path in (*files, *others) if not os.path.lexists(path)]
    ignores = {
        path: path.read_bytes() if path.exists() else None
        for path in (folder / ".gitignore", store_root(folder) / ".gitignore")
    }
    downloads = folder.absolute() / DOWNLOADS
    folders = [path for path in (downloads, *downloads.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in made:
            discard(path)
        for path, content in ignores.items():
            discard(path) if content is None else path.write_bytes(content)
        for path in folders:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise
