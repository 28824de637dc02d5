"""Predict the class, the labels or the number of pictures or texts, from a run's model."""

import argparse
import json
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np

from lamina.commands.csv_parts import encodable
from lamina.commands.given_files import find_pictures
from lamina.commands.processes import map_in_order
from lamina.config import read_params, section
from lamina.data.decoding import largest_value, open_for
from lamina.data.depth import FULL, Depth, depth_of
from lamina.data.memory import alone_if_large
from lamina.data.opening import UnreadableError, may_be_deep, read_file
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import prepare_square
from lamina.errors import UserError
from lamina.maths.color import RgbPixels
from lamina.prefetch import in_background, prefetch
from lamina.progress import progress
from lamina.results.folders import results_folder
from lamina.results.record import Record, read_record
from lamina.tasks.answers import Answers
from lamina.tasks.ensembles import result_tasks, task_and_input
from lamina.tasks.registry import TASKS
from lamina.tasks.wish import PLAIN, Wish
from lamina.text import one_line, printable

if TYPE_CHECKING:
    from lamina.models.divided import Divided

BATCH = 64
AHEAD = 256  # pictures that are decoded at once, before the network sees them
AHEAD_PIXELS = 2**23  # of their squares
MANY = 1000  # pictures that are worth the start of processes

T = TypeVar("T")
_Answered: TypeAlias = tuple[list[dict[str, Any]], dict[Path, str]]  # of a batch: answers, and errors by path


@dataclass(frozen=True)
class Learned:
    """A run's model, its record, and how pictures are prepared for it."""

    model: Path
    record: Record
    convert: ConvertConfig


