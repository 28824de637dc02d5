"""Reading of networks from ONNX files: what is checked, and how one output is cut out.

The numbers of a network must be in the file itself. Nothing but the ONNX format is read, and nothing is executed here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import onnx

from lamina.config import nearest
from lamina.errors import UserError
from lamina.models.onnx_runtime import refers_to_files

LIMIT: Final = 2**31 - 2**20  # bytes; a message of Protocol Buffers has at most 2 GiB
OPSET: Final = 13  # files of an older version of the operators are converted to this one
_LISTED: Final = 12  # names in an error message

_PASSING: Final = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Dropout")
_POOLING: Final = ("GlobalAveragePool", "AveragePool", "ReduceMean", "Relu", "Add")
_DENSE: Final = ("Gemm", "MatMul", "Conv")
_SOFTMAX: Final = ("Softmax", "LogSoftmax")
_DRAWING: Final = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


@dataclass(frozen=True, kw_only=True)
class OnnxNetwork:
    """A network with one input and one output.

    Attributes:
        model: of `onnx`; nothing in it that the output does not need.
        path: of its file, for error messages.
        input: name of the input.
        output: name of the output.
        channels_first: whether the input is (n, 3, side, side), not (n, side, side, 3).
        side: of the input in pixels; None: any.
        one_by_one: whether the file's batch is one picture.
    """

    model: Any
    path: Path
    input: str
    output: str
    channels_first: bool
    side: int | None
    one_by_one: bool


def read_network(path: Path, output: str | None) -> OnnxNetwork:
    """Read a network from pictures to one tensor.

    Args:
        path: of the file.
        output: name of an output, or of any tensor inside the network, where it is cut; None: the only output.

    Raises:
        UserError: if the file is missing, too large, broken, or in pieces; if the output is unknown, not given though
            there are several, or a softmax; if it computes as in training; or if the input is no picture.
    """
    model = _read(path)
    chosen = _choose_output(model.graph, path, output)
    _cut(model.graph, chosen)
    if node := next(filter(partial(_is_of_training, model.graph), model.graph.node), None):
        raise UserError(
            f"{path}: {node.op_type} {node.name or node.output[0]!r} computes as in training: what it gives of a "
            "picture changes with chance, or with the others; export it again in evaluation mode, after model.eval()"
        )
    if layer := _softmax(model.graph, chosen):
        raise UserError(
            f"{path}: output {chosen!r} is a softmax over classes, no features; {_advice(model.graph, layer)}"
        )
    return _with_input(model, path, chosen)


def last_dense(network: OnnxNetwork) -> str | None:
    """Return the input of the dense layer or convolution that an output comes from; None if there is none."""
    return _before_dense(network.model.graph, network.output)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"weights: {path} is not there; put the ONNX file there, or fetch it with `dvc pull`")
    if path.stat().st_size > LIMIT:
        raise UserError(f"weights: {path} has {path.stat().st_size / 2**30:.1f} GiB; expected less than 2 GiB")
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception:  # of Protocol Buffers
        model = None
    if model is None or not model.graph.node or not model.opset_import:
        raise UserError(f"weights: {path} is no ONNX file; export the network again, see docs/networks.md")
    if refers_to_files(model):
        raise UserError(
            f"weights: {path} has its numbers in another file, which nothing watches; make one file of them: "
            "onnx.save(onnx.load('OLD.onnx'), 'NEW.onnx')"
        )
    return _upgraded(model, path)


def _upgraded(model: Any, path: Path) -> Any:
    version = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), OPSET)
    if version >= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # of many types
        raise UserError(
            f"weights: {path} has version {version} of the ONNX operators, which cannot be converted "
            f"({_first_line(error)}); export it again with version {OPSET} or later"
        ) from None


def _choose_output(graph: Any, path: Path, output: str | None) -> str:
    outputs = [str(one.name) for one in graph.output]
    if output is None:
        if len(outputs) != 1:
            raise UserError(f"{path}: it has {len(outputs)} outputs: {_listed(outputs)}; set output to one of them")
        return outputs[0]
    inner = [name for node in graph.node for name in node.output if name]
    if output not in inner:
        near = nearest(output, inner)
        meant = f"did you mean {near!r}? " if near else ""
        raise UserError(f"{path}: no output or inner tensor {output!r}; {meant}its outputs are: {_listed(outputs)}")
    return output


def _cut(graph: Any, output: str) -> None:
    """Leave only what an output needs, in place."""
    producers = _producers(graph)
    waiting, needed, nodes = [output], {output}, set()
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or id(node) in nodes:
            continue
        nodes.add(id(node))
        new = {name for name in _used(node) if name} - needed
        needed |= new
        waiting += new
    kept = [node for node in graph.node if id(node) in nodes]
    _replace(graph.node, kept)
    for field in (graph.initializer, graph.input):
        _replace(field, [one for one in field if one.name in needed])
    _replace(graph.output, [onnx.helper.make_empty_tensor_value_info(output)])
    del graph.value_info[:]  # shapes of the batch that it was exported with


def _with_input(model: Any, path: Path, output: str) -> OnnxNetwork:
    constants = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in constants]
    expected = "expected one of float32 pictures, (n, 3, side, side) or (n, side, side, 3)"
    if len(inputs) != 1:
        names = _listed([one.name for one in inputs])
        raise UserError(f"{path}: it has {len(inputs)} inputs ({names}); {expected}; export the picture encoder alone")
    tensor = inputs[0].type.tensor_type
    kind, dims = onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), list(tensor.shape.dim)
    first = [_is_channels(dims[axis]) for axis in (1, 3)] if len(dims) == 4 else [False, False]
    if kind != "float" or not any(first):
        shape = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)
        raise UserError(f"{path}: its input {inputs[0].name!r} is {kind} ({shape}); {expected}; export it again")
    # some exporters write -1 for any size
    sides = {dim.dim_value for dim in (dims[2:] if first[0] else dims[1:3]) if dim.dim_value > 0}
    if len(sides) > 1 or dims[0].dim_value > 1:
        shape = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)
        raise UserError(f"{path}: its input is ({shape}); expected squares, and any number of them or one at a time")
    return OnnxNetwork(
        model=model,
        path=path,
        input=inputs[0].name,
        output=output,
        channels_first=first[0],
        side=next(iter(sides), None),
        one_by_one=dims[0].dim_value == 1,
    )


def _is_channels(dim: Any) -> bool:
    return dim.dim_value == 3 or (dim.dim_value < 1 and "channel" in dim.dim_param)


def _softmax(graph: Any, output: str) -> str | None:
    """The softmax that an output is, by its output's name; None if it is none."""
    node = _behind(graph, output, _PASSING)
    return node.output[0] if node is not None and node.op_type in _SOFTMAX else None


