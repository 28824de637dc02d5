"""The report's chapter about colorizers."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from finished import color_scores
from lamina.charts.formatting import number, signed, span
from lamina.errors import UserError
from lamina.files import write_json
from lamina.results.trained import TrainedRun, read_trained
from lamina.tasks.colorize import tables
from lamina.tasks.colorize.results import Metrics
from pages import page_of, remove_labels, section, table_rows, words, write_colorizer, write_pictures

MEASURES = ("mse", "psnr", "ssim", "ciede2000", "colorfulness", "auc", "auc_rebalanced")
COLORS = {"colors": 90.0, "dull": 175.0, "vivid": 120.0}
RUNS = dict.fromkeys(COLORS, "colorize")
ONE = {"colors": "colorize"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colorizers of pictures without labels."""
    folder = tmp_path_factory.mktemp("colors") / "photos"
    originals = write_pictures(folder, origins=24, side=32)
    for name, mse in COLORS.items():
        write_colorizer(folder, name, originals, mse)
    remove_labels(folder)
    return folder


@pytest.fixture(scope="module")
def page(system: Path) -> str:
    return page_of(system, RUNS, system / "reports")


@pytest.fixture
def copied(system: Path, tmp_path: Path) -> Path:
    """The system, to be changed."""
    return Path(shutil.copytree(system, tmp_path / "system", ignore=shutil.ignore_patterns("reports")))


def read(system: Path, name: str) -> TrainedRun:
    return read_trained(system, name, Metrics)


def rewritten(system: Path, change: dict[str, object]) -> str:
    """Return the words of a page on one run, after keys of its `metrics.json` under `test` were changed."""
    path = system / "models/colors/metrics.json"
    metrics = json.loads(path.read_text())
    for place, value in change.items():
        *parents, last = place.split(".")
        inside = metrics["test"]
        for parent in parents:
            inside = inside[parent]
        inside[last] = value
    write_json(path, metrics)
    return words(page_of(system, ONE, system / "reports"))


@pytest.mark.parametrize("kind", ["board", "measures"])
def test_the_best_comes_first_and_both_baselines_last(page: str, kind: str) -> None:
    rows = table_rows(page, kind)
    expected = ["colors", "vivid", "dull", "grey", "training mean"]
    assert [name for name, row in zip(expected, rows, strict=True) if row.startswith(name)] == expected


def test_each_run_shows_its_network_and_what_is_gone_of_the_error_of_grey(page: str) -> None:
    board = table_rows(page, "board")
    assert "colors colorize small_cnn start: weights/random, trainable unet decoder, loss mse" in board[0]
    assert "90.0 81.0 to 108.0 a 55.0 %" in board[0], "1 - 90 / 200; by itself in its group"
    assert "468,211 1 min 33 s" in board[0]
    assert "200.0 0.0 %" in board[3]
    assert "180.0 10.0 %" in board[4]


def test_each_measure_is_shown_next_to_that_of_the_baselines(page: str) -> None:
    rows = table_rows(page, "measures")
    measures = color_scores(90)["measures"]
    for name in tables.SHOWN:
        assert f"{number(measures[name]['value'])} " in rows[0]
        assert span(measures[name]["interval"]) in rows[0]
    assert rows[3] == "grey 0 of 37.4 0.760 0.890 9.60 23.1 0.910"
    assert set(tables.SHOWN) | {"mse"} == set(MEASURES)


def test_a_page_of_colorizers_alone_does_not_mention_classes(page: str) -> None:
    text = words(page)
    assert re.search(r"120 pictures, 3 runs\. Best at colors: colors", text)
    assert "with a mean squared error of 90.0 (95 % interval 81.0 to 108.0), 55 % below grey." in text
    assert "<title>photos: report on colors</title>" in page
    for absent in ("Every run trained again", "Macro F1", "Confusion", " class", "Class", "accuracy"):
        assert absent not in text
    assert re.search(r"per fold Pictures train validation test all \d+ from \d+", text)


