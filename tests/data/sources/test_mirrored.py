"""`source.mirrored`: files of the folder LAMINA_MIRROR that are read in place of the source."""

from hashlib import sha256
from pathlib import Path

import pytest

from lamina.config import section
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.source import open_source
from lamina.errors import UserError
from lamina.stages.watch import watch_source
from packing import Files, picture, zipped

HERS: Files = {f"mine/{kind}/{index}.png": picture(index) for kind in ("cat", "dog") for index in range(2)}
TABLE = {"t.csv": b"file,label\n0.png,odd\n1.png,even\n"}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("LAMINA_MIRROR", str(folder))
    return folder


def config(mirrored: dict[str, object]) -> SourceConfig:
    values = {"kind": "url", "location": "https://127.0.0.1:9/never.zip", "sha256": "0" * 64, "mirrored": mirrored}
    return section({"source": values}, "source", SourceConfig)


def labels(config: SourceConfig, system: Path) -> dict[str, tuple[str, ...]]:
    with open_source(config, seed=1, system=system) as source:
        return {one.name: one.labels for one in source.pictures}


def test_a_file_of_the_mirror_takes_the_place_of_the_source(shelf: Path, tmp_path: Path) -> None:
    (shelf / "pets.zip").write_bytes(zipped(HERS))
    found = labels(config({"path": "pets.zip", "sha256": sha256(zipped(HERS)).hexdigest()}), tmp_path)
    assert found == {f"mine/{kind}/{index}.png": (kind,) for kind in ("cat", "dog") for index in range(2)}


def test_a_folder_of_the_mirror_has_labels_of_its_own(shelf: Path, tmp_path: Path) -> None:
    (shelf / "pets").mkdir()
    for name, data in ({f"{index}.png": picture(index) for index in range(2)} | TABLE).items():
        (shelf / "pets" / name).write_bytes(data)
    listed = "".join(
        f"{sha256((shelf / 'pets' / name).read_bytes()).hexdigest()}  {name}\n" for name in ("0.png", "1.png", "t.csv")
    )
    mirrored = {"path": "pets", "labels": "t.csv", "members": sha256(listed.encode()).hexdigest()}
    assert labels(config(mirrored), tmp_path) == {"0.png": ("odd",), "1.png": ("even",)}
    (shelf / "pets" / "0.png").write_bytes(picture(7))
    with pytest.raises(UserError, match=r"source\.members expects .*restore the original files"):
        labels(config(mirrored), tmp_path)


def test_another_version_of_the_file_is_refused(shelf: Path, tmp_path: Path) -> None:
    (shelf / "pets.zip").write_bytes(zipped(HERS))
    with pytest.raises(UserError, match=r"pets\.zip: sha256 in section source expects 1+, got [0-9a-f]{64}; "):
        labels(config({"path": "pets.zip", "sha256": "1" * 64}), tmp_path)


def test_without_the_file_the_source_is_read(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = config({"path": "pets.zip", "sha256": "1" * 64})
    assert one.or_mirrored() is one
    (shelf / "pets.zip").write_bytes(b"")
    assert one.or_mirrored().kind == "archive"
    monkeypatch.delenv("LAMINA_MIRROR")
    assert one.or_mirrored() is one


def test_watch_notices_which_of_them_is_read(shelf: Path, tmp_path: Path) -> None:
    source = {"kind": "url", "location": "https://x.org/a.zip", "mirrored": {"path": "pets.zip"}}
    seen = []
    for content in (None, b"one", b"two!"):
        if content is not None:
            (shelf / "pets.zip").write_bytes(content)
        seen.append(watch_source(source, tmp_path, tmp_path / "cache.json"))
    assert seen[0] == "kind url"
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    ("mirrored", "words"),
    [
        ({"path": "a.zip"}, "source.mirrored: .*expected sha256 or members"),
        ({"path": "../a.zip", "sha256": "0" * 64}, "expected a path inside the folder that LAMINA_MIRROR names"),
        ({"path": "/a.zip", "sha256": "0" * 64}, "expected a path inside the folder that LAMINA_MIRROR names"),
        ({"path": "a.zip", "sha256": "0" * 63}, "source.mirrored.sha256: .*expected 64 hexadecimal digits"),
        ({"path": "a.zip", "sha": "0" * 64}, "unknown key 'source.mirrored.sha'"),
        ({"sha256": "0" * 64}, "source.mirrored.path"),
    ],
)
def test_a_mirrored_source_that_cannot_be_checked_is_refused(mirrored: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config(mirrored)
