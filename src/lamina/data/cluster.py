"""Shards of a data stage on the workers of a Dask cluster that someone runs, instead of this machine's processes.

The workers read and write the same files: they need the system's folder under the same path, on a shared file system,
and the same lamina. Without `LAMINA_DASK` nothing here is used.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from lamina.errors import UserError
from lamina.source_code import code_digest
from lamina.text import quoted

ADDRESS: Final = "LAMINA_DASK"
FORM: Final = "tcp://HOST:8786"
PATIENCE: Final = 10.0  # seconds to wait for the scheduler, and for a worker


@contextmanager
def on_cluster(folder: Path, module: str) -> Iterator[None]:
    """Have `joblib.Parallel` inside send its calls to the workers, where `LAMINA_DASK` names a scheduler.

    Args:
        folder: absolute, in which the calls work.
        module: whose code they run.

    Raises:
        UserError: if no scheduler answers or it has no worker; if a worker does not see the folder, or has other code;
            or if all workers are lost while they work.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        yield
        return
    if find_spec("distributed") is None:
        raise UserError(f"{ADDRESS}: the package distributed is missing; run `pip install 'lamina[cluster]'`")
    with _client(address) as client, _lost_in_one_line(address):
        _check(client, address, folder, module)
        import joblib

        with joblib.parallel_config(backend="dask"):
            yield


def _client(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, timeout=PATIENCE, set_as_default=True)
    except (OSError, ValueError):
        raise UserError(
            f"{ADDRESS}: no scheduler answers at {quoted(address)}; expected {FORM}: start one with `dask scheduler`, "
            "or unset it"
        ) from None


@contextmanager
def _lost_in_one_line(address: str) -> Iterator[None]:
    from concurrent.futures import CancelledError

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


def _check(client: Any, address: str, folder: Path, module: str) -> None:
    """Compare every worker with this process: the shared folder, and the code."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise UserError(
            f"{ADDRESS}: the scheduler {address} has no worker; start some with `dask worker {address}`"
        ) from None
    token = folder / f".cluster-{token_hex(8)}"
    token.touch()
    try:
        found: dict[str, tuple[bool, str]] = client.run(_seen, token, module)
    finally:
        token.unlink()
    expected = code_digest(module)
    for worker, (sees, code) in sorted(found.items()):
        if not sees:
            raise UserError(
                f"{ADDRESS}: the worker {worker} does not see {folder}; share it under the same path with all workers"
            )
        if code != expected:
            raise UserError(f"{ADDRESS}: the worker {worker} has another version of {module}; install the same lamina")


def _seen(token: Path, module: str) -> tuple[bool, str]:
    """Whether a worker sees a file, and the digest of its code."""
    return token.exists(), code_digest(module)
