"""Finds and prepares datasets of TensorFlow Datasets (TFDS).

A dataset is prepared once, in the library's own directory: TFDS_DATA_DIR, or ~/tensorflow_datasets. Prepared datasets
are read from there without internet and without the code that prepared them.
"""

import contextlib
import difflib
import errno
import logging
import os
import re
import sys
import time
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from lamina.config import nearest
from lamina.errors import UserError
from lamina.quiet_stderr import quiet_stderr

# NAME/CONFIG:VERSION; a version may contain stars, as in the library
LOCATION: Final = re.compile(
    r"(?P<name>[A-Za-z_]\w*)(/(?P<config>[\w.+-]+))?(:(?P<version>(\d+|\*)\.(\d+|\*)\.(\d+|\*)))?"
)
DESCRIPTIONS: Final = ("dataset_info.json", "features.json")  # files that the library writes last
MOST_NAMES: Final = 12  # listed in a message
LONGEST_MESSAGE: Final = 400  # characters of a message of the library
CONNECT_SECONDS: Final = 10.0
SECONDS_BETWEEN_LINES: Final = 10.0


def library() -> Any:
    """Import TensorFlow Datasets without log output, in about a second; it loads TensorFlow only to read data."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # else TensorFlow takes all memory of the GPU
    os.environ.setdefault("NO_GCE_CHECK", "true")  # else the library asks the network whether this is Google's cloud
    import tensorflow_datasets

    for name in ("absl", "urllib3.connectionpool"):  # their warnings; errors become one line here
        logging.getLogger(name).setLevel(logging.ERROR)
    return tensorflow_datasets


def find_builder(location: str) -> Any:
    """Find the library's builder of a dataset, prepared or not; it may be on disk only.

    Args:
        location: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION.

    Raises:
        UserError: If the name, configuration or version does not exist (lists those that do), or the dataset is only
            partly prepared.
    """
    parts = LOCATION.fullmatch(location)
    if not parts:
        raise UserError(
            f"source.location {location!r}: expected a TFDS dataset as NAME, NAME/CONFIG, NAME:VERSION or "
            "NAME/CONFIG:VERSION, as in mnist:3.0.1"
        )
    tfds = library()
    root = data_directory(tfds)
    try:
        with quiet_stderr():  # some builders load TensorFlow
            builder = tfds.builder(location, data_dir=root)
            _ = builder.info
        return builder
    except Exception as error:  # builders may raise anything
        reason = _reason(tfds, root, parts["name"], parts["config"], parts["version"])
        raise UserError(f"tfds:{location}: {reason or f'cannot be set up: {_message(error)}'}") from None


def data_directory(tfds: Any) -> Any:
    """Return the path of the library's own directory; may be in a cloud bucket."""
    return tfds.core.as_path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def full_location(builder: Any) -> str:
    """Return the `source.location` of exactly this dataset, configuration and version."""
    config = f"/{builder.builder_config.name}" if builder.builder_config else ""
    return f"{builder.name}{config}:{builder.version}"


def known_names(wanted: str, names: Iterable[str]) -> str:
    """Return `; known: ...` with the names, most similar first, for a message; empty without names."""
    listed = sorted(set(names))
    close = difflib.get_close_matches(wanted, listed, n=MOST_NAMES, cutoff=0.0)
    rest = f", and {len(listed) - len(close)} more" if len(listed) > len(close) else ""
    return f"; known: {', '.join(map(repr, close))}{rest}" if close else ""


def _reason(tfds: Any, root: Any, name: str, config: str | None, version: str | None) -> str | None:
    """Why the library refuses a name; None if there is another reason."""
    names = {*tfds.list_builders(with_community_datasets=False), *_folders(root)}
    if name not in names:
        near = nearest(name, sorted(names))
        advice = f"; did you mean {near!r}?" if near else ""
        return f"no dataset is called {name!r} in this version of tensorflow-datasets or in {root}{advice}"
    configs = _configs(tfds, root, name)
    if configs and config not in configs and not (config is None and name in tfds.list_builders()):
        missing = f"{name!r} has no configuration {config!r}" if config else f"{name!r} has several configurations"
        return f"{missing}; name one as {name}/CONFIG{known_names(config or '', configs)}"
    folder = root / name / config if config else root / name
    here = [one for one in _folders(folder) if tfds.core.Version.is_valid(one)]
    broken = [one for one in here if not _is_complete(folder / one)]
    if broken and version in (None, *broken):
        return _partly_prepared(folder / broken[-1])
    versions = set(here)
    with contextlib.suppress(Exception):  # unknown, or its code does not load: use the disk only
        versions |= {str(one) for one in tfds.builder_cls(name)(data_dir=root, config=config).versions}
    if version and version not in versions:
        return f"{name!r} has no version {version}{known_names(version, versions)}"
    return None


