"""Work that goes on while its results are used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Final, TypeVar

T = TypeVar("T")

LOADING: Final = Lock()  # held by a thread that loads a large library: two at once may wait for each other's modules

_END: Final = object()


def prefetch(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield `items`, up to `depth` of which a thread makes ahead. What they raise is raised in its place."""
    source = iter(items)
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = deque(pool.submit(next, source, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, source, _END))
            yield item  # type: ignore[misc]  # mypy cannot tell that it is no longer _END


@contextmanager
def in_background(call: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Make a call in a thread of its own while the body runs.

    What is yielded waits for its result, or raises as it did. The body's end, however it ends, waits for the thread.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(call).result
