"""`lamina card`: cards hold the values of the records, and are valid for the Hub."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from finished import finished_record, run_settings, write_params
from lamina.commands import card
from lamina.config import read_params
from lamina.errors import UserError
from lamina.files import write_json
from pages import write_pictures
from tracked import CLASSES, write_color_run, write_label_run, write_lightness_run, write_number_run, write_run

RUNS = {
    "tiny": run_settings("head"),
    "colors": run_settings("colorizer"),
    "light": run_settings("lightness"),
    "later": run_settings("network"),
    "seen": run_settings("head", task="multilabel", targets=["seen"]),
    "count": run_settings("head", task="regress", target="count"),
}


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A system `cells` with a finished run of each task."""
    folder = tmp_path / "cells"
    folder.mkdir()
    write_params(folder, RUNS, source={"kind": "smear", "pictures": 246})
    write_run(folder)
    write_color_run(folder)
    write_lightness_run(folder)
    write_label_run(folder)
    write_number_run(folder)
    return folder


def call(system: Path, *options: object) -> int:
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    card.add_arguments(parser)
    return card.run(parser.parse_args(["--system", str(system), *map(str, options)]))


def made(capsys: pytest.CaptureFixture[str], system: Path, *options: object) -> tuple[dict[str, Any], str]:
    """Return the front matter of a card, and its text."""
    capsys.readouterr()
    assert call(system, *options) == 0
    opening, head, text = capsys.readouterr().out.split("---\n", 2)
    assert opening == ""
    return YAML(typ="safe").load(head), text


