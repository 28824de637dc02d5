"""The report's chapter that shows what was published next to our results."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lamina.errors import UserError
from lamina.files import read_json, write_json
from lamina.maths.scores import score
from lamina.report.published import Line, compared
from lamina.results.published import Ours, Published, Quantity, write_published
from lamina.results.trained import read_trained
from lamina.tasks.classify.published import QUANTITIES, class_interval
from lamina.tasks.classify.results import Metrics
from lamina.tasks.registry import TASKS
from pages import (
    CELLS,
    page_of,
    words,
    write_classifier,
    write_colorizer,
    write_ensemble,
    write_lightness,
    write_pictures,
)

SHARE = Quantity(high=1.0, share=True)
TASK = TASKS["classify"]
RUNS = {
    "densenet121": "classify",
    "small_cnn": "classify",
    "both": "classify",
    "colors": "colorize",
    "dim": "lightness",
}
PUBLISHED: dict[str, Any] = {
    "title": "Cells <of> blood",
    "reference": "A. Author, https://example.org/cells",
    "machine": "2 x GTX 1080 Ti",
    "runs": {
        "small_cnn": {
            "where": "table 12", "accuracy": 0.5, "recall": {"monocyte": 0.25, "neutrophil": 1.0},
            "f1": {"monocyte": 0.5}, "seconds": 347, "n": 440, "note": "copies & more",
        },
        "densenet121": {"where": "page 61", "macro_f1": 0.5, "accuracy": 0.99},
        "vgg16_5000": {"where": "page 70", "accuracy": 0.9, "seconds": 9000},
        "colors": {"where": "page 71", "mse": 100, "ssim": 0.5},
        "dim": {"where": "page 72", "mse": 110.25},
        "both": {"where": "page 73", "accuracy": 0.5, "seconds": 1},
    },
}  # fmt: skip


def rescore(folder: Path) -> None:
    """Write the scores that follow from a classifier's predictions."""
    metrics, rows = read_json(folder / "metrics.json"), pd.read_parquet(folder / "predictions.parquet")
    found = score(rows["label"], rows["predicted"], rows["origin"], list(CELLS))
    write_json(folder / "metrics.json", metrics | {"test": metrics["test"] | found})
    write_json(folder / "assessment.json", {})


def crossvalidate(folder: Path) -> pd.DataFrame:
    """Write a cross-validation in which every third prediction of the test fold is wrong."""
    rows = pd.read_parquet(folder / "predictions.parquet").assign(fold=0)
    rows["predicted"] = rows["label"].where(rows.index % 3 > 0, "monocyte")
    rows.to_parquet(folder / "crossvalidation.parquet")
    scores = score(rows["label"], rows["predicted"], rows["origin"], list(CELLS))
    folds = [{"value": scores["accuracy"], "n": len(rows)}]
    write_json(folder / "assessment.json", {"crossvalidation": {"scores": scores, "folds": folds}})
    return rows


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of every task, and an ensemble; one of the classifiers is cross-validated."""
    folder = tmp_path_factory.mktemp("cells") / "cells"
    originals = write_pictures(folder, side=32)
    for name, skill in (("small_cnn", 0.62), ("densenet121", 0.84)):
        write_classifier(folder, name, originals, skill)
    write_ensemble(folder, "both", ["small_cnn", "densenet121"])
    for path in (folder / "models/small_cnn", folder / "models/densenet121", folder / "ensembles/both"):
        rescore(path)
    crossvalidate(folder / "models/densenet121")
    write_colorizer(folder, "colors", originals, 90.0)
    write_lightness(folder, "dim", originals, 120.0)
    write_published(folder / "data/published.yaml", Published.model_validate(PUBLISHED))
    return folder


@pytest.fixture(scope="module")
def chapter(system: Path) -> str:
    page = page_of(system, RUNS, system / "reports")
    start = page.index('<section id="published"')
    return page[start : page.index("</section>", start)]


def lines(chapter: str, place: int) -> list[str]:
    """Return the words of each row of one of the chapter's tables."""
    table = re.findall(r'<table class="published">.*?</table>', chapter, flags=re.DOTALL)[place]
    bodies = re.findall(r"<tbody>.*?</tbody>", table, flags=re.DOTALL)
    return [words(row) for body in bodies for row in re.findall(r"<tr.*?</tr>", body, flags=re.DOTALL)]


