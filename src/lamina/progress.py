"""Progress of long work: a bar with rate and time left; plain lines where there is no terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def progress(items: Iterable[T], *, what: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Yield `items`, showing how far it is.

    what: a word or two for the work; unit: what one item is ("pictures"); total: their number, where
    `items` cannot tell it. On a terminal a bar is drawn; elsewhere a line is printed every ten seconds.
    """
    on_terminal = sys.stderr.isatty()
    bar = tqdm(
        items,
        desc=what,
        unit=f" {unit}",
        total=total,
        dynamic_ncols=on_terminal,
        ncols=None if on_terminal else 78,
        mininterval=0.1 if on_terminal else SECONDS_BETWEEN_LINES,
        delay=0 if on_terminal else SECONDS_BETWEEN_LINES,
        leave=on_terminal,
        file=sys.stderr if on_terminal else _Lines(),
    )
    yield from bar


class _Lines:
    """A stream that turns a redrawn bar into lines of their own."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            print(text, file=sys.stderr, flush=True)

    def flush(self) -> None:
        sys.stderr.flush()
