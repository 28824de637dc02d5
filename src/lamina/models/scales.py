"""Feature maps from the middle of a backbone: the last ones of each scale."""

from typing import Any

from lamina.models import lazy_keras as keras


def with_scales(trunk: Any, size: int) -> Any:
    """Return the backbone, with its name, as a model of several outputs: see `scale_maps`, then its own output."""
    return keras.Model(trunk.input, [*scale_maps(trunk, size), trunk.output], name=trunk.name)


def scale_maps(trunk: Any, size: int) -> list[Any]:
    """Find the last feature maps at about 1/2, 1/4, ... of the picture's side, from fine to coarse.

    Maps of the scale of the backbone's output are left out; scales without maps are skipped. Padding and cropping make
    maps a little larger or smaller; they still count as the same scale.

    Args:
        trunk: a backbone, a Keras model.
        size: side of the pictures in pixels.

    Returns:
        Keras tensors, (n, s, s, channels) each.
    """
    found, scale, last = [], 2, trunk.output.shape[1]
    while size / scale > last * 1.5:
        candidates = [maps for maps in _maps(trunk) if 0.75 < maps.shape[1] * scale / size < 1.25]
        if candidates:
            found.append(candidates[-1])
        scale *= 2
    return found


def _maps(trunk: Any) -> list[Any]:
    resizing = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)
    outputs = [layer.output for layer in trunk.layers if not isinstance(layer, resizing)]
    return [maps for maps in outputs if hasattr(maps, "shape") and len(maps.shape) == 4]


def pool_scales(maps: list[Any]) -> Any:
    """Compute mean and standard deviation of every channel of all maps.

    Maps from the middle of a network describe edges and textures, which its last maps do not. For encoders of
    colorizers, they give the best features for classification.

    Args:
        maps: Keras tensors, (n, s, s, channels) each.

    Returns:
        A Keras tensor (n, 2 x the sum of channels).

    Source:
        R. Zhang et al., Split-Brain Autoencoders, CVPR 2017, section 4.1.
    """
    ops = keras.ops
    pooled = []
    for features in maps:
        # the square root has no gradient at 0, the variance of a constant channel
        pooled += [ops.mean(features, axis=(1, 2)), ops.sqrt(ops.var(features, axis=(1, 2)) + 1e-6)]
    return keras.layers.Concatenate(name="pool")(pooled)