def shown(value: float, interval: Any, published: float, *, source: str) -> str:
    """Return the cells of a share after the published one, from numbers of `metrics.json`."""
    low, high = interval
    verdict = "below" if published < low else "above" if published > high else "inside"
    difference = f"{100 * (value - published):+.1f}".replace("-", "\N{MINUS SIGN}")
    return f"{100 * value:.1f} % {source} {100 * low:.1f} to {100 * high:.1f} % {difference} points {verdict}"


# ---- a line


@pytest.mark.parametrize(("published", "verdict"), [(0.79, "below"), (0.8, "inside"), (0.9, "inside"), (0.91, "above")])
def test_the_verdict_says_where_the_published_figure_lies(published: float, verdict: str) -> None:
    ours = Ours(value=0.85, interval=(0.8, 0.9), n=100, crossvalidated=False)
    line = Line(measure="accuracy", label=None, quantity=SHARE, published=published, ours=ours)
    assert line.verdict == verdict
    assert line.difference == pytest.approx(0.85 - published)


def test_without_ours_or_its_interval_there_is_no_verdict() -> None:
    line = Line(measure="accuracy", label=None, quantity=SHARE, published=0.5, ours=None)
    assert (line.verdict, line.difference) == (None, None)
    ours = Ours(value=0.75, interval=None, n=9, crossvalidated=False)
    line = Line(measure="accuracy", label=None, quantity=SHARE, published=0.5, ours=ours)
    assert (line.verdict, line.difference) == (None, 0.25)


def test_a_cross_validation_goes_before_the_test_fold(system: Path) -> None:
    reported = Published.model_validate(PUBLISHED).runs["densenet121"]
    run = read_trained(system, "densenet121", Metrics)
    found = compared("densenet121", reported, TASK, run)
    assert run.assessment.crossvalidation
    scores = run.assessment.crossvalidation.scores
    assert scores["accuracy"] != run.metrics.test.value
    assert [line.ours.value for line in found.lines if line.ours] == [scores["macro_f1"], scores["accuracy"]]
    assert all(line.ours and line.ours.crossvalidated for line in found.lines)
    assert found.lines[1].ours
    assert found.lines[1].ours.interval == tuple(scores["interval"])


# ---- the chapter


def test_numbers_are_those_of_the_result_files(system: Path, chapter: str) -> None:
    folder, rows = system / "models/small_cnn", lines(chapter, 0)
    test = read_json(folder / "metrics.json")["test"]
    predictions = pd.read_parquet(folder / "predictions.parquet")
    ours = shown(test["accuracy"], test["interval"], 0.5, source=f"test, n {test['n']}")
    assert rows[0] == f"small_cnn table 12 copies & more accuracy 50.0 % n 440 {ours}"
    by_class = [("recall", "monocyte", 0.25), ("recall", "neutrophil", 1.0), ("f1", "monocyte", 0.5)]
    for row, (measure, label, published) in zip(rows[1:], by_class, strict=False):
        interval = class_interval(predictions, measure, label)
        ours = shown(test["per_class"][label][measure], interval, published, source="test")
        assert row == f"{QUANTITIES[measure].title or measure} of {label} {100 * published:.1f} % {ours}"
    crossed = read_json(system / "models/densenet121/assessment.json")["crossvalidation"]["scores"]
    ours = shown(crossed["accuracy"], crossed["interval"], 0.99, source=f"cross-validated, n {crossed['n']}")
    assert rows[5] == f"accuracy 99.0 % {ours}"
    assert rows[5].endswith("above")
    assert {row.split()[-1] for row in rows} == {"inside", "above", "below", "\N{EN DASH}"}


