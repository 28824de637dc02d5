"""Stage `ensembles`: models that average the probabilities of runs, evaluated like those of runs.

One stage makes all of them: a stage of DVC cannot depend on the runs that a list names, so it depends on all runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lamina.config import read_params
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import json_digest, staged
from lamina.models.averaging import average
from lamina.models.saving import save_model
from lamina.results.assessment import Assessment, CrossValidation, FoldValue, read_assessment
from lamina.results.folders import ENSEMBLES, run_folder
from lamina.results.metrics import Metrics
from lamina.results.record import Record, ensemble_record, read_record
from lamina.results.result_file import read_optional_table
from lamina.source_code import code_digest
from lamina.stages import entry
from lamina.stages.evaluate import evaluate, in_words
from lamina.tasks.ensembles import INPUT, Ensemble, read_ensembles
from lamina.tasks.task import Task
from lamina.training.environment import environment

ROWS: Final = ("id", "origin", "fold")  # of a cross-validation, whatever the task


@dataclass(frozen=True, kw_only=True)
class Members:
    """The runs of an ensemble: their folders, and their records in the same order."""

    folders: Sequence[Path]
    records: Sequence[Record]

    @property
    def classes(self) -> list[str]:
        """The classes of all of them."""
        return self.records[0].classes


def make_ensembles(
    ensembles: Iterable[Ensemble], folders: Folders, system: Path = Path(), *, out: Path = Path(ENSEMBLES)
) -> dict[str, Metrics]:
    """Write every ensemble, `NAME/` with the files of a run that is not trained, to `out`: all of them, or none.

    Args:
        ensembles: of `params.yaml`.
        folders: where the data lie.
        system: the system's folder, which holds the runs.
        out: the folder of all ensembles.

    Returns:
        The scores of each, by name.

    Raises:
        UserError: if a run is not trained yet, or the runs of an ensemble have other classes or sizes of pictures.
    """
    read = {one: _read_members(one, system) for one in ensembles}
    with staged(out, folder=True) as part:
        return {one.name: _make(one, members, folders, system, part / one.name) for one, members in read.items()}


def _make(ensemble: Ensemble, members: Members, folders: Folders, system: Path, out: Path) -> Metrics:
    from lamina.models.loading import load_model

    record = _record(ensemble, members, system)
    model = average({folder.name: load_model(folder / "model.keras") for folder in members.folders})
    save_model(model, out / "model.keras")
    record.model_copy(update={"parameters": model.count_params()}).write(out / "record.json")
    found, judged = _cross_validation(ensemble.task, members)
    found.write(out / "assessment.json")
    judged.to_parquet(out / "crossvalidation.parquet", index=False)
    return evaluate(folders, out)


def _read_members(ensemble: Ensemble, system: Path) -> Members:
    """Read the records of an ensemble's runs, and check that their probabilities can be averaged."""
    folders = [run_folder(system, run) for run in ensemble.runs]
    members = Members(folders=folders, records=[read_record(folder) for folder in folders])
    _demand_same(ensemble, "classes", {record.run: record.classes for record in members.records})
    _demand_same(ensemble, "sides of pictures", {record.run: record.width for record in members.records})
    return members


def _demand_same(ensemble: Ensemble, what: str, found: Mapping[str, Any]) -> None:
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            raise UserError(
                f"ensembles.{ensemble.name}: expected runs with the same {what}, got {found[first]} of {first} and "
                f"{found[other]} of {other}; run `dvc repro`, or name other runs"
            )


def _record(ensemble: Ensemble, members: Members, system: Path) -> Record:
    first = members.records[0]
    decides = {
        "run": ensemble.name,
        "task": ensemble.task.name,
        "input": INPUT,
        "settings": {"runs": list(ensemble.runs)},
        "numbers": {},
        "seed": None,
        "classes": first.classes,
        "width": first.width,
        "data": {
            "digest": json_digest([record.data["digest"] for record in members.records]),
            "rows": first.data["rows"],
            **{name: first.data[name] for name in ("depth",) if name in first.data},
        },
        "environment": environment(),
        "code": code_digest(average.__module__),
        "members": {record.run: record.key for record in members.records},
    }
    return ensemble_record(decides, system)


def _cross_validation(task: Task, members: Members) -> tuple[Assessment, pd.DataFrame]:
    """Average the cross-validations of the runs; nothing unless all have one, over the same rows and rounds."""
    stages = [f"assess@{folder.name}" for folder in members.folders]
    places = list(zip(members.folders, stages, strict=True))
    tables = [read_optional_table(folder / "crossvalidation.parquet", ROWS, stage) for folder, stage in places]
    tables = [table.sort_values("id", ignore_index=True) for table in tables]
    rows = [table[list(ROWS)] for table in tables]
    if rows[0].empty or not all(other.equals(rows[0]) for other in rows):
        return Assessment(), pd.DataFrame(columns=list(ROWS))
    judged = task.average(tables, members.classes)
    found = [read_assessment(folder, read_record(folder).key).crossvalidation for folder in members.folders]
    crossed = CrossValidation(
        scores=task.summarise(judged, members.classes),
        folds=[
            FoldValue(value=task.summarise(tested, members.classes)[task.measure], n=len(tested))
            for _, tested in judged.groupby("fold")
        ],
        starts_from_file=any(one is not None and one.starts_from_file for one in found),
    )
    return Assessment(crossvalidation=crossed), judged


def main() -> None:
    for name, metrics in make_ensembles(read_ensembles(read_params(Path())).values(), Folders()).items():
        print(in_words(name, metrics))


if __name__ == "__main__":
    entry.run_stage(main)
