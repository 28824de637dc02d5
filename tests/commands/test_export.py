"""`lamina export`: 8 bits are judged on the test fold as the gate does, and refused if worse; colorizers color."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from finished import CONVERT, finished_record, run_settings, write_params
from lamina.commands.export import EXACT, INT8, export, folders_of, originals_of
from lamina.data.rows import open_rows
from lamina.errors import UserError
from lamina.models.networks import Outputs
from lamina.results.measures import MEASURES
from lamina.tasks.multilabel.results import Thresholds, joined_labels
from pages import CELLS, write_pictures, write_plan
from scans import SIZE as SIDE
from scans import linear, saved


@pytest.fixture
def system(made: Path, tmp_path: Path) -> Path:
    """The system, to be changed."""
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that nobody trained, and predictions of it: its own answers are the labels of the test fold."""
    from lamina.models.inference import inference
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    folder = tmp_path_factory.mktemp("made")
    write_params(folder, {"small": run_settings("network")}, convert=CONVERT | {"size": SIDE})
    write_plan(folder, write_pictures(folder, origins=60, side=SIDE))
    (folder / "models/small").mkdir(parents=True)
    record = finished_record("small", run_settings("network"), classes=CELLS, width=SIDE)
    record.write(folder / "models/small/record.json")
    network = build_network("small_cnn", SIDE, len(CELLS), dropout=0.5, seed=3)
    save_model(network, folder / "models/small/model.keras")
    originals, folders = originals_of(folder, "test"), folders_of(folder)
    rows = open_rows(originals, folders)
    answers = np.array(CELLS)[inference(network)(rows.read(np.arange(len(rows)))).argmax(axis=1)]
    split = folders.split / "manifest.parquet"
    manifest = pd.read_parquet(split).set_index("id")
    manifest.loc[originals["id"], "label"] = answers
    manifest.reset_index().to_parquet(split, index=False)
    table = originals[["id", "origin"]].assign(label=answers, predicted=answers)
    table.to_parquet(folder / "models/small/predictions.parquet", index=False)
    return folder


def test_eight_bits_are_small_and_judged(system: Path) -> None:
    (exact, small) = export(system, "small", ["onnx", INT8])
    assert "probabilities within" in exact
    assert "test accuracy 1.000 -> " in small
    size = {name: (system / f"exported/small/{name}/model.onnx").stat().st_size for name in ("onnx", INT8)}
    assert size[INT8] < 0.4 * size["onnx"]
    described = json.loads((system / "exported/small" / INT8 / "export.json").read_text())
    assert described["checked"]["accuracy_of_keras"] == 1
    assert described["checked"]["accuracy"] > 0.9
    assert described["checked"]["verdict"].startswith("kept")
    before = (system / "exported/small" / INT8 / "model.onnx").read_bytes()
    export(system, "small", [INT8])
    assert (system / "exported/small" / INT8 / "model.onnx").read_bytes() == before


def test_what_regresses_is_not_kept(system: Path) -> None:
    """As if Keras had found other classes, which are right."""
    turned = dict(zip(CELLS, [*CELLS[1:], CELLS[0]], strict=True))
    predictions, split = system / "models/small/predictions.parquet", system / "data/split/manifest.parquet"
    table = pd.read_parquet(predictions)
    table[["label", "predicted"]] = table[["label", "predicted"]].map(turned.get)
    table.to_parquet(predictions, index=False)
    manifest = pd.read_parquet(split)
    manifest["label"] = manifest["label"].where(~manifest["id"].isin(table["id"]), manifest["label"].map(turned))
    manifest.to_parquet(split, index=False)
    with pytest.raises(
        UserError, match=r"int8: test accuracy 1.000 -> 0\.\d+, .*: regressed.*; nothing of it was kept"
    ):
        export(system, "small", [INT8])
    assert not (system / "exported/small" / INT8).exists()


