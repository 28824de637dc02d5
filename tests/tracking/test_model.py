"""The model that is logged to MLflow: one pyfunc for every task, with its signature and requirements."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from finished import RUNS, finished_record
from lamina.maths.color import UNITS, lab_to_srgb, srgb_to_lab
from lamina.results.serving import Serving
from lamina.tasks.registry import TASKS
from lamina.tracking import store
from lamina.tracking.sync import sync
from onnx_files import pooled
from tracked import (
    CLASSES,
    SIDE,
    class_record,
    shown,
    write_color_run,
    write_label_run,
    write_lightness_run,
    write_number_run,
)
from uncertain import WIDTH, predicted, write_doubt

# MLflow warns of its own types when it is imported, and wants an example of the input
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:mlflow")


def classifier() -> Any:
    from lamina.models.keras_runtime import keras

    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers])


def colorizer() -> Any:
    """Return what a colorizer saves, over a network that sees one pixel at a time; and that network."""
    from lamina.models.keras_runtime import keras
    from lamina.tasks.colorize.network import final_model

    initial = keras.initializers.GlorotUniform
    light = keras.Input((SIDE, SIDE, 1))
    hidden = keras.layers.Conv2D(4, 1, activation="relu", kernel_initializer=initial(3))(light)
    colors = keras.layers.Conv2D(2, 1, kernel_initializer=initial(4))(hidden)
    numbers = keras.Input((SIDE, SIDE, 2))
    network = keras.Model(light, colors)
    return final_model(network, keras.Model(numbers, numbers), flip_tta=False), network


def lightener() -> Any:
    from lamina.models.keras_runtime import keras

    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.Conv2D(1, 1)])


def pictures(side: int) -> np.ndarray:
    return np.random.default_rng(13).integers(0, 256, (5, side, side, 3), dtype=np.uint8)


def loaded(system: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.open_store(system).uri)
    return mlflow.pyfunc.load_model(place)


def test_a_classifier_loads_from_run_and_model_and_predicts_as_its_network(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    network = classifier()
    network.save(system / "models" / "tiny" / "model.keras")
    sync(system, "tiny")
    (run,) = shown(system)
    (logged,) = run.outputs.model_outputs
    for place in (f"runs:/{run.info.run_id}/model", f"models:/{logged.model_id}"):
        served = loaded(system, place, monkeypatch)
        found = served.predict(pictures(8))
        assert list(found.columns) == list(CLASSES)
        np.testing.assert_array_equal(found.to_numpy(), network.predict(pictures(8), verbose=0))
    assert served.metadata.get_input_schema().inputs[0].shape == (-1, 8, 8, 3)
    with pytest.raises(mlflow.MlflowException, match="shape"):
        served.predict(pictures(8)[:, :4])
    (kept,) = (system.parents[1] / "mlflow" / "artifacts" / "models").glob("*/artifacts/requirements.txt")
    pinned = dict(line.split("==") for line in kept.read_text().split())
    assert set(pinned) == {"keras", "mlflow", "numpy", "pandas", "tensorflow"}
    assert (pinned["keras"], pinned["numpy"]) == ("3.15.1", "1.2.3"), "those of training"


def test_answers_are_served_with_the_doubt_that_predict_gives_them(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lamina.models.divided import Divided
    from lamina.models.keras_runtime import keras
    from lamina.tasks.classify.answers import ClassAnswers
    from lamina.tasks.wish import Wish

    pixels = keras.Input((8, 8, 3))
    hidden = keras.layers.Dense(WIDTH, activation="relu")(keras.layers.GlobalAveragePooling2D()(pixels))
    network = keras.Model(pixels, keras.layers.Dense(2, activation="softmax")(hidden))
    folder = system / "models" / "tiny"
    network.save(folder / "model.keras")
    write_doubt(folder, predicted(60, CLASSES), CLASSES)
    sync(system, "tiny")
    (run,) = shown(system)
    served = loaded(system, f"runs:/{run.info.run_id}/model", monkeypatch)
    found = served.predict(pictures(8))
    answers = ClassAnswers(folder, class_record(), Wish())
    assert answers.judge
    distance = answers.judge.distances(Divided(network).features(pictures(8)))
    for row, one in zip(
        found.to_dict("records"), answers.given(network.predict(pictures(8), verbose=0), distance), strict=True
    ):
        assert [row[name] for name in CLASSES] == pytest.approx(list(one["probabilities"].values()), abs=1e-6)
        assert [row[f"scaled:{name}"] for name in CLASSES] == pytest.approx(list(one["scaled"].values()), abs=1e-6)
        assert [name for name in CLASSES if row[f"set:{name}"]] == one["set"]
        assert (row["outlier:distance"], row["outlier:mark"]) == (pytest.approx(one["distance"]), one["outlier"])
    names = served.metadata.get_output_schema().input_names()
    assert names == list(found.columns)
    (kept,) = (system.parents[1] / "mlflow" / "artifacts" / "models").glob("*/artifacts/requirements.txt")
    assert "pydantic" in kept.read_text()
    assert not list(kept.parent.rglob("validation.parquet"))
    assert run.data.metrics["test_accuracy"] == 0.75


def test_a_classifier_over_an_onnx_file_brings_the_code_of_its_layer(
    system: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lamina.models.keras_runtime import keras
    from lamina.models.onnx_extractor import make_network
    from lamina.models.onnx_layer import OnnxFeatures
    from lamina.models.saving import save_model

    path = pooled(tmp_path_factory.mktemp("file") / "one.onnx", width=4)
    made = make_network(path, output=None, preprocess="rescale", pooling="avg", side=None, pictures=8)
    pixels = keras.Input((8, 8, 3))
    network = keras.Model(pixels, keras.layers.Dense(2, activation="softmax")(OnnxFeatures(made[1], made[0])(pixels)))
    save_model(network, system / "models" / "tiny" / "model.keras")
    sync(system, "tiny")
    (run,) = shown(system)
    served = loaded(system, f"runs:/{run.info.run_id}/model", monkeypatch)
    np.testing.assert_allclose(served.predict(pictures(8)), network.predict(pictures(8), verbose=0), atol=1e-6)
    (kept,) = (system.parents[1] / "mlflow" / "artifacts" / "models").glob("*/artifacts/requirements.txt")
    assert {"onnx", "onnxruntime"} <= {line.split("==")[0] for line in kept.read_text().split()}
    assert list(kept.parent.glob("code/lamina/models/onnx_layer.py"))


def test_a_colorizer_takes_and_gives_rgb_and_is_served_so(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    from mlflow.pyfunc.scoring_server import invocations

    saved, network = colorizer()
    saved.save(write_color_run(system) / "model.keras")
    sync(system, "colors")
    (run,) = shown(system)
    served = loaded(system, f"runs:/{run.info.run_id}/model", monkeypatch)
    given = pictures(SIDE)
    found = served.predict(given)
    assert (found.dtype, found.shape) == (np.uint8, given.shape)
    lab = srgb_to_lab(given)
    lab[..., 1:] = np.rint(UNITS * network.predict(lab[..., :1].astype(np.float32) / UNITS, verbose=0))
    assert np.abs(found.astype(int) - lab_to_srgb(lab)).max() <= 1, "hundredths are not rounded on the way"
    assert len(np.unique(found - given)) > 100, "colors changed"
    body = json.dumps({"inputs": given.tolist()})
    answer = invocations(body, "application/json", served, served.metadata.get_input_schema())
    assert answer.status == 200
    np.testing.assert_array_equal(json.loads(answer.response)["predictions"], found)
    with pytest.raises(mlflow.MlflowException, match="shape"):
        served.predict(given[:, :4])


def test_a_run_that_learned_lightness_gives_numbers(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = lightener()
    network.save(write_lightness_run(system) / "model.keras")
    sync(system, "light")
    (run,) = shown(system)
    served = loaded(system, f"runs:/{run.info.run_id}/model", monkeypatch)
    found = served.predict(pictures(SIDE))
    assert (found.dtype, found.shape) == (np.float32, (5, SIDE, SIDE, 1))
    np.testing.assert_array_equal(found, network.predict(pictures(SIDE), verbose=0))


def test_labels_are_columns_and_a_number_is_one(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The saved models of both tasks; what decides by thresholds, or knows margins, is `lamina predict`."""
    from lamina.models.keras_runtime import keras

    pixels = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    labels = keras.Model(pixels, keras.layers.Dense(2, activation="sigmoid")(flat))
    number = keras.Model(pixels, keras.layers.Rescaling(4.0, offset=10.0)(keras.layers.Dense(1)(flat)))
    labels.save(write_label_run(system, key="b") / "model.keras")
    number.save(write_number_run(system, key="c") / "model.keras")
    given = {}
    for name in ("seen", "count"):
        sync(system, name)
        run = next(one for one in shown(system) if one.info.run_name == name)
        given[name] = loaded(system, f"runs:/{run.info.run_id}/model", monkeypatch).predict(pictures(8))
    assert list(given["seen"].columns) == list(CLASSES)
    np.testing.assert_array_equal(given["seen"].to_numpy(), labels.predict(pictures(8), verbose=0))
    np.testing.assert_array_equal(given["count"], number.predict(pictures(8), verbose=0))
    assert given["count"].shape == (5, 1)


