"""Stage `evaluate-pretext@RUN`: how well the saved network tells lightness from color, in pictures it never saw."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.rows import Folders, Rows, open_rows
from lamina.data.sheets import contact_sheet
from lamina.files import staged, write_json
from lamina.inputs.lightness import lightness
from lamina.maths.color import LabPixels, RgbPixels, lab_to_srgb
from lamina.maths.means import mean_interval
from lamina.prefetch import prefetch
from lamina.progress import progress
from lamina.stages import entry
from lamina.tasks.colorize.progress_sheet import some

BATCH: Final = 64
SHOWN: Final = 10  # pictures in a row of the sheet
DRAWN_AT: Final = 60  # L at which color without lightness is drawn: where sRGB holds most colors


@dataclass(frozen=True, kw_only=True)
class EvaluateSummary:
    """The test fold's block of `metrics.json`."""

    test: dict[str, Any]

    def __str__(self) -> str:
        interval = self.test["interval"]
        told = "" if interval is None else f"95 % interval {interval[0]:.1f} to {interval[1]:.1f}, "
        return (
            f"test MSE of L {self.test['mse']:.1f} ({told}{self.test['n']} pictures of {self.test['origins']} origins; "
            f"the training mean everywhere {self.test['level']:.1f})"
        )


def evaluate_pretext(folders: Folders, models: Path) -> EvaluateSummary:
    """Judge `model.keras` of a pretext run's folder from the pixels, beside the training mean L everywhere.

    Writes `metrics.json`, `predictions.parquet` and `lightness.png` beside it (docs/files.md).
    """
    from lamina.models.loading import load_model

    mean = json.loads((models / "record.json").read_text())["data"]["mean_lightness"]
    manifest = pd.read_parquet(folders.split / "manifest.parquet")
    model = load_model(models / "model.keras")
    tables = {
        fold: _judge(model, manifest[manifest["fold"] == fold].sort_values("id"), folders, mean)
        for fold in ("validation", "test")
    }
    metrics = {fold: summarise(table) for fold, table in tables.items()}
    with staged(models / "predictions.parquet") as part:
        tables["test"].to_parquet(part, index=False)
    rows = open_rows(manifest[manifest["fold"] == "test"].sort_values("id"), folders)
    with staged(models / "lightness.png") as part:
        _sheet(model, rows).save(part, format="PNG")
    write_json(models / "metrics.json", metrics)
    return EvaluateSummary(test=metrics["test"])


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """A fold's block of `metrics.json`. table: `origin`, `mse` and `level_mse` of each picture.

    The interval is that of 95 %, over origins; None where there is but one.
    """
    interval = mean_interval(table["mse"], table["origin"])
    return {
        "n": len(table),
        "origins": int(table["origin"].nunique()),
        "mse": float(table["mse"].mean()),
        "interval": [max(0.0, bound) for bound in interval] if np.isfinite(interval).all() else None,
        "level": float(table["level_mse"].mean()),
    }


def _judge(model: Any, manifest: pd.DataFrame, folders: Folders, mean: float) -> pd.DataFrame:
    """Squared errors of a fold's pictures, `id` and `origin` before them."""
    rows = open_rows(manifest, folders)
    sizes = [min(BATCH, len(rows) - start) for start in range(0, len(rows), BATCH)]
    judged = (_errors(model, lab, mean) for lab in prefetch(rows.lab_batches(BATCH)))
    tables = list(progress(judged, what="evaluate", unit="pictures", sizes=sizes))
    return manifest[["id", "origin"]].reset_index(drop=True).join(pd.concat(tables, ignore_index=True))


def _errors(model: Any, lab: LabPixels, mean: float) -> pd.DataFrame:
    """`mse` of what the network says, and `level_mse` of the training mean, by picture, in squared units of L."""
    true = lightness(lab).astype(np.float64)
    return pd.DataFrame(
        {
            name: np.square(said - true).mean(axis=(1, 2, 3))
            for name, said in (("mse", _answer(model, lab)), ("level_mse", mean))
        }
    )


def _answer(model: Any, lab: LabPixels) -> np.ndarray:
    return np.asarray(model.predict_on_batch(lab_to_srgb(lab).astype(np.float32)))


def _sheet(model: Any, rows: Rows) -> Image.Image:
    """Some test pictures, always the same: their color without lightness, the lightness predicted, and the true one."""
    lab = some(rows, SHOWN)
    given = lab.copy()
    given[..., 0] = DRAWN_AT * 100
    three = [lab_to_srgb(given), _drawn(_answer(model, lab)), _drawn(lightness(lab))]
    return contact_sheet([list(row) for row in three], ["given", "predicted", "true"])


def _drawn(light: np.ndarray) -> RgbPixels:
    """Lightness as grey pictures: (n, S, S, 3) uint8. light: (n, S, S, 1) L."""
    lab = np.zeros((*light.shape[:3], 3), np.int16)
    lab[..., 0] = np.rint(np.clip(light[..., 0], 0, 100) * 100)
    return lab_to_srgb(lab)


def main() -> None:
    name = entry.run_name()
    print(f"{name}: {evaluate_pretext(Folders(), Path('models') / name)}")


if __name__ == "__main__":
    entry.run(main)
