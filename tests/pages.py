"""Systems to report on: pictures of cells, and runs of every task that were trained on them by nobody."""

import html
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from finished import (
    class_scores,
    color_scores,
    finished_record,
    lightness_scores,
    run_settings,
    write_finished_run,
)
from lamina.data.augmentation import PLAN_COLUMNS
from lamina.data.sheets import contact_sheet
from lamina.files import read_json, write_json
from lamina.maths.color import srgb_to_lab
from lamina.report.data_files import SHEETS
from lamina.results.record import read_record
from lamina.stages.report import report
from lamina.tasks.columns import probability
from lamina.tasks.registry import TASKS

CELLS: Final = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
PICTURES_PER_ORIGIN: Final = 5
FOLDS: Final = ("train", "train", "train", "validation", "test", "test")
REASONS: Final = ("grayscale", "duplicate", "duplicate", "unreadable", "too small", "duplicate")
GREY_MSE, MEAN_MSE = 200.0, 180.0


def page_of(system: Path, runs: Mapping[str, str], out: Path) -> str:
    """Return the text of the page on some runs; runs: the task of each."""
    summary = report({name: TASKS[task] for name, task in runs.items()}, system, out)
    return summary.page.read_text(encoding="utf-8")


def words(page: str) -> str:
    """Return a page's text without markup, with single blanks."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def table_rows(page: str, kind: str) -> list[str]:
    """Return the words of the rows of the page's first table of a CSS class."""
    table = re.search(rf'<table class="{kind}">.*?</table>', page, flags=re.DOTALL)
    assert table
    body = table[0][table[0].index("<tbody>") :]
    return [words(row) for row in re.findall(r"<tr.*?</tr>", body, flags=re.DOTALL)]


def section(page: str, name: str) -> str:
    """Return the page's section about a run."""
    start = page.index(f'<section id="run-{name}"')
    return page[start : page.index("</section>", start)]