def test_a_measure_without_interval_has_a_difference_alone(system: Path, chapter: str) -> None:
    crossed = read_json(system / "models/densenet121/assessment.json")["crossvalidation"]["scores"]
    difference = f"{100 * (crossed['macro_f1'] - 0.5):+.1f}".replace("-", "\N{MINUS SIGN}")
    ours = f"{100 * crossed['macro_f1']:.1f} % cross-validated, n {crossed['n']}"
    dash = "\N{EN DASH}"
    assert lines(chapter, 0)[4] == f"densenet121 page 61 macro F1 50.0 % {ours} {dash} {difference} points {dash}"


def test_other_measures_are_shown_in_their_own_units(system: Path, chapter: str) -> None:
    rows, test = lines(chapter, 0), read_json(system / "models/colors/metrics.json")["test"]
    minus, n = "\N{MINUS SIGN}", test["n"]
    assert rows[7] == f"colors page 71 MSE 100.0 90.0 test, n {n} 81.0 to 108.0 {minus}10.0 inside"
    ssim = 1 - 90 / 2500
    bounds = f"{0.9 * ssim:.3f} to {1.2 * ssim:.2f}"
    assert rows[8] == f"SSIM 0.500 {ssim:.3f} test, n {n} {bounds} +{ssim - 0.5:.3f} below"
    assert rows[9] == f"dim page 72 MSE 110.2 120.0 test, n {n} 108.0 to 144.0 +9.75 inside"


def test_a_run_that_is_not_here_keeps_its_published_figure(chapter: str) -> None:
    dash = "\N{EN DASH}"
    assert lines(chapter, 0)[6] == f"vgg16_5000 page 70 accuracy 90.0 % not run here {dash} {dash} {dash}"
    assert 'href="#run-vgg16_5000"' not in chapter
    assert 'href="#run-small_cnn"' in chapter


def test_times_stand_next_to_the_published_ones_with_both_machines(chapter: str) -> None:
    dash = "\N{EN DASH}"
    assert lines(chapter, 1) == [
        "small_cnn 5 min 47 s 5 min 54 s train 42 s, tune 5 min 12 s 2 x GTX 1080 Ti 2 cores",
        f"vgg16_5000 2 h 30 min not run here 2 x GTX 1080 Ti {dash}",
        f"both 1.0 s {dash} 2 x GTX 1080 Ti {dash}",
    ]


def test_the_heading_has_the_title_and_a_reference_with_links_and_escapes_both(chapter: str) -> None:
    assert "<strong>Cells &lt;of&gt; blood</strong>" in chapter
    assert re.search(r'A\. Author, <a href="https://example\.org/cells"[^>]*>https://example\.org/cells</a>', chapter)


def test_no_chapter_where_nothing_was_published(system: Path, tmp_path: Path) -> None:
    copy = system / "data/published.yaml"
    text = copy.read_text()
    write_published(copy, None)
    try:
        assert "Published and ours" not in page_of(system, RUNS, tmp_path)
    finally:
        copy.write_text(text)
    assert page_of(system, RUNS, tmp_path).count("Published and ours") == 2, "title and contents"


def test_a_class_that_no_run_knows_is_refused_with_those_there_are(system: Path, tmp_path: Path) -> None:
    copy = system / "data/published.yaml"
    text = copy.read_text()
    copy.write_text(text.replace("monocyte", "basophil"))
    try:
        with pytest.raises(
            UserError, match=r"published\.yaml: runs\.small_cnn\.recall: no class 'basophil'.*known: eosi"
        ):
            page_of(system, RUNS, tmp_path / "reports")
    finally:
        copy.write_text(text)
    assert not (tmp_path / "reports").exists()
