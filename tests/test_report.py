"""The report: what it counts, how it is drawn, and what a person sees when it is opened."""

import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.charts import figures
from lamina.data.sheets import contact_sheet
from lamina.errors import UserError
from lamina.files import write_json
from lamina.maths.color import lab_to_srgb, srgb_to_lab
from lamina.report import tables
from lamina.report.pictures import SHEETS, read_pictures
from lamina.stages.report import report
from lamina.tasks.classify.results import read_run
from lamina.tuning.importance import TRIALS_TO_WEIGH, importances

CELLS = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
PICTURES_PER_ORIGIN = 5
FOLDS = ("train", "train", "train", "validation", "test", "test")
REASONS = ("grayscale", "duplicate", "duplicate", "unreadable", "too small", "duplicate")


def picture(rng: np.random.Generator, kind: int, side: int) -> np.ndarray:
    """A stained cell on a pale ground: its lobes tell its class."""
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


def write_data(system: Path, classes: Sequence[str], origins: int, side: int, rng: np.random.Generator) -> pd.DataFrame:
    """Write `data/` as its stages do; give the split's originals, in the order of the pixels, with their names."""
    rows, pixels = [], []
    for origin in range(origins):
        for turn in range(PICTURES_PER_ORIGIN):
            kind = (origin + turn) % len(classes)
            name = f"{classes[kind]}/slide-{origin:03d}_{turn:02d}.jpg"
            key = f"{len(rows):016x}"
            rows.append(
                (key, f"slide-{origin:03d}", classes[kind], name, 0, FOLDS[origin // len(classes) % len(FOLDS)])
            )
            pixels.append(picture(rng, kind, side))
    originals = pd.DataFrame(rows, columns=["id", "origin", "label", "name", "copy", "fold"])
    for folder in ("lab", "split", "filtered", "augmented"):
        (system / "data" / folder).mkdir(parents=True)
    np.save(system / "data/lab/pixels.npy", np.stack([srgb_to_lab(pixel) for pixel in pixels]))
    originals[["id", "origin", "label", "name"]].to_parquet(system / "data/lab/manifest.parquet")
    copies = [originals[originals["fold"] == "train"].assign(copy=copy) for copy in (1, 2, 3)]
    split = pd.concat([originals, *copies]).drop(columns="name")
    split.to_parquet(system / "data/split/manifest.parquet")
    rejected = pd.DataFrame({"name": [f"x/{i}.jpg" for i in range(len(REASONS))], "reason": REASONS, "detail": ""})
    rejected.to_parquet(system / "data/filtered/rejected.parquet")
    turned = [[np.rot90(pixel, quarter).copy() for quarter in range(4)] for pixel in pixels[: min(4, len(classes))]]
    sheet = contact_sheet(turned, classes[: len(turned)])
    for path in SHEETS.values():
        sheet.save(system / "data" / path)
    write_looks(system, originals)
    return originals


def write_looks(system: Path, originals: pd.DataFrame) -> None:
    """Three groups of near duplicates, and an audit of every test picture, of which two are suspicious."""
    groups = originals.head(3 * 8).assign(group=np.repeat([1, 2, 3], 8))
    groups[["group", "id", "name", "origin"]].to_parquet(system / "data/filtered/groups.parquet")
    test, train = (originals.loc[originals["fold"] == fold, "id"].to_numpy() for fold in ("test", "train"))
    audit = pd.DataFrame({"id": test, "nearest": train[: len(test)], "fold": "train", "distance": 9.5, "unusual": 0.1})
    audit["agreement"] = [0.987, 0.961, *np.linspace(0.9, 0.2, len(test) - 2)]
    audit.to_parquet(system / "data/split/audit.parquet")
    told = {"compared": len(test), "suspicious": 2, "suspicious_from": 0.95}
    write_json(system / "data/split/summary.json", told)


def score(label: Sequence[str], predicted: Sequence[str], classes: Sequence[str], origins: int) -> dict[str, object]:
    true, called = np.array(label), np.array(predicted)
    accuracy = float((true == called).mean())
    per_class = {}
    for name in classes:
        hits = float(((true == name) & (called == name)).sum())
        precision, recall = hits / max(1, (called == name).sum()), hits / max(1, (true == name).sum())
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        per_class[name] = {"precision": precision, "recall": recall, "f1": f1, "n": int((true == name).sum())}
    return {
        "accuracy": accuracy,
        "interval": [max(0.0, accuracy - 0.08), min(1.0, accuracy + 0.06)],
        "n": len(true),
        "origins": origins,
        "macro_f1": float(np.mean([row["f1"] for row in per_class.values()])),
        "per_class": per_class,
        "majority": float(pd.Series(true).value_counts(normalize=True).max()),
    }


def write_run(
    system: Path, name: str, originals: pd.DataFrame, classes: Sequence[str], skill: float, rng: np.random.Generator
) -> None:
    """Write `models/NAME/` as tuning, training and evaluation do, for a network that is right at the rate `skill`."""
    folder = system / "models" / name
    folder.mkdir(parents=True)
    test = originals[originals["fold"] == "test"]
    odds = rng.dirichlet(np.ones(len(classes)), len(test))
    true = np.array([list(classes).index(label) for label in test["label"]])
    known = rng.random(len(test)) < skill
    odds[known, true[known]] += 1.5
    odds /= odds.sum(axis=1, keepdims=True)
    predicted = [classes[place] for place in odds.argmax(axis=1)]
    predictions = test[["id", "origin", "label"]].assign(predicted=predicted)
    predictions = pd.concat([predictions.reset_index(drop=True), pd.DataFrame(odds, columns=list(classes))], axis=1)
    predictions.to_parquet(folder / "predictions.parquet")
    told = score(list(test["label"]), predicted, classes, test["origin"].nunique())
    told["calibration"] = {
        "ece": 0.082,
        "interval": [0.031, 0.147],
        "by_chance": 0.049,
        "brier": 0.31,
        "log_loss": 0.52,
    }
    write_json(folder / "metrics.json", {"test": told, "validation": told})
    epoch = np.arange(1, 41)
    history = pd.DataFrame({"epoch": epoch})
    history["train_loss"] = 1.4 * np.exp(-epoch / 12) + 0.05
    history["train_accuracy"] = 1 - 0.7 * np.exp(-epoch / 9)
    history["validation_loss"] = 1.4 * np.exp(-epoch / 10) + 0.35 + rng.normal(0, 0.02, 40)
    history["validation_accuracy"] = skill - 0.6 * np.exp(-epoch / 8) + rng.normal(0, 0.015, 40)
    history.assign(learning_rate=1e-3).to_csv(folder / "history.csv", index=False)
    transfer = kinds([name])[name] == "transfer"
    network = {"backbone": "mobilenet_v2", "weights": "imagenet"} if transfer else {"network": "small_cnn"}
    record = {
        "run": name,
        "system": "smear",
        "kind": "transfer" if transfer else "scratch",
        "params": {**network, "epochs": 40},
        "classes": list(classes),
        "seed": 13,
        "commit": "0123456789abcdef",
        "parameters": 2_260_546,
    }
    write_json(folder / "record.json", record)
    seconds = {"tune": 312.0, "train": 41.5} | ({"extract": 19.0} if transfer else {})
    write_json(folder / "timing.json", {"seconds": seconds, "machine": {"cores": 2}})
    rates = 10 ** rng.uniform(-4.5, -2, 12)
    trials = pd.DataFrame({"number": range(12), "state": ["COMPLETE"] * 9 + ["PRUNED"] * 3})
    trials["value"] = skill - 0.1 * np.abs(np.log10(rates) + 3)
    trials.assign(learning_rate=rates, dropout=0.3, decay=0.0, epochs=40).to_csv(folder / "trials.csv", index=False)
    write_json(folder / "assessment.json", assessment(told, skill))
    (folder / "tuned.yaml").write_text("learning_rate: 0.00103\ndropout: 0.3\ndecay: 0.0\n")


def assessment(told: dict[str, object], skill: float) -> dict[str, object]:
    """What `assess` says of a run: two more trainings, five folds, and a control at chance."""
    spread = {"accuracies": [skill - 0.02, skill], "mean": skill - 0.01, "deviation": 0.0141}
    return {
        "repeats": {"seeds": [14, 15], "test": spread, "validation": spread},
        "crossvalidation": told | {"folds": [{"accuracy": skill, "n": 48}] * 5, "confusion": {}},
        "control": {"accuracy": 0.26, "chance": 0.25, "interval": [0.17, 0.33], "p": 0.4, "passed": True, "n": 80},
    }


def make_system(
    system: Path, skills: dict[str, float], classes: Sequence[str] = CELLS, origins: int = 48, side: int = 128
) -> Path:
    rng = np.random.default_rng(7)
    originals = write_data(system, classes, origins, side, rng)
    for name, skill in skills.items():
        write_run(system, name, originals, classes, skill, rng)
    return system


def kinds(names: Iterable[str]) -> dict[str, str]:
    return {name: "scratch" if name.startswith("small") else "transfer" for name in names}


THREE = {"small_cnn": 0.62, "mobilenet_v2": 0.93, "densenet121": 0.84}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_system(tmp_path_factory.mktemp("system"), THREE)


@pytest.fixture(scope="module")
def page(system: Path) -> str:
    return report(kinds(list(THREE)), system, system / "reports").page.read_text(encoding="utf-8")


def words(page: str) -> str:
    """What is written in a page: its text without markup, blanks drawn together."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_leaderboard_is_sorted_by_test_accuracy(system: Path, page: str) -> None:
    board = page[page.index("<tbody>") : page.index("</tbody>")]
    shown = re.findall(r'<th scope="row"><a href="#run-([^"]+)"', board)
    accuracy = {name: read_run(system, name).metrics.test.accuracy for name in THREE}
    assert shown == sorted(THREE, key=lambda name: -accuracy[name])


def test_each_run_shows_its_accuracy_its_interval_and_the_time_of_all_phases(system: Path, page: str) -> None:
    for name in THREE:
        test = read_run(system, name).metrics.test
        assert f"{100 * test.accuracy:.1f} %" in words(page)
        assert f"{100 * test.interval[0]:.1f} to {100 * test.interval[1]:.1f} %" in words(page)
    assert "6 min 12 s" in words(page), "19 s of extraction, 312 s of tuning, 41.5 s of training"


def test_runs_that_cannot_be_told_apart_share_a_letter(system: Path, page: str, tmp_path: Path) -> None:
    found = tables.comparison(tables.ranked([read_run(system, name) for name in THREE]))
    assert found is not None
    for name, row in found.rows.items():
        for other, difference in zip(found.rows, row, strict=True):
            if difference is None:
                assert name == other
                continue
            assert (difference.first, difference.second) == (name, other)
            assert bool(set(found.letters[name]) & set(found.letters[other])) is (difference.p > 0.05)
    assert found.letters["mobilenet_v2"] != found.letters["small_cnn"]
    letters = re.findall(r'data-label="Group">([a-z]+)<', page)
    assert letters == [found.letters[name] for name in found.rows]
    gap = found.rows["mobilenet_v2"][-1]
    assert gap is not None
    shown = f"{100 * gap.mean:+.1f} {100 * gap.interval[0]:+.0f} to {100 * gap.interval[1]:+.0f} p"
    assert shown in words(page).replace("\N{MINUS SIGN}", "-")
    one = words(report(kinds(["small_cnn"]), system, tmp_path).page.read_text(encoding="utf-8"))
    assert "Group" not in one


def test_runs_on_other_test_pictures_are_not_compared(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    path = tmp_path / "system/models/small_cnn/predictions.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    with pytest.raises(
        UserError, match=r"small_cnn/predictions.parquet: other test pictures than those of mobilenet_v2"
    ):
        report(kinds(list(THREE)), tmp_path / "system", tmp_path / "reports")


def test_what_training_again_told_is_shown(page: str) -> None:
    text = words(page)
    assert "mobilenet_v2 92.0 % ± 1.4 2 trainings" in text
    assert "93 %, 93 %, 93 %, 93 %, 93 % 26.0 % 25.0 % 17.0 to 33.0 %" in text
    assert "With labels dealt at random nothing was learned" in text
    assert "off by 8.2 % on average" in text


def test_a_control_that_did_better_than_chance_is_loud(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    path = tmp_path / "system/models/densenet121/assessment.json"
    told = json.loads(path.read_text())
    told["control"] |= {"accuracy": 0.71, "p": 0.0001, "passed": False}
    write_json(path, told)
    page = report(kinds(list(THREE)), tmp_path / "system", tmp_path / "reports").page.read_text(encoding="utf-8")
    assert "densenet121: labels dealt at random were told better than by chance." in words(page)
    assert re.findall(r'class="number alarm">([^<]+)<', page) == ["71.0\N{NO-BREAK SPACE}% ✗"]


def test_a_run_that_was_not_assessed_is_shown_without(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    for name in THREE:
        write_json(tmp_path / f"system/models/{name}/assessment.json", dict.fromkeys(["repeats", "control"]))
    text = words(
        report(kinds(["small_cnn"]), tmp_path / "system", tmp_path / "reports").page.read_text(encoding="utf-8")
    )
    assert "How sure" not in text


def test_pictures_are_counted_by_reason_class_and_fold(system: Path, page: str) -> None:
    census = tables.census(read_pictures(system))
    assert list(census.rejected.items()) == [("duplicate", 3), ("grayscale", 1), ("too small", 1), ("unreadable", 1)]
    assert sum(count.pictures for count in census.folds.values()) == census.kept == 48 * PICTURES_PER_ORIGIN
    assert sum(count.origins for count in census.folds.values()) == 48
    for fold in tables.FOLDS:
        assert sum(row[fold].pictures for row in census.classes.values()) == census.folds[fold].pictures
    assert census.training_rows == 4 * census.folds["train"].pictures
    assert "rejected: duplicate 3" in words(page)


def test_a_confusion_matrix_holds_every_test_picture_once_and_its_rows_sum_to_one(system: Path) -> None:
    predictions = read_run(system, "small_cnn").predictions
    matrix = tables.confusion(predictions, CELLS)
    assert sum(cell.count for row in matrix for cell in row) == len(predictions)
    right = (predictions["label"] == predictions["predicted"]).sum()
    assert sum(matrix[place][place].count for place in range(len(CELLS))) == right
    for label, row in zip(CELLS, matrix, strict=True):
        assert sum(cell.count for cell in row) == (predictions["label"] == label).sum()
        assert sum(cell.share for cell in row) == pytest.approx(1)


def test_a_class_without_test_pictures_has_an_empty_row() -> None:
    predictions = pd.DataFrame({"label": ["a", "a"], "predicted": ["a", "b"]})
    matrix = tables.confusion(predictions, ["a", "b"])
    assert [cell.count for cell in matrix[1]] == [0, 0]
    assert [cell.share for cell in matrix[1]] == [0, 0]


def test_mistakes_are_wrong_and_come_most_confident_first() -> None:
    predictions = pd.DataFrame(
        {
            "id": ["1", "2", "3", "4"],
            "label": ["a", "a", "b", "b"],
            "predicted": ["a", "b", "a", "a"],
            "a": [0.99, 0.2, 0.9, 0.9],
            "b": [0.01, 0.8, 0.1, 0.1],
        }
    )
    found = tables.mistakes(predictions, ["a", "b"], most=12)
    assert [(mistake.id, mistake.probability) for mistake in found] == [("3", 0.9), ("4", 0.9), ("2", 0.8)]
    assert [mistake.id for mistake in tables.mistakes(predictions, ["a", "b"], most=1)] == ["3"]


def test_a_mistake_is_shown_with_its_own_pixels(system: Path, page: str) -> None:
    pictures = read_pictures(system)
    predictions = read_run(system, "small_cnn").predictions
    first = tables.mistakes(predictions, CELLS, most=1)[0]
    alt = f"{pictures.names[first.id]}: {first.label}, called {first.predicted}"
    found = re.search(rf'base64,([^"]+)" width="128" height="128" alt="{re.escape(alt)}"', page)
    assert found
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))), dtype=float)
    place = pictures.names.index.get_loc(first.id)
    off = [np.abs(shown - lab_to_srgb(np.array(pixels))).mean() for pixels in pictures.pixels]
    assert int(np.argmin(off)) == place
    assert off[place] < 8, "what compression may change"


@pytest.mark.parametrize(
    ("interval", "majority", "low", "high"),
    [((0.52, 0.67), 0.31, 0.3, 0.7), ((0.93, 1.0), 0.95, 0.9, 1.0), ((0.0, 1.0), 0.5, 0.0, 1.0)],
)
def test_the_common_scale_holds_intervals_and_majority(
    system: Path, interval: tuple[float, float], majority: float, low: float, high: float
) -> None:
    run = read_run(system, "small_cnn")
    test = run.metrics.test.model_copy(update={"interval": interval, "majority": majority})
    changed = run.__class__(**{**vars(run), "metrics": run.metrics.model_copy(update={"test": test})})
    scale = tables.scale([changed])
    assert (scale.low, scale.high) == pytest.approx((low, high))
    assert scale.place(scale.low) == 0
    assert scale.place(scale.high) == 100
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in scale.ticks)


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    without_pictures = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.findall(r"https?:|//|<script|@import|url\((?!#)", without_pictures)
    assert set(re.findall(r'(?:src|href)="([a-z]*:|#|[^"]{0,6})', page)) <= {"data:", "#"}


def test_the_page_tells_those_who_cannot_see(page: str) -> None:
    pictures = re.findall(r"<img [^>]*>", page)
    assert pictures
    assert all(re.search(r' alt="[^"]+"', picture) for picture in pictures)
    drawings = re.findall(r"<svg [^>]*>", page)
    assert len(drawings) == 15, "two curves, the reliability, and the trials in two ways, of three runs"
    assert all('role="img" aria-label="' in drawing for drawing in drawings)
    assert re.search(r"<title>[^<]+</title>", page)
    assert not re.findall(r"<th(?! scope)[ >]", page)
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids)), "an id stands for one thing"


def test_every_sheet_is_shown_with_its_own_pixels(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system / "data", tmp_path / "data")
    (tmp_path / "models").symlink_to(system / "models")
    for shade, path in enumerate(SHEETS.values()):
        Image.new("RGB", (1300, 50), (30 * shade, 0, 0)).save(tmp_path / "data" / path)
    text = report(kinds(["small_cnn"]), tmp_path, tmp_path / "reports").page.read_text(encoding="utf-8")
    shown = re.findall(
        r'class="sheet" src="data:image/webp;base64,([^"]+)" width="1200" height="46" alt="([^"]+)"', text
    )
    assert len({alt for _, alt in shown}) == len(SHEETS)
    reds = [Image.open(io.BytesIO(base64.b64decode(source))).getpixel((9, 9))[0] for source, _ in shown]
    assert reds == pytest.approx([30 * shade for shade in range(len(SHEETS))], abs=6)


def test_near_duplicates_are_counted_and_named(system: Path, page: str) -> None:
    groups = tables.near_duplicates(read_pictures(system).groups)
    assert [len(group.names) for group in groups] == [8, 8, 8]
    assert "3 groups of pictures that are one" in words(page)
    assert f"{groups[0].origin} {', '.join(groups[0].names[:6])}, and 2 more" in words(page)


def test_suspicious_pairs_are_counted_and_named(system: Path, page: str) -> None:
    pictures = read_pictures(system)
    assert pictures.audit is not None
    assert "2 test pictures look like a picture that was trained or tuned on." in words(page)
    for place, pair in pictures.audit.head(3).iterrows():
        line = f"{pictures.names[pair['id']]} {pictures.names[pair['nearest']]} train {pair['agreement']:.3f}"
        assert (line in words(page)) is (place < 2)


def test_an_audit_without_suspicion_says_so(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    write_json(tmp_path / "system/data/split/summary.json", {"compared": 40, "suspicious": 0, "suspicious_from": 0.95})
    text = words(
        report(kinds(["small_cnn"]), tmp_path / "system", tmp_path / "reports").page.read_text(encoding="utf-8")
    )
    assert "No test picture looks like a picture that was trained or tuned on." in text
    assert "the 40 closest pairs were then laid over each other" in text
    assert "Suspicious pairs" not in text


def test_data_docs_are_linked_where_they_are(system: Path, page: str, tmp_path: Path) -> None:
    assert "Data Docs" not in page
    shutil.copytree(system, tmp_path / "system")
    docs = tmp_path / "system/data/validation/docs/index.html"
    docs.parent.mkdir(parents=True)
    docs.write_text("docs")
    shown = report(kinds(["small_cnn"]), tmp_path / "system", tmp_path / "system/reports").page
    links = re.findall(r'href="([^"#:]+)">Data Docs', shown.read_text(encoding="utf-8"))
    assert [(shown.parent / link).read_text() for link in links] == ["docs"]


def test_sixteen_runs_stay_below_three_megabytes(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    names = [f"run_{number}" for number in range(16)]
    for name in names:
        shutil.copytree(system / "models/small_cnn", tmp_path / "system/models" / name)
    rng = np.random.default_rng(3)
    some = read_pictures(system).pixels[:64]
    for path in SHEETS.values():  # as full of pictures as sheets are
        rows = [[lab_to_srgb(some[place]) for place in rng.integers(0, 64, 8)] for _ in range(12)]
        contact_sheet(rows, ["a class of pictures"] * 12, cell=136).save(tmp_path / "system/data" / path)
    assert report(kinds(names), tmp_path / "system", tmp_path / "reports").size < 3_000_000


def test_the_same_inputs_give_the_same_bytes_in_another_process(system: Path, page: str, tmp_path: Path) -> None:
    again = "import sys, pathlib; from lamina.stages.report import report; "
    again += f"report({kinds(reversed(THREE))!r}, pathlib.Path({str(system)!r}), pathlib.Path({str(tmp_path)!r}))"
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "77", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", again], check=True, env=environment)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html"]


def test_names_and_labels_are_escaped(tmp_path: Path) -> None:
    classes = ('<script>alert("x")</script>', "a & b", "ü" * 90)
    make_system(tmp_path, {"small_cnn": 0.3}, classes=classes, origins=36, side=32)
    text = report(kinds(["small_cnn"]), tmp_path, tmp_path / "reports").page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(" in text
    assert "a &amp; b" in text


@pytest.mark.parametrize(("classes", "runs"), [(2, 1), (20, 2)])
def test_few_and_many_classes_and_runs(tmp_path: Path, classes: int, runs: int) -> None:
    names = [f"class number {place}" for place in range(classes)]
    skills = {f"run_{place}": 0.5 for place in range(runs)}
    make_system(tmp_path, skills, classes=names, origins=6 * classes, side=28)
    summary = report(kinds(list(skills)), tmp_path, tmp_path / "reports")
    assert summary.runs == runs
    text = words(summary.page.read_text(encoding="utf-8"))
    assert all(name in text for name in names)
    assert "run_0 transfer" in text, "equals stand in the order of their names"


def test_a_run_without_mistakes_trials_or_time_is_reported_too(tmp_path: Path) -> None:
    make_system(tmp_path, {"small_cnn": 1.0}, origins=24, side=32)
    folder = tmp_path / "models/small_cnn"
    (folder / "trials.csv").write_text("number,state,value,learning_rate,dropout,decay,epochs\n")
    record = json.loads((folder / "record.json").read_text())
    write_json(folder / "record.json", {key: value for key, value in record.items() if key != "parameters"})
    sheets = [tmp_path / "data" / path for path in SHEETS.values()]
    audit = [tmp_path / "data/split" / name for name in ("audit.parquet", "summary.json")]
    for path in (folder / "tuned.yaml", folder / "timing.json", *sheets, *audit):
        path.unlink()
    shutil.rmtree(tmp_path / "data/filtered")
    summary = report(kinds(["small_cnn"]), tmp_path, tmp_path / "reports")
    text = words(summary.page.read_text(encoding="utf-8"))
    assert summary.accuracy == 1
    assert "No test picture was called wrongly" in text
    assert "Trials" not in text
    assert "Parameters" not in text
    assert "Leak audit" not in text
    assert "The pictures" not in text


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("models/small_cnn/record.json", "train-scratch@small_cnn"),
        ("models/small_cnn/history.csv", "train-scratch@small_cnn"),
        ("models/small_cnn/metrics.json", "evaluate-scratch@small_cnn"),
        ("models/small_cnn/predictions.parquet", "evaluate-scratch@small_cnn"),
        ("data/split/manifest.parquet", "split"),
        ("data/lab/pixels.npy", "convert"),
        ("data/lab/manifest.parquet", "convert"),
    ],
)
def test_a_missing_or_broken_file_is_named_with_the_stage_that_writes_it(
    system: Path, tmp_path: Path, file: str, stage: str
) -> None:
    copy = tmp_path / "system"
    shutil.copytree(system, copy, ignore=shutil.ignore_patterns("reports"))
    (copy / file).unlink()
    with pytest.raises(UserError, match=rf"{file}: not found.*dvc repro {stage}`") as missing:
        report(kinds(["small_cnn"]), copy, copy / "reports")
    (copy / file).write_text("nonsense")
    with pytest.raises(UserError, match=rf"{file}: cannot be read.*dvc repro {stage}`") as broken:
        report(kinds(["small_cnn"]), copy, copy / "reports")
    assert all("\n" not in str(error.value) for error in (missing, broken))
    assert not (copy / "reports").exists()


def test_predictions_of_other_classes_are_refused(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system")
    path = tmp_path / "system/models/small_cnn/predictions.parquet"
    pd.read_parquet(path).drop(columns="monocyte").to_parquet(path)
    with pytest.raises(UserError, match="no column monocyte"):
        report(kinds(["small_cnn"]), tmp_path / "system", tmp_path / "reports")


def test_no_runs_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run to report; name one under transfer\.runs"):
        report(kinds([]), tmp_path, tmp_path / "reports")


def test_the_stage_reports_the_runs_that_params_name(system: Path, tmp_path: Path) -> None:
    params = "transfer: {runs: {mobilenet_v2: {}}}\nscratch: {runs: {small_cnn: {}}}\ncolorize: {runs: {}}\n"
    (tmp_path / "params.yaml").write_text(params)
    for folder in ("data", "models"):
        (tmp_path / folder).symlink_to(system / folder)
    stage = [sys.executable, "-m", "lamina.stages.report"]
    done = subprocess.run(stage, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "2 runs, best mobilenet_v2" in done.stdout
    (tmp_path / "params.yaml").write_text("scratch: {runs: {untrained: {}}}\n")
    failed = subprocess.run(stage, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: models/untrained/record.json: not found")
    assert failed.stderr.count("\n") == 1


def test_a_curve_survives_what_training_can_leave() -> None:
    history = pd.DataFrame({"epoch": [1], "train_loss": [np.inf], "validation_loss": [np.nan]})
    drawn = figures.svg(figures.curve(history, "loss"), 'of "x" & y', "salt")
    assert 'aria-label="of &#34;x&#34; &amp; y"' in drawn
    assert drawn.startswith("<svg")
    assert drawn.endswith("</svg>")


@pytest.mark.parametrize(
    ("varied", "values"),
    [("learning rate", {"learning_rate": [1e-4, 1e-2]}), ("dropout", {"dropout": [0.1, 0.5]}), ("learning rate", {})],
)
def test_trials_are_drawn_over_the_number_that_was_tuned(varied: str, values: dict[str, list[float]]) -> None:
    told = {"number": [0, 1], "state": ["COMPLETE", "PRUNED"], "value": [0.8, 0.7]}
    numbers = {"learning_rate": [1e-3, 1e-3], "dropout": [0.3, 0.3], "decay": [0.0, 0.0], **values}
    drawn = figures.svg(figures.scatter(pd.DataFrame({**told, **numbers})), "trials", "salt")
    assert f"Trials: validation accuracy by {varied}<" in drawn


def trials_of(worth: Callable[[pd.DataFrame], pd.Series], number: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    trials = pd.DataFrame({"number": range(number), "state": "COMPLETE", "epochs": 20})
    trials["learning_rate"], trials["decay"] = 10 ** rng.uniform(-5, -2, (2, number))
    trials["dropout"] = rng.uniform(0, 0.7, number)
    return trials.assign(value=worth(trials))


@pytest.mark.parametrize("number", ["learning_rate", "dropout", "decay"])
def test_the_number_that_decides_is_found_to_matter(number: str) -> None:
    trials = trials_of(lambda rows: -((rows[number].rank() - 20).abs()) / 40 + 0.9)
    shares = importances(trials)
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[number] > 0.7
    assert importances(trials) == shares
    one = trials.assign(**{other: 0.3 for other in figures.NUMBERS if other != number})
    assert importances(one) is None, "of one number there is nothing to compare"
    assert importances(trials.head(TRIALS_TO_WEIGH - 1)) is None
    pruned = trials.assign(state=["COMPLETE"] * 15 + ["PRUNED"] * 25)
    assert importances(pruned) is None


def test_importance_is_shown_where_enough_trials_tell(system: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(system / "data")
    shutil.copytree(system / "models/small_cnn", tmp_path / "models/small_cnn")
    few = words(report(kinds(["small_cnn"]), tmp_path, tmp_path / "reports").page.read_text(encoding="utf-8"))
    assert "Which number matters is not said of fewer than 16 trials" in few
    trials = trials_of(lambda rows: 0.9 - 0.1 * (np.log10(rows["learning_rate"]) + 3).abs())
    trials.assign(dropout=0.3).to_csv(tmp_path / "models/small_cnn/trials.csv", index=False)
    many = words(report(kinds(["small_cnn"]), tmp_path, tmp_path / "reports").page.read_text(encoding="utf-8"))
    assert re.search(r"Value Tuned Importance learning rate \S+ (\d+) % dropout 0\.3 given decay \S+ \d+ %", many)
    assert "Which number matters" not in many


def test_the_course_tells_the_best_so_far_of_those_that_ran_to_the_end() -> None:
    told = {
        "number": [0, 1, 2, 3],
        "state": ["PRUNED", "COMPLETE", "COMPLETE", "PRUNED"],
        "value": [0.9, 0.5, 0.7, 0.1],
    }
    axes = figures.course(pd.DataFrame(told)).axes[0]
    best = axes.lines[0].get_ydata()
    assert list(best)[1:] == [0.5, 0.7, 0.7]
    assert np.isnan(best[0])
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"best so far"}


def test_a_sheet_is_white_and_as_large_as_its_rows() -> None:
    picture = np.zeros((40, 80, 3), dtype=np.uint8)
    plain = contact_sheet([[picture] * 3, [picture]], ["", ""], cell=50)
    assert plain.getpixel((0, 0)) == (255, 255, 255)
    worded = contact_sheet([[picture] * 3, [picture]], ["eosinófilo", "b"], [["x", "", "y"], ["z"]], cell=50)
    assert worded.width > plain.width
    assert worded.height > plain.height
    assert plain.getpixel((plain.width // 2, 16 + 25)) == (0, 0, 0)


def test_a_sheet_shortens_words_and_does_not_change_its_pictures() -> None:
    rng = np.random.default_rng(1)
    shown = rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)
    before = shown.copy()
    long = contact_sheet(
        [[shown]], ["an unreasonably long label " * 9], [["a caption far wider than its cell"]], cell=40
    )
    assert long.width < 400
    assert np.array_equal(shown, before)
    again = contact_sheet(
        [[shown]], ["an unreasonably long label " * 9], [["a caption far wider than its cell"]], cell=40
    )
    assert long.tobytes() == again.tobytes()


def test_a_sheet_refuses_what_does_not_match() -> None:
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], [])
    with pytest.raises(ValueError, match="shorter"):
        contact_sheet([[picture]], [])


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium on PATH (chromium, chromium-browser or google-chrome)")


QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
)


def test_a_browser_shows_every_run_and_asks_for_nothing(system: Path, page: str, tmp_path: Path) -> None:
    target = (system / "reports/index.html").as_uri()
    command = [browser(), *QUIET, f"--user-data-dir={tmp_path}", "--dump-dom", target]
    opened = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    seen = words(opened.stdout)
    for name in THREE:
        test = read_run(system, name).metrics.test
        line = f"{100 * test.accuracy:.1f} % {100 * test.interval[0]:.1f} to {100 * test.interval[1]:.1f} %"
        assert re.search(rf"{name} (transfer|scratch) .{{0,60}}{re.escape(line)}", seen)
    assert "CONSOLE" not in opened.stderr, "there a browser tells of every request that it refused or that failed"
    assert opened.stdout.count("<svg ") == 15
