"""Sources of texts: folders, tables, archives and TFDS give the same rows, and what is wrong is one clear line."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest

from lamina.config import section
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.listing import listing
from lamina.data.sources.members import Picture
from lamina.data.sources.source import open_source
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.stages.download import download

REVIEWS = {
    "train/pos/1_9.txt": "A fine film.",
    "train/neg/2_1.txt": "A dull film.",
    "train/unsup/3_0.txt": "A film.",
    "test/pos/1_8.txt": "Zoë loved it.",
}


def config(**keys: Any) -> SourceConfig:
    kind = keys.setdefault("kind", "folder")
    keys.setdefault("location", {"folder": "source", "archive": "source.zip"}.get(kind))
    return section({"source": {"content": "texts", **keys}}, "source", SourceConfig)


def read(system: Path, **keys: Any) -> list[Picture]:
    with open_source(config(**keys), seed=1, system=system) as source:
        found = list(source.pictures)
        assert len(found) == source.total
        return found


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def table(tmp_path: Path, content: str | bytes, name: str = "table.csv", **keys: Any) -> list[Picture]:
    return read(write(tmp_path, {name: content}), labels=name, **keys)


def test_the_label_of_a_text_is_its_folder(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**REVIEWS, "README.md": "not a text", ".hidden.txt": "neither"}))
    assert [(one.name, one.labels) for one in found] == [(name, (name.split("/")[1],)) for name in sorted(REVIEWS)]
    assert [one.encoded.decode() for one in found] == [REVIEWS[one.name] for one in found]
    assert all(one.origin == one.name and one.boxes == () for one in found)


def test_an_archive_gives_the_same(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
        for name, text in REVIEWS.items():
            archive.writestr(name, text)
    assert read(tmp_path, kind="archive") == read(write(tmp_path, dict(REVIEWS)))


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig"])
def test_one_broken_byte_does_not_change_every_accent_of_a_table(tmp_path: Path, encoding: str) -> None:
    rows = "text,label\n" + "sch\u00f6n gr\u00f6\u00dfer,gut\nn\u00f6,\u00fcbel\n" * 9
    data = rows.encode() + b"kaputt \xe4 hier,gut\n"
    found = table(tmp_path / "broken", data)
    assert [(one.encoded.decode(), one.labels) for one in found[:2]] == [
        ("sch\u00f6n gr\u00f6\u00dfer", ("gut",)), ("n\u00f6", ("\u00fcbel",)),
    ]  # fmt: skip
    assert found[-1].encoded.decode() == "kaputt \ufffd hier"
    with open_source(config(labels="table.csv"), seed=1, system=tmp_path / "broken") as source:
        assert source.notes == ["warning: table.csv: 1 characters are broken (U+FFFD); save it again as UTF-8"]
    assert table(tmp_path / encoding, rows.encode(encoding)) == found[:-1], "other encodings are read as before"


def test_origins_are_found_in_file_names(tmp_path: Path) -> None:
    found = read(write(tmp_path, dict(REVIEWS)), origin=r"^(?P<origin>\d+)_")
    assert [one.origin for one in found] == ["1", "2", "1", "3"]


def test_a_table_of_files_and_labels_labels_texts_too(tmp_path: Path) -> None:
    files = {"a.txt": "one", "b.txt": "two", "labels.csv": "file,label\na.txt,good\nb.txt,bad\n"}
    found = read(write(tmp_path, files), labels="labels.csv")
    assert [(one.name, one.labels) for one in found] == [("a.txt", ("good",)), ("b.txt", ("bad",))]


def test_each_row_of_a_table_is_a_text(tmp_path: Path) -> None:
    long = "word " * 60_000  # longer than Python's own limit for a cell
    content = (
        f'Label,stars,TEXT\npos,9,"Fine, ""really""\nfine"\nneg,1,dull\n\n"pos, neg",5,both\n,5,none\npos,9,{long}\n'
    )
    found = table(tmp_path, content)
    assert [one.name for one in found] == [f"table.csv/{number:06d}" for number in range(1, 6)]
    assert [one.encoded.decode() for one in found] == ['Fine, "really"\nfine', "dull", "both", "none", long]
    assert [one.labels for one in found] == [("pos",), ("neg",), ("pos", "neg"), (), ("pos",)]
    assert [one.origin for one in found] == [one.name for one in found]


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("cp1252"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace(",", ";").encode(),
    ],
    ids=["utf-8", "mark", "utf-16", "cp1252", "crlf", "tabs", "semicolons"],
)
def test_tables_come_in_usual_encodings_and_separators(tmp_path: Path, encode: Callable[[str], bytes]) -> None:
    found = table(tmp_path, encode("text,label\nZoë “likes” it,pos\nno,neg\n"), "table.tsv")
    assert [(one.encoded.decode(), one.labels) for one in found] == [("Zoë “likes” it", ("pos",)), ("no", ("neg",))]


def test_a_column_says_which_rows_belong_together(tmp_path: Path) -> None:
    found = table(tmp_path, "text,label,id\na,pos,user 1\nb,neg,user 2\nc,pos,\n")
    assert [one.origin for one in found] == ["user 1", "user 2", "table.csv/000003"]
    both = table(tmp_path, "id,text,label,origin\n1,a,pos,x\n2,b,neg,x\n")
    assert [one.origin for one in both] == ["x", "x"]
    matched = table(tmp_path, "text,label,id\na,pos,u1-a\nb,neg,u1-b\n", origin=r"^(?P<origin>\w+)-")
    assert [one.origin for one in matched] == ["u1", "u1"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "text,stars\na,9\n",
            r"table\.csv: expected a first line with the columns text and label, or .*, got 'text', 'stars'",
        ),
        ("label\npos\n", r"expected a first line with the columns text and label, or file and label, got 'label'"),
        ("", r"expected a first line with the columns text and label, or file and label, got ''"),
        ("text,label\n", r"no rows below the first line"),
        ("text,label\na, b,pos\n", r"line 2: expected 2 cells, got 3; quote texts that hold ','"),
        ("text,label\na,pos\nb\n", r"line 3: expected 2 cells, got 1"),
        ('text,label\n"a" b,pos\n', r"line 2: not a CSV: .*write each quote in them twice"),
        ('text,label\n"a,pos\n', r"not a CSV: unexpected end of data"),
        ('label\ttext\npos\t"a\nneg\tb"\n', r"line 3: here ends a cell of several .*write each quote"),
    ],
)
def test_a_broken_table_is_one_line_that_says_where(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        table(tmp_path, content)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "smear"}, r"source\.content is texts, but kind: smear has pictures"),
        ({"boxes": "boxes"}, r"source\.boxes or target is set, but texts have no boxes"),
        ({"content": "text"}, r"source\.content: .*'pictures' or 'texts'"),
    ],
)
def test_settings_that_disagree_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config(**keys)


def test_a_source_without_texts_says_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": b"", "b.png": b""})
    with pytest.raises(UserError, match=r"source: no texts: looked for \.txt, found 2 \.png"):
        read(tmp_path)


def test_texts_in_one_folder_have_no_labels(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "one", "b.txt": "two"})
    with pytest.raises(UserError, match="all 2 texts lie in one folder"):
        read(tmp_path)
    assert [one.labels for one in read(tmp_path, labels="none")] == [(), ()]


def test_members_are_checked_for_texts_and_tables(tmp_path: Path) -> None:
    system = write(tmp_path, {**REVIEWS, "table.csv": "text,label\na,pos\n"})
    folder = system / "source"
    for labels, names in (("folder", sorted(REVIEWS)), ("table.csv", ["table.csv"])):
        listed = listing({name: file_digest(folder / name) for name in names})
        (tmp_path / "listed").write_text(listed)
        assert read(system, labels=labels, members=file_digest(tmp_path / "listed"))
        with pytest.raises(UserError, match=r"source\.members expects"):
            read(system, labels=labels, members="0" * 64)


def test_download_writes_texts_as_it_writes_pictures(tmp_path: Path) -> None:
    system = write(tmp_path, dict(REVIEWS))
    summary = download(config(), system, tmp_path / "raw", seed=1)
    assert str(summary).startswith("read 4 texts, ")
    assert "3 classes (1 neg, 2 pos, 1 unsup)" in str(summary)
    rows = pq.read_table(tmp_path / "raw" / "part-00000.parquet")
    assert rows["name"].to_pylist() == sorted(REVIEWS)
    assert [data.decode() for data in rows["encoded"].to_pylist()] == [REVIEWS[name] for name in sorted(REVIEWS)]
    before = (tmp_path / "raw" / "part-00000.parquet").read_bytes()
    download(config(), system, tmp_path / "raw", seed=1)
    assert (tmp_path / "raw" / "part-00000.parquet").read_bytes() == before


def test_tfds_gives_texts_with_their_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets as tfds

    class LaminaReviews(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        TEXTS: ClassVar = ("BM is no bitmap", "Zoë", "unknown")

        def _info(self) -> Any:
            features = tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["neg", "pos"])}
            )
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("text", "label"))

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples(), "test": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for index, text in enumerate(self.TEXTS):
                yield index, {"text": text, "label": (1, 0, -1)[index]}

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    LaminaReviews(data_dir=tmp_path).download_and_prepare()
    found = read(tmp_path, kind="tfds", location="lamina_reviews", splits=["test"])
    texts = {one.encoded.decode(): one.labels for one in found}
    assert texts == {"BM is no bitmap": ("pos",), "Zoë": ("neg",), "unknown": ()}
    assert [one.name for one in found] == [f"test/{index:08d}" for index in range(3)]
    with pytest.raises(UserError, match="holds texts, not pictures"):
        read(tmp_path, kind="tfds", location="lamina_reviews", content="pictures")


def test_an_archive_that_points_outside_is_refused_for_texts_too(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../pos/a.txt", "outside")
    (tmp_path / "source.zip").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="points outside the archive"):
        read(tmp_path, kind="archive")
