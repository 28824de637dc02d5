"""Trained runs that give labels: thresholds of the validation fold, scores, answers in every form, and exports."""

import csv
import json
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

import lamina
from finished import CONVERT
from lamina.commands import predict
from lamina.commands.export import export
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.inputs.index import read_split
from lamina.maths.label_scores import find_thresholds
from lamina.models.loading import load_model
from lamina.results.record import read_record
from lamina.results.uncertainty import FOLDER
from lamina.stages.evaluate import evaluate
from lamina.tasks.multilabel.results import THRESHOLDS, Metrics, label_flags
from lamina.tasks.registry import TASKS
from systems import LABELS, NETWORK, params_of, stage_of, train_run, write_answered_stripes

RUN = NETWORK | LABELS | {"epochs": 8}
NAMES = ["light", "upright"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = write_answered_stripes(tmp_path_factory.mktemp("system"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(system)
        (system / "params.yaml").write_text(json.dumps(params_of({"seen": RUN}, convert=CONVERT | {"size": 16})))
        train_run(stage_of(RUN, Path("models/seen"), name="seen"))
        evaluate(Folders(), Path("models/seen"))
        rows = read_split(Folders())
        shown = open_rows(rows[rows["fold"] == "test"].sort_values("id"), Folders()).read(np.arange(24))
    for place, pixels in enumerate(shown[1:5]):
        Image.fromarray(pixels).save(system / f"{place}.png")
    (system / "broken.png").write_bytes(b"nothing")
    return system


@pytest.fixture(autouse=True)
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)


def thresholds() -> dict[str, float]:
    found: dict[str, float] = json.loads(Path("models/seen", FOLDER, THRESHOLDS).read_text())["thresholds"]
    return found


def call(*options: object) -> int:
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    predict.add_arguments(parser)
    return predict.run(parser.parse_args(["--system", ".", "--run", "seen", *map(str, options)]))


def test_predictions_and_scores_are_of_the_pictures_with_an_answer() -> None:
    metrics = Metrics.model_validate_json(Path("models/seen/metrics.json").read_text())
    table, test = pd.read_parquet("models/seen/predictions.parquet"), metrics.test
    assert list(table) == ["id", "origin", "labels", "predicted", "p:light", "p:upright"]
    assert (len(table), test.n, metrics.validation.n) == (23, 23, 23)
    shares = table[["p:light", "p:upright"]].to_numpy()
    truth, named = (label_flags(table[column], NAMES) for column in ("labels", "predicted"))
    np.testing.assert_array_equal(named, shares >= [thresholds()[name] for name in NAMES])
    assert test.f1 == pytest.approx(f1_score(truth, named, average="samples", zero_division=1))
    assert test.f1 > 0.6
    precision = test.per_label["upright"].average_precision
    assert precision == pytest.approx(average_precision_score(truth[:, 1], shares[:, 1]))
    cells = pd.read_parquet("data/targets/multilabel.parquet").set_index("id")["seen"]
    assert table["labels"].tolist() == ["|".join(sorted(set(cells[name].split(" | ")) - {"-"})) for name in table["id"]]
    scalars = metrics.scalars()
    assert scalars["test_f1_low"] <= scalars["test_f1"] <= scalars["test_f1_high"]
    assert scalars["test_recall_light"] == test.per_label["light"].recall
    history = pd.read_csv("models/seen/history.csv")
    assert {"train_f1", "validation_f1", "validation_loss"} <= {*history}
    assert read_record(Path("models/seen")).classes == NAMES
    with Image.open("models/seen/sheets/labels.png") as sheet:
        assert sheet.size[0] > 300


def test_the_thresholds_are_the_best_of_the_validation_fold() -> None:
    metrics = Metrics.model_validate_json(Path("models/seen/metrics.json").read_text())
    for name, one in metrics.test.per_label.items():
        assert one.threshold == metrics.validation.per_label[name].threshold == thresholds()[name]
    model, rows = load_model(Path("models/seen/model.keras")), read_split(Folders())
    validation = rows[rows["fold"] == "validation"].sort_values("id").iloc[1:]
    pictures = open_rows(validation, Folders()).read(np.arange(len(validation)))
    shares = np.asarray(model(pictures.astype(np.float32)), np.float64)
    cells = pd.read_parquet("data/targets/multilabel.parquet").set_index("id").loc[validation["id"], "seen"]
    truth = np.stack([cells.str.contains(name).to_numpy(bool) for name in NAMES], axis=1)
    assert list(thresholds().values()) == pytest.approx(list(find_thresholds(shares, truth)), abs=1e-5)


def test_every_form_of_an_answer_is_the_same(trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = pd.read_parquet("models/seen/predictions.parquet").head(4)
    pictures = [f"{place}.png" for place in range(4)] + ["broken.png"]
    assert call(*pictures, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert ["|".join(one["predicted"]) for one in found[:4]] == table["predicted"].tolist()
    for one, row in zip(found[:4], table.itertuples(index=False), strict=True):
        assert one["probabilities"] == pytest.approx({"light": row[4], "upright": row[5]}, abs=1e-5)
    assert (found[4]["predicted"], found[4]["error"][:10]) == (None, "unreadable")

    call(*pictures)
    lines = capsys.readouterr().out.splitlines()
    ordered = sorted(found[0]["probabilities"].items(), key=lambda item: -item[1])
    words = ["0.png", ", ".join(found[0]["predicted"]) or "no label", *(f"{name} {p:.3f}" for name, p in ordered)]
    assert [part.strip() for part in lines[0].split("  ") if part.strip()] == words

    call(*pictures, "--csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "predicted", "p:light", "p:upright", "error"]
    assert [row["predicted"] for row in rows[:4]] == table["predicted"].tolist()

    frame = lamina.open(trained).runs["seen"].predict(pictures)
    assert list(frame) == list(rows[0])
    assert frame["predicted"].tolist()[:4] == table["predicted"].tolist()
    assert frame[["predicted", "p:light"]].isna().to_numpy()[:, 0].tolist() == [False] * 4 + [True]


def test_a_run_that_was_trained_again_answers_by_a_half(capsys: pytest.CaptureFixture[str]) -> None:
    record = read_record(Path("models/seen"))
    task = TASKS["multilabel"]
    answers = task.open_answers(Path("models/seen"), record.model_copy(update={"key": "b"}), predict.PLAIN)
    assert answers.notes == ["not evaluated since the training: every threshold is 0.5; run `dvc repro evaluate@seen`"]
    (one,) = answers.given(np.array([[0.49, 0.5]]), None)
    assert one["predicted"] == ["upright"]
    (none,) = answers.given(np.array([[0.1, 0.2]]), None)
    assert answers.in_words(answers.prediction(path="a", **none)) == "no label  upright 0.200  light 0.100"


def test_wishes_of_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"^seen: it gives labels; --coverage, --by-class, --recall and --cost are for"):
        call("0.png", "--coverage", 0.8)


def test_an_export_is_exact(trained: Path) -> None:
    (line,) = export(trained, "seen", ["onnx"])
    assert "probabilities within" in line


def test_a_served_model_has_a_column_per_label() -> None:
    serving = TASKS["multilabel"].serving(read_record(Path("models/seen")))
    assert (serving.inputs, serving.columns) == ((-1, 16, 16, 3), ("light", "upright"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:mlflow")
def test_mlflow_has_the_scores_and_serves_a_column_per_label(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pyfunc

    from lamina.tracking import store
    from lamina.tracking.sync import sync

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert sync(trained, "seen") == "tracked"
    opened = store.open_store(trained)
    (run,) = opened.client.search_runs([one.experiment_id for one in opened.client.search_experiments()])
    test = Metrics.model_validate_json(Path("models/seen/metrics.json").read_text()).test
    expected = {
        "test_f1": test.f1,
        "test_micro_f1": test.further["micro_f1"].value,
        "test_threshold_light": thresholds()["light"],
    }
    assert expected.items() <= run.data.metrics.items()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", opened.uri)
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    table = pd.read_parquet("models/seen/predictions.parquet").head(4)
    pictures = np.stack([np.asarray(Image.open(f"{place}.png")) for place in range(4)])
    found = model.predict(pictures)
    assert list(found) == NAMES
    np.testing.assert_allclose(found, table[["p:light", "p:upright"]], atol=1e-5)