@pytest.mark.parametrize("task", ["multilabel", pytest.param("regress", marks=pytest.mark.nightly)])
def test_labels_and_numbers_are_judged_by_their_own_measure(task: str, system: Path) -> None:
    measure, write = ("f1", write_labels) if task == "multilabel" else ("mae", write_numbers)
    write(system, worse=False)
    (line,) = export(system, task, [INT8])
    assert f"test {MEASURES[measure].title} " in line
    path = system / "exported" / task / INT8
    checked = json.loads((path / "export.json").read_text())["checked"]
    assert checked[f"{measure}_of_keras"] == {"f1": 1, "mae": 5}[measure]
    assert checked[measure] == pytest.approx(checked[f"{measure}_of_keras"], rel=0.05)
    assert checked["verdict"].startswith("kept")
    before = (path / "model.onnx").read_bytes()
    write(system, worse=True)
    with pytest.raises(UserError, match=r"export: int8: test .*: regressed.*; nothing of it was kept"):
        export(system, task, [INT8])
    assert (path / "model.onnx").read_bytes() == before


def write_labels(system: Path, *, worse: bool) -> None:
    """A run whose own labels are the true ones; worse: as if Keras had found the others, which are right."""
    outputs = write_run(system, "multilabel", CELLS, Outputs(units=len(CELLS), activation="sigmoid", name="labels"))
    ordered = np.sort(outputs, axis=0)
    widest = np.diff(ordered, axis=0).argmax(axis=0)[None]  # where 8 bits change nothing
    cut = np.take_along_axis((ordered[1:] + ordered[:-1]) / 2, widest, axis=0)[0]
    thresholds = Thresholds(key="a" * 64, thresholds=dict(zip(CELLS, cut.tolist(), strict=True)))
    (system / "models/multilabel/uncertainty").mkdir(exist_ok=True)
    thresholds.write(system / "models/multilabel/uncertainty/thresholds.json")
    labels = joined_labels((outputs >= cut) != worse, CELLS)
    write_predictions(system, "multilabel", labels=labels, predicted=labels)


def write_numbers(system: Path, *, worse: bool) -> None:
    """A run whose numbers are 5 too high; worse: as if those of Keras were right."""
    found = write_run(system, "regress", [], Outputs(units=1, activation="linear", name="number"))[:, 0].astype(float)
    found = np.array([float(f"{value:.7g}") for value in found]).round(3)
    write_predictions(system, "regress", target=found - 5, predicted=found - 5 if worse else found)


def write_run(system: Path, task: str, classes: list[str], outputs: Outputs) -> np.ndarray:
    """Write a run that nobody trained; return its outputs for the test fold."""
    import keras

    from lamina.models.inference import inference
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    settings = run_settings("network", task=task) | ({"targets": ["seen"]} if classes else {"target": "age"})
    write_params(system, {task: settings}, convert=CONVERT | {"size": SIDE})
    (system / "models" / task).mkdir(parents=True, exist_ok=True)
    finished_record(task, settings, classes=classes, width=SIDE).write(system / "models" / task / "record.json")
    network = build_network("small_cnn", SIDE, outputs, dropout=0.5, seed=3)
    if not classes:
        network = keras.Model(network.input, keras.layers.Rescaling(20.0, offset=40.0)(network.output))
    save_model(network, system / "models" / task / "model.keras")
    rows = open_rows(originals_of(system, "test"), folders_of(system))
    return inference(network)(rows.read(np.arange(len(rows))))


def write_predictions(system: Path, run: str, **columns: object) -> None:
    table = originals_of(system, "test")[["id", "origin"]].assign(**columns)
    table.to_parquet(system / "models" / run / "predictions.parquet", index=False)


def test_a_colorizer_is_exported_as_it_colors(system: Path) -> None:
    from lamina.models.exporting import FORMATS
    from lamina.models.loading import load_model
    from lamina.models.saving import save_model

    write_params(system, {"tint": run_settings("colorizer")}, convert=CONVERT | {"size": SIDE})
    (system / "models/tint").mkdir()
    finished_record("tint", run_settings("colorizer"), width=SIDE).write(system / "models/tint/record.json")
    save_model(saved(linear()), system / "models/tint/model.keras")
    assert all("colors within " in line for line in export(system, "tint", EXACT))
    pixels = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3)).astype(np.float32)
    expected = load_model(system / "models/tint/model.keras").predict(pixels, verbose=0)
    for name in EXACT:
        found = FORMATS[name].load(system / "exported/tint" / name)(pixels)
        np.testing.assert_allclose(found, expected, atol=0.03)
    with pytest.raises(
        UserError,
        match="--format int8: is judged by the answers of `lamina predict`, but run 'tint' has the task colorize",
    ):
        export(system, "tint", [INT8])
