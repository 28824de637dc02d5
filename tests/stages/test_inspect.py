"""Stage `inspect`: files that people look at, from any system, however small."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.files import file_digest, read_json
from lamina.results.inspection import MAP_COLUMNS, ODD, SUSPECTS, Inspection
from lamina.stages.inspect import chosen_features, in_words, inspect_pictures
from systems import draw_stripes, folders_of, write_features, write_pictures, write_split


def write_system(system: Path, labels: list[str | None], *, wrong: int = 0, features: bool = True) -> Path:
    """Write stripes; the first `wrong` have the other label, and the seventh is dark."""
    upright = np.array([label if label in ("lying", "upright") else "lying" for label in labels])
    rgb = draw_stripes(upright)
    rgb[6:7] = rgb[6:7] // 8
    given = [{"lying": "upright", "upright": "lying"}[str(label)] for label in labels[:wrong]] + labels[wrong:]
    manifest = write_pictures(system, rgb, given)
    third = len(labels) // 3
    rows = write_split(system, ["train"] * (len(labels) - 2 * third) + ["validation"] * third + ["test"] * third)
    folder = system / "data/filtered"
    folder.mkdir()
    manifest[["id"]].assign(width=40, height=[40] * (len(labels) - 1) + [160]).to_parquet(folder / "kept.parquet")
    if features:
        known = dict(zip(manifest["id"], upright == "upright", strict=True))
        shown = np.random.default_rng(0).normal(0, 0.2, (len(rows), 12))
        shown[:, 0] += 4 * rows["id"].map(known).to_numpy()
        write_features(system, "good", shown)
        write_features(system, "random", np.random.default_rng(1).normal(size=(len(rows), 12)))
    return system


def inspect(system: Path, *features: str, out: str = "data/inspection") -> Inspection:
    folders = folders_of(system)
    return inspect_pictures(features, folders, system / "data/filtered", system / "data/raw", system / out, seed=3)


def balanced(count: int) -> list[str | None]:
    return (["lying", "upright"] * count)[:count]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_system(tmp_path_factory.mktemp("system"), balanced(90), wrong=5)
    (folder / "data/raw").mkdir()
    (folder / "data/raw/_corrected.csv").write_text("file,given,label\na.png,lying,upright\n")
    inspect(folder, "good", "random")
    return folder


def test_wrong_labels_are_listed_for_correction(system: Path) -> None:
    suspects = pd.read_csv(system / "data/inspection/suspects.csv", dtype=str, keep_default_na=False)
    names = pd.read_parquet(system / "data/lab/manifest.parquet")["name"]
    assert list(suspects) == [*SUSPECTS]
    assert set(suspects["file"]) == set(names[:5])
    assert (suspects["label"] != suspects["likelier"]).all()
    assert suspects["score"].astype(float).is_monotonic_increasing
    assert (suspects["corrected"] == "").all()


def test_the_record_counts_what_was_found_by_the_features_that_show_it(system: Path) -> None:
    found = Inspection(**read_json(system / "data/inspection/summary.json"))
    assert found.input == "features/good", "not the random ones"
    assert (found.pictures, found.judged, found.suspects, found.corrected, found.mapped) == (90, 90, 5, 1, 90)
    assert found.accuracy["corrected"].all > found.accuracy["given"].all + 0.04
    assert in_words(found).startswith("inspected 90 pictures by features/good: 5 of 90 labels are doubtful")


def test_odd_pictures_are_listed_with_their_reason(system: Path) -> None:
    odd = pd.read_csv(system / "data/inspection/odd.csv", dtype={"file": str})
    names = pd.read_parquet(system / "data/lab/manifest.parquet")["name"]
    assert list(odd) == [*ODD]
    assert dict(zip(odd["file"], odd["reason"], strict=True)).items() >= {names[6]: "dark", names[89]: "tall"}.items()
    assert odd["odd"].is_monotonic_decreasing


def test_the_map_has_every_original_and_the_sheets_are_pictures(system: Path) -> None:
    table = pd.read_parquet(system / "data/inspection/map.parquet")
    assert list(table) == [*MAP_COLUMNS]
    assert table["id"].tolist() == pd.read_parquet(system / "data/lab/manifest.parquet")["id"].tolist()
    assert table[["x", "y"]].abs().max().max() == pytest.approx(1)
    assert table["suspect"].sum() == 5
    for name in ("suspects", "odd"):
        with Image.open(system / f"data/inspection/{name}.png") as sheet:
            assert sheet.width > 200


def test_the_same_inputs_give_the_same_bytes(system: Path) -> None:
    inspect(system, "good", "random", out="again")
    for path in (system / "data/inspection").iterdir():
        assert file_digest(system / "again" / path.name) == file_digest(path), path.name


def test_a_system_without_features_is_inspected_by_its_pixels(system: Path) -> None:
    found = inspect(system, out="by_pixels")
    assert found.input == "pixels"
    assert found.judged == 90


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([None] * 12, "the pictures have no labels"),
        (["lying"] * 12, "there is 1 class of at least 5 origins"),
        (["lying", "upright", "lying"], "there is no classes of at least 5 origins"),
        (["lying"], "there is no classes"),
    ],
    ids=["no labels", "one class", "three pictures", "one picture"],
)
@pytest.mark.parametrize("features", [True, False])
def test_what_cannot_be_judged_is_said_and_stops_nothing(
    tmp_path: Path, labels: list[str | None], reason: str, features: bool
) -> None:
    write_system(tmp_path, labels, features=features)
    found = inspect(tmp_path, *(["good"] if features else []))
    assert reason in found.reason
    assert (found.judged, found.suspects) == (0, 0)
    assert reason in in_words(found)
    suspects = pd.read_csv(tmp_path / "data/inspection/suspects.csv")
    assert (list(suspects), len(suspects)) == ([*SUSPECTS], 0)
    assert len(pd.read_parquet(tmp_path / "data/inspection/map.parquet")) == len(labels)
    assert not (tmp_path / "data/inspection/suspects.png").exists()


def test_a_class_with_few_origins_is_left_out_and_named(tmp_path: Path) -> None:
    found = inspect(write_system(tmp_path, [*balanced(40), "rare", "rare"]), "good")
    assert found.left_out == {"rare": 2}
    assert found.judged == 40
    assert "not judged: rare" in in_words(found)


def test_trained_features_are_looked_at_and_a_control_only_where_there_is_nothing_else() -> None:
    features = {"b": {"weights": "weights/random"}, "c": {"weights": "x.h5"}, "a": {"weights": "y.onnx"}}
    assert chosen_features({"features": features}) == ["a", "c"]
    assert chosen_features({"features": {"b": features["b"]}}) == ["b"]
    assert chosen_features({"features": {}}) == []


def test_the_stage_runs_without_tensorflow(system: Path) -> None:
    (system / "params.yaml").write_text("seed: 3\nfeatures: {good: {weights: x.h5}}\nruns: {}\n")
    code = "import sys; from lamina.stages.inspect import main; main(); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=system, capture_output=True, text=True, check=True)
    assert "inspected 90 pictures by features/good: 5 of 90 labels are doubtful" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
    assert done.stderr == ""
