"""`lamina serve` with networks: what it answers, what it refuses, and its page in a real browser."""

import io
import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image

from browser import Browser
from finished import CONVERT, finished_record, run_settings, write_params
from lamina.commands import serve
from lamina.commands.explain import explain
from lamina.commands.nearest import KEPT
from lamina.commands.predict import predict
from lamina.commands.predict_texts import predict_texts
from lamina.commands.serve import about, listen
from lamina.commands.served import OfPicture, RefusedError, Served, find_run, open_served
from lamina.errors import UserError
from lamina.files import write_json
from lamina.inputs.targets import write_targets
from pages import CELLS, write_pictures, write_plan
from scans import SIZE, linear, saved
from serving import serving, wait_until_ready
from systems import stage_of, train_run
from texts import LOGISTIC, opinions, words_system

SIDE = 48
RUNS = {
    "small": run_settings("network"),
    "colors": run_settings("colorizer", encoder="small_cnn"),
    "light": run_settings("lightness"),
    "untrained": run_settings("head"),
}
LABELS = ("blue", "pink", "red")
ASKED = {
    "seen": run_settings("network", task="multilabel", targets=["seen"]),
    "count": run_settings("network", task="regress", target="count"),
}
TASKS = "a task of classify, multilabel, regress, colorize"


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims so many pixels that they would fill memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(side))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


NOISE = encoded(np.random.default_rng(2).integers(0, 256, (30, 30)).astype(np.uint8))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that nobody trained, training pictures, and a picture to send."""
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    folder = tmp_path_factory.mktemp("system")
    write_params(folder, RUNS, convert=CONVERT | {"size": SIDE})
    write_plan(folder, write_pictures(folder, origins=24, side=SIDE))
    (folder / "models/small").mkdir(parents=True)
    finished_record("small", RUNS["small"], classes=CELLS, width=SIDE).write(folder / "models/small/record.json")
    scores = {"accuracy": 0.875, "interval": [0.7, 0.95], "n": 40}
    write_json(folder / "models/small/metrics.json", {"test": scores})
    network = build_network("small_cnn", SIDE, len(CELLS), dropout=0.5, seed=3)
    save_model(network, folder / "models/small/model.keras")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)).save(folder / "mine.png")
    return folder


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def small(system: Path) -> OfPicture:
    answers = open_served(system, "small")
    assert isinstance(answers, OfPicture)
    answers.load()
    return answers


# ---- which run


@pytest.mark.parametrize(
    ("name", "words"),
    [("smal", f"run 'smal' is not there; expected one with {TASKS}: small, colors, untrained"),
     ("light", f"run 'light' has the task lightness; expected one with {TASKS}: small, colors, untrained"),
     (None, "no champion is accepted here; name a run (small, colors, untrained), or accept with")],
)  # fmt: skip
def test_a_run_that_cannot_be_served_is_refused_with_those_that_can(name: str | None, words: str, system: Path) -> None:
    with pytest.raises(UserError) as refused:
        find_run(system, name)
    assert str(refused.value).startswith(words)


def test_the_champion_is_the_default(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = system / "baselines/champion.json"
    write_json(path, {"run": "colors", "key": "a" * 64, "model": "m", "measure": "mse", "validation": 50.0})
    try:
        assert find_run(system, None) == "colors"
        assert capsys.readouterr().err == "note: colors was trained again since it was accepted as champion\n"
    finally:
        path.unlink()


def test_a_run_without_a_model_is_refused(system: Path) -> None:
    with pytest.raises(UserError, match=r"models/untrained/record\.json: not found; run `dvc repro"):
        open_served(system, "untrained")


# ---- answers


def test_answers_are_those_of_predict(small: OfPicture, system: Path) -> None:
    found = dict(small.predict((system / "mine.png").read_bytes()))
    (expected,) = predict(system, "small", [system / "mine.png"])
    assert found["predicted"] == expected.predicted
    assert list(found["probabilities"]) == list(CELLS)
    assert [*found["probabilities"].values()] == pytest.approx([*expected.probabilities.values()], abs=1e-6)
    json.dumps(found)


def test_a_deep_picture_is_read_with_its_depth(small: OfPicture) -> None:
    dark = np.random.default_rng(1).integers(0, 1024, (30, 30)).astype(np.uint16)
    assert small.predict(encoded(dark))["probabilities"] == pytest.approx(
        small.predict(encoded((dark >> 2).astype(np.uint8)))["probabilities"], abs=1e-2
    )


@pytest.mark.parametrize(
    ("upload", "words"),
    [(b"", "not a picture in a known format"), (b"%PDF-1.7", "not a picture in a known format"),
     (bomb(13_000), "takes 1,289 MiB to decode, but convert.memory is 1,024"),
     (bomb(60_000), "is more than 178,956,970 pixels"), (NOISE[:400], "unreadable: ")],
)  # fmt: skip
def test_what_is_no_picture_or_too_large_is_refused(upload: bytes, words: str, small: OfPicture) -> None:
    with pytest.raises(RefusedError, match=words):
        small.predict(upload)
    with pytest.raises(RefusedError, match=words):
        small.explain(upload)


def test_a_training_picture_is_nearest_to_itself_and_embeddings_are_kept(small: OfPicture, system: Path) -> None:
    while small.prepare_more():
        pass
    assert len(list((system / KEPT).glob("*.npy"))) == 1
    pictures = small._pictures
    assert pictures
    assert small.training_pictures == str(pictures.total)
    upload = encoded(pictures.rows.read([5])[0])
    first = small.explain(upload)
    assert first["nearest"][0] == {"picture": first["seen"], "label": pictures.labels[5]}
    assert len(first["nearest"]) == 8
    assert sorted(first["supports"]) == sorted(CELLS)
    again = open_served(system, "small")
    again.load()
    assert not again.prepare_more(), "one step reads what was kept"
    assert again.explain(upload) == first


# ---- the page


@pytest.fixture(scope="module")
def page(small: OfPicture, system: Path, session: requests.Session) -> Iterator[str]:
    with serving(small, about=about(system, small)) as address:
        wait_until_ready(session, address)
        yield address


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as browser:
        yield browser
        assert not browser.problems, "a browser notes there every request that it refused or that failed"


def bars(browser: Browser) -> dict[str, float]:
    """The drawn length of each class's bar as a share of the longest one possible."""
    found: dict[str, float] = browser.js(
        "Object.fromEntries([...document.querySelectorAll('#classes li')].map((item) => [item.querySelector('.class')"
        ".textContent, item.querySelector('i').offsetWidth / item.querySelector('.bar').offsetWidth]))"
    )
    return found


