"""Quality of colorizations: measures for each picture, and their means with intervals over origins."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lamina.maths.bins import count_bins, nearest, rarity
from lamina.maths.color import UNITS, LabPixels, RgbPixels, lab_to_srgb
from lamina.maths.means import mean_interval

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

# Each measure with its lowest and highest possible value.
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "mse": (0, np.inf),
    "psnr": (0, 100),
    "ssim": (-1, 1),
    "ciede2000": (0, np.inf),
    "colorfulness": (0, np.inf),
    "auc": (0, 1),
    "auc_rebalanced": (0, 1),
}
BASELINES: Final = ("grey", "mean")

EXACT: Final = 100.0  # dB, the PSNR of a picture without error, and the maximum
FARTHEST: Final = 150  # largest distance of `auc`, in CIELAB units
WINDOW: Final = 7  # pixels, side of the windows of SSIM
_PIXELS_AT_ONCE: Final = 1 << 15  # they fit a core's cache


@dataclass(frozen=True)
class _Truth:
    """True pictures: stored CIELAB, CIELAB units, sRGB, and the weight of each pixel in `auc_rebalanced`."""

    stored: LabPixels
    lab: Floats
    rgb: RgbPixels
    rare: Floats


def score_pictures(
    true: LabPixels, predicted: Floats, mean_color: ArrayLike, rare: Floats | None = None
) -> pd.DataFrame:
    """Measure the colorization of each picture, and that of two baselines for the same picture.

    Args:
        true: (n, S, S, 3) int16, CIELAB x 100, S at least 7.
        predicted: (n, S, S, 2) a and b in CIELAB units; the true L is added.
        mean_color: (2,) a and b of the baseline `mean` (the baseline `grey` has zeros).
        rare: (Q,) weight of each bin's colors in `auc_rebalanced`, see `rare_weights`. None: computed from `true`; give
            it if a set is measured in parts.

    Returns:
        A row for each picture, with columns

        - `mse`: mean squared error over pixels and both channels, in squared CIELAB units;
        - `psnr`: of the 8-bit sRGB picture, in dB, at most 100 (also for a picture without error);
        - `ssim`: of the same, mean over pixels and channels (Z. Wang et al., IEEE Trans. Image Processing 13 (2004)
          600, with windows of 7 x 7 pixels, as in scikit-image);
        - `ciede2000`: the mean color difference of the predicted CIELAB values (CIE 142:2001; about 1 is just visible);
        - `colorfulness`: of the prediction: how vivid it is, not how correct, see `colorfulness`;
        - `auc`: for each distance from 0 to 150, take the share of pixels whose a and b are no farther off; `auc` is
          the area under this curve, in [0, 1], that is, the mean of 1 - distance / 150;
        - `auc_rebalanced`: the same, where each bin of true colors counts equally (R. Zhang et al., ECCV 2016, section
          3.1);
        - the same measures for the baselines: `grey_mse`, `mean_mse` and so on, and `true_colorfulness`;
        - `rare_weight`: the weight of the picture in the mean of `auc_rebalanced`: the mean weight of its pixels, so
          that the mean over pictures counts pixels by their color alone.

    Raises:
        ValueError: if there are no pictures, shapes do not fit, or predictions are not finite.
    """
    if not len(true) or true.shape[:-1] != predicted.shape[:-1] or predicted.shape[-1] != 2:
        raise ValueError(f"expected a and b of one or more pictures {true.shape}, got {predicted.shape}")
    mean = np.asarray(mean_color, np.float32)
    step = max(1, _PIXELS_AT_ONCE // true[0, ..., 0].size)
    parts = [slice(start, start + step) for start in range(0, len(true), step)]
    if rare is None:
        rare = rare_weights(np.sum([count_bins(true[part, ..., 1:] / np.float32(UNITS)) for part in parts], axis=0))
    return pd.concat([_score(true[part], predicted[part], mean, rare) for part in parts], ignore_index=True)


def squared_errors(true: LabPixels, predicted: Floats, mean_color: ArrayLike) -> pd.DataFrame:
    """Compute the columns `mse`, `grey_mse` and `mean_mse` of `score_pictures` alone, which is much faster.

    Args:
        true: (n, S, S, 3) int16, CIELAB x 100.
        predicted: (n, S, S, 2) a and b in CIELAB units.
        mean_color: (2,) a and b of the baseline `mean`.

    Returns:
        A row for each picture.
    """
    colors = true[..., 1:] / np.float32(UNITS)
    mean = np.asarray(mean_color, np.float32)
    predictions = {"mse": predicted, "grey_mse": np.zeros(2, np.float32), "mean_mse": mean}
    return pd.DataFrame(
        {name: np.mean((ab - colors) ** 2, axis=(1, 2, 3), dtype=np.float64) for name, ab in predictions.items()}
    )


def rare_weights(counts: ArrayLike) -> Floats:
    """Compute the weights of colors for `auc_rebalanced`.

    Args:
        counts: (Q,) number of true colors in each bin, see `lamina.maths.bins.count_bins`.

    Returns:
        (Q,) float32: the inverse of the smoothed distribution, without a uniform part, as in the paper's evaluation.
    """
    return rarity(counts, uniform=0)


def colorfulness(rgb: RgbPixels) -> Doubles:
    """Compute how colorful each picture looks: 0 for grey, about 33 moderately, 59 quite, 109 extremely colorful.

    Args:
        rgb: (n, S, S, 3) uint8.

    Returns:
        (n,), 0 or above.

    Source:
        D. Hasler and S. Suesstrunk, Human Vision and Electronic Imaging VIII, SPIE 5007 (2003) 87.
    """
    red, green, blue = np.moveaxis(rgb.reshape(len(rgb), -1, 3).astype(np.float32), -1, 0)
    opponents = (red - green, (red + green) / 2 - blue)
    spread = np.sqrt(sum(axis.var(axis=1, dtype=np.float64) for axis in opponents))
    distance = np.sqrt(sum(axis.mean(axis=1, dtype=np.float64) ** 2 for axis in opponents))
    return np.asarray(spread + 0.3 * distance)


def summarise(table: pd.DataFrame, origin: ArrayLike, names: Iterable[str] = tuple(RANGES)) -> dict[str, Any]:
    """Summarize the pictures of a fold: its block of `metrics.json`.

    Args:
        table: rows of `score_pictures`.
        origin: (n,) origin of each picture.
        names: the measures to summarize.

    Returns:
        The scores by name:

        - `n`, `origins`: numbers of pictures and origins;
        - `measures`: for each measure `value`, its 95 % `interval`, the values of the baselines `grey` and `mean`, and
          for colorfulness that of the `true` pictures;
        - `against`: for each baseline the `difference` of MSE, model minus baseline (below 0: the model is better), and
          its `interval`, paired over pictures.

        Values are means over pictures, for `auc_rebalanced` weighted by `rare_weight`. With one origin, intervals are
        None.
    """
    return {
        "n": len(table),
        "origins": len(set(np.asarray(origin, dtype=object))),
        "measures": {name: _measure(table, origin, name) for name in names},
        "against": {base: _against(table, origin, base) for base in BASELINES},
    }


def _score(stored: LabPixels, predicted: Floats, mean: Floats, rare: Floats) -> pd.DataFrame:
    """`score_pictures` for a few pictures."""
    if not np.isfinite(predicted).all():
        raise ValueError("expected finite predictions of a and b, got some that are not")
    lab = np.asarray(stored / np.float32(UNITS), np.float32)
    truth = _Truth(stored, lab, lab_to_srgb(stored), rare[nearest(lab[..., 1:])])
    columns = _compare(truth, np.asarray(predicted, np.float32))
    for base, color in zip(BASELINES, (np.zeros_like(mean), mean), strict=True):
        everywhere = np.broadcast_to(color, predicted.shape)
        columns |= {f"{base}_{name}": values for name, values in _compare(truth, everywhere).items()}
    weight = truth.rare.reshape(len(stored), -1).mean(axis=1, dtype=np.float64)
    return pd.DataFrame({**columns, "true_colorfulness": colorfulness(truth.rgb), "rare_weight": weight})


def _compare(truth: _Truth, predicted: Floats) -> dict[str, Doubles]:
    """All measures of each picture."""
    from skimage.color import deltaE_ciede2000

    seen = lab_to_srgb(_stored(truth.stored, predicted))
    squares = np.sum((predicted - truth.lab[..., 1:]) ** 2, axis=-1)
    closeness = 1 - np.minimum(np.sqrt(squares), FARTHEST) / FARTHEST
    difference = deltaE_ciede2000(truth.lab, np.concatenate([truth.lab[..., :1], predicted], axis=-1))
    maps = {"mse": squares / 2, "ciede2000": difference, "auc": closeness}
    maps |= {"rare": closeness * truth.rare, "weight": truth.rare}
    means = {name: of.reshape(len(of), -1).mean(axis=1, dtype=np.float64) for name, of in maps.items()}
    return {
        "mse": means["mse"],
        "psnr": _psnr(truth.rgb, seen),
        "ssim": _ssim(truth.rgb, seen),
        "ciede2000": means["ciede2000"],
        "colorfulness": colorfulness(seen),
        "auc": means["auc"],
        "auc_rebalanced": means["rare"] / means["weight"],
    }


def _stored(true: LabPixels, predicted: Floats) -> LabPixels:
    """The true L with the predicted a and b, as stored CIELAB."""
    limits = np.iinfo(np.int16)
    colors = np.clip(np.rint(predicted * np.float32(UNITS)), limits.min, limits.max).astype(np.int16)
    return np.concatenate([true[..., :1], colors], axis=-1)


def _psnr(true: RgbPixels, seen: RgbPixels) -> Doubles:
    squares = np.square(cv2.absdiff(true, seen), dtype=np.uint16)
    error = squares.reshape(len(squares), -1).mean(axis=1)
    return np.asarray(np.minimum(10 * np.log10(255**2 / np.maximum(error, 1e-9)), EXACT))


def _ssim(true: RgbPixels, seen: RgbPixels) -> Doubles:
    """The same as scikit-image's `structural_similarity`, for all pictures at once in a third of the time."""
    n = WINDOW**2
    x, y = _window_sums(true), _window_sums(seen)
    xx, yy, xy = (
        _window_sums(np.multiply(*two, dtype=np.uint16)) for two in ((true, true), (seen, seen), (true, seen))
    )
    # integers up to here, at most 2 * 49 * 49 * 255**2, which fits 32 bits: differences lose no digits
    products, squares = x * y, x * x + y * y
    luminance, contrast = ((share * 255) ** 2 for share in (0.01, 0.03))
    numerator = (products * (2 / n**2) + luminance) * ((n * xy - products) * (2 / (n * (n - 1))) + contrast)
    denominator = (squares / n**2 + luminance) * ((n * xx + n * yy - squares) / (n * (n - 1)) + contrast)
    return np.asarray((numerator / denominator).reshape(len(true), -1).mean(axis=1))


