"""ONNX files for tests: of our own networks, and made by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def of_backbone(path: Path, trunk: Any, *, channels_first: bool = False, batch: int | None = None) -> Path:
    """Write a backbone of Keras, from prepared pictures to feature maps."""
    import tf2onnx

    from lamina.models.keras_runtime import tf

    spec = tf.TensorSpec((batch, *trunk.input.shape[1:]), tf.float32, name="prepared")
    call = tf.function(lambda prepared: trunk(prepared, training=False), autograph=False)
    options = {"inputs_as_nchw": ["prepared:0", "prepared"]} if channels_first else {}
    tf2onnx.convert.from_function(call, input_signature=[spec], opset=15, output_path=str(path), **options)
    return path


def value(name: str, shape: Sequence[int | str] | None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def write(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
) -> Path:
    """Write a graph made by hand."""
    stored = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "by hand", list(inputs), list(outputs), stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def pooled(path: Path, *, batch: int | str = "n", width: int = 5, softmax: bool = False, classes: int = 0) -> Path:
    """Write a convolution, its mean as `features`, and, with classes, a dense layer after it, `logits` or `classes`."""
    draw = np.random.default_rng(3)
    constants = {"kernel": draw.normal(size=(width, 3, 3, 3)).astype(np.float32) / 100}
    nodes = [
        helper.make_node("Conv", ["pictures", "kernel"], ["maps"], kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["maps"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["features"]),
    ]
    last = "features"
    if classes:
        constants["weights"] = draw.normal(size=(width, classes)).astype(np.float32)
        nodes.append(helper.make_node("Gemm", ["features", "weights"], [last := "logits"]))
    if softmax:
        nodes += [
            helper.make_node("Softmax", [last], ["shares"]),
            helper.make_node("Identity", ["shares"], [last := "classes"]),
        ]
    inputs, shape = [value("pictures", [batch, 3, "h", "w"])], [batch, classes or width]
    return write(path, nodes, inputs, [value(last, shape)], constants)


def patches(path: Path, *, side: int = 16, patch: int = 4, width: int = 6, batch: int | str = "n") -> Path:
    """Write what starts a vision transformer: patches and a class token, (n, tokens, width), each with its place added.

    The number of tokens is fixed, as in most files of such networks; and so is the batch where it is a number.
    """
    draw, count = np.random.default_rng(4), (side // patch) ** 2
    constants = {
        "kernel": draw.normal(size=(width, 3, patch, patch)).astype(np.float32) / 100,
        "token": draw.normal(size=(1, 1, width)).astype(np.float32),
        "places": draw.normal(size=(1, count + 1, width)).astype(np.float32),
        "shape": np.array([batch if isinstance(batch, int) else 0, width, count]),
        "zero": np.zeros((1,), np.float32),
    }
    first = [
        helper.make_node("Conv", ["pixel_values", "kernel"], ["maps"], kernel_shape=[patch] * 2, strides=[patch] * 2),
        helper.make_node("Reshape", ["maps", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["patches", "start", "end", "axis"], ["one"]),
        helper.make_node("Mul", ["one", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "token"], ["tokens_first"]),
        helper.make_node("Concat", ["tokens_first", "patches"], ["tokens"], axis=1),
        helper.make_node("Add", ["tokens", "places"], ["placed"]),
        helper.make_node("MatMul", ["placed", "mixing"], ["last_hidden_state"]),
        helper.make_node("Gather", ["last_hidden_state", "first"], ["pooler_output"], axis=1),
    ]
    constants |= {name: np.array([number]) for name, number in (("start", 0), ("end", 1), ("axis", 1))}
    constants |= {"mixing": draw.normal(size=(width, width)).astype(np.float32), "first": np.array(0)}
    shape = [batch, "num_channels", "height", "width"]  # names as files of this kind have them
    outputs = [value("last_hidden_state", [batch, count + 1, width]), value("pooler_output", [batch, width])]
    return write(path, first, [value("pixel_values", shape)], outputs, constants)


def renamed(path: Path, names: dict[str, str]) -> Path:
    """Give tensors of a file other names, in place."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for one in model.graph.input:
        one.name = names.get(one.name, one.name)
    onnx.save(model, path)
    return path
