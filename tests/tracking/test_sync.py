"""A finished run in MLflow: once, in full, from its files alone."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from finished import class_scores, color_scores, lightness_scores
from lamina.charts.lettering import plain_text
from lamina.errors import UserError
from lamina.files import write_json
from lamina.results.metrics import FEW_CLASSES, Metrics
from lamina.tasks.registry import TASKS
from lamina.tracking import records, runs, store
from lamina.tracking import sync as completion
from lamina.tracking.records import read_tracked
from lamina.tracking.sync import assessed, sync
from tracked import (
    CLASSES,
    artifacts,
    assert_history,
    follow,
    shown,
    trials,
    write_color_run,
    write_label_run,
    write_lightness_run,
    write_number_run,
    write_run,
)


def scalars(task: str, scores: dict[str, Any]) -> dict[str, float]:
    """Return the names and values of a fold's scores in MLflow."""
    metrics: type[Metrics] = TASKS[task].metrics_class()
    found = metrics.model_validate({"test": scores, "validation": scores}).scalars()
    assert {name.removeprefix("validation_") for name in found if name.startswith("validation_")} == {
        name.removeprefix("test_") for name in found if name.startswith("test_")
    }
    return {name: value for name, value in found.items() if name.startswith("test_")}


def test_scores_of_classes_have_the_names_of_before() -> None:
    calibration = {"ece": 0.1, "interval": [0.05, 0.2], "by_chance": 0.04, "brier": 0.3, "log_loss": 0.5}
    assert scalars("classify", class_scores(0.75, ["a"], calibration=calibration)) == {
        "test_accuracy": 0.75, "test_accuracy_low": 0.5, "test_accuracy_high": 0.9,
        "test_n": 4, "test_origins": 4, "test_macro_f1": 0.7, "test_majority": 0.5,
        "test_precision_a": 0.25, "test_recall_a": 0.5, "test_f1_a": 1 / 3, "test_n_a": 4,
        "test_ece": 0.1, "test_ece_low": 0.05, "test_ece_high": 0.2, "test_brier": 0.3, "test_log_loss": 0.5,
    }  # fmt: skip


def test_scores_of_single_classes_are_left_out_where_there_are_many() -> None:
    few, many = ([f"class {number}" for number in range(count)] for count in (FEW_CLASSES, 600))
    found = scalars("classify", class_scores(0.75, many))
    assert len(found) == 7
    assert len(scalars("classify", class_scores(0.75, few))) == len(found) + 4 * FEW_CLASSES


def test_a_confusion_matrix_shows_of_many_classes_those_with_the_most_mistakes() -> None:
    classes = [f"class {number:02d}" for number in range(FEW_CLASSES + 10)]
    rows = pd.DataFrame({"label": classes * 2, "predicted": [*classes, *classes[:10], *classes[-1:9:-1]]})
    text = {name: name for name in classes}
    axes = completion._confusion(rows, text).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == classes[10:]
    assert axes.get_title() == f"the {FEW_CLASSES} of {len(classes)} classes with the most mistakes"
    few = {name: name for name in classes[:FEW_CLASSES]}
    assert not completion._confusion(rows, few).axes[0].get_title()


def test_scores_of_colors_have_the_names_of_before() -> None:
    found = scalars("colorize", color_scores(100.0))
    expected = {
        "test_n": 4, "test_origins": 4,
        "test_mse": 100, "test_mse_low": 90, "test_mse_high": 120, "test_mse_grey": 200, "test_mse_mean": 180,
        "test_colorfulness": 20, "test_colorfulness_low": 18, "test_colorfulness_high": 24,
        "test_colorfulness_grey": 0, "test_colorfulness_mean": 7.4, "test_colorfulness_true": 37.4,
        "test_against_grey_difference": -100,
        "test_against_grey_difference_low": -112.5, "test_against_grey_difference_high": -87.5,
    }  # fmt: skip
    assert {name: value for name, value in found.items() if name in expected} == pytest.approx(expected)
    of_measures = ("mse", "psnr", "ssim", "ciede2000", "colorfulness", "auc", "auc_rebalanced")
    ends = ("", "_low", "_high", "_grey", "_mean")
    names = {f"test_{measure}{end}" for measure in of_measures for end in ends} | {*expected}
    against = {f"test_against_{baseline}_difference{end}" for baseline in ("grey", "mean") for end in ends[:3]}
    assert set(found) == names | against


