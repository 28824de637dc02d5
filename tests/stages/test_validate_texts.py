"""What validation of texts promises: sound tables pass, a broken promise is named, and drift is measured."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from lamina.data.drift import TEXT_QUANTITIES, DataProfile, read_profile
from lamina.errors import UserError
from lamina.maths.published_split import GivenTest, find_published_test
from lamina.stages import validate as stage
from lamina.stages.validate import Content
from lamina.stages.validate_texts import TEXTS
from lamina.tracking.suites import LABELED, PUBLISHED
from lamina.tracking.text_suites import TEXT_SUITES
from texts import families, filtered_system, published, split_system

SHARES = {"train": 0.5, "validation": 0.2, "test": 0.3}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts as the stages up to `split` leave them."""
    texts = {**families(40, 2), "pos/nothing.txt": "...", "neg/again.txt": families(40, 1)["pos/0-000.txt"].upper()}
    texts["pos/again.txt"] = texts.pop("neg/again.txt")
    folder = filtered_system(tmp_path_factory.mktemp("sound") / "data", texts)
    split_system(folder)
    return folder


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(sound, tmp_path / "data")


def validate(data: Path, *, content: Content = TEXTS, **keys: object) -> str:
    return str(stage.validate(content, SHARES, [LABELED], data, data / "validation", **keys))  # type: ignore[arg-type]


def test_sound_texts_pass_and_everything_is_written(data: Path) -> None:
    said = validate(data)
    verdict = json.loads((data / "validation" / "verdict.json").read_text())
    expected = sum(one.when != PUBLISHED for suite in TEXT_SUITES for one in suite.expectations)
    assert verdict["success"]
    assert said == f"validated: {expected} expectations hold on 9 tables; no data accepted yet to compare with"
    assert set(verdict["tables"]) == {
        "raw", "kept", "rejected", "losses", "split", "joined", "origins", "classes", "shares",
    }  # fmt: skip
    page = (data / "validation" / "docs" / "index.html").read_text()
    assert "every kept text is decoded, in the same order" in page
    assert "picture" not in page


def given(pattern: str) -> GivenTest:
    return partial(find_published_test, pattern=pattern)


def test_published_tests_are_checked(tmp_path: Path) -> None:
    folder = filtered_system(tmp_path / "data", published(5))
    split_system(folder, test_pattern="^test/")
    shares, out = {"validation": 0.2}, folder / "validation"
    assert "hold on 9 tables" in str(stage.validate(TEXTS, shares, [LABELED], folder, out, published=given("^test/")))
    of_split = replace(TEXTS, suites=tuple(suite for suite in TEXT_SUITES if suite.table == "split"))
    with pytest.raises(UserError, match="no text is spare, but of origins with published test texts, but 5 of 125"):
        stage.validate(of_split, shares, [LABELED], folder, out)
    with pytest.raises(UserError, match="test holds the published texts, and no others"):
        stage.validate(of_split, shares, [LABELED], folder, out, published=given("^test/pos"))


TABLES = {
    "kept": "filtered/kept.parquet",
    "rejected": "filtered/rejected.parquet",
    "texts": "texts/texts.parquet",
    "split": "split/manifest.parquet",
}


def put(table: str, column: str, value: object) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        path = data / TABLES[table]
        rows = pd.read_parquet(path)
        rows[column] = rows[column].astype(object)
        rows.loc[3 if len(rows) > 3 else 0, column] = value
        rows.to_parquet(path)

    return change


def drop(table: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        path = data / TABLES[table]
        pd.read_parquet(path).iloc[:-1].to_parquet(path)

    return change


def one_origin(data: Path) -> None:
    """Two texts of one origin, which the split has taken for two."""
    path = data / TABLES["kept"]
    rows = pd.read_parquet(path)
    rows.loc[1, "origin"] = rows.loc[0, "origin"]
    rows.to_parquet(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("kept"), "raw: expected that every text is either kept or rejected, once, but 1 of 82 rows"),
        (drop("rejected"), "raw: expected that every text is either kept or rejected"),
        (drop("texts"), "kept: expected that every kept text is decoded, in the same order"),
        (put("texts", "id", "x"), "kept: expected that every kept text is decoded, in the same order, but 1 of 80"),
        (drop("split"), "kept: expected that every kept text is in the split, once"),
        (put("kept", "words", 0), "kept: expected that every text has a word at least"),
        (put("kept", "label", None), "kept: expected that every text has a label"),
        (put("rejected", "reason", "no idea"), "rejected: expected that every reason is a documented one"),
        (put("split", "label", "other"), "split: expected that every row is a kept text, with its label"),
        (one_origin, "split: expected that no origin is cut, but 2 of 80 rows"),
        (put("split", "origin", "other"), "joined: expected that similar texts are of one origin, but 1 of 40 rows"),
        (put("split", "copy", 1), "split: expected that there are no copies"),
        (put("split", "fold", "spare"), "split: expected that no text is spare"),
        (put("split", "part", 2), "split: expected that every part is one of assess.folds"),
    ],
)
def test_a_broken_promise_is_named(data: Path, change: Callable[[Path], None], words: str) -> None:
    change(data)
    suite = next(suite for suite in TEXT_SUITES if words.startswith(f"{suite.table}: "))
    with pytest.raises(UserError, match=words):
        validate(data, content=replace(TEXTS, suites=(suite,)))
    assert not (data / "validation" / "verdict.json").exists()


def accepted(data: Path) -> DataProfile:
    profile = read_profile(data / "validation" / "profile.json", remedy="")
    assert profile is not None
    return profile


def test_the_same_texts_have_not_moved(data: Path) -> None:
    validate(data)
    before = accepted(data)
    assert set(before.quantiles) == set(TEXT_QUANTITIES)
    assert (before.kept.pictures, before.delivered.pictures) == (80, 82)
    assert before.rejected == {"duplicate": 1, "empty": 1}
    assert "words by 0 %" in validate(data, accepted=before)
    rows = json.loads((data / "validation" / "drift.json").read_text())["quantities"]
    named = [row["quantity"] for row in rows]
    assert named == [*TEXT_QUANTITIES, "classes", "rejected: duplicate", "rejected: empty"]
    assert all(row["moved"] == 0 for row in rows)


def test_longer_texts_are_drift(data: Path, tmp_path: Path) -> None:
    validate(data)
    longer = filtered_system(
        tmp_path / "longer", {name: f"{text} {text} ünd söme möre" for name, text in families(40, 2).items()}
    )
    split_system(longer)
    with pytest.raises(UserError, match=r"have drifted .*(words|characters|not ASCII) by 100 %"):
        validate(longer, accepted=accepted(data))


def test_same_input_gives_same_bytes(data: Path) -> None:
    def contents() -> dict[str, bytes]:
        validate(data)
        out = data / "validation"
        return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    assert contents() == contents()
