"""Stage `extract@RUN`: the features of every row of the split, from the run's frozen backbone."""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lamina.config import read_params
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.learn.record import machine
from lamina.learn.runs import TransferRun, read_run
from lamina.models.saving import save_model
from lamina.stages import entry


@dataclass(frozen=True, kw_only=True)
class ExtractSummary:
    """Shape of the feature array, and what it took."""

    shape: tuple[int, int]
    seconds: float

    def __str__(self) -> str:
        rows, width = self.shape
        return f"extracted {width} features of {rows} rows in {self.seconds:.1f} s ({rows / self.seconds:.0f} rows/s)"


def extract_run(run: TransferRun, folders: Folders, out: Path, *, seed: int) -> ExtractSummary:
    """Write `features.npy`, in the order of the split manifest, `backbone.keras` and `timing.json` to `out`."""
    from lamina.learn.extract import extract, make_extractor

    manifest = pd.read_parquet(folders.split / "manifest.parquet")
    extractor = make_extractor(run, manifest, folders, seed=seed)
    start = time.perf_counter()
    with staged(out, folder=True) as part:
        shape = extract(extractor, open_rows(manifest, folders), part / "features.npy")
        summary = ExtractSummary(shape=shape, seconds=time.perf_counter() - start)
        save_model(extractor, part / "backbone.keras")
        write_json(part / "timing.json", {"seconds": {"extract": summary.seconds}, "machine": machine()})
    return summary


def main() -> None:
    params = read_params(Path())
    name = entry.run_name()
    _, run = read_run(params, name)
    if not isinstance(run, TransferRun):
        raise UserError(f"extract: {name} learns from pixels; only transfer runs have features")
    print(extract_run(run, Folders(), Path("data/features") / name, seed=entry.seed(params)))


if __name__ == "__main__":
    entry.run(main)
