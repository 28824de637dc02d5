"""`lamina new FOLDER --from SOURCE`: look into a source and set up a system for it."""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final

from lamina.commands.look import NO_LABELS, PACKAGE, Look, above, look_into, package_watch
from lamina.data.sources.copies import OriginSurvey
from lamina.data.sources.fetched import DOWNLOADS
from lamina.data.sources.survey import LabelSurvey
from lamina.errors import UserError
from lamina.files import staged, write_json

IGNORED: Final = ("/data/", "/models/", "/reports/", "/exported/", "/.lamina/")
FEWEST: Final = 10  # pictures of a class: fewer cannot be split into three folds that tell anything
COMMENT_COLUMN: Final = 32  # of params.yaml, where the setting is not longer
USUAL_SIDE: Final = 128
SMALLEST_SIDE: Final = 8  # what convert.size allows
BACKBONE_SIDE: Final = 32  # the smallest picture that densenet121 takes
# up to so many pictures, so many copies: the number of rows to learn from stays near 20,000
COPIES: Final = ((2_000, 4), (10_000, 2), (30_000, 1))


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
        told = [f"found {_story(look)}" if look else "smear: pictures of stained blood, drawn here"]
        text = fill(_values(look) if look else _smear_values(folder), folder)
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


def _story(look: Look) -> str:
    if look.labels.labels == NO_LABELS:
        return f"{look.pictures} pictures without labels, to learn colors from"
    counts = _counted(look.labels.classes)
    rest = f"{look.labels.unlabeled} unlabeled, {look.labels.ambiguous} ambiguous"
    return f"{look.pictures} pictures, labeled by {look.labels.labels}: {counts}; {rest}"


def _counted(classes: Mapping[str, int], most: int = 12) -> str:
    shown = [f"{yaml(name)} ({count})" for name, count in classes.items()][:most]
    return ", ".join(shown) + (f", and {len(classes) - most} more" if len(classes) > most else "")


def _values(look: Look) -> dict[str, Any]:
    """What the template takes from a look into a source."""
    kinds = f"of {len(look.labels.classes)} classes" if look.labels.labels != NO_LABELS else "without labels"
    return {
        "title": f"{yaml(look.name)}: {look.pictures} pictures {kinds}.",
        **look.place.__dict__,
        "found_location": f"holds {look.pictures} pictures",
        "found_splits": look.splits and f"there are {_counted(look.splits)}",
        **_label_values(look.labels),
        **_box_values(look),
        **_origin_values(look.origins),
        **_pixel_values(look),
        "flip_vertical": look.labels.labels != NO_LABELS,
        "found_flip_vertical": look.labels.labels == NO_LABELS and "sky and ground differ in color",
    }


def _label_values(labels: LabelSurvey) -> dict[str, Any]:
    if labels.labels == NO_LABELS:
        return {"labels": NO_LABELS, "found_labels": "none found", "classes": None, "found_classes": "there are none"}
    few = {name: count for name, count in labels.classes.items() if count < FEWEST}
    enough = [name for name in labels.classes if name not in few]
    leave_out = bool(few) and len(enough) > 1
    found = f"found {len(labels.classes)}"
    if few:
        found = f"{'left out' if leave_out else 'very few pictures'}, below {FEWEST}: {_counted(few)}"
    return {
        "labels": labels.labels,
        "found_labels": f"{labels.unlabeled} unlabeled, {labels.ambiguous} with several",
        "classes": enough if leave_out else None,
        "found_classes": found,
    }


def _box_values(look: Look) -> dict[str, Any]:
    boxes = look.boxes
    if boxes is None:
        return {
            "boxes": None,
            "found_boxes": "none found",
            "target": None,
            "found_target": "no boxes found",
            "isolate": "none",
            "found_isolate": "there are no boxes",
        }
    once = "stands exactly once in most" if boxes.target else "no name stands exactly once in most"
    single = boxes.single and look.labels.labels != NO_LABELS
    isolate = "box cuts out the subject" if single else "most pictures have no single box"
    if boxes.single and not single:
        isolate = "colors are learned from whole pictures"
    return {
        "boxes": boxes.boxes,
        "found_boxes": f"{boxes.pictures} of {look.pictures} pictures have some",
        "target": boxes.target,
        "found_target": once,
        "isolate": "box" if single else "none",
        "found_isolate": isolate,
    }


