"""How good the labels of a trained network are, in pictures or texts that it never learned from."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.rows import Folders, open_rows
from lamina.data.sheets import contact_sheet, evenly_spaced
from lamina.files import staged
from lamina.inputs.index import read_split
from lamina.inputs.targets import read_label_sets, read_targets
from lamina.maths.label_scores import f1_of_each, find_thresholds, label_scores
from lamina.models.loading import load_model
from lamina.results.record import Record, read_record
from lamina.results.uncertainty import FOLDER
from lamina.tasks.columns import probability
from lamina.tasks.multilabel.results import PREDICTED, THRESHOLDS, LabelScores, Metrics, Thresholds, joined_labels
from lamina.tasks.outputs import predict_rows
from lamina.text import printable

SHOWN: Final = 8  # pictures in a row of the sheet
CELL: Final = 160
_TITLES: Final = ("all right", "partly", "worst")


def evaluate(folders: Folders, models: Path) -> tuple[Metrics, pd.DataFrame, dict[str, Image.Image]]:
    """Evaluate a run's model on validation and test; see `lamina.tasks.task.Task.evaluate`.

    The thresholds are those that suit the validation fold; they go to `uncertainty/thresholds.json`.
    """
    record = read_record(models)
    truth = read_label_sets(read_targets(folders, record.task), record.settings["targets"])[record.classes]
    split = read_split(folders)
    rows = split[split["fold"].isin(["validation", "test"]) & split["id"].isin(truth.index)].sort_values("id")
    shares = predict_rows(load_model(models / "model.keras"), rows, folders, record.input).astype(np.float64)
    true, origin = truth.loc[rows["id"]].to_numpy(), rows["origin"].to_numpy()
    folds = {fold: (rows["fold"] == fold).to_numpy() for fold in ("validation", "test")}
    thresholds = find_thresholds(shares[folds["validation"]], true[folds["validation"]])
    _write_thresholds(models, record, thresholds)
    scores = {
        fold: LabelScores.model_validate(
            label_scores(shares[held], true[held], origin[held], thresholds, record.classes)
        )
        for fold, held in folds.items()
    }
    test, named = folds["test"], shares >= thresholds
    predictions = _table(rows[test], shares[test], true[test], named[test], record.classes)
    order = f1_of_each(true[test], named[test])
    sheets = {} if record.input.startswith("words/") else {"labels": _sheet(predictions, order, rows[test], folders)}
    return Metrics(**scores), predictions, sheets


def _write_thresholds(models: Path, record: Record, thresholds: np.ndarray) -> None:
    by_label = dict(zip(record.classes, map(float, thresholds), strict=True))
    with staged(models / FOLDER, folder=True) as part:
        Thresholds(key=record.key, thresholds=by_label).write(part / THRESHOLDS)


def _table(
    rows: pd.DataFrame, shares: np.ndarray, true: np.ndarray, named: np.ndarray, names: list[str]
) -> pd.DataFrame:
    known: dict[str, Any] = {"labels": joined_labels(true, names), "predicted": joined_labels(named, names)}
    table = rows[["id", "origin"]].reset_index(drop=True).assign(**known)
    return table[list(PREDICTED)].join(pd.DataFrame(shares, columns=[*map(probability, names)]))


def _sheet(predictions: pd.DataFrame, f1: np.ndarray, rows: pd.DataFrame, folders: Folders) -> Image.Image:
    """Test pictures whose labels are all right, partly right, and worst, with the labels and those given instead."""
    pictures = open_rows(rows, folders)
    order = np.argsort(f1, kind="stable")
    right, wrong = order[f1[order] == 1], order[f1[order] < 1]
    partly = wrong[f1[wrong] > 0]
    chosen = (right[evenly_spaced(len(right), SHOWN)], partly[evenly_spaced(len(partly), SHOWN)], wrong[:SHOWN])
    shown = [(title, places) for title, places in zip(_TITLES, chosen, strict=True) if len(places)]
    return contact_sheet(
        [list(pictures.read(places)) for _, places in shown],
        [title for title, _ in shown],
        [[_caption(predictions.iloc[place]) for place in places] for _, places in shown],
        cell=CELL,
    )


def _caption(row: "pd.Series[Any]") -> str:
    true, given = (set(filter(None, row[column].split("|"))) for column in ("labels", "predicted"))
    lines = [
        ", ".join(sorted(true)) or "no label",
        f"missed {', '.join(sorted(true - given))}" if true - given else "",
        f"wrongly {', '.join(sorted(given - true))}" if given - true else "",
    ]
    return "\n".join(printable(line) for line in lines if line)
