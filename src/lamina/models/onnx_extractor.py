"""From an ONNX file to one ONNX network from pixels to features.

The resizing, the input convention and the pooling become nodes of the network. So the stage `extract`, the saved model
and its exports compute by the same graph.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lamina.errors import UserError
from lamina.models.onnx_file import OPSET, OnnxNetwork, last_dense, read_network
from lamina.models.onnx_options import OnnxPooling, OnnxPreprocess
from lamina.models.onnx_runtime import open_session

CLASSES_OF_IMAGENET: Final = (1000, 1001, 11821, 21841, 21843)  # outputs of its published classifiers
EXPORTED: Final = 21  # version of the operators that ONNX Runtime, OpenVINO and `lamina export` all know
AGREE: Final = 1e-3  # of the largest feature: pictures together and alone

# of RGB values 0..255: value x scale + offset; mean and deviation of ImageNet as torchvision has them
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CONVENTIONS: Final = {
    "imagenet": (1 / (255 * _DEVIATION), -_MEAN / _DEVIATION),
    "symmetric": (np.full(3, 1 / 127.5), np.full(3, -1.0)),
    "rescale": (np.full(3, 1 / 255), np.zeros(3)),
    "none": (np.ones(3), np.zeros(3)),
}


class _Nodes:
    """Nodes that are added to a graph, with names that it does not have."""

    def __init__(self, graph: Any) -> None:
        names = {name for node in graph.node for name in (node.name, *node.input, *node.output)}
        self.prefix = "lamina"
        while any(name.startswith(f"{self.prefix}.") for name in names):
            self.prefix += "_"
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def name(self, name: str) -> str:
        return f"{self.prefix}.{name}"

    def constant(self, values: np.ndarray) -> str:
        name = self.name(f"constant_{len(self.constants)}")
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = self.name(f"{kind.lower()}_{len(self.nodes)}")
        self.nodes.append(helper.make_node(kind, inputs, [output or name], name=name, **attributes))
        return output or name


def make_network(
    path: Path,
    *,
    output: str | None,
    preprocess: OnnxPreprocess,
    pooling: OnnxPooling,
    side: int | None,
    pictures: int,
) -> tuple[bytes, int]:
    """Build the network from pixels to features.

    Args:
        path: of the ONNX file.
        output: where it is cut (`lamina.models.onnx_file.read_network`).
        preprocess: of its input: `imagenet`: (x / 255 - mean) / deviation; `symmetric`: x / 127.5 - 1; `rescale`:
            x / 255; `none`: the RGB values 0..255 as they are.
        pooling: of its output: `avg`: mean over places or tokens; `token`: the first token; `flatten`: all values.
            An output (n, width) is used as it is.
        side: to which pictures are resized; None: the file's, or that of the pictures where it takes any.
        pictures: side of the pictures in pixels.

    Returns:
        The bytes of an ONNX file from (n, S, S, 3) float32 RGB values 0..255 to (n, width) features, for any n, or for
        n = 1 if the network takes one picture at a time; and the width.

    Raises:
        UserError: if the file cannot be used so; the message names what to write instead.
    """
    network = read_network(path, output)
    side = _side(network, side, pictures)
    before = _from_pixels(network, preprocess, pictures, side)
    shape, half = _probe(network, before, pictures, side)
    if output is None and _are_classes(shape) and (found := last_dense(network)):
        raise UserError(
            f"{path}: output {network.output!r} are {shape[1]} classes, no features; name an earlier tensor, "
            f"as output: {found}"
        )
    features = _to_features(network, before, shape, pooling, half=half)
    return _finish(network, features, before, pictures)


def _are_classes(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and shape[1] in CLASSES_OF_IMAGENET and set(shape[2:]) <= {1}


def _side(network: OnnxNetwork, side: int | None, pictures: int) -> int:
    if side is not None and network.side not in (None, side):
        raise UserError(
            f"{network.path}: it takes pictures of {network.side} pixels, and size is {side}; set size to "
            f"{network.side} or null"
        )
    return side or network.side or pictures


def _from_pixels(network: OnnxNetwork, preprocess: OnnxPreprocess, pictures: int, side: int) -> _Nodes:
    """Nodes from pixels to the network's input."""
    nodes = _Nodes(network.model.graph)
    last = nodes.add("Transpose", [nodes.name("rgb")], perm=[0, 3, 1, 2])
    if side != pictures:
        last = _resize(nodes, last, side)
    scale, offset = (values.astype(np.float32).reshape(3, 1, 1) for values in _CONVENTIONS[preprocess])
    last = nodes.add("Add", [nodes.add("Mul", [last, nodes.constant(scale)]), nodes.constant(offset)])
    if network.channels_first:
        nodes.add("Identity", [last], network.input)
    else:
        nodes.add("Transpose", [last], network.input, perm=[0, 2, 3, 1])
    return nodes


def _resize(nodes: _Nodes, pixels: str, side: int) -> str:
    """Bilinear, to a side. Sizes, not scales: a scale can miss the side by one pixel."""
    starts, ends = nodes.constant(np.array([0])), nodes.constant(np.array([1]))
    count = nodes.add("Slice", [nodes.add("Shape", [pixels]), starts, ends])
    sizes = nodes.add("Concat", [count, nodes.constant(np.array([3, side, side]))], axis=0)
    return nodes.add("Resize", [pixels, "", "", sizes], mode="linear", coordinate_transformation_mode="half_pixel")