@pytest.mark.parametrize(
    ("grey", "mean", "verdict"),
    [
        ((-12.0, -3.0), (-9.0, -1.0), "Better than grey and than the training mean."),
        ((-12.0, -3.0), (-9.0, 1.0), "Better than grey, not surely better than the training mean."),
        ((-12.0, -3.0), (2.0, 8.0), "Better than grey, worse than the training mean."),
        ((1.0, 3.0), (2.0, 8.0), "Worse than grey and than the training mean."),
        ((-1.0, 3.0), None, "Not surely better than grey or than the training mean."),
    ],
)
def test_a_run_is_better_than_a_baseline_where_the_interval_says_so(
    copied: Path, grey: Sequence[float] | None, mean: Sequence[float] | None, verdict: str
) -> None:
    text = rewritten(copied, {"against.grey.interval": grey, "against.mean.interval": mean})
    assert f"{verdict} Against grey its MSE is" in text


def test_a_difference_is_given_in_words_and_in_shares_of_pictures(copied: Path) -> None:
    text = rewritten(copied, {"against.mean": {"difference": 7.0, "interval": [2.0, 12.0]}})
    assert "Against grey its MSE is 110.0 lower (97.5 to 122.5), and it is the nearer one in 100 %" in text
    assert "Against the training mean its MSE is 7.00 higher (2.00 to 12.0)" in text


def change_errors(system: Path, name: str, change: Callable[[pd.Series], pd.Series]) -> None:
    """Rewrite the MSE of a run's pictures."""
    path = system / "models" / name / "predictions.parquet"
    table = pd.read_parquet(path)
    table.assign(mse=change(table["mse"])).to_parquet(path)


def test_colorizers_that_cannot_be_distinguished_share_a_letter(copied: Path) -> None:
    noise = np.random.default_rng(1)
    change_errors(copied, "vivid", lambda mse: mse * 90 / 120 + noise.normal(0, 9, len(mse)))
    runs = tables.ranked([read(copied, name) for name in COLORS])
    found = tables.comparison(runs)
    assert found is not None
    assert found.letters == {"colors": "a", "vivid": "a", "dull": "b"}
    for name, row in found.rows.items():
        for other, difference in zip(found.rows, row, strict=True):
            if difference is None:
                assert name == other
                continue
            assert (difference.first, difference.second) == (name, other)
            mse = [next(run for run in runs if run.name == one).predictions["mse"].mean() for one in (name, other)]
            assert difference.mean == pytest.approx(mse[0] - mse[1])
    page = page_of(copied, RUNS, copied / "reports")
    assert re.findall(r'data-label="Group">([a-z]+)<', page) == ["a", "a", "b"]
    row = found.rows["dull"][0]
    assert row is not None
    interval = " to ".join(map(signed, row.interval))
    assert f"<strong>{signed(row.mean)}</strong><small>{interval}</small><small>p {row.p:.2g}</small>" in page
    assert row.mean > 0, "more error than the best"


def test_one_colorizer_is_compared_with_none(system: Path, tmp_path: Path) -> None:
    text = words(page_of(system, ONE, tmp_path))
    for absent in ("Group", "How sure", "less that of the column"):
        assert absent not in text


def assess(system: Path, *, repeats: list[float] | None = None, crossed: bool = False, **more: Any) -> str:
    """Return the words about a run with this assessment. more: `mean`, the difference of MSE to the training mean's."""
    folder = system / "models/colors"
    assessment: dict[str, object] = {}
    judged = pd.DataFrame({"mse": [80.0, 84, 90, 98], "grey_mse": [200.0] * 4, "mean_mse": [81.0, 85, 80, 80]})
    if repeats:
        deviation = float(np.std(repeats, ddof=1)) if len(repeats) > 1 else None
        spread = {"values": repeats, "mean": float(np.mean(repeats)), "deviation": deviation}
        assessment["repeats"] = {"seeds": list(range(len(repeats))), "test": spread, "validation": spread}
    if crossed:
        mean = more["mean"]
        against = {
            "grey": {"difference": -112.0, "interval": [-120.0, -104.0]},
            "mean": {"difference": mean, "interval": [mean - 3, mean + 3]},
        }
        measures = {"mse": {"value": 88.0, "interval": [82.0, 94.0], "grey": 200.0, "mean": 81.5}}
        assessment["crossvalidation"] = {
            "scores": {"mse": 88.0, "n": 4, "origins": 4, "measures": measures, "against": against},
            "folds": [{"value": 82.0, "n": 2}, {"value": 94.0, "n": 2}],
            "starts_from_file": more.get("starts_from_file", False),
        }
    write_json(folder / "assessment.json", assessment)
    judged = judged.assign(id=list("abcd"), origin=list("abcd"), fold=[0, 0, 1, 1])
    judged.to_parquet(folder / "crossvalidation.parquet")
    return words(section(page_of(system, ONE, system / "reports"), "colors"))


