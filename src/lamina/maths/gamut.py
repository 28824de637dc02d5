"""CIELAB and sRGB at 8 or 16 bits; colors outside sRGB keep their lightness and lose chroma.

A color outside sRGB moves towards the grey of the same luminance, in linear light, until it fits. In linear light,
luminance is a weighted mean of red, green and blue, so this keeps CIELAB's L; clipping each channel would change it.

Source: IEC 61966-2-1 (sRGB), CIE 15:2004 (CIELAB, D65, 2 degree observer).
"""

from functools import cache
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from lamina.maths.color import RGB_TO_XYZ, WHITE, Floats, compress, expand, linear_light

Codes: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]  # sRGB values at 8 or 16 bits

# from X and Z relative to white, minus luminance, to red, green and blue, minus luminance: all are 0 for greys
_CHROMATIC: Final = np.linalg.inv(RGB_TO_XYZ / WHITE[:, None])[:, [0, 2]].astype(np.float32)
_LUMINANCE: Final = (RGB_TO_XYZ[1] / RGB_TO_XYZ[1].sum()).astype(np.float32)
_DARK: Final = np.float32(0.0031308)  # up to this linear light, sRGB is a straight line
_TINY: Final = np.float32(1e-12)


def lightness(codes: Codes) -> Floats:
    """Compute CIELAB's L of sRGB pixels.

    Args:
        codes: (rows, columns) greys, or (rows, columns, 3) colors, uint8 or uint16; the type's maximum is white.

    Returns:
        (rows, columns) float32, 0 to 100.
    """
    if codes.ndim == 2:
        return np.take(_grey_table(codes.dtype), codes)
    light = np.take(_light_table(codes.dtype), codes) @ _LUMINANCE
    return _lightness(light)


def paint(light: Floats, chroma: Floats, out: Codes) -> None:
    """Write sRGB pixels with the given lightness, and as much of the chroma as sRGB allows at this lightness.

    It is fastest for bands of rows that fit the processor's cache.

    Args:
        light: (rows, columns) float32, CIELAB's L.
        chroma: (2, rows, columns) float32, a and b. With zeros, the result is the grey that `lightness` was computed
            of.
        out: (rows, columns, 3) uint8 or uint16; it receives the pixels.
    """
    root = (light + np.float32(16)) / np.float32(116)
    luminance = np.clip(expand(root), 0, 1)
    differences = np.stack([root + chroma[0] / np.float32(500), root - chroma[1] / np.float32(200)])
    differences = expand(differences)
    differences -= luminance
    colors = np.matmul(_CHROMATIC, differences.reshape(2, -1)).reshape(3, *light.shape)
    # the factor by which the color is too far from grey: the largest of all channels, above 1 or below 0
    excess = colors.max(axis=0) / np.maximum(1 - luminance, _TINY)
    np.maximum(excess, -colors.min(axis=0) / np.maximum(luminance, _TINY), out=excess)
    colors /= np.maximum(excess, 1, out=excess)
    colors += luminance
    np.copyto(out, np.moveaxis(_to_codes(colors, np.iinfo(out.dtype).max), 0, -1), casting="unsafe")


def _to_codes(light: Floats, top: int) -> Floats:
    """Convert linear light to sRGB integers from 0 to `top`; `light` is overwritten."""
    np.clip(light, 0, 1, out=light)
    codes: Floats = cv2.pow(light, 1 / 2.4).reshape(light.shape)
    codes *= np.float32(1.055 * top)
    codes -= np.float32(0.055 * top)
    np.copyto(codes, light * np.float32(12.92 * top), where=light <= _DARK)
    return np.rint(codes, out=codes)


def _lightness(light: Floats) -> Floats:
    return compress(light) * np.float32(116) - np.float32(16)


@cache
def _light_table(kind: np.dtype[Any]) -> Floats:
    top = np.iinfo(kind).max
    return linear_light(np.arange(top + 1) / top).astype(np.float32)


@cache
def _grey_table(kind: np.dtype[Any]) -> Floats:
    return _lightness(_light_table(kind))
