"""The report on runs that color pictures: alone, and beside runs that name classes."""

import base64
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_report import make_system, words

from lamina.charts import figures
from lamina.charts.formatting import number, signed, span
from lamina.errors import UserError
from lamina.files import write_json
from lamina.report.pictures import read_pictures
from lamina.report.tables import census
from lamina.stages.report import report
from lamina.tasks.colorize import tables as color_tables
from lamina.tasks.colorize.results import SHEETS, Against, read_color_run

MEASURES = ("mse", "psnr", "ssim", "ciede2000", "colorfulness", "auc", "auc_rebalanced")
GREY = {"mse": 200.0, "psnr": 23.1, "ssim": 0.91, "ciede2000": 9.6, "colorfulness": 0.0, "auc": 0.89}
MEAN = {"mse": 180.0, "psnr": 23.9, "ssim": 0.92, "ciede2000": 9.2, "colorfulness": 7.4, "auc": 0.9}
TRUE_COLORFULNESS = 37.4
COLORS = {"colors": 90.0, "dull": 175.0, "vivid": 120.0}
ALL_COLORS = dict.fromkeys(COLORS, "colorize")


def block(mse: float, pictures: int) -> dict[str, object]:
    """A fold's part of `metrics.json` for a run with some MSE; its other measures follow from it."""
    told = {"mse": mse, "psnr": 33 - mse / 20, "ssim": 1 - mse / 2500, "ciede2000": mse / 20}
    told |= {"colorfulness": 40 - mse / 5, "auc": 1 - mse / 1700, "auc_rebalanced": 1 - mse / 900}
    measures: dict[str, dict[str, object]] = {
        name: {
            "value": value,
            "interval": [0.9 * value, 1.2 * value],
            "grey": GREY.get(name, 0.76),
            "mean": MEAN.get(name, 0.77),
        }
        for name, value in told.items()
    }
    measures["colorfulness"]["true"] = TRUE_COLORFULNESS
    against = {
        name: {"difference": mse - other["mse"], "interval": [mse - other["mse"] - 12.5, mse - other["mse"] + 12.5]}
        for name, other in (("grey", GREY), ("mean", MEAN))
    }
    return {"n": pictures, "origins": pictures // 5, "measures": measures, "against": against}


def write_colorizer(system: Path, name: str, test: pd.DataFrame, mse: float) -> None:
    """Write `models/NAME/` as tuning, training and evaluation do."""
    folder = system / "models" / name
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", {"test": block(mse, len(test)), "validation": block(mse + 5, len(test))})
    rows = test[["id", "origin"]].reset_index(drop=True)
    for prefix, value in (("", mse), ("grey_", GREY["mse"]), ("mean_", MEAN["mse"])):
        rows[f"{prefix}mse"] = value * np.linspace(0.5, 1.5, len(rows))
    rows.to_parquet(folder / "predictions.parquet")
    epoch = np.arange(1, 11)
    history = pd.DataFrame({"epoch": epoch, "train_loss": 5 / epoch, "validation_loss": 5 / epoch + 0.2})
    history = history.assign(train_mse=mse + 90 / epoch, validation_mse=mse + 99 / epoch, learning_rate=1e-3)
    history.to_csv(folder / "history.csv", index=False)
    params = {"backbone": "small_cnn", "weights": "none", "watch": "a/file.py", "decoder": "unet", "loss": "mse"}
    params |= {"encoder": "trainable", "epochs": 10, "learning_rate": "tune", "patience": None}
    record = {
        "system": "photos",
        "kind": "colorize",
        "params": params,
        "classes": [],
        "seed": 13,
        "parameters": 468_211,
    }
    write_json(folder / "record.json", record)
    write_json(folder / "timing.json", {"seconds": {"tune": 60.0, "train": 33.0}})
    trials = pd.DataFrame({"number": range(4), "state": ["COMPLETE"] * 3 + ["PRUNED"], "value": [150.0, 95, 110, 80]})
    trials = trials.assign(learning_rate=[1e-4, 1e-3, 1e-2, 2e-2], dropout=0.0, decay=1e-4, epochs=10)
    trials.to_csv(folder / "trials.csv", index=False)
    (folder / "tuned.yaml").write_text("learning_rate: 0.00217\n")
    for place, sheet in enumerate(SHEETS):
        Image.new("RGB", (300, 90), (70 * place, 0, 99)).save(folder / f"{sheet}.png")


def make_colors(system: Path, mse: dict[str, float], *, labels: bool = False) -> Path:
    make_system(system, {"small_cnn": 0.6} if labels else {}, origins=24, side=32)
    split = pd.read_parquet(system / "data/split/manifest.parquet")
    for name, value in mse.items():
        write_colorizer(system, name, split[split["fold"] == "test"], value)
    if not labels:
        for path in ("lab", "split"):
            manifest = system / "data" / path / "manifest.parquet"
            pd.read_parquet(manifest).assign(label=None).to_parquet(manifest)
    return system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_colors(tmp_path_factory.mktemp("colors"), COLORS)


@pytest.fixture(scope="module")
def page(system: Path) -> str:
    return report(ALL_COLORS, system, system / "reports").page.read_text(encoding="utf-8")


def rewritten(system: Path, target: Path, change: dict[str, object], name: str = "colors") -> str:
    """The words of a page on one run, after keys of its `metrics.json` under `test` were changed."""
    shutil.copytree(system, target / "system", ignore=shutil.ignore_patterns("reports"))
    path = target / "system/models" / name / "metrics.json"
    told = json.loads(path.read_text())
    for place, value in change.items():
        *parents, last = place.split(".")
        inside = told["test"]
        for parent in parents:
            inside = inside[parent]
        inside[last] = value
    write_json(path, told)
    written = report({name: "colorize"}, target / "system", target / "reports").page
    return words(written.read_text(encoding="utf-8"))


def table_rows(page: str, kind: str) -> list[str]:
    table = re.search(rf'<table class="{kind}">.*?</table>', page, flags=re.DOTALL)
    assert table
    body = table[0][table[0].index("<tbody>") :]
    return [words(row) for row in re.findall(r"<tr.*?</tr>", body, flags=re.DOTALL)]


@pytest.mark.parametrize("kind", ["board", "measures"])
def test_the_best_stands_first_and_both_baselines_last(page: str, kind: str) -> None:
    rows = table_rows(page, kind)
    expected = ["colors", "vivid", "dull", "grey", "training mean"]
    assert [name for name, row in zip(expected, rows, strict=True) if row.startswith(name)] == expected


def test_each_run_shows_what_is_gone_of_greys_error(page: str) -> None:
    board = table_rows(page, "board")
    assert "90.0 81.0 to 108.0 a 55.0 %" in board[0], "1 - 90 / 200; by itself in its group"
    assert "468,211 1 min 33 s" in board[0]
    assert "200.0 0.0 %" in board[3]
    assert "180.0 10.0 %" in board[4]


def test_each_measure_is_shown_beside_that_of_the_baselines(page: str) -> None:
    rows = table_rows(page, "measures")
    told = block(90, 40)["measures"]
    for name in color_tables.SHOWN:
        assert f"{number(told[name]['value'])} " in rows[0]
        assert span(told[name]["interval"]) in rows[0]
    assert rows[3] == "grey 0 of 37.4 0.760 0.890 9.60 23.1 0.910"
    assert set(color_tables.SHOWN) | {"mse"} == set(MEASURES)


def test_a_page_of_colorizers_alone_speaks_of_no_classes(page: str) -> None:
    text = words(page)
    assert re.search(r"120 pictures, 3 runs\. Best at coloring the test pictures: colors", text)
    assert "with a mean squared error of 90.0 (95 % interval 81.0 to 108.0), 55 % below grey." in text
    assert "<title>photos: report on colors</title>" in page
    for absent in ("Leaderboard", "Every run trained again", "Macro F1", "Confusion", " class", "Class "):
        assert absent not in text
    assert re.search(r"per fold Pictures train validation test all \d+ from \d+", text)


def test_runs_of_both_kinds_stand_on_one_page(tmp_path: Path) -> None:
    system = make_colors(tmp_path, {"colors": 90.0}, labels=True)
    summary = report({"colors": "colorize", "small_cnn": "scratch"}, system, tmp_path / "reports")
    page = summary.page.read_text(encoding="utf-8")
    text = words(page)
    assert re.search(r"of 4 classes, 2 runs\. Best at naming the test pictures: small_cnn with \d", text)
    assert "Best at coloring them: colors with a mean squared error of 90.0" in text
    assert (summary.best, summary.best_colorizer, summary.mse) == ("small_cnn", "colors", 90.0)
    assert re.search(
        r"2 runs, best small_cnn with \S+ of test pictures right, best colorizer colors with a test MSE of 90\.0;",
        str(summary),
    )


def test_links_lead_somewhere_and_ids_stand_for_one_thing(page: str) -> None:
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert all('role="img" aria-label="' in drawing for drawing in re.findall(r"<svg [^>]*>", page))


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
    system: Path, tmp_path: Path, grey: Sequence[float] | None, mean: Sequence[float] | None, verdict: str
) -> None:
    text = rewritten(system, tmp_path, {"against.grey.interval": grey, "against.mean.interval": mean})
    assert f"{verdict} Against grey its MSE is" in text


