"""Tables of millions of rows in Parquet files, a row group in memory at a time."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS: Final = 1 << 20  # of a row group, at most: what pandas writes


def write_groups(path: Path, groups: Iterable[pd.DataFrame]) -> None:
    """Write tables of the same columns, at least one, as the row groups of a file; their index is not kept."""
    tables = (pa.Table.from_pandas(group, preserve_index=False) for group in groups)
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)


def read_groups(path: Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Read columns of a file; yields a table for each row group."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=list(columns)).to_pandas()
