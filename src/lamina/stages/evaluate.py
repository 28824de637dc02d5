"""Stage `evaluate@RUN`: how good the saved model is on rows that neither training nor tuning saw."""

from pathlib import Path

from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.results.evaluated import KEY
from lamina.results.folders import run_folder
from lamina.results.metrics import Metrics
from lamina.results.record import read_record
from lamina.results.uncertainty import FOLDER
from lamina.stages import entry
from lamina.tasks.registry import TASKS


def evaluate(folders: Folders, models: Path) -> Metrics:
    """Evaluate the `model.keras` of a run or an ensemble.

    Args:
        folders: where the data lie.
        models: the folder of the run or ensemble, to which `metrics.json`, `predictions.parquet` and `sheets/` go, and
            `uncertainty/` with the key of the training that was evaluated, and what the task writes there.
    """
    record = read_record(models)
    if record.task not in TASKS:
        raise UserError(f"{models / 'record.json'}: unknown task {record.task!r}; train the run again")
    (models / FOLDER).mkdir(exist_ok=True)
    metrics, predictions, sheets = TASKS[record.task].evaluate(folders, models)
    with staged(models / "predictions.parquet") as part:
        predictions.to_parquet(part, index=False)
    with staged(models / "sheets", folder=True) as part:
        for name, sheet in sheets.items():
            sheet.save(part / f"{name}.png")
    metrics.write(models / "metrics.json")
    write_json(models / FOLDER / "evaluated.json", {KEY: record.key})
    return metrics


def in_words(name: str, metrics: Metrics) -> str:
    """Return the test score of a run or an ensemble in one line."""
    test = metrics.test
    interval = "" if test.interval is None else "95 % interval {:.4g} to {:.4g}, ".format(*test.interval)
    return f"{name}: test {test.measure} {test.value:.4g} ({interval}{test.n} rows of {test.origins} origins)"


def main() -> None:
    name = entry.run_name()
    print(in_words(name, evaluate(Folders(), run_folder(Path(), name))))


if __name__ == "__main__":
    entry.run_stage(main)