def _origin_values(found: OriginSurvey | None) -> dict[str, Any]:
    if found is None:
        return {"origin": None, "found_origin": None}
    alone = f", and {found.others} whose names are not such stand alone" if found.others else ""
    said = f"names look like copies: {found.origins} origins of {found.copies} pictures{alone}"
    return {"origin": found.pattern, "found_origin": said}


def _pixel_values(look: Look) -> dict[str, Any]:
    pixels = look.pixels
    readable, grey = pixels.readable, pixels.mostly_grey
    size = min(USUAL_SIDE, max(SMALLEST_SIDE, pixels.median_side))
    copies = next((copies for most, copies in COPIES if look.pictures <= most), 0)
    return {
        "drop_grayscale": not grey,
        "found_grey": f"{pixels.grey} of {readable} looked at are grey" + (": most, so they are kept" if grey else ""),
        "min_side": min(32, size),
        "found_sides": f"the shortest side among {readable} looked at is {pixels.smallest_side}",
        "size": size,
        "found_size": f"the middle one of the shorter sides is {pixels.median_side}",
        "copies": copies,
        "found_copies": f"{look.pictures} pictures" + ("" if copies == COPIES[0][1] else ": many, so fewer copies"),
    }


def _smear_values(folder: Path) -> dict[str, Any]:
    """What the template takes, for drawn pictures: DVC watches the package itself."""
    return {
        **dict.fromkeys(Template(_template()).get_identifiers(), None),
        "title": "Drawn blood smears: four classes of white blood cells.",
        "kind": "smear",
        "watch": package_watch(folder),
        "labels": "folder",
        "drop_grayscale": True,
        "min_side": 32,
        "size": USUAL_SIDE,
        "isolate": "none",
        "copies": COPIES[0][1],
        "flip_vertical": True,
    }


def _template() -> str:
    return resources.files("lamina.commands").joinpath("params_template.yaml").read_text(encoding="utf-8")


def fill(values: Mapping[str, Any], folder: Path) -> str:
    """The text of params.yaml: the template with values as YAML, and comments (`title`, `found_...`) as they are."""
    code = os.path.relpath(PACKAGE, folder.resolve())
    values = {**values, "code": code, "package": package_watch(folder)}
    written = {name: _written(name, value) for name, value in values.items()}
    text = _with_runs(Template(_template()).substitute(written), values["labels"], values["size"])
    return "".join(map(_aligned, text.splitlines(keepends=True)))


def _with_runs(text: str, labels: str, size: int) -> str:
    """params.yaml with the runs that suit the source: to name classes where there are some, to color otherwise."""
    if labels == NO_LABELS:
        for group in ("transfer", "scratch"):
            text = _without_runs(text, group, "none: without labels there are no classes to learn")
        return text
    if size < BACKBONE_SIDE:
        why = f"none: backbones take no picture smaller than {BACKBONE_SIDE} pixels"
        text = _without_runs(text, "transfer", why)
    return _without_runs(text, "colorize", "none; for one like this, take away {} and the #:", example=True)


def _without_runs(text: str, group: str, why: str, *, example: bool = False) -> str:
    """params.yaml with no runs in a group; those of the template gone, or left in comments."""

    def emptied(found: re.Match[str]) -> str:
        left = re.sub(r"^  ", "  #", found["runs"], flags=re.M) if example else ""
        return f"{found['group']}  runs: {{}}  # {why}\n{left}"

    return re.sub(rf"(?P<group>^{group}:.*\n)  runs:.*\n(?P<runs>(?:    .*\n)*)", emptied, text, flags=re.M)


def _written(name: str, value: Any) -> str:
    if name == "title":
        return str(value)
    if name.startswith("found_"):
        return f"; {value}" if value else ""
    return yaml(value)


def _aligned(line: str) -> str:
    setting, separator, comment = line.rpartition("  # ")
    return f"{setting:<{COMMENT_COLUMN}}{separator}{comment}" if setting else line


def yaml(value: object) -> str:
    """A value in YAML on one line: words plain where no reader can take them for anything else."""
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", value) and not _is_special(value):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


def _is_special(word: str) -> bool:
    return (
        word.lower() in ("true", "false", "null", "yes", "no", "on", "off", "y", "n") or word.lstrip(".")[:1].isdigit()
    )


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
