"""TensorFlow Datasets as sources: prepared by the library, read as stored."""

import errno
import importlib
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from ruamel.yaml import YAML

from lamina.commands.new import new
from lamina.config import read_params, section
from lamina.data.augmentation import AugmentConfig
from lamina.data.filters import FilterConfig
from lamina.data.pixels import ConvertConfig
from lamina.data.sources import catalog
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.members import Picture, checked_name
from lamina.data.sources.source import open_source
from lamina.errors import UserError

Examples = Iterator[tuple[int, dict[str, Any]]]
CLASSES = ("cat", "dog", "eel")
FILES = ("../../etc/passwd", "C:\\me\\photo.JPG", "", "a\nb.png", "..", "day/s1_7", "Zoë.gif", ".", "s2_ .jpeg")
ODD = 36  # from this example on, the file names are those


def encoded(shade: int, kind: str = "PNG", mode: str = "RGB", side: int = 20) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (side, side + 4), shade if mode == "L" else (shade, 40, 200)).save(buffer, kind)
    return buffer.getvalue()


def pet(index: int) -> bytes:
    return encoded(index % 256, ("PNG", "JPEG", "GIF", "BMP")[index % 4])


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.2.3")
    FEATURES: ClassVar[dict[str, Any]] = {}
    KEYS: ClassVar[tuple[str, str] | None] = None
    SPLITS: ClassVar[dict[str, int]] = {"train": 12}

    def _info(self) -> Any:
        features = tfds.features.FeaturesDict(self.FEATURES)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=self.KEYS)

    def _split_generators(self, dl_manager: Any) -> dict[str, Examples]:
        return {name: self._generate_examples(count) for name, count in self.SPLITS.items()}

    def _generate_examples(self, count: int) -> Examples:
        for index in range(count):
            yield index, self.example(index)

    def example(self, index: int) -> dict[str, Any]:
        raise NotImplementedError


class LaminaPets(_Builder):
    """Pictures of four formats, of three classes or none, in splits that are not declared in sorted order."""

    FEATURES: ClassVar = {
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(names=CLASSES),
        "fur": tfds.features.ClassLabel(names=["short", "long"]),
        "image/file_name": tfds.features.Text(),
        "weight": tfds.features.Tensor(shape=(2,), dtype=np.float32),
    }
    KEYS = ("image", "label")
    SPLITS: ClassVar = {"train": 45, "test": 8, "train-extra": 3, "train2": 2}

    def example(self, index: int) -> dict[str, Any]:
        return {
            "image": io.BytesIO(pet(index)),
            "label": index % 4 - 1,
            "fur": index % 2,
            "image/file_name": f"day/s{index % 5}_{index}.png" if index < ODD else FILES[index - ODD],
            "weight": [index, index],
        }


class LaminaDigits(_Builder):
    """Grey pictures in two configurations, with two labels of which none is the main one."""

    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name, version="2.0.0") for name in ("small", "large")]
    FEATURES: ClassVar = {
        "image": tfds.features.Image(shape=(32, 28, 1)),
        "digit": tfds.features.ClassLabel(num_classes=3),
        "writer": tfds.features.ClassLabel(names=["ada", "bob"]),
    }
    SPLITS: ClassVar = {"main": 36}

    def example(self, index: int) -> dict[str, Any]:
        return {"image": io.BytesIO(encoded(index, mode="L", side=28)), "digit": index % 3, "writer": index % 2}


class LaminaVerses(_Builder):
    FEATURES: ClassVar = {"text": tfds.features.Text(), "mood": tfds.features.ClassLabel(num_classes=2)}

    def example(self, index: int) -> dict[str, Any]:
        return {"text": "a line", "mood": 0}


class LaminaReadings(_Builder):
    FEATURES: ClassVar = {"volts": tfds.features.Tensor(shape=(), dtype=np.float32)}

    def example(self, index: int) -> dict[str, Any]:
        return {"volts": 1.5}


