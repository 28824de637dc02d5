"""Calls in other processes, ahead of what uses their results."""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

WAITING: Final = 2  # results for each worker that are made before they are needed
NICER: Final = 5  # than the caller: networks whose threads wait for each other lose most by sharing their cores
IDLE: Final = 10  # seconds after which a process without work ends, such as when its parent was killed


def map_in_order(work: Callable[[T], R], items: Sequence[T], *, processes: bool) -> Generator[R, None, None]:
    """Call `work` on items, ahead of the caller; only a few results wait.

    Args:
        work: A module-level function, or a `partial` of one.
        items: Its arguments.
        processes: Whether a process per core works; else a thread.

    Yields:
        The results, in the order of the items.
    """
    with _pool(processes) as (pool, workers):
        waiting = deque(pool.submit(work, item) for item in items[: workers * WAITING])
        rest = iter(items[workers * WAITING :])
        while waiting:
            result = waiting.popleft().result()
            for item in rest:
                waiting.append(pool.submit(work, item))
                break
            yield result


@contextmanager
def _pool(processes: bool) -> Iterator[tuple[Executor, int]]:
    """Open workers, and end them with the body of the `with` block; yields them and their number."""
    if not processes:
        with ThreadPoolExecutor(max_workers=1) as pool:
            yield pool, 1
        return
    from joblib import cpu_count
    from joblib.externals.loky import ProcessPoolExecutor

    workers = cpu_count()
    pool = ProcessPoolExecutor(workers, timeout=IDLE, initializer=_begin)
    try:
        yield pool, workers
    finally:
        pool.shutdown(kill_workers=True)


def _begin() -> None:
    """Prepare a process: the caller, for which results are made ahead, gets the cores first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the caller ends the others, without tracebacks
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICER)
