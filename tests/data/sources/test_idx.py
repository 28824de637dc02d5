"""IDX files, the format of MNIST, as a source of pictures; and the digits of scikit-learn."""

import gzip
import io
import struct
import tracemalloc
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from checkout import SHARED
from lamina.config import section
from lamina.data.sources import archive as archives
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.idx import IdxImages
from lamina.data.sources.listing import LISTING, listing
from lamina.data.sources.members import Picture
from lamina.data.sources.png import encode_grey
from lamina.data.sources.source import open_source
from lamina.errors import UserError
from lamina.maths.published_split import find_published_test
from lamina.stages.download import download
from packing import Files, digits, idx, idx_pair, picture, tarred, zipped

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
PIXELS, DIGITS = digits(12)
PAIR: Files = {IMAGES: idx(PIXELS), LABELS: idx(DIGITS)}


def folder_of(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def config(path: Path, **keys: object) -> SourceConfig:
    values = {"kind": "folder" if path.is_dir() else "archive", "location": str(path), "labels": "idx"}
    return section({"source": {**values, **keys}}, "source", SourceConfig)


def read(path: Path, **keys: object) -> list[Picture]:
    with open_source(config(path, **keys), seed=1, system=path.parent) as source:
        pictures = list(source.pictures)
        assert source.total == len(pictures)
    return pictures


def labels_of(pictures: list[Picture]) -> dict[str, tuple[str, ...]]:
    return {one.name: one.labels for one in pictures}


def pixels_of(encoded: bytes) -> np.ndarray:
    opened = Image.open(io.BytesIO(encoded))
    assert (opened.format, opened.mode) == ("PNG", "L")
    return np.asarray(opened)


def refusal(path: Path, **keys: object) -> str:
    """What `download` says, in one line, before it writes anything."""
    with pytest.raises(UserError) as caught:
        download(config(path, **keys), path.parent, path.parent / "raw", seed=1)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(path.parent.glob("*raw*"))
    return str(caught.value)


# ---- pictures and labels


@pytest.mark.parametrize("style", ["-", "."])
@pytest.mark.parametrize("zipped_images", [False, True])
@pytest.mark.parametrize("zipped_labels", [False, True])
def test_a_pair_becomes_labeled_pictures(tmp_path: Path, style: str, zipped_images: bool, zipped_labels: bool) -> None:
    names = {name: name.replace("-idx", f"{style}idx") for name in PAIR}
    files = {
        names[name] + ".gz" * packed: gzip.compress(PAIR[name]) if packed else PAIR[name]
        for name, packed in ((IMAGES, zipped_images), (LABELS, zipped_labels))
    }
    pictures = read(folder_of(tmp_path / "mnist", files))
    assert [one.name for one in pictures] == [f"t10k-images/{index:05d}.png" for index in range(12)]
    assert [one.labels for one in pictures] == [(str(index % 10),) for index in range(12)]
    assert [one.origin for one in pictures] == [one.name for one in pictures]
    for one, pixels in zip(pictures, PIXELS, strict=True):
        np.testing.assert_array_equal(pixels_of(one.encoded), pixels)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_pairs_in_an_archive_are_read_next_to_pictures(tmp_path: Path, pack: object) -> None:
    files = {f"top/{name}": data for name, data in {**idx_pair("train", 3), **idx_pair("t10k", 2)}.items()}
    (tmp_path / "a").write_bytes(pack(files | {"top/t10k-images/extra.png": picture(), "top/README": b"x"}))  # type: ignore[operator]
    assert labels_of(read(tmp_path / "a")) == {
        "top/t10k-images/00000.png": ("0",),
        "top/t10k-images/00001.png": ("1",),
        "top/t10k-images/extra.png": (),
        "top/train-images/00000.png": ("0",),
        "top/train-images/00001.png": ("1",),
        "top/train-images/00002.png": ("2",),
    }


def test_a_gzip_that_a_browser_decompressed_is_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mnist", {f"{name}.gz": data for name, data in PAIR.items()})
    assert len(read(folder)) == 12


def test_files_in_folders_of_their_own_names_are_a_pair(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mnist", {f"{name}/{name}": data for name, data in PAIR.items()})
    assert labels_of(read(folder))[f"{IMAGES}/t10k-images/00011.png"] == ("1",)


def test_without_their_labels_images_are_pictures(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mnist", {IMAGES: PAIR[IMAGES]})
    assert set(labels_of(read(folder, labels="none")).values()) == {()}
    (folder / "labels.csv").write_text("file,label\nt10k-images/00003.png,three\n")
    assert labels_of(read(folder, labels="labels.csv"))["t10k-images/00003.png"] == ("three",)


@pytest.mark.parametrize(("count", "last"), [(9, "00008"), (100_000, "99999"), (100_001, "100000")])
def test_names_sort_in_order(count: int, last: str) -> None:
    names = list(IdxImages(name=f"x/{IMAGES}.gz", count=count, height=1, width=1).pictures())
    assert names == sorted(names)
    assert names[-1] == f"x/t10k-images/{last}.png"


def test_names_tell_the_published_test_part(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mnist", {**idx_pair("train", 20), **PAIR})
    assert find_published_test([one.name for one in read(folder)], "^t10k").tolist() == [True] * 12 + [False] * 20


def test_download_writes_the_pairs(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mnist", {**idx_pair("train", 300), **idx_pair("t10k", 5)})
    summary = download(config(folder), tmp_path, tmp_path / "raw", seed=1)
    assert (summary.pictures, summary.labels["0"], summary.labels["9"]) == (305, 31, 30)
    rows = pq.read_table(tmp_path / "raw").to_pylist()
    for one, pixels in zip(rows[5:], digits(300)[0], strict=True):
        np.testing.assert_array_equal(pixels_of(one["encoded"]), pixels)


def test_pictures_are_decompressed_one_by_one(tmp_path: Path) -> None:
    images = np.zeros((4000, 100, 100), np.uint8)
    folder = folder_of(tmp_path / "mnist", {f"{IMAGES}.gz": gzip.compress(idx(images))})
    tracemalloc.start()
    with open_source(config(folder, labels="none"), seed=1, system=tmp_path) as source:
        assert sum(len(one.encoded) for one in source.pictures) > images.size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.size / 4


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_grey_png_keeps_every_pixel(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    np.testing.assert_array_equal(pixels_of(encode_grey(pixels)), pixels)


def test_a_grey_png_is_the_same_on_every_machine() -> None:
    encoded = encode_grey(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40)
    assert sha256(encoded).hexdigest() == "a0a022f5123dd1a31efaabc794e215bacdc2f93273475211c05760949c73bb0d"


# ---- source.members


def test_members_are_the_files_themselves(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mnist", PAIR | {"README": b"not read"})
    text = listing({name: sha256(data).hexdigest() for name, data in PAIR.items()})
    members = sha256(text.encode()).hexdigest()
    assert len(read(folder, members=members)) == 12
    (tmp_path / LISTING).write_text(text)
    (folder / LABELS).write_bytes(idx(DIGITS[::-1]))
    assert f"of 2 files: 1 changed ({LABELS!r})" in refusal(folder, members=members)


# ---- what is wrong


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({LABELS: idx(DIGITS[:-1])}, f"{LABELS!r}: holds 11 labels, but {IMAGES!r} holds 12 images; download both"),
        ({IMAGES: PAIR[IMAGES][:-1]}, f"{IMAGES!r}: expected 256 bytes by its header, found 255; download it again"),
        ({IMAGES: PAIR[IMAGES] + b"x"}, f"{IMAGES!r}: expected 256 bytes by its header, found more; "),
        ({IMAGES: PAIR[IMAGES][:9]}, f"{IMAGES!r}: cut short: expected a header of 16 bytes, found 9"),
        ({IMAGES: b""}, f"{IMAGES!r}: starts with nothing, expected 00 00 08 03"),
        ({LABELS: PAIR[LABELS][:-2]}, f"{LABELS!r}: expected 20 bytes by its header, found 18; download it again"),
        ({LABELS: PAIR[LABELS] + b"x"}, f"{LABELS!r}: expected 20 bytes by its header, found more; "),
        ({LABELS: None}, f"{IMAGES!r} has no file of labels: looked for {LABELS!r}, also with .gz; add it, or set"),
        (
            {IMAGES: struct.pack(">HBB3I", 0, 13, 3, 1, 1, 1) + bytes(4)},
            f"{IMAGES!r}: starts with 00 00 0d 03, expected 00 00 08 03: an IDX file of images, unsigned bytes in 3 "
            "dimensions; replace or remove it",
        ),
        ({IMAGES: idx(PIXELS[None])}, "starts with 00 00 08 04, expected 00 00 08 03"),
        (
            {LABELS: idx(DIGITS[:, None])},
            f"{LABELS!r}: starts with 00 00 08 02, expected 00 00 08 01: an IDX file of labels, unsigned bytes in 1 "
            "dimension; replace or remove it",
        ),
        ({IMAGES: idx(PIXELS[:0])}, f"{IMAGES!r}: holds 0 images of 5x4 pixels, which is nothing; remove it"),
        ({f"{IMAGES}.gz": gzip.compress(PAIR[IMAGES])}, f"gives its pictures the same names as {IMAGES!r}; remove one"),
    ],
)
def test_files_that_are_not_as_declared_are_refused(
    tmp_path: Path, changes: dict[str, bytes | None], words: str
) -> None:
    files = {name: data for name, data in {**PAIR, **changes}.items() if data is not None}
    said = refusal(folder_of(tmp_path / "mnist", files))
    assert said.startswith(str(tmp_path / "mnist"))
    assert words in said


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@pytest.mark.parametrize("damage", ["cut", "checksum", "middle"])
def test_a_damaged_gzip_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    packed = bytearray(gzip.compress(PAIR[name]))
    if damage == "cut":
        packed = packed[:-9]
    else:
        packed[-8 if damage == "checksum" else len(packed) // 2] ^= 255
    files = {**PAIR, f"{name}.gz": bytes(packed)}
    del files[name]
    said = refusal(folder_of(tmp_path / "mnist", files))
    assert f"{name}.gz': the file is damaged or cut short (" in said
    assert said.endswith("; download or pack it again")


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@pytest.mark.parametrize("excess", [1, 50 * 2**20])
def test_a_gzip_that_holds_more_than_it_declares_is_refused(tmp_path: Path, name: str, excess: int) -> None:
    packed = gzip.compress(PAIR[name] + bytes(excess))
    if excess > 1:
        packed = packed[:-8]  # nobody may read so far
    files = {**PAIR, f"{name}.gz": packed}
    del files[name]
    folder = folder_of(tmp_path / "mnist", files)
    tracemalloc.start()
    assert "found more; download it again" in refusal(folder)
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_the_limits_of_archives_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = struct.pack(">HBB3I", 0, 8, 3, 2**20, 2**5, 2**5)
    folder = folder_of(tmp_path / "mnist", {f"{IMAGES}.gz": gzip.compress(huge)})
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 2**29)
    assert "would unpack to more than 512 MiB, 100 times its size" in refusal(folder)
    folder_of(folder, {f"{IMAGES}.gz": gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 6_000_000, 1, 1))})
    assert "holds more than 5,000,000 members" in refusal(folder)
    folder_of(folder, {f"{IMAGES}.gz": gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 1, 2**14, 2**14))})
    assert "'t10k-images/00000.png' is larger than 128 MiB" in refusal(folder)


def test_the_limits_hold_for_all_files_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 2**20)
    one = gzip.compress(idx(np.zeros((60, 100, 100), np.uint8)))
    folder = folder_of(tmp_path / "mnist", {f"a-{IMAGES}.gz": one})
    assert len(read(folder, labels="none")) == 60
    folder_of(folder, {f"b-{IMAGES}.gz": one})
    assert "'b-t10k-images-idx3-ubyte.gz': would unpack to more than 1 MiB" in refusal(folder, labels="none")