@dataclass(frozen=True)
class Answerer:
    """A run's network, and what is made of its outputs and, where they are needed, its features."""

    network: "Divided"
    answers: Answers

    def answer(self, pixels: np.ndarray) -> list[dict[str, Any]]:
        """Return the fields of the predictions for pictures, (n, S, S, 3) uint8."""
        judge = self.answers.judge
        if not (self.answers.needs_features and judge):
            return self.answers.given(self.network.outputs(pixels), None)
        outputs, features = self.network.outputs_and_features(pixels)
        return self.answers.given(outputs, judge.distances(features))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures or texts, or folders of them")
    parser.add_argument(
        "--run", dest="name", required=True, metavar="NAME", help="the run or ensemble whose model predicts"
    )
    parser.add_argument("--coverage", type=_share, metavar="SHARE", help="of the sets of classes (default: 0.9)")
    parser.add_argument("--by-class", action="store_true", help="sets with this coverage within each class")
    decided = parser.add_mutually_exclusive_group()
    said = "of two classes: name CLASS often enough to find this share"
    decided.add_argument("--recall", type=_of_class, metavar="CLASS=SHARE", help=said)
    said = "of two classes: to miss CLASS is N times worse than to name it wrongly"
    decided.add_argument("--cost", type=_of_class, metavar="CLASS=N", help=said)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON instead of a table")
    shown.add_argument(
        "--csv", type=Path, metavar="FILE", help="write a CSV, in bounded memory; an interrupted one is continued"
    )
    shown.add_argument(
        "--request", action="store_true", help="print what to send to a served model, and predict nothing"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a line per picture or text; return 1 if some could not be read, else 0."""
    system, name, paths = arguments.system, arguments.name, arguments.paths
    is_text = task_and_input(read_params(system), name)[1].startswith("words/")
    from lamina.commands.predict_csv import pictures_to_csv, texts_to_csv  # which import this module
    from lamina.commands.predict_texts import answer_texts, request_texts

    if arguments.request:
        print(request_texts(system, name, paths) if is_text else request(system, name, find_pictures(paths)))
        return 0
    wish = Wish(coverage=arguments.coverage, by_class=arguments.by_class, recall=arguments.recall, cost=arguments.cost)
    if wish.recall and not 0 < wish.recall[1] < 1:
        raise UserError(f"--recall {wish.recall[0]}: expected a share between 0 and 1, got {wish.recall[1]:g}")
    if arguments.csv:
        return 1 if (texts_to_csv if is_text else pictures_to_csv)(system, name, paths, arguments.csv, wish) else 0
    answers, predictions = (
        answer_texts(system, name, paths, wish) if is_text else answer(system, name, find_pictures(paths), wish)
    )
    if arguments.json:
        print(encodable(json.dumps([one.__dict__ for one in predictions], indent=2, ensure_ascii=False)))
    else:
        print(_as_table(answers, predictions))
    return 1 if any(one.error for one in predictions) else 0


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, got {text}")
    return value


def _of_class(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not name or not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected CLASS=NUMBER with a number above 0, got {text}")
    return name, value


def predict(system: Path, name: str, pictures: Sequence[Path], wish: Wish = PLAIN) -> list[Any]:
    """Return the predictions of `answer`."""
    return answer(system, name, pictures, wish)[1]


def answer(system: Path, name: str, pictures: Sequence[Path], wish: Wish = PLAIN) -> tuple[Answers, list[Any]]:
    """Predict pictures, prepared as in the stage `convert`.

    Args:
        system: Folder of the system.
        name: Name of the run.
        pictures: Paths.
        wish: What is wanted of the answers.

    Returns:
        What gave the answers; and one of its `prediction` per picture, with an `error` if it cannot be read.

    Raises:
        UserError: If the run or its model is missing, or the wish cannot be met.
    """
    learned = with_depth(read_learned(system, name, answered()), pictures)
    answers = open_answers(learned.model.parent, learned.record, wish)
    return answers, list(predict_parts(learned, answers, [pictures]))


def answered() -> list[str]:
    """Return the tasks whose answers `lamina predict` gives."""
    return [task.name for task in TASKS.values() if task.is_answered]


def predict_parts(learned: Learned, answers: Answers, parts: Sequence[Sequence[Path]]) -> Iterator[Any]:
    """Predict the pictures of some parts; no batch holds pictures of two."""
    size = max(1, min(AHEAD, AHEAD_PIXELS // learned.convert.size**2))
    batches = [batch for part in parts for batch in _batches(part, size)]
    prepare = partial(_stacked, config=learned.convert)
    prepared = map_in_order(prepare, batches, processes=sum(map(len, parts)) >= MANY)
    with (
        closing(prepared),  # ends the processes also after an error, once nothing reads from them
        in_background(partial(open_answerer, learned.model, answers)) as answerer,  # while the first are decoded
        closing(cast("Generator[_Answered, None, None]", prefetch(_answered(answerer, prepared)))) as answered,
    ):
        sizes = [len(batch) for batch in batches]
        done = progress(zip(batches, answered, strict=True), what="predict", unit="pictures", sizes=sizes)
        for batch, (rows, errors) in done:
            yield from _predictions(answers, batch, rows, errors)


def _answered(
    answerer: Callable[[], Answerer], prepared: Iterable[tuple[RgbPixels | None, dict[Path, str]]]
) -> Iterator[_Answered]:
    """The answers for the pictures of each batch that have no error, and the errors."""
    for squares, errors in prepared:
        yield [] if squares is None else answerer().answer(squares), errors


def open_answerer(model: Path, answers: Answers) -> Answerer:
    """Load a run's model."""
    from lamina.models.divided import Divided
    from lamina.models.loading import load_model

    return Answerer(Divided(load_model(model)), answers)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def check_task(params: Mapping[str, Any], name: str, tasks: Collection[str]) -> None:
    """Refuse a run or an ensemble for a command that takes pictures and serves some tasks.

    Raises:
        UserError: If there is no such run, it has another task, or it learns from texts.
    """
    found, kind = task_and_input(params, name)
    if found.name not in tasks:
        needed = " or ".join(tasks)
        others = [other for other, its in result_tasks(params).items() if its.name in tasks]
        instead = (
            f"runs that do: {', '.join(others)}" if others else f"no run does; add one with task: {needed} under runs"
        )
        raise UserError(f"run {name!r} has the task {found.name}, but this command needs {needed}; {instead}")
    if kind.startswith("words/"):
        raise UserError(f"run {name!r} learns from texts, but this command takes pictures; for texts, use predict")


def read_learned(system: Path, name: str, tasks: Collection[str]) -> Learned:
    """Find the model and record of a run or an ensemble, for a command that serves some tasks.

    Args:
        system: Folder of the system.
        name: Name of the run or ensemble.
        tasks: Names of the tasks that the command serves.

    Raises:
        UserError: If there is no such run, it has another task, learns from texts, or is not trained yet.
    """
    params = read_params(system)
    check_task(params, name, tasks)
    config = section(params, "convert", ConvertConfig)
    if config.isolate == "box":
        print(
            "note: this system was trained on pictures cut to their boxes; cut yours in the same way", file=sys.stderr
        )
    folder = results_folder(system, name)
    record = read_record(folder)
    known = {"size": record.width, "depth": record.data.get("depth", config.depth)}
    return Learned(folder / "model.keras", record, config.model_copy(update=known))


def with_depth(learned: Learned, pictures: Sequence[Path]) -> Learned:
    """Decide the depth of pictures whose files do not say it, from all of them, if the system did not learn from such.

    A depth below 16 bits is printed.
    """
    if learned.convert.depth != "auto":
        return learned
    work = partial(_largest_values, config=learned.convert)
    with ThreadPoolExecutor() as pool:  # most of the time is waiting for files
        found = [value for some in pool.map(work, _batches(pictures, AHEAD)) for value in some]
    if not any(found):
        return learned
    largest = max(found)
    depth = Depth(pictures=sum(value > 0 for value in found), largest=largest, bits=depth_of(largest))
    if depth.bits < FULL:
        print(f"note: {depth}", file=sys.stderr)
    return replace(learned, convert=learned.convert.model_copy(update={"depth": depth.bits}))


def _largest_values(paths: Sequence[Path], config: ConvertConfig) -> list[int]:
    """The largest value of each picture whose file does not say its depth; 0 for others."""
    return [_largest(path, config) if may_be_deep(path) else 0 for path in paths]


def _largest(path: Path, config: ConvertConfig) -> int:
    try:
        opened = open_for(config, read_file(path, config.memory))
        with alone_if_large(opened.needed()):
            return largest_value(opened)
    except UnreadableError:
        return 0  # reported when it is read


def prepare_batch(batch: Sequence[Path], config: ConvertConfig) -> tuple[dict[Path, RgbPixels], dict[Path, str]]:
    """Prepare pictures as the stage `convert` does; if the system uses boxes, they must be cut to boxes already.

    Returns:
        Squares, (S, S, 3) uint8, and errors, by path.
    """
    pixels: dict[Path, RgbPixels] = {}
    errors: dict[Path, str] = {}
    for path in batch:
        try:
            pixels[path] = prepare_one(read_file(path, config.memory), config)
        except UnreadableError as error:
            errors[path] = f"unreadable: {error}"
        except NoCellError as error:
            errors[path] = str(error)
    return pixels, errors


class NoCellError(Exception):
    """A picture without a cell, of a system that drops such."""


def prepare_one(encoded: bytes, config: ConvertConfig) -> RgbPixels:
    """Prepare the bytes of a picture, as `prepare_batch`: (S, S, 3) uint8.

    Raises:
        UnreadableError: If it cannot be decoded.
        NoCellError: If it holds no cell.
    """
    square, cell = prepare_square(encoded, config)
    if config.isolate == "cell" and config.no_cell == "drop" and cell is None:
        raise NoCellError("no white blood cell found in it")
    return square


def request(system: Path, name: str, pictures: Sequence[Path]) -> str:
    """Return the JSON to send to `mlflow models serve` for pictures: their pixels, in order.

    Raises:
        UserError: If one cannot be read, since answers come without names.
    """
    task, _ = task_and_input(read_params(system), name)
    learned = with_depth(read_learned(system, name, [task.name]), pictures)
    pixels, errors = prepare_batch(pictures, learned.convert)
    if errors:
        path, error = next(iter(errors.items()))
        raise UserError(f"{path}: {error}; leave it out")
    return json.dumps({"inputs": [pixels[path].tolist() for path in pictures]}, separators=(",", ":"))


def open_answers(folder: Path, record: Record, wish: Wish = PLAIN) -> Answers:
    """Open what a run's answers are given with, and print what must be known about them."""
    answers = TASKS[record.task].open_answers(folder, record, wish)
    for note in answers.notes:
        print(one_line(f"note: {note}"), file=sys.stderr)
    return answers


def _stacked(batch: Sequence[Path], config: ConvertConfig) -> tuple[RgbPixels | None, dict[Path, str]]:
    """Prepare pictures as one array, which processes pass on faster than many; None if all have errors."""
    pixels, errors = prepare_batch(batch, config)
    return np.stack(list(pixels.values())) if pixels else None, errors


def _predictions(
    answers: Answers, batch: Sequence[Path], rows: Sequence[dict[str, Any]], errors: dict[Path, str]
) -> Iterator[Any]:
    given = dict(zip(dict.fromkeys(path for path in batch if path not in errors), rows, strict=True))
    for path in batch:
        yield answers.prediction(path=str(path), **({"error": errors[path]} if path in errors else given[path]))


def _as_table(answers: Answers, predictions: Sequence[Any]) -> str:
    paths = [printable(one.path) for one in predictions]
    width = max(map(len, paths))
    said = (one_line(one.error) if one.error else answers.in_words(one) for one in predictions)
    return "\n".join(f"{path:{width}}  {words}" for path, words in zip(paths, said, strict=True))
