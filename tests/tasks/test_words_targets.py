"""Labels and numbers of texts: learned from columns of the metadata, evaluated, answered, served and shown."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from finished import write_params
from lamina.commands.export import export
from lamina.commands.predict_texts import predict_texts
from lamina.commands.serve import about
from lamina.commands.served import open_served
from lamina.config import section
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.report.data_files import EXCERPT
from lamina.results.record import read_record
from lamina.stages import split_texts
from lamina.stages.evaluate import evaluate
from lamina.stages.report import report
from lamina.stages.tune import TuneConfig, tune
from lamina.tasks.registry import TASKS
from lamina.tasks.runs import read_run
from systems import TUNE, learner_of, params_of, stage_of, train_run
from texts import DENSE, LOGISTIC, NB_SVM, RIDGE, filtered_system, opinions, words_system

LABELS = {"task": "multilabel", "targets": ["seen"]}
RUNS: dict[str, dict[str, Any]] = {
    "dense": DENSE | LABELS,
    "logistic": LOGISTIC | LABELS,
    "nb_svm": NB_SVM | LABELS,
    "stars": DENSE | {"task": "regress", "target": "stars", "epochs": 30},
    "ridge": RIDGE | {"target": "stars"},
}
NUMBERS = ("stars", "ridge")
SEEN = {"neg": "-", "pos": "praise", "so": "plain | praise"}
STARS = {"neg": "1", "so": "2", "pos": "3"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained and evaluated runs; one text of the training fold has no answers."""
    folder = words_system(tmp_path_factory.mktemp("system"), opinions(30, ("neg", "pos", "so")))
    write_params(folder, RUNS)
    rows = pd.read_parquet(folder / "data/split/manifest.parquet")
    table = rows[["id"]].assign(seen=rows["label"].map(SEEN), stars=rows["label"].map(STARS))
    table.loc[(rows["fold"] == "train").idxmax(), ["seen", "stars"]] = None
    (folder / "data/targets").mkdir()
    for task in ("multilabel", "regress"):
        table.to_parquet(folder / f"data/targets/{task}.parquet", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, settings in RUNS.items():
            stage = stage_of(settings, name=name)
            train_run(stage)
            evaluate(Folders(), stage.out)
    return folder


def predictions(system: Path, run: str) -> pd.DataFrame:
    return pd.read_parquet(system / f"models/{run}/predictions.parquet").sort_values("id", ignore_index=True)


@pytest.mark.parametrize("run", ["dense", "logistic", "nb_svm"])
def test_labels_are_learned_from_words(run: str, system: Path) -> None:
    table = predictions(system, run)
    test = pd.read_parquet(system / "data/split/manifest.parquet").query("fold == 'test'")
    true = test.set_index("id")["label"].map(SEEN).map(lambda cell: cell.replace(" ", "").strip("-"))
    assert dict(zip(table["id"], table["labels"], strict=True)) == true.to_dict()
    assert (table["labels"] == table["predicted"]).mean() > 0.8
    assert read_record(system / "models" / run).data["rows"]["train"] == (
        pd.read_parquet(system / "data/split/manifest.parquet")["fold"].eq("train").sum() - 1
    )


@pytest.mark.parametrize("run", NUMBERS)
def test_a_number_is_learned_from_words(run: str, system: Path) -> None:
    table = predictions(system, run)
    assert set(table["target"]) == {1, 2, 3}
    assert (table["target"] - table["predicted"]).abs().mean() < 0.4


@pytest.mark.parametrize("run", RUNS)
def test_new_texts_get_what_the_evaluation_wrote(run: str, system: Path, tmp_path: Path) -> None:
    texts = pd.read_parquet(system / "data/texts/texts.parquet").set_index("id")["text"]
    table = predictions(system, run)
    for key in table["id"]:
        (tmp_path / f"{key}.txt").write_text(texts[key], encoding="utf-8")
    found = predict_texts(system, run, [tmp_path])
    if run in NUMBERS:
        assert [one.predicted for one in found] == pytest.approx(table["predicted"].tolist(), abs=1e-5)
    else:
        assert ["|".join(one.predicted) for one in found] == table["predicted"].tolist()


def test_a_linear_model_is_that_of_each_label(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina.training.linear import fit_logistic

    monkeypatch.chdir(system)
    learner = learner_of(RUNS["logistic"])
    learned = learner.learn(learner.settings.given_numbers())
    examples = learner.validation
    fitted = fit_logistic(learner.train.matrix, learner.train.labels[:, 1].astype(int), 2, strength=1.0)
    expected = fitted.predict(examples.matrix)[:, 1]
    np.testing.assert_allclose(learned.predict(examples)[:, 1], expected, atol=1e-5)
    (row,) = learned.history
    assert 0.8 < row["validation_f1"] <= 1


def test_ridge_is_that_of_a_standardized_number_in_any_unit(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)
    learner = learner_of(RUNS["ridge"] | {"penalty": 3.0})
    train, matrix = learner.train.labels[:, 0].astype(float), learner.validation.matrix
    mean, deviation = train.mean(), train.std()
    by_hand = Ridge(3.0, solver="cholesky").fit(
        learner.train.matrix.toarray().astype(float), (train - mean) / deviation
    )
    expected = by_hand.predict(matrix.toarray()) * deviation + mean
    learned = learner.learn(learner.settings.given_numbers())
    np.testing.assert_allclose(learned.predict(learner.validation)[:, 0], expected, atol=1e-5)
    (row,) = learned.history
    errors = expected - learner.validation.labels[:, 0]
    assert row["validation_mae"] == pytest.approx(np.abs(errors).mean(), abs=1e-5)
    assert row["validation_loss"] == pytest.approx((errors**2).mean() / deviation**2, abs=1e-5)
    assert not learner.is_random


@pytest.mark.parametrize(("name", "penalty"), [("ridge", 100.0), ("logistic", 1.0)])
def test_each_linear_model_has_a_penalty_of_its_own_by_default(name: str, penalty: float) -> None:
    given = {key: value for key, value in RUNS[name].items() if key != "penalty"}
    assert read_run(params_of({"run": given}), "run").settings.given_numbers().model_dump() == {"penalty": penalty}
    low, high = section({"tune": TUNE}, "tune", TuneConfig).penalty
    assert low < penalty < high


def test_the_penalty_of_ridge_is_tuned_to_the_least_error(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(system)
    stage = stage_of(RUNS["ridge"] | {"penalty": "tune"}, tmp_path)
    found = tune(stage, section(stage.params, "tune", TuneConfig), studies=tmp_path / "studies")
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert trials["penalty"].nunique() == len(trials) == TUNE["trials"]
    assert found.tuned == {"penalty": trials["penalty"][trials["value"].idxmin()]}


def test_they_are_exported(system: Path) -> None:
    assert "probabilities within " in export(system, "nb_svm", ["onnx"])[0]
    assert "number within " in export(system, "stars", ["onnx"])[0]
    assert "number within " in export(system, "ridge", ["onnx"])[0]
    assert "test F1 per example " in export(system, "dense", ["int8"])[0]


@pytest.mark.parametrize(("run", "kind"), [("dense", "labels"), ("stars", "number"), ("ridge", "number")])
def test_they_are_served(run: str, kind: str, system: Path) -> None:
    served = open_served(system, run)
    served.load()
    facts = about(system, served)
    assert (facts["takes"], facts["kind"]) == ("text", kind)
    assert (facts["target"], facts["thresholds"] is None) == (("stars", True) if run in NUMBERS else (None, False))
    answer = served.predict(b"great lovely words")
    assert isinstance(answer, dict)
    assert answer["predicted"] == (["praise"] if run == "dense" else pytest.approx(3, abs=0.8))


def test_the_report_shows_them(system: Path, tmp_path: Path) -> None:
    chapters = {name: TASKS[settings["task"]] for name, settings in RUNS.items()}
    page = report(chapters, system, tmp_path / "reports", content="texts").page.read_text(encoding="utf-8")
    assert "F1 per example" in page
    assert "of a picture" not in page


def furthest_off(page: str) -> list[str]:
    """The texts that a page lists as furthest off."""
    shown = page[page.index("<h3>Furthest off</h3>") :]
    return re.findall(r"<li>(.*?)</li>", shown[: shown.index("</ul>")], flags=re.DOTALL)


def test_the_report_shows_the_texts_whose_labels_are_furthest_off(system: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(system, tmp_path / "copy")
    kept = pd.read_parquet(folder / "data/filtered/kept.parquet").set_index("id")["name"]
    table = predictions(folder, "dense").assign(predicted=lambda rows: rows["labels"])
    first, second = table.index[table["labels"] == "praise"][:2]
    table.loc[first, ["predicted", "origin"]] = ["plain", "<b>slide"]  # the worst
    table.loc[second, "predicted"] = "plain|praise"
    table.to_parquet(folder / "models/dense/predictions.parquet", index=False)
    page = report({"dense": TASKS["multilabel"]}, folder, tmp_path / "reports", content="texts").page.read_text("utf-8")
    worst, better = furthest_off(page)
    assert kept[table["id"][first]] in worst
    assert "<b>praise</b>" in worst
    assert "missed: praise<" in worst
    assert "wrongly given: plain<" in worst
    assert "origin: &lt;b&gt;slide" in worst
    assert kept[table["id"][second]] in better
    assert "missed" not in better
    assert "wrongly given: plain<" in better


def test_the_report_shows_the_texts_whose_numbers_are_furthest_off(system: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(system, tmp_path / "copy")
    kept = pd.read_parquet(folder / "data/filtered/kept.parquet").set_index("id")["name"]
    table = predictions(folder, "ridge")
    table.loc[3, "predicted"] = -5.5  # the worst
    table.loc[5, ["predicted", "origin"]] = [50.25, "<b>slide"]
    table.to_parquet(folder / "models/ridge/predictions.parquet", index=False)
    texts = pd.read_parquet(folder / "data/texts/texts.parquet")
    texts.loc[texts["id"] == table["id"][5], "text"] = "<script>alert(1)</script> & more " + "long " * EXCERPT
    texts.to_parquet(folder / "data/texts/texts.parquet", index=False)
    page = report({"ridge": TASKS["regress"]}, folder, tmp_path / "reports", content="texts").page.read_text("utf-8")
    found = furthest_off(page)
    assert len(found) == min(12, len(table))
    off = (table["predicted"] - table["target"]).abs().sort_values(ascending=False)
    assert [kept[table["id"][place]] in one for place, one in zip(off.index, found, strict=False)] == [True] * len(
        found
    )
    first, second = found[:2]
    assert f"predicted 50.2, off by +{50.25 - table['target'][5]:.1f}" in first
    assert "<blockquote>&lt;script&gt;alert(1)&lt;/script&gt; &amp; more long" in first
    assert "…</blockquote>" in first
    assert "origin: &lt;b&gt;slide" in first
    assert f"<b>{table['target'][3]:.2f}</b>" in second
    assert "predicted \N{MINUS SIGN}5.50" in second
    assert "origin:" not in second
    assert "<script>alert" not in page


def test_only_networks_of_words_take_words() -> None:
    params = {"runs": {"run": RUNS["stars"] | {"network": "logistic_regression"}}}
    with pytest.raises(UserError, match=r"runs\.run\.network: unknown .*; available over words: dense, ridge$"):
        read_run(params, "run")
    with pytest.raises(UserError, match=r"runs\.run\.network: unknown network 'ridg'; .*: dense, ridge$"):
        read_run({"runs": {"run": RUNS["ridge"] | {"network": "ridg"}}}, "run")
    with pytest.raises(UserError, match=r"runs\.run\.network: .*logistic_regression.*nb_svm"):
        read_run({"runs": {"run": RUNS["logistic"] | {"network": "small_cnn"}}}, "run")


def test_the_split_writes_what_each_task_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = opinions(8, ("neg", "pos"))
    filtered_system(tmp_path / "data", texts)
    metadata = pd.DataFrame({"name": list(texts), "stars": [str(place) for place in range(len(texts))]})
    metadata.to_parquet(tmp_path / "data/raw/_metadata.parquet", index=False)
    shares = {"test": 0.3, "validation": 0.2, "merge_near_duplicates": False}
    write_params(tmp_path, RUNS, split=shares)
    monkeypatch.chdir(tmp_path)
    split_texts.main()
    kept = pd.read_parquet("data/filtered/kept.parquet").set_index("id")["name"]
    table = pd.read_parquet("data/targets/regress.parquet")
    assert dict(zip(table["id"].map(kept), table["stars"], strict=True)) == dict(
        zip(metadata["name"], metadata["stars"], strict=True)
    )
    assert list(pd.read_parquet("data/targets/classify.parquet")) == ["id"]
