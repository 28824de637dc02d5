"""Ensembles: one model whose probabilities are the mean of those of several classifiers."""

from collections.abc import Mapping
from typing import Any, Final

from lamina.models import lazy_keras as keras

MEAN: Final = "mean_of_members"  # name of the last layer of an ensemble


def average(members: Mapping[str, Any]) -> Any:
    """Return the model that averages the probabilities of classifiers.

    Args:
        members: at least two Keras models by name, from (n, S, S, 3) pixels to (n, classes) probabilities, of the same
            S and classes. They become layers `run_NAME` of the result, each complete.

    Returns:
        A Keras model of the same input and output.

    Source:
        Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation using deep ensembles, NIPS 2017,
        section 2.4.
    """
    size = next(iter(members.values())).input.shape[1]
    pixels = keras.Input((size, size, 3), name="rgb")
    for name, member in members.items():
        member.name = f"run_{name}"
    probabilities = [member(pixels) for member in members.values()]
    return keras.Model(pixels, keras.layers.Average(name=MEAN)(probabilities), name="ensemble")


def members_of(model: Any) -> list[Any]:
    """Return the classifiers that a model averages, in their order; the model alone where it is no ensemble."""
    if model.layers[-1].name != MEAN:
        return [model]
    return [layer for layer in model.layers if isinstance(layer, keras.Model)]
