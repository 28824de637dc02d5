"""`bench/flaws.py`: mistakes give the figures that they must give, on drawn pictures, and the system stays as it is."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from checkout import ROOT
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.models.backbones import BACKBONE_LAYER, load_trunk
from lamina.tasks.columns import probability
from systems import AUGMENT, FEATURES, HEAD, hex_ids, params_of, write_pictures, write_split

SCRIPT = ROOT / "bench" / "flaws.py"
CLASSES = ("a", "b", "c", "d")
SIDE = 16


@pytest.fixture(scope="module")
def flaws() -> Any:
    spec = importlib.util.spec_from_file_location("flaws", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def predictions_of(count: int, accuracy: float, *, sure: float = 0.7, classes: tuple[str, ...] = CLASSES) -> Any:
    """Predictions of equal classes, the first ones of which are correct; the predicted class has probability `sure`."""
    labels = np.arange(count) % len(classes)
    predicted = np.where(np.arange(count) < accuracy * count, labels, (labels + 1) % len(classes))
    rest = (1 - sure) / (len(classes) - 1)
    outputs = pd.DataFrame(
        np.where(np.eye(len(classes))[predicted] == 1, sure, rest), columns=[*map(probability, classes)]
    )
    names, ids = np.array(classes, dtype=object), hex_ids(count)
    table = pd.DataFrame({"id": ids, "origin": ids, "label": names[labels], "predicted": names[predicted]})
    return table.join(outputs)


def write_system(system: Path) -> Path:
    """Write pictures of patterns that show their origin and not their class, and a finished run."""
    count = 60
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 4, 4, 3), np.uint8)
    rgb = coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    still = {"rotation": 3.0, "shift": 0.02, "flip_horizontal": False, "flip_vertical": False, "color": 0.02}
    write_pictures(system, rgb, ["a", "b"] * (count // 2), augment=AUGMENT | still)
    write_split(system, ["train"] * 30 + ["validation"] * 10 + ["test"] * 20)
    weights = system / "weights" / "imagenet" / "small_cnn.weights.h5"
    weights.parent.mkdir(parents=True)
    trunk = load_trunk("small_cnn", weights="weights/random", size=SIDE, seed=1)
    assert trunk.name == BACKBONE_LAYER
    trunk.save_weights(weights)
    features = {"chance": FEATURES, "small": FEATURES | {"weights": "weights/imagenet/small_cnn.weights.h5"}}
    params = params_of({"head": HEAD}, features=features, augment=AUGMENT | still)
    params["weights"] = {"imagenet": ["small_cnn"]}
    (system / "params.yaml").write_text(json.dumps(params))
    (system / "models" / "head").mkdir(parents=True)
    predictions_of(20, 0.8, classes=("a", "b")).to_parquet(system / "models" / "head" / "predictions.parquet")
    return system


def test_shuffled_labels_give_chance_whatever_the_run_scores(flaws: Any) -> None:
    found = flaws.shuffled_labels(predictions_of(400, 0.9), seed=1)
    assert found.right[0] == 0.9
    assert found.right[1] < 0.9 < found.right[2]
    assert abs(found.flawed[0] - 0.25) < 0.01
    assert found.flawed[1] < 0.25 < found.flawed[2]


def test_single_outputs_flatter_a_weak_model(flaws: Any) -> None:
    weak = flaws.single_outputs(predictions_of(400, 0.3))
    assert weak.right[0] == 0.3
    assert weak.flawed[0] == pytest.approx(0.3 + 0.7 * 0.5)  # a wrong answer has two of four outputs right
    unsure = flaws.single_outputs(predictions_of(400, 0.3, sure=0.4))
    assert unsure.flawed[0] == pytest.approx(0.75)  # no output reaches 0.5: zeros for every picture
    assert "always a: 62.5\N{NO-BREAK SPACE}% instead of 25.0\N{NO-BREAK SPACE}%" in weak.note
    two = flaws.single_outputs(predictions_of(400, 0.3, classes=("a", "b")))
    assert two.flawed[0] == pytest.approx(two.right[0])


def test_copies_before_the_split_recognize_origins(flaws: Any) -> None:
    """Features that show the origin alone: classes can only be guessed for a new one."""
    random, pictures, copies = np.random.default_rng(0), 60, 4
    rows = pd.DataFrame({"origin": np.repeat(hex_ids(pictures), copies), "copy": list(range(copies)) * pictures})
    rows["label"] = np.repeat(["a", "b"] * (pictures // 2), copies)
    features = random.normal(size=(pictures, 100)).repeat(copies, axis=0) + random.normal(0, 0.1, (len(rows), 100))
    found = flaws.copies_before_split(features.astype(np.float32), rows, seeds=3)
    assert found.flawed[0] > 0.9
    assert 0.3 < found.right[0] < 0.7
    assert found.right[1] < 0.5 < found.right[2]


def test_a_difference_of_conventions_is_called_small_where_it_may_be_chance(flaws: Any) -> None:
    random, count = np.random.default_rng(0), 80
    rows = pd.DataFrame({"origin": hex_ids(count), "label": ["a", "b"] * (count // 2)})
    rows["fold"] = ["train"] * (count // 2) + ["test"] * (count // 2)
    shown = np.array([[-1.0], [1.0]] * (count // 2)) + random.normal(0, 0.1, (count, 4))
    noise = random.normal(size=(count, 4))
    same = flaws.rescaled_pixels(shown / 255, shown, rows, "net")
    assert same.flawed == same.right
    assert "is small here" in same.note
    lost = flaws.rescaled_pixels(noise, shown, rows, "net")
    assert lost.right[0] == 1
    assert lost.flawed[0] < 0.8
    assert "is more than chance" in lost.note


@pytest.mark.nightly
def test_the_script_draws_all_and_leaves_the_system_as_it_is(tmp_path: Path) -> None:
    system, out = write_system(tmp_path / "system"), tmp_path / "out"
    before = {path: file_digest(path) for path in system.rglob("*") if path.is_file()}
    command = [sys.executable, str(SCRIPT), str(system), "--seeds", "2", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert {path: file_digest(path) for path in system.rglob("*") if path.is_file()} == before
    assert [path.name for path in out.iterdir()] == ["flaws.png"]
    with Image.open(out / "flaws.png") as drawn:
        assert drawn.width > drawn.height > 100
    lines = done.stdout.splitlines()
    names = ("labels in another order", "copies before the split", "pixels / 255 for small_cnn", "accuracy of single")
    assert len(lines) == 1 + 2 * len(names)
    figures = {}
    for name, line in zip(names, lines[1::2], strict=True):
        assert line.startswith(name)
        figures[name] = [float(value) for value in line[36:].split()[:4:2]]
    assert figures["labels in another order"][1] == figures["accuracy of single"][1] == 80.0
    flawed, right = figures["copies before the split"]
    assert flawed > right + 10
    assert "60 pictures, 120 rows" in lines[4]


def test_a_run_without_classes_is_refused(flaws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/colors").mkdir(parents=True)
    pd.DataFrame({"id": hex_ids(3)}).to_parquet("models/colors/predictions.parquet")
    with pytest.raises(UserError, match=r"^models/colors/predictions.parquet: no predicted classes; .*: head$"):
        flaws.read_predictions(params_of({"head": HEAD}), "colors")
