"""Stage `convert`: write the kept pictures to one array, upright, square, small and in CIELAB."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lamina.config import read_params, section
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import MEMO, prepare
from lamina.files import staged
from lamina.stages import entry

MANIFEST = ["id", "origin", "label", "name"]


@dataclass(frozen=True, kw_only=True)
class ConvertSummary:
    """Shape of the array that was written."""

    shape: tuple[int, ...]

    def __str__(self) -> str:
        count, height, width, _ = self.shape
        return f"converted {count} pictures to {width}x{height} CIELAB"


def convert(config: ConvertConfig, raw: Path, filtered: Path, out: Path, *, memo: Path) -> ConvertSummary:
    """Convert the kept pictures.

    Args:
        config: Section `convert`.
        raw: Folder of the downloaded pictures.
        filtered: Folder of the filter's tables.
        out: Folder for `pixels.npy`, (N, S, S, 3) int16 CIELAB x 100, and `manifest.parquet`, in the same order; and
            `depth.json`, if there are pictures whose files do not say their depth.
        memo: Cache of prepared pictures, which the filter has filled (`lamina.data.preparation`).

    Returns:
        The shape of the array.
    """
    kept = pd.read_parquet(filtered / "kept.parquet", columns=MANIFEST)
    prepared = prepare(raw, config, memo, what="convert")
    chosen = prepared.pictures.set_index("id").loc[kept["id"], ["pack", "place"]]
    shape = (len(kept), config.size, config.size, 3)
    with staged(out, folder=True) as part:
        with (part / "pixels.npy").open("wb") as file:
            header = {"descr": "<i2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            prepared.write_squares(chosen, file)
        kept.to_parquet(part / "manifest.parquet", index=False)
        if prepared.depth:
            prepared.depth.write(part)
    return ConvertSummary(shape=shape)


def main() -> None:
    config = section(read_params(Path()), "convert", ConvertConfig)
    print(convert(config, Path("data/raw"), Path("data/filtered"), Path("data/lab"), memo=MEMO))


if __name__ == "__main__":
    entry.run_stage(main)