def test_the_assessment_stands_in_the_section_of_the_run(copied: Path) -> None:
    text = assess(copied, repeats=[90.0, 94.0], crossed=True, mean=6.5)
    verdict = "Cross-validated: better than grey, worse than the training mean. Against grey its MSE is 112.0 lower"
    assert verdict in text
    assert "Against the training mean its MSE is 6.50 higher (3.50 to 9.50), and it is the nearer one in 50 %" in text
    assert "2 other seeds test 92.0 ± 2.83 90.0, 94.0" in text
    assert "2 folds all 4 88.0 82.0 to 94.0 82.0, 94.0 200.0 81.5" in text
    assert "the nearer one in 100 % of all pictures" in text
    assert "weights that it starts from" not in text
    text = assess(copied, repeats=[90.0])
    assert "1 other seed test 90.0 90.0" in text
    assert "Cross-validated" not in text
    assert "folds" not in text
    text = assess(copied, crossed=True, mean=-9.0, starts_from_file=True)
    assert "Cross-validated: better than grey and than the training mean." in text
    assert "weights that it starts from" in text


def test_what_was_not_assessed_is_not_mentioned(copied: Path, page: str) -> None:
    assert "Trained again" not in assess(copied)
    assert "Trained again" not in words(page), "there is no assessment.json"


def test_a_missing_table_of_the_cross_validation_is_named(copied: Path) -> None:
    assess(copied, crossed=True, mean=0.0)
    (copied / "models/colors/crossvalidation.parquet").unlink()
    with pytest.raises(UserError, match=r"crossvalidation\.parquet: not found.*dvc repro assess@colors`"):
        page_of(copied, ONE, copied / "reports")


def test_an_interval_over_a_single_origin_is_left_out(copied: Path) -> None:
    none: dict[str, object] = {f"measures.{name}.interval": [None, None] for name in MEASURES}
    text = rewritten(copied, none | {"interval": None, "measures.mse.interval": None, "against.grey.interval": None})
    assert "with a mean squared error of 90.0 , 55 % below grey." in text
    assert "None" not in text


def test_a_run_worse_than_grey_is_called_so(copied: Path) -> None:
    text = rewritten(copied, {"mse": 230.0, "measures.mse.value": 230.0})
    assert "15 % above grey." in text
    assert "\N{MINUS SIGN}15.0 %" in text


def test_tuned_values_are_shown_as_found(page: str) -> None:
    chapter = words(section(page, "colors"))
    settings = chapter[chapter.index(" Parameters ") : chapter.index(" Tuning ")]
    assert "learning rate 0.00217" in settings
    assert "decoder unet" in settings
    assert "patience" not in settings, "it has no value"
    assert "Trials: 3 complete, 1 pruned" in chapter


def test_sheets_are_shown_with_their_own_pixels_where_they_are(copied: Path, page: str) -> None:
    shown = re.findall(
        r'class="sheet" src="data:image/webp;base64,([^"]+)" width="300" height="90"', section(page, "colors")
    )
    reds = [Image.open(io.BytesIO(base64.b64decode(source))).getpixel((9, 9))[0] for source in shown]
    assert reds == pytest.approx([0, 70, 140], abs=6), "colors, extremes, then progress"
    (copied / "models/colors/sheets/extremes.png").unlink()
    text = words(page_of(copied, ONE, copied / "reports"))
    assert "Best and worst" not in text
    assert "What it colors" in text


def test_a_missing_measure_is_named(copied: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.json: cannot be read \(test\.measures\.ssim\.value: "):
        rewritten(copied, {"measures.ssim": {"grey": 1.0, "mean": 1.0}})


def test_runs_on_other_test_pictures_are_not_ranked(copied: Path) -> None:
    path = copied / "models/vivid/predictions.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    with pytest.raises(UserError, match=r"vivid/predictions\.parquet: other test pictures than those of colors"):
        page_of(copied, RUNS, copied / "reports")


def test_spare_pictures_are_counted_apart(copied: Path) -> None:
    path = copied / "data/split/manifest.parquet"
    split = pd.read_parquet(path)
    spare = split["id"].isin(split.loc[split["fold"] == "train", "id"].unique()[:7])
    split.assign(fold=split["fold"].mask(spare, "spare")).to_parquet(path)
    assert "7 pictures take no part" in words(page_of(copied, ONE, copied / "reports"))
