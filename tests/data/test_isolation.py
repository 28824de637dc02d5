"""`isolate: cell` through the stages: cells are found, and missing ones are reported."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.data.filters import FilterConfig, FilterRules
from lamina.data.isolation import HIT
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import prepare_picture
from lamina.data.sources import smear
from lamina.data.sources.config import SourceConfig
from lamina.maths.color import srgb_to_lab
from lamina.stages.convert import convert
from lamina.stages.download import download
from lamina.stages.filter import FilterSummary, filter_pictures
from packing import voc


def cells(**change: str) -> ConvertConfig:
    return ConvertConfig.model_validate({"size": 48, "isolate": "cell"} | change)


def run(system: Path, config: ConvertConfig) -> FilterSummary:
    """Download what lies in `pictures`, with its boxes, and filter it."""
    boxes = "boxes" if (system / "pictures" / "boxes").exists() else None
    source = SourceConfig(kind="folder", location="pictures", boxes=boxes, labels="none")
    download(source, system, system / "raw", seed=0)
    rules = FilterRules(
        filter=FilterConfig(drop_grayscale=False, min_side=8, drop_duplicates=True),
        labeled=False,
        classes=None,
        boxed=False,
        celled=config.no_cell == "drop",
    )
    return filter_pictures(rules, config, system / "raw", system / "filtered", memo=system / "memo")


@pytest.fixture(scope="module")
def blood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn smears with the boxes of their cells, and an empty picture."""
    system = tmp_path_factory.mktemp("blood")
    (system / "pictures" / "boxes").mkdir(parents=True)
    for picture in smear.pictures(13, 46):
        if len(picture.boxes) == 1:
            name = Path(picture.name).name
            (system / "pictures" / name).write_bytes(picture.encoded)
            boxes = system / "pictures" / "boxes" / f"{Path(name).stem}.xml"
            boxes.write_bytes(voc(("cell", *picture.boxes[0])))
    bare = np.full((120, 160, 3), (231, 214, 222), np.uint8)
    Image.fromarray(bare).save(system / "pictures" / "bare.png")
    return system


def test_cells_are_found_where_they_were_drawn_and_an_empty_picture_is_rejected(blood: Path) -> None:
    summary = run(blood, cells())
    compared = pd.read_parquet(blood / "filtered" / "cells.parquet").set_index("name")
    assert np.isnan(compared.loc["bare.png", "agreement"])  # it has no labeled box
    overlap = compared["agreement"].dropna()
    assert len(overlap) > 25
    assert (overlap >= HIT).mean() > 0.9
    assert (summary.labeled, summary.agreeing) == (len(overlap), int((overlap >= HIT).sum()))
    assert f"{summary.agreeing} of {summary.labeled} cells found agree" in str(summary)
    rejected = pd.read_parquet(blood / "filtered" / "rejected.parquet").set_index("name")
    assert rejected.loc["bare.png", "reason"] == "no cell"
    with Image.open(blood / "filtered" / "cells.png") as sheet:
        assert min(sheet.size) > 400


def test_kept_pictures_show_the_cell_on_a_grey_background_and_its_box(blood: Path) -> None:
    run(blood, cells())
    convert(cells(), blood / "raw", blood / "filtered", blood / "lab", memo=blood / "memo")
    kept = pd.read_parquet(blood / "filtered" / "kept.parquet")
    found = pd.read_parquet(blood / "filtered" / "cells.parquet").set_index("id")["cell"]
    assert [list(box) for box in kept["box"]] == [list(found[picture]) for picture in kept["id"]]
    corners = np.load(blood / "lab" / "pixels.npy")[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    grey = srgb_to_lab(np.full((1, 1, 3), 128, np.uint8))[0, 0]
    assert ((corners == grey).all(axis=2).mean(axis=1) >= 0.5).mean() > 0.9


def test_a_picture_without_a_cell_may_be_kept_whole(blood: Path) -> None:
    summary = run(blood, cells(no_cell="whole"))
    assert "no cell" not in summary.rejected
    kept = pd.read_parquet(blood / "filtered" / "kept.parquet").set_index("name")
    assert kept.loc["bare.png", "box"] is None
    bare = (blood / "pictures" / "bare.png").read_bytes()
    as_whole = prepare_picture(bare, ConvertConfig(size=48, isolate="none")).square
    np.testing.assert_array_equal(prepare_picture(bare, cells()).square, as_whole)


def test_a_turned_camera_picture_is_searched_upright() -> None:
    picture = next(iter(smear.pictures(13, 1)))
    image = Image.open(io.BytesIO(picture.encoded)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter to the right
    file = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    upright = io.BytesIO()
    image.save(upright, "PNG")
    one, other = (prepare_picture(encoded.getvalue(), cells()) for encoded in (file, upright))
    assert one.cell == other.cell
    np.testing.assert_array_equal(one.square, other.square)