def test_a_dropped_picture_gets_bars_places_and_neighbors(
    browser: Browser, page: str, small: OfPicture, system: Path
) -> None:
    browser.show(width=1000)
    browser.open(page)
    browser.wait("document.querySelector('#status')?.textContent === 'Ready'")
    assert "right for 88 % of 40 test pictures (95 % interval 70 to 95)" in browser.js("document.body.innerText")
    browser.drop(system / "mine.png", ".drop")
    browser.wait("!document.querySelector('#near').hidden")
    expected = small.predict((system / "mine.png").read_bytes())["probabilities"]
    assert bars(browser) == pytest.approx(expected, abs=0.01)
    assert list(bars(browser)) == sorted(expected, key=lambda name: -expected[name])
    shown = "document.querySelector('#seen').src"
    plain = browser.js(shown)
    browser.js("document.querySelector('#classes button').focus()")
    browser.press("Enter", 13)
    browser.wait("document.querySelector('#classes button').ariaPressed === 'true'")
    assert browser.js(shown) != plain, "the places that support the class"
    browser.wait("document.querySelector('#seen').naturalWidth > 0")
    browser.wait("[...document.querySelectorAll('#neighbors img')].length === 8")
    for width in (320, 1400):
        browser.show(width=width, dark=width == 320)
        assert browser.js("document.documentElement.scrollWidth") <= width


