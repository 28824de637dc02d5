"""Listings of what is read of a source, as `sha256sum` writes them, and their digest: `source.members`."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from lamina.data.sources.boxes import find_boxes
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.members import Members, some
from lamina.data.sources.text_table import find_text_table
from lamina.errors import UserError

LISTING: Final = "members.sha256"  # stands beside params.yaml
DIGITS: Final = 64


def used_names(members: Members, config: SourceConfig) -> list[str]:
    """Names of the members that are read under a config: the pictures, the label table, the pictures' box files."""
    if find_text_table(members, config) is not None:
        return [members.find(config.labels, "source.labels")]
    names = set(replace(members, content=config.content).pictures)
    if config.labels not in ("folder", "none"):
        names.add(members.find(config.labels, "source.labels"))
    if config.boxes:
        names |= set(find_boxes(members, config.boxes).values())
    return sorted(names)


def recorded(members: Members) -> tuple[Members, dict[str, str]]:
    """The same members, and a table that gets the SHA-256 of each one when it is read."""
    digests: dict[str, str] = {}

    def read(name: str) -> bytes:
        data = members.read(name)
        digests[name] = hashlib.sha256(data).hexdigest()
        return data

    return replace(members, read=read), digests


def listing(digests: Mapping[str, str]) -> str:
    """One line `HEX  NAME` a member, sorted by the whole name: `sha256sum --check` reads it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))


def listing_problem(digests: Mapping[str, str], expected: str, system: Path) -> str | None:
    """What differs from `source.members`, in words that follow the source's name; None where nothing does.

    digests: SHA-256 of each member read; system: the folder where a listing of what was expected may stand.
    """
    found = _digest(listing(digests).encode())
    if found == expected:
        return None
    said = f"source.members expects {expected}, got {found} of {len(digests)} files"
    path = system / LISTING
    if not path.is_file():
        return f"{said}; a listing {LISTING} beside params.yaml would tell which differ"
    told = path.read_bytes()
    if _digest(told) != expected:
        return f"{said}; {LISTING} is itself not what source.members says (it has {_digest(told)}): mend one of them"
    return f"{said}: {_difference(_parse(told), digests)}"


def check_listing(digests: Mapping[str, str], expected: str, system: Path, *, where: str, remedy: str) -> None:
    """Raise UserError where the members read are not those of `source.members`."""
    problem = listing_problem(digests, expected, system)
    if problem:
        raise UserError(f"{where}: {problem}; {remedy}, or mend source.members")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parse(told: bytes) -> dict[str, str]:
    lines = told.decode(errors="replace").split("\n")
    return {line[DIGITS + 2 :]: line[:DIGITS] for line in lines if line}


def _difference(told: Mapping[str, str], found: Mapping[str, str]) -> str:
    """How many files changed, are missing, are new, and the first three of each."""
    kinds = {
        "changed": [name for name in told if name in found and told[name] != found[name]],
        "missing": [name for name in told if name not in found],
        "new": [name for name in sorted(found) if name not in told],
    }
    return ", ".join(f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names)
