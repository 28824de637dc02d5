"""The report's chapter about classifiers."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from browser import Browser
from checkout import ROOT
from lamina.errors import UserError
from lamina.files import write_json
from lamina.maths.color import lab_to_srgb
from lamina.report.data_files import read_pictures
from lamina.results.trained import TrainedRun, read_trained
from lamina.tasks.classify import tables
from lamina.tasks.classify.evaluation import judge
from lamina.tasks.classify.scores import JudgedScores, Metrics
from pages import CELLS, page_of, section, table_rows, words, write_classifier, write_ensemble, write_pictures
from uncertain import predicted, write_doubt

SKILLS = {"small_cnn": 0.3, "mobilenet_v2": 0.93, "densenet121": 0.84}
RUNS = dict.fromkeys(SKILLS, "classify")
ONE = {"small_cnn": "classify"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("system")
    originals = write_pictures(folder)
    for name, skill in SKILLS.items():
        write_classifier(folder, name, originals, skill)
    return folder


@pytest.fixture(scope="module")
def page(system: Path) -> str:
    return page_of(system, RUNS, system / "reports")


@pytest.fixture
def copied(system: Path, tmp_path: Path) -> Path:
    """The system, to be changed: one run alone, since every run takes time to draw."""
    shutil.copytree(system / "data", tmp_path / "system/data")
    shutil.copytree(system / "models/small_cnn", tmp_path / "system/models/small_cnn")
    return tmp_path / "system"


def read(system: Path, name: str) -> TrainedRun:
    return read_trained(system, name, Metrics)


def changed(system: Path, name: str, *places: str, value: object) -> None:
    """Change a value of a run's JSON file. places: the file's stem, then keys."""
    path = system / "models/small_cnn" / f"{name}.json"
    content = json.loads(path.read_text())
    inside = content
    for key in places[:-1]:
        inside = inside[key]
    inside[places[-1]] = value
    write_json(path, content)


def test_the_board_is_sorted_by_test_accuracy(system: Path, page: str) -> None:
    board = page[page.index("<tbody>") : page.index("</tbody>")]
    shown = re.findall(r'<th scope="row"><a href="#run-([^"]+)"', board)
    assert shown == sorted(SKILLS, key=lambda name: -read(system, name).metrics.test.value)


def test_each_run_shows_its_network_or_input_accuracy_interval_and_time(system: Path, page: str) -> None:
    text = words(page)
    for name in SKILLS:
        test = read(system, name).metrics.test
        assert test.interval
        interval = f"{100 * test.interval[0]:.1f} to {100 * test.interval[1]:.1f} %"
        given = "small_cnn" if name == "small_cnn" else "features/small_cnn"
        assert f"{name} classify {given} start: weights/random {100 * test.value:.1f} % {interval}" in text
    assert "6 min 12 s" in text, "19 s of extraction, 312 s of tuning, 41.5 s of training"


def test_runs_that_cannot_be_distinguished_share_a_letter(system: Path, page: str) -> None:
    found = tables.comparison(tables.ranked([read(system, name) for name in SKILLS]))
    assert found is not None
    for name, row in found.rows.items():
        for other, difference in zip(found.rows, row, strict=True):
            if difference is None:
                assert name == other
                continue
            assert (difference.first, difference.second) == (name, other)
            assert bool(set(found.letters[name]) & set(found.letters[other])) is (difference.p > 0.05)
    assert found.letters["mobilenet_v2"] != found.letters["small_cnn"]
    assert re.findall(r'data-label="Group">([a-z]+)<', page) == [found.letters[name] for name in found.rows]
    gap = found.rows["mobilenet_v2"][-1]
    assert gap is not None
    shown = f"{100 * gap.mean:+.1f} {100 * gap.interval[0]:+.0f} to {100 * gap.interval[1]:+.0f} p"
    assert shown in words(page).replace("\N{MINUS SIGN}", "-")


def test_one_run_is_compared_with_none_and_without_assessment_nothing_is_said_of_it(copied: Path) -> None:
    for key in ("repeats", "control", "crossvalidation"):
        changed(copied, "assessment", key, value=None)
    text = words(page_of(copied, ONE, copied / "reports"))
    for absent in ("Group", "How sure", "less that of the column"):
        assert absent not in text


def test_runs_on_other_test_pictures_are_not_compared(copied: Path) -> None:
    shutil.copytree(copied / "models/small_cnn", copied / "models/other")
    path = copied / "models/other/predictions.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    with pytest.raises(UserError, match=r"predictions.parquet: other test pictures than those of (small_cnn|other)"):
        page_of(copied, {**ONE, "other": "classify"}, copied / "reports")


def test_the_assessment_is_shown(page: str) -> None:
    text = words(page)
    assert "mobilenet_v2 92.0 % ± 1.4 2 trainings" in text
    assert "93 %, 93 %, 93 %, 93 %, 93 % 26.0 % 25.0 % 17.0 to 33.0 %" in text
    assert "With shuffled labels nothing was learned" in text
    assert "off by 8.2 % on average" in text
    assert "with so few pictures, calibrated probabilities would be off by 4.9 % by chance alone." in text


def test_on_a_phone_names_of_runs_keep_their_line(system: Path, page: str, tmp_path: Path) -> None:
    assert page
    with Browser(tmp_path / "profile") as browser:
        browser.show(width=400)
        browser.open((system / "reports/index.html").as_uri())
        browser.wait("!!document.querySelector('footer')")
        captions = "[...document.querySelectorAll('caption')]"
        table = f"{captions}.find(one => one.innerText == 'Every run trained again').parentElement"
        names = f"[...{table}.querySelectorAll('tbody th')]"
        assert browser.js(f"Math.min(...{names}.map(one => one.offsetWidth))") >= 96, "pixels"


def test_a_control_that_is_better_than_chance_is_loud(copied: Path) -> None:
    for key, value in {"accuracy": 0.71, "p": 0.0001, "passed": False}.items():
        changed(copied, "assessment", "control", key, value=value)
    page = page_of(copied, ONE, copied / "reports")
    assert "small_cnn: shuffled labels were predicted better than by chance." in words(page)
    assert re.findall(r'class="number alarm">([^<]+)<', page) == ["71.0\N{NO-BREAK SPACE}% ✗"]


@pytest.mark.parametrize("interval", [None, [None, None]])
def test_an_accuracy_without_an_interval_is_shown_alone(copied: Path, interval: object) -> None:
    changed(copied, "metrics", "test", "interval", value=interval)
    text = words(page_of(copied, ONE, copied / "reports"))
    assert re.search(r"with a test accuracy of \d\d\.\d % \.", text)
    assert "None" not in text


def test_a_mistake_is_shown_with_its_own_pixels(system: Path, page: str) -> None:
    pictures = read_pictures(system)
    first = tables.mistakes(read(system, "small_cnn").predictions, CELLS, most=1)[0]
    alt = pictures.names[first.id]
    found = re.search(rf'base64,([^"]+)" width="48" height="48" alt="{re.escape(alt)}"', page)
    assert found
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))), dtype=float)
    place = pictures.names.index.get_loc(first.id)
    off = [np.abs(shown - lab_to_srgb(np.array(pixels))).mean() for pixels in pictures.pixels]
    assert int(np.argmin(off)) == place
    assert off[place] == 0, "so small a picture is kept as it is"


def test_a_test_picture_that_the_data_do_not_hold_is_named(copied: Path) -> None:
    path = copied / "data/lab/manifest.parquet"
    table = pd.read_parquet(path)
    table.assign(id="f" + table["id"].str[1:]).to_parquet(path)
    with pytest.raises(UserError, match=r"manifest\.parquet: no picture 0\w+, which a run was tested on; run `dvc"):
        page_of(copied, ONE, copied / "reports")


def test_predictions_of_other_classes_are_refused(copied: Path) -> None:
    path = copied / "models/small_cnn/predictions.parquet"
    pd.read_parquet(path).drop(columns="p:monocyte").to_parquet(path)
    with pytest.raises(UserError, match="no column p:monocyte"):
        page_of(copied, ONE, copied / "reports")


@pytest.mark.parametrize(("classes", "runs"), [(2, 2), pytest.param(20, 2, marks=pytest.mark.nightly)])
def test_few_and_many_classes_and_runs(tmp_path: Path, classes: int, runs: int) -> None:
    names = [f"class number {place}" for place in range(classes)]
    originals = write_pictures(tmp_path, classes=names, origins=6 * classes, side=28)
    write_classifier(tmp_path, "run_0", originals, 0.5, classes=names)
    for number in range(1, runs):
        shutil.copytree(tmp_path / "models/run_0", tmp_path / f"models/run_{number}")
    text = words(page_of(tmp_path, {f"run_{number}": "classify" for number in range(runs)}, tmp_path / "reports"))
    assert all(name in text for name in names)
    assert re.search("run_0 classify .* run_1 classify", text), "equals by name"


def test_importances_are_shown_where_there_are_enough_trials(copied: Path) -> None:
    few = words(section(page_of(copied, ONE, copied / "few"), "small_cnn"))
    assert "Trials: 9 complete, 3 pruned." in few
    assert "Fewer than 16 trials ran to the end: too few to tell which number matters." in few
    rng = np.random.default_rng(3)
    trials = pd.DataFrame({"number": range(40), "state": "COMPLETE"})
    trials["learning_rate"], trials["decay"] = 10 ** rng.uniform(-5, -2, (2, 40))
    trials = trials.assign(dropout=0.3, epochs=20)
    value = 0.9 - 0.1 * (np.log10(trials["learning_rate"]) + 3).abs()
    trials.insert(2, "value", value)
    trials.to_csv(copied / "models/small_cnn/trials.csv", index=False)
    many = words(section(page_of(copied, ONE, copied / "many"), "small_cnn"))
    assert re.search(r"Parameter Value Importance learning rate \S+ (\d+) % dropout 0\.3 given decay \S+ \d+ %", many)
    assert "too few to tell" not in many


def test_an_ensemble_is_shown_next_to_its_runs_without_what_only_training_has(system: Path, tmp_path: Path) -> None:
    for folder in ("data", "models"):
        shutil.copytree(system / folder, tmp_path / folder)
    write_ensemble(tmp_path, "both", ["mobilenet_v2", "small_cnn"])
    page = page_of(tmp_path, dict.fromkeys([*SKILLS, "both"], "classify"), tmp_path / "reports")
    board = table_rows(page, "board")
    (row,) = [row for row in board if row.startswith("both ")]
    assert "both classify ensemble mean of mobilenet_v2 , small_cnn" in row
    assert re.search(r" \N{EN DASH} 2,260,546 \N{EN DASH}$", row), "epochs, parameters, time"
    assert len(board) == len(SKILLS) + 1
    shown = section(page, "both")
    assert 'mean of <a href="#run-mobilenet_v2">mobilenet_v2</a>, <a href="#run-small_cnn">small_cnn</a>' in shown
    assert "Confusion" in shown
    for absent in ("Training", "Tuning", "start:"):
        assert absent not in words(shown)
    text = words(page)
    assert "An ensemble is not trained again; it is cross-validated where all of its runs are" in text
    assert "A run without a number does not depend on the seed" not in text


def test_without_ensembles_nothing_is_said_of_them(page: str) -> None:
    assert "nsemble" not in words(page)


def with_doubt(system: Path, *, origins: int = 5) -> None:
    """Add what evaluation measures on validation rows of so many pictures of an origin, and judges on the test rows."""
    folder = system / "models/small_cnn"
    known = write_doubt(folder, predicted(200, CELLS, per_origin=origins), CELLS)
    test = pd.read_parquet(folder / "predictions.parquet")
    judged = judge(test.assign(distance=0.5), list(CELLS), known)
    path = folder / "metrics.json"
    scores = json.loads(path.read_text())
    added = judged.model_dump(mode="json", include={"further", "scaled", "sets", "sets_by_class", "outliers"})
    write_json(path, scores | {"test": scores["test"] | added})


def test_answers_are_shown_with_their_doubt(copied: Path) -> None:
    assert "Answers with their doubt" not in page_of(copied, ONE, copied / "without")
    with_doubt(copied)
    page = section(page_of(copied, ONE, copied / "reports"), "small_cnn")
    test = read(copied, "small_cnn").metrics.test
    assert isinstance(test, JudgedScores)
    assert test.sets
    text = words(page)
    assert f"one for all classes {100 * test.sets.coverage:.1f} %" in text
    assert "Conformal sets, from 40 origins of the validation fold" in text
    assert f"ROC AUC {test.further['roc_auc'].value:.3f}" in text
    assert "brings the error to" in text
    assert "every set" not in text
    assert "of the test pictures (0.0 to" in text
    for name in ("ROC", "Finding a class", "Risk and coverage"):
        assert page.count(f'aria-label="{name} of small_cnn') == 1


def test_too_few_origins_for_the_coverage_are_said(copied: Path) -> None:
    with_doubt(copied, origins=25)
    text = words(page_of(copied, ONE, copied / "reports"))
    assert "Conformal sets, from 8 origins of the validation fold" in text
    assert "There are too few origins for 90 %: every set holds all classes." in text


def test_templates_name_no_other_task() -> None:
    rooms = ROOT / "src/lamina/tasks"
    for shared in (ROOT / "src/lamina/charts", ROOT / "src/lamina/report"):
        for template in shared.glob("*.jinja"):
            for task in (room.name for room in rooms.iterdir() if room.is_dir() and room.name[0] != "_"):
                assert not re.search(rf"\b{task}\b", template.read_text(encoding="utf-8")), template


def test_a_page_about_600_classes_can_be_read(tmp_path: Path) -> None:
    classes = [f"species {number:03d}" for number in range(600)]
    originals = write_pictures(tmp_path, classes=classes, origins=3_600, side=4)
    write_classifier(tmp_path, "small_cnn", originals, 0.5, classes=classes)
    page = page_of(tmp_path, ONE, tmp_path / "reports")
    assert len(page.encode()) < 2 * 2**20
    text = words(section(page, "small_cnn"))
    pairs = tables.confused(read(tmp_path, "small_cnn").predictions)
    assert f"{pairs[0].label} {pairs[0].predicted} {pairs[0].count}" in text
    assert f"{len(pairs) - tables.PAIRS} more pairs are in predictions.parquet" in text
    assert "Classes with the lowest F1; 570 more are in metrics.json" in text
    assert "the smallest classes, 570 more are in data/split/summary.json" in words(page)