def test_a_chosen_file_that_is_no_picture_gets_its_line(browser: Browser, page: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    browser.open(page)
    browser.wait("document.querySelector('#status')?.textContent === 'Ready'")
    browser.choose(tmp_path / "notes.txt", "#file")
    browser.wait("document.querySelector('#status').className === 'problem'")
    line = browser.js("document.querySelector('#status').textContent")
    assert line.startswith("notes.txt: unreadable: not a picture in a known format")
    assert browser.js("document.querySelector('#answer').hidden")
    assert [problem for problem in browser.problems if "422" in problem]
    browser.problems.clear()


def test_the_file_input_is_reached_by_keyboard(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.wait("document.querySelector('#status')?.textContent === 'Ready'")
    browser.press("Tab", 9)
    assert browser.js("document.activeElement.id") == "file"
    assert browser.js("getComputedStyle(document.querySelector('.drop')).outlineStyle") == "solid"


def test_the_page_shows_no_scores_of_an_earlier_training(tmp_path: Path) -> None:
    write_params(tmp_path, {"tint": RUNS["colors"]}, convert=CONVERT | {"size": SIZE})
    folder, record = tmp_path / "models/tint", finished_record("tint", RUNS["colors"], width=SIZE)
    (folder / "uncertainty").mkdir(parents=True)
    record.write(folder / "record.json")
    (folder / "model.keras").touch()
    write_json(folder / "metrics.json", {"test": {"n": 12}})
    for key, tested in ((record.key, 12), ("b" * 64, None)):
        write_json(folder / "uncertainty/evaluated.json", {"key": key})
        assert about(tmp_path, open_served(tmp_path, "tint"))["tested"] == tested
    write_json(folder / "uncertainty/evaluated.json", {"key": record.key})
    for broken in ([], {"test": None}):
        write_json(folder / "metrics.json", broken)
        with pytest.raises(
            UserError, match=r"metrics.json: cannot be read \(.*; delete it and run `dvc repro evaluate@tint`"
        ):
            about(tmp_path, open_served(tmp_path, "tint"))


def test_a_colorizer_shows_the_picture_in_grey_and_in_color(
    browser: Browser, session: requests.Session, tmp_path: Path
) -> None:
    from lamina.models.saving import save_model

    write_params(tmp_path, {"tint": RUNS["colors"]}, convert=CONVERT | {"size": SIZE})
    (tmp_path / "models/tint").mkdir(parents=True)
    finished_record("tint", RUNS["colors"], width=SIZE).write(tmp_path / "models/tint/record.json")
    save_model(saved(linear()), tmp_path / "models/tint/model.keras")
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    (tmp_path / "grey.png").write_bytes(encoded(ramp))
    answers = open_served(tmp_path, "tint")
    with serving(answers, about=about(tmp_path, answers)) as address:
        wait_until_ready(session, address)
        answer = session.post(f"{address}/predict", data=encoded(ramp))
        assert answer.headers["Content-Type"] == "image/png"
        colored = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert colored.shape == (*ramp.shape, 3)
        assert np.ptp(colored.astype(int), axis=2).max() > 20, "in color"
        seen_through = np.dstack([ramp, ramp.T[:40, :1].repeat(60, axis=1)])
        answer = session.post(f"{address}/predict", data=encoded(seen_through))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content)))[..., 3:], seen_through[..., 1:])
        browser.open(address)
        browser.wait("document.querySelector('#status')?.textContent === 'Ready'")
        browser.drop(tmp_path / "grey.png", ".drop")
        browser.wait("!document.querySelector('#colored').hidden")
        assert browser.js("document.querySelector('#after').naturalWidth") == ramp.shape[1]
        drawn = browser.js("[...document.querySelector('canvas').getContext('2d').getImageData(0, 20, 60, 1).data]")
        assert np.abs(np.reshape(drawn, (60, 4))[:, :3] - ramp[20, :, None].astype(int)).max() <= 3, "its lightness"
        cut = "getComputedStyle(document.querySelector('canvas')).clipPath"
        before = browser.js(cut)
        browser.js("document.querySelector('#cut').focus()")
        browser.press("ArrowRight", 39)
        assert browser.js(cut) != before


