"""Reads rows of the split manifest as pixels: the stored original, warped by the augmentation plan on reading."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from lamina.data.augmentation import PLAN_COLUMNS, warp, warp_geometry
from lamina.errors import UserError
from lamina.maths.color import LabPixels, RgbPixels, lab_to_srgb


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Folders of a system's data."""

    lab: Path = Path("data/lab")
    augmented: Path = Path("data/augmented")
    split: Path = Path("data/split")
    pixels: Path = Path("data/pixels")
    features: Path = Path("data/features")
    words: Path = Path("data/words")
    targets: Path = Path("data/targets")

    def of_input(self, name: str) -> Path:
        """Return the folder of an input: `pixels`, `features/NAME` or `words/NAME`."""
        kind, _, entry = name.partition("/")
        return Path(getattr(self, kind)) / entry


@dataclass(frozen=True)
class Rows:
    """Pictures of the rows of a manifest; only the plan is held in memory.

    Attributes:
        pixels: (N, S, S, 3) int16, CIELAB x 100, memory-mapped.
        place: (rows,) index of each row's original in `pixels`.
        plan: `copy` and `PLAN_COLUMNS` of each row.
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
        """Read some rows as RGB; a row has the same pixels each time.

        Args:
            rows: Row numbers.

        Returns:
            (len(rows), S, S, 3) uint8.
        """
        rows = np.asarray(rows)
        originals, which = np.unique(self.place[rows], return_inverse=True)
        rgb = lab_to_srgb(self.pixels[originals])
        chosen = cast(list[dict[str, Any]], self.plan.iloc[rows].to_dict("records"))  # column names are strings
        return np.stack(
            [
                rgb[source] if row["copy"] == 0 else warp(rgb[source], row)
                for source, row in zip(which, chosen, strict=True)
            ]
        )

    def read_lab(self, rows: Sequence[int] | np.ndarray) -> LabPixels:
        """Read some rows as CIELAB, warped as planned but with their true colors.

        Args:
            rows: Row numbers.

        Returns:
            (len(rows), S, S, 3) int16, CIELAB x 100.
        """
        rows = np.asarray(rows)
        lab: LabPixels = self.pixels[self.place[rows]]
        plan = self.plan.iloc[rows]
        for index in np.flatnonzero(plan["copy"]):
            lab[index] = warp_geometry(lab[index], cast(dict[str, Any], plan.iloc[index].to_dict()))
        return lab

    def batches(self, size: int) -> Iterator[RgbPixels]:
        """Yield all rows in order as RGB, `size` at a time; the last batch may be shorter."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))

    def lab_batches(self, size: int) -> Iterator[LabPixels]:
        """Yield all rows in order as CIELAB (see `read_lab`), `size` at a time; the last batch may be shorter."""
        for start in range(0, len(self), size):
            yield self.read_lab(np.arange(start, min(start + size, len(self))))


def open_rows(manifest: pd.DataFrame, folders: Folders) -> Rows:
    """Open the pictures of a split manifest.

    Args:
        manifest: Columns `id` and `copy`.
        folders: Where pixels and plan are stored.

    Returns:
        Pictures in the order of the manifest.

    Raises:
        UserError: If pixels and plan are not of the same pictures, or lack one of the manifest.
    """
    ids = pd.read_parquet(folders.lab / "manifest.parquet", columns=["id"])["id"]
    place = pd.Index(ids).get_indexer(manifest["id"])
    plan = pd.read_parquet(folders.augmented / "plan.parquet", columns=["id", "copy", *PLAN_COLUMNS])
    # the plan has the pictures in the same order, each with all its copies
    rows = place * (len(plan) // len(ids)) + manifest["copy"].to_numpy()
    chosen = plan.take(np.minimum(rows, len(plan) - 1)).reset_index(drop=True)  # a copy too many: found out below
    if not all((chosen[key].array == manifest[key].array).all() for key in ("id", "copy")):
        raise UserError(f"{folders.augmented}/plan.parquet is not of the pictures in {folders.lab}; run: dvc repro")
    pixels = np.load(folders.lab / "pixels.npy", mmap_mode="r")
    return Rows(pixels=pixels, place=place, plan=chosen.drop(columns="id"))
