"""Write a run's model for other runtimes: ONNX, OpenVINO, LiteRT and 8 bits, each checked against Keras."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.commands.predict import answered, read_learned
from lamina.config import read_params
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.maths.color import RgbPixels
from lamina.results.baselines import read_present
from lamina.results.judgement import judge
from lamina.results.measures import MEASURES
from lamina.results.record import Record, system_name
from lamina.tasks.ensembles import task_and_input

# the packages of the extra `export` that each format needs
NEEDED: Final[Mapping[str, str]] = MappingProxyType(
    {"onnx": "tf2onnx", "openvino": "tf2onnx", "litert": "ai_edge_litert", "int8": "tf2onnx"}
)
FORMATS = tuple(NEEDED)
COLORIZE: Final = "colorize"
JUDGED: Final = "classify"  # the task whose exports to 8 bits are judged
INT8: Final = "int8"  # the only one that is not exact
EXACT = tuple(name for name in FORMATS if name != INT8)
PICTURES = 32  # of the test fold, to check an export
BATCH: Final = 64

Predict = Callable[[np.ndarray], np.ndarray]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--run", dest="name", required=True, metavar="NAME", help="the run or ensemble whose model is written"
    )
    parser.add_argument(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=EXACT,
        help=f"default: {', '.join(EXACT)}; {INT8}: ONNX with whole numbers of 8 bits, kept if it does not regress",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: exported/NAME in the system's folder")


def run(arguments: Namespace) -> int:
    """Print one line per format: folder, size, and difference from Keras."""
    for line in export(arguments.system, arguments.name, arguments.format, arguments.out):
        print(line)
    return 0


def export(system: Path, name: str, formats: Sequence[str], out: Path | None = None) -> list[str]:
    """Write a run's model in other formats.

    Args:
        system: Folder of the system.
        name: Name of the run.
        formats: Of `FORMATS`.
        out: Each format gets a folder below it; default: `exported/NAME` in the system.

    Returns:
        One line per format, to print.

    Raises:
        UserError: If the run, its model, the test pictures or a package are missing, an export differs from Keras, or
            the accuracy of `int8` regressed.
    """
    for wanted in formats:
        if find_spec(NEEDED[wanted]) is None:
            raise UserError(
                f"--format {wanted}: the package {NEEDED[wanted]} is not installed; run `pip install 'lamina[export]'`"
            )
    task, kind = task_and_input(read_params(system), name)
    if kind.startswith("words/"):
        raise UserError(
            f"run {name!r} learned from texts, which no format holds; serve it with `lamina serve` or MLflow"
        )
    if task.name != JUDGED and INT8 in formats:
        raise UserError(
            f"--format {INT8}: is judged by the accuracy of classes, but run {name!r} has the task {task.name}; "
            "leave it out"
        )
    learned = read_learned(system, name, [*answered(), COLORIZE])
    from lamina.models.exporting import Trial, export_model
    from lamina.models.loading import load_model
    from lamina.models.quantizing import EXAMPLES

    model = load_model(learned.model)
    folder = out or system / "exported" / name
    described = about(learned.record, learned.model)
    trial = None
    if INT8 in formats:
        examples = some_pictures(system, "train", EXAMPLES)
        trial = Trial(examples=examples, judge=lambda predict: judge_on_test(system, name, learned.record, predict))
    pixels = some_pictures(system, "test", PICTURES)
    done = export_model(model, list(dict.fromkeys(formats)), folder, pixels, described, trial)
    return [f"{one.folder}: {one.size / 1e6:.1f} MB, {one.checked}" for one in done]


def about(record: Record, model: Path) -> dict[str, Any]:
    """Return the description of the run that goes with an export."""
    system = system_name(model.parents[2])
    return {**record.model_dump(include={"run", "key", "classes"}), "system": system, "model": file_digest(model)}


def test_pictures(system: Path) -> RgbPixels:
    """Return some pictures of the test fold, evenly chosen: (n, S, S, 3) uint8."""
    return some_pictures(system, "test", PICTURES)


def some_pictures(system: Path, fold: str, most: int) -> RgbPixels:
    """Return some originals of a fold, evenly chosen: (n, S, S, 3) uint8."""
    originals, folders = originals_of(system, fold)
    chosen = np.unique(np.linspace(0, len(originals) - 1, min(most, len(originals))).round().astype(int))
    rows = open_rows(originals.iloc[chosen], folders)
    return rows.read(np.arange(len(rows)))


def judge_on_test(system: Path, name: str, record: Record, predict: Predict) -> tuple[dict[str, Any], str]:
    """Compare the classes that an export names on the test fold with those of Keras, as `lamina gate` does.

    Returns:
        `checked` of `export.json`, and a line for people.

    Raises:
        UserError: If the accuracy regressed.
    """
    measure = MEASURES["accuracy"]
    before, origins = read_present(system, name, measure)
    originals, folders = originals_of(system, "test")
    shares = np.concatenate(
        [predict(pixels.astype(np.float32)) for pixels in open_rows(originals, folders).batches(BATCH)]
    )
    named = [record.classes[place] for place in shares.argmax(axis=1)]
    change = measure.change(
        before, dict(zip(originals["id"], zip(originals["label"], named, strict=True), strict=True)), origins
    )
    regressed, verdict = judge(change, change.p, measure)
    said = f"test accuracy {change.before:.3f} -> {change.after:.3f}, {measure.difference(change)}: {verdict}"
    if regressed:
        raise UserError(f"export: int8: {said}; nothing of it was kept")
    counts = {"pictures": len(named), "better": change.better, "worse": change.worse, "p": change.p, "verdict": verdict}
    return {**counts, "accuracy": change.after, "accuracy_of_keras": change.before}, said


def originals_of(system: Path, fold: str) -> tuple[pd.DataFrame, Folders]:
    """Return the originals of a fold, and where their pictures are."""
    data = system / "data"
    folders = Folders(lab=data / "lab", augmented=data / "augmented", split=data / "split")
    path = folders.split / "manifest.parquet"
    if not path.exists():
        raise UserError(f"{path}: not found; exports are checked on test pictures: run `dvc repro` or `dvc pull`")
    manifest = pd.read_parquet(path)
    return manifest[(manifest["fold"] == fold) & (manifest["copy"] == 0)], folders