class LaminaPairs(_Builder):
    FEATURES: ClassVar = {"left": tfds.features.Image(), "right": tfds.features.Image()}

    def example(self, index: int) -> dict[str, Any]:
        return {"left": io.BytesIO(encoded(1)), "right": io.BytesIO(encoded(2))}


class LaminaMasks(_Builder):
    """Several pictures an example, one of them a mask, and one of the usual name; nothing is a label."""

    FEATURES: ClassVar = {
        "before": tfds.features.Image(),
        "image": tfds.features.Image(),
        "mask": tfds.features.LabeledImage(labels=2, shape=(None, None, 1)),
    }

    def example(self, index: int) -> dict[str, Any]:
        mask = np.zeros((4, 4, 1), np.uint8)
        return {"before": io.BytesIO(encoded(1)), "image": io.BytesIO(encoded(2)), "mask": mask}


class LaminaSlow(_Builder):
    """A dataset whose preparation is interrupted by the test."""

    FEATURES: ClassVar = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=1)}
    stops: ClassVar[Callable[[int], None]] = lambda index: None

    def example(self, index: int) -> dict[str, Any]:
        type(self).stops(index)
        return {"image": io.BytesIO(encoded(index)), "label": 0}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library's directory, with datasets in it; pets in two shards a split."""
    root = tmp_path_factory.mktemp("tfds")
    sharded = tfds.download.DownloadConfig(num_shards=2)
    LaminaPets(data_dir=root).download_and_prepare(download_config=sharded)
    for config in ("small", "large"):
        LaminaDigits(data_dir=root, config=config).download_and_prepare()
    LaminaMasks(data_dir=root).download_and_prepare()
    return root


