"""Decides whether two pictures show the same content: aligns one with the other and correlates what both show."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import scipy.fft

from lamina.data.descriptors import shrink
from lamina.maths.color import LabPixels

Floats = npt.NDArray[np.float32]

NOT_ALIGNABLE: Final = -1.0  # the agreement of pictures that no allowed alignment brings together

_COARSE, _FINE = 32, 64  # side in pixels: of the coarse search over rotations, and of the refined alignment
_ROTATIONS: Final = 24  # steps of 15 degrees
_REFINED: Final = 2  # best coarse alignments that are refined
_MAX_SHIFT: Final = 8  # pixels at `_COARSE`: a quarter of the side
_SCALES: Final = (0.8, 1.25)  # allowed scale between the two pictures
_MIN_OVERLAP: Final = 0.35  # share of the square that both pictures must cover


def agreement(left: LabPixels, right: LabPixels) -> float:
    """Measure how well two pictures agree after one is rotated, mirrored, shifted and scaled to match the other.

    The coarse search tries all rotations and mirrorings, each with its best shift. The best ones are refined by
    enhanced correlation (ECC) and reduced to a similarity transform, because a free affine map fits any two blobs.

    Args:
        left: (S, S, 3) int16, CIELAB x 100.
        right: The same shape and type.

    Returns:
        Correlation of the details over the area that both pictures show, -1 to 1; `NOT_ALIGNABLE` where there is none.
        Details are finer than an eighth of the side, so overall light and tint do not count.

    Source:
        G. D. Evangelidis and E. Z. Psarakis, Parametric Image Alignment Using Enhanced Correlation Coefficient
        Maximization, 2008.
    """
    fine = shrink(left, _FINE), shrink(right, _FINE)
    details = _details(fine[0])
    best = NOT_ALIGNABLE
    for coarse in _coarse_maps(shrink(left, _COARSE)[..., 0], shrink(right, _COARSE)[..., 0]):
        best = max(best, _correlation(details, fine[1], _nearest_similarity(_refine(*fine, _to_fine(coarse)))))
    return best


def unit_details(picture: LabPixels) -> Floats:
    """Describe a picture by its details; the product of two such vectors is their agreement as they are, not aligned.

    Args:
        picture: (S, S, 3) int16, CIELAB x 100.

    Returns:
        (d,) float32 of length 1.
    """
    details = _details(shrink(picture, _FINE))[_INSIDE]
    details -= details.mean(axis=0)
    return details.ravel() / np.float32(np.sqrt((details**2).sum() + 1e-6))


def _coarse_maps(left: Floats, right: Floats) -> list[Floats]:
    """The `_REFINED` best rotations and mirrorings, each with its best shift: affine maps (2, 3) from left to right."""
    left, right = (_high_pass(plane, _COARSE / 8) for plane in (left, right))
    maps = [_rotation(_COARSE, step, mirror) for mirror in (1, -1) for step in range(_ROTATIONS)]
    turned = np.stack([_warp(right, one) for one in maps]) * _DISC
    size = (2 * _COARSE, 2 * _COARSE)
    spectrum = scipy.fft.rfft2(turned, s=size) * np.conj(scipy.fft.rfft2(left * _DISC, s=size))
    shifts = np.arange(-_MAX_SHIFT, _MAX_SHIFT + 1)
    match = scipy.fft.irfft2(spectrum, s=size)[:, shifts[:, None], shifts].reshape(len(maps), -1)
    match /= np.sqrt((turned**2).sum(axis=(1, 2)))[:, None] + 1e-6
    best = match.argmax(axis=1)
    found = []
    for place in np.argsort(-match.max(axis=1), kind="stable")[:_REFINED]:
        down, across = divmod(int(best[place]), len(shifts))
        shifted = maps[place].copy()
        shifted[:, 2] += shifted[:, :2] @ shifts[[across, down]]
        found.append(shifted)
    return found


def _rotation(side: int, step: int, mirror: int) -> Floats:
    """Affine map (2, 3): a rotation about the center, mirrored where mirror is -1."""
    angle = 2 * np.pi * step / _ROTATIONS
    cosine, sine = np.cos(angle), np.sin(angle)
    linear = np.array([[cosine * mirror, -sine], [sine * mirror, cosine]])
    middle = np.full(2, (side - 1) / 2)
    return np.column_stack([linear, middle - linear @ middle]).astype(np.float32)


def _to_fine(coarse: Floats) -> Floats:
    """Convert a map between pictures of side `_COARSE` to side `_FINE`; a pixel is a square, not a point."""
    factor = _FINE / _COARSE
    shift = factor * coarse[:, 2] + (factor - 1) / 2 * (1 - coarse[:, :2].sum(axis=1))
    return np.column_stack([coarse[:, :2], shift]).astype(np.float32)


def _refine(left: Floats, right: Floats, start: Floats) -> Floats:
    here, there = (np.ascontiguousarray(picture[..., 0]) for picture in (left, right))
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    try:
        _, found = cv2.findTransformECC(here, there, start.copy(), cv2.MOTION_AFFINE, stop, _MASK, 5)
    except cv2.error:  # ECC does not converge without detail
        return start
    return np.asarray(found, np.float32)


def _nearest_similarity(found: Floats) -> Floats:
    """The similarity (rotation or mirroring, one scale, shift) nearest to an affine map; both agree at the center."""
    left, sizes, right = np.linalg.svd(found[:, :2].astype(np.float64))
    linear = left @ right * sizes.mean()
    middle = np.full(2, (_FINE - 1) / 2)
    return np.column_stack([linear, found[:, :2] @ middle + found[:, 2] - linear @ middle]).astype(np.float32)


def _correlation(left: Floats, right: Floats, similarity: Floats) -> float:
    """Correlation of details over the shared area. left: details already; right: a picture."""
    scale = np.sqrt(abs(np.linalg.det(similarity[:, :2].astype(np.float64))))
    shown = _warp(np.ones((_FINE, _FINE), np.float32), similarity, cv2.BORDER_CONSTANT) > 0.999
    both = shown & _INSIDE
    if not _SCALES[0] <= scale <= _SCALES[1] or both.mean() < _MIN_OVERLAP:
        return NOT_ALIGNABLE
    here = left[both].astype(np.float64)
    there = _details(_warp(right, similarity))[both].astype(np.float64)
    here, there = here - here.mean(axis=0), there - there.mean(axis=0)
    return float((here * there).sum() / np.sqrt((here**2).sum() * (there**2).sum() + 1e-6))


def _warp(picture: Floats, to: Floats, border: int = cv2.BORDER_REPLICATE) -> Floats:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, to, picture.shape[1::-1], flags=flags, borderMode=border), np.float32)


def _details(picture: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(_high_pass(picture, _FINE / 8), (0, 0), 1.0), np.float32)


def _high_pass(picture: Floats, sigma: float) -> Floats:
    return picture - np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


def _disc(side: int, radius: float) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside: npt.NDArray[np.bool_] = np.hypot(x, y) <= radius * side
    return inside


_DISC: Final = cv2.GaussianBlur(_disc(_COARSE, 0.42).astype(np.float32), (0, 0), 1.5)
_INSIDE: Final = _disc(_FINE, 0.45)
_MASK: Final = _INSIDE.astype(np.uint8)
