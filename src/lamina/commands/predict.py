"""Say what is in a picture: class and probabilities, from a run's model."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamina.config import read_params, section
from lamina.data.decoding import UnreadableError
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import prepare_picture
from lamina.data.sources.members import PICTURE_SUFFIXES
from lamina.errors import UserError
from lamina.maths.color import RgbPixels
from lamina.progress import progress
from lamina.results.record import Record, read_record
from lamina.tasks.runs import read_run, run_folder, run_tasks

if TYPE_CHECKING:
    from lamina.models.inference import Predictor

TASK = "classify"
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A picture's most probable class and the probabilities of all, or why there is none."""

    path: str
    predicted: str | None
    probabilities: dict[str, float]
    error: str | None = None


@dataclass(frozen=True)
class Learned:
    """A run's model, its record, and how pictures are prepared for it."""

    model: Path
    record: Record
    convert: ConvertConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures, or folders of them")
    parser.add_argument("--run", dest="name", required=True, metavar="NAME", help="the run whose model answers")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON instead of a table")
    shown.add_argument("--request", action="store_true", help="print what to send to a served model, and ask nothing")


def run(arguments: argparse.Namespace) -> int:
    """Print a line per picture; 1 where some could not be read."""
    pictures = find_pictures(arguments.paths)
    if arguments.request:
        print(request(arguments.system, arguments.name, pictures))
        return 0
    predictions = predict(arguments.system, arguments.name, pictures)
    print(_as_json(predictions) if arguments.json else _as_table(predictions))
    return 1 if any(prediction.error for prediction in predictions) else 0


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The pictures that are meant: files as named, folders with all pictures below them, sorted."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
            if not inside:
                raise UserError(f"{path}: no picture in this folder; expected {', '.join(sorted(PICTURE_SUFFIXES))}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path}: not found; name a picture or a folder of pictures")
    return found


def predict(system: Path, name: str, pictures: Sequence[Path]) -> list[Prediction]:
    """Ask the model of the run `name` for every picture, prepared as the stage `convert` prepares them.

    Raises UserError where the run or its model is not there; a picture that cannot be read gets an
    `error` instead of a class.
    """
    learned = read_learned(system, name, TASK)
    from lamina.models.inference import inference
    from lamina.models.loading import load_model

    predictor = inference(load_model(learned.model))
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    sizes = [len(batch) for batch in batches]
    answers = (_predict_batch(predictor, batch, learned) for batch in batches)
    return [one for batch in progress(answers, what="predict", unit="pictures", sizes=sizes) for one in batch]


def read_learned(system: Path, name: str, task: str) -> Learned:
    """Read what a run learned, for a command that serves one task.

    Args:
        system: the system's folder.
        name: of the run.
        task: that the command serves.

    Raises:
        UserError: if there is no such run, it has another task, or it is not trained yet.
    """
    params = read_params(system)
    run = read_run(params, name)
    if run.task.name != task:
        others = [other for other, its in run_tasks(params).items() if its.name == task]
        instead = (
            f"runs that do: {', '.join(others)}" if others else f"no run does; add one with task: {task} under runs"
        )
        raise UserError(f"run {name!r} has the task {run.task.name}, but this command needs {task}; {instead}")
    config = section(params, "convert", ConvertConfig)
    if config.isolate == "box":
        print(
            "note: this system was trained on pictures cut to their boxes; cut yours in the same way", file=sys.stderr
        )
    folder = run_folder(system, name)
    record = read_record(folder)
    return Learned(folder / "model.keras", record, config.model_copy(update={"size": record.width}))


def prepare_batch(batch: Sequence[Path], config: ConvertConfig) -> tuple[dict[Path, RgbPixels], dict[Path, str]]:
    """The squares, (S, S, 3) uint8, that `convert` would make of pictures; and why it would make none, by path.

    Where the system learned from what boxes hold, pictures are expected to be cut out already.
    """
    pixels: dict[Path, RgbPixels] = {}
    errors: dict[Path, str] = {}
    for path in batch:
        try:
            prepared = prepare_picture(path.read_bytes(), config)
        except (UnreadableError, OSError) as error:
            errors[path] = f"unreadable: {error}"
            continue
        if config.isolate == "cell" and config.no_cell == "drop" and prepared.cell is None:
            errors[path] = "no white blood cell found in it"
        else:
            pixels[path] = prepared.square
    return pixels, errors


def request(system: Path, name: str, pictures: Sequence[Path]) -> str:
    """The JSON that `mlflow models serve` wants to be sent for pictures: their pixels, in order.

    Raises UserError where one cannot be read, since answers come back without names.
    """
    params = read_params(system)
    task = read_run(params, name).task.name
    pixels, errors = prepare_batch(pictures, read_learned(system, name, task).convert)
    if errors:
        path, error = next(iter(errors.items()))
        raise UserError(f"{path}: {error}; leave it out")
    return json.dumps({"inputs": [pixels[path].tolist() for path in pictures]}, separators=(",", ":"))


def _predict_batch(predictor: "Predictor", batch: Sequence[Path], learned: Learned) -> Iterator[Prediction]:
    pixels, errors = prepare_batch(batch, learned.convert)
    found: Iterable[np.ndarray] = predictor(np.stack(list(pixels.values()))) if pixels else []
    rows = dict(zip(pixels, found, strict=True))
    for path in batch:
        if path in errors:
            yield Prediction(path=str(path), predicted=None, probabilities={}, error=errors[path])
        else:
            shares = {name: float(share) for name, share in zip(learned.record.classes, rows[path], strict=True)}
            yield Prediction(path=str(path), predicted=max(shares, key=shares.__getitem__), probabilities=shares)


def _as_json(predictions: Sequence[Prediction]) -> str:
    return json.dumps([prediction.__dict__ for prediction in predictions], indent=2, ensure_ascii=False)


def _as_table(predictions: Sequence[Prediction]) -> str:
    width = max(len(prediction.path) for prediction in predictions)
    return "\n".join(f"{prediction.path:{width}}  {_told(prediction)}" for prediction in predictions)


def _told(prediction: Prediction) -> str:
    if prediction.error:
        return prediction.error
    ordered = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    return f"{prediction.predicted}  " + "  ".join(f"{name} {share:.3f}" for name, share in ordered)
