"""The raw pictures as shards: the unit in which data stages work, in parallel and in little memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from lamina.errors import UserError
from lamina.progress import progress

R = TypeVar("R")

FEW_PICTURES = 48  # below this, starting workers costs more than they save
LARGE_PICTURE = 10_000  # bytes: from about 200 x 200 pixels of JPEG on


@dataclass(frozen=True, kw_only=True, order=True)
class Shard:
    """One row group of one Parquet file under `data/raw/`: so many rows, so many bytes."""

    part: str
    group: int
    rows: int
    size: int


def list_shards(raw: Path) -> list[Shard]:
    """All shards of a raw folder, in the order of their pictures' names."""
    return [
        Shard(part=part.name, group=group, rows=rows.num_rows, size=rows.total_byte_size)
        for part in _parts(raw)
        for metadata in [pq.read_metadata(part)]
        for group in range(metadata.num_row_groups)
        for rows in [metadata.row_group(group)]
    ]


def _parts(raw: Path) -> list[Path]:
    parts = sorted(raw.glob("part-*.parquet"))
    if not parts:
        raise UserError(f"{raw}: no part-*.parquet found; run the download stage first")
    return parts


def read_pictures(raw: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of all pictures, and where each is: `part`, `group`, and `row` within the group."""
    tables: list[pd.DataFrame] = []
    for part in _parts(raw):
        with pq.ParquetFile(part) as file:
            rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            place = {"group": np.repeat(np.arange(len(rows)), rows), "row": np.concatenate([*map(np.arange, rows)])}
            tables.append(file.read(columns=list(columns)).to_pandas().assign(part=part.name, **place))
    return pd.concat(tables, ignore_index=True)


def read_shard(raw: Path, shard: Shard, columns: Sequence[str], rows: ArrayLike) -> pd.DataFrame:
    """Read columns of some pictures of one shard, in the order of `rows`."""
    path = raw / shard.part
    with pq.ParquetFile(path, metadata=_footer(path, path.stat().st_mtime_ns)) as file:
        pictures: pd.DataFrame = (
            file.read_row_group(shard.group, columns=list(columns)).take(np.asarray(rows)).to_pandas()
        )
    return pictures


@lru_cache(maxsize=64)
def _footer(path: Path, changed: int) -> pq.FileMetaData:
    """A part's footer, which takes longer to read than a shard of thumbnails. changed: when the part was written."""
    return pq.read_metadata(path)


def map_shards(
    work: Callable[..., R], tasks: Sequence[tuple[Any, ...]], *, sizes: Sequence[int], picture: float, what: str
) -> Iterator[R]:
    """Call `work(*task)` for every task on all cores and yield the results in order.

    work: a module-level function from files to small facts or arrays; tasks: its arguments. sizes: pictures in each
    task; picture: mean bytes of one. Decoding large pictures leaves Python's lock alone, so threads do; for
    thumbnails the lock is what counts, so they get processes. Within `joblib.parallel_config(backend="dask")`
    the same calls go past one machine.
    """
    if not tasks:
        return
    import joblib  # takes a moment, and often nothing is lacking

    jobs = 1 if sum(sizes) < FEW_PICTURES else -1
    prefer = "threads" if picture >= LARGE_PICTURE else "processes"
    results = joblib.Parallel(n_jobs=jobs, prefer=prefer, return_as="generator", batch_size=1)(
        joblib.delayed(work)(*task) for task in tasks
    )
    yield from progress(results, what=what, unit="pictures", sizes=sizes)


def mean_bytes(shards: Sequence[Shard]) -> float:
    """Mean bytes of a picture, with what is told of it."""
    return sum(shard.size for shard in shards) / max(1, sum(shard.rows for shard in shards))