def _is_of_training(graph: Any, node: Any) -> bool:
    """Whether a node draws random numbers, or normalizes by the mean of the batch."""
    if node.op_type == "BatchNormalization":
        return any(one.name == "training_mode" and one.i for one in node.attribute)
    if node.op_type == "Dropout":
        return any(name and _value(graph, name) is not False for name in node.input[2:])
    return node.op_type in _DRAWING


def _value(graph: Any, name: str) -> Any:
    """The value of a constant of one element; None: it is no constant."""
    stored = [one for one in graph.initializer if one.name == name]
    node = _producers(graph).get(name)
    stored += [one.t for one in node.attribute if one.name == "value"] if node and node.op_type == "Constant" else []
    return onnx.numpy_helper.to_array(stored[0]).item() if stored else None


def _advice(graph: Any, output: str) -> str:
    candidate = _before_dense(graph, output)
    named = f", as output: {candidate}" if candidate else ""
    return f"name an earlier tensor{named}"


def _before_dense(graph: Any, output: str) -> str | None:
    node = _behind(graph, output, (*_PASSING, *_POOLING, *_SOFTMAX))
    return node.input[0] if node is not None and node.op_type in _DENSE else None


def _behind(graph: Any, output: str, passing: tuple[str, ...]) -> Any:
    """Go back from a tensor through nodes of some types; the first node of another type, or None."""
    producers = _producers(graph)
    node = producers.get(output)
    while node is not None and node.op_type in passing:
        node = next(
            (producers[name] for name in node.input if name in producers and not _constant(producers, name)), None
        )
    return node


def _constant(producers: dict[str, Any], name: str) -> bool:
    return bool(producers[name].op_type == "Constant")


def _producers(graph: Any) -> dict[str, Any]:
    return {name: node for node in graph.node for name in node.output if name}


def _used(node: Any) -> Iterator[str]:
    """Names of the tensors that a node needs, also in graphs inside it."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _used(inner)
            yield from (one.name for one in graph.output)


def _replace(field: Any, values: list[Any]) -> None:
    copies = [type(one).FromString(one.SerializeToString()) for one in values]
    del field[:]
    field.extend(copies)


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
