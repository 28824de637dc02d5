"""Shards of the raw pictures: data stages process them in parallel and in little memory."""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.dummy import DummyProcess
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from lamina.errors import UserError
from lamina.progress import progress

R = TypeVar("R")

FEW_PICTURES = 48  # below this, starting workers takes longer than they save
LARGE_PICTURE = 10_000  # bytes: a JPEG of about 200 x 200 pixels


@dataclass(frozen=True, kw_only=True, order=True)
class Shard:
    """One row group of a Parquet file under `data/raw/`.

    Attributes:
        part: Name of the file.
        group: Number of the row group.
        rows: Number of pictures.
        size: Bytes, uncompressed.
    """

    part: str
    group: int
    rows: int
    size: int


def list_shards(raw: Path) -> list[Shard]:
    """List the shards of a raw folder, in the order of their pictures' names.

    Raises:
        UserError: If there is none.
    """
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
        raise UserError(f"{raw}: no part-*.parquet in it; run the stage download first")
    return parts


def read_pictures(raw: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of all pictures.

    Args:
        raw: Folder of the Parquet files.
        columns: Names of the columns to read.

    Returns:
        The columns, and where each picture is stored: `part`, `group`, and `row` in the group.
    """
    tables: list[pd.DataFrame] = []
    for part in _parts(raw):
        with pq.ParquetFile(part) as file:
            rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            place = {"group": np.repeat(np.arange(len(rows)), rows), "row": np.concatenate([*map(np.arange, rows)])}
            tables.append(file.read(columns=list(columns)).to_pandas().assign(part=part.name, **place))
    return pd.concat(tables, ignore_index=True)


def read_shard(raw: Path, shard: Shard, columns: Sequence[str], rows: ArrayLike) -> pd.DataFrame:
    """Read columns of some pictures of one shard.

    Args:
        raw: Folder of the Parquet files.
        shard: Where the pictures are.
        columns: Names of the columns to read.
        rows: Row numbers in the shard.

    Returns:
        A row per picture, in the order of `rows`.
    """
    pictures: pd.DataFrame = shard_table(raw, shard, columns, rows).to_pandas()
    return pictures


def shard_table(raw: Path, shard: Shard, columns: Sequence[str], rows: ArrayLike) -> pa.Table:
    """`read_shard`, as a table of Arrow."""
    path = raw / shard.part
    with pq.ParquetFile(path, metadata=_footer(path, path.stat().st_mtime_ns)) as file:
        return file.read_row_group(shard.group, columns=list(columns)).take(np.asarray(rows))


@lru_cache(maxsize=64)
def _footer(path: Path, changed: int) -> pq.FileMetaData:
    """The footer of a file, cached: reading it takes longer than reading a shard of thumbnails.

    changed: modification time, so that a rewritten file is read again.
    """
    return pq.read_metadata(path)


def map_shards(
    work: Callable[..., R], tasks: Sequence[tuple[Any, ...]], *, sizes: Sequence[int], picture: float, what: str
) -> Iterator[R]:
    """Call `work(*task)` for every task on all cores.

    Large pictures use threads, because decoding them releases Python's lock; small ones use processes. Within
    `lamina.data.cluster.on_cluster` the same calls run on several machines.

    Args:
        work: A module-level function from files to small facts or arrays.
        tasks: Its arguments, a tuple per call.
        sizes: Number of pictures in each task.
        picture: Mean bytes of a picture.
        what: Name of the progress bar.

    Yields:
        The results, in the order of the tasks. After an error, here or in the loop over the results, no work goes on:
        processes are killed, threads finish the task at hand.

    Raises:
        UserError: If the system killed a process, as it does where memory runs out.
    """
    if not tasks:
        return
    import joblib  # slow to import, and often there is nothing to do

    jobs = 1 if sum(sizes) < FEW_PICTURES else -1
    prefer = "threads" if picture >= LARGE_PICTURE else "processes"
    before = set(threading.enumerate())
    results = joblib.Parallel(n_jobs=jobs, prefer=prefer, return_as="generator", batch_size=1)(
        joblib.delayed(work)(*task) for task in tasks
    )
    try:
        yield from progress(results, what=what, unit="pictures", sizes=sizes)
    except (Exception, GeneratorExit) as error:
        _end(results, before)
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                f"{what}: the system killed a process that worked on pictures, most likely because memory ran out; "
                "free some and run again: what was finished is kept"
            ) from None
        raise


def _end(results: Any, before: set[threading.Thread]) -> None:
    """Stop the work and wait for its threads; before: those that ran before it.

    joblib does not wait for its threads. If the process ends while one of them is inside Arrow, it hangs or crashes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tasks that are cancelled
        results.close()
    for thread in set(threading.enumerate()) - before:
        if isinstance(thread, DummyProcess):
            thread.join()


def mean_bytes(shards: Sequence[Shard]) -> float:
    """Mean bytes of a picture with its metadata; 0 without pictures."""
    return sum(shard.size for shard in shards) / max(1, sum(shard.rows for shard in shards))
