"""Stage `augment`: plan the copies of each picture, and show some on a sheet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.config import read_params, section
from lamina.data.augmentation import AugmentConfig, draw_plan
from lamina.data.row_groups import GROUP_ROWS, write_groups
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
    with staged(out, folder=True) as part:
        _write_plan(manifest, config, seed, part / "plan.parquet")
        shown = draw_plan(_shown(manifest), config, seed)
        _sheet(shown, Folders(lab=lab, augmented=part)).save(part / "sheet.png", optimize=True)
    return AugmentSummary(pictures=len(manifest), copies=len(manifest) * config.copies)


def _write_plan(manifest: pd.DataFrame, config: AugmentConfig, seed: int, path: Path) -> None:
    """Draw the plan a part at a time, since that of millions of pictures does not fit memory."""
    step = GROUP_ROWS // (config.copies + 1)
    parts = (manifest[start : start + step] for start in range(0, len(manifest), step))
    write_groups(path, (draw_plan(part, config, seed) for part in parts))


def _shown(manifest: pd.DataFrame) -> pd.DataFrame:
    """Choose a few pictures, of each class in turn."""
    rank = manifest.groupby("label", dropna=False).cumcount()
    return manifest.assign(rank=rank).sort_values(["rank", "label"], kind="stable").head(SHEET_ROWS)


def _sheet(plan: pd.DataFrame, folders: Folders) -> Image.Image:
    """Draw pictures, each with its first copies."""
    rows = plan[plan["copy"] <= SHEET_COPIES].reset_index(drop=True)
    pixels = open_rows(rows, folders).read(np.arange(len(rows)))
    is_original = rows["copy"] == 0
    pictures = [list(part) for part in np.split(pixels, np.flatnonzero(is_original)[1:])]
    captions = [["original", *(f"copy {number}" for number in range(1, len(row)))] for row in pictures]
    return contact_sheet(pictures, list(rows.loc[is_original, "label"].fillna("")), captions)


def main() -> None:
    params = read_params(Path())
    config = section(params, "augment", AugmentConfig)
    print(augment(config, Path("data/lab"), Path("data/augmented"), seed=entry.seed(params)))


if __name__ == "__main__":
    entry.run_stage(main)
