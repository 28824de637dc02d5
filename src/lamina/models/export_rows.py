"""Rows that an export is tried on: pictures, or texts whose words are counted in a sparse matrix."""

from collections.abc import Iterator
from typing import Any

import numpy as np


def float_batches(rows: Any, size: int) -> Iterator[np.ndarray]:
    """Yield rows as float32, some at a time: sparse ones of a million columns would not all fit into memory.

    Args:
        rows: (n, ...) array, or (n, width) sparse matrix.
        size: of a batch; the last one may be shorter.
    """
    for start in range(0, rows.shape[0], size):
        part = rows[start : start + size]
        yield np.asarray(part if isinstance(part, np.ndarray) else part.toarray(), np.float32)
