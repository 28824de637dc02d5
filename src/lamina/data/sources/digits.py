"""The handwritten digits that scikit-learn ships, for machines where no data can be had.

1,797 greys of 8x8 pixels: the test part of a set of the UCI Machine Learning Repository. The file does not say who
wrote which digit, so every picture is an origin of its own, and pictures of one writer lie in several folds.
Source: Alpaydin and Kaynak (1998), https://doi.org/10.24432/C50P49.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from lamina.data.sources.members import Picture
from lamina.data.sources.png import encode_grey

COUNT: Final = 1797
BRIGHTEST: Final = 16


def pictures() -> Iterator[Picture]:
    """Yield the digits in their order in the file, white on black; labels are `0` to `9`."""
    from sklearn.datasets import load_digits  # takes a second to import

    digits = load_digits()
    greys = np.rint(digits.images * (255 / BRIGHTEST)).astype(np.uint8)
    for index, (pixels, digit) in enumerate(zip(greys, digits.target, strict=True)):
        name = f"digits/{index:05d}.png"
        yield Picture(name=name, encoded=encode_grey(pixels), labels=(str(digit),), origin=name)