def test_scores_of_lightness_have_plain_names() -> None:
    expected = {"mse": 90, "mse_low": 81, "mse_high": 108, "baseline": 300, "n": 4, "origins": 4}
    found = scalars("lightness", lightness_scores(90.0))
    assert found == pytest.approx({f"test_{name}": value for name, value in expected.items()})


@pytest.mark.parametrize("interval", [None, [None, None], [float("-inf"), float("inf")]])
def test_an_interval_that_one_origin_cannot_show_is_left_out(interval: Any) -> None:
    found = scalars("lightness", lightness_scores(90.0) | {"interval": interval})
    assert set(found) == {"test_mse", "test_baseline", "test_n", "test_origins"}


def assess(system: Path, run: str, assessment: dict[str, Any]) -> dict[str, float]:
    """Return what MLflow shows of an assessment of a run."""
    (system / "models" / run / "assessment.json").write_text(json.dumps(assessment))
    return assessed(read_tracked(system, run))


def test_an_assessment_of_a_classifier_has_names_of_its_own(tmp_path: Path) -> None:
    write_run(tmp_path)
    spread = {"values": [0.7], "mean": 0.7, "deviation": None}
    control = {"accuracy": 0.3, "chance": 0.25, "interval": [0.1, 0.4], "p": 0.2, "passed": True, "n": 9}
    crossed = {"scores": class_scores(0.8, ["a"]), "folds": [{"value": 0.8, "n": 5}]}
    repeats = {"seeds": [2], "test": spread, "validation": spread}
    found = assess(tmp_path, "tiny", {"crossvalidation": crossed, "control": control, "repeats": repeats})
    expected = {
        "crossvalidation_accuracy": 0.8, "crossvalidation_accuracy_low": 0.5, "crossvalidation_accuracy_high": 0.9,
        "crossvalidation_recall_a": 0.5, "crossvalidation_starts_from_file": 0.0,
        "control_accuracy": 0.3, "control_chance": 0.25, "control_p": 0.2, "control_passed": 1.0,
        "repeats_test_mean": 0.7, "repeats_validation_mean": 0.7,
    }  # fmt: skip
    assert expected.items() <= found.items()
    assert {name for name in found if not name.startswith("crossvalidation")} == {
        name for name in expected if not name.startswith("crossvalidation")
    }
    assert assess(tmp_path, "tiny", {}) == {}
    assert assess(tmp_path, "tiny", dict.fromkeys(["crossvalidation", "control", "repeats"])) == {}


def test_the_control_of_targets_has_the_name_of_its_measure(tmp_path: Path) -> None:
    write_run(tmp_path)
    values = {"chance": 12.5, "p": 0.2, "passed": True}
    control = values | {"measure": "mae", "value": 12.0, "interval": [11, 14], "n": 9}
    found = {"control_mae": 12.0} | {f"control_{name}": float(value) for name, value in values.items()}
    assert assess(tmp_path, "tiny", {"control": control}) == found


def test_an_assessment_of_a_colorizer_has_names_of_its_own(tmp_path: Path) -> None:
    write_color_run(tmp_path)
    spread = {"values": [91.0, 93.0], "mean": 92.0, "deviation": 1.4}
    repeats = {"seeds": [2, 3], "test": spread, "validation": spread}
    crossed = {"scores": color_scores(90.0), "folds": [{"value": 90, "n": 5}], "starts_from_file": True}
    found = assess(tmp_path, "colors", {"crossvalidation": crossed, "repeats": repeats})
    expected = {
        "crossvalidation_n": 4, "crossvalidation_origins": 4, "crossvalidation_starts_from_file": 1,
        "crossvalidation_mse": 90, "crossvalidation_mse_low": 81, "crossvalidation_mse_high": 108,
        "crossvalidation_mse_grey": 200, "crossvalidation_against_mean_difference": -90,
        "repeats_test_mean": 92, "repeats_test_deviation": 1.4,
        "repeats_validation_mean": 92, "repeats_validation_deviation": 1.4,
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == pytest.approx(expected)


def test_the_digest_changes_with_results_and_with_the_code_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path)
    write_color_run(tmp_path)
    first = read_tracked(tmp_path, "tiny").digest
    assert len(first) == 64
    assert read_tracked(tmp_path, "tiny").digest == first
    (tmp_path / "models/tiny/timing.json").write_text('{"seconds": {"train": 99.0}}')
    assert read_tracked(tmp_path, "tiny").digest == first, "times are no results"
    (tmp_path / "models/tiny/assessment.json").write_text("{}")
    assert read_tracked(tmp_path, "tiny").digest != first
    served: list[str] = []
    monkeypatch.setattr(records, "code_digest", lambda *modules: (served.extend(modules), "other code")[1])
    assert read_tracked(tmp_path, "colors").digest
    assert served == ["lamina.tracking.model", "lamina.tasks.colorize.serving"]
    (tmp_path / "models/tiny/assessment.json").unlink()
    assert read_tracked(tmp_path, "tiny").digest != first


