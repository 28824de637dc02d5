"""A system whose features come from an ONNX file: extracted, trained on, evaluated, predicted with, and exported."""

import json
from pathlib import Path

import numpy as np
import pytest

from lamina.commands.export import export
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.inputs.features import FeaturesSettings
from lamina.inputs.index import read_split
from lamina.models.backbones import build_extractor
from lamina.models.keras_runtime import keras
from lamina.models.loading import load_model
from lamina.results.record import read_record
from lamina.stages.evaluate import evaluate
from lamina.stages.extract import extract_features, timing_path
from onnx_files import of_backbone
from systems import HEAD, params_of, stage_of, train_run, write_stripes

SIDE = 32
RUN = HEAD | {"input": "features/file", "epochs": 12}
ENTRY = {"backbone": "onnx", "weights": "pretrained/cnn.onnx", "pooling": "avg", "preprocess": "symmetric"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes, and the network `small_cnn` with random weights as an ONNX file."""
    root = write_stripes(tmp_path_factory.mktemp("system"), train=60, validation=16, test=16, side=SIDE)
    (root / "pretrained").mkdir()
    of_backbone(root / "pretrained" / "cnn.onnx", small_cnn().get_layer("backbone"), channels_first=True)
    sections = {"features": {"file": ENTRY}, "convert": {"size": SIDE, "isolate": "none"}}
    (root / "params.yaml").write_text(json.dumps(params_of({"run": RUN}, **sections)))
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def small_cnn() -> keras.Model:
    options = {"weights": "weights/random", "pooling": "avg", "preprocess": "native", "seed": 1}
    return build_extractor("small_cnn", **options, size=SIDE)


def extracted(out: Path) -> Path:
    keras.backend.clear_session()  # as in a process of its own: layers are counted from the first again
    extract_features(FeaturesSettings.model_validate(ENTRY), Folders(), out, seed=1)
    return out


def test_features_of_a_file_are_those_of_its_network_and_the_same_each_time(tmp_path: Path) -> None:
    made = extracted(tmp_path / "one")
    pixels = open_rows(read_split(Folders()), Folders()).read(np.arange(10)).astype(np.float32)
    expected = small_cnn().predict(pixels, verbose=0)
    np.testing.assert_allclose(np.load(made / "features.npy")[:10], expected, rtol=2e-3, atol=1e-4)
    assert json.loads(timing_path(made).read_text())["engine"] == "OpenVINO"
    again = extracted(tmp_path / "two")
    for name in ("features.npy", "backbone.keras", "index.json"):
        assert (made / name).read_bytes() == (again / name).read_bytes(), name


def test_a_run_over_a_file_is_one_model_that_every_reader_uses(system: Path) -> None:
    extracted(Folders().features / "file")
    out = Path("models/run")
    train_run(stage_of(RUN, out))
    evaluate(Folders(), out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] >= 0.75
    assert (out / "sheets" / "looked_at.png").stat().st_size > 1000
    facts = read_record(out).data["weights"]
    assert facts == {
        "trained_on": "unknown data: cnn.onnx",
        "source": "cnn.onnx",
        "sha256": file_digest(Path(ENTRY["weights"])),
        "license": "not known; see where the file came from",
    }
    with pytest.raises(UserError, match="export: litert cannot hold a backbone from an ONNX file; write --format onnx"):
        export(system, "run", ["onnx", "litert"])
    lines = export(system, "run", ["onnx", "openvino"])
    assert len(lines) == 2
    assert all("of Keras" in line for line in lines)
    assert load_model(out / "model.keras").input.shape == (None, SIDE, SIDE, 3)
