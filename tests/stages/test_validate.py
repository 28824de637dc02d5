"""What validate promises: sound data pass, a broken promise is named with its rows, same data give same bytes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.profile import profile
from lamina.errors import UserError
from lamina.maths.color import srgb_to_lab
from lamina.maths.splits import split_origins
from lamina.stages.validate import PICTURES, ValidationSummary, read_tables, shares_of_folds, validate
from lamina.tracking.data_docs import page
from lamina.tracking.expectations import Suite, check, not_missing, ordered
from lamina.tracking.suites import COLORED, LABELED, PUBLISHED, SUITES

SHARES = {"train": 0.55, "validation": 0.15, "test": 0.3}
CONDITIONS = (LABELED, COLORED)
PARAMS = """\
seed: 1
source: {kind: folder, location: pictures, labels: folder}
filter: {drop_grayscale: true, min_side: 8, drop_duplicates: true}
split: {test: 0.3, validation: 0.15}
"""

Tables = dict[str, pd.DataFrame]


def sound() -> tuple[Tables, np.ndarray]:
    """40 pictures of 20 origins and two classes, two of them rejected; three copies of each that is trained with."""
    names = [f"{'cat' if index % 4 < 2 else 'dog'}/{index:02d}.png" for index in range(42)]
    raw = pd.DataFrame({"name": names})
    raw["id"] = [hashlib.sha256(name.encode()).hexdigest()[:16] for name in names]
    raw["label"] = raw["name"].str[:3]
    raw["label_count"] = np.int8(1)
    raw["origin"] = [f"slide {index // 2:02d}" for index in range(42)]
    raw["sha256"] = [hashlib.sha256(f"bytes of {name}".encode()).hexdigest() for name in names]
    raw["encoded"] = b"not read"
    kept = raw.loc[:39, ["id", "name", "label", "origin"]].assign(width=640, height=480)
    rejected = pd.DataFrame({"name": names[40:], "reason": "unreadable", "detail": ""})
    lab = kept[["id", "origin", "label", "name"]]
    folds = split_origins(list(lab["origin"]), list(lab["label"]), SHARES, seed=1)
    copies = pd.concat([lab.assign(copy=copy) for copy in range(3)], ignore_index=True)
    split = copies.assign(fold=copies["origin"].map(folds))[["id", "origin", "label", "copy", "fold"]].assign(part=-1)
    split = split[(split["fold"] == "train") | (split["copy"] == 0)].reset_index(drop=True)
    pixels = srgb_to_lab(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8))
    return {"raw": raw, "kept": kept, "rejected": rejected, "lab": lab, "split": split}, pixels


def write(data: Path, tables: Tables, pixels: np.ndarray) -> Path:
    places = {
        "raw": "raw/part-00000.parquet",
        "kept": "filtered/kept.parquet",
        "rejected": "filtered/rejected.parquet",
        "lab": "lab/manifest.parquet",
        "split": "split/manifest.parquet",
    }
    for name, place in places.items():
        (data / place).parent.mkdir(parents=True, exist_ok=True)
        tables[name].to_parquet(data / place, index=False)
    np.save(data / "lab" / "pixels.npy", pixels)
    return data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data", *sound())


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> tuple[ValidationSummary, Path]:
    """What validation of sound data says, and their folder, with its results in `validation`."""
    data = write(tmp_path_factory.mktemp("validated") / "data", *sound())
    return validate(PICTURES, SHARES, CONDITIONS, data, data / "validation"), data


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_sound_data_pass_and_the_verdict_says_what_was_seen(validated: tuple[ValidationSummary, Path]) -> None:
    summary, data = validated
    verdict = json.loads((data / "validation" / "verdict.json").read_text())
    assert verdict["success"] is True
    assert list(contents(data / "validation")) == ["docs/index.html", "profile.json", "verdict.json"]
    assert summary.expectations == sum(len(found) for found in verdict["tables"].values())
    always = [one for suite in SUITES for one in suite.expectations if one.when in (None, *CONDITIONS)]
    assert summary.expectations == len(always)
    assert verdict["tables"]["raw"][0] == {
        "expected": "there is at least one picture",
        "kind": "ExpectTableRowCountToBeBetween",
        "arguments": {"min_value": 1},
        "seen": "42 rows",
        "success": True,
    }
    assert verdict["tables"]["origins"][0]["seen"] == "0 of 20 rows break it"


def test_the_page_shows_every_expectation_and_needs_no_network(validated: tuple[ValidationSummary, Path]) -> None:
    _, data = validated
    page = (data / "validation" / "docs" / "index.html").read_text()
    for suite in SUITES:
        assert f'<article id="{suite.table}">' in page
        for expectation in suite.expectations:
            assert (expectation.words in page) == (expectation.when != PUBLISHED)
    assert "http" not in page
    assert "<script" not in page
    assert str(data) not in page


Change = Callable[[Tables, np.ndarray], None]


def put(table: str, column: str, value: object, row: int = 3) -> Change:
    def change(tables: Tables, pixels: np.ndarray) -> None:
        tables[table][column] = tables[table][column].astype(object)
        tables[table].loc[row, column] = value

    return change


def drop(table: str, row: int = 3) -> Change:
    def change(tables: Tables, pixels: np.ndarray) -> None:
        tables[table] = tables[table].drop(row)

    return change


def again(table: str, row: int = 3, **values: object) -> Change:
    def change(tables: Tables, pixels: np.ndarray) -> None:
        tables[table] = pd.concat([tables[table], tables[table].loc[[row]].assign(**values)], ignore_index=True)

    return change


def paint(channel: int, value: int) -> Change:
    def change(tables: Tables, pixels: np.ndarray) -> None:
        pixels[3, 0, 0, channel] = value

    return change


def fade(tables: Tables, pixels: np.ndarray) -> None:
    pixels[3, ..., 1:] = 0


def reject(label: str) -> Change:
    def change(tables: Tables, pixels: np.ndarray) -> None:
        tables["kept"] = tables["kept"][tables["kept"]["label"] != label]

    return change


def refold(rows: str, fold: str) -> Change:
    def change(tables: Tables, pixels: np.ndarray) -> None:
        tables["split"].loc[tables["split"].eval(rows), "fold"] = fold

    return change


HELD_OUT = int(sound()[0]["split"].query("fold == 'test'").index[0])
NAME = "dog/03.png"
TWICE = sound()[0]["raw"]["id"][2]

# table, what is expected, how it is broken, the row that is named
BROKEN: list[tuple[str, str, Change, str]] = [
    ("raw", "every picture has a name", put("raw", "name", None), "missing"),
    ("raw", "every name is there once", put("raw", "name", "cat/04.png"), "cat/04.png"),
    ("raw", "every picture has an id", put("raw", "id", None), f"{NAME} (id missing)"),
    ("raw", "every id is there once", put("raw", "id", TWICE), f"{NAME} (id {TWICE})"),
    ("raw", "every id is 16 hexadecimal digits", put("raw", "id", "XYZ"), f"{NAME} (id XYZ)"),
    ("raw", "every picture has a digest", put("raw", "sha256", None), f"{NAME} (sha256 missing)"),
    ("raw", "every digest is a SHA-256", put("raw", "sha256", "ab"), f"{NAME} (sha256 ab)"),
    ("raw", "every picture is either kept or rejected, once", drop("kept"), f"{NAME} (decisions 0)"),
    ("raw", "every picture is either kept or rejected, once", again("kept"), f"{NAME} (decisions 2)"),
    ("kept", "every id is there once", again("kept"), NAME),
    ("kept", "every kept picture is in raw", put("kept", "id", "0" * 16), NAME),
    ("kept", "every kept picture is in raw", put("kept", "name", "dog/99.png"), "dog/99.png"),
    ("kept", "every kept picture is converted", put("lab", "id", "0" * 16), NAME),
    ("kept", "every picture is at least a pixel wide", put("kept", "width", 0), f"{NAME} (width 0)"),
    ("kept", "every picture is at least a pixel high", put("kept", "height", 0), f"{NAME} (height 0)"),
    ("kept", "every picture has an origin", put("kept", "origin", None), NAME),
    ("kept", "every picture has a label", put("kept", "label", None), NAME),
    ("rejected", "every rejected picture is in raw", put("rejected", "name", "dog/99.png", 1), "dog/99.png"),
    ("rejected", "every reason is a documented one", put("rejected", "reason", "ugly", 1), "cat/41.png (reason ugly)"),
    ("losses", "the filter leaves some of every class", reject("dog"), "dog (kept 0)"),
    ("lab", "every id is there once", put("lab", "id", TWICE), NAME),
    ("lab", "every picture is a kept one, with its label", put("lab", "label", "cat"), NAME),
    ("lab", "every picture is a kept one, with its label", put("lab", "id", "0" * 16), NAME),
    ("lab", "every picture is in the split, once", drop("split"), f"{NAME} (originals 0)"),
    ("lab", "every picture is in the split, once", again("split"), f"{NAME} (originals 2)"),
    ("lab", "L is at least 0", paint(0, -1), f"{NAME} (l_min -0.01)"),
    ("lab", "L is at most 100", paint(0, 10_001), f"{NAME} (l_max 100.01)"),
    ("lab", "a is at least that of an sRGB color", paint(1, -9_000), f"{NAME} (a_min -90)"),
    ("lab", "a is at most that of an sRGB color", paint(1, 9_900), f"{NAME} (a_max 99)"),
    ("lab", "b is at least that of an sRGB color", paint(2, -11_000), f"{NAME} (b_min -110)"),
    ("lab", "b is at most that of an sRGB color", paint(2, 9_600), f"{NAME} (b_max 96)"),
    ("lab", "no picture is grey", fade, f"{NAME} (tint 0)"),
    ("split", "every row is a converted picture, with its label", put("split", "id", "f" * 16), "f" * 16),
    ("split", "every row is a converted picture, with its label", put("split", "label", "cat"), NAME),
    ("split", "no origin is cut", put("split", "origin", "another"), NAME),
    ("split", "every copy is there once", again("split"), NAME),
    ("split", "copies count from 0", put("split", "copy", -1), f"{NAME} (copy -1)"),
    ("split", "every row has a fold", put("split", "fold", None), NAME),
    (
        "split",
        "every fold is one of train, validation and test, or spare",
        put("split", "fold", "dev"),
        f"{NAME} (fold dev)",
    ),
    ("split", "validation and test hold originals only", again("split", HELD_OUT, copy=1), "(copy_held_out 1)"),
    (
        "split",
        "no original is spare, but of origins with published test pictures",
        refold(f"index == {HELD_OUT}", "spare"),
        "(copy_spare 0)",
    ),
    ("split", "every part is one of assess.folds", put("split", "part", 3), NAME),
    ("origins", "no origin is in two parts", put("split", "part", 3), "slide 01 (parts 2)"),
    ("origins", "no origin is in two folds", refold("origin == 'slide 01' and index == 3", "test"), "slide 01"),
    ("classes", "every class is in train", refold("label == 'dog' and fold == 'train'", "test"), "dog (train 0)"),
    ("classes", "every class is in validation", refold("fold == 'validation'", "test"), "cat (validation 0)"),
    ("classes", "every class is in test", refold("fold == 'test'", "train"), "dog (test 0)"),
    (
        "shares",
        "every share is as large as configured",
        refold("fold == 'test'", "train"),
        "test (least 0.2, share 0)",
    ),
    ("shares", "every share is as small as configured", refold("copy == 0", "test"), "test (most 0.4, share 1)"),
]


@pytest.mark.parametrize(("table", "words", "change", "row"), BROKEN)
def test_every_broken_promise_is_found_with_its_rows(
    table: str, words: str, change: Change, row: str, tmp_path: Path
) -> None:
    tables, pixels = sound()
    change(tables, pixels)
    suite = next(suite for suite in SUITES if suite.table == table)
    only = replace(suite, expectations=tuple(one for one in suite.expectations if one.words == words))
    [broken] = check([only], read_tables(write(tmp_path, tables, pixels), SHARES), CONDITIONS).broken
    assert row in " | ".join(broken.broken_by)


def test_every_expectation_has_a_case_that_breaks_it() -> None:
    expected = {(suite.table, expectation.words) for suite in SUITES for expectation in suite.expectations}
    empty = {("raw", "there is at least one picture"), ("kept", "at least one picture is kept")}
    given = {("split", "test holds the published pictures, and no others")}  # see the given test set
    assert {case[:2] for case in BROKEN} | empty | given == expected


def test_a_broken_promise_stops_the_pipeline_and_leaves_the_docs(
    validated: tuple[ValidationSummary, Path], tmp_path: Path
) -> None:
    data = shutil.copytree(validated[1], tmp_path / "data")
    out = data / "validation"
    assert (out / "verdict.json").exists()
    tables, pixels = sound()
    put("raw", "sha256", "<b>ab")(tables, pixels)
    put("kept", "width", 0)(tables, pixels)
    write(data, tables, pixels)
    said = r"raw: expected that every digest is a SHA-256, but 1 of 42 rows break it: dog/03.png .*another expectation"
    with pytest.raises(UserError, match=said) as caught:
        validate(PICTURES, SHARES, CONDITIONS, data, out)
    assert "\n" not in str(caught.value)
    assert str(out / "docs" / "index.html") in str(caught.value)
    assert list(contents(out)) == ["docs/index.html"]
    page = (out / "docs" / "index.html").read_text()
    assert "dog/03.png" in page
    assert "<b>ab" not in page


@pytest.mark.parametrize("table", ["raw", "kept"])
def test_no_pictures_at_all_are_refused(table: str, tmp_path: Path) -> None:
    tables, pixels = sound()
    tables = {name: rows.iloc[:0] for name, rows in tables.items()}
    suite = next(suite for suite in SUITES if suite.table == table)
    findings = check([suite], read_tables(write(tmp_path, tables, pixels[:0]), SHARES), CONDITIONS)
    assert [finding.seen for finding in findings.broken] == ["0 rows"]


def test_grey_and_unlabeled_pictures_pass_where_they_are_asked_for(tmp_path: Path) -> None:
    tables, pixels = sound()
    pixels[..., 1:] = 0
    for name in ("raw", "kept", "lab", "split"):
        tables[name]["label"] = None
    data = write(tmp_path / "data", tables, pixels)
    kept = replace(PICTURES, suites=tuple(suite for suite in SUITES if suite.table == "kept"))
    with pytest.raises(UserError, match="every picture has a label"):
        validate(kept, SHARES, CONDITIONS, data, data / "validation")
    assert "hold" in str(validate(PICTURES, SHARES, (), data, data / "validation"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, None),
        ("beside", "test holds the published pictures, and no others"),
        ("missing", "test holds the published pictures, and no others"),
        ("elsewhere", "no original is spare, but of origins with published test pictures"),
        ("crossing", "no origin is in two folds"),
    ],
)
def test_a_given_test_set_may_leave_the_rest_of_its_origins_spare(
    change: str | None, said: str | None, data: Path
) -> None:
    tables, pixels = sound()
    split, names = tables["split"], tables["lab"].set_index("id")["name"]
    test = split[split["fold"] == "test"]
    rest = test.index[test["origin"].duplicated()]  # the second picture of each origin is not given
    split.loc[rest, "fold"] = {"beside": "test", "crossing": "validation"}.get(str(change), "spare")
    given = set(names[test.drop(rest)["id"]])
    if change == "missing":
        split.loc[test.index[0], "fold"] = "spare"
    if change == "elsewhere":
        split.loc[split["fold"] == "validation", "fold"] = "spare"
    read = read_tables(
        write(data, tables, pixels),
        {"validation": 0.15},
        published=lambda every: np.array([name in given for name in every]),
    )
    of_folds = [suite for suite in SUITES if suite.table in ("split", "origins", "shares")]
    findings = check(SUITES if said is None else of_folds, read, [PUBLISHED])
    broken = {finding.expectation.words for finding in findings.broken}
    assert (said in broken) if said else not broken
    shares = next(table for table in findings.tables if table.suite.table == "shares").table
    assert list(shares["fold"]) == ["validation"]


def test_classes_before_and_after_the_filter_are_those_that_are_allowed(tmp_path: Path) -> None:
    tables, pixels = sound()
    reject("dog")(tables, pixels)
    data = write(tmp_path, tables, pixels)
    counts = [read_tables(data, SHARES, classes=classes)["losses"].to_numpy().tolist() for classes in (None, ("cat",))]
    assert counts == [[["cat", 22, 20], ["dog", 20, 0]], [["cat", 22, 20]]]


def test_small_tables_are_shown_row_by_row_and_a_name_is_no_html() -> None:
    suite = Suite(
        table="classes",
        about="",
        key="label",
        expectations=(ordered("no share is too large", "share", "most"),),
        shown=("label", "train", "share"),
        meter=("share", "most"),
    )
    table = pd.DataFrame({"label": ["<b>cat", "dog"], "train": [3, 5], "share": [0.125, 0.625], "most": 0.5})
    shown = page(check([suite], {"classes": table}))
    assert '<th>label</th><th class="number">train</th><th class="number">share</th><th></th>' in shown
    assert '<td>&lt;b&gt;cat</td><td class="number">3</td><td class="number">12.5 %</td>' in shown
    assert "<b>cat" not in shown
    assert [kind in shown for kind in ('<div class="meter">', '<div class="meter over">')] == [True, True]
    assert '<i style="width: 62.5%"></i><b style="left: 50.0%"></b>' in shown


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    suite = Suite(table="raw", about="", key="name", expectations=(not_missing("every picture has an id", "id"),))
    findings = check([suite], {"raw": pd.DataFrame({"name": ["a"]})})
    assert [finding.seen for finding in findings.broken] == [
        'not checked: Error: The column "id" in BatchData does not exist.'
    ]


def test_pixels_and_manifest_of_different_length_are_refused(tmp_path: Path) -> None:
    tables, pixels = sound()
    data = write(tmp_path, tables, pixels[:30])
    with pytest.raises(UserError, match=r"pixels.npy holds 30 pictures, manifest.parquet 40.*convert"):
        read_tables(data, SHARES)


OFFLINE = """\
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"network: {event} {arguments}")

