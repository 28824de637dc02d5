"""The page's sections about single pictures: suspects, odd ones, and the map with the only script of the page."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from browser import QUIET, chromium
from finished import run_settings, write_params
from lamina.charts.chapter import render
from lamina.data.rows import Folders
from lamina.report import map as drawing
from lamina.report.data_files import read_pictures
from lamina.report.inspection import VARIANTS, best_predictions, learned_columns, read_inspection, script_digest
from lamina.stages.inspect import inspect_pictures
from lamina.tasks.registry import TASKS
from pages import page_of, words, write_classifier, write_colorizer, write_pictures
from tracked import write_label_run

RUNS = {"mobilenet_v2": "classify", "colors": "colorize"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system of 240 pictures, three of them with a wrong label, a dark one and a hostile name."""
    folder = tmp_path_factory.mktemp("cells") / "cells"
    originals = write_pictures(folder)
    write_classifier(folder, "mobilenet_v2", originals, 0.9)
    write_colorizer(folder, "colors", originals, 90.0)
    lab = folder / "data/lab"
    pixels, manifest = np.load(lab / "pixels.npy"), pd.read_parquet(lab / "manifest.parquet")
    pixels[17, ..., 0] //= 8
    manifest.loc[17, "name"] = '</script><b title="'
    np.save(lab / "pixels.npy", pixels)
    manifest.to_parquet(lab / "manifest.parquet")
    split = folder / "data/split/manifest.parquet"
    rows = pd.read_parquet(split)
    for place, label in ((1, "monocyte"), (2, "lymphocyte"), (3, "eosinophil")):
        rows.loc[rows["id"] == manifest.loc[place, "id"], "label"] = label
    rows.to_parquet(split)
    manifest[["id"]].assign(width=48, height=48).to_parquet(folder / "data/filtered/kept.parquet")
    folders = Folders(lab=lab, split=folder / "data/split", features=folder / "data/features")
    data = folder / "data"
    inspect_pictures([], folders, data / "filtered", data / "raw", data / "inspection", seed=1)
    return folder


@pytest.fixture(scope="module")
def page(system: Path) -> str:
    return page_of(system, RUNS, system / "reports")


def map_data(page: str) -> dict[str, object]:
    return json.loads(re.findall(r'<script type="application/json" id="map-data">(.*?)</script>', page)[0])


def test_suspects_and_odd_pictures_are_named(system: Path, page: str) -> None:
    found, text = read_inspection(system), words(page)
    assert found is not None
    assert found.summary.suspects >= 3
    assert f"{found.summary.suspects} labels of 240 are doubtful" in text
    first = found.suspects.iloc[0]
    assert f"{first['file']} {first['label']} {first['likelier']} {1 - first['doubt']:.3f}" in text
    assert "much from the others: 1 unlike the others." in text
    assert set(re.findall(r'alt="(Contact sheet: (?:pictures with doubtful|odd)[^"]*)', page)) == {
        "Contact sheet: pictures with doubtful labels", "Contact sheet: odd pictures with the reason"
    }  # fmt: skip


def test_classes_that_were_not_judged_are_named(system: Path) -> None:
    found = read_inspection(system)
    assert found is not None
    few = replace(found, summary=found.summary.model_copy(update={"left_out": {"rare": 2}}))
    values = {"listed": 1, "variants": VARIANTS, "map": None, "script": ""}
    text = words(str(render("lamina.report", "inspection.html.jinja", found=few, **values)))
    assert "to that name. Not judged, since they come from too few origins: rare." in text


def test_the_map_shows_every_picture_without_a_script(system: Path, page: str) -> None:
    svg = re.findall(r'<svg id="map-points".*?</svg>', page, flags=re.DOTALL)[0]
    styles = re.findall(r'<circle cx="(\d+)" cy="(\d+)" r="4" class="(\w+)"/>', svg)
    assert len(styles) == 240
    assert all(0 <= int(x) <= 1000 and 0 <= int(y) <= 640 for x, y, _ in styles)
    assert {style for _, _, style in styles} == {"c0", "c1", "c2", "c3"}
    assert re.search(r'class="links" d="(M\d+,\d+L\d+,\d+)+"', svg), "near duplicates are joined by lines"
    assert '<span><i class="c0"></i>eosinophil</span>' in page