def _probe(network: OnnxNetwork, before: _Nodes, pictures: int, side: int) -> tuple[tuple[int, ...], bool]:
    """Run the network on one picture; return the shape of its output, and whether it is float16."""
    model = _assembled(network, before, network.output, pictures, 1)
    try:
        (found,) = open_session(model.SerializeToString()).run(None, {before.name("rgb"): _noise(1, pictures)})
    except Exception as error:  # of many types
        if reason := _problem(network):
            raise UserError(
                f"{network.path}: ONNX Runtime cannot open it ({reason}); export it again, with the standard operators "
                f"of version {OPSET} to {EXPORTED}"
            ) from None
        raise UserError(
            f"{network.path}: it cannot compute a picture of {side} pixels ({_end_of(error)}); set size to what it "
            "takes, as size: 224"
        ) from None
    if getattr(found, "dtype", None) not in (np.float32, np.float16) or found.shape[:1] != (1,):
        kind = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise UserError(
            f"{network.path}: output {network.output!r} is {kind} for one picture; expected float32 with a row for it"
        )
    return found.shape, found.dtype == np.float16


def _problem(network: OnnxNetwork) -> str | None:
    """Why the network cannot be opened, whatever the size of pictures is; None if it can."""
    try:
        open_session(network.model.SerializeToString())
    except Exception as error:  # of many types
        return _end_of(error)
    return None


def _end_of(error: Exception) -> str:
    """The last words of the first line, which begins with places in the source code of ONNX Runtime."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][-200:]


def _to_features(
    network: OnnxNetwork, nodes: _Nodes, shape: tuple[int, ...], pooling: OnnxPooling, *, half: bool
) -> str:
    """Add nodes from the network's output to features; return the name of the features."""
    rank, last = len(shape), network.output
    if rank not in (2, 3, 4) or (pooling == "token" and rank != 3):
        expected = "(1, tokens, width)" if pooling == "token" else "2 to 4 dimensions"
        raise UserError(
            f"{network.path}: output {network.output!r} is {shape} for one picture; pooling: {pooling} takes {expected}"
        )
    if half:
        last = nodes.add("Cast", [last], to=onnx.TensorProto.FLOAT)
    if rank > 2 and pooling == "avg":
        if not _channels_first(network, shape):
            last = nodes.add("Transpose", [last], perm=[0, rank - 1, *range(1, rank - 1)])
        last = nodes.add("GlobalAveragePool", [last])
    if rank == 3 and pooling == "token":
        last = nodes.add("Gather", [last, nodes.constant(np.array(0))], axis=1)
    return nodes.add("Flatten", [last], nodes.name("features"), axis=1)


def _channels_first(network: OnnxNetwork, shape: tuple[int, ...]) -> bool:
    """Whether feature maps are (n, channels, h, w); tokens are (n, tokens, channels)."""
    if len(shape) == 3:
        return False
    first, last = shape[2] == shape[3], shape[1] == shape[2]  # pictures are squares, and so are maps
    return network.channels_first if first == last else first


def _finish(network: OnnxNetwork, features: str, nodes: _Nodes, pictures: int) -> tuple[bytes, int]:
    """Assemble the network; for any number of pictures if it computes two as it computes each."""
    rgb, pair = nodes.name("rgb"), _noise(2, pictures)
    single = _assembled(network, nodes, features, pictures, 1).SerializeToString(deterministic=True)
    session = open_session(single)
    alone = np.concatenate([session.run([features], {rgb: one[None]})[0] for one in pair])
    del session
    many = _assembled(network, nodes, features, pictures, "n", width=alone.shape[1]).SerializeToString(
        deterministic=True
    )
    try:
        (together,) = open_session(many).run([features], {rgb: pair})
        agree = np.abs(together - alone).max() <= AGREE * np.abs(alone).max()
    except Exception:  # shapes inside the network hold the batch that it was exported with
        agree = False
    return many if agree else single, alone.shape[1]


def _assembled(
    network: OnnxNetwork, nodes: _Nodes, output: str, pictures: int, count: int | str, width: int | None = None
) -> Any:
    """The network with the nodes around it."""
    model = type(network.model)()
    model.CopyFrom(network.model)
    graph = model.graph
    split = next(place for place, node in enumerate(nodes.nodes) if network.input in node.output) + 1
    inner = list(network.model.graph.node)
    after = nodes.nodes[split:] if output != network.output else []
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*nodes.nodes[:split], *inner, *after])
    graph.initializer.extend(nodes.constants)
    shape = [count, pictures, pictures, 3]
    graph.input.append(helper.make_tensor_value_info(nodes.name("rgb"), onnx.TensorProto.FLOAT, shape))
    graph.output.append(
        helper.make_empty_tensor_value_info(output)
        if output == network.output
        else helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [count, width])
    )
    return model


def _noise(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, side, side, 3)).astype(np.float32)
