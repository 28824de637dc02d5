"""A run over texts in MLflow: its scores, and the logged model, which takes raw texts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finished import write_params
from lamina.commands.predict_texts import predict_texts
from lamina.config import section
from lamina.data.rows import Folders
from lamina.stages.evaluate import evaluate
from lamina.stages.train import train
from lamina.stages.tune import TuneConfig, tune
from lamina.tracking import store
from lamina.tracking.sync import sync
from lamina.training.callbacks import NoCallbacks
from systems import stage_of
from texts import NB_SVM, OPINIONS, opinions, words_system
from tracked import artifacts, shown

# MLflow warns of its own types when it is imported, and wants an example of the input
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:mlflow")

TEXTS = ["great, LOVELY<br />film", "", "un caf\u00e9 dull &amp; awful", "zzz", "usual <b>plain</b>\r\nwords"]
SERVE = """
import json, sys, mlflow.pyfunc, pandas as pd
served = mlflow.pyfunc.load_model(sys.argv[1])
found = served.predict(pd.DataFrame({"text": json.loads(sys.argv[2])}))
import lamina
print(json.dumps([lamina.__file__, list(found.columns), found.to_numpy().tolist()]))
"""


@pytest.fixture
def films(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with an evaluated run `nb_svm` of three classes, and an empty store, in a project of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / "mlflow").mkdir()
    (project / "mlflow" / "mlflow.db").write_bytes(empty_database)
    system = words_system(project / "pipelines" / "cells", opinions(20, tuple(OPINIONS)), values="tfidf")
    write_params(system, {"nb_svm": NB_SVM})
    monkeypatch.chdir(system)
    stage = stage_of(NB_SVM, name="nb_svm")
    tune(stage, section(stage.params, "tune", TuneConfig))
    train(stage, NoCallbacks())
    evaluate(Folders(), stage.out)
    return system


@pytest.mark.nightly
def test_a_logged_model_classifies_raw_texts_as_predict_does(films: Path, tmp_path: Path) -> None:
    assert sync(films, "nb_svm") == "tracked"
    (run,) = shown(films)
    metrics = json.loads((films / "models/nb_svm/metrics.json").read_text())
    assert run.data.metrics["test_accuracy"] == pytest.approx(metrics["test"]["accuracy"])
    assert (run.data.params["input"], run.data.params["network"]) == ("words/common", "nb_svm")
    assert (artifacts(films, run) / "record" / "metrics.json").is_file()
    (tmp_path / "new").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "new" / f"{number}.txt").write_text(text or "zzz", encoding="utf-8")
    predictions = predict_texts(films, "nb_svm", [tmp_path / "new"])
    expected = [list(one.probabilities.values()) for one in predictions]

    uri = store.open_store(films).uri
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    command = [sys.executable, "-c", SERVE, f"runs:/{run.info.run_id}/model", json.dumps(TEXTS)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    package, columns, found = json.loads(done.stdout.splitlines()[-1])
    assert Path(package).parts[-3:] == ("code", "lamina", "__init__.py"), "the model brings its own code"
    names = sorted(OPINIONS)
    assert columns == [*names, *(f"scaled:{name}" for name in names), *(f"set:{name}" for name in names)]
    assert [row[:3] for row in found] == [pytest.approx(row, abs=1e-6) for row in expected]
    assert [row[3:6] for row in found] == [
        pytest.approx(list((one.scaled or {}).values()), abs=1e-6) for one in predictions
    ]
    assert [row[6:] for row in found] == [[name in (one.set or []) for name in names] for one in predictions]
    assert found[1] == pytest.approx(found[3]), "a text without known words"
    assert max(found[0][:3]) == found[0][columns.index("pos")]
    assert sync(films, "nb_svm") == "already there"
