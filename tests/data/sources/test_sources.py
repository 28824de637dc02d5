"""Folders and archives as sources: their labels and boxes, and the stage download."""

import gzip
import io
import os
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from checkout import SHARED
from lamina.config import section
from lamina.data.sources import archive as archives
from lamina.data.sources.boxes import parse_voc
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.labels import find_columns, parse_labels, split_labels
from lamina.data.sources.members import PICTURE_SUFFIXES, Picture, decode_text
from lamina.data.sources.source import open_members, open_source
from lamina.errors import UserError
from lamina.files import PIECE, PiecewiseWriter, file_digest
from lamina.stages.download import GROUP_BYTES, GROUP_PICTURES, download, row_groups, to_table, write_parts
from packing import Files, picture, tarred, voc, zipped

FILES: Files = {
    "pets/cat/b.jpg": picture(1),
    "pets/cat/a.JPEG": picture(2),
    "pets/dog/ä.png": picture(3),
    "pets/dog/notes.txt": b"no picture",
    "pets/broken.gif": b"no picture either",
    "pets/.hidden/x.jpg": picture(4),
    "__MACOSX/pets/cat/._b.jpg": b"fork",
    "pets/Thumbs.db": b"thumbs",
    "pets/cat/.DS_Store": b"store",
}


def to_folder(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def to_zip(path: Path, files: Files) -> Path:
    path.write_bytes(zipped(files))
    return path


def to_tar(path: Path, files: Files, compression: str = "", prefix: str = "") -> Path:
    path.write_bytes(tarred(files, compression, prefix))
    return path


PACKERS: dict[str, Callable[[Path, Files], Path]] = {
    "folder": to_folder,
    "zip": to_zip,
    "tar": to_tar,
    "tar.gz": lambda path, files: to_tar(path, files, "gz"),
    "tar.bz2": lambda path, files: to_tar(path, files, "bz2"),
    "tar.xz": lambda path, files: to_tar(path, files, "xz"),
    "./tar": lambda path, files: to_tar(path, files, "", "./"),
}


def config(path: Path, **keys: object) -> SourceConfig:
    values = {"kind": "folder" if path.is_dir() else "archive", "location": str(path)}
    return section({"source": {**values, **keys}}, "source", SourceConfig)


def read(path: Path, **keys: object) -> list[Picture]:
    with open_source(config(path, **keys), seed=1, system=path.parent) as source:
        pictures = list(source.pictures)
        assert source.total == len(pictures)
    return pictures


def labels_of(pictures: Iterable[Picture]) -> dict[str, tuple[str, ...]]:
    return {one.name: one.labels for one in pictures}


@pytest.mark.parametrize("packing", PACKERS)
def test_every_packing_of_the_same_files_gives_the_same_pictures(tmp_path: Path, packing: str) -> None:
    pictures = read(PACKERS[packing](tmp_path / "source", FILES))
    assert [one.name for one in pictures] == ["pets/broken.gif", "pets/cat/a.JPEG", "pets/cat/b.jpg", "pets/dog/ä.png"]
    assert [one.encoded for one in pictures] == [FILES[one.name] for one in pictures]
    assert [one.labels for one in pictures] == [(), ("cat",), ("cat",), ("dog",)]
    assert [one.origin for one in pictures] == [one.name for one in pictures]
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("suffix", [*PICTURE_SUFFIXES, ".JPG", ".TiFf"])
def test_pictures_are_known_by_suffix(tmp_path: Path, suffix: str) -> None:
    folder = to_folder(tmp_path / "source", {f"a/x{suffix}": b"", "b/y.doc": b""})
    assert [one.name for one in read(folder)] == [f"a/x{suffix}"]


@pytest.mark.parametrize("encoding", ["utf-8", "cp850"])
def test_zip_names_without_the_utf8_flag_are_read(tmp_path: Path, encoding: str) -> None:
    path = to_zip(tmp_path / "a.zip", {"dog/Äã.png": picture(), "cat/a.png": picture()})
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(signature) + flags + 1
        assert data[place] == 8
        data[place] = 0
    path.write_bytes(data.replace("Äã".encode(), "Äã".encode(encoding).ljust(4, b"_")))
    assert [one.name.replace("_", "") for one in read(path)] == ["cat/a.png", "dog/Äã.png"]


# ---- labels


CSV = {"top/images/a.jpg": picture(1), "top/images/b.jpg": picture(2), "top/c.jpg": picture(3), "top/d.jpg": picture(4)}


@pytest.mark.parametrize(
    "rows",
    [
        "file,label\nimages/a.jpg,cat\nc.jpg,dog\n",
        "file,label\r\na.jpg,cat\r\ntop/c.jpg,dog\r\n",
        'File; Label \n"images\\a.jpg";cat\n./c.jpg;dog\n',
        "label\tsize\tfile\ncat\t3\timages/a.jpg\n\ndog\t4\t/home/me/c.jpg\n\t1\td.jpg\n",
        "file,label\na.jpg,cat\na.jpg, cat\nc.jpg,dog\nc.jpg,\n",
    ],
)
@pytest.mark.parametrize("table", ["top/labels.csv", "top/tables/labels.csv"])
def test_labels_from_a_csv(tmp_path: Path, rows: str, table: str) -> None:
    path = to_zip(tmp_path / "a.zip", {**CSV, table: rows.encode()})
    for labels in (table, table.removeprefix("top/")):
        found = labels_of(read(path, labels=labels))
        assert found == {"top/images/a.jpg": ("cat",), "top/images/b.jpg": (), "top/c.jpg": ("dog",), "top/d.jpg": ()}


def test_several_labels_are_kept(tmp_path: Path) -> None:
    rows = 'file,label\na.jpg,"cat, dog"\nb.jpg,"cat,cat"\nc.jpg,cat\nc.jpg,dog\nd.jpg," , "\n'
    found = labels_of(read(to_zip(tmp_path / "a.zip", {**CSV, "top/l.csv": rows.encode()}), labels="l.csv"))
    assert found == {
        "top/images/a.jpg": ("cat", "dog"),
        "top/images/b.jpg": ("cat", "cat"),
        "top/c.jpg": ("cat", "dog"),
        "top/d.jpg": (),
    }


@pytest.mark.parametrize(
    "rows",
    [
        "id,breed\na,cat\nc,dog\n",
        "image_id,cat,dog\nimages/a,1,0\nc,0.0,1.0\n",
        "Picture;Class;size\nimages/a.jpg;cat;12\nc.jpg;dog;9\n",
        "path,name,kind\nimages/a.jpg,a.jpg,cat\nc.jpg,c.jpg,dog\n",
        "label\tid\tsize\ncat\ta\t1\ndog\tc\t2\n",
    ],
)
def test_columns_are_found_by_what_they_hold(tmp_path: Path, rows: str) -> None:
    path = to_zip(tmp_path / "a.zip", {**CSV, "top/l.csv": rows.encode()})
    found = labels_of(read(path, labels="l.csv"))
    assert found == {"top/images/a.jpg": ("cat",), "top/images/b.jpg": (), "top/c.jpg": ("dog",), "top/d.jpg": ()}


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["tench, Tinca tinca", "cat", "tench, Tinca tinca"], [("tench, Tinca tinca",), ("cat",)]),
        (["maillot", "maillot, tank suit"], [("maillot",), ("maillot, tank suit",)]),
        (["cat, dog", "cat", "dog"], [("cat", "dog"), ("cat",), ("dog",)]),
        (["cat, cat", "dog"], [("cat", "cat"), ("dog",)]),
        ([" , ", " cat "], [(), ("cat",)]),
    ],
)
def test_commas_are_part_of_a_name_unless_their_parts_stand_alone(
    cells: list[str], labels: list[tuple[str, ...]]
) -> None:
    assert split_labels(cells)[: len(labels)] == labels


