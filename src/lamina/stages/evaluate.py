"""Stage `evaluate@RUN`: what the saved model says of pictures that it never learned from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lamina.data.rows import Folders, open_rows
from lamina.files import staged, write_json
from lamina.maths.calibration import calibration
from lamina.maths.scores import score
from lamina.progress import progress
from lamina.stages import entry

if TYPE_CHECKING:
    from lamina.models.inference import Predictor

BATCH = 256
SHOWN = 8  # right answers, and wrong ones, in `looked_at.png`


@dataclass(frozen=True, kw_only=True)
class EvaluateSummary:
    """The test fold's scores."""

    test: dict[str, Any]

    def __str__(self) -> str:
        low, high = self.test["interval"]
        return (
            f"test accuracy {self.test['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, "
            f"{self.test['n']} pictures of {self.test['origins']} origins; majority {self.test['majority']:.3f})"
        )


def evaluate(folders: Folders, models: Path) -> EvaluateSummary:
    """Judge `model.keras` of a run's folder from the pixels, and write `metrics.json`, `predictions.parquet`,
    `confusion.csv` and `looked_at.png` beside it. Every prediction is joined to its label by the picture's id."""
    from lamina.models.loading import load_model
    from lamina.models.saliency import Saliency
    from lamina.tasks.classify.explain import answers_sheet, telling

    classes = json.loads((models / "record.json").read_text())["classes"]
    manifest = pd.read_parquet(folders.split / "manifest.parquet")
    manifest = manifest[manifest["fold"].isin(["validation", "test"])].reset_index(drop=True)
    saliency = Saliency(load_model(models / "model.keras"))
    table = _predict(saliency.answers, manifest, folders, classes)
    table = table.sort_values("id", ignore_index=True)  # intervals that are drawn do not depend on the order, then
    scores = {str(fold): _judge(rows, classes) for fold, rows in table.groupby("fold")}
    test = table[table["fold"] == "test"]
    with staged(models / "predictions.parquet") as part:
        test[["id", "origin", "label", "predicted", *classes]].to_parquet(part, index=False)
    with staged(models / "confusion.csv") as part:
        test[["label", "predicted"]].to_csv(part, index=False)
    chosen = telling(test, classes, SHOWN)
    rows = open_rows(chosen, folders)
    with staged(models / "looked_at.png") as part:
        answers_sheet(saliency, chosen, rows.read(np.arange(len(rows))), classes).save(part)
    write_json(models / "metrics.json", scores)
    return EvaluateSummary(test=scores["test"])


def _judge(rows: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    truth = pd.Categorical(rows["label"], categories=classes).codes
    scores = score(rows["label"], rows["predicted"], rows["origin"], classes)
    return scores | {"calibration": calibration(rows[classes], truth, rows["origin"])}


def _predict(ask: "Predictor", manifest: pd.DataFrame, folders: Folders, classes: list[str]) -> pd.DataFrame:
    rows = open_rows(manifest, folders)
    sizes = [min(BATCH, len(rows) - start) for start in range(0, len(rows), BATCH)]
    found = progress(map(ask, rows.batches(BATCH)), what="evaluate", unit="pictures", sizes=sizes)
    table = pd.DataFrame(np.concatenate(list(found)), columns=classes)
    predicted = np.array(classes, dtype=object)[table[classes].to_numpy().argmax(axis=1)]
    return manifest.join(table).assign(predicted=predicted)


def main() -> None:
    name = entry.run_name()
    print(f"{name}: {evaluate(Folders(), Path('models') / name)}")


if __name__ == "__main__":
    entry.run(main)
