"""Numbers as text for the page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from lamina.results.measures import MEASURES

NO_BREAK: Final = "\N{NO-BREAK SPACE}"
MINUS: Final = "\N{MINUS SIGN}"
SMALL: Final = 0.01  # below, three decimals hold less than two digits
ROUNDING: Final = 1e-12  # smaller differences are those of the last digits of float64


def percent(rate: float, digits: int = 1) -> str:
    return f"{100 * rate:.{digits}f}{NO_BREAK}%".replace("-", MINUS)


def interval(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}{NO_BREAK}%"


def points(rate: float, digits: int = 1) -> str:
    """Return a difference of rates in percentage points, always with its sign."""
    return f"{0 + 100 * rate:+.{digits}f}".replace("-", MINUS)


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}{NO_BREAK}s" if seconds < 10 else f"{seconds:.0f}{NO_BREAK}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NO_BREAK}min {rest:02d}{NO_BREAK}s"
    return f"{minutes // 60}{NO_BREAK}h {minutes % 60:02d}{NO_BREAK}min"


def value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """Return a measure of any unit with two to four significant digits: 0.871, 5.98, 66.2, 1204, 0.0041, 3e-07."""
    if value == 0:
        return "0"
    size = abs(value)
    if ROUNDING < size < SMALL:
        return f"{value:.2g}".replace("-", MINUS, int(value < 0))
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 1000 else 0
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float) -> str:
    """Return a difference as `number` writes it, always with its sign."""
    return ("+" if value > 0 else "") + number(value)


def short(value: float) -> str:
    """Return a round number for an axis."""
    return f"{value:g}".replace("-", MINUS)


def span(interval: Sequence[float]) -> str:
    """Return both ends of an interval as `number` writes them."""
    return f"{number(interval[0])} to {number(interval[1])}"


def title_of(measure: str) -> str:
    """The name of a measure as people write it."""
    known = {str(name): one.title for name, one in MEASURES.items()}
    return known.get(measure, measure.replace("_", " "))


FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    shown.__name__: shown
    for shown in (percent, interval, duration, value, points, number, signed, short, span, title_of)
}