LETTERS = st.characters(codec="cp1252", exclude_categories=("Cc", "Zs", "Zl", "Zp"), exclude_characters=",;\"'")
TEXT = st.text(LETTERS, min_size=1)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]),
    separator=st.sampled_from([",", ";", "\t"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_label_tables_are_read_in_any_encoding(
    rows: list[tuple[str, str]], encoding: str, separator: str, newline: str
) -> None:
    text = newline.join(separator.join(row) for row in [("file", "label"), *rows])
    data = text.encode(encoding)
    if encoding == "cp1252" and decode_text(data) != text:
        data.decode("utf-8")  # these bytes are also valid UTF-8, which is tried first
        return
    found = list(parse_labels(data, "l.csv"))
    assert [file for file, _ in found] == [file for file, _ in rows]
    assert [len(labels) for _, labels in found] == [1] * len(rows)
    assert decode_text(data) == text


def test_a_table_of_a_million_numbers_is_no_wait() -> None:
    looked_up = 0

    def locate(cell: str) -> str | None:
        nonlocal looked_up
        looked_up += 1
        return f"{cell}.png" if cell.startswith("p") else None

    rows = [["0.5"] * 40 + [f"p{number}"] for number in range(5000)]
    found = find_columns([*(f"f{number}" for number in range(39)), "label", "picture"], rows, locate, "l.csv")
    assert (found.file, found.label) == (40, 39)
    assert looked_up < 5 * len(rows)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            "file,label\nx.jpg,cat\ny.jpg,cat\nz.jpg,cat\nw.jpg,cat\n",
            r"4 rows name no .*\('x.jpg', 'y.jpg', 'z.jpg', ...\)",
        ),
        ("name,kind\nx,cat\n", "the columns file and label, got 'name', 'kind', of which none names the pictures"),
        (
            "id,sex,age\na,f,3\nb,m,4\n",
            r"column 'id' names the pictures, but which of the others holds the label is not clear \(sex, age\)",
        ),
        ("id,up,down\na,1,1\nb,0,1\n", r"not clear \(up, down\); rename that column to label"),
        ("", "expected a first line with the columns file and label"),
        ("file,label\na.jpg,cat, dog\n", "line 2: expected a file and a label, 2 cells in all"),
        ("label,file\ncat\n", "line 2: expected a file and a label"),
        ("file,label\n ,cat\n", "line 2: expected a file and a label"),
        ('file,label\na.jpg,"cat\n', "not a CSV"),
        ("file,label\na.jpg," + "x" * 200_000, "not a CSV: field larger than"),
        (
            'file\tlabel\tnote\na.jpg\tcat\t"is\nb.jpg\tdog\tit"\n',
            "line 3: here ends a cell of several lines with tabs",
        ),
    ],
)
def test_broken_label_tables_are_refused(tmp_path: Path, rows: str, words: str) -> None:
    path = to_zip(tmp_path / "a.zip", {**CSV, "top/l.csv": rows.encode()})
    with pytest.raises(UserError, match=words):
        read(path, labels="l.csv")


