"""Trained runs that predict a number: the margin of the validation fold, scores, answers, and exports."""

import csv
import json
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import r2_score

import lamina
from finished import CONVERT
from lamina.commands import predict
from lamina.commands.export import export
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.inputs.index import read_split
from lamina.maths.number_scores import find_margin
from lamina.models.loading import load_model
from lamina.results.record import read_record
from lamina.results.uncertainty import FOLDER
from lamina.stages.evaluate import evaluate
from lamina.tasks.registry import TASKS
from lamina.tasks.regress.results import MARGIN, Margin, Metrics, in_digits
from systems import LEVEL, NETWORK, params_of, stage_of, train_run, write_answered_stripes

RUN = NETWORK | LEVEL | {"epochs": 8}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = write_answered_stripes(tmp_path_factory.mktemp("system"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(system)
        (system / "params.yaml").write_text(json.dumps(params_of({"level": RUN}, convert=CONVERT | {"size": 16})))
        train_run(stage_of(RUN, Path("models/level"), name="level"))
        evaluate(Folders(), Path("models/level"))
    for place, pixels in enumerate(pictures_of(system, "test")[1:4]):
        Image.fromarray(pixels).save(system / f"{place}.png")
    (system / "broken.png").write_bytes(b"nothing")
    return system


def pictures_of(system: Path, fold: str) -> np.ndarray:
    folders = Folders(lab=system / "data/lab", augmented=system / "data/augmented", split=system / "data/split")
    rows = read_split(folders)
    return open_rows(rows[rows["fold"] == fold].sort_values("id"), folders).read(np.arange(24))


@pytest.fixture(autouse=True)
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)


def call(*options: object) -> int:
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    predict.add_arguments(parser)
    return predict.run(parser.parse_args(["--system", ".", "--run", "level", *map(str, options)]))


def margin() -> Margin:
    return Margin.model_validate_json(Path("models/level", FOLDER, MARGIN).read_text())


def test_predictions_and_scores_are_of_the_pictures_with_an_answer() -> None:
    test = Metrics.model_validate_json(Path("models/level/metrics.json").read_text()).test
    table = pd.read_parquet("models/level/predictions.parquet")
    assert list(table) == ["id", "origin", "target", "predicted"]
    cells = pd.read_parquet("data/targets/regress.parquet").set_index("id")["level"]
    assert table["target"].tolist() == cells[table["id"]].astype(float).tolist()
    assert (test.n, len(table)) == (23, 23)
    errors = (table["target"] - table["predicted"]).abs()
    assert test.mae == pytest.approx(errors.mean())
    assert test.further["r2"].value == pytest.approx(r2_score(table["target"], table["predicted"]))
    trained_on = cells[[f"{place:016x}" for place in range(1, 40)]].astype(float)
    assert test.baseline == pytest.approx((table["target"] - trained_on.mean()).abs().mean())
    assert test.mae < 0.8 * test.baseline
    assert test.gone == pytest.approx(1 - test.mae / test.baseline)
    assert test.held is not None
    assert test.held.coverage == pytest.approx((errors <= margin().value).mean())
    scalars = test.scalars()
    assert scalars["r2_low"] <= scalars["r2"] <= scalars["r2_high"]
    assert (scalars["held"], scalars["mae"]) == (test.held.coverage, test.mae)
    with Image.open("models/level/sheets/numbers.png") as sheet:
        assert sheet.size[0] > 300


def test_the_margin_is_of_the_validation_fold() -> None:
    cells = pd.read_parquet("data/targets/regress.parquet")["level"].astype(float)
    model = load_model(Path("models/level/model.keras"))
    found = np.asarray(model(pictures_of(Path(), "validation")[1:].astype(np.float32)))[:, 0]
    assert margin().value == pytest.approx(find_margin(cells[41:64], found, np.arange(23)), rel=1e-4)
    assert (margin().coverage, margin().origins) == (0.9, 23)


def test_every_form_of_an_answer_is_the_same(trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table, half = pd.read_parquet("models/level/predictions.parquet").head(3), margin().value
    assert half is not None
    pictures = ["0.png", "1.png", "2.png", "broken.png"]
    assert call(*pictures, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["predicted"] for one in found[:3]] == pytest.approx(table["predicted"].tolist(), abs=0.01)
    for one in found[:3]:
        assert (one["low"], one["high"]) == pytest.approx((one["predicted"] - half, one["predicted"] + half))
    assert (found[3]["predicted"], found[3]["low"], found[3]["error"][:10]) == (None, None, "unreadable")

    call(*pictures)
    line = capsys.readouterr().out.splitlines()[0]
    assert line.split() == ["0.png", *"{predicted:.4g} {low:.4g} to {high:.4g}".format(**found[0]).split()]

    call(*pictures, "--csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "predicted", "low", "high", "error"]
    assert [float(row["high"]) for row in rows[:3]] == pytest.approx([one["high"] for one in found[:3]])
    assert rows[3]["predicted"] == ""

    frame = lamina.open(trained).runs["level"].predict(pictures)
    assert list(frame) == list(rows[0])
    assert frame["low"].tolist()[:3] == pytest.approx([one["low"] for one in found[:3]])
    assert frame["low"].isna().tolist() == [False] * 3 + [True]


@pytest.mark.parametrize(
    ("key", "value", "note"),
    [
        ("a", None, "no margins: 90% need 9 origins in the validation fold"),
        ("b", 2.0, "not evaluated since the training: no margins; run `dvc repro evaluate@level`"),
    ],
)
def test_without_a_margin_there_is_the_number_alone(key: str, value: float | None, note: str, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "level"
    (folder / FOLDER).mkdir(parents=True)
    Margin(key=key, coverage=0.9, value=value, origins=3).write(folder / FOLDER / MARGIN)
    record = read_record(Path("models/level")).model_copy(update={"key": "a"})
    answers = TASKS["regress"].open_answers(folder, record, predict.PLAIN)
    assert answers.notes == [note]
    assert answers.given(np.array([[4.0]]), None) == [{"predicted": 4.0}]
    assert answers.in_words(answers.prediction(path="x", predicted=4.0)) == "4"


@pytest.mark.parametrize(
    ("value", "spread", "written"),
    [(4.0, 0.0, "4"), (12.3456, 2.5, "12.35"), (2000.01234, 0.0198, "2000.012"), (-1234567.25, 4.0, "-1234567"),
     (3.2e-9, 1e-8, "3.2e-09"), (0.0, 1.0, "0"), (1e30, 1e-30, "1e+30"), (float("inf"), 1.0, "inf")],
)  # fmt: skip
def test_numbers_that_differ_are_written_differently(value: float, spread: float, written: str) -> None:
    assert in_digits(value, spread) == written


def test_a_number_far_from_0_keeps_the_digits_that_its_margin_means(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "level"
    (folder / FOLDER).mkdir(parents=True)
    record = read_record(Path("models/level")).model_copy(update={"key": "a"})
    Margin(key="a", coverage=0.9, value=0.02, origins=30).write(folder / FOLDER / MARGIN)
    answers = TASKS["regress"].open_answers(folder, record, predict.PLAIN)
    (found,) = answers.given(np.array([[2000.0123]]), None)
    assert answers.in_words(answers.prediction(path="x", **found)) == "2000.012  1999.99 to 2000.032"


def test_wishes_of_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"^level: it predicts a number; --coverage, --by-class, --recall and --cost"):
        call("0.png", "--by-class")


def test_an_export_is_exact(trained: Path) -> None:
    (line,) = export(trained, "level", ["onnx"])
    assert "number within" in line


def test_a_served_model_gives_the_number() -> None:
    serving = TASKS["regress"].serving(read_record(Path("models/level")))
    assert (serving.inputs, serving.outputs, serving.columns) == ((-1, 16, 16, 3), (-1, 1), ())
