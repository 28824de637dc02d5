"""From an ONNX file to features: the numbers of Keras and NumPy, whatever the layout of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lamina.errors import UserError
from lamina.models.backbones import build_extractor
from lamina.models.onnx_extractor import make_network
from lamina.models.onnx_runtime import open_session
from onnx_files import of_backbone, patches, pooled, value, write

SIDE = 32
USUAL: dict[str, Any] = {"output": None, "preprocess": "none", "pooling": "avg", "side": None, "pictures": SIDE}


def pictures(count: int = 5, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.float32)


def features(path: Path, pixels: np.ndarray, **changes: Any) -> np.ndarray:
    """The features that the network of a file computes."""
    network, width = make_network(path, **USUAL | {"pictures": pixels.shape[1]} | changes)
    session = open_session(network)
    (name,) = (one.name for one in session.get_inputs())
    parts = np.split(pixels, len(pixels)) if session.get_inputs()[0].shape[0] == 1 else [pixels]
    found: np.ndarray = np.concatenate([session.run(None, {name: part})[0] for part in parts])
    assert found.shape == (len(pixels), width)
    return found


def echo(path: Path, *, channels_first: bool = True, side: int | str = "s", half: bool = False) -> Path:
    """Write a network whose output is its input."""
    shape = ["n", 3, side, side] if channels_first else ["n", side, side, 3]
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    node = helper.make_node("Cast", ["x"], ["y"], to=kind)
    return write(path, [node], [value("x", shape)], [value("y", shape, kind)])


@pytest.mark.parametrize(
    ("name", "channels_first"),
    [
        ("small_cnn", False),
        ("small_cnn", True),
        *(pytest.param("efficientnet_lite0", first, marks=pytest.mark.nightly) for first in (True, False)),
    ],
)
def test_features_are_those_of_the_keras_network(name: str, channels_first: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"weights": "weights/random", "pooling": "avg", "preprocess": "rescale", "seed": 1}
    model = build_extractor(name, **options, size=SIDE)
    path = of_backbone(tmp_path / "one.onnx", model.get_layer("backbone"), channels_first=channels_first)
    expected = model.predict(pictures(), verbose=0)
    found = features(path, pictures(), preprocess="rescale")
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize(
    ("preprocess", "expected"),
    [
        ("none", lambda x: x),
        ("rescale", lambda x: x / 255),
        ("symmetric", lambda x: x / 127.5 - 1),
        ("imagenet", lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ],
)
def test_conventions(preprocess: str, expected: Any, channels_first: bool, tmp_path: Path) -> None:
    path = echo(tmp_path / "one.onnx", channels_first=channels_first)
    prepared = expected(pictures().astype(np.float64))
    flat = (prepared.transpose(0, 3, 1, 2) if channels_first else prepared).reshape(len(prepared), -1)
    found = features(path, pictures(), preprocess=preprocess, pooling="flatten")
    np.testing.assert_allclose(found, flat, rtol=1e-5, atol=1e-5)
    averaged = features(path, pictures(), preprocess=preprocess)
    np.testing.assert_allclose(averaged, prepared.mean((1, 2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("side", "size"), [("s", 47), (47, None), (47, 47), (20, None)])
def test_pictures_are_resized_as_tensorflow_does(side: int | str, size: int | None, tmp_path: Path) -> None:
    from lamina.models.keras_runtime import tf

    new = size or int(side)
    expected = tf.image.resize(pictures(), (new, new)).numpy().transpose(0, 3, 1, 2).reshape(5, -1)
    found = features(echo(tmp_path / "one.onnx", side=side), pictures(), side=size, pooling="flatten")
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize("batch", ["n", 1])
def test_tokens(batch: int | str, tmp_path: Path) -> None:
    path, pixels = patches(tmp_path / "one.onnx", batch=batch), pictures(side=16)
    given = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    cut = pixels.reshape(5, 4, 4, 4, 4, 3).transpose(0, 1, 3, 5, 2, 4).reshape(5, 16, -1)
    inside = np.einsum("npk,wk->npw", cut, given["kernel"].reshape(6, -1))
    tokens = np.concatenate([np.broadcast_to(given["token"], (5, 1, 6)), inside], axis=1) + given["places"]
    expected = tokens @ given["mixing"]
    found = {
        pooling: features(path, pixels, output="last_hidden_state", pooling=pooling)
        for pooling in ("avg", "token", "flatten")
    }
    np.testing.assert_allclose(found["avg"], expected.mean(1), atol=1e-3)
    np.testing.assert_allclose(found["token"], expected[:, 0], atol=1e-3)
    np.testing.assert_allclose(found["flatten"], expected.reshape(5, -1), atol=1e-3)
    np.testing.assert_array_equal(features(path, pixels, output="pooler_output"), found["token"])


def test_a_network_that_takes_one_picture_stays_so(tmp_path: Path) -> None:
    first = [
        onnx.load_model_from_string(make_network(path, **USUAL | {"pictures": 16, "output": output})[0])
        .graph.input[0]
        .type.tensor_type.shape.dim[0]
        for path, output in [
            (patches(tmp_path / "fixed.onnx", batch=1), "pooler_output"),
            (pooled(tmp_path / "free.onnx", batch=1), None),  # nothing inside depends on the batch
        ]
    ]
    assert (first[0].dim_value, first[1].dim_param) == (1, "n")


def test_float16_becomes_float32(tmp_path: Path) -> None:
    found = features(echo(tmp_path / "one.onnx", half=True), pictures(), pooling="flatten")
    assert found.dtype == np.float32


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    path = patches(tmp_path / "one.onnx")
    options = USUAL | {"output": "pooler_output", "pictures": 16}
    assert make_network(path, **options) == make_network(path, **options)
    again = tmp_path / "again.onnx"  # its names are taken
    again.write_bytes(make_network(path, **options)[0])
    np.testing.assert_allclose(features(again, pictures(side=16)), features(path, pictures(side=16), **options))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"side": 24}, r"takes pictures of 16 pixels, and size is 24; set size to 16 or null"),
        (
            {"pooling": "token"},
            r"output 'y' is \(1, 3, 16, 16\) for one picture; pooling: token takes \(1, tokens, width",
        ),
    ],
)
def test_settings_that_do_not_fit_the_file_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        make_network(echo(tmp_path / "one.onnx", side=16), **USUAL | changes)


def test_a_side_that_the_network_cannot_compute_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot compute a picture of 32 pixels \(.*\); set size to what it takes"):
        make_network(patches(tmp_path / "one.onnx", side=16), **USUAL | {"output": "pooler_output"})


def test_operators_that_the_runtime_does_not_know_are_refused_with_the_remedy(tmp_path: Path) -> None:
    node = helper.make_node("Unheard", ["x"], ["y"])
    path = write(tmp_path / "one.onnx", [node], [value("x", ["n", 3, 32, 32])], [value("y", None)])
    words = r"cannot open it \(.*No Op registered for Unheard .*\); export it again, with the standard oper"
    with pytest.raises(UserError, match=words):
        make_network(path, **USUAL)


def test_classes_of_imagenet_are_refused_unless_they_are_asked_for(tmp_path: Path) -> None:
    path = pooled(tmp_path / "one.onnx", classes=1000)
    with pytest.raises(
        UserError, match="'logits' are 1000 classes, no features; name an earlier tensor, as output: fe"
    ):
        make_network(path, **USUAL)
    assert make_network(path, **USUAL | {"output": "logits"})[1] == 1000
    assert make_network(path, **USUAL | {"output": "features"})[1] == 5


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (
            helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64),
            r"is int64 \(1, 3, 32, 32\) for one picture; expec",
        ),
        (
            helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0),
            r"is float32 \(\) for one picture; expected float32",
        ),
        (
            helper.make_node("Unsqueeze", ["x", "axis"], ["y"]),
            r"is \(1, 1, 3, 32, 32\) for one picture; pooling: avg tak",
        ),
    ],
)
def test_outputs_that_are_no_features_are_refused(node: Any, words: str, tmp_path: Path) -> None:
    constants = {"axis": np.array([1])} if len(node.input) > 1 else None
    path = write(tmp_path / "one.onnx", [node], [value("x", ["n", 3, 32, 32])], [value("y", None)], constants)
    with pytest.raises(UserError, match=words):
        make_network(path, **USUAL)


LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"  # published networks without their weights


@pytest.mark.parametrize(("name", "output", "width"), [("squeezenet", "r61", 512), ("shufflenet", "r200", 544)])
def test_published_networks_of_older_versions(name: str, output: str, width: int) -> None:
    path = LIGHT / f"light_{name}.onnx"
    with pytest.raises(UserError, match=f"is a softmax over classes, no features; .*, as output: {output}$"):
        make_network(path, **USUAL | {"preprocess": "imagenet"})
    assert make_network(path, **USUAL | {"preprocess": "imagenet", "output": output})[1] == width
