"""Runs that learn lightness in MLflow: logged in full, and served from pictures to lightness."""

import json
from pathlib import Path

import numpy as np
import pytest

from lamina.data.rows import Folders
from lamina.results.record import read_record
from lamina.stages.evaluate import evaluate
from lamina.tasks.registry import TASKS
from systems import LIGHT, params_of, stage_of, train_run, write_blots

SIDE = 16


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(write_blots(tmp_path, train=16, validation=8, test=8, side=SIDE))
    (tmp_path / "params.yaml").write_text(json.dumps(params_of({"light": LIGHT})))
    train_run(stage_of(LIGHT | {"epochs": 1}, Path("models/light"), name="light"))
    evaluate(Folders(), Path("models/light"))
    return tmp_path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:mlflow")
def test_mlflow_has_a_run_in_full(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pyfunc

    from lamina.tracking import store
    from lamina.tracking.sync import sync

    assert sync(system, "light") == "tracked"
    assert sync(system, "light") == "already there"
    opened = store.open_store(system)
    (run,) = opened.client.search_runs([one.experiment_id for one in opened.client.search_experiments()])
    metrics = json.loads(Path("models/light/metrics.json").read_text())["test"]
    expected = {
        "test_mse": metrics["mse"],
        "test_mse_high": metrics["interval"][1],
        "test_baseline": metrics["baseline"],
    }
    assert expected.items() <= run.data.metrics.items()
    assert not [name for name in run.data.metrics if "accuracy" in name]
    assert (run.data.params["decoder"], run.data.tags["task"]) == ("unet", "lightness")
    kept = {path.path for path in opened.client.list_artifacts(run.info.run_id, "figures")}
    assert {"figures/loss.png", "figures/mse.png", "figures/lightness.png"} <= kept
    monkeypatch.setenv("MLFLOW_TRACKING_URI", opened.uri)
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    pictures = np.random.default_rng(13).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    found = loaded.predict(pictures)
    assert (found.dtype, found.shape) == (np.float32, (3, SIDE, SIDE, 1))
    serving = TASKS["lightness"].serving(read_record(Path("models/light")))
    assert (serving.inputs, serving.outputs, serving.output_type) == (
        (-1, SIDE, SIDE, 3),
        (-1, SIDE, SIDE, 1),
        "float32",
    )
