"""How good the numbers of a trained network are, in pictures or texts that it never learned from."""

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.rows import Folders, open_rows
from lamina.data.sheets import contact_sheet, evenly_spaced
from lamina.files import staged
from lamina.inputs.index import read_split
from lamina.inputs.targets import read_numbers, read_targets
from lamina.maths.conformal import COVERAGE
from lamina.maths.number_scores import find_margin, number_scores, score_margin
from lamina.models.loading import load_model
from lamina.results.record import read_record
from lamina.results.uncertainty import FOLDER
from lamina.tasks.outputs import predict_rows
from lamina.tasks.regress.results import MARGIN, PREDICTED, Margin, Metrics, NumberScores, in_digits

SHOWN: Final = 8  # pictures in a row of the sheet
CELL: Final = 130


def evaluate(folders: Folders, models: Path) -> tuple[Metrics, pd.DataFrame, dict[str, Image.Image]]:
    """Evaluate a run's model on validation and test; see `lamina.tasks.task.Task.evaluate`.

    How far numbers lie from their predictions is measured on the validation fold, and goes to
    `uncertainty/margin.json`; the test fold shows whether it holds.
    """
    record = read_record(models)
    numbers = read_numbers(read_targets(folders, record.task), record.settings["target"])
    split = read_split(folders)
    rows = split[split["fold"].isin(["validation", "test"]) & split["id"].isin(numbers.index)].sort_values("id")
    found = predict_rows(load_model(models / "model.keras"), rows, folders, record.input)[:, 0].astype(np.float64)
    table = rows.assign(target=numbers.loc[rows["id"]].to_numpy(), predicted=found)
    validation, test = (table[table["fold"] == fold] for fold in ("validation", "test"))
    margin = find_margin(*_columns(validation))
    known = Margin(
        key=record.key,
        coverage=COVERAGE,
        value=margin if math.isfinite(margin) else None,
        origins=validation["origin"].nunique(),
    )
    with staged(models / FOLDER, folder=True) as part:
        known.write(part / MARGIN)
    mean = record.data["target_mean"]
    held = score_margin(*_columns(test), margin, COVERAGE)
    metrics = Metrics(
        test=NumberScores.model_validate(number_scores(*_columns(test), mean) | {"held": held}),
        validation=NumberScores.model_validate(number_scores(*_columns(validation), mean)),
    )
    sheets = {} if record.input.startswith("words/") else {"numbers": _sheet(test, folders)}
    return metrics, test[list(PREDICTED)].reset_index(drop=True), sheets


def _columns(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rows["target"].to_numpy(), rows["predicted"].to_numpy(), rows["origin"].to_numpy()


def _sheet(test: pd.DataFrame, folders: Folders) -> Image.Image:
    """Test pictures from the lowest to the highest true number, and those whose numbers are furthest off."""
    pictures = open_rows(test, folders)
    target, predicted, _ = _columns(test)
    in_order = np.argsort(target, kind="stable")[evenly_spaced(len(test), SHOWN)]
    furthest = np.argsort(-np.abs(target - predicted), kind="stable")[:SHOWN]
    spread = float(np.std(target))
    shown: dict[str, Any] = {"low to high": in_order, "furthest off": furthest}
    return contact_sheet(
        [list(pictures.read(places)) for places in shown.values()],
        list(shown),
        [
            ["\n→ ".join(in_digits(one[place], spread) for one in (target, predicted)) for place in places]
            for places in shown.values()
        ],
        cell=CELL,
    )