def test_the_code_that_travels_with_a_model_counts_as_code_that_serves() -> None:
    from lamina.source_code import code_lines

    lines = code_lines("lamina.tracking.model", "lamina.tasks.classify.serving")
    files = {line.split("  ")[1] for line in lines}
    assert {"tracking/model.py", "tracking/pyfunc.py", "tasks/classify/serving.py"} <= files


def test_another_assessment_is_another_state(system: Path) -> None:
    assert sync(system, "tiny") == "tracked"
    assert sync(system, "tiny") == "already there"
    control = {"accuracy": 0.3, "chance": 0.25, "interval": [0.1, 0.4], "p": 0.2, "passed": True, "n": 9}
    (system / "models" / "tiny" / "assessment.json").write_text(json.dumps({"control": control}))
    assert sync(system, "tiny") == "tracked"
    [run] = shown(system)
    assert run.data.metrics["control_chance"] == 0.25


def test_a_run_is_logged_in_full(system: Path) -> None:
    assert sync(system, "tiny") == "tracked"
    (run,) = shown(system)
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    assert len(run.data.tags["lamina.complete"]) == 64
    assert run.data.tags["lamina.key"] == "a" * 64
    assert run.data.tags["commit"] == run.data.tags["mlflow.source.git.commit"] == "c" * 40
    assert (run.data.tags["data"], run.data.tags["system"], run.data.tags["task"]) == ("d" * 64, "cells", "classify")
    params = {"input": "features/small_cnn", "epochs": "4", "tuned.dropout": "0.5", "seed": "13", "width": "8"}
    assert params.items() <= run.data.params.items()
    assert run.data.metrics["test_accuracy"] == 0.75
    assert (run.data.metrics["test_accuracy_low"], run.data.metrics["validation_accuracy_high"]) == (0.5, 0.9)
    (odd,) = (name for name in run.data.metrics if name.startswith("test_f1_large_odd name-"))
    assert run.data.metrics[odd] == pytest.approx(1 / 3)
    assert run.data.metrics["seconds_train"] == 1.5


def test_what_a_run_learned_from_is_named(system: Path) -> None:
    sync(system, "tiny")
    (run,) = shown(system)
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("cells/features/small_cnn", "d" * 36)
    assert json.loads(used.dataset.profile) == {"train": 10, "validation": 2}
    assert {tag.key: tag.value for tag in used.tags} == {"mlflow.data.context": "training"}


def test_every_class_has_numbers_of_its_own(system: Path) -> None:
    names = ["a/b", "a b", "a:b", "a_b", "A_B", "id", "$$", r"\foo", "猫", "x" * 400, "x" * 401]
    path = system / "models" / "tiny" / "metrics.json"
    metrics = json.loads(path.read_text())
    for fold in metrics.values():
        fold["per_class"] = {
            name: {"precision": 0.5, "recall": 0.5, "f1": place / 100, "n": 1} for place, name in enumerate(names)
        }
    write_json(path, metrics)
    assert sync(system, "tiny") == "tracked"
    (run,) = shown(system)
    found = {name: value for name, value in run.data.metrics.items() if name.startswith("test_f1_")}
    assert sorted(found.values()) == pytest.approx([place / 100 for place in range(len(names))])
    assert found["test_f1_a b"] == 0.01
    assert found["test_f1_猫"] == 0.08