def test_a_base_name_that_two_pictures_share_is_refused(tmp_path: Path) -> None:
    files = {"x/a.jpg": picture(), "y/a.jpg": picture(), "l/l.csv": b"file,label\na.jpg,cat\n"}
    with pytest.raises(UserError, match=r"base name that several pictures share"):
        read(to_zip(tmp_path / "a.zip", files), labels="l/l.csv")


def test_a_missing_picture_is_not_one_of_the_same_name_in_another_folder(tmp_path: Path) -> None:
    files = {"d/train/1.jpg": picture(), "d/test/2.jpg": picture(), "d/test/x/3.jpg": picture()}
    for cell in ("train/2.jpg", "d/train/2", "train\\2.jpg"):
        table = f"file,label\n{cell},cat\n".encode()
        with pytest.raises(UserError, match="1 rows name no picture of the source"):
            read(to_zip(tmp_path / "a.zip", {**files, "d/l.csv": table}), labels="l.csv")
    table = b"file,label\ntest/3.jpg,cat\nC:\\old\\2.jpg,dog\n1.jpg,cat\n"
    found = labels_of(read(to_zip(tmp_path / "a.zip", {**files, "d/l.csv": table}), labels="l.csv"))
    assert found == {"d/test/2.jpg": ("dog",), "d/test/x/3.jpg": ("cat",), "d/train/1.jpg": ("cat",)}


def test_a_missing_label_table_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = to_zip(tmp_path / "a.zip", {**CSV, "top/labels.csv": b"file,label\n"})
    with pytest.raises(
        UserError, match=r"no file 'label.csv' in it, which source.labels names; did you mean 'labels.csv'"
    ):
        read(path, labels="label.csv")


@pytest.mark.parametrize("name", ["a.jpg", "pets/a.jpg"])
def test_labels_by_folder_need_folders(tmp_path: Path, name: str) -> None:
    path = to_zip(tmp_path / "a.zip", {name: picture()})
    with pytest.raises(UserError, match=r"source.labels is 'folder', but all 1 pictures lie in one folder"):
        read(path)
    assert labels_of(read(path, labels="none")) == {name: ()}


# ---- boxes


def test_boxes_belong_to_the_picture_of_their_name(tmp_path: Path) -> None:
    boxes = {
        "top/boxes/a.xml": voc(("WBC", 1, 2, 30, "40.6"), ("RBC", 5, 6, 7, 8)),
        "top/boxes/sub/c.XML": voc(),
        "top/boxes/other.xml": voc(("WBC", 1, 1, 2, 2)),
    }
    path = to_zip(tmp_path / "a.zip", {**CSV, **boxes})
    found = {one.name: one.boxes for one in read(path, labels="none", boxes="boxes/", target="WBC")}
    assert found == {"top/c.jpg": (), "top/d.jpg": (), "top/images/a.jpg": ((1, 2, 30, 41),), "top/images/b.jpg": ()}
    found = {one.name: one.boxes for one in read(path, labels="none", boxes="./top/boxes")}
    assert found["top/images/a.jpg"] == ((1, 2, 30, 41), (5, 6, 7, 8))


def test_boxes_mirror_folders_where_names_repeat(tmp_path: Path) -> None:
    files = {f"{fold}/1.jpg": picture() for fold in ("train", "test")}
    boxes = {f"boxes/{fold}/1.xml": voc(("x", index, 0, 9, 9)) for index, fold in enumerate(("train", "test"))}
    path = to_zip(tmp_path / "a.zip", {**files, **boxes})
    assert [one.boxes for one in read(path, boxes="boxes", labels="none")] == [((1, 0, 9, 9),), ((0, 0, 9, 9),)]
    path = to_zip(tmp_path / "b.zip", {**files, "boxes/1.xml": voc()})
    with pytest.raises(UserError, match=r"may belong to 'test/1.jpg', 'train/1.jpg'"):
        read(path, boxes="boxes", labels="none")


