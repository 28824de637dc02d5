"""Progress of long work: a bar with rate and time left; plain lines where there is no terminal."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def progress(
    items: Iterable[T], *, what: str, unit: str, total: int | None = None, sizes: Sequence[int] | None = None
) -> Iterator[T]:
    """Yield `items`, showing how far it is.

    what: a word or two for the work; unit: what is counted ("pictures"); total: how many of them there
    are, where `items` cannot tell; sizes: how many of them each item holds, where it is not one.
    On a terminal a bar is drawn; elsewhere a line is printed every ten seconds.
    """
    count = sum(sizes) if sizes is not None else total if total is not None else _length(items)
    with _bar(what, unit=f" {unit}", total=count) as bar:
        for index, item in enumerate(items):
            yield item
            bar.update(1 if sizes is None else sizes[index])


def progress_bytes(chunks: Iterable[bytes], *, what: str, total: int | None, initial: int = 0) -> Iterator[bytes]:
    """Yield `chunks`, showing how many MiB of `total` bytes have come, and how fast; `initial`: were there before."""
    with _bar(what, unit="iB", unit_scale=True, unit_divisor=1024, total=total, initial=initial) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(len(chunk))


def _bar(what: str, **counted: Any) -> Any:
    on_terminal = sys.stderr.isatty()
    return tqdm(
        desc=what,
        dynamic_ncols=on_terminal,
        ncols=None if on_terminal else 78,
        mininterval=0.1 if on_terminal else SECONDS_BETWEEN_LINES,
        delay=0 if on_terminal else SECONDS_BETWEEN_LINES,
        leave=on_terminal,
        file=sys.stderr if on_terminal else _Lines(),
        **counted,
    )


def _length(items: Iterable[object]) -> int | None:
    return len(items) if isinstance(items, Sequence) else None


class _Lines:
    """A stream that turns a redrawn bar into lines of their own."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            print(text, file=sys.stderr, flush=True)

    def flush(self) -> None:
        sys.stderr.flush()
