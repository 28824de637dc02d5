"""Shards of a data stage on the workers of a Dask cluster that someone runs, instead of this machine's processes.

The workers read and write the same files: they need the system's folder under the same path, on a shared file system,
and the same lamina. Or they share no files, and `LAMINA_SHARDS` names a place on S3 through which the files go
(`lamina.data.remote_calls`). Without `LAMINA_DASK` nothing here is used.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from lamina.data.bucket import SHARDS, check_url, own_folder
from lamina.data.remote_calls import RemoteCalls
from lamina.errors import UserError
from lamina.text import quoted

ADDRESS: Final = "LAMINA_DASK"
FORM: Final = "tcp://HOST:8786"
PATIENCE: Final = 10.0  # seconds to wait for the scheduler, and for a worker


@contextmanager
def on_cluster(folder: Path, digest: Callable[[], str]) -> Iterator[RemoteCalls | None]:
    """Have calls made by the workers, where `LAMINA_DASK` names a scheduler.

    Args:
        folder: absolute, in which the calls work.
        digest: returns a digest of the code and the libraries that decide what they write.

    Yields:
        What makes the calls, if `LAMINA_SHARDS` is set. Otherwise None: `joblib.Parallel` inside sends its calls to
        the workers.

    Raises:
        UserError: if no scheduler answers or it has no worker; if a worker does not see the folder, or has other code
            or libraries; if the storage on S3 cannot be used, here or by a worker; if the scheduler goes away; or if
            workers die at the same shard again and again. Where all workers are lost, a note says that the work waits
            for others.
    """
    address, shards = os.environ.get(ADDRESS), os.environ.get(SHARDS)
    if not address:
        yield None
        return
    if find_spec("distributed") is None:
        raise UserError(f"{ADDRESS}: the package distributed is missing; run `pip install 'lamina[cluster]'`")
    url = check_url(shards) if shards else None
    with _client(address) as client, _lost_in_one_line(address):
        _check_code(client, address, digest)
        with _noting_lost_workers(client, address), _calls(client, folder, url) as calls:
            yield calls


@contextmanager
def _calls(client: Any, folder: Path, url: str | None) -> Iterator[RemoteCalls | None]:
    if url:
        with own_folder(url, folder) as bucket:
            calls = RemoteCalls(client, bucket)
            calls.check()
            yield calls
        return
    _check_folder(client, folder)
    import joblib

    with joblib.parallel_config(backend="dask"):
        yield None


def _client(address: str) -> Any:
    from distributed import Client

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # its tracebacks end here as one line
    try:
        return Client(address, timeout=PATIENCE, set_as_default=True)
    except (OSError, ValueError):
        raise UserError(
            f"{ADDRESS}: no scheduler answers at {quoted(address)}; expected {FORM}: start one with `dask scheduler`, "
            "or unset it"
        ) from None


@contextmanager
def _lost_in_one_line(address: str) -> Iterator[None]:
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise UserError(
            f"{ADDRESS}: {error.allowed_failures + 1} workers of {address} died at the same shard; look at their "
            "memory, or run without them"
        ) from None
    except (CommClosedError, CancelledError):
        raise UserError(f"{ADDRESS}: the scheduler {address} went away; start it again and run `dvc repro`") from None


def _check_code(client: Any, address: str, digest: Callable[[], str]) -> None:
    """Compare the code and libraries of every worker with those of this process."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise UserError(
            f"{ADDRESS}: the scheduler {address} has no worker; start some with `dask worker {address}`"
        ) from None
    expected = digest()
    for worker, found in sorted(client.run(digest, on_error="return").items()):
        if isinstance(found, Exception):
            raise UserError(
                f"{ADDRESS}: the worker {worker} cannot use lamina ({found}); run `pip install 'lamina[cluster]'` there"
            )
        if found != expected:
            raise UserError(
                f"{ADDRESS}: the worker {worker} has another version of lamina, or of a library that reads pictures; "
                "install the same packages there"
            )


@contextmanager
def _noting_lost_workers(client: Any, address: str) -> Iterator[None]:
    """Say when all workers have gone: the work waits for others then."""
    ended = threading.Event()

    def watch() -> None:
        waits = False
        while not ended.wait(PATIENCE):
            with suppress(OSError, TimeoutError):  # the scheduler is going away
                lost = not client.ncores()
                if lost and not waits:
                    print(
                        f"note: {ADDRESS}: all workers of {address} have gone, and the work waits; start some with "
                        f"`dask worker {address}`, or end it with Ctrl-C",
                        file=sys.stderr,
                        flush=True,
                    )
                waits = lost

    with ThreadPoolExecutor(1) as pool:
        pool.submit(watch)
        try:
            yield
        finally:
            ended.set()


def _check_folder(client: Any, folder: Path) -> None:
    """Check that every worker sees the folder."""
    token = folder / f".cluster-{token_hex(8)}"
    token.touch()
    try:
        found: dict[str, bool] = client.run(_sees, token)
    finally:
        token.unlink()
    for worker, sees in sorted(found.items()):
        if not sees:
            raise UserError(
                f"{ADDRESS}: the worker {worker} does not see {folder}; share it under the same path with all workers, "
                f"or set {SHARDS}"
            )


def _sees(token: Path) -> bool:
    """Whether a worker sees a file."""
    return token.exists()