def turned(orientation: int | None, size: tuple[int, int] = (120, 80)) -> bytes:
    """A JPEG, as stored of this size, that viewers turn."""
    exif, buffer = Image.Exif(), io.BytesIO()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", size).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(5, 9))
def test_boxes_are_turned_with_their_picture(tmp_path: Path, orientation: int) -> None:
    stored = Image.new("RGB", (120, 80))
    stored.paste((255, 255, 255), (10, 20, 40, 30))
    stored.getexif()[0x0112] = orientation
    shown = ImageOps.exif_transpose(stored).getbbox()
    assert shown is not None
    files = {"a/1.jpg": turned(orientation), "boxes/1.xml": voc(("x", 10, 20, 40, 30), size=(120, 80))}
    assert read(to_zip(tmp_path / "stored.zip", files), boxes="boxes")[0].boxes == (shown,)
    files["boxes/1.xml"] = voc(("x", *shown), size=(80, 120))
    assert read(to_zip(tmp_path / "shown.zip", files), boxes="boxes")[0].boxes == (shown,)


@pytest.mark.parametrize(
    ("orientation", "size", "is_sure"),
    [
        (None, None, True), (None, (120, 80), True), (6, (80, 120), True), (6, (120, 80), True),
        (6, None, False), (3, (120, 80), False), (None, (60, 40), False), (None, (80, 120), False),
    ],
)  # fmt: skip
def test_a_frame_of_boxes_that_is_not_sure_is_said(
    tmp_path: Path, orientation: int | None, size: tuple[int, int] | None, is_sure: bool
) -> None:
    files = {"a/1.jpg": turned(orientation), "boxes/1.xml": voc(("x", 10, 20, 40, 30), size=size)}
    path = to_zip(tmp_path / "a.zip", files)
    summary = str(download(config(path, boxes="boxes"), tmp_path, tmp_path / "raw", seed=1))
    assert ("warning: of 1 pictures with boxes, the annotation has another <size>" in summary) != is_sure


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<annotation><object></annotation>", "not valid XML"),
        (b"", "not valid XML"),
        (b"<html/>", "root <annotation>, got <html>"),
        (b"<" + b"a" * 100_000 + b"/>", "root <annotation>, got <a{77}...>; correct or remove it$"),
        (LAUGHS, "declares a document type"),
        (LAUGHS.decode().encode("utf-16"), "declares a document type"),
        (voc(("x", 1, 2, 3, "wide")), "expected <bndbox> with the numbers xmin, ymin, xmax, ymax, got .*'wide'"),
        (voc(("x", 1, 2, 3, "nan")), "expected <bndbox>"),
        (voc(("x", 1, 2, 3, 10**12)), "expected <bndbox>"),
        (b"<annotation><object><name>x</name></object></annotation>", "expected <bndbox>"),
    ],
)
def test_broken_boxes_are_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    path = to_zip(tmp_path / "a.zip", {**CSV, "top/boxes/a.xml": data})
    with pytest.raises(UserError, match=f"a.zip: top/boxes/a.xml: .*{words}"):
        read(path, labels="none", boxes="boxes")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading_of_boxes(data: bytes) -> None:
    with pytest.raises(UserError, match=r"x.xml"):
        parse_voc(data, "x.xml")


def test_boxes_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = to_zip(tmp_path / "a.zip", {**CSV, "top/boxes/z.xml": voc()})
    with pytest.raises(UserError, match=r"no folder 'bokses' in it, which source.boxes names; did you mean 'boxes'"):
        read(path, labels="none", boxes="bokses")
    with pytest.raises(UserError, match=r"none of 1 .xml files in source.boxes 'boxes' has the name of a picture"):
        read(path, labels="none", boxes="boxes")


# ---- origin


def test_origin_is_found_in_file_names(tmp_path: Path) -> None:
    files = {"a/s1_1.jpg": picture(), "a/s1_2.jpg": picture(), "b/s22_1.jpg": picture()}
    pictures = read(to_zip(tmp_path / "a.zip", files), origin=r"(?P<origin>s\d+)_")
    assert [one.origin for one in pictures] == ["s1", "s1", "s22"]


def test_an_origin_may_be_a_folder(tmp_path: Path) -> None:
    files = {"sick/p1/0.jpg": picture(), "sick/p2/0.jpg": picture(), "well/p2/0.jpg": picture()}
    pictures = read(to_zip(tmp_path / "a.zip", files), origin=r"(?P<origin>p\d+)/[^/]*$")
    assert [one.origin for one in pictures] == ["p1", "p2", "p2"], "of both classes"
    files = {"a/b_1.jpg": picture(), "c/d_1.jpg": picture()}
    pictures = read(to_zip(tmp_path / "b.zip", files), origin=r"^(?P<origin>[^/_]+)_")
    assert [one.origin for one in pictures] == ["b", "d"], "the file names are tried first"


