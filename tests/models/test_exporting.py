"""Exports answer as Keras does, are the same bytes each time, and tell nobody that they were made."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.files import file_digest
from lamina.models.exporting import FORMATS, TOLERANCE, compare, export_model, output_of
from lamina.models.networks import build_head, build_network, join

SIZE = 16
CLASSES = ["cat", "dog", "owl"]
EXACT = [name for name, form in FORMATS.items() if form.is_exact]
CHANNELS = 200  # more than TensorFlow writes into a graph by itself


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def joined() -> Any:
    """A head on a nested backbone, with what a graph holds beside variables: conventions and statistics."""
    import keras

    pixels = keras.Input((SIZE, SIZE, 3), name="rgb")
    convention = keras.Model(pixels, keras.applications.densenet.preprocess_input(pixels), name="input_convention")
    inside = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.BatchNormalization()(keras.layers.Conv2D(CHANNELS, 3, strides=2)(inside))
    trunk = keras.Model(inside, maps, name="backbone")
    pooled = keras.layers.GlobalAveragePooling2D()(trunk(convention(pixels), training=False))
    extractor = keras.Model(pixels, pooled)
    draw = np.random.default_rng(1)
    mean, variance = draw.normal(size=CHANNELS), draw.uniform(0.5, 2, CHANNELS)
    return join(extractor, build_head(CHANNELS, len(CLASSES), dropout=0.5, mean=mean, variance=variance, seed=1))


MODELS = {"joined": joined, "small_cnn": lambda: build_network("small_cnn", SIZE, len(CLASSES), dropout=0.5, seed=1)}


@pytest.fixture(scope="module", params=MODELS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "model.keras"
    MODELS[request.param]().save(path)
    return path


def load(saved: Path) -> Any:
    from lamina.models.loading import load_model

    return load_model(saved)


@pytest.fixture(scope="module")
def exported(saved: Path) -> Path:
    out = saved.parent / "exported"
    export_model(load(saved), EXACT, out, pictures(20), {"run": "tiny", "classes": CLASSES})
    return out


@pytest.fixture(scope="module")
def expected(saved: Path) -> np.ndarray:
    return load(saved).predict(pictures(7).astype(np.float32), verbose=0)


def test_onnx_answers_as_keras_to_whoever_reads_only_its_description(exported: Path, expected: np.ndarray) -> None:
    import onnxruntime

    told = json.loads((exported / "onnx" / "export.json").read_text())
    session = onnxruntime.InferenceSession(exported / "onnx" / "model.onnx")
    assert [one.name for one in session.get_inputs()] == [told["input"]["name"]]
    assert session.get_inputs()[0].shape[1:] == told["input"]["shape"][1:] == [SIZE, SIZE, 3]
    (found,) = session.run(None, {told["input"]["name"]: pictures(7).astype(told["input"]["type"])})
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_openvino_answers_as_keras(exported: Path, expected: np.ndarray) -> None:
    import openvino

    compiled = openvino.compile_model(exported / "openvino" / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(pictures(7).astype(np.float32))[0], expected, atol=TOLERANCE)


def test_litert_answers_as_keras_picture_by_picture(exported: Path, expected: np.ndarray) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(exported / "litert" / "model.tflite"))
    interpreter.allocate_tensors()
    for picture, answer in zip(pictures(7).astype(np.float32), expected, strict=True):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(found[0], answer, atol=TOLERANCE)


def test_the_description_fits_the_files(exported: Path) -> None:
    for name, form in ((name, FORMATS[name]) for name in EXACT):
        told = json.loads((exported / name / "export.json").read_text())
        assert {path.name for path in (exported / name).iterdir()} == {*form.files, "export.json"}
        for file in form.files:
            path = exported / name / file
            assert told["files"][file] == {"sha256": file_digest(path), "bytes": path.stat().st_size}
        assert (told["classes"], told["run"], told["format"]) == (CLASSES, "tiny", name)
        assert told["checked"]["pictures"] == told["checked"]["same_class"] == 20
        assert told["checked"]["greatest_difference"] <= told["checked"]["tolerance"]


def test_the_same_model_is_the_same_bytes(saved: Path, exported: Path, tmp_path: Path) -> None:
    """Also where other networks were built meanwhile, which moves on the counters of a process."""
    MODELS["small_cnn"]()
    export_model(load(saved), EXACT, tmp_path, pictures(20), {"run": "tiny", "classes": CLASSES})
    for name, form in ((name, FORMATS[name]) for name in EXACT):
        for file in (*form.files, "export.json"):
            assert (tmp_path / name / file).read_bytes() == (exported / name / file).read_bytes(), f"{name}/{file}"


def test_no_use_is_reported(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's converter for TensorFlow keeps a client's id in the home folder before it reports its use."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    export_model(load(saved), ["openvino"], tmp_path / "out", pictures(1), {})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_answers_of_eight_bits_are_not_rounded_to_256_values() -> None:
    """The last layer keeps float32; a linear classifier has no other: its weights have 8 bits, its answers do not."""
    from lamina.models.exporting import freeze
    from lamina.models.quantizing import quantize

    def kinds(model: Any) -> list[str]:
        rows = np.random.default_rng(0).random((8, 12)).astype(np.float32)
        network = quantize(freeze(model).onnx, rows)
        return [node.op_type for node in network.graph.node if node.op_type != "DequantizeLinear"]

    import keras

    words = keras.Input((12,))
    hidden = keras.layers.Dense(6, activation="relu")(words)
    dense = keras.Model(words, keras.layers.Dense(2, activation="softmax")(hidden))
    assert kinds(dense)[-2:] == ["MatMul", "Softmax"]
    linear = kinds(keras.Model(words, keras.layers.Dense(2, activation="softmax")(words)))
    assert linear[-1] == "Softmax"
    assert "QuantizeLinear" in linear


@pytest.mark.parametrize("spoil", [lambda p: p + 2 * TOLERANCE, lambda p: p * np.nan, lambda p: p[:, :2]])
def test_another_answer_is_refused(spoil: Any) -> None:
    given = np.full((4, 3), 1 / 3)
    with pytest.raises(UserError, match="onnx answers differently from Keras: probabilities by up to"):
        compare("onnx", given, spoil(given))
    assert compare("onnx", given, given + TOLERANCE / 2)["greatest_difference"] == pytest.approx(TOLERANCE / 2)


@pytest.mark.parametrize(("scale", "offset"), [(0.6, 2000.0), (4.0, 10.0), (1e-9, 0.0)])
def test_a_number_may_differ_by_its_last_digit(scale: float, offset: float) -> None:
    import keras

    given = keras.Input((SIZE, SIZE, 3))
    number = keras.layers.Rescaling(scale, offset=offset)(keras.layers.Dense(1)(keras.layers.Flatten()(given)))
    gives = output_of(keras.Model(given, number))
    found = np.array([[offset], [offset + 2 * scale]], np.float32)
    compare("onnx", found, found + np.spacing(found), gives)
    with pytest.raises(UserError, match="number by up to"):
        compare("onnx", found, found + np.float32(0.01 * scale), gives)


def test_a_refused_export_leaves_the_one_before(tmp_path: Path) -> None:
    import keras

    @keras.saving.register_keras_serializable("lamina-tests")
    class Foreign(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            import tensorflow as tf

            return tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), x.shape)

    pixels = keras.Input((SIZE, SIZE, 3), name="rgb")
    flat = keras.layers.Flatten()(Foreign()(pixels))
    model = keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(flat))
    (tmp_path / "onnx").mkdir()
    for file in ("model.onnx", "export.json"):
        (tmp_path / "onnx" / file).write_text("of before")
    with pytest.raises(UserError, match=r"cannot be written as onnx|onnx answers differently"):
        export_model(model, ["onnx"], tmp_path, pictures(2), {})
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]
    assert (tmp_path / "onnx" / "model.onnx").read_text() == "of before"


def test_a_folder_that_is_no_export_is_kept(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"onnx: holds no export, and would be lost; give another folder with --out"):
        export_model(load(saved), ["onnx"], tmp_path, pictures(2), {"run": "tiny", "classes": CLASSES})
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == ["notes.txt"]
