"""Whether two pictures are one: the one laid over the other as well as it can be, and how well they agree."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import scipy.fft

from lamina.data.descriptors import shrink
from lamina.maths.color import LabPixels

Floats = npt.NDArray[np.float32]

_COARSE, _FINE = 32, 64  # sides in pixels at which a pair is first turned, then fitted
_TURNS: Final = 24  # steps of 15 degrees
_TRIED: Final = 2  # of the best turns and mirrorings
_REACH: Final = 8  # pixels of `_COARSE` that one may be shifted: a quarter
_SCALES: Final = (0.8, 1.25)  # how much larger one may show what both show
_OVERLAP: Final = 0.35  # of the square that both must cover


def agreement(left: LabPixels, right: LabPixels) -> float:
    """How well two pictures agree once the one is turned, flip_tta, moved and scaled to lie on the other.

    left, right: (S, S, 3) int16 CIELAB x 100. Returns the correlation, -1 to 1, of their details (what is finer than
    an eighth of the side; light and tint do not count) over what both show; -1 where nothing fits.
    All turns and mirrorings are tried, each with its best shift; the best are refined by enhanced correlation
    (G. D. Evangelidis and E. Z. Psarakis, 2008) and held to a similarity, since one blob fits another if it may bend.
    """
    fine = shrink(left, _FINE), shrink(right, _FINE)
    details = _details(fine[0])
    best = -1.0
    for turned in _turns(shrink(left, _COARSE)[..., 0], shrink(right, _COARSE)[..., 0]):
        best = max(best, _agreement(details, fine[1], _similarity(_refined(*fine, _scaled(turned)))))
    return best


def _turns(left: Floats, right: Floats) -> list[Floats]:
    """The `_TRIED` best of all turns and mirrorings, each with its best shift: maps (2, 3) from left to right."""
    left, right = (_band(plane, _COARSE / 8) for plane in (left, right))
    maps = [_about_middle(_COARSE, turn, mirror) for mirror in (1, -1) for turn in range(_TURNS)]
    turned = np.stack([_moved(right, one) for one in maps]) * _DISC
    size = (2 * _COARSE, 2 * _COARSE)
    spectrum = scipy.fft.rfft2(turned, s=size) * np.conj(scipy.fft.rfft2(left * _DISC, s=size))
    shifts = np.arange(-_REACH, _REACH + 1)
    match = scipy.fft.irfft2(spectrum, s=size)[:, shifts[:, None], shifts].reshape(len(maps), -1)
    match /= np.sqrt((turned**2).sum(axis=(1, 2)))[:, None] + 1e-6
    best = match.argmax(axis=1)
    found = []
    for place in np.argsort(-match.max(axis=1), kind="stable")[:_TRIED]:
        down, across = divmod(int(best[place]), len(shifts))
        shifted = maps[place].copy()
        shifted[:, 2] += shifted[:, :2] @ shifts[[across, down]]
        found.append(shifted)
    return found


def _about_middle(side: int, turn: int, mirror: int) -> Floats:
    angle = 2 * np.pi * turn / _TURNS
    cosine, sine = np.cos(angle), np.sin(angle)
    linear = np.array([[cosine * mirror, -sine], [sine * mirror, cosine]])
    middle = np.full(2, (side - 1) / 2)
    return np.column_stack([linear, middle - linear @ middle]).astype(np.float32)


def _scaled(coarse: Floats) -> Floats:
    """A map between pictures of `_COARSE` as one between pictures of `_FINE`; pixels are squares, not points."""
    factor = _FINE / _COARSE
    shift = factor * coarse[:, 2] + (factor - 1) / 2 * (1 - coarse[:, :2].sum(axis=1))
    return np.column_stack([coarse[:, :2], shift]).astype(np.float32)


def _refined(left: Floats, right: Floats, start: Floats) -> Floats:
    here, there = (np.ascontiguousarray(picture[..., 0]) for picture in (left, right))
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    try:
        _, found = cv2.findTransformECC(here, there, start.copy(), cv2.MOTION_AFFINE, stop, _MASK, 5)
    except cv2.error:  # it does not converge where there is nothing to hold on to
        return start
    return np.asarray(found, np.float32)


def _similarity(found: Floats) -> Floats:
    """The similarity (a turn or mirroring, one scale, a shift) nearest to an affine map, the same in the middle."""
    left, sizes, right = np.linalg.svd(found[:, :2].astype(np.float64))
    linear = left @ right * sizes.mean()
    middle = np.full(2, (_FINE - 1) / 2)
    return np.column_stack([linear, found[:, :2] @ middle + found[:, 2] - linear @ middle]).astype(np.float32)


def _agreement(left: Floats, right: Floats, similarity: Floats) -> float:
    """Correlation of details, `left` being details already, over what both pictures show."""
    scale = np.sqrt(abs(np.linalg.det(similarity[:, :2].astype(np.float64))))
    shown = _moved(np.ones((_FINE, _FINE), np.float32), similarity, cv2.BORDER_CONSTANT) > 0.999
    both = shown & _INSIDE
    if not _SCALES[0] <= scale <= _SCALES[1] or both.mean() < _OVERLAP:
        return -1.0
    here = left[both].astype(np.float64)
    there = _details(_moved(right, similarity))[both].astype(np.float64)
    here, there = here - here.mean(axis=0), there - there.mean(axis=0)
    return float((here * there).sum() / np.sqrt((here**2).sum() * (there**2).sum() + 1e-6))


def _moved(picture: Floats, to: Floats, border: int = cv2.BORDER_REPLICATE) -> Floats:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(picture, to, picture.shape[1::-1], flags=flags, borderMode=border)
    return np.asarray(moved, np.float32)


def _details(picture: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(_band(picture, _FINE / 8), (0, 0), 1.0), np.float32)


def _band(picture: Floats, sigma: float) -> Floats:
    return picture - np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


def _disc(side: int, radius: float) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside: npt.NDArray[np.bool_] = np.hypot(x, y) <= radius * side
    return inside


_DISC: Final = cv2.GaussianBlur(_disc(_COARSE, 0.42).astype(np.float32), (0, 0), 1.5)
_INSIDE: Final = _disc(_FINE, 0.45)
_MASK: Final = _INSIDE.astype(np.uint8)
