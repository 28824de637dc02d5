"""Export of a classifier over a network of ONNX: that network, and the head after it, as one."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import onnx

from lamina.errors import UserError
from lamina.models.averaging import members_of
from lamina.models.keras_runtime import keras
from lamina.models.onnx_layer import OnnxFeatures, find_onnx

_BODY, _HEAD = "backbone/", "head/"  # before the names of the tensors of each
_NAMES: Final = {"rgb", "probabilities", "number"}  # of the input and the outputs
_TRANSLATED: Final = 18  # the latest version of the operators that the translator of TensorFlow knows


class Composed:
    """A saved classifier whose backbone is a network of ONNX.

    Args:
        model: a Keras model.
        layer: its layer that computes by a network of ONNX.
        translate: from a Keras model to a model of `onnx`, for a version of the operators.
    """

    def __init__(self, model: Any, layer: OnnxFeatures, translate: Callable[[Any, int], Any]) -> None:
        if layer.one_by_one:
            raise UserError(
                "export: the ONNX file of this run's backbone takes one picture at a time, and an export any number; "
                "export the file again with a dynamic batch, and train the run again"
            )
        self._layer, self._translate = layer, translate
        self._head = keras.Model(layer.output, model.output)

    @cached_property
    def onnx(self) -> Any:
        """The network in ONNX; its input is `rgb`, its output `probabilities` or `number`."""
        body = onnx.load_model_from_string(self._layer.network)
        version = next(one.version for one in body.opset_import if one.domain in ("", "ai.onnx"))
        head = self._translate(self._head, min(version, _TRANSLATED))
        if version > _TRANSLATED:
            head = onnx.version_converter.convert_version(head, version)
        if not _NAMES.isdisjoint(name for node in body.graph.node for name in (*node.input, *node.output)):
            body = onnx.compose.add_prefix(body, _BODY)
        return compose(body, onnx.compose.add_prefix(head, _HEAD))


def find_exported(model: Any) -> OnnxFeatures | None:
    """Return the layer of a saved network that computes by a network of ONNX; None if there is none.

    Raises:
        UserError: if it is an ensemble with a member that has such a layer: no format can hold it.
    """
    layer = find_onnx(model)
    if layer is None and any(map(find_onnx, members_of(model))):
        raise UserError(
            "export: an ensemble with a backbone from an ONNX file cannot be written; export its runs one by one"
        )
    return layer


def compose(body: Any, head: Any) -> Any:
    """Append a head to a network, both of one input and one output; the names of the two must differ.

    Args:
        body: a model of `onnx`, without tensors of `_NAMES`.
        head: likewise; its input is the body's output, and its output gets the name it had before the prefix.
    """
    joined = type(body)()
    joined.CopyFrom(body)
    graph, answer = joined.graph, head.graph.output[0].name
    names = {body.graph.input[0].name: "rgb", head.graph.input[0].name: body.graph.output[0].name}
    names[answer] = answer.removeprefix(_HEAD)
    graph.node.extend(head.graph.node)
    graph.initializer.extend(head.graph.initializer)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    graph.input[0].name = "rgb"
    del graph.output[:]
    graph.output.extend(head.graph.output)
    graph.output[0].name = names[answer]
    return joined