def test_an_origin_that_is_not_in_every_name_is_refused(tmp_path: Path) -> None:
    files = {"s1/1.jpg": picture(), "s1/s2.jpg": picture(), "s2/3.jpg": picture()}
    with pytest.raises(UserError, match=r"finds no origin in 2 of 3 file names \('s1/1.jpg', 's2/3.jpg'\)"):
        read(to_zip(tmp_path / "a.zip", files), origin=r"(?P<origin>s\d)")


# ---- the section


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "zip"}, "source.kind: .*'zip'"),
        ({"kind": "tfds", "location": None}, "source.location is null; name the tfds"),
        ({"kind": "tfds", "location": "beans", "boxes": "b"}, "source.boxes is set, but kind: tfds does not use it"),
        ({"kind": "tfds", "location": "beans", "splits": []}, "source.splits"),
        ({"splits": ["train"]}, "source.splits is set, but kind: folder does not use it"),
        (
            {"labels": "none", "classes": ["cat"]},
            "source.classes is set, but source.labels is none, so",
        ),
        ({"location": None}, "source.location is null; name the folder"),
        ({"watch": "x"}, "unknown key 'source.watch'"),
        ({"origin": "("}, "source.origin: not a regular expression"),
        ({"origin": "(a)"}, r"source.origin: expected a regular expression with a group \(\?P<origin>"),
        ({"sha256": "12"}, "source.sha256: expected 64 hexadecimal digits"),
        ({"sha256": "0" * 64}, "source.sha256 is set, but kind: folder does not use it"),
        ({"target": "WBC"}, "source.target is 'WBC', but source.boxes is null"),
        ({"classes": []}, "source.classes"),
        ({"classes": [1]}, "source.classes.0: .*string, got 1"),
        ({"pictures": 0}, "source.pictures"),
        ({"lables": "none"}, "unknown key 'source.lables'; did you mean 'source.labels'"),
        ({"kind": "smear"}, "source.location is set, but kind: smear"),
        ({"kind": "smear", "location": None, "labels": "l.csv"}, "source.labels is 'l.csv'"),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(keys: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        section({"source": {"kind": "folder", "location": "x", **keys}}, "source", SourceConfig)


def test_classes_become_a_tuple() -> None:
    values = {"kind": "folder", "location": "x", "classes": ["a", "e\u0301"]}
    assert section({"source": values}, "source", SourceConfig).classes == ("a", "\u00e9"), "composed, as labels are"


# ---- invalid sources


def test_a_missing_source_is_named_with_the_nearest(tmp_path: Path) -> None:
    to_zip(tmp_path / "leukocytes.zip", FILES)
    wrong = SourceConfig(kind="archive", location="leucocytes.zip")
    opened = open_source(wrong, seed=1, system=tmp_path)
    remedy = r"correct it in params\.yaml, seen from the system's folder, or bring the archive back"
    words = rf"^source\.location: leucocytes\.zip: not found; {remedy}; did you mean 'leukocytes\.zip'\?$"
    with pytest.raises(UserError, match=words):
        opened.__enter__()


def test_kind_and_what_is_there_must_agree(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source.kind is archive, but this is a folder"):
        read(to_folder(tmp_path / "a", FILES), kind="archive")
    with pytest.raises(UserError, match=r"source.kind is folder, but this is a file"):
        read(to_zip(tmp_path / "a.zip", FILES), kind="folder")


def test_the_digest_is_checked_first(tmp_path: Path) -> None:
    path = to_zip(tmp_path / "a.zip", FILES)
    digest = file_digest(path)
    assert len(read(path, sha256=digest.upper())) == 4
    path.write_bytes(b"not even an archive")
    with pytest.raises(UserError, match=f"sha256 in section source expects {digest}, got {file_digest(path)}"):
        read(path, sha256=digest)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "this is an empty file; expected a zip or tar"),
        (b"\n<!DOCTYPE html><html>404", "this is an HTML or XML page"),
        (b"Rar!\x1a\x07\x00", "this is a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "this is a 7z archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"plain words", "not a known kind of archive"),
        (picture(), "a PNG picture"),
        (b"\x1f\x8b" + b"\0" * 40, "damaged or cut short"),
        (b"PK\x03\x04" + b"\0" * 40, "damaged or cut short"),
        (b"BZh9" + b"\0" * 40, "damaged or cut short"),
        (b"\xfd7zXZ\0" + b"\0" * 40, "damaged or cut short"),
    ],
)
def test_other_files_are_named_by_their_kind(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(UserError, match=words):
        read(path)


def test_a_single_compressed_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(picture()))
    with pytest.raises(UserError, match=r"a single compressed file"):
        read(tmp_path / "a.gz")


@pytest.mark.parametrize("packing", PACKERS)
def test_a_source_without_pictures_says_what_it_holds(tmp_path: Path, packing: str) -> None:
    path = PACKERS[packing](tmp_path / "source", {"a.doc": b"", "b.doc": b"", "c": b""})
    with pytest.raises(UserError, match=r"looked for .avif .* idx3-ubyte.gz, found 2 .doc, 1 \(no suffix\)"):
        read(path)


