"""Stage `extract@RUN`: the features of every row of the split, from the run's frozen backbone."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lamina.config import read_params
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import discard, file_digest, staged, write_json
from lamina.inputs.features import FILES, UNFINISHED, data_digest, features_key, take_over, tidy
from lamina.models.saving import save_model
from lamina.results.record import machine, note_convention
from lamina.stages import entry
from lamina.tasks.runs import TransferRun, read_run, run_names


@dataclass(frozen=True, kw_only=True)
class ExtractSummary:
    """Shape of the feature array, what it took, and the run that they were taken over from (None: made here)."""

    shape: tuple[int, int]
    seconds: float
    shared_with: str | None = None

    def __str__(self) -> str:
        rows, width = self.shape
        if self.shared_with:
            return f"{width} features of {rows} rows are those of {self.shared_with}: taken over"
        return f"extracted {width} features of {rows} rows in {self.seconds:.1f} s ({rows / self.seconds:.0f} rows/s)"


def extract_run(
    run: TransferRun,
    folders: Folders,
    out: Path,
    *,
    seed: int,
    others: Sequence[TransferRun] = (),
    unfinished: Path = UNFINISHED,
) -> ExtractSummary:
    """Write `features.npy`, in the order of the split manifest, `backbone.keras` and `timing.json` to `out`.

    What a run beside `out` made of the same is taken over. unfinished: the folder that keeps what is made until it is
    whole, so that an interrupted extraction goes on; of it, only what this run and the `others` need is kept.
    """
    note_convention(run.weights, run.preprocess)
    data = data_digest(folders)
    key, *asked = (features_key(one, data, seed=seed) for one in (run, *others))
    tidy(unfinished, {key, *asked})
    with staged(out, folder=True) as part:
        timing = take_over(out.parent, key, part) or _make(run, folders, part, unfinished / key, seed=seed)
        files = {name: file_digest(part / name) for name in FILES}
        write_json(part / "timing.json", {**timing, "key": key, "files": files})
        shape = np.load(part / "features.npy", mmap_mode="r").shape
    discard(unfinished / key)
    return ExtractSummary(shape=shape, seconds=timing["seconds"]["extract"], shared_with=timing.get("shared_with"))


def _make(run: TransferRun, folders: Folders, out: Path, unfinished: Path, *, seed: int) -> Mapping[str, Any]:
    """Extract to the folder `out`, by way of `unfinished`; return what `timing.json` says of it."""
    from lamina.inputs.extraction import extract, make_extractor
    from lamina.models.engine import compile_engine

    manifest = pd.read_parquet(folders.split / "manifest.parquet")
    start = time.perf_counter()
    extractor = make_extractor(run, manifest, folders, seed=seed)
    engine = compile_engine(extractor, run.precision)
    built = time.perf_counter()
    unfinished.mkdir(parents=True, exist_ok=True)
    extract(engine, open_rows(manifest, folders), unfinished / "features.npy")
    seconds = {"build": built - start, "extract": time.perf_counter() - built}
    save_model(extractor, out / "backbone.keras")
    shutil.move(unfinished / "features.npy", out / "features.npy")
    return {"seconds": seconds, "machine": machine(), "engine": engine.name, "precision": engine.precision}


def _transfer_runs(params: Mapping[str, Any]) -> Iterator[TransferRun]:
    """Every run that has features; one whose settings are wrong hears of it when it is its turn."""
    for name in run_names(params):
        with suppress(UserError):
            run = read_run(params, name)[1]
            if isinstance(run, TransferRun):
                yield run


def main() -> None:
    params = read_params(Path())
    name = entry.run_name()
    _, run = read_run(params, name)
    if not isinstance(run, TransferRun):
        raise UserError(f"extract: {name} learns from pixels; only runs under transfer.runs have features")
    out, others = Path("data/features") / name, list(_transfer_runs(params))
    print(extract_run(run, Folders(), out, seed=entry.seed(params), others=others))


if __name__ == "__main__":
    entry.run(main)
