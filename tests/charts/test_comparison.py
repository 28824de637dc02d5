"""The axis of a table of numbers: narrow, in round steps, and never empty."""

import pytest

from lamina.charts.comparison import MOST_TICKS, number_scale


@pytest.mark.parametrize(
    ("values", "low", "high", "step"),
    [
        ([3.1, 9.7], 2, 10, 2),
        ([-0.4, 0.31], -0.4, 0.4, 0.2),
        ([1012.0, 1049.0], 1010, 1050, 10),
        ([2e-6, 7e-6], 2e-6, 7e-6, 1e-6),
        ([1e-10, 3e-10], 1e-10, 3e-10, 5e-11),
        ([5.0, 5.0], 5, 6, 1),
        ([0.0], 0, 0.2, 0.2),
    ],
)
def test_an_axis_holds_all_values_in_round_steps(values: list[float], low: float, high: float, step: float) -> None:
    scale = number_scale(values)
    assert (scale.low, scale.high, scale.step) == pytest.approx((low, high, step))
    assert (scale.high - scale.low) / scale.step <= MOST_TICKS + 1
    assert scale.ticks == pytest.approx([low + n * step for n in range(len(scale.ticks))], rel=1e-6)
    assert 0 <= scale.place(min(values)) <= scale.place(max(values)) <= 100