@pytest.mark.parametrize("packing", PACKERS)
def test_an_empty_source_is_refused(tmp_path: Path, packing: str) -> None:
    (tmp_path / "source").mkdir() if packing == "folder" else PACKERS[packing](tmp_path / "source", {})
    with pytest.raises(UserError, match=r"found no files"):
        read(tmp_path / "source")


# ---- hostile archives


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/a.jpg", "has an absolute name"),
        ("C:/a.jpg", "has an absolute name"),
        ("x/../../a.jpg", "points outside the archive"),
        ("..", "points outside the archive"),
        ("x\\..\\a.jpg", "has a backslash in its name"),
    ],
)
@pytest.mark.parametrize("pack", [to_zip, to_tar])
def test_names_that_point_outside_are_refused(
    tmp_path: Path, pack: Callable[[Path, Files], Path], name: str, words: str
) -> None:
    path = pack(tmp_path / "a", {"cat/a.jpg": picture(), name: picture()})
    with pytest.raises(UserError, match=words) as caught:
        read(path)
    assert ascii(name) in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        header = tarfile.TarInfo("cat/a.jpg")
        header.type, header.linkname = kind, "/etc/passwd"
        file.addfile(header)
    with pytest.raises(UserError, match=r"'cat/a.jpg' is a link, a device or sparse; refused"):
        read(tmp_path / "a.tar")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("cat/a.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match=r"'cat/a.jpg' is a link or a device; refused"):
        read(tmp_path / "a.zip")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = to_zip(tmp_path / "a.zip", {"cat/a.jpg": picture()})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"'cat/a.jpg' is encrypted; pack the archive again without a password"):
        read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", ["zip", "tar"])
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path, pack: str) -> None:
    path = tmp_path / "a"
    if pack == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("cat/a.jpg", b"1")
            file.writestr("cat//a.jpg", b"2")
    else:
        to_tar(path, {"cat/a.jpg": b"1", "./cat/a.jpg": b"2"})
    with pytest.raises(UserError, match=r"holds 'cat/a.jpg' twice"):
        read(path)


