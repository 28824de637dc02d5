"""ONNX files: what is read, and what is refused in one line that says what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lamina.errors import UserError
from lamina.models import onnx_file
from lamina.models.onnx_file import read_network
from onnx_files import patches, pooled, value, write


def relu(path: Path, *inputs: Any) -> Path:
    """A network that does almost nothing, to look at its inputs."""
    nodes = [helper.make_node("Relu", [inputs[0].name], ["first"])]
    if len(inputs) > 1:
        nodes.append(helper.make_node("Add", ["first", inputs[1].name], ["sum"]))
    return write(path, nodes, inputs, [value("sum" if len(inputs) > 1 else "first", None)])


def test_what_an_output_does_not_need_is_left_out(tmp_path: Path) -> None:
    network = read_network(pooled(tmp_path / "one.onnx", classes=4, softmax=True), "maps")
    assert [node.op_type for node in network.model.graph.node] == ["Conv"]
    assert [one.name for one in network.model.graph.initializer] == ["kernel"]
    assert (network.input, network.output, network.channels_first, network.side) == ("pictures", "maps", True, None)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (["n", 3, "h", "w"], (True, None, False)),
        ([1, 3, 8, 8], (True, 8, True)),
        (["n", 8, 8, 3], (False, 8, False)),
        ([-1, 3, -1, -1], (True, None, False)),
        (["batch_size", "num_channels", "height", "width"], (True, None, False)),
    ],
    ids=str,
)
def test_the_input_is_found_from_its_shape(shape: list[int | str], expected: object, tmp_path: Path) -> None:
    network = read_network(relu(tmp_path / "one.onnx", value("pictures", shape)), None)
    assert (network.channels_first, network.side, network.one_by_one) == expected


def test_a_constant_that_older_files_list_as_an_input_is_none(tmp_path: Path) -> None:
    path = pooled(tmp_path / "one.onnx")
    model = onnx.load(path)
    model.graph.input.append(value("kernel", [5, 3, 3, 3]))
    onnx.save(model, path)
    assert read_network(path, None).input == "pictures"


def test_older_operators_are_converted(tmp_path: Path) -> None:
    nodes = [helper.make_node("Dropout", ["pictures"], ["first"], ratio=0.5)]  # `ratio` is no attribute since 12
    inputs = [value("pictures", ["n", 3, 8, 8])]
    path = write(tmp_path / "one.onnx", nodes, inputs, [value("first", ["n", 3, 8, 8])], opset=9)
    network = read_network(path, None)
    assert network.model.opset_import[0].version == onnx_file.OPSET
    (dropout,) = [node for node in network.model.graph.node if node.op_type == "Dropout"]
    assert not dropout.attribute


# ---- refusals


def with_external_data(path: Path) -> Path:
    pooled(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def broken(path: Path) -> Path:
    path.write_bytes(b"no network at all" * 100)
    return path


def pair(path: Path) -> Path:
    return relu(path, value("pictures", ["n", 3, 8, 8]), value("ids", ["n", 3, 8, 8]))


def with_dropout(path: Path, *names: str) -> Path:
    """A dropout whose third input says whether it is training."""
    nodes = [
        helper.make_node("Constant", [], ["off"], value=numpy_helper.from_array(np.array(False))),
        helper.make_node("Dropout", ["pictures", "rate", *names], ["first"]),
    ]
    constants = {"rate": np.array(0.5, np.float32), "on": np.array(True)}
    pictures = [value("pictures", ["n", 3, 8, 8])]
    return write(path, nodes, pictures, [value("first", ["n", 3, 8, 8])], constants)


def with_batch_statistics(path: Path) -> Path:
    inputs, outputs = ["pictures", *["three"] * 4], ["first", "mean", "variance"]
    node = helper.make_node("BatchNormalization", inputs, outputs, training_mode=1)
    pictures = [value("pictures", ["n", 3, 8, 8])]
    return write(path, [node], pictures, [value("first", None)], {"three": np.ones(3, np.float32)})


def with_noise(path: Path) -> Path:
    node = helper.make_node("RandomNormalLike", ["pictures"], ["first"])
    return write(path, [node], [value("pictures", ["n", 3, 8, 8])], [value("first", None)])


def test_what_does_nothing_outside_of_training_is_fine(tmp_path: Path) -> None:
    for names in ([], [""], ["off"]):
        assert read_network(with_dropout(tmp_path / "one.onnx", *names), None).output == "first"


def old(path: Path) -> Path:
    nodes = [helper.make_node("Unheard", ["pictures"], ["first"])]
    return write(path, nodes, [value("pictures", ["n", 3, 8, 8])], [value("first", None)], opset=7)


@pytest.mark.parametrize(
    ("make", "output", "words"),
    [
        (lambda path: path, None, r"one\.onnx is not there; put the ONNX file there, or fetch it with `dvc pull`"),
        (broken, None, r"is no ONNX file; export the network again, see docs/networks\.md"),
        (
            with_external_data,
            None,
            r"numbers in another file, which nothing watches; make one file of them: onnx\.save",
        ),
        (
            old,
            None,
            r"has version 7 of the ONNX operators, which cannot be converted .*; export it again with version 13",
        ),
        (
            lambda path: with_dropout(path, "on"),
            None,
            r"Dropout 'first' computes as in training: .*; export it again in evaluation mode, after model\.eval\(\)$",
        ),
        (with_batch_statistics, None, r"BatchNormalization 'first' computes as in training"),
        (with_noise, None, r"RandomNormalLike 'first' computes as in training"),
        (patches, None, r"it has 2 outputs: last_hidden_state, pooler_output; set output to one of them"),
        (patches, "pooler_out", r"no output or inner tensor 'pooler_out'; did you mean 'pooler_output'\? its outputs"),
        (
            lambda path: pooled(path, softmax=True),
            None,
            r"'classes' is a softmax over classes, no features; name an earl",
        ),
        (lambda path: pooled(path, softmax=True, classes=7), None, r"name an earlier tensor, as output: features$"),
        (
            pair,
            None,
            r"it has 2 inputs \(pictures, ids\); expected one of float32 pictures, .*; export the picture enc",
        ),
        (lambda path: relu(path, value("x", ["n", 3])), None, r"input 'x' is float \(n, 3\); expected one of float32"),
        (
            lambda path: relu(path, value("x", ["n", 4, 8, 8])),
            None,
            r"'x' is float \(n, 4, 8, 8\); expected one of flo",
        ),
        (lambda path: relu(path, value("x", ["n", "s", "s", "s"])), None, r"\(n, s, s, s\); expected one of float32"),
        (lambda path: relu(path, value("x", ["n", 3, 8, 8], TensorProto.INT64)), None, r"input 'x' is int64 \(n, 3, 8"),
        (
            lambda path: relu(path, value("x", ["n", 3, 8, 9])),
            None,
            r"input is \(n, 3, 8, 9\); expected squares, and any",
        ),
        (
            lambda path: relu(path, value("x", [4, 3, 8, 8])),
            None,
            r"\(4, 3, 8, 8\); expected squares, and any number of",
        ),
    ],
)
def test_other_files_are_refused(make: Callable[[Path], Path], output: str | None, words: str, tmp_path: Path) -> None:
    path = make(tmp_path / "one.onnx")
    with pytest.raises(UserError, match=words) as caught:
        read_network(path, output)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "LIMIT", 10)
    with pytest.raises(UserError, match=r"has 0\.0 GiB; expected less than 2 GiB"):
        read_network(pooled(tmp_path / "one.onnx"), None)


def test_numbers_outside_of_the_folder_are_never_read(tmp_path: Path) -> None:
    path = pooled(tmp_path / "one.onnx")
    (tmp_path.parent / "secret.bin").write_bytes(np.zeros(5 * 27, np.float32).tobytes())
    model = onnx.load(path)
    kernel = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(kernel, location="../secret.bin")
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="numbers in another file"):
        read_network(path, None)
