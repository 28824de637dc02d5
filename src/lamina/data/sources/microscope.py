"""Stain, light and camera of a slide: converts the density of stains to the pixels of a photograph.

Light through a stained cell decreases exponentially with the density of each stain (Beer-Lambert law, in the form of
Ruifrok & Johnston 2001), so overlapping cells darken each other as under a microscope.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]

SIDE = 256
STAINS = ("eosin", "azure", "purple", "hemoglobin")

# Absorbance of red, green and blue light by one unit of each stain; chosen by comparison with real smears.
ABSORBANCE = np.array(
    [
        [0.05, 0.85, 0.60],
        [0.80, 0.42, 0.10],
        [0.88, 1.28, 0.30],
        [0.20, 0.55, 0.58],
    ]
)


@dataclass(frozen=True, kw_only=True)
class Slide:
    """Properties that all pictures of one slide share.

    Attributes:
        scale: Pixels per micrometer.
        absorbance: (4, 3), of `STAINS` in RGB.
        light: (3,), RGB of the empty background, 0 to 1.
        vignette: Share of light lost in the corners.
        blur: Blur in pixels.
        grain: Noise in grey levels.
        sharpening: Strength of the camera's sharpening.
        gamma: Exponent of the camera's curve.
        quality: Quality of its JPEGs.
        crowding: Mean number of red cells per picture.
        clumping: 0 (apart) to 1 (overlapping).
        pallor: How pale the centers of red cells are, 0 to 1.
        red_radius: Radius of red cells in micrometers.
        plasma: Density of eosin and azure between the cells.
        lossless: Whether pictures are saved as PNG.
    """

    scale: float
    absorbance: NDArray[np.float64]
    light: NDArray[np.float64]
    vignette: float
    blur: float
    grain: float
    sharpening: float
    gamma: float
    quality: int
    crowding: float
    clumping: float
    pallor: float
    red_radius: float
    plasma: tuple[float, float]
    lossless: bool


def draw_slide(rng: np.random.Generator) -> Slide:
    """Draw the random stain, light and camera of a slide."""
    strength = rng.lognormal(0.0, 0.16) * rng.lognormal(0.0, 0.15, (4, 1))
    hue = rng.lognormal(0.0, 0.12, (4, 3))
    warmth, tint = rng.normal(0.0, 0.055), rng.normal(0.0, 0.025)
    brightness = rng.uniform(0.74, 0.95)
    light = brightness * np.array([1 + warmth, 1 + tint, 1 - warmth])
    return Slide(
        scale=rng.uniform(6.5, 8.1),
        absorbance=ABSORBANCE * strength * hue,
        light=np.clip(light, 0.5, 0.98),
        vignette=rng.uniform(0.0, 0.22),
        blur=rng.uniform(0.45, 1.05),
        grain=rng.uniform(0.8, 3.2),
        sharpening=rng.uniform(0.1, 0.7),
        gamma=rng.uniform(0.85, 1.2),
        quality=int(rng.integers(86, 95)),
        crowding=rng.uniform(5.0, 24.0),
        clumping=rng.uniform(0.0, 0.7),
        pallor=rng.uniform(0.3, 0.9),
        red_radius=rng.uniform(3.3, 3.9),
        plasma=(rng.uniform(0.0, 0.08), rng.uniform(0.0, 0.08)),
        lossless=bool(rng.random() < 0.04),
    )


def noise(rng: np.random.Generator, side: int, grain: float) -> Field:
    """Return smooth noise, (side, side), mean 0 and standard deviation 1, with features of about `grain` pixels."""
    shrink = max(grain / 2.0, 1.0)
    small = int(np.ceil(side / shrink)) + 1
    field = cv2.GaussianBlur(rng.standard_normal((small, small), dtype=np.float32), (0, 0), grain / shrink / 2)
    field = cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def expose(density: Field, slide: Slide, rng: np.random.Generator) -> Pixels:
    """Photograph a field of view.

    Light, focus and noise vary slightly from picture to picture; one in ten pictures is clearly out of focus.

    Args:
        density: (SIDE, SIDE, 4), of `STAINS`.
        slide: Stain, light and camera.
        rng: Source of randomness.

    Returns:
        (SIDE, SIDE, 3) uint8 RGB.
    """
    plasma = 1 + 0.15 * noise(rng, SIDE, 70)[..., None] * np.array([1, 1, 0, 0], np.float32)
    stained = density + (plasma * np.array([*slide.plasma, 0, 0])).astype(np.float32)
    light = rng.normal(1.0, 0.02) * _vignette(slide.vignette, rng)[..., None] * slide.light
    image = light.astype(np.float32) * np.exp(-stained @ slide.absorbance.astype(np.float32))
    blur = slide.blur + (rng.uniform(1.0, 2.2) if rng.random() < 0.1 else rng.uniform(0.0, 0.35))
    image = cv2.GaussianBlur(image, (0, 0), blur)
    image = image + slide.sharpening * (image - cv2.GaussianBlur(image, (0, 0), 2.2))
    image = 255 * np.clip(image, 0, 1) ** slide.gamma
    speckle = cv2.GaussianBlur(rng.standard_normal(image.shape, dtype=np.float32), (0, 0), 0.5)
    image += 1.6 * slide.grain * speckle
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


def _vignette(loss: float, rng: np.random.Generator) -> NDArray[np.float64]:
    across = np.linspace(-1, 1, SIDE)
    x, y = across - rng.normal(0, 0.15), across[:, None] - rng.normal(0, 0.15)
    return 1 - loss * (x**2 + y**2) / 2
