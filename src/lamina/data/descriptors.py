"""Similarity of pictures in any orientation: a descriptor and a metric learned from warped copies.

The descriptor has two parts that rotations, mirrorings and shifts hardly change:

- Random Fourier features: the mean of random cosines over the picture's points. They embed the distribution of
  colors, edges and their surroundings, wherever these are.
- The spectrum over rings: how strong the details are, by scale and direction.

Neither part is invariant enough by itself. So some pictures of the data set are warped as a leaked copy would be, and
linear discriminant analysis finds the map in which copies differ least relative to different pictures.

Measured: the nearest picture to a warped copy (quarter turns and up to 20 degrees, mirrored, shifted and cropped by
up to 10 %, recolored by 5 %, JPEG) is its original for 99 % of 345 leukocytes and of 2,000 pictures of CIFAR-10, 98 %
of 577 smears, all of 192 photographs and 86 % of 2,000 handwritten digits. Without the learned metric it is for 10 %
of the leukocytes.

Sources: A. Rahimi and B. Recht, Random Features for Large-Scale Kernel Machines, 2007 (random cosines);
R. A. Fisher, The Use of Multiple Measurements in Taxonomic Problems, 1936 (linear discriminant analysis).
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.linalg

from lamina.data.augmentation import warp
from lamina.maths.color import LabPixels, lab_to_srgb, srgb_to_lab

Floats = npt.NDArray[np.float32]

SIDE: Final = 32  # pixels at which pictures are described
DIMENSIONS: Final = 64  # of the metric space; more did not improve the search
COPIES: Final = 6  # warped copies of each picture that the metric is learned from
# largest warps: shift and crop (shares of the side), change of a channel (factor 1 +- GAIN), rotation in degrees
SHIFT, CROP, GAIN, ANGLE = 0.1, 0.1, 0.05, 45.0

_COSINES: Final = 192
_RIDGE: Final = 0.01  # share of the mean variance among copies; without it a direction may have no noise by chance
_RIM: Final = 3  # pixels at the border that are ignored: a warp fills them with repeated edge pixels
_STEP: Final = 2  # use every second point: enough for a mean
_RING_RADII: Final = np.array([1, 1.5, 2, 3, 4, 5.5, 7, 9, 11])  # radii of the rings in the spectrum: waves per picture
_DIRECTION_BINS: Final = 16  # directions in half of the spectrum
_HARMONICS: Final = 4  # magnitudes kept of each ring's Fourier series over directions; a rotation changes only phases
_CHUNK: Final = 256  # pictures described at once: 10 MiB
_PLANES: Final = 32  # pictures filtered at once: 96 channels fit into a core's cache


def describe(pictures: Sequence[LabPixels]) -> Floats:
    """Compute the descriptors of pictures.

    Args:
        pictures: n arrays (S, S, 3) int16, CIELAB x 100, of any S.

    Returns:
        (n, d) float32.
    """
    described = []
    for start in range(0, len(pictures), _CHUNK):
        small = np.stack([shrink(picture, SIDE) for picture in pictures[start : start + _CHUNK]])
        described.append(np.hstack([_mean_cosines(small), _ring_spectrum(small)]))
    return np.concatenate(described)


def shrink(lab: LabPixels, side: int) -> Floats:
    """Resize a picture and convert it to CIELAB units.

    Args:
        lab: (S, S, 3) int16, CIELAB x 100.
        side: The new side in pixels.

    Returns:
        (side, side, 3) float32, CIELAB.
    """
    return _resize(lab, side).astype(np.float32) / np.float32(100)


def warped_copies(lab: LabPixels, generator: np.random.Generator) -> list[LabPixels]:
    """Make `COPIES` random copies as leaks look: rotated, mirrored, shifted, cropped and recolored.

    Args:
        lab: (S, S, 3) int16, CIELAB x 100.
        generator: Source of randomness.

    Returns:
        Arrays like `lab`, of side S, but at most `2 * SIDE`.
    """
    rgb = lab_to_srgb(_resize(lab, min(len(lab), 2 * SIDE)))  # finer details are not described
    return [srgb_to_lab(_warped_copy(rgb, generator)) for _ in range(COPIES)]


def learn_metric(originals: Floats, warped: Floats) -> Floats:
    """Learn the linear map that brings copies close to their originals and keeps different pictures far apart.

    Args:
        originals: (n, d) descriptors.
        warped: (n, k, d) descriptors of k warped copies of each original.

    Returns:
        (d, m) float32 with m at most `DIMENSIONS`; multiply descriptors with it. Distances are then in standard
        deviations of copies.

    Source:
        R. A. Fisher, 1936: linear discriminant analysis.
    """
    noise = (warped - originals[:, None]).reshape(-1, originals.shape[1]).astype(np.float64)
    within = noise.T @ noise / len(noise)
    spread = originals.astype(np.float64) - originals.mean(axis=0, dtype=np.float64)
    ridge = _RIDGE * np.trace(within) / len(within) + np.finfo(np.float32).tiny
    _, axes = scipy.linalg.eigh(spread.T @ spread / len(spread), within + ridge * np.eye(len(within)))
    return np.asarray(axes[:, ::-1][:, :DIMENSIONS], np.float32)


def _resize(lab: LabPixels, side: int) -> LabPixels:
    kernel = cv2.INTER_AREA if len(lab) >= side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.array(lab), (side, side), interpolation=kernel), np.int16)


def _warped_copy(rgb: npt.NDArray[np.uint8], generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    draws = generator.uniform(-1, 1, 10)
    rotated = np.ascontiguousarray(np.rot90(rgb, int(generator.integers(4))))
    side = len(rgb)
    cut = round(abs(draws[8]) * CROP * side)
    top, left = generator.integers(0, cut + 1, 2)
    cropped = np.ascontiguousarray(rotated[top : top + side - cut, left : left + side - cut])
    row = {"angle": ANGLE * draws[0], "shift_x": SHIFT * draws[1], "shift_y": SHIFT * draws[2]}
    row |= {"flip_horizontal": draws[3] > 0, "flip_vertical": draws[4] > 0}
    row |= {f"gain_{channel}": 1 + GAIN * draws[5 + place] for place, channel in enumerate(("red", "green", "blue"))}
    return warp(cv2.resize(cropped, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.uint8), row)


def _mean_cosines(small: Floats) -> Floats:
    """Mean of random cosines over the points of pictures (n, SIDE, SIDE, 3): (n, _COSINES)."""
    points = np.concatenate(
        [_point_features(small[start : start + _PLANES]) for start in range(0, len(small), _PLANES)]
    )
    waves = points.reshape(-1, points.shape[-1]) @ _DIRECTIONS
    waves += _PHASES
    np.cos(waves, out=waves)
    mean: Floats = waves.reshape(len(small), -1, _COSINES).mean(axis=1)
    return mean * np.float32(30)  # about as large as the values of `_ring_spectrum`


def _point_features(pictures: Floats) -> Floats:
    """Color at and around each point, and gradient of lightness, of pictures (n, SIDE, SIDE, 3): (n, points, 11).

    Values are about -3 to 3. All pictures are filtered together, as channels of one.
    """
    channels = np.ascontiguousarray(pictures.transpose(1, 2, 0, 3)).reshape(SIDE, SIDE, -1)
    blurred = [cv2.GaussianBlur(channels, (0, 0), sigma) for sigma in (1.0, 2.5, 5.0)]
    fine, coarse, wide = (one.reshape(SIDE, SIDE, -1, 3) for one in blurred)
    features = [fine / 12, coarse / 12, (wide - coarse) / 6, _gradient(fine) / 3, _gradient(coarse) / 2]
    inner = slice(_RIM, SIDE - _RIM, _STEP)
    chosen: Floats = np.concatenate([one[inner, inner] for one in features], axis=-1)
    return chosen.transpose(2, 0, 1, 3).reshape(len(pictures), -1, chosen.shape[-1])


def _gradient(colors: Floats) -> Floats:
    """Magnitude of the gradient of lightness of pictures (SIDE, SIDE, n, 3): (SIDE, SIDE, n, 1)."""
    lightness = np.ascontiguousarray(colors[..., 0])
    across, along = (cv2.Sobel(lightness, -1, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    # not cv2.magnitude: its last bit depends on where the arrays lie in memory
    return np.asarray(np.sqrt(across**2 + along**2), np.float32).reshape(*lightness.shape, 1)


def _ring_spectrum(small: Floats) -> Floats:
    """Strength of detail over rings, by scale, of pictures (n, SIDE, SIDE, 3): (n, 3 * rings * _HARMONICS)."""
    mean = np.einsum("nyxc,yx->nc", small, _WINDOW, dtype=np.float32) / _WINDOW.sum()
    planes = np.moveaxis((small - mean[:, None, None]) * _WINDOW[..., None], -1, 1)
    strength = np.log1p(np.abs(scipy.fft.fft2(planes)) / 20).reshape(-1, SIDE * SIDE)
    rings = (strength @ _RINGS).reshape(len(small), -1, _DIRECTION_BINS)
    profile: Floats = np.abs(scipy.fft.rfft(rings, axis=-1))[..., :_HARMONICS] * np.float32(10 / _DIRECTION_BINS)
    return profile.reshape(len(small), -1)


def _ring_weights() -> Floats:
    """Bilinear weights, (SIDE**2, rings * _DIRECTION_BINS), that sample an unshifted spectrum along half rings."""
    angle = np.pi * np.arange(_DIRECTION_BINS) / _DIRECTION_BINS
    weights = np.zeros((SIDE, SIDE, len(_RING_RADII) * _DIRECTION_BINS), np.float32)
    column = np.arange(weights.shape[-1])
    y, x = (np.outer(_RING_RADII, wave(angle)).reshape(-1) for wave in (np.sin, np.cos))
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = (1 - np.abs(y - top - down)) * (1 - np.abs(x - left - right))
            np.add.at(weights, ((top + down) % SIDE, (left + right) % SIDE, column), share)
    return weights.reshape(SIDE * SIDE, -1)


def _random_waves() -> tuple[Floats, Floats]:
    """Directions (11, _COSINES) of many wavelengths, and phases (_COSINES,); the same in every process."""
    generator = np.random.default_rng(5)
    directions = generator.normal(size=(11, _COSINES)) * generator.uniform(0.2, 1.0, _COSINES)
    return directions.astype(np.float32), generator.uniform(0, 2 * np.pi, _COSINES).astype(np.float32)


_DIRECTIONS, _PHASES = _random_waves()
_WINDOW: Final = np.outer(*[np.hanning(SIDE + 2)[1:-1]] * 2).astype(np.float32)
_RINGS: Final = _ring_weights()
