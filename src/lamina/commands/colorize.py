"""Give grey pictures a plausible color, at full size, from a run's model."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lamina.commands.predict import Learned, find_pictures, read_learned
from lamina.data.decoding import UnreadableError
from lamina.data.originals import Original, read_original, target_depth, target_suffix, write_original
from lamina.data.pixels import ConvertConfig
from lamina.data.sources.members import is_ignored, some
from lamina.errors import UserError
from lamina.files import staged
from lamina.prefetch import prefetch
from lamina.progress import progress

TASK: Final = "colorize"
STRONGEST: Final = 2.0
BATCH: Final = 64
BATCH_PIXELS: Final = 2**23  # that are decoded at once, but for a larger picture

OTHER_FORMAT: Final = "written as PNG, since the format holds no color"


@dataclass(frozen=True)
class Job:
    """A picture, and the file that is made of it."""

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
    """Color pictures and print how many; 1 where some could not be read or written.

    A picture keeps its lightness, size, depth, transparency and, where that can hold color, its format; a folder keeps
    its tree. Metadata are not kept; orientation and color profile are applied.
    """
    if not 0 <= arguments.strength <= STRONGEST:
        raise UserError(f"--strength: expected a number from 0 to {STRONGEST:g}, got {arguments.strength:g}")
    learned = read_learned(arguments.system, arguments.name, TASK)
    jobs = plan(arguments.paths, arguments.out)
    waiting = jobs if arguments.force else [job for job in jobs if not job.target.exists()]
    if len(waiting) < len(jobs):
        print(f"{arguments.out}: {len(jobs) - len(waiting)} were there already; --force writes them again")
    notes, errors = colorize(learned, waiting, arguments.strength)
    for note, pictures in notes.items():
        print(f"note: {note}: {len(pictures)}, {some(map(str, pictures))}", file=sys.stderr)
    for path, error in errors.items():
        print(f"{path}: {error}", file=sys.stderr)
    print(f"{arguments.out}: {len(waiting) - len(errors)} pictures colored")
    return 1 if errors else 0


def plan(paths: Sequence[Path], out: Path) -> list[Job]:
    """What is made of which picture: files by their name in `out`, those of a folder by their place in it.

    Raises UserError, before anything is written, where two would become one file, or a file would lie among the
    pictures that were named.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; --out names a folder")
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
    """Color pictures with the model of the run `name` and write them, each whole or not at all.

    Returns what people should know, with the pictures that it is said of; and why some could not be read or written,
    by path.
    Raises UserError where the run or its model is not there.
    """
    notes: dict[str, list[Path]] = {}
    errors: dict[Path, str] = {}
    if not jobs:
        return notes, errors
    if learned.convert.isolate == "cell":
        print("note: this system learned from single cells; whole pictures are colored", file=sys.stderr)
    # all of a picture needs its color, what a crop would cut off as well
    convert = learned.convert.model_copy(update={} if learned.convert.resize == "pad" else {"resize": "stretch"})
    from lamina.tasks.colorize.full_size import load_colorizer

    model = load_colorizer(learned.model, learned.convert.size)
    done = _colored(model, jobs, convert, strength)
    for job, said in progress(done, what="colorize", unit="pictures", total=len(jobs)):
        if isinstance(said, str):
            errors[job.source] = said
            continue
        for note in said:
            notes.setdefault(note, []).append(job.source)
    return notes, errors


def _placed(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Every picture that is meant, and its place in the output folder."""
    for path in paths:
        for picture in find_pictures([path]):
            place = picture.relative_to(path) if path.is_dir() else Path(picture.name)
            if picture == path or (picture.is_file() and not is_ignored(place.as_posix())):
                yield picture, place


def _check_apart(paths: Sequence[Path], sources: dict[Path, Path], out: Path) -> None:
    folders = [path.resolve() for path in paths if path.is_dir()]
    beside = {path.resolve().parent for path in sources.values()}
    for target in sources:
        place = out.resolve() / target.relative_to(out)
        if place.parent in beside or any(place.is_relative_to(folder) for folder in folders):
            raise UserError(f"{target}: would lie among the pictures that are colored; name another folder with --out")


def _colored(
    model: Any, jobs: Sequence[Job], convert: ConvertConfig, strength: float
) -> Iterator[tuple[Job, Sequence[str] | str]]:
    """Color and write; yield each picture with what should be known of it, or with why that could not be."""
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
                    raise  # of the disk, which will be as full for the next one
                yield job, f"cannot be written: {error}"
                continue
            other = [OTHER_FORMAT] if job.target.suffix != job.source.suffix else []
            yield job, (*original.notes, *noted, *other)


def _batches(jobs: Iterable[Job], convert: ConvertConfig) -> Iterator[list[tuple[Job, Original | str]]]:
    """Pictures read, or why they could not be, as many at once as the network and memory like."""
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
        return read_original(path.read_bytes(), convert.size, convert.resize)
    except (UnreadableError, OSError) as error:
        return f"unreadable: {error}"
