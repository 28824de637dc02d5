"""The stage `extract`: features of the saved backbone, the same each time, resumed after an interruption, and timed."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.inputs import extraction
from lamina.inputs.extraction import extract
from lamina.inputs.features import UNFINISHED, FeaturesSettings, features_key
from lamina.inputs.index import input_digest, input_width, read_split
from lamina.models.engine import Engine, compile_engine
from lamina.models.keras_runtime import keras
from lamina.models.loading import load_model
from lamina.stages import extract as stage
from lamina.stages.extract import ExtractSummary, extract_features, timing_path
from systems import FEATURES, write_stripes

SIDE = 16
CHUNK = 64  # rows at once in these tests: the rows of the system are two such chunks and a bit


def settings_with(**changes: object) -> FeaturesSettings:
    return FeaturesSettings.model_validate(FEATURES | changes)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("system"), train=60, validation=10, test=10, side=SIDE)


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)
    monkeypatch.setattr(extraction, "ROWS_AT_ONCE", CHUNK)


@pytest.fixture(scope="module")
def extracted(system: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An entry's features, extracted by itself."""
    before, out = Path.cwd(), tmp_path_factory.mktemp("made") / "features" / "one"
    keras.backend.clear_session()
    os.chdir(system)
    try:
        extract_features(settings_with(), Folders(), out, seed=1)
    finally:
        os.chdir(before)
    return out


def test_features_are_those_of_the_saved_backbone(extracted: Path) -> None:
    found, manifest = np.load(extracted / "features.npy"), read_split(Folders())
    assert found.dtype == np.float16
    assert found.shape == (len(manifest), input_width(extracted)) == (140, 128)
    pixels = open_rows(manifest, Folders()).read(np.arange(10)).astype(np.float32)
    expected = load_model(extracted / "backbone.keras").predict(pixels, verbose=0)
    np.testing.assert_allclose(found[:10], expected, rtol=2e-3, atol=2e-3)


def test_the_same_settings_give_the_same_files(extracted: Path, tmp_path: Path) -> None:
    keras.backend.clear_session()  # as in a process of its own: layers are counted from the first again
    extract_features(settings_with(), Folders(), tmp_path / "again", seed=1)
    assert sorted(path.name for path in extracted.iterdir()) == ["backbone.keras", "features.npy", "index.json"]
    for path in extracted.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    assert input_digest(extracted, Folders()) == input_digest(tmp_path / "again", Folders())
    extract_features(settings_with(), Folders(), tmp_path / "other", seed=2)
    assert input_digest(extracted, Folders()) != input_digest(tmp_path / "other", Folders())


def test_times_are_next_to_the_features(extracted: Path) -> None:
    assert timing_path(extracted) == extracted.parent / "one.timing.json"
    timing = json.loads(timing_path(extracted).read_text())
    assert timing["seconds"].keys() == {"build", "extract"}
    assert (timing["engine"], timing["precision"]) == ("OpenVINO", "float32")
    assert timing["machine"]["cores"] >= 1
    said = str(ExtractSummary(shape=(140, 128), seconds=2.0))
    assert said == "extracted 128 features of 140 rows in 2.0 s (70 rows/s)"