def _window_sums(pixels: NDArray[Any]) -> NDArray[np.int32]:
    """Sums over all windows inside each picture: (n, S, S, 3) to (n, S - 6, S - 6, 3)."""
    n, height, width, channels = pixels.shape
    tall = pixels.reshape(n * height, width, channels)  # windows inside a picture do not touch the next one
    sums = cv2.boxFilter(tall, cv2.CV_32S, (WINDOW, WINDOW), normalize=False)
    edge = WINDOW // 2
    return np.asarray(sums.reshape(pixels.shape)[:, edge : height - edge, edge : width - edge], np.int32)


def _measure(table: pd.DataFrame, origin: ArrayLike, name: str) -> dict[str, Any]:
    weights = table["rare_weight"] if name == "auc_rebalanced" else np.ones(len(table))
    others = {base: float(np.average(table[f"{base}_{name}"], weights=weights)) for base in BASELINES}
    if name == "colorfulness":
        others["true"] = float(table["true_colorfulness"].mean())
    value = float(np.average(table[name], weights=weights))
    return {"value": value, "interval": _written(mean_interval(table[name], origin, weights), RANGES[name])} | others


def _against(table: pd.DataFrame, origin: ArrayLike, base: str) -> dict[str, Any]:
    change = table["mse"] - table[f"{base}_mse"]
    return {"difference": float(change.mean()), "interval": _written(mean_interval(change, origin), (-np.inf, np.inf))}


def _written(interval: tuple[float, float], limits: tuple[float, float]) -> list[float] | None:
    """The interval for JSON, clipped to the range of the values; None if it is infinite."""
    return [float(np.clip(bound, *limits)) for bound in interval] if np.isfinite(interval).all() else None