def test_the_hub_gets_the_measured_values_with_their_intervals(
    system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, _ = made(capsys, system, "tiny", "--license", "mit")
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == ("mit", "keras", "image-classification")
    (model,) = head["model-index"]
    (result,) = model["results"]
    assert model["name"] == "tiny"
    assert (result["task"], result["dataset"]["split"]) == ({"type": "image-classification"}, "test")
    measured = {metric["type"]: metric for metric in result["metrics"]}
    assert measured["accuracy"]["value"] == 0.75
    assert measured["accuracy"]["args"] == {"interval_95": [0.5, 0.9], "n": 4, "origins": 4}
    assert measured["f1"]["value"] == 0.7
    assert set(measured) == set(head["metrics"]) == {"accuracy", "f1"}  # what it is compared with is none of its scores


def test_the_text_says_what_it_does_how_well_and_what_it_is(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(system / "models/tiny/assessment.json", {
        "repeats": {"seeds": [1, 2], "test": {"values": [0.71, 0.74], "mean": 0.725, "deviation": 0.02},
                    "validation": {"values": [0.7, 0.7], "mean": 0.7, "deviation": 0.0}},
        "control": {"accuracy": 0.9, "chance": 0.5, "interval": [0.3, 0.7], "p": 0.01, "passed": False, "n": 4},
    })  # fmt: skip
    _, text = made(capsys, system, "tiny")
    assert f"classifies pictures into 2 classes: {CLASSES[0]}, {CLASSES[1]}" in text
    assert "**0.750** (95 % interval 0.500 to 0.900)" in text
    assert "| accuracy | 0.750 | 0.500 to 0.900 | share of correct answers |" in text
    assert f"| {CLASSES[1]} | 0.250 | 0.500 | 0.333 | 2 |" in text
    assert "test accuracy 0.710, 0.740" in text
    assert "**which is more: there may be a leak**" in text
    assert 'lamina.open(".").runs["tiny"].predict("new/")' in text
    assert "a" * 64 in text


@pytest.mark.parametrize(
    ("passed", "verdict"), [(True, "as it must be"), (False, "**which is better: there may be a leak**")]
)
def test_the_card_has_the_control_of_targets(
    passed: bool, verdict: str, system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    control = {
        "measure": "f1",
        "value": 0.4,
        "chance": 0.3,
        "interval": [0.2, 0.35],
        "p": 0.1,
        "passed": passed,
        "n": 8,
    }
    write_json(system / "models/seen/assessment.json", {"control": control})
    _, text = made(capsys, system, "seen")
    reached = "- Trained with shuffled targets it reaches a test F1 per example of 0.400; chance gives 0.200 to 0.350"
    assert f"{reached}: {verdict}." in text


@pytest.mark.parametrize("run", ["colors", "light"])
def test_every_task_has_a_card(run: str, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, text = made(capsys, system, run)
    assert head["pipeline_tag"] == "image-to-image"
    value = json.loads((system / f"models/{run}/metrics.json").read_text())["test"]["mse"]
    (result,) = head["model-index"][0]["results"]
    assert next(one for one in result["metrics"] if one["type"] == "mse")["value"] == value
    assert not [one for one in head["metrics"] if "grey" in one or "mean" in one or one == "baseline"]
    assert "## Limits" in text


def test_labels_are_no_classes(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, text = made(capsys, system, "seen")
    assert head["pipeline_tag"] == "image-classification"
    assert head["metrics"][0] == "f1"
    assert len(set(head["metrics"])) == len(head["metrics"]), "two means of F1 have two names"
    assert not [one for one in head["metrics"] if CLASSES[0] in one or "majority" in one]
    assert f"gives pictures any number of 2 labels: {CLASSES[0]}, {CLASSES[1]}. F1 per example on 8" in text
    assert f"| {CLASSES[1]} | 0.25 |" in text
    assert "| targets | seen |" in text
    assert "classifies" not in text
    assert "always answers" not in text
    assert "lamina predict new/ --run seen\n" in text


def test_a_number_has_its_range_and_its_margin(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, text = made(capsys, system, "count")
    assert head["pipeline_tag"] == "other"
    assert {"mae", "rmse", "r_squared", "spearmanr"} <= {*head["metrics"]}
    assert "predicts a number from pictures: `count`. MAE on 40 pictures" in text
    assert "numbers around 19.5, with a standard deviation of 12, in the unit of `count`" in text
    assert "About 90 % of new numbers lie within 2.5 of its answer; of the test fold" in text
    scored = text.partition("| score |")[2].partition("\n\n")[0].splitlines()[2:]
    assert not [line for line in scored if line.endswith("|  |")], "every score has a meaning"
    assert "gives numbers, (n, 1)" in text


def test_a_number_of_a_small_unit_is_not_rounded_away(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = system / "models/count/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"] |= {"mae": 3.1234567e-5, "interval": [2.0e-5, 4.0e-5]}
    write_json(path, metrics)
    head, text = made(capsys, system, "count")
    (mae,) = [one for one in head["model-index"][0]["results"][0]["metrics"] if one["type"] == "mae"]
    assert (mae["value"], mae["args"]["interval_95"]) == (3.123e-5, [2e-5, 4e-5])
    assert "| MAE | 3.1e-05 | 2e-05 to 4e-05 |" in text


def test_a_card_of_published_weights_names_their_license(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"trained_on": "ImageNet", "source": "a package", "license": "Apache-2.0", "reference": "Tan and Le"}
    record = finished_record("tiny", RUNS["tiny"], classes=("a|b", "c"), data={"digest": "d", "weights": facts})
    record.write(system / "models/tiny/record.json")
    _, text = made(capsys, system, "tiny")
    assert "| license | Apache-2.0 |" in text
    assert r"classes: a\|b, c" in text


def test_the_champion_is_the_default(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        UserError, match="no champion was accepted yet; name a run, of tiny, colors, light, later, seen, count"
    ):
        call(system)
    accepted = {"run": "tiny", "key": "a", "model": "b", "measure": "accuracy", "validation": 0.75}
    write_json(system / "baselines/champion.json", accepted)
    assert made(capsys, system)[1].startswith("\n# cells: tiny\n")


def test_a_folder_gets_a_readme(system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert call(system, "tiny") == 0
    printed = capsys.readouterr().out
    assert call(system, "tiny", "--out", tmp_path / "hub") == 0
    assert (tmp_path / "hub/README.md").read_text() == printed
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["README.md"]
    assert call(system, "colors", "--out", tmp_path / "hub") == 0
    with pytest.raises(UserError, match="is a file; --out expects a folder"):
        call(system, "tiny", "--out", tmp_path / "hub/README.md")


def test_a_readme_that_is_no_card_is_kept(system: Path) -> None:
    (system / "README.md").write_text("# What we ask\n")
    with pytest.raises(UserError, match=r"README\.md: is no card of lamina, and would be lost; give another folder"):
        call(system, "tiny", "--out", system)
    assert (system / "README.md").read_text() == "# What we ask\n"


def test_what_is_not_there_is_refused(system: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run 'tinny'; did you mean 'tiny'"):
        call(system, "tinny")
    with pytest.raises(UserError, match=r"later/record\.json: not found"):
        call(system, "later")
    with pytest.raises(UserError, match="--data: expected no run, got 'tiny'"):
        call(system, "tiny", "--data")
    with pytest.raises(UserError, match=r"manifest\.parquet: not found"):
        call(system, "--data")


def test_scores_of_an_earlier_training_make_no_card(system: Path) -> None:
    write_json(system / "models/tiny/uncertainty/uncertainty.json", {"key": "b" * 64})
    with pytest.raises(UserError, match="tiny: its scores are those of an earlier training; run `dvc repro evaluate@"):
        call(system, "tiny")


def test_the_card_of_the_data_counts_what_was_kept_and_left_out(
    system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(system, side=32)
    head, text = made(capsys, system, "--data", "--license", "cc-by-4.0")
    assert head["license"] == "cc-by-4.0"
    assert head["size_categories"] == ["n<1K"]
    assert head["task_categories"] == ["image-classification"]
    assert "240 pictures of 4 classes, of 246 that were found" in text
    assert "| duplicate | 3 | the same bytes under another name |" in text
    split = pd.read_parquet(system / "data/split/manifest.parquet").query("copy == 0")
    label = split["label"].iloc[0]
    counts = split.query("label == @label").groupby("fold")["id"].nunique()
    assert f"| {label} | {counts['train']} (" in text
    assert "2 pairs are suspicious" in text
    assert "In brackets, the origins that they come from. Whole" in text


def test_the_card_of_the_data_speaks_of_brackets_only_where_it_has_some(
    system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(system, side=32)
    path = system / "data/split/manifest.parquet"
    split = pd.read_parquet(path)
    split.assign(origin=split["id"]).to_parquet(path, index=False)
    text = made(capsys, system, "--data")[1]
    assert "\n\nWhole origins are in one fold" in text
    assert "In brackets" not in text


def test_the_card_of_the_data_says_that_labels_were_corrected(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(system, side=32)
    assert "- Labels are those of the source. Nobody has checked them." in made(capsys, system, "--data")[1]
    (system / "data/raw").mkdir()
    (system / "data/raw/_corrected.csv").write_text("file,given,label\na.png,x,y\nb.png,x,y\n")
    params = read_params(system)
    write_json(system / "params.yaml", params | {"source": params["source"] | {"corrections": "fixed.csv"}})
    text = made(capsys, system, "--data")[1]
    assert "| labels that replace some of them | fixed.csv |" in text
    assert "- Labels are those of the source, but 2 that `fixed.csv` corrected; `data/raw/_corrected.csv` names" in text