@pytest.fixture
def directory(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as the library's directory."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    return prepared


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def read(location: str, **keys: Any) -> list[Picture]:
    config = SourceConfig(kind="tfds", location=location, **keys)
    with open_source(config, seed=1, system=Path()) as source:
        pictures = list(source.pictures)
        assert len(pictures) == source.total
    return pictures


# ---- what is read


def test_pictures_are_the_stored_bytes_in_the_order_of_their_names(directory: Path) -> None:
    pictures = read("lamina_pets")
    names = [one.name for one in pictures]
    assert names == sorted(set(names))
    assert {name.partition("/")[0] for name in names} == set(LaminaPets.SPLITS)
    for split, count in LaminaPets.SPLITS.items():
        stored = [one.encoded for one in pictures if one.name.startswith(f"{split}/")]
        assert sorted(stored) == sorted(pet(index) for index in range(count))
    assert read("lamina_pets:1.2.3") == pictures


def test_the_order_is_that_of_the_files(directory: Path) -> None:
    from lamina.models.keras_runtime import tf

    shards = sorted(directory.glob("lamina_pets/1.2.3/*-train.tfrecord-*"))
    records = [record for shard in shards for record in tf.data.TFRecordDataset(str(shard)).as_numpy_iterator()]
    assert len(shards) == 2
    assert len(records) == LaminaPets.SPLITS["train"]  # more in a shard than the library takes of it in one go
    for one, record in zip(read("lamina_pets", splits=["train"]), records, strict=True):
        assert one.encoded in record


def test_labels_are_names_and_the_unknown_is_none(directory: Path) -> None:
    by_bytes = {pet(index): index for index in range(45)}
    for one in read("lamina_pets", splits=["train"]):
        index = by_bytes[one.encoded]
        assert one.labels == ((CLASSES[index % 4 - 1],) if index % 4 else ())
    assert {one.labels for one in read("lamina_pets", labels="fur")} == {("short",), ("long",)}
    assert {one.labels for one in read("lamina_pets", labels="none")} == {()}
    assert {one.labels for one in read("lamina_digits/small", labels="digit")} == {("0",), ("1",), ("2",)}


def test_names_end_as_the_bytes_or_the_file_names_say(directory: Path) -> None:
    odd = {file: pet(ODD + index) for index, file in enumerate(FILES)}
    names = {one.encoded: one.name for one in read("lamina_pets", splits=["train"])}
    assert all(checked_name(name, "") == name and name.isprintable() for name in names.values())
    ends = {file: names[picture][len("train/00000000") :] for file, picture in odd.items()}
    assert ends == {
        "../../etc/passwd": "-passwd.png",
        "C:\\me\\photo.JPG": "-photo.JPG",
        "": ".gif",
        "a\nb.png": "-ab.png",
        "..": "-...png",
        "day/s1_7": "-s1_7.jpg",
        "Zoë.gif": "-Zoë.gif",
        ".": "-..bmp",
        "s2_ .jpeg": "-s2_ .jpeg",
    }
    assert [one.name for one in read("lamina_digits/large", labels="none")][:2] == [
        "main/00000000.png",
        "main/00000001.png",
    ]


def test_origins_are_found_in_the_file_names_alone(directory: Path) -> None:
    pattern = r"^(?P<origin>s\d)_"
    assert {one.origin for one in read("lamina_pets", splits=["test"], origin=pattern)} == {f"s{n}" for n in range(5)}
    pictures = read("lamina_pets", splits=["test"])
    assert [one.origin for one in pictures] == [one.name for one in pictures]
    with pytest.raises(UserError, match=r"lamina_pets: source.origin .* finds no origin in 1 of 1 file names \("):
        read("lamina_pets", origin=pattern)


def test_splits_are_chosen(directory: Path) -> None:
    chosen = read("lamina_pets", splits=["train-extra", "test", "test"])
    assert [one.name.partition("/")[0] for one in chosen] == ["test"] * 8 + ["train-extra"] * 3
    with pytest.raises(UserError, match=r"source.splits: no split 'tset'; known: 'test', 'train"):
        read("lamina_pets", splits=["train", "tset"])


def test_parts_of_splits_have_the_names_of_the_whole(directory: Path) -> None:
    whole = read("lamina_pets", splits=["train"])
    assert read("lamina_pets", splits=["train[5:9]"]) == whole[5:9]
    assert read("lamina_pets", splits=["train[-3:]", "train[:2]"]) == whole[:2] + whole[-3:]
    assert read("lamina_pets", splits=["train[:50%]"]) == whole[: round(len(whole) / 2)]
    for given, message in [
        (["train[:6]", "train[5:]"], r"two parts hold train 5; give parts that do not overlap"),
        (["train[:6", "test"], r"'train\[:6' is no part of a split, or holds nothing; write it as train\[:10%\]"),
        (["train[9:5]"], r"'train\[9:5\]' is no part of a split"),
        (["train[:1%]"], r"'train\[:1%\]' is no part of a split"),  # 1 % of a few pictures is rounded to none
        (["train[:1000]"], r"'train\[:1000\]' is no part of a split"),
        (["train+test"], r"'train\+test' is no part of a split"),
        (["tset[:5]"], r"no split 'tset\[:5\]'"),
    ]:
        with pytest.raises(UserError, match=f"source.splits: {message}"):
            read("lamina_pets", splits=given)


def test_the_picture_of_the_usual_name_is_taken(directory: Path) -> None:
    assert {one.encoded for one in read("lamina_masks", labels="none")} == {encoded(2)}


def test_the_default_configuration_serves_where_none_is_named(directory: Path) -> None:
    assert read("lamina_digits", labels="writer") == read("lamina_digits/small:2.0.0", labels="writer")


# ---- invalid sources


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("lamina_verses", r"holds texts, not pictures \(text: Text, mood: ClassLabel\); choose a dataset of images"),
        ("lamina_readings", r"holds no pictures \(volts: Tensor\)"),
        ("lamina_pairs", r"has several pictures per example \(left, right\), and no main one"),
        ("lamina_masks", r"none of its features is a label \(ClassLabel\); set source.labels to none"),
        (
            "lamina_digits/small",
            r"has several labels; set source.labels to one; known: .*'digit'.*'writer'|'writer'.*'digit'",
        ),
        ("lamina_pest", r"no dataset is called 'lamina_pest' .*; did you mean 'lamina_pets'\?"),
        ("mnits", r"no dataset is called 'mnits' .*; did you mean 'mnist'\?"),
        ("qqqqqqqqqq", r"no dataset is called 'qqqqqqqqqq' in this version of tensorflow-datasets or in \S+$"),
        ("lamina_digits/smal", r"'lamina_digits' has no configuration 'smal'; .*known: 'small', 'large'"),
        ("voc/2008", r"'voc' has no configuration '2008'; name one as voc/CONFIG; known: '20\d\d', '20\d\d'"),
        ("lamina_pets:1.2.4", r"'lamina_pets' has no version 1.2.4; known: '1.2.3'"),
        ("mnist:0.0.1", r"'mnist' has no version 0.0.1; known: '3.0.1'"),
        ("huggingface:beans", "expected a TFDS dataset as NAME, NAME/CONFIG, NAME:VERSION"),
        ("../mnist", "expected a TFDS dataset as NAME"),
    ],
)
def test_what_is_no_such_source_is_refused_in_one_line(directory: Path, location: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        read(location)
    assert "\n" not in str(refused.value)


def test_a_label_that_does_not_exist_is_refused_with_those_that_do(directory: Path) -> None:
    with pytest.raises(UserError, match=r"source.labels 'lable' is none of its labels; known: 'label', 'fur'"):
        read("lamina_pets", labels="lable")
    with pytest.raises(UserError, match=r"lamina_digits/small:2.0.0: has no file names for source.origin"):
        read("lamina_digits/small", labels="writer", origin=r"(?P<origin>\d)")


# ---- preparing


def test_after_an_interruption_nothing_half_prepared_is_used(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(index: int) -> None:
        if index == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(LaminaSlow, "stops", stop)
    with pytest.raises(KeyboardInterrupt):
        read("lamina_slow")
    assert not [path for path in empty.rglob("*") if path.is_file()]
    monkeypatch.undo()
    monkeypatch.setenv("TFDS_DATA_DIR", str(empty))
    assert len(read("lamina_slow")) == 12


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("the archive\nis odd"), "ValueError: .*the archive is odd"),
        (FileNotFoundError(errno.ENOENT, "No such file", "manual/a.csv"), "FileNotFoundError: .*No such file"),
    ],
)
def test_an_error_while_preparing_is_reported_in_one_line(
    empty: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def stop(index: int) -> None:
        raise error

    monkeypatch.setattr(LaminaSlow, "stops", stop)
    expected = rf"lamina_slow: cannot be prepared here: {words}.*; prepare it on another machine"
    with pytest.raises(UserError, match=expected) as refused:
        read("lamina_slow")
    assert "\n" not in str(refused.value)


def test_a_full_disk_is_left_to_the_stage(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(index: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LaminaSlow, "stops", stop)
    with pytest.raises(OSError, match="No space left on device"):
        read("lamina_slow")


@pytest.mark.parametrize(
    ("location", "missing"),
    [
        ("lamina_pets", "dataset_info.json"),
        ("lamina_ferns", "dataset_info.json"),
        ("lamina_ferns", "features.json"),
        ("lamina_ferns:1.2.3", "features.json"),
    ],
)
def test_a_half_prepared_folder_is_named(directory: Path, empty: Path, location: str, missing: str) -> None:
    folder = empty / location.partition(":")[0] / "1.2.3"
    shutil.copytree(directory / "lamina_pets" / "1.2.3", folder)
    (folder / missing).unlink()
    with pytest.raises(
        UserError, match=rf"{folder} is only partly prepared: .* is missing; remove it, or copy all of it again"
    ):
        read(location)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-30])])
