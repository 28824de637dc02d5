"""Write a run's model for other runtimes: ONNX, OpenVINO, LiteRT and 8 bits, each checked against Keras."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
from lamina.results.baselines import read_present
from lamina.results.folders import results_folder
from lamina.results.judgement import judge
from lamina.results.measures import MEASURES
from lamina.results.record import Record, read_record, system_name
from lamina.tasks.ensembles import task_and_input
from lamina.tasks.registry import TASKS
from lamina.tasks.wish import PLAIN

# the packages of the extra `export` that each format needs
NEEDED: Final[Mapping[str, str]] = MappingProxyType(
    {"onnx": "tf2onnx", "openvino": "tf2onnx", "litert": "ai_edge_litert", "int8": "tf2onnx"}
)
FORMATS = tuple(NEEDED)
COLORIZE: Final = "colorize"
INT8: Final = "int8"  # the only one that is not exact
EXACT = tuple(name for name in FORMATS if name != INT8)
PICTURES = 32  # or texts of the test fold, to check an export
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
        UserError: If the run, its model, the test examples or a package are missing, an export differs from Keras, or
            `int8` regressed.
    """
    for wanted in formats:
        if find_spec(NEEDED[wanted]) is None:
            raise UserError(
                f"--format {wanted}: the package {NEEDED[wanted]} is not installed; run `pip install 'lamina[export]'`"
            )
    task, _ = task_and_input(read_params(system), name)
    if not task.is_answered and INT8 in formats:
        raise UserError(
            f"--format {INT8}: is judged by the answers of `lamina predict`, but run {name!r} has the task "
            f"{task.name}; leave it out"
        )
    model, record, kind = find_model(system, name, [*answered(), COLORIZE])
    from lamina.models.exporting import Trial, export_model
    from lamina.models.loading import load_model
    from lamina.models.quantizing import EXAMPLES

    network = load_model(model)
    originals = some_originals(system, "test", PICTURES)
    rows, beside = rows_of(system, kind, originals), {}
    if is_text(kind):
        from lamina.commands.export_texts import RULES, check_rules, word_files

        beside = word_files(system / "data" / kind)
        check_rules(beside[RULES], system, record, originals, rows)
    trial = None
    if INT8 in formats:
        examples = rows_of(system, kind, some_originals(system, "train", EXAMPLES))
        trial = Trial(examples=examples, judge=lambda predict: judge_on_test(system, record, predict))
    folder = out or system / "exported" / name
    done = export_model(
        network, list(dict.fromkeys(formats)), folder, rows, about(record, model), trial=trial, beside=beside
    )
    return [f"{one.folder}: {one.size / 1e6:.1f} MB, {one.checked}" for one in done]


def find_model(system: Path, name: str, tasks: Collection[str]) -> tuple[Path, Record, str]:
    """Return the file of the model of a run or ensemble, its record, and what it takes: `pixels` or `words/NAME`, say.

    Raises:
        UserError: If there is none, or it has another task than `tasks`.
    """
    kind = task_and_input(read_params(system), name)[1]
    if is_text(kind):
        folder = results_folder(system, name)
        return folder / "model.keras", read_record(folder), kind
    learned = read_learned(system, name, tasks)
    return learned.model, learned.record, kind


def about(record: Record, model: Path) -> dict[str, Any]:
    """Return the description of the run that goes with an export."""
    system = system_name(model.parents[2])
    return {**record.model_dump(include={"run", "key", "classes"}), "system": system, "model": file_digest(model)}


def test_rows(system: Path, kind: str) -> Any:
    """Return some rows of the test fold, evenly chosen; see `rows_of`."""
    return rows_of(system, kind, some_originals(system, "test", PICTURES))


def is_text(kind: str) -> bool:
    """Whether an input, as `words/common`, is made of texts."""
    return kind.startswith("words/")


def some_originals(system: Path, fold: str, most: int) -> pd.DataFrame:
    """Return some originals of a fold, evenly chosen."""
    originals = originals_of(system, fold)
    return originals.iloc[np.unique(np.linspace(0, len(originals) - 1, min(most, len(originals))).round().astype(int))]


def rows_of(system: Path, kind: str, originals: pd.DataFrame) -> Any:
    """Return originals as a network takes them: (n, S, S, 3) uint8, or (n, width) sparse words of texts."""
    if is_text(kind):
        from lamina.inputs.words import read_matrix

        return read_matrix(folders_of(system).of_input(kind))[originals.index.to_numpy()]
    rows = open_rows(originals, folders_of(system))
    return rows.read(np.arange(len(rows)))


def judge_on_test(system: Path, record: Record, predict: Predict) -> tuple[dict[str, Any], str]:
    """Compare the answers of an export on the test fold with those of Keras, as `lamina gate` does.

    Returns:
        `checked` of `export.json`, and a line for people.

    Raises:
        UserError: If the measure of the task regressed.
    """
    task, name = TASKS[record.task], record.run
    measure = MEASURES[task.measure]
    before, origins = read_present(system, name, measure)
    originals = originals_of(system, "test")
    originals = originals[originals["id"].isin(before)]
    if len(originals) < len(before):
        raise UserError(f"export: int8: the predictions of {name} are of other test examples; run `dvc repro`")
    outputs = np.concatenate([predict(batch) for batch in _batches(system, record.input, originals)])
    answers = task.open_answers(results_folder(system, name), record, PLAIN)
    after = {}
    for key, fields in zip(originals["id"], answers.given(outputs, None), strict=True):
        predicted = answers.cells(answers.prediction(path=key, **fields))["predicted"]
        after[key] = measure.cells((before[key][0], predicted))
    change = measure.change(before, after, origins)
    regressed, verdict = judge(change, change.p, measure)
    values = " -> ".join(map(measure.shown, (change.before, change.after)))
    said = f"test {measure.title} {values}, {measure.difference(change)}: {verdict}"
    if regressed:
        raise UserError(f"export: int8: {said}; nothing of it was kept")
    items = "texts" if is_text(record.input) else "pictures"
    counts = {items: len(after), "better": change.better, "worse": change.worse, "p": change.p, "verdict": verdict}
    return {**counts, measure.name: change.after, f"{measure.name}_of_keras": change.before}, said


def _batches(system: Path, kind: str, originals: pd.DataFrame) -> Iterator[np.ndarray]:
    """Yield originals as float32, some at a time."""
    if is_text(kind):
        from lamina.models.export_rows import float_batches

        yield from float_batches(rows_of(system, kind, originals), BATCH)
    else:
        for pixels in open_rows(originals, folders_of(system)).batches(BATCH):
            yield pixels.astype(np.float32)


def folders_of(system: Path) -> Folders:
    """Return the folders of a system's data."""
    data = system / "data"
    return Folders(lab=data / "lab", augmented=data / "augmented", split=data / "split", words=data / "words")


def originals_of(system: Path, fold: str) -> pd.DataFrame:
    """Return the originals of a fold; their index is the place of each in the split."""
    path = folders_of(system).split / "manifest.parquet"
    if not path.exists():
        raise UserError(f"{path}: not found; exports are checked on test examples: run `dvc repro` or `dvc pull`")
    manifest = pd.read_parquet(path)
    return manifest[(manifest["fold"] == fold) & (manifest["copy"] == 0)]
