"""Stage `augment`: plan the copies of each picture, and show some on a sheet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.config import read_params, section
from lamina.data.augmentation import AugmentConfig, draw_plan
from lamina.data.rows import Folders, open_rows
from lamina.data.sheets import contact_sheet
from lamina.files import staged
from lamina.stages import entry

SHEET_ROWS: Final = 8
SHEET_COPIES: Final = 7


@dataclass(frozen=True, kw_only=True)
class AugmentSummary:
    """Numbers of pictures and of planned copies."""

    pictures: int
    copies: int

    def __str__(self) -> str:
        return f"planned {self.copies} copies of {self.pictures} pictures"


def augment(config: AugmentConfig, lab: Path, out: Path, *, seed: int) -> AugmentSummary:
    """Plan the copies of all pictures.

    Args:
        config: Section `augment`.
        lab: Folder of the converted pictures.
        out: Folder for `plan.parquet`, one row per original or copy, and `sheet.png`.
        seed: Of the random draws.

    Returns:
        What was planned.
    """
    manifest = pd.read_parquet(lab / "manifest.parquet")
    plan = draw_plan(manifest, config, seed)
    with staged(out, folder=True) as part:
        plan.to_parquet(part / "plan.parquet", index=False)
        _sheet(plan, Folders(lab=lab, augmented=part)).save(part / "sheet.png", optimize=True)
    return AugmentSummary(pictures=len(manifest), copies=len(plan) - len(manifest))


def _sheet(plan: pd.DataFrame, folders: Folders) -> Image.Image:
    """Draw a few pictures of each class, each with its first copies."""
    originals = plan[plan["copy"] == 0]
    rank = originals.groupby("label", dropna=False).cumcount()
    shown = originals.assign(rank=rank).sort_values(["rank", "label"], kind="stable").head(SHEET_ROWS)
    rows = plan[plan["id"].isin(shown["id"]) & (plan["copy"] <= SHEET_COPIES)].reset_index(drop=True)
    pixels = open_rows(rows, folders).read(np.arange(len(rows)))
    pictures = [list(pixels[rows["id"] == picture]) for picture in shown["id"]]
    captions = [["original", *(f"copy {number}" for number in range(1, len(row)))] for row in pictures]
    return contact_sheet(pictures, list(shown["label"].fillna("")), captions)


def main() -> None:
    params = read_params(Path())
    config = section(params, "augment", AugmentConfig)
    print(augment(config, Path("data/lab"), Path("data/augmented"), seed=entry.seed(params)))


if __name__ == "__main__":
    entry.run_stage(main)