def test_damaged_files_are_named(directory: Path, empty: Path, damage: Callable[[Path], None]) -> None:
    shutil.copytree(directory / "lamina_pets", empty / "lamina_pets")
    damage(sorted(empty.glob("lamina_pets/1.2.3/*-train.tfrecord-*"))[1])
    assert len(read("lamina_pets", splits=["test"])) == 8
    with pytest.raises(
        UserError, match=r"'train' cannot be read \(.+\); the files in .*1.2.3 are damaged or incomplete"
    ):
        read("lamina_pets", splits=["train"])


# ---- downloading


@pytest.fixture
def server() -> Iterator[list[Any]]:
    """A server on this machine: where it is, what it answers to everything, and what ends it."""
    answer: list[Any] = ["", b"", None]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:

        def end() -> None:
            server.shutdown()
            server.server_close()

        answer[0], answer[2] = f"http://127.0.0.1:{server.server_port}", end
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield answer
        server.shutdown()


FERN = """
import tensorflow_datasets as tfds

class {name}(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {{"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["fern"])}}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {{"train": self._generate_examples(dl_manager.download("{url}"))}}

    def _generate_examples(self, path):
        yield 0, {{"image": path, "label": 0}}
"""


@pytest.fixture
def fern(tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, bytes], None]:
    """Make the library know a dataset of one picture that comes from an address, where `expected` used to be."""

    def know(name: str, url: str, expected: bytes) -> None:
        folder = tmp_path / "code"
        folder.mkdir()
        (folder / "checksums.tsv").write_text(f"{url}\t{len(expected)}\t{sha256(expected).hexdigest()}\tfern.png\n")
        (folder / f"{name.lower()}_builder.py").write_text(FERN.format(name=name, url=url))
        monkeypatch.syspath_prepend(folder)
        importlib.import_module(f"{name.lower()}_builder")

    return know


