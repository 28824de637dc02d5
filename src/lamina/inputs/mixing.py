"""Mixing of the pictures in a batch, with their labels: mixup and CutMix."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How batches are mixed.

    Attributes:
        classes: number of classes.
        mixup: alpha of the Beta distribution of the shares in which two pictures are added; 0: never.
        cutmix: alpha of the Beta distribution of the area that a rectangle of another picture leaves; 0: never. With
            both, each batch gets one of them, chosen at random.

    Source:
        H. Zhang et al., mixup, ICLR 2018; S. Yun et al., CutMix, ICCV 2019.
    """

    classes: int
    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def apply(
        self, pixels: Floats, labels: npt.NDArray[np.int32], random: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Mix each picture of a batch with another one.

        Args:
            pixels: (n, S, S, 3).
            labels: (n,) class numbers.
            random: decides kind, partners and shares.

        Returns:
            New pixels of the same shape, and probabilities of the classes, (n, classes).
        """
        targets = np.eye(self.classes, dtype=np.float32)[labels]
        cut = self.cutmix > 0 and (self.mixup == 0 or random.random() < 0.5)
        partners = random.permutation(len(pixels))
        alpha = self.cutmix if cut else self.mixup
        kept = float(random.beta(alpha, alpha))
        if cut:
            mixed, kept = _cut(pixels, partners, kept, random)
        else:
            mixed = (kept * pixels + (1 - kept) * pixels[partners]).astype(np.float32)
        return mixed, (kept * targets + (1 - kept) * targets[partners]).astype(np.float32)


def _cut(
    pixels: Floats, partners: npt.NDArray[np.int64], kept: float, random: np.random.Generator
) -> tuple[Floats, float]:
    """Paste a rectangle of the partner, with a random center; return the share of the picture that is kept, too."""
    side = pixels.shape[1]
    half = side * np.sqrt(1 - kept) / 2
    bounds = [
        np.clip([center - half, center + half], 0, side).round().astype(int) for center in random.uniform(0, side, 2)
    ]
    (top, bottom), (left, right) = bounds
    mixed = pixels.copy()
    mixed[:, top:bottom, left:right] = pixels[partners, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / side**2
