"""Color grey pictures at full size with a run's model."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lamina.commands.given_files import find_pictures
from lamina.commands.predict import Learned, read_learned, with_depth
from lamina.data.opening import UnreadableError, read_file
from lamina.data.originals import Original, read_original, target_depth, target_suffix, write_original
from lamina.data.pixels import ConvertConfig
from lamina.data.sources.members import some
from lamina.errors import UserError
from lamina.files import staged
from lamina.prefetch import prefetch
from lamina.progress import progress
from lamina.text import one_line

TASK: Final = "colorize"
STRONGEST: Final = 2.0
BATCH: Final = 64
BATCH_PIXELS: Final = 2**23  # decoded at once; a larger picture alone

OTHER_FORMAT: Final = "written as PNG, since the format holds no color"


@dataclass(frozen=True)
class Job:
    """A picture and its output file."""

    source: Path
    target: Path


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures, or folders of them")
    parser.add_argument("--run", dest="name", required=True, metavar="NAME", help="the run whose model colors")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the colored pictures go")
    parser.add_argument(
        "--strength", type=float, default=1.0, help="of the color, 0 (grey) to 2 (default: 1, as predicted)"
    )
    parser.add_argument("--force", action="store_true", help="write again what is in the folder already")


def run(arguments: Namespace) -> int:
    """Color pictures and print how many.

    A picture keeps its lightness, size, depth and transparency, and its format if that can hold color. Folders keep
    their tree. Metadata are dropped; orientation and color profile are applied.

    Returns:
        0; 1 if some pictures could not be read or written.
    """
    if not 0 <= arguments.strength <= STRONGEST:
        raise UserError(f"--strength: expected a number from 0 to {STRONGEST:g}, got {arguments.strength:g}")
    learned = read_learned(arguments.system, arguments.name, [TASK])
    jobs = plan(arguments.paths, arguments.out)
    waiting = jobs if arguments.force else [job for job in jobs if not job.target.exists()]
    if len(waiting) < len(jobs):
        print(f"{arguments.out}: {len(jobs) - len(waiting)} were there already; --force writes them again")
    notes, errors = colorize(learned, waiting, arguments.strength)
    for note, pictures in notes.items():
        print(f"note: {note}: {len(pictures)}, {some(map(str, pictures))}", file=sys.stderr)
    for path, error in errors.items():
        print(one_line(f"{path}: {error}"), file=sys.stderr)
    print(f"{arguments.out}: {len(waiting) - len(errors)} pictures colored")
    return 1 if errors else 0


def plan(paths: Sequence[Path], out: Path) -> list[Job]:
    """Plan the output file of each picture: by its name, or by its path below a given folder.

    Args:
        paths: Pictures and folders of pictures.
        out: Folder for the results.

    Raises:
        UserError: If two pictures would become one file, or a result would be among the inputs.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; --out expects a folder")
    sources: dict[Path, Path] = {}
    for source, place in _placed(paths):
        target = out / place.with_suffix(target_suffix(place.suffix))
        other = sources.setdefault(target, source)
        if other.resolve() != source.resolve():
            raise UserError(f"{target}: would be made of both {other} and {source}; color them into two folders")
    _check_apart(paths, sources, out)
    return [Job(source, target) for target, source in sources.items()]


def colorize(
    learned: Learned, jobs: Sequence[Job], strength: float = 1.0
) -> tuple[dict[str, list[Path]], dict[Path, str]]:
    """Color pictures with a run's model and write them.

    Args:
        learned: The run's model.
        jobs: Pictures and output files.
        strength: Factor of the color, 0 to 2.

    Returns:
        Notes, each with its pictures; and by path, why a picture could not be read or written.

    Raises:
        UserError: If the model is missing or does not fit.
    """
    notes: dict[str, list[Path]] = {}
    errors: dict[Path, str] = {}
    if not jobs:
        return notes, errors
    if learned.convert.isolate == "cell":
        print("note: this system learned from single cells; whole pictures are colored", file=sys.stderr)
    learned = with_depth(learned, [job.source for job in jobs])
    # all of a picture needs color, so it must not be cropped
    convert = learned.convert.model_copy(update={} if learned.convert.resize == "pad" else {"resize": "stretch"})
    from lamina.tasks.colorize.full_size import load_colorizer

    model = load_colorizer(learned.model, learned.convert.size)
    done = _colored(model, jobs, convert, strength)
    for job, outcome in progress(done, what="colorize", unit="pictures", total=len(jobs)):
        if isinstance(outcome, str):
            errors[job.source] = outcome
            continue
        for note in outcome:
            notes.setdefault(note, []).append(job.source)
    return notes, errors


def _placed(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield every picture and its path below the output folder."""
    for path in paths:
        for picture in find_pictures([path]):
            place = picture.relative_to(path) if path.is_dir() else Path(picture.name)
            if picture == path or picture.is_file():
                yield picture, place


def _check_apart(paths: Sequence[Path], sources: dict[Path, Path], out: Path) -> None:
    folders = [path.resolve() for path in paths if path.is_dir()]
    parents = {path.resolve().parent for path in sources.values()}
    for target in sources:
        place = out.resolve() / target.relative_to(out)
        if place.parent in parents or any(place.is_relative_to(folder) for folder in folders):
            raise UserError(f"{target}: would be among the pictures that are colored; give another folder with --out")


def _colored(
    model: Any, jobs: Sequence[Job], convert: ConvertConfig, strength: float
) -> Iterator[tuple[Job, Sequence[str] | str]]:
    """Color and write; yield each picture with its notes, or with its error."""
    from lamina.tasks.colorize.full_size import colorize

    for batch in prefetch(_batches(jobs, convert), depth=1):
        read = [(job, original) for job, original in batch if isinstance(original, Original)]
        yield from ((job, error) for job, error in batch if isinstance(error, str))
        if not read:
            continue
        originals = [original for _, original in read]
        depths = [target_depth(original, job.target.suffix) for job, original in read]
        colored = colorize(model, originals, depths, strength)
        for (job, original), pixels in zip(read, colored, strict=True):
            try:
                with staged(job.target) as part:
                    noted = write_original(pixels, original, part)
            except (ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # of the disk: the next picture would fail too
                yield job, f"cannot be written: {error}"
                continue
            other = [OTHER_FORMAT] if job.target.suffix != job.source.suffix else []
            yield job, (*original.notes, *noted, *other)


def _batches(jobs: Iterable[Job], convert: ConvertConfig) -> Iterator[list[tuple[Job, Original | str]]]:
    """Yield batches of pictures, each read or with its error, limited in number and pixels."""
    batch: list[tuple[Job, Original | str]] = []
    pixels = 0
    for job in jobs:
        original = _read(job.source, convert)
        batch.append((job, original))
        pixels += 0 if isinstance(original, str) else original.size[0] * original.size[1]
        if len(batch) == BATCH or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _read(path: Path, convert: ConvertConfig) -> Original | str:
    try:
        return read_original(read_file(path, convert.memory), convert)
    except UnreadableError as error:
        return f"unreadable: {error}"