def test_labels_idx_needs_idx_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets", {"cat/a.png": picture(), LABELS: PAIR[LABELS]})
    words = "source.labels is 'idx', but there is no IDX file of images: looked for names that end in idx3-ubyte or"
    assert words in refusal(folder)
    with pytest.raises(UserError, match=r"source.labels is 'idx', but IDX files hold pictures; set folder"):
        config(folder, content="texts")


@pytest.mark.skipif(not (SHARED / "mnist").exists(), reason="../shared/data is not there")
def test_the_real_mnist() -> None:
    pictures = read(SHARED / "mnist")
    assert len(pictures) == 10_000
    assert [one.labels[0] for one in pictures[:10]] == list("7210414959")
    assert {pixels_of(one.encoded).shape for one in pictures[:100]} == {(28, 28)}
    means = {digit: np.mean([pixels_of(p.encoded) for p in pictures[:1000] if p.labels == (digit,)]) for digit in "01"}
    assert means["0"] > 2 * means["1"]


# ---- scikit-learn


def sklearn(**keys: object) -> SourceConfig:
    return section({"source": {"kind": "sklearn", "location": "digits", **keys}}, "source", SourceConfig)


def test_the_digits_of_scikit_learn_are_a_source(tmp_path: Path) -> None:
    summary = download(sklearn(), tmp_path, tmp_path / "raw", seed=1)
    rows, found = pq.read_table(tmp_path / "raw").to_pylist(), load_digits()
    assert summary.pictures == len(rows) == 1797
    assert [row["label"] for row in rows] == [str(digit) for digit in found.target]
    assert [row["origin"] for row in rows] == [row["name"] for row in rows]
    assert (rows[0]["name"], rows[-1]["name"]) == ("digits/00000.png", "digits/01796.png")
    greys = np.stack([pixels_of(row["encoded"]) for row in rows])
    assert (greys.min(), greys.max()) == (0, 255)
    np.testing.assert_allclose(greys, found.images * 255 / 16, atol=0.5)


def test_the_digits_without_labels_and_with_a_pattern(tmp_path: Path) -> None:
    with open_source(sklearn(labels="none", origin=r"(?P<origin>\d\d)\d"), seed=1, system=tmp_path) as source:
        pictures = list(source.pictures)
    assert {one.labels for one in pictures} == {()}
    assert pictures[1796].origin == "01"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"location": "iris"},
            "source.location is 'iris', but kind: sklearn has one set of pictures; set it to digits",
        ),
        ({"location": None}, "source.location is None, but kind: sklearn has one set of pictures; set it to digits"),
        ({"labels": "idx"}, "source.labels is 'idx', but sklearn pictures are labeled by folder; set folder or none"),
        ({"content": "texts"}, "source.content is texts, but kind: sklearn has pictures; set content: pictures"),
        ({"splits": ["train"]}, "source.splits is set, but kind: sklearn does not use it"),
    ],
)
def test_what_scikit_learn_does_not_have_is_refused(keys: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        sklearn(**keys)
