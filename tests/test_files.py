"""Atomic writes: each of several processes writes in a place of its own, and what killed ones left is removed."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from lamina.files import staged

WRITERS, MANY = 4, 400  # processes, and files of each

# writes five files in turn, each when a file of that number appears in `go`, and prints that it has written it
WRITER = """
import sys, time
from pathlib import Path
from lamina.files import staged

own, go = sys.argv[1], Path("go")
with staged(Path("results/out"), folder=True) as part:
    for number in range(5):
        while not (go / f"{own}{number}").exists():
            time.sleep(0.005)
        (part / str(number)).write_text(own)
        print(number, flush=True)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Callable[[str], "Writer"]:
    (tmp_path / "go").mkdir()
    return lambda name: Writer(tmp_path, name)


class Writer:
    """A process that writes a folder of five files, step by step."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.written = folder, name, 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, name], cwd=folder, stdout=subprocess.PIPE, text=True
        )

    def write(self, count: int) -> None:
        assert self.process.stdout
        for _ in range(count):
            (self.folder / "go" / f"{self.name}{self.written}").touch()
            assert self.process.stdout.readline() == f"{self.written}\n"
            self.written += 1

    def ends(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


def places(folder: Path) -> list[Path]:
    return list((folder / "results").glob(".part-*"))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "results" / "out").iterdir()}


def test_of_two_processes_each_completes_only_what_it_wrote(writer: Callable[[str], Writer], tmp_path: Path) -> None:
    first, second = writer("a"), writer("b")
    first.write(3)
    second.write(2)
    first.write(2)
    assert first.ends() == 0
    assert contents(tmp_path) == dict.fromkeys("01234", "a")
    second.write(3)
    assert second.ends() == 0
    assert contents(tmp_path) == dict.fromkeys("01234", "b")
    assert places(tmp_path) == []


def test_what_a_killed_process_left_is_removed_and_a_live_one_keeps_its_place(
    writer: Callable[[str], Writer], tmp_path: Path
) -> None:
    dead, live = writer("a"), writer("b")
    dead.write(1)
    live.write(1)
    dead.process.kill()
    assert dead.ends()
    assert len(places(tmp_path)) == 2
    with staged(tmp_path / "results" / "other.txt") as part:
        part.write_text("other")
    (place,) = places(tmp_path)
    assert place.name.startswith(f".part-{live.process.pid}-")
    live.write(4)
    assert live.ends() == 0
    assert contents(tmp_path) == dict.fromkeys("01234", "b")


def write_many(folder: Path, name: int) -> None:
    for number in range(MANY):
        with staged(folder / f"{name}-{number}") as part:
            part.write_text("whole")


def test_processes_that_write_into_one_folder_never_take_a_new_place_for_an_abandoned_one(tmp_path: Path) -> None:
    with ProcessPoolExecutor(WRITERS) as pool:
        list(pool.map(partial(write_many, tmp_path), range(WRITERS)))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"whole"}
    assert len(list(tmp_path.iterdir())) == WRITERS * MANY


def test_a_place_without_a_lock_is_removed_when_it_is_old(tmp_path: Path) -> None:
    young, old = tmp_path / ".part-1-young", tmp_path / ".part-1-old"
    for place in (young, old):
        place.mkdir()
    os.utime(old, (0, 0))
    write_many(tmp_path, 1)
    assert (young.exists(), old.exists()) == (True, False)


def test_a_link_that_is_named_like_a_place_is_not_followed(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    os.utime(elsewhere, (0, 0))
    (folder / ".part-1-link").symlink_to(elsewhere)
    write_many(folder, 1)
    assert list(elsewhere.iterdir()) == []


def test_the_place_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / ".part-1-old"
    place.mkdir()
    os.utime(place, (0, 0))
    monkeypatch.setattr(os, "getuid", lambda: place.stat().st_uid + 1)
    write_many(tmp_path, 1)
    assert place.exists()


def interrupted(out: Path, *, folder: bool) -> None:
    with staged(out, folder=folder) as part:
        (part / "file" if folder else part).write_text("new")
        raise KeyboardInterrupt


def test_after_ctrl_c_the_old_file_and_the_old_folder_are_unchanged(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file", tmp_path / "folder" / "file"):
        path.write_text("old")
    for name in ("file", "folder"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path / name, folder=name == "folder")
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "file").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_replaces_a_folder_and_a_link_to_one(tmp_path: Path) -> None:
    for name in ("old", "folder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").touch()
    (tmp_path / "link").symlink_to("old")
    for name in ("link", "folder"):
        with staged(tmp_path / name, folder=True) as part:
            (part / "new").touch()
        assert [path.name for path in (tmp_path / name).iterdir()] == ["new"]
    assert (tmp_path / "old" / "kept").exists()
    assert not (tmp_path / "link").is_symlink()