def test_views_say_what_is_known_of_each_picture(system: Path, page: str) -> None:
    data = map_data(page)
    views = {view["name"]: view for view in data["views"]}  # type: ignore[attr-defined]
    assert list(views) == ["class", "doubt of its label", "answer of mobilenet_v2", "fold", "oddity"]
    assert all(len(view["values"]) == 240 for view in views.values())
    table = pd.read_parquet(system / "data/inspection/map.parquet")
    folds = [views["fold"]["legend"][value][1] for value in views["fold"]["values"]]
    assert folds == table["fold"].tolist()
    answers = np.array(
        [views["answer of mobilenet_v2"]["legend"][value][1] for value in views["answer of mobilenet_v2"]["values"]]
    )
    np.testing.assert_array_equal(answers == "not tested", table["fold"] != "test")
    predicted = pd.read_parquet(system / "models/mobilenet_v2/predictions.parquet")
    assert (answers == "wrong").sum() == (predicted["predicted"] != predicted["label"]).sum()
    assert any("unlike the others: distance" in note for note in data["notes"].values())  # type: ignore[attr-defined]
    assert len(data["origins"]) == 48  # type: ignore[arg-type]


def test_the_policy_allows_the_script_of_the_map_and_no_other(page: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert len(scripts) == 1
    policy = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)[0]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{script_digest(scripts[0])}'"
    )
    assert "</script><b" not in page


def test_a_page_without_inspection_has_no_script(system: Path, tmp_path: Path) -> None:
    shutil.copytree(system, tmp_path / "system", ignore=shutil.ignore_patterns("inspection", "reports"))
    text = page_of(tmp_path / "system", RUNS, tmp_path / "reports")
    assert "<script" not in text
    assert "script-src" not in text


