"""A source on the web: its files are fetched once, checked, kept in the system's folder, and read there."""

import hashlib
import os
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
from lamina.data.sources.listing import listing_problem, recorded, used_names
from lamina.data.sources.members import MEMBER_BYTES, PICTURE_SUFFIXES, Members, compose
from lamina.data.sources.urls import file_name, places, shown
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.progress import progress

DOWNLOADS: Final = Path(".lamina/downloads")  # in the system's folder
MIRROR: Final = "LAMINA_MIRROR"
SINGLE_SUFFIXES: Final = (*PICTURE_SUFFIXES, ".csv", ".tsv", ".xml")  # what is read as it is; all else is an archive
LONGEST_NAME: Final = 50  # characters of a kept file's: at most 200 bytes, where file systems allow 255

# What is wrong with a file, in words that follow its name, or None where it is the right one.
Check = Callable[[Path], str | None]


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """A file that is here. where: how messages name it."""

    path: Path
    where: str


@contextmanager
def open_fetched(config: SourceConfig, system: Path, *, patience: Patience = PATIENCE) -> Iterator[Members]:
    """Fetch what `source.location` names, unless it is here already, and open it.

    One archive gives its members as they are; of several files, an archive's members stand under its name
    without suffix, any other under its own. Raises UserError where no place gives a file that fits
    its digest, or where LAMINA_MIRROR names no folder or holds another file by that name.
    """
    several = len(config.locations) > 1
    with ExitStack() as stack:
        session = stack.enter_context(Session())
        parts = []
        for url, digest in zip(config.locations, config.digests, strict=True):
            name = file_name(url)
            check = fits_digest(digest) if digest else partial(_fits_members, config, name, system)
            found = obtain(url, config.mirrors, check, system / DOWNLOADS, session=session, patience=patience)
            members = stack.enter_context(_open(found, name, system))
            parts.append((_prefix(name) if several else "", members))
        yield compose(parts, where=f"the {len(parts)} files of source.location") if several else parts[0][1]


def remedy(system: Path) -> str:
    """What to do where files were obtained and yet hold something else."""
    shelf = _shelf()
    renew = f"remove {system / DOWNLOADS} to fetch anew"
    return renew if shelf is None else f"look at the files in {MIRROR} {str(shelf)!r}, {renew}"


def fits_digest(expected: str | None, key: str = "source.sha256") -> Check:
    """The check of a file's SHA-256, which every file passes where None is expected. key: where it was given."""
    return partial(_fits_digest, expected, key)


def _fits_digest(expected: str | None, key: str, path: Path) -> str | None:
    if expected is None or (found := file_digest(path)) == expected:
        return None
    return f"{key} expects {expected}, got {found}"


def _fits_members(config: SourceConfig, name: str, system: Path, path: Path) -> str | None:
    """Whether a file of unknown digest opens, and where it is the only one, holds what `source.members` says."""
    with ExitStack() as stack:
        try:
            members = stack.enter_context(_open(Obtained(path=path, where=name), name, system))
        except UserError as error:
            return str(error).removeprefix(f"{name}: ")
        if len(config.locations) > 1 or config.members is None:
            return None  # several are checked together, as they are read
        used = used_names(members, config)  # what is wrong here is in params.yaml: no other place would help
        members, digests = recorded(members)
        try:
            for one in progress(used, what="check", unit="files"):
                members.read(one)
        except UserError as error:
            return str(error).removeprefix(f"{name}: ")
        return listing_problem(digests, config.members, system)


def obtain(
    url: str, mirrors: tuple[str, ...], check: Check, folder: Path, *, session: Session, patience: Patience = PATIENCE
) -> Obtained:
    """Find the file of an address: in LAMINA_MIRROR, kept in `folder`, or fetched to there.

    A kept file that does not fit is fetched anew, and the last one that came is kept although it does not fit, so
    that a digest can be mended without fetching again. Raises UserError with each place and its reason.
    """
    name = file_name(url)
    shelf = _shelf()
    if shelf is not None and (shelf / name).is_file():
        return _on_shelf(shelf / name, check)
    kept = {place: folder / _kept_name(place) for place in places(url, mirrors)}
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
            problem = _fetch_anew(place, file, check, session, patience)
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
    raise UserError(_refusal(name, reasons, shelf, [kept[place] for place in unfit]))


def _fetch_anew(place: str, file: Path, check: Check, session: Session, patience: Patience) -> str | None:
    """Fetch a file and check it; from the start, where it does not fit and was put together from several answers."""
    resumed = fetch(place, file, session=session, patience=patience)
    problem = check(file)
    if problem is not None and resumed:
        fetch(place, file, session=session, patience=patience)
        problem = check(file)
    return problem


def _refusal(name: str, reasons: list[str], shelf: Path | None, kept: list[Path]) -> str:
    lacking = f"; {MIRROR} {str(shelf)!r} holds no file {name!r}" if shelf is not None else ""
    if kept:
        remedy = f"if it is the right file, mend the digest: {kept[-1]} is kept and will be used"
    else:
        remedy = f"mend source.location, add source.mirrors, or put {name!r} into a folder that {MIRROR} names"
    return f"cannot fetch {name!r}: {'; '.join(reasons)}{lacking}; {remedy}"


def _shelf() -> Path | None:
    """The folder that LAMINA_MIRROR names, if it is set."""
    told = os.environ.get(MIRROR)
    if told and not Path(told).is_dir():
        raise UserError(f"{MIRROR} names {told!r}, which is no folder; mend it, or unset it")
    return Path(told) if told else None


def _on_shelf(file: Path, check: Check) -> Obtained:
    problem = check(file)
    if problem is not None:
        raise UserError(
            f"{file}: {problem}; {MIRROR} names its folder: put the right file there, remove it, or unset {MIRROR}"
        )
    return Obtained(path=file, where=str(file))


def _kept_name(url: str) -> str:
    return f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{file_name(url)[-LONGEST_NAME:]}"


def _prefix(name: str) -> str:
    """Where a file's members stand among those of others: `train.tar.gz` gives `train/`, `labels.csv` nothing."""
    return "" if _is_single(name) else re.sub(r"(\.tar)?\.\w+$", "", name) + "/"


def _is_single(name: str) -> bool:
    return name.lower().endswith(SINGLE_SUFFIXES)


@contextmanager
def _open(found: Obtained, name: str, spool: Path) -> Iterator[Members]:
    if not _is_single(name):
        with open_archive(found.path, where=found.where, spool=spool) as members:
            yield members
        return
    if found.path.stat().st_size > MEMBER_BYTES:
        raise UserError(f"{found.where}: is larger than {MEMBER_BYTES // 2**20} MiB; take it out")
    yield Members(where=found.where, names=(name,), read=lambda _: found.path.read_bytes())
