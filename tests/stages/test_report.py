"""Stage `report`: one page about all runs and the data, that needs nothing else and is the same each time."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from browser import QUIET, chromium
from finished import run_settings, write_params
from lamina.data.sheets import contact_sheet
from lamina.errors import UserError
from lamina.files import write_json
from lamina.maths.color import lab_to_srgb
from lamina.report.data_files import SHEETS, read_pictures
from lamina.results.trained import read_trained
from lamina.stages import report as report_stage
from lamina.stages.report import ReportSummary, report
from lamina.tasks.classify.results import Metrics
from lamina.tasks.registry import TASKS
from pages import page_of, words, write_classifier, write_colorizer, write_lightness, write_pictures

SMEAR = {"kind": "smear", "labels": "folder"}
CLASSIFIERS = {"small_cnn": 0.62, "mobilenet_v2": 0.93, "densenet121": 0.84}
RUNS = dict.fromkeys(CLASSIFIERS, "classify") | {"light": "lightness", "colors": "colorize"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of every task."""
    folder = tmp_path_factory.mktemp("cells") / "cells"
    originals = write_pictures(folder)
    for name, skill in CLASSIFIERS.items():
        write_classifier(folder, name, originals, skill)
    write_colorizer(folder, "colors", originals, 90.0)
    write_lightness(folder, "light", originals, 120.0)
    return folder


@pytest.fixture(scope="module")
def summary(system: Path) -> ReportSummary:
    return report({name: TASKS[task] for name, task in RUNS.items()}, system, system / "reports")


@pytest.fixture(scope="module")
def page(summary: ReportSummary) -> str:
    return summary.page.read_text(encoding="utf-8")


def test_every_task_has_its_chapter_in_the_order_of_the_registry(page: str) -> None:
    text = words(page)
    assert re.search(r"of 4 classes, 5 runs\. Best at classes: mobilenet_v2 with a test accuracy of 87\.5 %", text)
    assert "Best at colors: colors with a mean squared error of 90.0 (95 % interval 81.0 to 108.0)" in text
    assert "Best at lightness from color: light with a mean squared error of 120.0" in text
    anchors = re.findall(r'<section id="([^"]+)"', page)
    assert [anchor for anchor in anchors if not anchor.startswith("run-")] == [
        "leaderboard", "colors", "lightness", "certainty", "data", "pictures", "audit", "slices"
    ]  # fmt: skip
    runs = [anchor.removeprefix("run-") for anchor in anchors if anchor.startswith("run-")]
    assert runs == ["mobilenet_v2", "densenet121", "small_cnn", "colors", "light"], "by task, the best first"


def test_the_summary_names_the_best_of_each_task(summary: ReportSummary) -> None:
    said = r"5 runs, best classifier mobilenet_v2 with a test accuracy of 87\.5%, best colorizer colors with a test MSE"
    assert re.search(
        rf"index\.html: {said} of 90\.0, best at lightness light with a test MSE of 120\.0; 0\.\d MB", str(summary)
    )


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    without_pictures = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.findall(r"https?:|//|<script|@import|url\((?!#)", without_pictures)
    assert set(re.findall(r'(?:src|href)="([a-z]*:|#|[^"]{0,6})', page)) <= {"data:", "#"}


def test_links_lead_somewhere_and_ids_are_unique(page: str) -> None:
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_pictures_and_figures_have_a_description(page: str) -> None:
    pictures = re.findall(r"<img [^>]*>", page)
    assert pictures
    assert all(re.search(r' alt="[^"]+"', picture) for picture in pictures)
    figures = re.findall(r"<svg [^>]*>", page)
    assert figures
    assert all('role="img" aria-label="' in figure for figure in figures)


def test_the_same_inputs_give_the_same_bytes_in_another_process(system: Path, page: str, tmp_path: Path) -> None:
    runs = dict(reversed(RUNS.items()))
    again = "import sys, pathlib; from pages import page_of; "
    again += f"page_of(pathlib.Path({str(system)!r}), {runs!r}, pathlib.Path({str(tmp_path)!r}))"
    tests = str(Path(__file__).parents[1])
    paths = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "77", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", again], check=True, env=environment)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html"]


def test_names_and_labels_are_escaped(tmp_path: Path) -> None:
    classes = ('<script>alert("x")</script>', "a & b", "ü" * 90)
    originals = write_pictures(tmp_path, classes=classes, origins=36, side=32)
    write_classifier(tmp_path, "small_cnn", originals, 0.3, classes=classes)
    text = page_of(tmp_path, {"small_cnn": "classify"}, tmp_path / "reports")
    assert "<script" not in text
    assert "&lt;script&gt;alert(" in text
    assert "a &amp; b" in text