@pytest.mark.parametrize(
    ("record", "note"),
    [
        ({"settings": {"preprocess": "chroma"}}, "was trained with preprocess: chroma; here it is native"),
        ({"settings": {"preprocess": "rescale"}}, "was trained with preprocess: rescale; here it is native"),
        ({"settings": {}}, ""),
        ({"settings": {"preprocess": "native"}}, ""),
        ([], ""),
        (None, ""),
    ],
    ids=str,
)
def test_weights_of_another_convention_are_noted(
    record: object, note: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "backbone.keras"
    shutil.copy(extracted / "backbone.keras", weights)
    if record is not None:
        (tmp_path / "record.json").write_text(json.dumps(record))
    extract_features(settings_with(weights=str(weights)), Folders(), tmp_path / "features" / "one", seed=1)
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == ([f"note: {weights} {note}"] if note else [])


# ---- interruptions


@pytest.fixture
def engine(extracted: Path) -> Engine:
    return compile_engine(load_model(extracted / "backbone.keras"), "float32")


def counting(engine: Engine, stop_at: int, computed: list[int]) -> Engine:
    """An engine that counts the rows of each call, and is interrupted once, in the call number `stop_at`."""

    def run(pixels: np.ndarray, batch: int) -> np.ndarray:
        computed.append(len(pixels))
        if len(computed) == stop_at:
            raise KeyboardInterrupt
        return engine.run(pixels, batch)

    return dataclasses.replace(engine, run=run)


def test_an_interrupted_array_is_continued(engine: Engine, tmp_path: Path) -> None:
    rows, computed = open_rows(read_split(Folders()), Folders()), []
    assert len(rows) > 2 * CHUNK
    extract(engine, rows, tmp_path / "whole.npy")
    with pytest.raises(KeyboardInterrupt):
        extract(counting(engine, 2, computed), rows, tmp_path / "part.npy")
    with (tmp_path / "part.npy").open("ab") as file:
        file.write(b"half a row")
    extract(counting(engine, 0, computed), rows, tmp_path / "part.npy")
    assert sum(computed[2:]) == len(rows) - CHUNK
    assert (tmp_path / "part.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_an_interrupted_stage_resumes_and_removes_what_it_kept(
    extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    compiled = compile_engine
    monkeypatch.setattr(
        "lamina.models.engine.compile_engine",
        lambda model, precision: counting(compiled(model, precision), 2, computed),
    )
    out, kept = tmp_path / "one", tmp_path / "unfinished"
    keras.backend.clear_session()
    with pytest.raises(KeyboardInterrupt):
        extract_features(settings_with(), Folders(), out, seed=1, unfinished=kept)
    assert [path.name for path in kept.iterdir()] == [features_key(settings_with(), Folders(), seed=1)]
    assert not out.exists()
    keras.backend.clear_session()
    extract_features(settings_with(), Folders(), out, seed=1, unfinished=kept)
    assert sum(computed) == 140 + CHUNK, "rows of the interrupted call alone are computed twice"
    for name in ("features.npy", "backbone.keras", "index.json"):
        assert (out / name).read_bytes() == (extracted / name).read_bytes(), name
    assert not list(kept.iterdir())


def test_entries_of_the_section_keep_their_unfinished_features(tmp_path: Path) -> None:
    other, forgotten = settings_with(pooling="flatten"), settings_with(pooling="scales")
    keys = [features_key(one, Folders(), seed=1) for one in (other, forgotten)]
    for name in keys:
        (tmp_path / "unfinished" / name).mkdir(parents=True)
    extract_features(
        settings_with(), Folders(), tmp_path / "one", seed=1, others=[other], unfinished=tmp_path / "unfinished"
    )
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == keys[:1]


def test_nothing_unfinished_is_left_after_a_finished_extraction(extracted: Path) -> None:
    assert not list(UNFINISHED.glob("*"))


def test_a_full_disk_is_reported(engine: Engine, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a full disk needs a small file system, which only root can mount")
    try:
        with pytest.raises(OSError, match="No space left on device") as caught:
            extract(engine, open_rows(read_split(Folders()), Folders()), tmp_path / "features.npy")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert caught.value.errno == errno.ENOSPC


# ---- values that are of no use


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1e6, "features leave the range of float16; use preprocess: native"),
        (0.5, "every picture has the same features"),
    ],
)
def test_useless_features_are_refused(value: float, words: str, engine: Engine, tmp_path: Path) -> None:
    same = dataclasses.replace(
        engine, run=lambda pixels, batch: np.full((len(pixels), engine.width), value, np.float32)
    )
    with pytest.raises(UserError, match=words):
        extract(same, open_rows(read_split(Folders()), Folders()), tmp_path / "features.npy")


def test_an_unknown_entry_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(json.dumps({"seed": 1, "features": {"one": FEATURES}}))
    monkeypatch.setattr(sys, "argv", ["extract", "two"])
    with pytest.raises(UserError, match=r"features has no entry 'two'; known: one$"):
        stage.main()
