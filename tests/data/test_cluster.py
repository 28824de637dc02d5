"""Data stages on a real Dask cluster on this machine: a scheduler and workers as processes of their own."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from checkout import ROOT
from lamina.data.cluster import ADDRESS
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import prepare
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.stages.download import download

pytest.importorskip("distributed")

CONVERT = ConvertConfig(size=24, isolate="none")
PICTURES, SIDE = 1200, 32
WORKER = ("dask", "worker", "--nworkers", "1", "--nthreads", "1", "--no-nanny", "--no-dashboard")


@contextmanager
def process(*command: str, path: Path | None = None, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that ends with the block; path: where it finds lamina, if not where this process does."""
    environment = {**os.environ, "PYTHONPATH": str(path or ROOT / "src")}
    started = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, env=environment, text=True, stderr=subprocess.PIPE
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@contextmanager
def cluster(folder: Path, *paths: Path | None) -> Iterator[tuple[str, list["subprocess.Popen[str]"]]]:
    """The address of a scheduler, and its workers, one for each path, in a folder of their own."""
    folder.mkdir()
    known = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(known), "--no-dashboard")
    with ExitStack() as stack:
        stack.enter_context(process("dask", "scheduler", *options, folder=folder))
        while not (known.exists() and known.read_text()):
            time.sleep(0.1)
        address = json.loads(known.read_text())["address"]
        yield address, [stack.enter_context(process(*WORKER, address, path=path, folder=folder)) for path in paths]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of noise, enough for several packs."""
    folder = tmp_path_factory.mktemp("system")
    (folder / "pictures").mkdir()
    random = np.random.default_rng(1)
    for number in range(PICTURES):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"pictures/{number}.png", compress_level=0)
    config = SourceConfig(kind="folder", location="pictures", labels="none")
    download(config, folder, folder / "data/raw", seed=1)
    return folder / "data/raw"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def alone(raw: Path) -> dict[str, bytes]:
    """The packs that this process makes."""
    prepare(raw, CONVERT, raw.parents[1] / "alone", what="test")
    return files_of(raw.parents[1] / "alone")


def test_workers_make_the_same_bytes_even_if_one_dies(
    raw: Path, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = raw.parents[1]
    monkeypatch.chdir(system)

    def kill_at_first_pack(worker: "subprocess.Popen[str]") -> None:
        while not [*Path("together").rglob("*.npy")]:
            time.sleep(0.002)
        worker.kill()

    with cluster(tmp_path / "elsewhere", None, None) as (address, workers):
        monkeypatch.setenv(ADDRESS, address)
        killer = threading.Thread(target=kill_at_first_pack, args=workers[:1], daemon=True)
        killer.start()
        prepare(Path("data/raw"), CONVERT, Path("together"), what="test")
        killer.join()
        assert workers[0].wait(10) < 0
        assert workers[1].poll() is None
    assert files_of(system / "together") == alone
    prepare(Path("data/raw"), CONVERT, Path("together"), what="test")  # nothing is left to do: nobody is asked


def test_a_worker_with_other_code_is_refused(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "src/lamina", tmp_path / "other/lamina", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "other/lamina/data/decoding.py").open("a") as file:
        file.write("\nMORE = 1\n")
    with cluster(tmp_path / "elsewhere", tmp_path / "other") as (address, _):
        monkeypatch.setenv(ADDRESS, address)
        with pytest.raises(UserError, match=r"the worker tcp://.* has another version of lamina\.data\.preparation"):
            prepare(raw, CONVERT, tmp_path / "packs", what="test")
    assert not [name for name in files_of(tmp_path / "packs") if "cluster" in name]


@pytest.mark.parametrize(
    ("address", "said"),
    [("tcp://127.0.0.1:1", "no scheduler answers at 'tcp://127.0.0.1:1'"), ("nonsense://", "no scheduler answers")],
)
def test_a_scheduler_that_is_not_there_is_named(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setattr("lamina.data.cluster.PATIENCE", 0.5)
    monkeypatch.setenv(ADDRESS, address)
    with pytest.raises(UserError, match=said):
        prepare(raw, CONVERT, tmp_path / "packs", what="test")


def test_a_scheduler_without_workers_is_named(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(tmp_path / "elsewhere") as (address, _):
        monkeypatch.setenv(ADDRESS, address)
        monkeypatch.setattr("lamina.data.cluster.PATIENCE", 5.0)
        with pytest.raises(UserError, match=r"has no worker; start some with `dask worker"):
            prepare(raw, CONVERT, tmp_path / "packs", what="test")
