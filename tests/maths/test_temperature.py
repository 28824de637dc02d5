"""Temperature scaling: it finds the temperature that was put in, and leaves what is calibrated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.maths.calibration import calibration
from lamina.maths.temperature import RANGE, fit_temperature, scaled


def drawn(pictures: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Honest probabilities of three classes, and labels drawn from them."""
    random = np.random.default_rng(seed)
    honest = random.dirichlet(np.ones(3) * 0.7, pictures)
    return honest, (honest.cumsum(axis=1) > random.random((pictures, 1))).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    honest, label = drawn(5000, 3)
    told = scaled(honest, 1 / temperature)
    found = fit_temperature(told, label, np.arange(5000))
    assert found == pytest.approx(temperature, rel=0.06)
    if temperature != 1:
        before, after = (calibration(one, label, np.arange(5000)) for one in (told, scaled(told, found)))
        assert after["ece"] < before["ece"] / 2
        assert after["log_loss"] < before["log_loss"]


@given(st.floats(0.05, 20), st.integers(0, 10**6))
def test_the_order_of_the_classes_stays(temperature: float, seed: int) -> None:
    honest, _ = drawn(20, seed)
    found = scaled(honest.astype(np.float32), temperature)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == honest.argmax(axis=1)).all()
    np.testing.assert_allclose(scaled(honest, 1.0), honest, atol=1e-12)


def test_probabilities_of_zero_and_one_stay_numbers() -> None:
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(scaled(sure, 20.0)).all()
    assert fit_temperature(sure, [0, 0], [1, 2]) > 3, "one of two sure answers is wrong"


def test_right_answers_alone_do_not_make_them_certain() -> None:
    shares = np.tile([0.97, 0.03], (500, 1))
    found = fit_temperature(shares, np.zeros(500, int), np.arange(500))
    assert RANGE[0] * 4 < found < 1


def test_an_origin_counts_once() -> None:
    honest, label = drawn(40, 9)
    often = np.repeat(np.arange(40), np.where(np.arange(40) < 3, 50, 1))
    assert fit_temperature(honest[often], label[often], often) == pytest.approx(
        fit_temperature(honest, label, np.arange(40)), rel=1e-4
    )