def test_a_difference_is_told_in_words_and_in_shares_of_pictures(system: Path, tmp_path: Path) -> None:
    text = rewritten(system, tmp_path, {"against.mean": {"difference": 7.0, "interval": [2.0, 12.0]}})
    assert "Against grey its MSE is 110.0 lower (97.5 to 122.5), and it is the nearer one in 100 %" in text
    assert "Against the training mean its MSE is 7.00 higher (2.00 to 12.0)" in text


def errors_of(system: Path, name: str, change: Callable[[pd.Series], pd.Series]) -> None:
    """Rewrite the MSE of a run's pictures."""
    path = system / "models" / name / "predictions.parquet"
    table = pd.read_parquet(path)
    table.assign(mse=change(table["mse"])).to_parquet(path)


def test_colorizers_that_cannot_be_told_apart_share_a_letter(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    noise = np.random.default_rng(1)
    errors_of(tmp_path / "system", "vivid", lambda mse: mse * 90 / 120 + noise.normal(0, 9, len(mse)))
    runs = color_tables.ranked_colors([read_color_run(tmp_path / "system", name) for name in COLORS])
    found = color_tables.color_comparison(runs)
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
    page = report(ALL_COLORS, tmp_path / "system", tmp_path / "reports").page.read_text(encoding="utf-8")
    assert re.findall(r'data-label="Group">([a-z]+)<', page) == ["a", "a", "b"]
    row = found.rows["dull"][0]
    assert row is not None
    interval = " to ".join(map(signed, row.interval))
    shown = f"<strong>{signed(row.mean)}</strong><small>{interval}</small><small>p {row.p:.2g}</small>"
    assert shown in page
    assert row.mean > 0, "more error than the best"


def test_the_order_of_pictures_in_a_file_does_not_count(system: Path, tmp_path: Path) -> None:
    one, two = (read_color_run(system, name) for name in ("colors", "dull"))
    turned = dataclasses.replace(two, predictions=two.predictions.iloc[::-1])
    assert color_tables.color_comparison([one, turned]) == color_tables.color_comparison([one, two])


def test_one_colorizer_alone_is_compared_with_none(system: Path, tmp_path: Path) -> None:
    text = words(report({"colors": "colorize"}, system, tmp_path).page.read_text(encoding="utf-8"))
    for absent in ("Group", "How sure", "less that of the column"):
        assert absent not in text


def test_wins_are_counted_by_picture(system: Path) -> None:
    run = read_color_run(system, "colors")
    table = pd.DataFrame({"mse": [1.0, 5, 3, 2], "grey_mse": [2.0, 4, 3, 9], "mean_mse": [0.0, 0, 0, 3]})
    found = color_tables.duels(run.metrics.test.against, table)
    assert {name: duel.wins for name, duel in found.items()} == {"grey": 0.5, "mean": 0.25}


def assess(system: Path, *, repeats: list[float] | None = None, crossed: bool = False, mean: float = 0.0) -> str:
    """The page on a run for which training again told so; mean: the difference to the training mean's MSE."""
    folder = system / "models/colors"
    told: dict[str, object] = {"repeats": None, "crossvalidation": None}
    answers = pd.DataFrame({"mse": [80.0, 84, 90, 98], "grey_mse": [200.0] * 4, "mean_mse": [81.0, 85, 80, 80]})
    if repeats:
        deviation = float(np.std(repeats, ddof=1)) if len(repeats) > 1 else None
        spread = {"mse": repeats, "mean": float(np.mean(repeats)), "deviation": deviation}
        told["repeats"] = {"seeds": list(range(len(repeats))), "test": spread, "validation": spread}
    if crossed:
        told["crossvalidation"] = {
            "n": 4,
            "origins": 4,
            "measures": {"mse": {"value": 88.0, "interval": [82.0, 94.0], "grey": 200.0, "mean": 81.5}},
            "against": {
                "grey": {"difference": -112.0, "interval": [-120.0, -104.0]},
                "mean": {"difference": mean, "interval": [mean - 3, mean + 3]},
            },
            "folds": [{"mse": 82.0, "n": 2}, {"mse": 94.0, "n": 2}],
            "starts_from_file": False,
        }
    write_json(folder / "assessment.json", told)
    answers.assign(id=list("abcd"), origin=list("abcd"), fold=[0, 0, 1, 1]).to_parquet(
        folder / "crossvalidation.parquet"
    )
    page = report({"colors": "colorize"}, system, system / "reports").page.read_text(encoding="utf-8")
    return words(page[page.index('<section id="run-colors"') :])


def test_what_training_again_told_stands_beside_the_run(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    text = assess(tmp_path / "system", repeats=[90.0, 94.0], crossed=True, mean=6.5)
    assert (
        "Cross-validated: better than grey, worse than the training mean. Against grey its MSE is 112.0 lower" in text
    )
    assert "Against the training mean its MSE is 6.50 higher (3.50 to 9.50), and it is the nearer one in 50 %" in text
    assert "2 other seeds test 92.0 ± 2.83 90.0, 94.0" in text
    assert "2 folds all 4 88.0 82.0 to 94.0 82.0, 94.0 200.0 81.5" in text
    assert "the nearer one in 100 % of all pictures" in text
    assert "weights that it starts from" not in text
    text = assess(tmp_path / "system", repeats=[90.0])
    assert "1 other seed test 90.0 90.0" in text
    assert "Cross-validated" not in text
    assert "folds" not in text
    assert "Cross-validated: better than grey and than the training mean." in assess(
        tmp_path / "system", crossed=True, mean=-9.0
    )


def test_what_was_not_asked_for_is_not_spoken_of(system: Path, tmp_path: Path, page: str) -> None:
    shutil.copytree(system, tmp_path / "system")
    assert "Trained again" not in assess(tmp_path / "system")
    assert "Trained again" not in words(page), "an older system has no such file"


def test_answers_of_cross_validation_that_are_missing_are_named(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    assess(tmp_path / "system", crossed=True)
    (tmp_path / "system/models/colors/crossvalidation.parquet").unlink()
    with pytest.raises(UserError, match=r"crossvalidation\.parquet: not found.*dvc repro assess-colorize@colors`"):
        report(ALL_COLORS, tmp_path / "system", tmp_path / "reports")


def test_an_interval_over_a_single_origin_is_left_out(system: Path, tmp_path: Path) -> None:
    none = {f"measures.{name}.interval": [None, None] for name in MEASURES}
    text = rewritten(system, tmp_path, none | {"measures.mse.interval": None, "against.grey.interval": None})
    assert "with a mean squared error of 90.0 , 55 % below grey." in text
    assert "None" not in text
    assert Against(difference=-3.0).verdict == "open"


def test_a_run_worse_than_grey_says_so(system: Path, tmp_path: Path) -> None:
    text = rewritten(system, tmp_path, {"measures.mse.value": 230.0})
    assert "15 % above grey." in text
    assert "\N{MINUS SIGN}15.0 %" in text


def test_what_was_tuned_is_shown_as_found(page: str) -> None:
    chapter = words(page[page.index('<section id="run-colors"') :])
    settings = chapter[chapter.index(" Parameters ") : chapter.index(" Tuning ")]
    assert "learning rate 0.00217" in settings
    assert "decoder unet" in chapter
    assert "watch" not in chapter
    assert "patience" not in chapter
    assert "Trials: 3 complete, 1 pruned" in chapter


def test_sheets_are_shown_with_their_own_pixels_where_they_are(system: Path, page: str, tmp_path: Path) -> None:
    chapter = page[page.index('<section id="run-colors"') : page.index('<section id="run-vivid"')]
    shown = re.findall(r'class="sheet" src="data:image/webp;base64,([^"]+)" width="300" height="90"', chapter)
    reds = [Image.open(io.BytesIO(base64.b64decode(source))).getpixel((9, 9))[0] for source in shown]
    assert reds == pytest.approx([70, 140, 0], abs=6), "colors, extremes, then what was learned"
    shutil.copytree(system, tmp_path / "system")
    (tmp_path / "system/models/colors/extremes.png").unlink()
    text = words(
        report({"colors": "colorize"}, tmp_path / "system", tmp_path / "reports").page.read_text(encoding="utf-8")
    )
    assert "Best and worst" not in text
    assert "What it colors" in text


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("record.json", "train-colorize@colors"),
        ("history.csv", "train-colorize@colors"),
        ("metrics.json", "evaluate-colorize@colors"),
        ("predictions.parquet", "evaluate-colorize@colors"),
    ],
)
def test_a_missing_file_is_named_with_the_stage_that_writes_it(
    system: Path, tmp_path: Path, file: str, stage: str
) -> None:
    shutil.copytree(system, tmp_path / "system")
    (tmp_path / "system/models/colors" / file).unlink()
    with pytest.raises(UserError, match=rf"colors/{file}: not found.*dvc repro {stage}`"):
        report(ALL_COLORS, tmp_path / "system", tmp_path / "reports")


def test_a_missing_measure_is_named(system: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.json: cannot be read \(test\.measures\.ssim\.value: "):
        rewritten(system, tmp_path, {"measures.ssim": {"grey": 1.0, "mean": 1.0}})


def test_runs_on_other_test_pictures_are_not_ranked(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    path = tmp_path / "system/models/vivid/predictions.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    with pytest.raises(UserError, match=r"vivid/predictions\.parquet: other test pictures than those of colors"):
        report(ALL_COLORS, tmp_path / "system", tmp_path / "reports")


def test_spare_pictures_are_counted_apart(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    path = tmp_path / "system/data/split/manifest.parquet"
    split = pd.read_parquet(path)
    spare = split["id"].isin(split.loc[split["fold"] == "train", "id"].unique()[:7])
    split.assign(fold=split["fold"].mask(spare, "spare")).to_parquet(path)
    counted = census(read_pictures(tmp_path / "system"))
    assert counted.spare == 7, "copies are no pictures"
    assert sum(fold.pictures for fold in counted.folds.values()) == counted.kept - 7
    text = words(report(ALL_COLORS, tmp_path / "system", tmp_path / "reports").page.read_text(encoding="utf-8"))
    assert "7 pictures take no part" in text


mse = st.floats(0, 20_000, allow_subnormal=False).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(mse, mse, mse, st.none() | st.tuples(mse, mse)), min_size=1, max_size=5))
def test_the_common_scale_holds_all_that_is_drawn(
    drawn: list[tuple[float, float, float, tuple[float, float] | None]],
) -> None:
    runs = [
        SimpleNamespace(
            metrics=SimpleNamespace(
                test=SimpleNamespace(
                    measures=SimpleNamespace(mse=SimpleNamespace(value=one, grey=grey, mean=mean, interval=interval))
                )
            )
        )
        for one, grey, mean, interval in drawn
    ]
    scale = color_tables.color_scale(runs)
    values = [value for *three, interval in drawn for value in (*three, *(interval or ()))]
    assert scale.low <= min(values) + 1e-6
    assert scale.high >= max(values) - 1e-6
    assert scale.high > scale.low
    assert 2 <= len(scale.ticks) <= color_tables.MOST_TICKS + 2


def test_the_best_trial_is_the_lowest_of_those_that_ran_to_the_end() -> None:
    told = {"number": [0, 1, 2, 3], "state": ["PRUNED", "COMPLETE", "COMPLETE", "PRUNED"], "value": [10.0, 90, 70, 20]}
    trials = pd.DataFrame(told).assign(learning_rate=[1e-4, 1e-3, 1e-2, 2e-2], dropout=0.0, decay=0.0)
    best = figures.course(trials, "mse").axes[0].lines[0].get_ydata()
    assert list(best)[1:] == [90, 70, 70]
    drawn = figures.scatter(trials, "mse").axes[0]
    assert drawn.get_title(loc="left") == "Trials: validation MSE by learning rate"
    assert drawn.collections[-1].get_offsets().tolist() == [[1e-2, 70.0]], "the ring"


@pytest.mark.parametrize(("first", "scale"), [(9000.0, "log"), (300.0, "linear"), (np.inf, "linear")])
def test_a_curve_is_logarithmic_only_where_one_epoch_would_press_the_others_flat(first: float, scale: str) -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_mse": [first, 150, 120], "validation_mse": [first, 160, 130]})
    axes = figures.curve(history, "mse", level=("grey", 140.0), may_be_steep=True).axes[0]
    assert axes.get_yscale() == scale
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "validation", "grey"]
    assert figures.curve(history, "mse").axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0"), (0.87124, "0.871"), (5.984, "5.98"), (66.21, "66.2"), (177.64, "177.6"), (1204.2, "1204")],
)
def test_a_measure_has_as_many_figures_as_say_something(value: float, written: str) -> None:
    assert number(value) == written
    assert number(-value) == (f"\N{MINUS SIGN}{written}" if value else "0")
