"""Datasets that TensorFlow Datasets (TFDS) knows by name or has prepared on this machine.

They are prepared once, into the library's own directory: TFDS_DATA_DIR, or ~/tensorflow_datasets. What stands
there is read without the code that made it, and without internet.
"""

import contextlib
import difflib
import errno
import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from lamina.config import nearest
from lamina.errors import UserError
from lamina.quiet_stderr import quiet_stderr

# NAME/CONFIG:VERSION; a version may hold stars, as the library allows
LOCATION: Final = re.compile(
    r"(?P<name>[A-Za-z_]\w*)(/(?P<config>[\w.+-]+))?(:(?P<version>(\d+|\*)\.(\d+|\*)\.(\d+|\*)))?"
)
DESCRIPTIONS: Final = ("dataset_info.json", "features.json")  # what the library writes last, beside the pictures
MOST_NAMED: Final = 12
MOST_SAID: Final = 400  # letters of what the library says
CONNECT_SECONDS: Final = 10.0
SECONDS_BETWEEN_LINES: Final = 10.0


def library() -> Any:
    """TensorFlow Datasets, imported quietly, in about a second; it imports TensorFlow itself when data are read."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # reading needs no GPU, let alone all of its memory
    os.environ.setdefault("NO_GCE_CHECK", "true")  # the library would ask the network whether this is Google's cloud
    import tensorflow_datasets

    for name in ("absl", "urllib3.connectionpool"):  # warnings about what is told as one line here
        logging.getLogger(name).setLevel(logging.ERROR)
    return tensorflow_datasets


def find_builder(location: str) -> Any:
    """The library's builder of a dataset, prepared or not.

    location: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION. What is on disk serves where the library
    does not know the name. Raises UserError for a name, configuration or version that does not exist, with
    those that do, and for what is half-prepared.
    """
    told = LOCATION.fullmatch(location)
    if not told:
        raise UserError(
            f"source.location {location!r}: expected a TFDS dataset as NAME, NAME/CONFIG, NAME:VERSION or "
            "NAME/CONFIG:VERSION, as in mnist:3.0.1"
        )
    tfds = library()
    root = data_directory(tfds)
    try:
        with quiet_stderr():  # some load TensorFlow to tell their features
            builder = tfds.builder(location, data_dir=root)
            _ = builder.info
        return builder
    except Exception as error:  # builders are code of many hands
        reason = _reason(tfds, root, told["name"], told["config"], told["version"])
        raise UserError(f"tfds:{location}: {reason or f'cannot be set up: {_said(error)}'}") from None


def data_directory(tfds: Any) -> Any:
    """The path of the library's own directory; may be a bucket's."""
    return tfds.core.as_path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def full_location(builder: Any) -> str:
    """What `source.location` says to name just this dataset, configuration and version."""
    config = f"/{builder.builder_config.name}" if builder.builder_config else ""
    return f"{builder.name}{config}:{builder.version}"


def known(wanted: str, names: Iterable[str]) -> str:
    """`; known: ...`: some names for a message, those most like what was wanted first."""
    listed = sorted(set(names))
    close = difflib.get_close_matches(wanted, listed, n=MOST_NAMED, cutoff=0.0)
    rest = f", and {len(listed) - len(close)} more" if len(listed) > len(close) else ""
    return f"; known: {', '.join(map(repr, close))}{rest}" if close else ""


def _reason(tfds: Any, root: Any, name: str, config: str | None, version: str | None) -> str | None:
    """Why the library does not take a name; None where the name is not to blame."""
    names = {*tfds.list_builders(with_community_datasets=False), *_folders(root)}
    if name not in names:
        near = nearest(name, sorted(names))
        advice = f"; did you mean {near!r}?" if near else ""
        return f"no dataset is called {name!r}, in this version of tensorflow-datasets or in {root}{advice}"
    configs = _configs(tfds, root, name)
    if configs and config not in configs and not (config is None and name in tfds.list_builders()):
        missing = f"{name!r} has no configuration {config!r}" if config else f"{name!r} has several configurations"
        return f"{missing}; name one as {name}/CONFIG{known(config or '', configs)}"
    folder = root / name / config if config else root / name
    broken = [one for one in _folders(folder) if tfds.core.Version.is_valid(one) and not _is_whole(folder / one)]
    if broken and version in (None, *broken):
        return half_prepared(folder / broken[-1])
    versions = _versions(tfds, root, name, config)
    if version and version not in versions:
        return f"{name!r} has no version {version}{known(version, versions)}"
    return None


def _folders(path: Any) -> list[str]:
    """Names of a directory's folders; of the library's own, those that may be datasets."""
    if not path.is_dir():
        return []
    found = [one.name for one in path.iterdir() if one.is_dir()]
    return sorted(name for name in found if not name.startswith((".", "incomplete.")) and name != "downloads")


def _configs(tfds: Any, root: Any, name: str) -> set[str]:
    on_disk = {one for one in _folders(root / name) if not tfds.core.Version.is_valid(one)}
    with contextlib.suppress(Exception):  # unknown, or its code does not load: the disk tells
        on_disk |= set(tfds.builder_cls(name).builder_configs)
    return on_disk


def _versions(tfds: Any, root: Any, name: str, config: str | None) -> set[str]:
    folder = root / name / config if config else root / name
    on_disk = {one for one in _folders(folder) if tfds.core.Version.is_valid(one)}
    with contextlib.suppress(Exception):
        on_disk |= {str(one) for one in tfds.builder_cls(name)(data_dir=root, config=config).versions}
    return on_disk


def _is_whole(folder: Any) -> bool:
    return all((folder / name).exists() for name in DESCRIPTIONS)


def half_prepared(folder: Any) -> str:
    """What to say of a folder that the library did not finish, or that was copied in part."""
    return f"{folder} is half-prepared: {' or '.join(DESCRIPTIONS)} is missing; remove it, or copy it again, whole"


def prepare(builder: Any, where: str) -> None:
    """Download and prepare a dataset, unless it is. Whole or not at all: the library renames the folder at the end.

    where: how messages name the dataset. Raises UserError where a host is out of reach, answers with something
    else than expected, or files have to be fetched by hand; OSError where the disk is full.
    """
    if builder.is_prepared():
        return
    if builder.data_path.exists():
        raise UserError(f"{where}: {half_prepared(builder.data_path)}")
    _check_reach(builder, where)
    reading()  # loads TensorFlow, which the library would do with noise
    tfds = library()
    try:
        with _sparse_lines(), contextlib.redirect_stdout(sys.stderr):
            # without asking first a bucket that holds few of them, and hangs without internet
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
    except Exception as error:  # builders are code of many hands
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{where}: cannot be prepared here: {_said(error)}; {_elsewhere(builder)}") from None


def _check_reach(builder: Any, where: str) -> None:
    """Refuse at once a download whose host is out of reach; the library would try for minutes."""
    fetched = data_directory(library()) / "downloads" / builder.name
    if fetched.is_dir() and any(fetched.glob("*.INFO")):
        return  # what was fetched before may be enough
    places = {urlsplit(url) for url in builder.url_infos or ()}
    for host in sorted({f"{url.scheme}://{url.netloc}" for url in places if url.scheme in ("http", "https")}):
        try:
            requests.head(host, timeout=CONNECT_SECONDS)
        except requests.ConnectionError:
            raise UserError(
                f"{where}: not prepared in {builder.data_path.parent}, and {host}, which it comes from, is out of "
                f"reach; {_elsewhere(builder)}"
            ) from None
        except requests.RequestException:  # slow or odd, but there
            continue


def _elsewhere(builder: Any) -> str:
    """What to do instead: bring the prepared data, or read another version that is there."""
    name, _, version = full_location(builder).partition(":")
    advice = (
        f"prepare it where it can be (`tfds build {name}`) and copy its {name}/{version} to {builder.data_path}, "
        "or set TFDS_DATA_DIR to the directory that it was prepared in"
    )
    there = [one for one in _folders(builder.data_path.parent) if _is_whole(builder.data_path.parent / one)]
    return advice + (f"; or read what is here: {', '.join(f'{name}:{one}' for one in there)}" if there else "")


def _said(error: Exception) -> str:
    said = " ".join(str(error).split()) or "no more is said"
    return f"{type(error).__name__}: {said if len(said) <= MOST_SAID else said[:MOST_SAID] + '...'}"


@contextlib.contextmanager
def _sparse_lines() -> Iterator[None]:
    """Without a terminal, let one line of the library's bars pass every ten seconds."""
    if sys.stderr.isatty():
        yield
        return
    with contextlib.redirect_stderr(_Sparse(sys.stderr)):
        yield


class _Sparse:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def write(self, text: str) -> int:
        line = re.sub(r"\x1b\[\w", "", text).strip()
        if line and time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_LINES
            print(line, file=self._stream, flush=True)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def reading() -> Any:
    """How to read: shard after shard by one thread, nothing ahead, so that order is fixed and memory small."""
    with quiet_stderr():  # loads TensorFlow
        reading = library().ReadConfig(
            try_autocache=False,
            skip_prefetch=True,
            interleave_cycle_length=1,
            num_parallel_calls_for_decode=1,
            num_parallel_calls_for_interleave_files=1,
        )
    reading.options.threading.private_threadpool_size = 1
    return reading