sys.addaudithook(refuse)
from lamina.stages import entry, validate
entry.run(validate.main)
"""


@pytest.mark.nightly
def test_the_stage_gives_the_same_bytes_elsewhere_and_later_without_network(data: Path) -> None:
    (data.parent / "params.yaml").write_text(PARAMS)
    (data.parent / "baselines").mkdir()
    (data.parent / "baselines" / "data.json").write_text("{}")
    validate(PICTURES, SHARES, CONDITIONS, data, data / "here")
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    command = [sys.executable, "-c", OFFLINE]
    done = subprocess.run(command, cwd=data.parent, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "validated: 46 expectations hold on 9 tables; no data accepted yet to compare with\n"
    assert contents(data / "validation") == contents(data / "here")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 12))
def test_what_the_split_stage_makes_lies_within_the_shares(seed: int, classes: int, largest: int) -> None:
    drawn = np.random.default_rng(seed)
    pictures = pd.DataFrame({"origin": np.repeat(np.arange(30), drawn.integers(1, largest + 1, 30))})
    pictures["label"] = pictures["origin"] % classes
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    folds = split_origins(list(pictures["origin"]), list(pictures["label"]), shares, seed)
    found = shares_of_folds(pictures.assign(fold=pictures["origin"].map(folds)), shares)
    assert found["share"].between(found["least"], found["most"]).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 100))
def test_a_profile_is_range_and_mean_of_every_channel(count: int, side: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(-12_000, 12_000, (count, side, side, 3)).astype(np.int16)
    flat = pixels.reshape(count, -1, 3)
    found = profile(pixels)
    assert np.array_equal(found[["l_min", "a_min", "b_min"]], flat.min(axis=1) / 100)
    assert np.array_equal(found[["l_max", "a_max", "b_max"]], flat.max(axis=1) / 100)
    assert np.array_equal(found["tint"], np.abs(flat[..., 1:]).max(axis=(1, 2)) / 100)
    for picture, row in zip(flat.astype(float) / 100, found.itertuples(), strict=True):
        assert [row.l_mean, row.a_mean, row.b_mean] == pytest.approx(picture.mean(axis=0), abs=1e-9)
        assert row.l_std == pytest.approx(np.std(picture[:, 0]), abs=1e-9)
        assert row.chroma == pytest.approx(np.mean(np.sqrt((picture[:, 1:] ** 2).sum(axis=1))), rel=1e-6)


def test_a_profile_read_in_pieces_misses_no_picture(tmp_path: Path) -> None:
    pixels = np.zeros((1_500, 64, 64, 3), np.int16)  # 35 MiB: more than is read at a time
    pixels[:, 5, 7, 0] = np.arange(1_500)
    np.save(tmp_path / "pixels.npy", pixels)
    found = profile(np.load(tmp_path / "pixels.npy", mmap_mode="r"))
    assert np.array_equal(found["l_max"], np.arange(1_500) / 100)
    assert found["l_mean"].to_numpy() == pytest.approx(np.arange(1_500) / 100 / 64**2)
    assert not found["tint"].any()


def test_every_grey_has_no_tint_and_every_color_has_some() -> None:
    levels = np.arange(256, dtype=np.uint8)
    grey = np.repeat(levels, 3).reshape(256, 1, 1, 3)
    tinted = grey.copy()
    tinted[..., 2] ^= 1  # as little blue as can be
    assert not profile(srgb_to_lab(grey))["tint"].any()
    assert (profile(srgb_to_lab(tinted))["tint"] > 0).all()
