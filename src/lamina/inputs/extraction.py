"""Features of every row of a split, computed once by a frozen backbone."""

import os
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
import pandas as pd

from lamina.data.rows import Folders, Rows, open_rows
from lamina.errors import UserError
from lamina.inputs.features import FeaturesSettings
from lamina.models.backbones import BACKBONE_LAYER, RANDOM, build_extractor, calibrate
from lamina.models.engine import Engine
from lamina.models.keras_runtime import keras
from lamina.models.onnx_options import ONNX, OnnxPooling, OnnxPreprocess
from lamina.prefetch import prefetch
from lamina.progress import progress

ROWS_AT_ONCE: Final = 512
CALIBRATION_PICTURES: Final = 64


def make_extractor(settings: FeaturesSettings, manifest: pd.DataFrame, folders: Folders, *, seed: int) -> keras.Model:
    """Build a frozen backbone; set the batch statistics of a random one from some training originals.

    Args:
        settings: Of an entry of the section `features`.
        manifest: Of the split.
        folders: Of the data.
        seed: Of random weights, and of the originals.
    """
    size = int(np.load(folders.lab / "pixels.npy", mmap_mode="r").shape[1])
    if settings.backbone == ONNX:
        return _of_file(settings, size)
    given = settings.model_dump(include={"weights", "pooling", "preprocess"})
    extractor = build_extractor(settings.backbone, **given, size=size, seed=seed)
    if settings.weights == RANDOM:
        originals = manifest[(manifest["fold"] == "train") & (manifest["copy"] == 0)]
        some = originals.sample(min(len(originals), CALIBRATION_PICTURES), random_state=seed)
        rows = open_rows(some, folders)
        calibrate(extractor, rows.read(np.arange(len(rows))).astype(np.float32))
    return extractor


def _of_file(settings: FeaturesSettings, size: int) -> keras.Model:
    from lamina.models.onnx_extractor import make_network
    from lamina.models.onnx_layer import OnnxFeatures

    network, width = make_network(
        Path(settings.weights),
        output=settings.output,
        preprocess=cast(OnnxPreprocess, settings.preprocess),
        pooling=cast(OnnxPooling, settings.pooling),
        side=settings.size,
        pictures=size,
    )
    pixels = keras.Input((size, size, 3), name="rgb")
    return keras.Model(pixels, OnnxFeatures(width, network, name=BACKBONE_LAYER)(pixels), name="extractor")


def extract(engine: Engine, rows: Rows, out: Path) -> tuple[int, int]:
    """Write the features of all rows to `out`, (rows, width) float16.

    If `out` holds the first rows of an interrupted extraction, only the others are computed.

    Args:
        engine: Computes the features.
        rows: To read.
        out: File of the array.

    Returns:
        The array's shape.

    Raises:
        UserError: If features leave the range of float16, or are all equal.
    """
    shape = (len(rows), engine.width)
    out.touch()
    with out.open("r+b") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        first = _whole_chunks(file, engine.width) * ROWS_AT_ONCE
        chunks = [np.arange(at, min(at + ROWS_AT_ONCE, len(rows))) for at in range(first, len(rows), ROWS_AT_ONCE)]
        pixels = prefetch(map(rows.read, chunks), depth=1)
        for chunk in progress(pixels, what="extract", unit="rows", sizes=[len(chunk) for chunk in chunks]):
            with np.errstate(over="ignore"):  # reported below
                features = engine.features(chunk).astype(np.float16, order="C")
            if not np.isfinite(features).all():
                raise UserError(
                    "extract: features leave the range of float16; use preprocess: native (of an ONNX file, what it "
                    "takes), or other weights"
                )
            file.write(features.data)  # `tofile` would not report a full disk
    if not _differ(np.load(out, mmap_mode="r")):
        raise UserError(
            "extract: every picture has the same features; use preprocess: native (of an ONNX file, what it takes), or "
            "other weights"
        )
    return shape


def _whole_chunks(file: BinaryIO, width: int) -> int:
    """Return the number of complete chunks after the header; cut off the rest, and move to the end."""
    header, size = file.tell(), 2 * width * ROWS_AT_ONCE
    whole = max(0, file.seek(0, os.SEEK_END) - header) // size
    file.truncate(header + whole * size)
    file.seek(0, os.SEEK_END)
    return whole


def _differ(features: np.ndarray) -> bool:
    return any((features[at : at + ROWS_AT_ONCE] != features[0]).any() for at in range(0, len(features), ROWS_AT_ONCE))
