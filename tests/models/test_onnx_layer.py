"""The layer that computes by a network of ONNX: saved, loaded safely, run by both engines, and exported."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lamina.errors import UserError
from lamina.models.averaging import average
from lamina.models.engine import compile_engine
from lamina.models.exporting import TOLERANCE, export_model, freeze
from lamina.models.keras_runtime import keras
from lamina.models.layers import unfreeze
from lamina.models.loading import load_model
from lamina.models.networks import build_head, join
from lamina.models.onnx_extractor import make_network
from lamina.models.onnx_layer import OnnxFeatures, find_onnx
from lamina.models.saving import needs_lamina, save_model
from onnx_files import patches, renamed

SIDE, CLASSES = 12, ["cat", "dog", "owl"]  # pictures are smaller than what the network takes


def pictures(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.uint8)


def extractor(folder: Path, batch: int | str, names: dict[str, str] | None = None) -> Any:
    options: dict[str, Any] = {"output": "pooler_output", "preprocess": "imagenet", "pooling": "avg", "side": 16}
    file = renamed(patches(folder / "file.onnx", batch=batch), names or {})
    network, width = make_network(file, **options, pictures=SIDE)
    pixels = keras.Input((SIDE, SIDE, 3), name="rgb")
    return keras.Model(pixels, OnnxFeatures(width, network, name="backbone")(pixels), name="extractor")


def classifier(body: Any) -> Any:
    width = body.output.shape[-1]
    head = build_head(width, 3, dropout=0.5, mean=np.zeros(width), variance=np.ones(width), seed=1)
    return join(body, head)


@pytest.fixture(scope="module", params=["n", 1], ids=["any batch", "one by one"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return extractor(tmp_path_factory.mktemp("made"), request.param)


@pytest.fixture(scope="module")
def saved(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    save_model(classifier(made), path)
    return path


def test_the_same_model_is_the_same_file_which_holds_the_network(made: Any, tmp_path: Path) -> None:
    for name in ("one.keras", "two.keras"):
        save_model(made, tmp_path / name)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.keras") as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".onnx")]
        assert archive.read(name) == find_onnx(made).network
    assert find_onnx(load_model(tmp_path / "one.keras")).network == find_onnx(made).network


def test_a_saved_model_predicts_the_same(saved: Path, made: Any) -> None:
    model = load_model(saved)
    features = made.predict(pictures(), verbose=0)
    found = model.predict(pictures(), verbose=0)
    np.testing.assert_allclose(found, model.get_layer("head").predict(features, verbose=0), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    alone = np.concatenate([model.predict(pictures()[place : place + 1], verbose=0) for place in range(5)])
    np.testing.assert_allclose(found, alone, atol=1e-6)


def test_a_model_says_whether_it_needs_lamina(saved: Path, tmp_path: Path) -> None:
    save_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), tmp_path / "plain.keras")
    assert needs_lamina(saved)
    assert not needs_lamina(tmp_path / "plain.keras")


def rewritten(saved: Path, path: Path, change: Any) -> Path:
    """Copy a saved model with another ONNX network or configuration in it."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return path


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras looks for it at a second place
def test_a_network_that_refers_to_another_file_is_not_loaded(saved: Path, tmp_path: Path) -> None:
    def outside(name: str, content: bytes) -> bytes:
        if not name.endswith(".onnx"):
            return content
        model = onnx.load_model_from_string(content)
        tensor = model.graph.initializer[0]
        onnx.external_data_helper.set_external_data(tensor, location="/etc/hostname")
        tensor.ClearField("raw_data")
        return model.SerializeToString()

    with pytest.raises(UserError, match="not a model that Keras can load"):
        load_model(rewritten(saved, tmp_path / "model.keras", outside))


def test_a_layer_that_would_run_code_is_not_loaded(saved: Path, tmp_path: Path) -> None:
    def other(name: str, content: bytes) -> bytes:
        if name != "config.json":
            return content
        text = content.decode().replace('"OnnxFeatures"', '"system"').replace("lamina.models.onnx_layer", "os")
        return text.replace("lamina>OnnxFeatures", "system").encode()

    with pytest.raises(UserError, match="not a model that Keras can load"):
        load_model(rewritten(saved, tmp_path / "model.keras", other))


def test_a_file_with_a_broken_byte_is_reported_in_one_line(saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        weights = archive.getinfo("model.weights.h5")
    content[weights.header_offset + weights.file_size // 2] ^= 1
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(UserError, match=r"not a model that Keras can load: Bad CRC-32 for file 'model\.weights\.h5'$"):
        load_model(tmp_path / "model.keras")


def test_openvino_computes_the_same(made: Any) -> None:
    engine = compile_engine(made, "float32")
    expected = made.predict(pictures(40), verbose=0)
    assert (engine.name, engine.batch == 1) == ("OpenVINO", find_onnx(made).one_by_one)
    found = engine.features(pictures(40))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(engine.features(pictures(40)), found)


def test_it_cannot_be_fine_tuned(saved: Path) -> None:
    with pytest.raises(UserError, match="fine_tune: a backbone from an ONNX file cannot learn; leave fine_tune out"):
        unfreeze(load_model(saved), 1)


# ---- exports


def test_exports_are_the_file_and_the_head_in_one(tmp_path: Path) -> None:
    save_model(classifier(extractor(tmp_path, "n")), tmp_path / "model.keras")
    model = load_model(tmp_path / "model.keras")
    for out in (tmp_path / "one", tmp_path / "two"):
        done = export_model(model, ["onnx", "openvino"], out, pictures(20), {"classes": CLASSES})
    assert ["probabilities within " in one.checked for one in done] == [True, True]
    for name in ("onnx/model.onnx", "openvino/model.xml", "openvino/model.bin"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    import onnxruntime

    described = json.loads((tmp_path / "one" / "onnx" / "export.json").read_text())
    session = onnxruntime.InferenceSession(tmp_path / "one" / "onnx" / "model.onnx")
    (found,) = session.run(["probabilities"], {described["input"]["name"]: pictures(7).astype(np.float32)})
    np.testing.assert_allclose(found, model.predict(pictures(7), verbose=0), atol=TOLERANCE)


def test_an_export_has_the_names_of_its_task_whatever_those_in_the_file_are(tmp_path: Path) -> None:
    body = extractor(tmp_path, "n", {"pixel_values": "rgb", "placed": "number"})
    one = keras.layers.Dense(1)(body.output)
    number = keras.Model(body.input, keras.layers.Rescaling(3.0, offset=50.0)(one))
    (done,) = export_model(number, ["onnx"], tmp_path / "out", pictures(20), {})
    graph = onnx.load(done.folder / "model.onnx").graph
    assert ([one.name for one in graph.input], [one.name for one in graph.output]) == (["rgb"], ["number"])
    with pytest.raises(UserError, match="an ensemble with a backbone from an ONNX file cannot be written; export its "):
        freeze(average({"one": classifier(body), "two": keras.models.clone_model(classifier(body))}))


def test_what_cannot_be_exported_is_refused_before_anything_is_written(saved: Path, tmp_path: Path) -> None:
    model = load_model(saved)
    words = "takes one picture at a time" if find_onnx(model).one_by_one else "litert cannot hold a backbone from an ON"
    with pytest.raises(UserError, match=words):
        export_model(model, ["onnx", "litert"], tmp_path, pictures(2), {})
    assert not list(tmp_path.iterdir())
