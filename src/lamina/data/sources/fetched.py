"""A source on the web: its files are downloaded once, checked, kept in the system's folder, and read there."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from lamina.data.sources.archive import open_archive
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.fetch import PATIENCE, FetchError, Patience, Session, fetch
from lamina.data.sources.listing import listing_problem, used_names, with_digests
from lamina.data.sources.members import SUFFIXES, Members, check_size, combine
from lamina.data.sources.urls import all_urls, file_name, shown
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.locks import LOCKS, exclusive
from lamina.mirror import MIRROR, local_mirror
from lamina.progress import progress

DOWNLOADS: Final = Path(".lamina/downloads")  # in the system's folder
# files that are no archives
SINGLE_SUFFIXES: Final = (*SUFFIXES["pictures"], "idx1-ubyte", "idx1-ubyte.gz", ".csv", ".tsv", ".xml")
LONGEST_NAME: Final = 50  # characters of a file's name: at most 200 bytes; file systems allow 255

# Returns what is wrong with a file, as words that follow its name; None if it is correct.
Check = Callable[[Path], str | None]


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """A local file. where: its name in error messages."""

    path: Path
    where: str


@contextmanager
def open_fetched(config: SourceConfig, system: Path, *, patience: Patience = PATIENCE) -> Iterator[Members]:
    """Download the files at `source.location`, unless they are already here, and open them.

    The members of a single archive keep their names. Of several files, an archive's members get its name without
    suffix as a folder, and other files keep their names.

    Args:
        config: Section `source` of params.yaml.
        system: Folder of the system.
        patience: Timeouts and retries.

    Yields:
        The files of the source.

    Raises:
        UserError: If no URL returns a file that matches its digest, or LAMINA_MIRROR names no folder or has another
            file of that name.
    """
    several = len(config.locations) > 1
    with ExitStack() as stack:
        session = stack.enter_context(Session())
        parts = []
        for url, digest in zip(config.locations, config.digests, strict=True):
            name = file_name(url)
            check = fits_digest(digest) if digest else partial(_members_problem, config, name, system)
            found = obtain(url, config.mirrors, check, system / DOWNLOADS, session=session, patience=patience)
            members = stack.enter_context(_open(found, name, system))
            parts.append((_prefix(name) if several else "", members))
        yield combine(parts, where=f"the {len(parts)} files of source.location") if several else parts[0][1]


def remedy(system: Path) -> str:
    """Return what the user can do if the downloaded files are not the expected ones."""
    mirror = local_mirror()
    renew = f"remove {system / DOWNLOADS} to download again"
    return renew if mirror is None else f"check the files in {MIRROR} {str(mirror)!r}, {renew}"


def fits_digest(expected: str | None, key: str = "source.sha256") -> Check:
    """Return a check of a file's SHA-256.

    Args:
        expected: The digest; None: every file passes.
        key: The setting that contains the digest, for error messages.
    """

    def check(path: Path) -> str | None:
        if expected is None or (found := file_digest(path)) == expected:
            return None
        return f"{key} expects {expected}, got {found}"

    return check


def _members_problem(config: SourceConfig, name: str, system: Path, path: Path) -> str | None:
    """Check that a file without a digest can be opened and, if it is the only one, matches `source.members`."""
    with ExitStack() as stack:
        try:
            members = stack.enter_context(_open(Obtained(path=path, where=name), name, system))
        except UserError as error:
            return str(error).removeprefix(f"{name}: ")
        if len(config.locations) > 1 or config.members is None:
            return None  # several files are checked together when they are read
        used = used_names(members, config)  # an error here is in params.yaml: another URL would not help
        members, digests = with_digests(members)
        try:
            for one in progress(used, what="check", unit="files"):
                members.read(one)
        except UserError as error:
            return str(error).removeprefix(f"{name}: ")
        return listing_problem(digests, config.members, system)


def obtain(
    url: str, mirrors: tuple[str, ...], check: Check, folder: Path, *, session: Session, patience: Patience = PATIENCE
) -> Obtained:
    """Find the file of a URL: in LAMINA_MIRROR, kept in `folder`, or by downloading it to `folder`.

    A kept file that fails the check is downloaded again. The last downloaded file is kept even if it fails the check,
    so that the digest can be corrected without another download.

    Args:
        url: URL of the file.
        mirrors: Other URLs, see `all_urls`.
        check: What a correct file must satisfy.
        folder: Folder of downloads.
        session: Connections to reuse.
        patience: Timeouts and retries.

    Raises:
        UserError: With each URL and its reason.
    """
    name = file_name(url)
    mirror = local_mirror()
    if mirror is not None and (mirror / name).is_file():
        return _in_local_mirror(mirror / name, check)
    kept = {place: folder / _kept_name(place) for place in all_urls(url, mirrors)}
    unfit = {}
    for place, file in kept.items():
        if file.is_file():
            problem = check(file)
            if problem is None:
                return Obtained(path=file, where=shown(url))
            unfit[place] = problem
    reasons = []
    for place, file in kept.items():
        try:
            with exclusive(folder.parent / LOCKS.name / "downloads.lock", "the downloads"):  # one process continues one
                problem = _fetch_and_check(place, file, check, session, patience)
        except FetchError as error:
            reasons.append(f"{shown(place)}: {error}" + (f", and {file}: {unfit[place]}" if place in unfit else ""))
            continue
        for other in {*kept.values()} - {file}:
            other.unlink(missing_ok=True)
        unfit.clear()
        if problem is None:
            return Obtained(path=file, where=shown(url))
        reasons.append(f"{shown(place)}: {problem}")
        unfit[place] = problem
    raise UserError(_refusal(name, reasons, mirror, [kept[place] for place in unfit]))


def _fetch_and_check(place: str, file: Path, check: Check, session: Session, patience: Patience) -> str | None:
    """Download and check a file; once more if it fails the check and was assembled from several answers."""
    resumed = fetch(place, file, session=session, patience=patience)
    problem = check(file)
    if problem is not None and resumed:
        fetch(place, file, session=session, patience=patience)
        problem = check(file)
    return problem


def _refusal(name: str, reasons: list[str], mirror: Path | None, kept: list[Path]) -> str:
    missing = f"; {MIRROR} {str(mirror)!r} has no file {name!r}" if mirror is not None else ""
    if kept:
        remedy = f"if it is the right file, correct the digest: {kept[-1]} is kept and will be used"
    else:
        remedy = f"correct source.location, add source.mirrors, or put {name!r} into a folder that {MIRROR} names"
    return f"cannot fetch {name!r}: {'; '.join(reasons)}{missing}; {remedy}"


def _in_local_mirror(file: Path, check: Check) -> Obtained:
    problem = check(file)
    if problem is not None:
        raise UserError(
            f"{file}: {problem}; {MIRROR} names its folder: put the right file there, remove it, or unset {MIRROR}; "
            "if this version is the right one, correct the digest"
        )
    return Obtained(path=file, where=str(file))


def _kept_name(url: str) -> str:
    return f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{file_name(url)[-LONGEST_NAME:]}"


def _prefix(name: str) -> str:
    """Prefix of a file's members among several files: `train/` for `train.tar.gz`, empty for `labels.csv`."""
    return "" if _is_single(name) else re.sub(r"(\.tar)?\.\w+$", "", name) + "/"


def _is_single(name: str) -> bool:
    return name.lower().endswith(SINGLE_SUFFIXES)


@contextmanager
def _open(found: Obtained, name: str, spool: Path) -> Iterator[Members]:
    if not _is_single(name):
        with open_archive(found.path, where=found.where, spool=spool) as members:
            yield members
        return
    check_size(found.path.stat().st_size, name, found.where)
    yield Members(where=found.where, names=(name,), read=lambda _: found.path.read_bytes())