@pytest.mark.parametrize("kind", RUNS)
def test_every_task_has_a_signature(kind: str) -> None:
    from lamina.tracking import model

    task = TASKS[RUNS[kind]["task"]]
    record = finished_record("a", RUNS[kind], classes=CLASSES if task.name == "classify" else (), width=SIDE)
    signature = model.signature(task.serving(record))
    assert signature.inputs.inputs[0].shape == (-1, SIDE, SIDE, 3)
    outputs = signature.outputs.inputs
    if task.name == "classify":
        assert [one.name for one in outputs] == list(CLASSES)
    else:
        assert outputs[0].shape[:3] == (-1, SIDE, SIDE)
        assert outputs[0].type == np.dtype("uint8" if task.name == "colorize" else "float32")


def test_texts_are_a_column_of_strings() -> None:
    from lamina.tracking import model

    signature = model.signature(Serving(inputs=None, columns=CLASSES))
    assert [(one.name, one.type.name) for one in signature.inputs.inputs] == [("text", "string")]


class Context:
    """What MLflow hands over to a model."""

    def __init__(self, columns: list[str], output_type: str) -> None:
        self.model_config = {"columns": columns, "output_type": output_type}


def test_one_pyfunc_serves_every_task() -> None:
    """Over a network that gives its input back."""
    from lamina.tracking.pyfunc import Served

    served = Served()
    served.network = type("Network", (), {"predict": lambda self, values, verbose: values})()  # type: ignore[assignment]
    values = np.array([[-3.0, 0.49], [254.51, 300.0]], np.float32)
    table = served.predict(Context(["a", "b"], "float32"), values)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(table, pd.DataFrame(values, columns=["a", "b"]))
    numbers = served.predict(Context([], "float32"), values)  # type: ignore[arg-type]
    np.testing.assert_array_equal(numbers, values)
    rgb = served.predict(Context([], "uint8"), values)  # type: ignore[arg-type]
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, [[0, 0], [255, 255]])


def test_the_code_that_travels_imports_nothing_of_this_package_by_itself() -> None:
    from lamina.tracking import model

    lines = model.SERVED.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith(("import lamina", "from lamina"))]