@pytest.mark.nightly
def test_sixteen_runs_stay_below_three_megabytes(tmp_path: Path) -> None:
    originals = write_pictures(tmp_path, side=128)
    write_classifier(tmp_path, "run_0", originals, 0.6)
    names = [f"run_{number}" for number in range(16)]
    for name in names[1:]:
        shutil.copytree(tmp_path / "models/run_0", tmp_path / "models" / name)
    rng = np.random.default_rng(3)
    some = read_pictures(tmp_path).pixels[:64]
    for path in SHEETS.values():  # as full of pictures as sheets are
        rows = [[lab_to_srgb(some[place]) for place in rng.integers(0, 64, 8)] for _ in range(12)]
        contact_sheet(rows, ["a class of pictures"] * 12, cell=136).save(tmp_path / "data" / path)
    runs = dict.fromkeys(names, TASKS["classify"])
    assert report(runs, tmp_path, tmp_path / "reports").size < 3_000_000


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("models/small_cnn/record.json", "train@small_cnn"),
        ("models/small_cnn/history.csv", "train@small_cnn"),
        ("models/small_cnn/metrics.json", "evaluate@small_cnn"),
        ("models/small_cnn/predictions.parquet", "evaluate@small_cnn"),
        ("models/colors/predictions.parquet", "evaluate@colors"),
        ("models/light/metrics.json", "evaluate@light"),
        ("data/split/manifest.parquet", "split"),
        ("data/lab/pixels.npy", "convert"),
        ("data/lab/manifest.parquet", "convert"),
    ],
)
def test_a_missing_or_broken_file_is_named_with_the_stage_that_writes_it(
    system: Path, tmp_path: Path, file: str, stage: str
) -> None:
    copy, run = tmp_path / "system", file.split("/")[1]
    shutil.copytree(system, copy, ignore=shutil.ignore_patterns("reports"))
    only = {run: RUNS[run]} if run in RUNS else RUNS
    (copy / file).unlink()
    with pytest.raises(UserError, match=rf"{file}: not found.*dvc repro {stage}`") as missing:
        page_of(copy, only, copy / "reports")
    (copy / file).write_text("nonsense")
    with pytest.raises(UserError, match=rf"{file}: cannot be read.*dvc repro {stage}`") as broken:
        page_of(copy, only, copy / "reports")
    assert all("\n" not in str(error.value) for error in (missing, broken))
    assert not (copy / "reports").exists()


def test_a_sheet_that_is_no_picture_is_named(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    (tmp_path / "system/models/light/sheets/lightness.png").write_text("nonsense")
    with pytest.raises(UserError, match=r"lightness\.png: no picture; delete it and run `dvc repro` again"):
        page_of(tmp_path / "system", {"light": "lightness"}, tmp_path / "reports")


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run to report; add one under runs"):
        report({}, tmp_path, tmp_path / "reports")


def test_a_run_without_trials_times_or_sheets_of_the_data_is_reported_too(tmp_path: Path) -> None:
    originals = write_pictures(tmp_path, origins=24, side=32)
    write_classifier(tmp_path, "small_cnn", originals, 1.0)
    folder = tmp_path / "models/small_cnn"
    (folder / "trials.csv").write_text("number,state,value,learning_rate,dropout,decay,epochs\n")
    sheets = [tmp_path / "data" / path for path in SHEETS.values()]
    audit = [tmp_path / "data/split" / name for name in ("audit.parquet", "summary.json")]
    for path in (folder / "tuned.yaml", folder / "timing.json", *sheets, *audit):
        path.unlink()
    shutil.rmtree(tmp_path / "data/filtered")
    text = words(page_of(tmp_path, {"small_cnn": "classify"}, tmp_path / "reports"))
    assert "with a test accuracy of 100.0 %" in text
    assert "Every test prediction is correct." in text
    for absent in ("Trials", "Tuning", "Leak audit", "The pictures", "rejected:"):
        assert absent not in text


def test_the_stage_reports_the_runs_that_params_name(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(tmp_path, {"mobilenet_v2": run_settings("head"), "small_cnn": run_settings("network")}, source=SMEAR)
    for folder in ("data", "models"):
        (tmp_path / folder).symlink_to(system / folder)
    (tmp_path / "mlflow").write_text("where MLflow's folder would be: the page does not depend on it")
    stage = [sys.executable, "-m", "lamina.stages.report"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(stage, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "2 runs, best classifier mobilenet_v2" in done.stdout
    assert done.stderr.count("results are kept, `lamina track` brings MLflow up to date") == 2
    write_params(tmp_path, {"untrained": run_settings("network")}, source=SMEAR)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^models/untrained/record\.json: not found") as failed:
        report_stage.main()
    assert "\n" not in str(failed.value)


def test_a_browser_shows_every_run_and_requests_nothing(system: Path, page: str, tmp_path: Path) -> None:
    target = (system / "reports/index.html").as_uri()
    command = [chromium(), *QUIET, f"--user-data-dir={tmp_path}", "--dump-dom", target]
    opened = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    seen = words(opened.stdout)
    for name in CLASSIFIERS:
        test = read_trained(system, name, Metrics).metrics.test
        assert test.interval
        line = f"{100 * test.value:.1f} % {100 * test.interval[0]:.1f} to {100 * test.interval[1]:.1f} %"
        assert re.search(rf"{name} classify .{{0,60}}{re.escape(line)}", seen)
    assert "CONSOLE" not in opened.stderr, "a browser logs there every request that it refused or that failed"
    assert opened.stdout.count("<svg ") == page.count("<svg ") == 3 * 5 + 4 + 2


def test_champion_is_marked(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    key = read_trained(system, "densenet121", Metrics).record.key
    champion = {"run": "densenet121", "key": key, "model": "m", "measure": "accuracy", "validation": 0.8}
    write_json(tmp_path / "system/baselines/champion.json", champion)
    page = page_of(tmp_path / "system", dict.fromkeys(CLASSIFIERS, "classify"), tmp_path / "reports")
    assert len(re.findall(r'class="badge"', page)) == 1
    assert "densenet121 champion classify" in words(page)