def cell_picture(rng: np.random.Generator, kind: int, side: int) -> np.ndarray:
    """Draw a stained cell on a pale ground, whose number of lobes is that of its class."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    ground = rng.uniform(215, 240, 3) * np.ones((side, side, 1))
    lobes = 1 + kind % 5
    inside = np.zeros((side, side), dtype=bool)
    for lobe in range(lobes):
        turn = 2 * np.pi * lobe / lobes + rng.uniform(0, 6)
        inside |= np.hypot(x - 0.14 * np.cos(turn), y - 0.14 * np.sin(turn)) < 0.14
    ground[np.hypot(x, y) < 0.34] = (226, 178, 206)
    ground[inside] = (96, 62, 150)
    return np.clip(ground + rng.normal(0, 5, ground.shape), 0, 255).astype(np.uint8)


def write_pictures(
    system: Path, *, classes: Sequence[str] = CELLS, origins: int = 48, side: int = 48, seed: int = 7
) -> pd.DataFrame:
    """Write `data/` as its stages do; return the split's originals with their names, in the order of the pixels."""
    rng = np.random.default_rng(seed)
    rows, pixels = [], []
    for origin in range(origins):
        for turn in range(PICTURES_PER_ORIGIN):
            kind = (origin + turn) % len(classes)
            name = f"{classes[kind]}/slide-{origin:03d}_{turn:02d}.jpg"
            fold = FOLDS[origin // len(classes) % len(FOLDS)]
            rows.append((f"{len(rows):016x}", f"slide-{origin:03d}", classes[kind], name, 0, fold))
            pixels.append(cell_picture(rng, kind, side))
    originals = pd.DataFrame(rows, columns=["id", "origin", "label", "name", "copy", "fold"])
    for folder in ("lab", "split", "filtered", "augmented", "features"):
        (system / "data" / folder).mkdir(parents=True)
    np.save(system / "data/lab/pixels.npy", np.stack([srgb_to_lab(pixel) for pixel in pixels]))
    originals[["id", "origin", "label", "name"]].to_parquet(system / "data/lab/manifest.parquet")
    copies = [originals[originals["fold"] == "train"].assign(copy=copy) for copy in (1, 2, 3)]
    pd.concat([originals, *copies]).drop(columns="name").to_parquet(system / "data/split/manifest.parquet")
    rejected = pd.DataFrame({"name": [f"x/{i}.jpg" for i in range(len(REASONS))], "reason": REASONS, "detail": ""})
    rejected.to_parquet(system / "data/filtered/rejected.parquet")
    turned = [[np.rot90(pixel, quarter).copy() for quarter in range(4)] for pixel in pixels[: min(4, len(classes))]]
    sheet = contact_sheet(turned, classes[: len(turned)])
    for path in SHEETS.values():
        sheet.save(system / "data" / path)
    write_json(system / "data/features/small_cnn.timing.json", {"seconds": {"extract": 19.0}})
    _write_near_duplicates(system, originals)
    return originals


def write_plan(system: Path, originals: pd.DataFrame) -> None:
    """Write a plan that leaves originals as they are, so that their pixels can be read."""
    plan = originals[["id", "copy"]].assign(**dict.fromkeys(PLAN_COLUMNS, 0))
    plan.to_parquet(system / "data/augmented/plan.parquet")


def _write_near_duplicates(system: Path, originals: pd.DataFrame) -> None:
    """Write three groups of near duplicates, and an audit of every test picture, of which two are suspicious."""
    groups = originals.head(3 * 8).assign(group=np.repeat([1, 2, 3], 8))
    groups[["group", "id", "name", "origin"]].to_parquet(system / "data/filtered/groups.parquet")
    test, train = (originals.loc[originals["fold"] == fold, "id"].to_numpy() for fold in ("test", "train"))
    audit = pd.DataFrame({"id": test, "nearest": train[: len(test)], "fold": "train", "distance": 9.5, "unusual": 0.1})
    audit["agreement"] = [0.987, 0.961, *np.linspace(0.9, 0.2, len(test) - 2)]
    audit.to_parquet(system / "data/split/audit.parquet")
    counted = {"compared": len(test), "suspicious": 2, "suspicious_from": 0.95}
    write_json(system / "data/split/summary.json", counted)


def remove_labels(system: Path) -> None:
    """Leave no label in the data, as with `source.labels: none`."""
    for path in ("lab", "split"):
        manifest = system / "data" / path / "manifest.parquet"
        pd.read_parquet(manifest).assign(label=None).to_parquet(manifest)


def write_classifier(
    system: Path, name: str, originals: pd.DataFrame, skill: float, *, classes: Sequence[str] = CELLS, seed: int = 3
) -> None:
    """Write a classifier that is right at the rate `skill`; over pixels if its name starts with small, else a head."""
    rng = np.random.default_rng([seed, *name.encode()])
    test = originals[originals["fold"] == "test"].reset_index(drop=True)
    odds = rng.dirichlet(np.ones(len(classes)), len(test))
    true = np.array([list(classes).index(label) for label in test["label"]])
    known = rng.random(len(test)) < skill
    odds[known, true[known]] += 1.5
    odds /= odds.sum(axis=1, keepdims=True)
    predicted = np.array(classes, dtype=object)[odds.argmax(axis=1)]
    predictions = test[["id", "origin", "label"]].assign(predicted=predicted)
    predictions = predictions.join(pd.DataFrame(odds, columns=[*map(probability, classes)]))
    accuracy = float((predictions["label"] == predictions["predicted"]).mean())
    scores = class_scores(accuracy, classes, n=len(test), origins=test["origin"].nunique())
    scores["interval"] = [max(0.0, accuracy - 0.08), min(1.0, accuracy + 0.06)]
    scores["majority"] = float(test["label"].value_counts(normalize=True).max())
    scores["calibration"] = {
        "ece": 0.082,
        "interval": [0.031, 0.147],
        "by_chance": 0.049,
        "brier": 0.31,
        "log_loss": 0.5,
    }
    epoch = np.arange(1, 41)
    history = pd.DataFrame({"epoch": epoch, "train_loss": 1.4 * np.exp(-epoch / 12) + 0.05})
    history["train_accuracy"] = 1 - 0.7 * np.exp(-epoch / 9)
    history["validation_loss"] = 1.4 * np.exp(-epoch / 10) + 0.35 + rng.normal(0, 0.02, 40)
    history["validation_accuracy"] = skill - 0.6 * np.exp(-epoch / 8) + rng.normal(0, 0.015, 40)
    rates = 10 ** rng.uniform(-4.5, -2, 12)
    trials = pd.DataFrame({"number": range(12), "state": ["COMPLETE"] * 9 + ["PRUNED"] * 3})
    trials["value"] = skill - 0.1 * np.abs(np.log10(rates) + 3)
    settings = run_settings("network" if name.startswith("small") else "head", epochs=40, learning_rate="tune")
    write_finished_run(
        system,
        finished_record(name, settings, classes=classes, parameters=2_260_546),
        metrics={"test": scores, "validation": scores},
        history=history.assign(learning_rate=1e-3),
        predictions=predictions,
        trials=trials.assign(learning_rate=rates, dropout=0.3, decay=0.0, epochs=40),
        numbers={"learning_rate": 0.00103, "dropout": 0.3, "decay": 0.0},
        seconds={"tune": 312.0, "train": 41.5},
        assessment=class_assessment(scores, skill),
    )


def write_ensemble(system: Path, name: str, runs: Sequence[str], *, classes: Sequence[str] = CELLS) -> None:
    """Write an ensemble of classifiers with the predictions and scores of the first, and name it in `params.yaml`."""
    members = {run: read_record(system / "models" / run) for run in runs}
    record = members[runs[0]].model_copy(
        update={
            "run": name,
            "input": "pixels",
            "settings": {"runs": list(runs)},
            "numbers": {},
            "seed": None,
            "members": {run: one.key for run, one in members.items()},
        }
    )
    folder = system / "ensembles" / name
    folder.mkdir(parents=True)
    record.write(folder / "record.json")
    for file in ("predictions.parquet", "metrics.json"):
        shutil.copy(system / "models" / runs[0] / file, folder)
    crossed = read_json(system / "models" / runs[0] / "assessment.json")["crossvalidation"]
    write_json(folder / "assessment.json", {"crossvalidation": crossed})
    write_json(system / "params.yaml", {"ensembles": {name: {"runs": list(runs)}}})


def class_assessment(scores: Mapping[str, Any], skill: float) -> dict[str, Any]:
    """Return an `assessment.json`: two more trainings, five folds, and a control at chance."""
    spread = {"values": [skill - 0.02, skill], "mean": skill - 0.01, "deviation": 0.0141}
    return {
        "repeats": {"seeds": [14, 15], "test": spread, "validation": spread},
        "crossvalidation": {"scores": dict(scores), "folds": [{"value": skill, "n": 48}] * 5},
        "control": {"accuracy": 0.26, "chance": 0.25, "interval": [0.17, 0.33], "p": 0.4, "passed": True, "n": 80},
    }


def errors_of(originals: pd.DataFrame, **means: float) -> pd.DataFrame:
    """Return predictions of the test pictures with columns of errors; means: of each column."""
    rows = originals.loc[originals["fold"] == "test", ["id", "origin"]].reset_index(drop=True)
    return rows.assign(**{name: mean * np.linspace(0.5, 1.5, len(rows)) for name, mean in means.items()})


def _error_history(mse: float) -> pd.DataFrame:
    epoch = np.arange(1, 11)
    history = pd.DataFrame({"epoch": epoch, "train_loss": 5 / epoch, "validation_loss": 5 / epoch + 0.2})
    return history.assign(train_mse=mse + 90 / epoch, validation_mse=mse + 99 / epoch, learning_rate=1e-3)


def write_colorizer(system: Path, name: str, originals: pd.DataFrame, mse: float) -> None:
    """Write a colorizer with this test MSE; grey has 200 and the training mean 180."""
    predictions = errors_of(originals, mse=mse, grey_mse=GREY_MSE, mean_mse=MEAN_MSE)
    counts = {"n": len(predictions), "origins": len(predictions) // PICTURES_PER_ORIGIN}
    trials = pd.DataFrame({"number": range(4), "state": ["COMPLETE"] * 3 + ["PRUNED"], "value": [150.0, 95, 110, 80]})
    sheets = ("sheets/colors", "sheets/extremes", "progress/learning")
    write_finished_run(
        system,
        finished_record(name, run_settings("colorizer", epochs=10, learning_rate="tune"), parameters=468_211),
        metrics={"test": color_scores(mse, **counts), "validation": color_scores(mse + 5, **counts)},
        history=_error_history(mse),
        predictions=predictions,
        trials=trials.assign(learning_rate=[1e-4, 1e-3, 1e-2, 2e-2], dropout=0.0, decay=1e-4, epochs=10),
        numbers={"learning_rate": 0.00217},
        seconds={"tune": 60.0, "train": 33.0},
        sheets={place: Image.new("RGB", (300, 90), (70 * number, 0, 99)) for number, place in enumerate(sheets)},
    )


def write_lightness(system: Path, name: str, originals: pd.DataFrame, mse: float) -> None:
    """Write a run that learned lightness with this test MSE; the training mean has 300."""
    predictions = errors_of(originals, mse=mse, mean_mse=300.0)
    counts = {"n": len(predictions), "origins": len(predictions) // PICTURES_PER_ORIGIN}
    write_finished_run(
        system,
        finished_record(name, run_settings("lightness", epochs=10), parameters=391_000),
        metrics={"test": lightness_scores(mse, **counts), "validation": lightness_scores(mse + 5, **counts)},
        history=_error_history(mse),
        predictions=predictions,
        seconds={"train": 12.0},
        sheets={"sheets/lightness": Image.new("RGB", (300, 90), (10, 20, 30))},
    )