def test_of_many_pictures_a_sample_with_all_suspects_is_shown(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MOST", 100)
    table = pd.read_parquet(system / "data/inspection/map.parquet")
    drawn = drawing.draw_map(table, read_pictures(system), None)
    assert drawn is not None
    assert (len(drawn.dots), drawn.pictures) == (100, 240)
    special = table[table["suspect"] | (table["odd"] >= drawing.ODD)]
    assert set(special["file"]) <= set(drawn.data["files"])


def test_the_map_is_colored_by_what_runs_learn(system: Path) -> None:
    table = pd.read_parquet(system / "data/inspection/map.parquet")
    count, many = np.arange(len(table)), len(table) // 2
    texts = {
        "count": [str(n) if n else None for n in count],
        "seen": [f"value {n}" if n > many else "-" for n in count],
    }
    learned = pd.DataFrame(texts, index=pd.Index(table["id"]), dtype="str")
    drawn = drawing.draw_map(table, read_pictures(system), None, learned)
    assert drawn is not None
    views = {view.name: view for view in drawn.views}
    assert list(views)[:3] == ["class", "count", "seen"]
    assert [style for style, _ in views["count"].legend] == ["c0", "c1", "c2", "c3", "none"]
    assert list(views["count"].values[:3]) == [4, 0, 0], "the first has no number"
    assert ("c0", "-") in views["seen"].legend
    assert views["seen"].legend[-1] == ("none", f"{len(table) - many - 1 - drawing.COLORS + 1} other values")


def test_the_map_judges_only_answers_that_are_classes(system: Path, tmp_path: Path) -> None:
    write_label_run(tmp_path)
    write_params(tmp_path, {"seen": run_settings("head", task="multilabel", targets=["seen"])})
    labels = TASKS["multilabel"].chapter(tmp_path, ["seen"], read_pictures(system))
    assert best_predictions(tmp_path, [labels]) is None
    shutil.copytree(tmp_path / "models/seen", system / "models/seen")
    classes = TASKS["classify"].chapter(system, ["mobilenet_v2"], read_pictures(system))
    best = best_predictions(system, [labels, classes])
    assert best
    assert best[0] == "mobilenet_v2"
    assert learned_columns(system, [labels, classes]).empty, "without metadata"


def test_small_pictures_fit_into_their_room(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.read_parquet(system / "data/inspection/map.parquet")
    large = drawing.draw_map(table, read_pictures(system), None)
    monkeypatch.setattr(drawing, "SPRITE_BYTES", 60_000)
    small = drawing.draw_map(table, read_pictures(system), None)
    assert large is not None
    assert small is not None
    assert small.data["side"] < large.data["side"] == drawing.SIDES[0]
    assert len(small.data["sprite"]) < 60_000 * 4 / 3 + 99


# what a person does: choose a view, then walk and hover; at the end the page says what it shows
ACTS = """
const svg = document.getElementById("map-points");
document.querySelectorAll("#map-choices input")[3].click();
svg.focus();
svg.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
const walked = document.querySelector("#map-shown b").textContent;
const dot = svg.querySelectorAll(".dots circle")[9].getBoundingClientRect();
const at = {clientX: dot.x + dot.width / 2, clientY: dot.y + dot.height / 2, bubbles: true};
svg.dispatchEvent(new PointerEvent("pointermove", at));
const found = document.createElement("pre");
found.id = "acted";
found.textContent = JSON.stringify({
  walked,
  words: document.querySelector("#map-shown p").innerText,
  place: document.querySelector("#map-shown span").style.backgroundPosition,
  picture: document.querySelector("#map-shown span").style.backgroundImage.slice(0, 22),
  kin: document.querySelector(".kin").getAttribute("d").split("M").length - 1,
  legend: document.getElementById("map-legend").innerText.split("\\n").join(" "),
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
});
document.body.append(found);
"""


def dumped(page: Path, profile: Path, *options: str) -> tuple[str, str]:
    command = [chromium(), *QUIET, f"--user-data-dir={profile}", *options, "--dump-dom", page.as_uri()]
    opened = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return opened.stdout, opened.stderr


def test_a_browser_runs_the_script_and_requests_nothing(system: Path, page: str, tmp_path: Path) -> None:
    shown, errors = dumped(system / "reports/index.html", tmp_path)
    assert "CONSOLE" not in errors
    assert shown.count('type="radio"') == 5
    assert '<fieldset id="map-choices" class="choices">' in shown


@pytest.mark.parametrize("width", [1200, 400])
def test_the_map_answers_to_keys_and_pointer(page: str, tmp_path: Path, width: int) -> None:
    policy = re.findall(r"'(sha256-[^']+)'", page)[0]
    acting = page.replace(policy, f"{policy}' '{script_digest(ACTS)}").replace(
        "</body>", f"<script>{ACTS}</script></body>"
    )
    (tmp_path / "acting.html").write_text(acting, encoding="utf-8")
    shown, errors = dumped(tmp_path / "acting.html", tmp_path / "profile", f"--window-size={width},900")
    assert "CONSOLE" not in errors
    acted = json.loads(re.findall(r'<pre id="acted">(.*?)</pre>', shown, flags=re.DOTALL)[0].replace("&gt;", ">"))
    data = map_data(page)
    assert acted["walked"] in data["files"]  # type: ignore[operator]
    near = data["files"].index(acted["words"].split("\n")[0])  # type: ignore[attr-defined]
    side, columns = 112, data["columns"]
    assert acted["place"] == f"{-(near % columns) * side}px {-(near // columns) * side}px".replace("-0px", "0px")  # type: ignore[operator]
    assert "5 pictures of one origin" in acted["words"]
    assert acted["kin"] == 5
    assert acted["picture"].startswith('url("data:image/webp')
    assert "train validation test" in acted["legend"], "the view of folds was chosen"
    assert acted["wide"] <= 0, "nothing sticks out of a narrow page"