def test_a_text_is_classified(browser: Browser, session: requests.Session, tmp_path: Path) -> None:
    words_system(tmp_path, opinions(30, ("neg", "pos")))
    write_params(tmp_path, {"logistic": LOGISTIC})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        train_run(stage_of(LOGISTIC, name="logistic"), resume=tmp_path / "resume", heads=tmp_path / "heads")
    answers = open_served(tmp_path, "logistic")
    text = "great lovely words"
    (tmp_path / "new.txt").write_text(text)
    (expected,) = predict_texts(tmp_path, "logistic", [tmp_path / "new.txt"])
    with serving(answers, about=about(tmp_path, answers)) as address:
        wait_until_ready(session, address)
        for found in (
            session.post(f"{address}/predict", data=text, headers={"Content-Type": "text/plain"}),
            session.post(f"{address}/predict", json={"text": text}),
        ):
            assert found.json()["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert session.post(f"{address}/predict", data=b"...").json() == {"error": "holds no words"}
        browser.open(address)
        browser.wait("document.querySelector('#status')?.textContent === 'Ready'")
        browser.js("document.querySelector('#text').focus()")
        browser("Input.insertText", text=text)
        browser.press("Tab", 9)
        browser.press("Enter", 13)
        browser.wait("!document.querySelector('#answer').hidden")
        assert browser.js("document.querySelector('#predicted').textContent") == expected.predicted
        assert bars(browser) == pytest.approx(expected.probabilities, abs=0.01)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks that nobody trained for labels and a number, training pictures with both, and a picture to send."""
    from lamina.models.keras_runtime import keras
    from lamina.models.networks import Outputs, build_network
    from lamina.models.saving import save_model
    from lamina.tasks.multilabel.results import Thresholds
    from lamina.tasks.regress.results import Margin

    folder = tmp_path_factory.mktemp("asked")
    write_params(folder, ASKED, convert=CONVERT | {"size": SIDE}, source={"labels": "none"})
    originals = write_pictures(folder, origins=24, side=SIDE)
    write_plan(folder, originals)
    cells = [f"{LABELS[number % 3]} | red" if number % 4 else "-" for number in range(len(originals))]
    metadata = pd.DataFrame({"id": originals["id"], "seen": cells, "count": [str(n) for n in range(len(cells))]})
    (folder / "data/targets").mkdir()
    write_targets(
        folder / "data/targets", metadata.iloc[1:], list(originals["id"]), {"multilabel": True, "regress": True}
    )
    labels, number = (
        Outputs(units=3, activation="sigmoid", name="labels"),
        Outputs(units=1, activation="linear", name="n"),
    )
    network = build_network("small_cnn", SIDE, number, dropout=0.5, seed=3)
    units = keras.layers.Rescaling(4.0, offset=10.0, name="units")(network.output)
    models = {
        "seen": build_network("small_cnn", SIDE, labels, dropout=0.5, seed=3),
        "count": keras.Model(network.input, units, name="number"),
    }
    for name, model in models.items():
        (folder / "models" / name / "uncertainty").mkdir(parents=True)
        record = finished_record(name, ASKED[name], classes=LABELS if name == "seen" else (), width=SIDE)
        record.write(folder / "models" / name / "record.json")
        save_model(model, folder / "models" / name / "model.keras")
    thresholds = Thresholds(key="a" * 64, thresholds=dict(zip(LABELS, (0.0, 1.0, 0.2), strict=True)))
    write_json(folder / "models/seen/uncertainty/thresholds.json", thresholds.model_dump())
    margin = Margin(key="a" * 64, coverage=0.9, value=2.5, origins=40)
    write_json(folder / "models/count/uncertainty/margin.json", margin.model_dump())
    write_json(
        folder / "models/count/metrics.json", {"test": {"mae": 1.25, "baseline": 3, "interval": [1, 1.5], "n": 40}}
    )
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)).save(folder / "mine.png")
    return folder


def shown(browser: Browser, session: requests.Session, system: Path, name: str) -> tuple[Served, dict[str, Any]]:
    """Drop a picture on the page of a run; returns what answered, and its JSON."""
    answers, upload = open_served(system, name), (system / "mine.png").read_bytes()
    answers.load()
    while answers.prepare_more():
        pass
    with serving(answers, about=about(system, answers)) as address:
        wait_until_ready(session, address)
        found: dict[str, Any] = session.post(f"{address}/predict", data=upload).json()
        browser.show(width=360)
        browser.open(address)
        browser.wait("document.querySelector('#status')?.textContent === 'Ready'")
        browser.drop(system / "mine.png", ".drop")
        browser.wait("!document.querySelector('#near').hidden")
        assert browser.js("document.documentElement.scrollWidth") <= 360
    (expected,) = predict(system, name, [system / "mine.png"])
    assert found == {key: pytest.approx(getattr(expected, key), rel=1e-4) if key != "predicted" or name == "count"
                     else expected.predicted for key in found}  # fmt: skip
    return answers, found


def test_labels_are_bars_with_thresholds_places_and_neighbors(
    browser: Browser, session: requests.Session, asked: Path
) -> None:
    answers, found = shown(browser, session, asked, "seen")
    assert found["predicted"] == ["blue", "red"]
    assert bars(browser) == pytest.approx(found["probabilities"], abs=0.01)
    marked = browser.js("[...document.querySelectorAll('.given .class')].map((name) => name.textContent).sort()")
    assert marked == ["blue", "red"]
    assert browser.js("document.querySelector('#predicted').textContent") == "blue, red"
    left = "[...document.querySelectorAll('.bar b')].map((line) => line.style.left).sort()"
    assert browser.js(left) == ["0%", "100%", "20%"]
    assert browser.js("[...document.querySelectorAll('#classes button:enabled')].length") == 3
    assert "Gives any of 3 labels: blue, pink, red." in browser.js("document.body.innerText")
    more = answers.explain((asked / "mine.png").read_bytes())
    assert sorted(more["supports"]) == sorted(LABELS)
    assert len(set(more["supports"].values())) == 3, "each label has its own places"
    said = {near["label"] for near in more["nearest"]}
    assert said <= {"no label", "blue, red", "pink, red", "red"}
    assert len(said) > 1


def test_labels_are_explained_on_a_sheet(asked: Path, tmp_path: Path) -> None:
    assert explain(asked, "seen", [asked / "mine.png"], tmp_path / "why") == {}
    with Image.open(tmp_path / "why/mine.png") as sheet:
        assert sheet.width > 3 * sheet.height, "the picture, and one for each label"
    with pytest.raises(UserError, match="'count' has the task regress, but this command needs classify or multilabel"):
        explain(asked, "count", [asked / "mine.png"], tmp_path / "why")


def test_a_number_is_shown_with_its_margin(browser: Browser, session: requests.Session, asked: Path) -> None:
    answers, found = shown(browser, session, asked, "count")
    assert found["high"] - found["low"] == pytest.approx(5)
    assert float(browser.js("document.querySelector('#predicted').textContent")) == pytest.approx(
        found["predicted"], rel=1e-3
    )
    assert browser.js("document.querySelector('#doubt').textContent").split()[:2] == [f"{found['low']:.4g}", "to"]
    assert "Predicts the number count. On 40 test pictures it was off by 1.25" in browser.js("document.body.innerText")
    assert isinstance(answers, OfPicture)
    pictures = answers._pictures
    assert pictures
    train = pd.read_parquet(asked / "data/split/manifest.parquet").query("fold == 'train' and copy == 0")
    assert pictures.labels == ["", *(f"{int(name, 16)}" for name in train["id"][1:])], "the first has none"
    assert answers._embed(pictures.rows.read([0, 1])).shape[1] > 1, "not the number itself"


# ---- the command


def test_it_serves_until_it_is_interrupted(system: Path, session: requests.Session) -> None:
    command = [sys.executable, "-m", "lamina.cli", "serve", "small", "--system", str(system), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    address = line.split()[2]
    assert line == f"small on {address} (Ctrl-C ends it)\n"
    assert session.get(address).status_code == 200
    wait_until_ready(session, address, 120)
    upload = (system / "mine.png").read_bytes()
    (expected,) = predict(system, "small", [system / "mine.png"])
    found = session.post(f"{address}/predict", data=upload).json()
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "ready\n", "")


def test_it_ends_if_the_model_is_broken(system: Path, tmp_path: Path) -> None:
    for name in ("params.yaml", "models/small/record.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(system / name, tmp_path / name)
    (tmp_path / "models/small/model.keras").write_bytes(b"broken")
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    serve.add_arguments(parser)
    with pytest.raises(UserError, match=r"models/small/model\.keras: not a model that Keras can load"):
        serve.run(parser.parse_args(["--system", str(tmp_path), "small", "--port", "0"]))


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError) as refused:
        listen("127.0.0.1", taken.getsockname()[1])
    assert "Address already in use; expected an address of this machine and a free port" in str(refused.value)
    with pytest.raises(UserError, match=r"--host no\.such\.invalid --port 1: "):
        listen("no.such.invalid", 1)
    with pytest.raises(UserError, match="--port: expected a number from 0 to 65535, got 70000"):
        listen("127.0.0.1", 70_000)