@pytest.mark.parametrize("classes", [["$$", "$5_front$"], [r"\foo", "猫"], ["id", "a\nb"]])
def test_a_confusion_of_any_classes_is_drawn(system: Path, classes: list[str]) -> None:
    rows = pd.DataFrame({"label": classes, "predicted": classes[::-1]})
    with plain_text(classes) as text:
        figure = completion._confusion(rows, text)
        figure.savefig(system / "confusion.png")
        assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [*text.values()]


def test_an_ensemble_is_logged_in_full_with_its_runs(system: Path) -> None:
    write_run(system, key="b", run="later")
    path, params = system / "params.yaml", json.loads((system / "params.yaml").read_text())
    path.write_text(json.dumps(params | {"ensembles": {"both": {"runs": ["tiny", "later"]}}}))
    folder = shutil.copytree(system / "models/tiny", system / "ensembles/both")
    (folder / "history.csv").unlink()
    keys = {"tiny": "a" * 64, "later": "b" * 64}
    settings = {"runs": ["tiny", "later"]}
    record = json.loads((folder / "record.json").read_text())
    write_json(folder / "record.json", record | {"run": "both", "key": "c" * 64, "settings": settings, "members": keys})
    assert sync(system, "both") == "tracked"
    assert sync(system, "both") == "already there"
    (run,) = shown(system)
    assert run.info.run_name == "both"
    assert run.data.tags["members"] == "later, tiny"
    assert {name: run.data.params[f"members.{name}"] for name in keys} == keys
    assert run.data.params["runs"] == "['tiny', 'later']"
    assert run.data.metrics["test_accuracy"] == 0.75
    assert not [name for name in run.data.metrics if name.startswith("train_")]
    assert len(run.outputs.model_outputs) == 1


def test_every_epoch_is_there_once(system: Path) -> None:
    sync(system, "tiny")
    assert_history(system)


def test_trials_are_nested_runs(system: Path) -> None:
    sync(system, "tiny")
    (run,) = shown(system)
    found = sorted(trials(system), key=lambda trial: trial.info.run_name)
    assert [trial.data.tags[runs.PARENT] for trial in found] == [run.info.run_id] * 3
    assert [trial.data.tags["state"] for trial in found] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert [trial.info.status for trial in found] == ["FINISHED", "KILLED", "FINISHED"]
    assert found[0].data.params == {"learning_rate": "0.001", "dropout": "0.5", "decay": "0.0"}
    assert found[0].data.metrics == {"validation_accuracy": 0.8, "epochs": 4}
    assert found[2].data.metrics == {"validation_accuracy": 0, "epochs": 0}, "it diverged"


