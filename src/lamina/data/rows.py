"""Rows of the split manifest as pixels: the stored original, warped by its plan as it is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from lamina.data.augmentation import PLAN_COLUMNS, turn, warp
from lamina.maths.color import LabPixels, RgbPixels, lab_to_srgb


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where a system's data lies."""

    lab: Path = Path("data/lab")
    augmented: Path = Path("data/augmented")
    split: Path = Path("data/split")
    pixels: Path = Path("data/pixels")
    features: Path = Path("data/features")
    words: Path = Path("data/words")

    def of_input(self, name: str) -> Path:
        """Return the folder of an input: `pixels`, `features/NAME` or `words/NAME`."""
        kind, _, entry = name.partition("/")
        return Path(getattr(self, kind)) / entry


@dataclass(frozen=True)
class Rows:
    """Pictures by row of a manifest (`id`, `copy`): nothing is held in memory but the plan.

    pixels: (N, S, S, 3) int16 CIELAB x 100, memory-mapped; place: (rows,) index into `pixels`;
    plan: (rows,) `copy` and `PLAN_COLUMNS`.
    """

    pixels: LabPixels
    place: np.ndarray
    plan: pd.DataFrame

    def __len__(self) -> int:
        return len(self.place)

    @property
    def size(self) -> int:
        return int(self.pixels.shape[1])

    def read(self, rows: Sequence[int] | np.ndarray) -> RgbPixels:
        """RGB pixels of some rows, (len(rows), S, S, 3) uint8; the same row is the same pixels each time."""
        rows = np.asarray(rows)
        originals, which = np.unique(self.place[rows], return_inverse=True)
        rgb = lab_to_srgb(self.pixels[originals])
        chosen = cast(list[dict[str, Any]], self.plan.iloc[rows].to_dict("records"))  # its columns' names are strings
        return np.stack(
            [
                rgb[source] if row["copy"] == 0 else warp(rgb[source], row)
                for source, row in zip(which, chosen, strict=True)
            ]
        )

    def read_lab(self, rows: Sequence[int] | np.ndarray) -> LabPixels:
        """CIELAB of some rows, (len(rows), S, S, 3) int16 x 100: turned as planned, in their true colors."""
        rows = np.asarray(rows)
        lab: LabPixels = self.pixels[self.place[rows]]
        plan = self.plan.iloc[rows]
        for at in np.flatnonzero(plan["copy"]):
            lab[at] = turn(lab[at], cast(dict[str, Any], plan.iloc[at].to_dict()))
        return lab

    def batches(self, size: int) -> Iterator[RgbPixels]:
        """All rows in order, `size` at a time (the last batch may be shorter)."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))

    def lab_batches(self, size: int) -> Iterator[LabPixels]:
        """The same in CIELAB, as `read_lab` reads it."""
        for start in range(0, len(self), size):
            yield self.read_lab(np.arange(start, min(start + size, len(self))))


def open_rows(manifest: pd.DataFrame, folders: Folders) -> Rows:
    """Open the pictures of a split manifest (`id`, `copy`), in its order."""
    pixels = np.load(folders.lab / "pixels.npy", mmap_mode="r")
    ids = pd.read_parquet(folders.lab / "manifest.parquet", columns=["id"])["id"]
    place = pd.Series(np.arange(len(ids)), index=ids).loc[manifest["id"]].to_numpy()
    plan = pd.read_parquet(folders.augmented / "plan.parquet", columns=["id", "copy", *PLAN_COLUMNS])
    chosen = plan.set_index(["id", "copy"]).loc[pd.MultiIndex.from_frame(manifest[["id", "copy"]])]
    return Rows(pixels=pixels, place=place, plan=chosen.reset_index("copy").reset_index(drop=True))
