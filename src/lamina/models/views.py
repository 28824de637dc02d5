"""Views: the mean of a classifier's predictions over flips, turns or crops of a picture, inside the saved model."""

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from lamina.models import lazy_keras as keras

Views = Literal[1, 2, 4, 5, 8, 10]

SINGLE: Final = "one_view"  # name of the classifier of one view, inside the model
_CROP: Final = 0.875  # share of the side of the views that are crops


def with_views(network: Any, views: Views) -> Any:
    """Return the model that averages a classifier's probabilities over views of each picture.

    Args:
        network: a Keras model from (n, S, S, 3) pixels to (n, classes) probabilities.
        views: 1: the picture itself; 2: and its mirror image; 4: and both upside down; 8: and these turned by 90
            degrees; 5: the middle and the four corners, scaled to the size of the picture; 10: and their mirror images.

    Returns:
        A Keras model of the same input and output; the network itself for one view.

    Source:
        Crops: Krizhevsky et al., NIPS 2012, section 4.1.
    """
    if views == 1:
        return network
    size = network.input.shape[1]
    pixels = keras.Input((size, size, 3), name="rgb")
    network.name = SINGLE
    shown = list(_crops(pixels, size)) if views in (5, 10) else [pixels]
    for number in (1, 2, 3):
        if len(shown) < views:
            shown += [_CHANGES[number](view) for view in shown]
    probabilities = [network(view) for view in shown]
    return keras.Model(pixels, keras.layers.Average(name="views")(probabilities), name="classifier")


def single_view(model: Any) -> Any:
    """Return the classifier of one view inside a model; the model itself where it has no views."""
    return next((layer for layer in model.layers if layer.name == SINGLE), model)


_CHANGES: Final[dict[int, Callable[[Any], Any]]] = {
    1: lambda pixels: keras.ops.flip(pixels, axis=2),
    2: lambda pixels: keras.ops.flip(pixels, axis=1),
    3: lambda pixels: keras.ops.transpose(pixels, (0, 2, 1, 3)),  # with the flips: all turns by 90 degrees
}


def _crops(pixels: Any, size: int) -> Iterator[Any]:
    side = round(size * _CROP)
    far, middle = size - side, (size - side) // 2
    for top, left in ((middle, middle), (0, 0), (0, far), (far, 0), (far, far)):
        yield keras.ops.image.resize(pixels[:, top : top + side, left : left + side], (size, size))
