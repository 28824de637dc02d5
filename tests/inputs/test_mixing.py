"""Mixed batches: labels follow the pixels."""

import numpy as np
import pytest

from lamina.inputs.mixing import Mixing

LABELS = np.arange(6, dtype=np.int32) % 3
KINDS = pytest.mark.parametrize("kind", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}], ids=str)


def pictures() -> np.ndarray:
    """Pictures whose value is their place in the batch."""
    return np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None, None], (6, 16, 16, 3)).copy()


@KINDS
@pytest.mark.parametrize("seed", range(8))
def test_labels_have_the_shares_of_the_pixels(kind: dict[str, float], seed: int) -> None:
    """Pictures of one value each: the mean of a mixed picture tells the shares of both."""
    before = pictures()
    pixels, targets = Mixing(classes=6, **kind).apply(before, np.arange(6), np.random.default_rng(seed))
    np.testing.assert_array_equal(before, pictures())
    assert (pixels.shape, targets.shape, pixels.dtype, targets.dtype) == (
        (6, 16, 16, 3),
        (6, 6),
        np.float32,
        np.float32,
    )
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), targets @ np.arange(6), rtol=1e-4, atol=1e-4)
    assert ((targets > 0).sum(axis=1) <= 2).all()


@KINDS
def test_a_draw_follows_from_its_seed(kind: dict[str, float]) -> None:
    mixing = Mixing(classes=3, **kind)
    one, again, other = (mixing.apply(pictures(), LABELS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0], again[0])
    assert (one[0] != other[0]).any()


def test_cutmix_pastes_and_mixup_adds() -> None:
    pasted = Mixing(classes=3, cutmix=1.0).apply(pictures(), LABELS, np.random.default_rng(3))[0]
    assert set(np.unique(pasted)) <= set(range(6))
    added = Mixing(classes=3, mixup=1.0).apply(pictures(), LABELS, np.random.default_rng(3))[0]
    assert not set(np.unique(added)) <= set(range(6))


def test_both_are_drawn_when_both_are_given() -> None:
    mixing = Mixing(classes=3, mixup=1.0, cutmix=1.0)
    kinds = {
        set(np.unique(mixing.apply(pictures(), LABELS, np.random.default_rng(seed))[0])) <= set(range(6))
        for seed in range(20)
    }
    assert kinds == {True, False}


def test_without_alpha_there_is_no_mixing() -> None:
    assert not Mixing(classes=3)
    assert Mixing(classes=3, mixup=0.1)
