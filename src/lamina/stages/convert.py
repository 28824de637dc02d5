"""Stage `convert`: every kept picture upright, square, small and in CIELAB, all in one array."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lamina.config import read_params, section
from lamina.data.pixels import ConvertConfig, convert_rows
from lamina.data.shards import Shard, list_shards, map_shards
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


def convert(config: ConvertConfig, raw: Path, filtered: Path, out: Path) -> ConvertSummary:
    """Write `pixels.npy`, (N, S, S, 3) int16 CIELAB x 100, and `manifest.parquet` to `out`, row by row alike."""
    kept = pd.read_parquet(filtered / "kept.parquet")
    shape = (len(kept), config.size, config.size, 3)
    by_place = dict(iter(kept.groupby(["part", "group"], sort=False)))
    shards = [shard for shard in list_shards(raw) if (shard.part, shard.group) in by_place]
    tasks = [_task(raw, shard, by_place[shard.part, shard.group], config.size) for shard in shards]
    sizes = [len(rows) for _, _, rows, _, _ in tasks]
    with staged(out, folder=True) as part:
        with (part / "pixels.npy").open("wb") as file:
            header = {"descr": "<i2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for lab in map_shards(convert_rows, tasks, sizes=sizes, what="convert"):
                file.write(lab.data)  # tofile does not say that a disk is full
        kept[MANIFEST].to_parquet(part / "manifest.parquet", index=False)
    return ConvertSummary(shape=shape)


def _task(raw: Path, shard: Shard, kept: pd.DataFrame, size: int) -> tuple[Path, Shard, list[int], list[object], int]:
    return raw, shard, kept["row"].tolist(), kept["box"].tolist(), size


def main() -> None:
    config = section(read_params(Path()), "convert", ConvertConfig)
    print(convert(config, Path("data/raw"), Path("data/filtered"), Path("data/lab")))


if __name__ == "__main__":
    entry.run(main)
