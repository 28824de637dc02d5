"""Background threads: make items, or a single call, while the caller goes on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Final, TypeVar

T = TypeVar("T")

LOADING: Final = Lock()  # held while a large library is imported: two imports at once can deadlock

_END: Final = object()


def prefetch(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield `items`; a thread makes up to `depth` of them in advance.

    An error in `items` is raised here, after the items before it.
    """
    source = iter(items)
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = deque(pool.submit(next, source, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, source, _END))
            yield item  # type: ignore[misc]  # mypy does not see that it is not _END


@contextmanager
def in_background(call: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Run a call in a thread of its own while the body of the `with` block runs.

    Yields a function that waits for the call, then returns its result or raises its error. The block always waits for
    the thread, also after an error in the body.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(call).result
