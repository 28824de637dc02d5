"""Stage `evaluate-colorize@RUN`: what the saved colorizer makes of pictures that it never learned from."""

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
from lamina.maths.bins import count_bins
from lamina.maths.color import lab_to_srgb
from lamina.maths.color_scores import rare_weights, score_pictures, summarise
from lamina.prefetch import prefetch
from lamina.progress import progress
from lamina.stages import entry
from lamina.tasks.colorize.progress_sheet import colored, some

BATCH: Final = 64
SHOWN: Final = 10  # pictures in a row of a sheet


@dataclass(frozen=True, kw_only=True)
class EvaluateSummary:
    """The test fold's block of `metrics.json`."""

    test: dict[str, Any]

    def __str__(self) -> str:
        mse = self.test["measures"]["mse"]
        told = "" if mse["interval"] is None else "95 % interval {:.1f} to {:.1f}, ".format(*mse["interval"])
        return (
            f"test MSE {mse['value']:.1f} ({told}{self.test['n']} pictures of {self.test['origins']} origins; "
            f"grey {mse['grey']:.1f}, mean color {mse['mean']:.1f})"
        )


def evaluate_colors(folders: Folders, models: Path) -> EvaluateSummary:
    """Judge `model.keras` of a colorizer's folder from the pixels, beside two baselines that know nothing.

    Writes `metrics.json`, `predictions.parquet`, `colors.png` and `extremes.png` beside it (docs/files.md).
    """
    from lamina.models.loading import load_model

    mean_color = json.loads((models / "record.json").read_text())["data"]["mean_color"]
    manifest = pd.read_parquet(folders.split / "manifest.parquet")
    model = load_model(models / "model.keras")
    tables = {
        fold: _judge(model, manifest[manifest["fold"] == fold].sort_values("id"), folders, mean_color)
        for fold in ("validation", "test")
    }
    metrics = {fold: summarise(table, table["origin"]) for fold, table in tables.items()}
    test = tables["test"]
    with staged(models / "predictions.parquet") as part:
        test.to_parquet(part, index=False)
    rows = open_rows(manifest[manifest["fold"] == "test"].sort_values("id"), folders)
    with staged(models / "colors.png") as part:
        _colors_sheet(model, rows).save(part, format="PNG")
    with staged(models / "extremes.png") as part:
        _extremes_sheet(model, rows, test).save(part, format="PNG")
    write_json(models / "metrics.json", metrics)
    return EvaluateSummary(test=metrics["test"])


def _judge(model: Any, manifest: pd.DataFrame, folders: Folders, mean_color: list[float]) -> pd.DataFrame:
    """The measures of a fold's pictures, `id` and `origin` before them."""
    rows = open_rows(manifest, folders)
    rare = rare_weights(np.sum([count_bins(lab[..., 1:] / np.float32(100)) for lab in rows.lab_batches(BATCH)], axis=0))
    sizes = [min(BATCH, len(rows) - start) for start in range(0, len(rows), BATCH)]
    scored = (score_pictures(lab, _answer(model, lab), mean_color, rare) for lab in prefetch(rows.lab_batches(BATCH)))
    tables = list(progress(scored, what="evaluate", unit="pictures", sizes=sizes))
    return manifest[["id", "origin"]].reset_index(drop=True).join(pd.concat(tables, ignore_index=True))


def _answer(model: Any, lab: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict_on_batch(lightness(lab)))


def _colors_sheet(model: Any, rows: Rows) -> Image.Image:
    """Some test pictures, always the same: grey, predicted, true."""
    lab = some(rows, SHOWN)
    return contact_sheet(_three(model, lab), ["grey", "predicted", "true"])


def _extremes_sheet(model: Any, rows: Rows, table: pd.DataFrame) -> Image.Image:
    """The test pictures whose colors are nearest to the truth, and farthest, by CIEDE2000."""
    order = table["ciede2000"].to_numpy().argsort(kind="stable")
    chosen = {"nearest": order[:SHOWN], "farthest": order[::-1][:SHOWN]}
    pictures, names, captions = [], [], []
    for which, places in chosen.items():
        three = _three(model, rows.read_lab(places))
        pictures += three
        names += [which, "predicted", "true"]
        captions += [[""] * len(places), [f"{table['ciede2000'].iloc[place]:.1f}" for place in places]]
        captions.append([""] * len(places))
    return contact_sheet(pictures, names, captions)


def _three(model: Any, lab: np.ndarray) -> list[list[np.ndarray]]:
    grey = colored(lab, np.zeros((*lab.shape[:3], 2), np.float32))
    return [list(grey), list(colored(lab, _answer(model, lab))), list(lab_to_srgb(lab))]


def main() -> None:
    name = entry.run_name()
    print(f"{name}: {evaluate_colors(Folders(), Path('models') / name)}")


if __name__ == "__main__":
    entry.run(main)
