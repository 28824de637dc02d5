"""The page's part about the data: counts, contact sheets, near duplicates and the leak audit."""

import base64
import io
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from lamina.files import write_json
from lamina.maths.splits import FOLDS
from lamina.report import tables
from lamina.report.data_files import SHEETS, read_pictures
from lamina.report.page import pictures_chapter
from pages import PICTURES_PER_ORIGIN, words, write_pictures


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("system")
    write_pictures(folder, side=32)
    return folder


@pytest.fixture
def copied(system: Path, tmp_path: Path) -> Path:
    """The system, to be changed."""
    return Path(shutil.copytree(system, tmp_path / "system"))


def chapter(system: Path) -> str:
    return str(pictures_chapter(read_pictures(system)).body)


def census_of(system: Path) -> tables.Census:
    data = read_pictures(system)
    return tables.census(len(data.names), data.rejected, data.split)


def test_pictures_are_counted_by_reason_class_and_fold(system: Path) -> None:
    census = census_of(system)
    assert list(census.rejected.items()) == [("duplicate", 3), ("grayscale", 1), ("too small", 1), ("unreadable", 1)]
    assert sum(count.pictures for count in census.folds.values()) == census.kept == 48 * PICTURES_PER_ORIGIN
    assert sum(count.origins for count in census.folds.values()) == 48
    for fold in FOLDS:
        assert sum(row[fold].pictures for row in census.classes.values()) == census.folds[fold].pictures
    assert census.training_rows == 4 * census.folds["train"].pictures
    assert "rejected: duplicate 3" in words(chapter(system))
    assert pictures_chapter(read_pictures(system)).lead == "240 pictures of 4 classes"


def test_origins_are_named_only_where_they_are_shown(copied: Path) -> None:
    assert "Pictures, and the origins they come from, per class and fold" in words(chapter(copied))
    path = copied / "data/split/manifest.parquet"
    split = pd.read_parquet(path)
    split.assign(origin=split["id"]).to_parquet(path)
    assert "Pictures per class and fold Class" in words(chapter(copied))


def test_spare_pictures_are_counted_apart_and_copies_do_not_count(copied: Path) -> None:
    path = copied / "data/split/manifest.parquet"
    split = pd.read_parquet(path)
    spare = split["id"].isin(split.loc[split["fold"] == "train", "id"].unique()[:7])
    split.assign(fold=split["fold"].mask(spare, "spare")).to_parquet(path)
    counted = census_of(copied)
    assert counted.spare == 7
    assert sum(fold.pictures for fold in counted.folds.values()) == counted.kept - 7
    assert "7 pictures take no part" in words(chapter(copied))


def test_every_sheet_is_shown_once_under_its_own_words(copied: Path) -> None:
    for shade, path in enumerate(SHEETS.values()):
        Image.new("RGB", (2600, 100), (30 * shade, 0, 99)).save(copied / "data" / path)
    text = chapter(copied)
    pattern = r'class="sheet" src="data:image/webp;base64,([^"]+)" width="1200" height="46" alt="([^"]+)"'
    shown = re.findall(pattern, text)
    assert len({alt for _, alt in shown}) == len(SHEETS)
    reds = [Image.open(io.BytesIO(base64.b64decode(source))).getpixel((9, 9))[0] for source, _ in shown]
    assert reds == pytest.approx([30 * shade for shade in range(len(SHEETS))], abs=6)


def test_near_duplicates_are_counted_and_named(system: Path) -> None:
    groups = tables.near_duplicates(read_pictures(system).groups)
    assert [len(group.names) for group in groups] == [8, 8, 8]
    text = words(chapter(system))
    assert "3 groups of pictures that differ only in encoding" in text
    assert f"{groups[0].origin} {', '.join(groups[0].names[:6])}, and 2 more" in text


def test_suspicious_pairs_are_counted_and_named(system: Path) -> None:
    pictures, text = read_pictures(system), words(chapter(system))
    assert pictures.audit is not None
    assert "2 test pictures look like a picture that was trained or tuned on." in text
    for place, pair in pictures.audit.head(3).iterrows():
        line = f"{pictures.names[pair['id']]} {pictures.names[pair['nearest']]} train {pair['agreement']:.3f}"
        assert (line in text) is (place < 2)


def test_an_audit_without_suspicion_is_reported_so(copied: Path) -> None:
    write_json(copied / "data/split/summary.json", {"compared": 40, "suspicious": 0, "suspicious_from": 0.95})
    text = words(chapter(copied))
    assert "No test picture looks like a picture that was trained or tuned on." in text
    assert "the 40 closest pairs were then aligned" in text
    assert "Suspicious pairs" not in text


def test_data_docs_are_linked_where_they_are(copied: Path) -> None:
    assert "Data Docs" not in chapter(copied)
    docs = copied / "data/validation/docs/index.html"
    docs.parent.mkdir(parents=True)
    docs.write_text("docs")
    links = re.findall(r'href="([^"#:]+)">Data Docs', chapter(copied))
    assert [(copied / "reports" / link).resolve().read_text() for link in links] == ["docs"]


def test_cells_are_compared_with_given_boxes(copied: Path) -> None:
    pd.DataFrame({"agreement": [0.9, 0.8, 0.1, None]}).to_parquet(copied / "data/filtered/cells.parquet")
    found = tables.cells(read_pictures(copied))
    assert found == tables.Cells(labeled=3, agreeing=2, median=0.8)
    assert "In 2 of 3 pictures with one labeled box (66.7 %)" in words(chapter(copied))
    pd.DataFrame({"agreement": [None, None]}, dtype=float).to_parquet(copied / "data/filtered/cells.parquet")
    assert tables.cells(read_pictures(copied)) is None