@pytest.mark.parametrize("packing", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_that_would_unpack_without_bound_is_refused(
    tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 2**20)
    path = PACKERS[packing](tmp_path / "a", {"cat/a.jpg": bytes(5 * 2**20)})
    with pytest.raises(UserError, match=r"would unpack to more than 1 MiB, 100 times its size; .*kind: folder"):
        read(path)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("packing", PACKERS)
def test_a_huge_member_is_refused(tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.data.sources.members.MEMBER_BYTES", 2**20)
    path = PACKERS[packing](tmp_path / "a", {"a.jpg": b"", "cat/a.jpg": random.Random(1).randbytes(2**20 + 1)})
    with pytest.raises(UserError, match=r"'cat/a.jpg' is larger than 1 MiB"):
        read(path)


@pytest.mark.parametrize("packing", ["zip", "tar"])
def test_too_many_members_are_refused(tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    with pytest.raises(UserError, match=r"more than 3 members; split the archive"):
        read(PACKERS[packing](tmp_path / "a", FILES))


@pytest.mark.parametrize("packing", ["tar", "tar.gz"])
def test_a_second_tar_behind_the_first_is_refused(tmp_path: Path, packing: str) -> None:
    first, second = (to_tar(tmp_path / f"{name}.{packing}", {f"{name}/1.png": picture()}) for name in "ab")
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(UserError, match="more files follow behind the end of the tar"):
        read(first)


def test_a_tar_whose_headers_lead_backwards_is_refused(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("cat/a.jpg").tobuf())
    header[124:136] = b"\xff" * 10 + (-512 & 0xFFFF).to_bytes(2, "big")  # a size below 0, in base 256
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(UserError, match=r"damaged or cut short"):
        read(tmp_path / "a.tar")


@pytest.mark.parametrize("headers", [{"comment": "x" * 2**21}, {"size": "-3072"}])
def test_extended_tar_headers_cannot_fill_the_memory_or_lead_backwards(tmp_path: Path, headers: dict[str, str]) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as file:
        for name in ("cat/a.jpg", "dog/b.jpg"):
            header = tarfile.TarInfo(name)
            header.pax_headers = headers
            file.addfile(header)
    with pytest.raises(UserError, match="damaged or cut short"):
        read(tmp_path / "a.tar")


MANY = {f"{label}/{index}.jpg": random.Random(index).randbytes(700) for label in "ab" for index in range(5)}


@pytest.mark.parametrize("packing", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_cut_archive_is_refused_or_whole(tmp_path: Path, packing: str) -> None:
    path = PACKERS[packing](tmp_path / "a", MANY)
    whole = path.read_bytes()
    ends = [cut for cut in range(1, len(whole), len(whole) // 23) if whole[cut:].strip(b"\0")]
    for cut in [*ends, 512, 1536, 3072]:
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"a: "):
            read(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    packing=st.sampled_from(["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_a_damaged_archive_never_ends_in_a_trace(tmp_path: Path, packing: str, flips: list[tuple[float, int]]) -> None:
    path = PACKERS[packing](tmp_path / "a", MANY)
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[int(place * len(data))] ^= value
    path.write_bytes(data)
    with suppress(UserError):
        pictures = read(path)
        if packing != "tar":  # a plain tar has no checksums
            assert {one.encoded for one in pictures} <= set(MANY.values())


# ---- folders


def test_links_in_a_folder_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder = to_folder(tmp_path / "source", {"cat/a.jpg": picture()})
    to_folder(tmp_path / "elsewhere", {"b.jpg": picture(), "c.jpg": picture()})
    (folder / "dog").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "c.jpg")
    assert [one.name for one in read(folder)] == ["cat/a.jpg", "cat/c.jpg", "dog/b.jpg", "dog/c.jpg"]
    (folder / "cat" / "up").symlink_to(folder)
    with pytest.raises(UserError, match=r"'cat/up' links to a folder that contains it"):
        read(folder)


def test_what_cannot_be_read_in_a_folder_is_named(tmp_path: Path) -> None:
    folder = to_folder(tmp_path / "source", {"cat/a.jpg": picture()})
    (folder / "cat" / "b.jpg").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"'cat/b.jpg' is neither file nor folder"):
        read(folder)
    (folder / "cat" / "b.jpg").unlink()
    os.mkfifo(folder / "cat" / "b.jpg")
    with pytest.raises(UserError, match=r"'cat/b.jpg' is neither file nor folder"):
        read(folder)


# ---- the stage


def test_download_writes_what_was_read(tmp_path: Path) -> None:
    rows = 'file,label\na.jpg,"cat, cat"\nb.jpg,dog\nc.jpg,\n'
    files = {**CSV, "top/l.csv": rows.encode(), "top/boxes/b.xml": voc(("x", 1, 2, 3, 4))}
    path = to_zip(tmp_path / "a.zip", files)
    summary = download(config(path, labels="l.csv", boxes="boxes"), tmp_path, tmp_path / "data" / "raw", seed=1)
    assert str(summary).startswith("read 4 pictures, 0.0 MiB, 1 classes (1 dog)")
    table = pq.read_table(tmp_path / "data" / "raw" / "part-00000.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "string",
        "name": "string",
        "label": "string",
        "label_count": "int8",
        "origin": "string",
        "boxes": "list<element: list<element: int32>>",
        "sha256": "string",
        "encoded": "binary",
    }
    rows_read = table.to_pylist()
    assert [row["label"] for row in rows_read] == [None, None, "cat + cat", "dog"]
    assert [row["label_count"] for row in rows_read] == [0, 0, 2, 1]
    assert [row["boxes"] for row in rows_read] == [[], [], [], [[1, 2, 3, 4]]]
    assert [row["encoded"] for row in rows_read] == [files[row["name"]] for row in rows_read]
    assert [row["id"] for row in rows_read] == [sha256(row["name"].encode()).hexdigest()[:16] for row in rows_read]
    assert [row["sha256"] for row in rows_read] == [sha256(row["encoded"]).hexdigest() for row in rows_read]


@pytest.mark.parametrize("packing", PACKERS)
def test_files_that_are_passed_over_are_counted_by_kind_and_reason(tmp_path: Path, packing: str) -> None:
    files = {
        **FILES, "pets/cat/c.PSD": b"", "pets/dog/d.psd": b"", "pets/train.zip": b"", "pets/README": b"",
        "pets/cat/@eaDir/a.JPEG/SYNOPHOTO_THUMB_M.jpg": picture(), "pets/labels.csv": b"", "pets/b.xml": b"",
    }  # fmt: skip
    path = PACKERS[packing](tmp_path / "source", files)
    assert str(download(config(path), tmp_path, tmp_path / "raw", seed=1)).splitlines()[1:] == [
        "passed over 12 files: 1 .zip (archives inside the source are not opened), 2 hidden, 1 @eaDir, 1 Thumbs.db, "
        "1 __MACOSX (hidden, or left by an operating system), 1 .csv, 1 .txt, 1 .xml, 1 without suffix (no pictures, "
        "and not used), 2 .psd (pictures of a format that is not read)"
    ]


def test_files_that_are_used_are_not_passed_over(tmp_path: Path) -> None:
    files = {**CSV, "top/l.csv": b"file,label\na.jpg,cat\n", "top/boxes/a.xml": voc(("x", 1, 2, 3, 4))}
    path = to_zip(tmp_path / "a.zip", files)
    summary = str(download(config(path, labels="l.csv", boxes="boxes"), tmp_path, tmp_path / "raw", seed=1))
    assert "passed over" not in summary
    assert "passed over 1 file: 1 .xml" in str(download(config(path, labels="l.csv"), tmp_path, tmp_path / "r", seed=1))


@pytest.mark.parametrize("packing", ["zip", "tar.xz"])
def test_the_same_pictures_are_the_same_bytes(tmp_path: Path, packing: str) -> None:
    digests = set()
    for name, files in (("a", MANY), ("b", dict(reversed(MANY.items())))):
        path = PACKERS[packing](tmp_path / name, files)
        download(config(path), tmp_path, tmp_path / f"raw-{name}", seed=1)
        digests.add(file_digest(tmp_path / f"raw-{name}" / "part-00000.parquet"))
    assert len(digests) == 1


def test_a_failed_download_leaves_what_was_there(tmp_path: Path) -> None:
    path = to_zip(tmp_path / "a.zip", {**MANY, "boxes/a/4.xml": voc(), "z/last.jpg": b"", "boxes/last.xml": b"broken"})
    raw = to_folder(tmp_path / "raw", {"part-00000.parquet": b"before"})
    with pytest.raises(UserError, match=r"boxes/last.xml: not valid XML"):
        download(config(path, boxes="boxes"), tmp_path, raw, seed=1)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.zip", "raw"]
    assert (raw / "part-00000.parquet").read_bytes() == b"before"


def a_picture(index: int, size: int) -> Picture:
    return Picture(name=f"{index:05d}.jpg", encoded=bytes(size), labels=(), origin="x")


@given(
    st.lists(st.sampled_from([1, 1000, GROUP_BYTES // 3, GROUP_BYTES - 1, GROUP_BYTES, GROUP_BYTES + 1]), max_size=200)
)
@example([1] * 200)
@settings(max_examples=30)
def test_row_groups_are_bounded_and_keep_order(sizes: list[int]) -> None:
    zeros = {size: bytes(size) for size in set(sizes)}
    pictures = [
        Picture(name=str(index), encoded=zeros[size], labels=(), origin="x") for index, size in enumerate(sizes)
    ]
    groups = list(row_groups(pictures))
    assert [one for group in groups for one in group] == pictures
    for group in groups:
        assert 1 <= len(group) <= GROUP_PICTURES
        assert sum(len(one.encoded) for one in group) <= GROUP_BYTES or len(group) == 1


@pytest.mark.parametrize("size", [900, 20_000])
def test_parts_are_bounded_and_full(tmp_path: Path, size: int) -> None:
    bound = 2**19
    pictures = [a_picture(index, size) for index in range(2_000_000 // size)]
    groups = [pictures[start : start + 8] for start in range(0, len(pictures), 8)]
    write_parts(map(to_table, groups), tmp_path, part_bytes=bound)
    parts = sorted(tmp_path.iterdir())
    sizes = [part.stat().st_size for part in parts]
    assert max(sizes) <= bound
    assert min(sizes[:-1]) > bound / 2
    names = [name for part in parts for name in pq.read_table(part)["name"].to_pylist()]
    assert names == [one.name for group in groups for one in group]


def test_pieces_are_written_whole_and_in_order(tmp_path: Path) -> None:
    data = [np.random.default_rng(size).bytes(size) for size in (3, PIECE, 1, 2 * PIECE + 5, 0, PIECE - 1)]
    with PiecewiseWriter(tmp_path / "file") as file:
        assert [file.write(one) for one in data] == [*map(len, data)]
        assert file.tell() == sum(map(len, data))
    assert (tmp_path / "file").read_bytes() == b"".join(data)


def test_smear_is_a_source(tmp_path: Path) -> None:
    values = {"kind": "smear", "pictures": 12}
    raw = tmp_path / "raw"
    summary = download(section({"source": values}, "source", SourceConfig), tmp_path, raw, seed=3)
    assert summary.pictures == 12
    drawn = pq.read_table(raw / "part-00000.parquet").to_pylist()
    assert {len(row["boxes"]) for row in drawn} <= {0, 1}
    assert all(row["origin"].startswith("slide-") for row in drawn)
    by_pattern = section({"source": {**values, "origin": r"slide-(?P<origin>\d+)"}}, "source", SourceConfig)
    with open_source(by_pattern, seed=3, system=tmp_path) as source:
        assert [f"slide-{one.origin}" for one in source.pictures] == [row["origin"] for row in drawn]


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_the_real_leukocytes_are_read() -> None:
    path = SHARED / "leukocytes.zip"
    pictures = read(path, labels="labels.csv", boxes="boxes", target="WBC")
    assert len(pictures) == 364
    assert sum(len(one.labels) == 1 for one in pictures) == 348
    assert next(one.name for one in pictures if len(one.labels) > 1).endswith("BloodImage_00010.jpg")
    assert [sum(len(one.boxes) == count for one in pictures) for count in (0, 1, 2)] == [6, 344, 14]


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_the_real_cifar_is_listed() -> None:
    path = SHARED / "cifar10.zip"
    with open_members(path, where=path.name, spool=path.parent) as members:
        assert len(members.pictures) == 60_000
        assert members.top == "cifar10/"
        assert members.read(members.pictures[-1])[:2] == b"\xff\xd8"
