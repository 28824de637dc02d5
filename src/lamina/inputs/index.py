"""What a run reads: the split's rows, and an index of its input.

Every input has an `index.json` in its folder (`data/pixels`, `data/features/NAME`, `data/words/NAME`). The stage that
makes the input writes it once, so that training need not hash the data again.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from lamina.data.rows import Folders
from lamina.files import file_digest, json_digest, read_json, write_json


def read_split(folders: Folders) -> pd.DataFrame:
    """Read the split manifest: `id`, `origin`, `label`, `copy`, `fold`, `part`."""
    return pd.read_parquet(folders.split / "manifest.parquet")


def write_index(folder: Path, digest: str, width: int, weights: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write `index.json` of an input.

    Args:
        folder: of the input.
        digest: of its content.
        width: side of the pictures, or number of features of a row.
        weights: what is known about the published weights of the backbone, if it has some.
    """
    known = {"weights": dict(weights)} if weights else {}
    write_json(folder / "index.json", {"digest": digest, "width": width} | known)


def input_facts(folder: Path) -> dict[str, Any]:
    """Return what an input's index says about the weights of its backbone; empty where there are none."""
    index = read_json(folder / "index.json")
    return {"weights": index["weights"]} if "weights" in index else {}


def input_digest(folder: Path, folders: Folders) -> str:
    """Return the SHA-256 of what a run learns from: its input and the split."""
    index = read_json(folder / "index.json")
    return json_digest([index["digest"], file_digest(folders.split / "manifest.parquet")])


def input_width(folder: Path) -> int:
    """Return the side of an input's pictures in pixels, or the number of its features."""
    return int(read_json(folder / "index.json")["width"])


def index_pixels(folders: Folders) -> None:
    """Write the index of `input: pixels`: the stored pictures and the plan of their copies."""
    pixels, plan = folders.lab / "pixels.npy", folders.augmented / "plan.parquet"
    files = (pixels, folders.lab / "manifest.parquet", plan)
    side = int(np.load(pixels, mmap_mode="r").shape[1])
    write_index(folders.pixels, json_digest([file_digest(path) for path in files]), side)
