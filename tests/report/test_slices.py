"""The page's section about slices: parts of the test fold by metadata and by origin, the worst first."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.report.slices import slice_run
from lamina.results.measures import MEASURES
from pages import page_of, write_classifier, write_colorizer, write_pictures
from tracked import write_label_run

RUNS = {"mobilenet_v2": "classify", "colors": "colorize"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system whose classifier is wrong for one camera."""
    folder = tmp_path_factory.mktemp("cells") / "cells"
    originals = write_pictures(folder)
    write_classifier(folder, "mobilenet_v2", originals, 0.95)
    write_colorizer(folder, "colors", originals, 90.0)
    path = folder / "models/mobilenet_v2/predictions.parquet"
    table = pd.read_parquet(path)
    table["origin"] = [f"slide {number // 4}" for number in range(len(table))]
    bad = np.arange(len(table)) % 4 == 0
    table.loc[bad, "predicted"] = np.where(table.loc[bad, "label"] == "monocyte", "neutrophil", "monocyte")
    table.to_parquet(path)
    camera = pd.DataFrame({"id": table["id"], "camera": np.where(bad, "<old>", "new")}, dtype="str")
    camera.to_parquet(folder / "data/split/metadata.parquet", index=False)
    return folder


def section_of(page: str) -> str:
    return page.partition('<section id="slices"')[2].partition("</section>")[0]


def test_the_worst_slice_comes_first_and_is_marked(system: Path) -> None:
    text = section_of(page_of(system, RUNS, system / "reports"))
    rows = [row for row in text.split("<tr>") if "camera" in row]
    assert "&lt;old&gt;" in rows[0], "a value is no markup"
    assert "<strong>-" in rows[0]
    assert text.index("&lt;old&gt;") < text.index("new</th>")
    assert "mobilenet_v2: test accuracy" in text
    assert "colors: test MSE" in text, "a colorizer has slices, too"


def test_without_metadata_origins_are_slices_where_they_are_few(system: Path, tmp_path: Path) -> None:
    (system / "data/split/metadata.parquet").rename(tmp_path / "away")
    try:
        text = section_of(page_of(system, {"mobilenet_v2": "classify"}, system / "reports"))
    finally:
        (tmp_path / "away").rename(system / "data/split/metadata.parquet")
    assert "slide 0" in text
    assert "camera" not in text


def test_a_column_of_the_metadata_may_be_called_origin(system: Path) -> None:
    metadata = pd.read_parquet(system / "data/split/metadata.parquet").rename(columns={"camera": "origin"})
    found = slice_run(system, "mobilenet_v2", MEASURES["accuracy"], metadata.set_index("id")).slices
    assert {one.value for one in found} == {"<old>", "new"}


def test_what_a_run_learns_from_and_what_names_single_pictures_are_no_slices(tmp_path: Path) -> None:
    write_label_run(tmp_path)
    path = tmp_path / "models/seen/predictions.parquet"
    table = pd.concat([pd.read_parquet(path)] * 10, ignore_index=True)
    table["id"] = table["origin"] = [f"{number:03d}" for number in range(len(table))]
    table.to_parquet(path)
    metadata = pd.DataFrame({
        "id": table["id"], "seen": table["labels"], "name": [f"picture {one}" for one in table["id"]],
        "age": [f"{number / 7:.3f}" for number in range(len(table))], "camera": [*"AABB"] * 20,
    }, dtype="str").set_index("id")  # fmt: skip
    found = slice_run(tmp_path, "seen", MEASURES["f1"], metadata).slices
    assert {one.column for one in found} == {"age", "camera"}, "numbers are cut into quarters"
    assert len(found) == 6
    for one in found:
        assert one.interval
        assert 0 <= one.interval[0] <= one.mean <= one.interval[1] <= 1, "F1 is no share of right pictures"
