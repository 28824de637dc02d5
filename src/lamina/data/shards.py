"""The raw pictures as shards: the unit in which data stages work, in parallel and in little memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import joblib
import pandas as pd
import pyarrow.parquet as pq

from lamina.errors import UserError
from lamina.progress import progress

R = TypeVar("R")

FEW_PICTURES = 48  # below this, starting worker processes costs more than they save


@dataclass(frozen=True, kw_only=True, order=True)
class Shard:
    """One row group of one Parquet file under `data/raw/`."""

    part: str
    group: int
    rows: int


def list_shards(raw: Path) -> list[Shard]:
    """All shards of a raw folder, in the order of their pictures' names."""
    parts = sorted(raw.glob("part-*.parquet"))
    if not parts:
        raise UserError(f"{raw}: no part-*.parquet found; run the download stage first")
    return [
        Shard(part=part.name, group=group, rows=metadata.row_group(group).num_rows)
        for part in parts
        for metadata in [pq.read_metadata(part)]
        for group in range(metadata.num_row_groups)
    ]


def read_shard(raw: Path, shard: Shard, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of one shard."""
    with pq.ParquetFile(raw / shard.part) as file:
        rows: pd.DataFrame = file.read_row_group(shard.group, columns=list(columns)).to_pandas()
    return rows


def map_shards(
    work: Callable[..., R], tasks: Sequence[tuple[Any, ...]], *, sizes: Sequence[int], what: str
) -> Iterator[R]:
    """Call `work(*task)` for every task on all cores and yield the results in order.

    work: a module-level function from files to files (or to small facts). sizes: pictures in each task.
    Runs on joblib's current backend, so `joblib.parallel_config(backend="dask")` takes it past one machine.
    """
    jobs = 1 if sum(sizes) < FEW_PICTURES else -1
    results = joblib.Parallel(n_jobs=jobs, return_as="generator", batch_size=1)(
        joblib.delayed(work)(*task) for task in tasks
    )
    yield from progress(results, what=what, unit="pictures", sizes=sizes)
