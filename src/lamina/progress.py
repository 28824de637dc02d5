"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def progress(
    items: Iterable[T], *, what: str, unit: str, total: int | None = None, sizes: Sequence[int] | None = None
) -> Iterator[T]:
    """Yield `items` and show how many are done.

    On a terminal this draws a bar; elsewhere it prints a line every ten seconds.

    Args:
        items: the items to yield.
        what: one or two words for the work, such as "train".
        unit: what is counted, such as "pictures".
        total: the total count, if `items` has no length.
        sizes: how many units each item counts for; 1 each if None.
    """
    if sizes is not None:
        total = sum(sizes)
    elif total is None and isinstance(items, Sequence):
        total = len(items)
    with _bar(what, unit=f" {unit}", total=total) as bar:
        for index, item in enumerate(items):
            yield item
            bar.update(1 if sizes is None else sizes[index])


def progress_bytes(chunks: Iterable[bytes], *, what: str, total: int | None, initial: int = 0) -> Iterator[bytes]:
    """Yield `chunks` and show how many MiB were received, and the speed.

    Args:
        chunks: the received bytes.
        what: one or two words for the work.
        total: size of the whole file in bytes, if known.
        initial: bytes that were there before.
    """
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


class _Lines:
    """A text stream that prints each state of the bar as a line of its own."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            print(text, file=sys.stderr, flush=True)

    def flush(self) -> None:
        sys.stderr.flush()