def _folders(path: Any) -> list[str]:
    """Sorted names of the folders in a directory, without those that cannot be datasets."""
    if not path.is_dir():
        return []
    found = [one.name for one in path.iterdir() if one.is_dir()]
    return sorted(name for name in found if not name.startswith((".", "incomplete.")) and name != "downloads")


def _configs(tfds: Any, root: Any, name: str) -> set[str]:
    on_disk = {one for one in _folders(root / name) if not tfds.core.Version.is_valid(one)}
    with contextlib.suppress(Exception):  # see `_reason`
        on_disk |= set(tfds.builder_cls(name).builder_configs)
    return on_disk


def _is_complete(folder: Any) -> bool:
    return all((folder / name).exists() for name in DESCRIPTIONS)


def _partly_prepared(folder: Any) -> str:
    """Message about a folder that the library did not finish, or that was copied only in part."""
    return (
        f"{folder} is only partly prepared: {' or '.join(DESCRIPTIONS)} is missing; remove it, or copy all of it again"
    )


def prepare_dataset(builder: Any, where: str) -> None:
    """Download and prepare a dataset unless it is prepared; the library renames the folder when it is complete.

    Args:
        builder: The builder of the library.
        where: Name of the dataset in error messages.

    Raises:
        UserError: If a host cannot be reached or sends something unexpected, or files must be downloaded by hand.
        OSError: If the disk is full.
    """
    if builder.is_prepared():
        return
    if builder.data_path.exists():
        raise UserError(f"{where}: {_partly_prepared(builder.data_path)}")
    _check_reach(builder, where)
    read_config()  # loads TensorFlow without its log output
    tfds = library()
    lines: Any = sys.stderr if sys.stderr.isatty() else _Sparse(sys.stderr)
    try:
        with contextlib.redirect_stderr(lines), contextlib.redirect_stdout(sys.stderr):
            # do not try the bucket of prepared datasets: it has few, and hangs without internet
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
    except Exception as error:  # builders may raise anything
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{where}: cannot be prepared here: {_message(error)}; {_advice(builder)}") from None


def _check_reach(builder: Any, where: str) -> None:
    """Refuse a download at once if its host cannot be reached; the library would try for minutes."""
    fetched = data_directory(library()) / "downloads" / builder.name
    if fetched.is_dir() and any(fetched.glob("*.INFO")):
        return  # earlier downloads may be enough
    places = {urlsplit(url) for url in builder.url_infos or ()}
    for host in sorted({f"{url.scheme}://{url.netloc}" for url in places if url.scheme in ("http", "https")}):
        try:
            requests.head(host, timeout=CONNECT_SECONDS)
        except requests.ConnectionError:
            raise UserError(
                f"{where}: not prepared in {builder.data_path.parent}, and its host {host} cannot be reached; "
                f"{_advice(builder)}"
            ) from None
        except requests.RequestException:  # slow or unusual, but reachable
            continue


def _advice(builder: Any) -> str:
    """What to do instead: copy prepared data, or read another version that is here."""
    name, _, version = full_location(builder).partition(":")
    advice = (
        f"prepare it on another machine (`tfds build {name}`) and copy its {name}/{version} to {builder.data_path}, "
        "or set TFDS_DATA_DIR to the directory where it is prepared"
    )
    here = [one for one in _folders(builder.data_path.parent) if _is_complete(builder.data_path.parent / one)]
    return advice + (f"; or read what is here: {', '.join(f'{name}:{one}' for one in here)}" if here else "")


def _message(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + '...'}"


class _Sparse:
    """Prints only one line of the library's progress bars every ten seconds, for a stream that is no terminal."""

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


def read_config() -> Any:
    """Return the library's options of reading: one thread, no prefetch, so that the order is fixed and memory small."""
    with quiet_stderr():  # loads TensorFlow
        config = library().ReadConfig(
            try_autocache=False,
            skip_prefetch=True,
            interleave_cycle_length=1,
            num_parallel_calls_for_decode=1,
            num_parallel_calls_for_interleave_files=1,
        )
    config.options.threading.private_threadpool_size = 1
    return config