def test_record_files_and_figures_are_kept(system: Path) -> None:
    folder = system / "models" / "tiny"
    sync(system, "tiny")
    (run,) = shown(system)
    kept = artifacts(system, run)
    names = {path.name for path in folder.iterdir()} - {"model.keras"}
    assert {path.name for path in (kept / "record").iterdir()} == names
    for name in names:
        assert (kept / "record" / name).read_bytes() == (folder / name).read_bytes()
    for name in ("loss", "accuracy", "confusion"):
        assert (kept / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_twice_is_once(system: Path) -> None:
    sync(system, "tiny")
    before = shown(system)
    assert sync(system, "tiny") == "already there"
    assert [run.to_dictionary() for run in shown(system)] == [run.to_dictionary() for run in before]
    assert len(trials(system)) == 3


def test_files_that_somebody_deleted_are_logged_again(system: Path) -> None:
    sync(system, "tiny")
    (run,) = shown(system)
    shutil.rmtree(artifacts(system, run) / "record")
    assert sync(system, "tiny") == "tracked"
    (run,) = shown(system)
    store.open_store(system).client.delete_logged_model(run.outputs.model_outputs[0].model_id)
    assert sync(system, "tiny") == "tracked"
    assert sync(system, "tiny") == "already there"
    (run,) = shown(system)
    assert (artifacts(system, run) / "record" / "record.json").exists()


def test_other_results_replace_those_of_the_same_key(system: Path) -> None:
    sync(system, "tiny")
    (before,) = shown(system)
    metrics = json.loads((system / "models" / "tiny" / "metrics.json").read_text())
    metrics["test"] |= {"accuracy": 0.25, "interval": [0.1, 0.4]}
    (system / "models" / "tiny" / "metrics.json").write_text(json.dumps(metrics))
    assert sync(system, "tiny") == "tracked"
    (run,) = shown(system)
    assert run.data.tags["lamina.key"] == before.data.tags["lamina.key"]
    assert run.data.tags["lamina.complete"] != before.data.tags["lamina.complete"]
    assert run.data.metrics["test_accuracy"] == 0.25
    assert (run.data.metrics["test_accuracy_low"], run.data.metrics["test_accuracy_high"]) == (0.1, 0.4)
    assert run.data.metrics["validation_accuracy_high"] == 0.9
    assert [trial.data.tags[runs.PARENT] for trial in trials(system)] == [run.info.run_id] * 3
    assert_history(system)
    assert sync(system, "tiny") == "already there"


@pytest.mark.nightly
def test_two_processes_at_once_are_once_even_where_no_store_was(tmp_path: Path) -> None:
    system = tmp_path / "cells"
    write_run(system)
    call = (
        "import pathlib, sys; from lamina.tracking import store; from lamina.tracking.sync import sync;"
        "store.SECONDS_TO_WAIT = 300;"  # a busy machine takes longer than people wait
        "print(sync(pathlib.Path('.'), 'tiny'), 'tensorflow' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    both = [
        subprocess.Popen([sys.executable, "-c", call], cwd=system, env=environment, text=True, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = sorted(process.communicate(timeout=120)[0] for process in both)
    assert said == ["already there False\n", "tracked False\n"]
    assert len(shown(system)) == 1


def test_one_process_waits_for_the_other(system: Path) -> None:
    sync(system, "tiny")  # what it imports does not count in the second below
    write_run(system, key="b")
    with ThreadPoolExecutor(1) as pool:
        with store.exclusive(store.store_root(system)):
            waiting = pool.submit(sync, system, "tiny")
            time.sleep(1)
            assert not waiting.done()
        assert waiting.result(timeout=60) == "tracked"


def test_a_process_that_hangs_is_not_waited_for(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SECONDS_TO_WAIT", 0.3)
    with (
        store.exclusive(store.store_root(system)),
        pytest.raises(
            UserError, match=r"lock: process \d+ has held MLflow's store for 0 s; wait until it has ended, or end it"
        ),
    ):
        sync(system, "tiny")
    assert sync(system, "tiny") == "tracked"


def test_another_key_is_another_run(system: Path) -> None:
    sync(system, "tiny")
    write_run(system, key="b")
    sync(system, "tiny")
    assert {run.data.tags["lamina.key"] for run in shown(system)} == {"a" * 64, "b" * 64}


@pytest.mark.parametrize("followed", [False, True])
def test_what_a_killed_process_left_is_replaced(system: Path, monkeypatch: pytest.MonkeyPatch, followed: bool) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    if followed:
        follow(system)
    with monkeypatch.context() as patch:
        patch.setattr(completion, "_log_figures", killed)
        with pytest.raises(KeyboardInterrupt):
            sync(system, "tiny")
    (left,) = shown(system)
    assert left.data.tags["lamina.complete"] == "false"
    assert sync(system, "tiny") == "tracked"
    (run,) = shown(system)
    assert run.info.run_id != left.info.run_id
    assert [trial.data.tags[runs.PARENT] for trial in trials(system)] == [run.info.run_id] * 3


def test_nothing_prints(system: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sync(system, "tiny")
    assert capfd.readouterr() == ("", "")


def test_missing_and_broken_files_are_named(system: Path) -> None:
    folder = system / "models" / "tiny"
    (folder / "history.csv").unlink()
    with pytest.raises(UserError, match=r"history\.csv: not found; run `dvc repro train@tiny`"):
        sync(system, "tiny")
    write_run(system)
    (folder / "model.keras").unlink()
    with pytest.raises(UserError, match=r"model\.keras: not found; run `dvc repro train@tiny`, or `dvc pull`"):
        sync(system, "tiny")
    (folder / "record.json").write_text('{"run": "tiny"}')
    with pytest.raises(UserError, match=r"record\.json: cannot be read \(task: field required\)"):
        sync(system, "tiny")
    (folder / "record.json").write_text("{")
    with pytest.raises(UserError, match=r"record\.json: cannot be read"):
        sync(system, "tiny")


def test_a_colorizer_is_logged_in_full(system: Path) -> None:
    folder = write_color_run(system)
    assert sync(system, "colors") == "tracked"
    (run,) = shown(system)
    assert (run.data.tags["task"], run.info.status) == ("colorize", "FINISHED")
    found = {"test_mse": 100, "test_mse_grey": 200, "validation_mse_low": 72, "test_against_grey_difference": -100}
    assert found.items() <= run.data.metrics.items()
    assert not [name for name in run.data.metrics if "accuracy" in name]
    (trial,) = trials(system)
    assert trial.data.metrics == {"validation_mse": 80.5, "epochs": 4}
    kept = artifacts(system, run)
    figures = {path.name for path in (kept / "figures").iterdir()}
    assert figures == {"loss.png", "mse.png", "colors.png", "extremes.png", "learning.png"}
    for name in ("sheets/colors.png", "sheets/extremes.png", "progress/learning.png"):
        assert (kept / "figures" / Path(name).name).read_bytes() == (folder / name).read_bytes()
    record = {"history.csv", "metrics.json", "predictions.parquet", "record.json", "trials.csv"}
    assert {path.name for path in (kept / "record").iterdir()} == record
    assert sync(system, "colors") == "already there"


def test_a_task_of_another_version_is_named(system: Path) -> None:
    path = write_color_run(system) / "record.json"
    path.write_text(path.read_text().replace('"colorize"', '"sketch"'))
    with pytest.raises(UserError, match=r"record\.json: unknown task 'sketch'; run `dvc repro train@colors` again"):
        sync(system, "colors")


def test_a_run_that_learned_lightness_is_logged_in_full(system: Path) -> None:
    write_lightness_run(system)
    assert sync(system, "light") == "tracked"
    (run,) = shown(system)
    assert (run.data.tags["task"], run.info.status) == ("lightness", "FINISHED")
    assert {"test_mse": 90, "validation_mse": 95, "test_baseline": 300}.items() <= run.data.metrics.items()
    assert {path.name for path in (artifacts(system, run) / "figures").iterdir()} == {"loss.png", "mse.png"}


def test_a_run_that_gives_labels_is_logged_in_full(system: Path) -> None:
    folder = write_label_run(system)
    assert sync(system, "seen") == "tracked"
    (run,) = shown(system)
    assert (run.data.tags["task"], run.info.status) == ("multilabel", "FINISHED")
    scores = json.loads((folder / "metrics.json").read_text())["test"]
    expected = {
        "test_f1": scores["f1"],
        "test_f1_low": scores["interval"][0],
        "test_mean_average_precision": scores["further"]["mean_average_precision"]["value"],
        f"test_recall_{CLASSES[0]}": scores["per_label"][CLASSES[0]]["recall"],
    }
    assert expected.items() <= run.data.metrics.items()
    assert {path.name for path in (artifacts(system, run) / "figures").iterdir()} == {"loss.png", "f1.png"}


def test_a_label_with_the_name_of_a_bound_has_numbers_of_its_own(system: Path) -> None:
    folder = write_label_run(system)
    metrics = json.loads((folder / "metrics.json").read_text())
    for fold in metrics.values():
        fold["per_label"] = {"low": fold["per_label"][CLASSES[0]]}
    found = scalars("multilabel", metrics["test"])
    assert found["test_f1_low"] == metrics["test"]["interval"][0]
    assert found["test_f1_label_low"] == metrics["test"]["per_label"]["low"]["f1"]


def test_a_run_that_predicts_a_number_is_logged_in_full(system: Path) -> None:
    folder = write_number_run(system)
    assert sync(system, "count") == "tracked"
    (run,) = shown(system)
    assert (run.data.tags["task"], run.info.status) == ("regress", "FINISHED")
    scores = json.loads((folder / "metrics.json").read_text())["test"]
    names = {"test_mae": scores["mae"], "test_held": scores["held"]["coverage"], "test_baseline": scores["baseline"]}
    names |= {f"test_{name}": one["value"] for name, one in scores["further"].items()}
    assert names.items() <= run.data.metrics.items()
    assert {path.name for path in (artifacts(system, run) / "figures").iterdir()} == {"loss.png", "mae.png"}
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.name == "cells/features/small_cnn"
