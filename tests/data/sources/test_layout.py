"""Folders of known layouts are read as classes or as parts; where they may mean several things, all are named."""

from collections import Counter
from pathlib import Path

import pytest

from lamina.config import section
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.labels import find_labels
from lamina.data.sources.layout import find_layout
from lamina.data.sources.members import Members
from lamina.data.sources.source import open_source
from lamina.errors import UserError
from packing import picture, zipped


def source(folders: str, each: int = 3, top: str = "") -> Members:
    """Members with some pictures in each folder; `.` is the root."""
    names = sorted(
        f"{top}{folder}/{number}.jpg".replace("./", "") for folder in folders.split() for number in range(each)
    )
    return Members(where="pets", names=tuple(names), read=lambda name: b"")


@pytest.mark.parametrize(
    ("folders", "readings"),
    [
        ("cat dog", {"folder": "cat dog"}),
        ("cat dog .", {"folder": "cat dog"}),
        ("train/cat train/dog val/cat val/dog test/cat test/dog", {"folder": "cat dog"}),
        ("TRAIN/cat TRAIN/dog TEST_SIMPLE/cat TEST_SIMPLE/dog", {"folder": "cat dog"}),
        ("train/ok train/nok test", {"folder": "nok ok"}),
        (
            "s_train/s_train/sea s_train/s_train/ice s_test/s_test/sea s_test/s_test/ice s_pred/s_pred",
            {"folder": "ice sea"},
        ),
        ("cat/train dog/train cat/test dog/test", {"folder": "cat dog"}),
        ("cat/images dog/images", {"folder 1": "cat dog"}),
        ("a/b/cat a/b/dog", {"folder": "cat dog"}),
        ("test control", {"folder": "control test"}),
        ("test_red test_blue", {"folder": "test_blue test_red"}),
        ("train test", {}),
        ("images/train images/val", {}),
        ("cat", {}),
        ("cat/kaggle cat/wild dog/kaggle dog/show", {"folder": "kaggle show wild", "folder 1": "cat dog"}),
        ("benign/p1 benign/p2 malignant/p3", {"folder": "p1 p2 p3", "folder 1": "benign malignant"}),
        ("cat dog dog/puppies", {"folder": "cat dog puppies", "folder 1": "cat dog"}),
        ("train/cat/x train/cat/y train/dog/x test/cat/x test/dog/y", {"folder": "x y", "folder 2": "cat dog"}),
    ],
)
@pytest.mark.parametrize("top", ["", "pets/"])
def test_folders_are_read_as_what_they_may_mean(folders: str, readings: dict[str, str], top: str) -> None:
    found = find_layout(source(folders, top=top)).readings
    assert {labels: " ".join(classes) for labels, classes in found.items()} == readings


@pytest.mark.parametrize(
    ("folders", "labels", "counts"),
    [
        ("train/ok train/nok test", "folder", {("ok",): 3, ("nok",): 3, (): 3}),
        ("cat/kaggle cat/wild dog/kaggle dog/show", "folder 1", {("cat",): 6, ("dog",): 6}),
        ("train/cat/x test/dog/y", "folder 2", {("cat",): 3, ("dog",): 3}),
        ("cat dog dog/puppies", "folder 2", {(): 6, ("puppies",): 3}),
    ],
)
def test_a_label_is_the_chosen_folder(folders: str, labels: str, counts: dict[tuple[str, ...], int]) -> None:
    members = source(folders)
    label = find_labels(members, labels)
    assert Counter(label(name) for name in members.names) == counts


@pytest.mark.parametrize(
    ("folders", "pattern"),
    [
        ("train/cat train/dog test/cat test/dog", "^test/"),
        ("train/cat train/dog validation/cat validation/dog", "^validation/"),
        ("train/cat train/dog val/cat val/dog test/cat test/dog", "^test/"),
        ("train/cat train/dog test_a/cat test_b/dog test_b/cat", "^(test_a|test_b)/"),
        ("cat/train dog/train cat/test dog/test", "^[^/]+/test/"),
        ("train/cat train/dog test", None),
        ("train/good test/good test/torn", None),
        ("cat dog", None),
    ],
)
def test_a_published_test_part_is_found(folders: str, pattern: str | None) -> None:
    members = source(folders)
    layout = find_layout(members)
    assert layout.test_pattern(members.pictures, layout.label) == pattern


def test_only_parts_or_too_few_folders_are_refused() -> None:
    with pytest.raises(UserError, match=r"lie in the folders 'test', 'train', which are parts, not classes"):
        find_labels(source("train test"), "folder")
    with pytest.raises(UserError, match="'folder 2', but all 6 pictures lie in one folder"):
        find_labels(source("cat dog"), "folder 2")


def test_what_else_folders_may_mean_is_said_when_they_are_read(tmp_path: Path) -> None:
    names = [f"{kind}/{place}/{number}.jpg" for kind in ("cat", "dog") for place in "ab" for number in range(2)]
    (tmp_path / "pets.zip").write_bytes(zipped({name: picture(at) for at, name in enumerate(names)}))
    notes = {}
    for labels in ("folder", "folder 1"):
        values = {"kind": "archive", "location": "pets.zip", "labels": labels}
        with open_source(section({"source": values}, "source", SourceConfig), seed=1, system=tmp_path) as opened:
            list(opened.pictures)
            notes[labels] = opened.notes
    said = "source.labels 'folder' reads the classes 'a', 'b'; 'folder 1' would read 'cat', 'dog'"
    assert notes == {"folder": [f"warning: {said}"], "folder 1": []}


def test_labels_that_are_not_chosen_yet_are_refused() -> None:
    values = {"kind": "folder", "location": "pets", "labels": "choose"}
    with pytest.raises(UserError, match=r"source\.labels is 'choose': its comment says what was found"):
        section({"source": values}, "source", SourceConfig)
