"""Calls on workers of a Dask cluster that share no file system with the stage: their files go over S3.

The stage puts what a call reads; the worker takes it, works in a folder of its own, and puts what it wrote; the stage
takes this and removes both. So the storage holds the files of the calls at hand only. A call that a dead worker began
is made again by another one, of the same files.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from threading import Semaphore
from typing import Any, Final, TypeVar

from lamina.data.bucket import SHARDS, Bucket
from lamina.errors import UserError
from lamina.files import staged

R = TypeVar("R")

_MOVING: Final = 4  # calls whose files are packed or moved at once: each takes memory, and they share one network
_AHEAD: Final = 2  # calls for each thread of the workers, so that none waits for files


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What a call needs on another machine.

    Attributes:
        name: Of the file that it reads.
        content: Of this file.
        arguments: Of the call, without the folder of that file, which comes first, and the one that it writes to,
            which comes last.
    """

    name: str
    content: bytes
    arguments: tuple[Any, ...]


class RemoteCalls:
    """Makes calls on the workers.

    Args:
        client: Of Dask.
        bucket: For the files.
    """

    def __init__(self, client: Any, bucket: Bucket) -> None:
        self._client = client
        self._bucket = bucket
        self._moving = Semaphore(_MOVING)
        self._pending: set[Any] = set()

    def check(self) -> None:
        """Compare every worker with this process.

        Raises:
            UserError: If one cannot take files from the bucket and put them there.
        """
        self._bucket.put("probe", b"")
        for worker, fault in sorted(self._client.run(_fault, self._bucket.url).items()):
            if fault:
                raise UserError(f"{SHARDS}: the worker {worker} {fault}")

    def map(
        self, work: Callable[..., R], tasks: Sequence[tuple[Any, ...]], pack: Callable[..., Parcel], out: Path
    ) -> Iterator[R]:
        """Call `work(folder, *arguments, out)` for every task.

        Args:
            work: A module-level function from the files of a folder to small facts, and files in `out`.
            tasks: Arguments of `pack`, a tuple per call.
            pack: Makes the parcel of a task.
            out: Folder for the files that the calls write.

        Yields:
            The results, in the order of the tasks. After an error no call begins.

        Raises:
            UserError: If the storage fails, here or on a worker.
        """
        pool = ThreadPoolExecutor(_AHEAD * max(1, sum(self._client.ncores().values())))
        try:
            yield from pool.map(lambda task: self._call(work, pack, task, out), tasks)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._client.cancel(list(self._pending))
            pool.shutdown()

    def _call(self, work: Callable[..., R], pack: Callable[..., Parcel], task: tuple[Any, ...], out: Path) -> R:
        with self._moving:
            parcel = pack(*task)
            put = self._bucket.put_once(parcel.content)
        call = partial(_work, work, parcel.arguments)
        future = self._client.submit(call, self._bucket.url, put, parcel.name, pure=False)
        self._pending.add(future)
        result: R
        try:
            result, written = future.result()
        finally:
            self._pending.discard(future)
        with self._moving:
            for name in written:
                with staged(out / name) as part:
                    self._bucket.take(f"out/{name}", part)
            self._bucket.remove(put, *(f"out/{name}" for name in written))
        return result


def _work(work: Callable[..., R], arguments: tuple[Any, ...], url: str, put: str, name: str) -> tuple[R, list[str]]:
    """Make a call on a worker; return its result, and the names of the files that it wrote."""
    from distributed import get_worker

    worker = get_worker()
    who = f"the worker {worker.address}: "
    bucket = Bucket(url, who)
    try:
        with TemporaryDirectory(dir=worker.local_directory) as folder:  # Dask removes what a killed worker leaves there
            place, out = Path(folder, "in"), Path(folder, "out")
            place.mkdir()
            out.mkdir()
            bucket.take(put, place / name)
            result = work(place, *arguments, out)
            written = sorted(out.iterdir())
            for path in written:
                bucket.put(f"out/{path.name}", path)
            if not bucket.holds(put):  # nobody waits for the files any more, and nobody else would remove them
                bucket.remove(*(f"out/{path.name}" for path in written))
            return result, [path.name for path in written]
    except OSError as error:
        raise UserError(f"{SHARDS}: {who}{error}; it works in {worker.local_directory}") from None


def _fault(url: str) -> str:
    """What keeps a worker from taking files from a bucket and from putting them there; empty if nothing does."""
    if find_spec("s3fs") is None:
        return "lacks the package s3fs; run `pip install 'lamina[cluster]'` there"
    try:
        bucket = Bucket(url)
        if not bucket.holds("probe"):
            return f"does not find {url}/probe; give it the same AWS_ENDPOINT_URL, and a key that may read there"
        bucket.put(f"probe-{token_hex(8)}", b"")
    except UserError as error:
        return f"cannot use the storage: {str(error).removeprefix(f'{SHARDS}: ')}"
    return ""
