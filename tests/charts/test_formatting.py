"""How numbers are written in the page."""

import pytest

from lamina.charts.formatting import duration, number, percent, points, signed, span

BLANK, MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0"), (0.87124, "0.871"), (5.984, "5.98"), (66.21, "66.2"), (177.64, "177.6"), (1204.2, "1204"),
     (0.0123, "0.012"), (0.00412, "0.0041"), (0.00012, "0.00012"), (3.04e-7, "3e-07"), (1e-17, "0.000")],
)  # fmt: skip
def test_a_measure_has_as_many_digits_as_mean_something(value: float, written: str) -> None:
    assert number(value) == written
    assert number(-value) == (f"{MINUS}{written}" if value else "0")
    assert signed(value) == (f"+{written}" if value else "0")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (1.54, "1.5 s"),
        (41.5, "42 s"),
        (59.9, "60 s"),
        (372.5, "6 min 12 s"),
        (3599.9, "1 h 00 min"),
        (7322, "2 h 02 min"),
    ],
)
def test_durations_are_rounded_to_what_people_compare(seconds: float, written: str) -> None:
    assert duration(seconds) == written.replace(" ", BLANK).replace(f"min{BLANK}", "min ").replace(f"h{BLANK}", "h ")


def test_rates_and_their_differences() -> None:
    assert percent(0.8768) == f"87.7{BLANK}%"
    assert percent(-0.15) == f"{MINUS}15.0{BLANK}%"
    assert (points(0.034), points(-0.034, 0), points(-0.0)) == ("+3.4", f"{MINUS}3", "+0.0")
    assert span((0.5, 12.0)) == "0.500 to 12.0"
