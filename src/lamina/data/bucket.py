"""Files on S3 that a data stage and workers on other machines exchange.

Where the storage is and who may use it say the usual variables of every machine: `AWS_ENDPOINT_URL`,
`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, ... A busy storage or a short outage costs time alone: the
library tries again.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Final

from lamina.errors import UserError
from lamina.files import staged
from lamina.text import quoted

SHARDS: Final = "LAMINA_SHARDS"
FORM: Final = "s3://BUCKET/PREFIX"
LONGEST: Final = (
    600.0  # seconds for one file; the library alone waits forever where a storage hangs before it takes one
)
_CLEARING: Final = 60.0  # seconds
_URL: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.=-]+)*/?", re.ASCII)
_NOTE: Final = ".bucket"  # file with the name of a system's own folder, for as long as something may be in there
_NAME: Final = re.compile(r"[0-9a-f]{16}")


def check_url(url: str) -> str:
    """Return the address of a place on S3 without a slash at its end.

    Raises:
        UserError: If it is none, or the package for it is missing.
    """
    if not _URL.fullmatch(url):
        shown = quoted(re.sub("//.*@", "//...@", url))  # what is before an @ may be a password
        raise UserError(f"{SHARDS}: expected {FORM}, with letters, digits and . _ = - in PREFIX, got {shown}")
    if find_spec("s3fs") is None:
        raise UserError(f"{SHARDS}: the package s3fs is missing; run `pip install 'lamina[cluster]'`")
    return url.rstrip("/")


class Bucket:
    """A folder on S3.

    Every method raises a UserError if the storage cannot be reached, or refuses.
    """

    def __init__(self, url: str, who: str = "") -> None:
        """Open it; nothing is asked yet.

        Args:
            url: As of `check_url`.
            who: Begins messages on a worker: which one it is.
        """
        import s3fs

        self.url, self._who = url, who
        self._folder = url.removeprefix("s3://")
        with self._in_one_line():
            self._storage = s3fs.S3FileSystem(use_listings_cache=False)

    def put(self, name: str, data: bytes | Path) -> None:
        """Write bytes, or the content of a local file, to the file of that name: completely or not at all."""
        with self._in_one_line():
            if isinstance(data, bytes):
                self._storage.pipe_file(self._path(name), data, timeout=LONGEST)
            else:
                self._storage.put_file(str(data), self._path(name), timeout=LONGEST)

    def put_once(self, data: bytes) -> str:
        """Write bytes to a file with their digest as name, unless it is there; return its name."""
        name = f"in/{hashlib.sha256(data).hexdigest()}"
        if not self.holds(name):
            self.put(name, data)
        return name

    def holds(self, name: str) -> bool:
        """Whether there is a file of that name."""
        with self._in_one_line():
            return bool(self._storage.exists(self._path(name), timeout=LONGEST))

    def take(self, name: str, file: Path) -> None:
        """Copy a file to a local one."""
        with self._in_one_line():
            self._storage.get_file(self._path(name), str(file), timeout=LONGEST)

    def remove(self, *names: str) -> None:
        """Delete files."""
        with self._in_one_line():
            self._storage.rm([self._path(name) for name in names], timeout=LONGEST)

    def clear(self) -> None:
        """Delete the folder with all that is in it, and first what workers read: see `lamina.data.remote_calls`."""
        with self._in_one_line():
            for folder in (self._path("in"), self._folder):
                with suppress(FileNotFoundError):
                    self._storage.rm(folder, recursive=True, timeout=_CLEARING)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        """Turn errors of the storage into a UserError; those of local files stay as they are."""
        from aiohttp import ClientError as ConnectionFailed
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            yield
        except (OSError, ValueError, BotoCoreError, HTTPClientError, ConnectionFailed) as error:
            of_library = (BotoCoreError, HTTPClientError, ClientError, ConnectionFailed, TimeoutError, ValueError)
            if not isinstance(error, of_library) and not isinstance(error.__cause__, of_library):
                raise
            reason = " ".join(str(error).split()).rstrip(".") or f"no answer within {LONGEST:.0f} seconds"
            raise UserError(f"{SHARDS}: {self._who}{self.url}: {reason}; {_remedy(error)}") from None


def _remedy(error: Exception) -> str:
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError, ProfileNotFound

    if type(error.__cause__).__name__ == "NoSuchBucket":
        return "create it, or correct the address"
    if isinstance(error, (PermissionError, NoCredentialsError, PartialCredentialsError, ProfileNotFound)):
        return "check the variables AWS_..., and that they allow to list, read, write and delete there"
    if isinstance(error, FileNotFoundError):
        return "nobody else may remove what is there while a stage works; run `dvc repro` again"
    return "check AWS_ENDPOINT_URL and the storage, then run `dvc repro` again: finished shards are kept"


@contextmanager
def own_folder(url: str, folder: Path) -> Iterator[Bucket]:
    """Yield a folder on S3 of a system's own, and remove it at the end.

    A file in the local folder holds its name for as long as something may be in there: what a killed or failed process
    left is used by the next one, and removed.

    Args:
        url: Address of the place in which it is made.
        folder: Local folder, which one process alone works in.

    Raises:
        UserError: If the storage does not take a file.
    """
    note = folder / _NOTE
    name = note.read_text(encoding="utf-8") if note.exists() else ""
    if not _NAME.fullmatch(name):
        name = token_hex(8)
        with staged(note) as part:
            part.write_text(name, encoding="utf-8", newline="\n")
    bucket = Bucket(f"{url}/{name}")
    try:
        bucket.put("probe", b"")
        yield bucket
    except BaseException:
        with suppress(UserError):
            bucket.clear()  # the note stays: something may still be on its way
        raise
    with suppress(UserError):  # what cannot be reached cannot be cleared: the next process tries again
        bucket.clear()
        note.unlink(missing_ok=True)
