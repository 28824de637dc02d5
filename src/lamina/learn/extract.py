"""Features of every row of a split, computed once by a frozen backbone."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.ahead import ahead
from lamina.data.rows import Folders, Rows, open_rows
from lamina.errors import UserError
from lamina.learn.runs import TransferRun
from lamina.models.backbones import build_extractor, calibrate
from lamina.models.keras_runtime import keras
from lamina.progress import progress

BATCH: Final = 32
ROWS_AT_ONCE: Final = 512
CALIBRATION_PICTURES: Final = 64


def make_extractor(run: TransferRun, manifest: pd.DataFrame, folders: Folders, *, seed: int) -> keras.Model:
    """Build the run's frozen backbone; a random one gets its statistics from some training originals."""
    size = int(np.load(folders.lab / "pixels.npy", mmap_mode="r").shape[1])
    extractor = build_extractor(
        run.backbone, weights=run.weights, pooling=run.pooling, preprocess=run.preprocess, size=size, seed=seed
    )
    if run.weights == "none":
        originals = manifest[(manifest["fold"] == "train") & (manifest["copy"] == 0)]
        some = originals.sample(min(len(originals), CALIBRATION_PICTURES), random_state=seed)
        rows = open_rows(some, folders)
        calibrate(extractor, rows.read(np.arange(len(rows))).astype(np.float32))
    return extractor


def extract(extractor: Any, rows: Rows, out: Path) -> tuple[int, int]:
    """Write the features of all rows to `out`, (rows, width) float16, row by row as they come.

    Returns the array's shape. Raises UserError where features leave the range of float16, or are all equal.
    """
    shape = (len(rows), int(extractor.output.shape[-1]))
    chunks = [np.arange(start, min(start + ROWS_AT_ONCE, len(rows))) for start in range(0, len(rows), ROWS_AT_ONCE)]
    spread = 0.0
    with out.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        pixels = ahead(map(rows.read, chunks), depth=1)
        for chunk in progress(pixels, what="extract", unit="rows", sizes=[len(chunk) for chunk in chunks]):
            with np.errstate(over="ignore"):  # told below, in words
                features = extractor.predict(chunk, batch_size=BATCH, verbose=0).astype(np.float16, order="C")
            if not np.isfinite(features).all():
                raise UserError("extract: features leave the range of float16; use preprocess: own, or other weights")
            spread = max(spread, float(np.ptp(features, axis=0).max()))
            file.write(features.data)  # tofile does not say that a disk is full
    if spread == 0:
        raise UserError("extract: every picture has the same features; use preprocess: own, or other weights")
    return shape
