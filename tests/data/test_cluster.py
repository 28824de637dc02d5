"""Data stages on a real Dask cluster on this machine: a scheduler and workers as processes of their own.

They share the file system, or a real S3 server that the tests start.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from checkout import ROOT
from lamina.data.bucket import SHARDS, Bucket
from lamina.data.cluster import ADDRESS, on_cluster
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import Batch, make_pack, pack_parcel, prepare
from lamina.data.shards import list_shards, read_pictures
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.stages.download import download
from s3 import BUCKET, Storage

pytest.importorskip("distributed")
pytest.importorskip("s3fs")

from distributed import Client
from s3fs import S3FileSystem

CONVERT = ConvertConfig(size=24, isolate="none")
PICTURES, SIDE = 800, 32
HERE = Path("/proc/self/cwd")  # an absolute path that is the system's folder in this process alone
WORKER = ("dask", "worker", "--nworkers", "1", "--nthreads", "1", "--no-nanny", "--no-dashboard")

here_alone = pytest.mark.skipif(not HERE.exists(), reason="needs the /proc of Linux")


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
def scheduler(folder: Path) -> Iterator[str]:
    """The address of a scheduler without workers."""
    folder.mkdir()
    known = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(known), "--no-dashboard")
    with process("dask", "scheduler", *options, folder=folder):
        while not (known.exists() and known.read_text()):
            time.sleep(0.1)
        yield json.loads(known.read_text())["address"]


@contextmanager
def worker(address: str, folder: Path, path: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """One more worker, with a folder of its own; path: where it finds lamina, if not where this process does."""
    folder.mkdir()
    with Client(address) as client:
        count = len(client.ncores())
        try:
            with process(*WORKER, address, "--local-directory", str(folder), path=path, folder=folder) as started:
                client.wait_for_workers(count + 1, timeout=60)
                yield started
        finally:
            while len(client.ncores()) > count:
                time.sleep(0.02)


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """An S3 server, which this process and all workers know."""
    storage = Storage()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in storage.variables.items():
            patch.setenv(name, value)
        yield storage
    storage.stop()


@pytest.fixture(scope="module")
def elsewhere(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with one worker."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with scheduler(folder / "scheduler") as address, worker(address, folder / "worker"):
        yield address


@pytest.fixture
def shards(storage: Storage, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """The server, through which calls of this test go to the worker; it is itself again after the test."""
    monkeypatch.setenv(ADDRESS, elsewhere)
    monkeypatch.setenv(SHARDS, f"s3://{BUCKET}/systems")
    storage.log.clear()
    S3FileSystem.clear_instance_cache()  # it keeps the variables of another test
    yield storage
    storage.full, storage.on_request = False, lambda method, path: None


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
    raw: Path, alone: dict[str, bytes], elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = raw.parents[1]
    monkeypatch.chdir(system)
    monkeypatch.setenv(ADDRESS, elsewhere)

    def kill_at_first_pack(other: "subprocess.Popen[str]") -> None:
        while not [*Path("together").rglob("*.npy")]:
            time.sleep(0.002)
        other.kill()

    with worker(elsewhere, tmp_path / "other") as other:
        killer = threading.Thread(target=kill_at_first_pack, args=[other], daemon=True)
        killer.start()
        prepare(Path("data/raw"), CONVERT, Path("together"), what="test")
        killer.join()
        assert other.wait(10) < 0
    assert files_of(system / "together") == alone
    prepare(Path("data/raw"), CONVERT, Path("together"), what="test")  # nothing is left to do: nobody is asked


@here_alone
def test_workers_that_share_no_files_make_the_same_bytes_even_if_one_dies(
    raw: Path, alone: dict[str, bytes], shards: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = raw.parents[1]
    monkeypatch.chdir(system)
    with worker(os.environ[ADDRESS], tmp_path / "other") as other:

        def kill_at_first_pack(method: str, path: str) -> None:
            if method == "PUT" and "/out/" in path:
                other.kill()

        shards.on_request = kill_at_first_pack
        shards.busy = 2  # the library tries again
        prepare(HERE / "data/raw", CONVERT, HERE / "apart", what="test")
        assert other.wait(10) < 0
    assert files_of(system / "apart") == alone
    assert not shards.held
    put = [path for method, path in shards.log if method == "PUT" and "/in/" in path]
    assert len(put) == len({*put}) == len(alone) / 2
    assert sum(len(path.split("/")) for path in put) / len(put) == len(f"/{BUCKET}/systems/SYSTEM/in/NAME".split("/"))


@here_alone
def test_workers_that_share_no_files_need_a_bucket(raw: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(raw.parents[1])
    monkeypatch.setenv(ADDRESS, elsewhere)
    with pytest.raises(UserError, match=r"the worker tcp://.* does not see /proc/self/cwd/.*or set LAMINA_SHARDS"):
        prepare(HERE / "data/raw", CONVERT, HERE / "unseen", what="test")


def some_pictures(raw: Path, *, every: int) -> Batch:
    """Some pictures of each of the first two shards."""
    pictures = read_pictures(raw, ["sha256"])[::every]
    groups = {
        shard: (pictures["part"] == shard.part) & (pictures["group"] == shard.group) for shard in list_shards(raw)
    }
    return [(shard, pictures[its].set_index("row")["sha256"]) for shard, its in [*groups.items()][:2]]


def test_a_parcel_makes_the_same_pack(raw: Path, tmp_path: Path) -> None:
    batch = some_pictures(raw, every=7)
    assert len({shard for shard, _ in batch}) == 2
    parcel = pack_parcel(raw, batch, CONVERT, tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / parcel.name).write_bytes(parcel.content)
    make_pack(tmp_path / "raw", *parcel.arguments, tmp_path / "there")
    make_pack(raw, batch, CONVERT, tmp_path / "here")
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")


def test_what_a_killed_stage_left_is_used_and_removed(
    raw: Path, alone: dict[str, bytes], shards: Storage, tmp_path: Path
) -> None:
    packs = tmp_path / next(iter(alone)).partition("/")[0]
    packs.mkdir()
    (packs / ".bucket").write_text("0123456789abcdef")
    bucket = Bucket(f"{os.environ[SHARDS]}/0123456789abcdef")
    bucket.put("out/half.npy", b"of a pack")
    batch = some_pictures(raw, every=1)[:1]  # which is the first pack
    name = bucket.put_once(pack_parcel(raw, batch, CONVERT, packs).content)
    assert len(shards.held) == 2
    prepare(raw, CONVERT, tmp_path, what="test")
    assert files_of(tmp_path) == alone
    assert len([path for method, path in shards.log if method == "PUT" and path.endswith(name)]) == 1
    assert not shards.held


def test_full_storage_is_named(raw: Path, shards: Storage, tmp_path: Path) -> None:
    shards.full = True
    with pytest.raises(
        UserError, match=r"the worker tcp://.*s3://shards/systems/\w+: .*Storage backend is full; check"
    ):
        prepare(raw, CONVERT, tmp_path, what="test")
    assert not shards.held


def test_storage_that_goes_away_is_named_and_what_is_done_stays(
    raw: Path, alone: dict[str, bytes], shards: Storage, tmp_path: Path
) -> None:
    def stop_when_a_pack_is_here(method: str, path: str) -> None:
        if method == "POST":  # delete: the files have been taken
            shards.on_request = lambda method, path: None
            shards.stop()

    shards.on_request = stop_when_a_pack_is_here
    with pytest.raises(UserError, match=r"LAMINA_SHARDS: .*s3://shards/systems/\w+: .*; check AWS_ENDPOINT_URL"):
        prepare(raw, CONVERT, tmp_path, what="test")
    assert shards.held
    done = [path for path in tmp_path.rglob("*.npy") if path.with_suffix(".parquet").exists()]
    shards.start()
    shards.log.clear()
    prepare(raw, CONVERT, tmp_path, what="test")
    assert files_of(tmp_path) == alone
    assert len(outputs(shards)) == len(alone) - 2 * len(done) < len(alone)
    assert not shards.held


@pytest.mark.nightly
def test_what_a_worker_puts_after_ctrl_c_is_removed(raw: Path, shards: Storage, tmp_path: Path) -> None:
    ended = threading.Event()

    def interrupt_at_first_pack(method: str, path: str) -> None:
        if method == "PUT" and "/out/" in path:
            shards.on_request = lambda method, path: None
            os.kill(os.getpid(), signal.SIGINT)
            assert ended.wait(30)

    shards.on_request = interrupt_at_first_pack
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, CONVERT, tmp_path, what="test")
    before = len(shards.log)
    ended.set()
    end = time.monotonic() + 10
    while [method for method, path in shards.log[before:] if method != "PUT"][-1:] != ["POST"] or shards.held:
        assert time.monotonic() < end, shards.held
        time.sleep(0.02)
    assert outputs(shards)


def test_storage_that_hangs_is_named(
    raw: Path, shards: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def hang(method: str, path: str) -> None:
        if method == "PUT" and "/in/" in path:
            ended.wait(30)
            raise ConnectionError

    shards.on_request = hang
    monkeypatch.setattr("lamina.data.bucket.LONGEST", 1.0)
    with pytest.raises(UserError, match=r"s3://shards/systems/\w+: no answer within 1 seconds; check AWS_ENDPOINT_URL"):
        prepare(raw, CONVERT, tmp_path, what="test")
    ended.set()
    assert not shards.held
    assert [*tmp_path.rglob(".bucket")]  # something may still arrive: the next run looks for it


def outputs(storage: Storage) -> list[str]:
    """The files that workers put so far."""
    return [path for method, path in storage.log if method == "PUT" and "/out/" in path]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (SHARDS, "s3:/shards", r"expected s3://BUCKET/PREFIX.* got 's3:/shards'"),
        (SHARDS, "s3://shards/*", r"expected s3://BUCKET/PREFIX.* got 's3://shards/\*'"),
        (SHARDS, "s3://key:secret@host/shards", r"expected s3://BUCKET/PREFIX.* got 's3://...@host/shards'"),
        (SHARDS, "s3://nowhere/x", r"s3://nowhere/x/\w+: The specified bucket does not exist; create it"),
        (
            "AWS_ENDPOINT_URL",
            "http://127.0.0.1:1",
            r'Could not connect .*"http://127.0.0.1:1/.*; check AWS_ENDPOINT_URL',
        ),
        ("AWS_ENDPOINT_URL", "nonsense", r"Invalid endpoint: nonsense; check AWS_ENDPOINT_URL"),
        ("AWS_PROFILE", "nobody", r"profile \(nobody\) could not be found; check the variables AWS_"),
    ],
)
def test_storage_that_is_not_there_is_named(
    raw: Path, shards: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=rf"^LAMINA_SHARDS: .*{said}"):
        prepare(raw, CONVERT, tmp_path, what="test")


def test_storage_that_refuses_is_named(raw: Path, shards: Storage, tmp_path: Path) -> None:
    shards.refuse(refuse=True)
    try:
        with pytest.raises(UserError, match=r"LAMINA_SHARDS: s3://.* Access Key .*; check the variables AWS_"):
            prepare(raw, CONVERT, tmp_path, what="test")
    finally:
        shards.refuse(refuse=False)


def test_a_missing_package_is_named_here_and_on_a_worker(
    raw: Path, shards: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without/sitecustomize.py").write_text("import sys\nsys.modules['s3fs'] = None\n")
    (tmp_path / "without/lamina").symlink_to(ROOT / "src/lamina")
    with (
        worker(os.environ[ADDRESS], tmp_path / "other", tmp_path / "without"),
        pytest.raises(
            UserError, match=r"the worker tcp://.* lacks the package s3fs; run `pip install 'lamina\[cluster\]'"
        ),
    ):
        prepare(raw, CONVERT, tmp_path / "packs", what="test")
    assert not shards.held
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"LAMINA_SHARDS: the package s3fs is missing; run `pip install"):
        prepare(raw, CONVERT, tmp_path / "packs", what="test")


def test_a_worker_without_lamina_is_named(
    raw: Path, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without/lamina.py").write_text("raise ModuleNotFoundError('No module named lamina')\n")
    monkeypatch.setenv(ADDRESS, elsewhere)
    with (
        worker(elsewhere, tmp_path / "elsewhere", tmp_path / "without"),
        pytest.raises(
            UserError, match=r"the worker tcp://.* cannot use lamina \(.*; run `pip install 'lamina\[cluster\]'"
        ),
    ):
        prepare(raw, CONVERT, tmp_path / "packs", what="test")


@pytest.mark.parametrize(
    ("changed", "content"),
    [
        pytest.param("lamina/data/decoding.py", "\nMORE = 1\n", marks=pytest.mark.nightly),
        ("pillow-1.0.dist-info/METADATA", "Name: pillow\nVersion: 1.0\n"),
    ],
)
def test_a_worker_with_other_code_or_libraries_is_refused(
    raw: Path, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, content: str
) -> None:
    shutil.copytree(ROOT / "src/lamina", tmp_path / "other/lamina", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "other" / changed).parent.mkdir(exist_ok=True)
    with (tmp_path / "other" / changed).open("a") as file:
        file.write(content)
    monkeypatch.setenv(ADDRESS, elsewhere)
    with (
        worker(elsewhere, tmp_path / "elsewhere", tmp_path / "other"),
        pytest.raises(UserError, match=r"the worker tcp://.* has another version of lamina, or of a library"),
    ):
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


@pytest.mark.nightly
def test_a_scheduler_without_workers_is_named(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with scheduler(tmp_path / "elsewhere") as address:
        monkeypatch.setenv(ADDRESS, address)
        monkeypatch.setattr("lamina.data.cluster.PATIENCE", 5.0)
        with pytest.raises(UserError, match=r"has no worker; start some with `dask worker"):
            prepare(raw, CONVERT, tmp_path / "packs", what="test")
        monkeypatch.setattr("lamina.data.cluster.PATIENCE", 0.2)
        with worker(address, tmp_path / "only") as only, on_cluster(tmp_path, str):
            only.kill()
            end, said = time.monotonic() + 20, ""
            while "note: " not in said and time.monotonic() < end:
                time.sleep(0.1)
                said += capfd.readouterr().err
            assert re.search(r"^note: LAMINA_DASK: all workers of .* have gone", said, re.MULTILINE)