Know = Callable[[str, str, bytes], None]


def test_what_is_not_there_is_downloaded_once(
    server: list[Any], fern: Know, empty: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server[1] = pet(0)
    monkeypatch.setattr(catalog, "SECONDS_BETWEEN_LINES", 0.0)
    fern("Bracken", f"{server[0]}/fern.png", pet(0))
    pictures = read("bracken")
    assert [(one.name, one.encoded, one.labels) for one in pictures] == [("train/00000000.png", pet(0), ("fern",))]
    output = capfd.readouterr()
    assert "Dl Size" in output.err
    assert not set(output.err) & {"\r", "\x1b"}  # plain lines, where there is no terminal
    assert output.out == ""
    server[2]()
    assert read("bracken") == pictures
    assert read("bracken:1.0.0") == pictures
    shutil.rmtree(empty / "bracken")
    assert read("bracken") == pictures  # from the files that were fetched


def test_a_host_that_answers_with_a_page_is_reported(
    server: list[Any], fern: Know, empty: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server[1] = b"<html>moved</html>"
    fern("Maidenhair", f"{server[0]}/fern.png", pet(0))
    with pytest.raises(
        UserError, match=r"maidenhair: cannot be prepared here: NonMatchingChecksumError: .*fern\.png"
    ) as refused:
        read("maidenhair")
    assert "\n" not in str(refused.value)
    assert "copy its maidenhair/1.0.0 to" in str(refused.value)
    assert not (empty / "maidenhair" / "1.0.0").exists()
    assert "Traceback" not in capfd.readouterr().err
    server[1] = pet(0)  # it is back
    assert len(read("maidenhair")) == 1


def test_a_host_that_cannot_be_reached_is_reported_at_once(server: list[Any], fern: Know, empty: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        host = f"http://127.0.0.1:{closed.getsockname()[1]}"
        fern("Polypody", f"{host}/fern.png", pet(0))
        started = time.monotonic()
        with pytest.raises(
            UserError, match=rf"not prepared in {empty}/polypody, and its host {host} cannot be reached"
        ):
            read("polypody")
        assert time.monotonic() - started < 10
    shutil.copytree(empty.parent / "code", empty / "polypody" / "0.9.0")
    for name in ("dataset_info.json", "features.json"):
        (empty / "polypody" / "0.9.0" / name).touch()
    with pytest.raises(UserError, match=r"; or read what is here: polypody:0\.9\.0$"):
        read("polypody")


# ---- the stage's own process, which knows none of the classes above


def stage(system: Path, directory: Path, **source: Any) -> subprocess.CompletedProcess[str]:
    values = {"kind": "tfds", **source}
    YAML().dump({"seed": 1, "source": values}, system / "params.yaml")
    # an address where nobody listens stands for a machine without internet
    environment = {**os.environ, "TFDS_DATA_DIR": str(directory), "HTTPS_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "lamina.stages.download"]
    return subprocess.run(command, cwd=system, env=environment, capture_output=True, text=True, check=False, timeout=90)


@pytest.mark.nightly
def test_the_stage_reads_what_it_knows_no_class_of(directory: Path, tmp_path: Path) -> None:
    done = stage(tmp_path, directory, location="lamina_pets", splits=["test", "train"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "read 53 pictures, 0.0 MiB, 3 classes (13 cat, 13 dog, 13 eel)\n"
    rows = pq.read_table(tmp_path / "data/raw").to_pylist()
    pictures = read("lamina_pets", splits=["test", "train"])
    assert [(row["name"], row["encoded"], row["origin"]) for row in rows] == [
        (one.name, one.encoded, one.origin) for one in pictures
    ]
    assert [row["label"] for row in rows] == [one.labels[0] if one.labels else None for one in pictures]


def test_without_internet_the_stage_ends_at_once_with_one_line(tmp_path: Path) -> None:
    started = time.monotonic()
    done = stage(tmp_path, tmp_path / "tfds", location="mnist")
    assert time.monotonic() - started < 30
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: tfds:mnist: not prepared in {tmp_path}/tfds/mnist, and its host https://")
    assert not (tmp_path / "data").exists()


# ---- lamina new


def test_a_new_system_fits_the_dataset(directory: Path, tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    lines = new(tmp_path / "pets", "tfds:lamina_pets")
    assert lines[0] == "found 58 pictures, labeled by folder: cat (15), dog (14), eel (13); 16 unlabeled, 0 ambiguous"
    params = read_params(tmp_path / "pets")
    source = section(params, "source", SourceConfig)
    assert (source.kind, source.location, source.labels) == ("tfds", "lamina_pets:1.2.3", "folder")
    assert params["split"]["test_pattern"] == "^test/"
    assert "there are test (8), train (45), train-extra (3), train2 (2)" in (tmp_path / "pets/params.yaml").read_text()
    assert not section(params, "filter", FilterConfig).drop_grayscale
    with open_source(source, seed=1, system=tmp_path / "pets") as opened:
        assert len(list(opened.pictures)) == 58


def test_a_new_system_keeps_grey_pictures_and_chooses_among_labels(directory: Path, tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    lines = new(tmp_path / "digits", "tfds:lamina_digits/large")
    assert lines[0].startswith("found 36 pictures, labeled by digit: ")
    params = read_params(tmp_path / "digits")
    source = section(params, "source", SourceConfig)
    assert (source.location, source.labels) == ("lamina_digits/large:2.0.0", "digit")
    assert not section(params, "filter", FilterConfig).drop_grayscale
    assert section(params, "convert", ConvertConfig).size == 28
    assert section(params, "augment", AugmentConfig).copies == 4


def test_a_new_system_of_a_dataset_without_labels_colorizes(directory: Path, tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    lines = new(tmp_path / "masks", "tfds:lamina_masks")
    assert lines[0].endswith("without labels, to learn colors from")
    params = read_params(tmp_path / "masks")
    source = section(params, "source", SourceConfig)
    assert (source.labels, list(params["runs"])) == ("none", ["colors"])
    with open_source(source, seed=1, system=tmp_path / "masks") as opened:
        assert {picture.labels for picture in opened.pictures} == {()}


@pytest.mark.parametrize("location", ["lamina_verses", "lamina_pairs", "mnits"])
def test_a_new_system_of_what_is_no_such_source_leaves_nothing(directory: Path, tmp_path: Path, location: str) -> None:
    with pytest.raises(UserError, match="tfds:"):
        new(tmp_path / "system", f"tfds:{location}")
    assert not list(tmp_path.iterdir())
