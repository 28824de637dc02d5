"""Predict the class of pictures or texts, from a run's model."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamina.commands.predict_texts import predict_texts, request_texts
from lamina.commands.prediction import Prediction, failed, find_files, prediction
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


@dataclass(frozen=True)
class Learned:
    """A run's model, its record, and how pictures are prepared for it."""

    model: Path
    record: Record
    convert: ConvertConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures or texts, or folders of them")
    parser.add_argument("--run", dest="name", required=True, metavar="NAME", help="the run whose model predicts")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON instead of a table")
    shown.add_argument(
        "--request", action="store_true", help="print what to send to a served model, and predict nothing"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a line per picture or text; return 1 if some could not be read, else 0."""
    system, name, paths = arguments.system, arguments.name, arguments.paths
    is_text = str(read_run(read_params(system), name).settings.input).startswith("words/")
    if arguments.request:
        print(request_texts(system, name, paths) if is_text else request(system, name, find_pictures(paths)))
        return 0
    predictions = predict_texts(system, name, paths) if is_text else predict(system, name, find_pictures(paths))
    print(_as_json(predictions) if arguments.json else _as_table(predictions))
    return 1 if any(one.error for one in predictions) else 0


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Return the pictures of files and folders; see `lamina.commands.prediction.find_files`."""
    return find_files(paths, PICTURE_SUFFIXES, "picture")


def predict(system: Path, name: str, pictures: Sequence[Path]) -> list[Prediction]:
    """Predict the class of pictures, prepared as in the stage `convert`.

    Args:
        system: Folder of the system.
        name: Name of the run.
        pictures: Paths.

    Returns:
        One per picture; `error` instead of a class if it cannot be read.

    Raises:
        UserError: If the run or its model is missing.
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
    """Find a run's model and record, for a command that serves one task.

    Args:
        system: Folder of the system.
        name: Name of the run.
        task: Name of the task that the command serves.

    Raises:
        UserError: If there is no such run, it has another task, or it is not trained yet.
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
    """Prepare pictures as the stage `convert` does; if the system uses boxes, they must be cut to boxes already.

    Returns:
        Squares, (S, S, 3) uint8, and errors, by path.
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
    """Return the JSON to send to `mlflow models serve` for pictures: their pixels, in order.

    Raises:
        UserError: If one cannot be read, since answers come without names.
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
            yield failed(str(path), errors[path])
        else:
            yield prediction(str(path), learned.record.classes, rows[path])


def _as_json(predictions: Sequence[Prediction]) -> str:
    return json.dumps([one.__dict__ for one in predictions], indent=2, ensure_ascii=False)


def _as_table(predictions: Sequence[Prediction]) -> str:
    width = max(len(one.path) for one in predictions)
    return "\n".join(f"{one.path:{width}}  {_in_words(one)}" for one in predictions)


def _in_words(one: Prediction) -> str:
    if one.error:
        return one.error
    ordered = sorted(one.probabilities.items(), key=lambda item: -item[1])
    return f"{one.predicted}  " + "  ".join(f"{name} {share:.3f}" for name, share in ordered)
