"""Feature maps from the middle of a backbone: the last ones at each scale."""

from typing import Any


def with_scales(trunk: Any, size: int) -> Any:
    """The same backbone, under the same name, that gives the last maps of each scale, fine to coarse, and its own."""
    from lamina.models.keras_runtime import keras

    return keras.Model(trunk.input, [*scale_maps(trunk, size), trunk.output], name=trunk.name)


def scale_maps(trunk: Any, size: int) -> list[Any]:
    """The last feature maps at about a half, a quarter, ... of the picture's side, fine to coarse.

    Those of the network's end are left out, and scales that the network passes over. What a network pads or
    crops on its way makes maps a little larger or smaller, which counts as the same scale.
    """
    found, scale, last = [], 2, trunk.output.shape[1]
    while size / scale > last * 1.5:
        near = [maps for maps in _maps(trunk) if 0.75 < maps.shape[1] * scale / size < 1.25]
        if near:
            found.append(near[-1])
        scale *= 2
    return found


def _maps(trunk: Any) -> list[Any]:
    from lamina.models.keras_runtime import keras

    passing = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)
    outputs = [layer.output for layer in trunk.layers if not isinstance(layer, passing)]
    return [maps for maps in outputs if hasattr(maps, "shape") and len(maps.shape) == 4]


def pool_scales(maps: list[Any]) -> Any:
    """Mean and standard deviation of every channel of every map: (n, twice the channels of all of them).

    The middle of a network tells edges and textures, which its last maps have left behind; of colorizers it is what
    classes are told best by (R. Zhang et al., Split-Brain Autoencoders, CVPR 2017, section 4.1).
    """
    from lamina.models.keras_runtime import keras

    ops = keras.ops
    pooled = []
    for one in maps:
        # a channel that is the same everywhere has a deviation without a slope; a little variance gives it one
        pooled += [ops.mean(one, axis=(1, 2)), ops.sqrt(ops.var(one, axis=(1, 2)) + 1e-6)]
    return keras.layers.Concatenate(name="pool")(pooled)
