"""Listings of the files that are read, in the format of `sha256sum`, and their digest: `source.members`."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from lamina.data.sources.boxes import find_boxes
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.idx import IDX, is_idx, labels_file
from lamina.data.sources.layout import folder_level
from lamina.data.sources.members import Members, some
from lamina.data.sources.text_table import find_text_table

LISTING: Final = "members.sha256"  # next to params.yaml
DIGITS: Final = 64


def used_names(members: Members, config: SourceConfig) -> list[str]:
    """Return the sorted names of the files that are read: pictures (or texts), the label table, and box files."""
    if find_text_table(members, config) is not None:
        return [members.find(config.labels, "source.labels")]
    names = set(replace(members, content=config.content).pictures)
    if config.labels == IDX:
        names |= {labels_file(members, name) for name in names if is_idx(name)}
    elif config.labels != "none" and folder_level(config.labels) is None:
        names.add(members.find(config.labels, "source.labels"))
    if config.boxes:
        names |= set(find_boxes(members, config.boxes).values())
    return sorted(names)


def with_digests(members: Members) -> tuple[Members, dict[str, str]]:
    """Return the same members, and a dictionary that receives the SHA-256 of each file when it is read."""
    digests: dict[str, str] = {}

    def read(name: str) -> bytes:
        data = members.read(name)
        digests[name] = hashlib.sha256(data).hexdigest()
        return data

    return replace(members, read=read), digests


def listing(digests: Mapping[str, str]) -> str:
    """Return a line `DIGEST  NAME` per file, sorted by name; `sha256sum --check` can read it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))


def listing_problem(digests: Mapping[str, str], expected: str, system: Path) -> str | None:
    """Compare the files that were read with `source.members`.

    Args:
        digests: SHA-256 of each file that was read.
        expected: The value of `source.members`.
        system: Folder of params.yaml; a listing there tells which files differ.

    Returns:
        The difference, as words that follow the name of the source; None if there is none.
    """
    found = _digest(listing(digests).encode())
    if found == expected:
        return None
    problem = f"source.members expects {expected}, got {found} of {len(digests)} files"
    path = system / LISTING
    if not path.is_file():
        return f"{problem}; put a listing {LISTING} next to params.yaml to see which differ"
    listed = path.read_bytes()
    if _digest(listed) != expected:
        return f"{problem}; {LISTING} does not match source.members (its digest is {_digest(listed)}): correct one"
    return f"{problem}: {_difference(_parse(listed), digests)}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parse(listed: bytes) -> dict[str, str]:
    lines = listed.decode(errors="replace").split("\n")
    return {line[DIGITS + 2 :]: line[:DIGITS] for line in lines if line}


def _difference(listed: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Numbers of changed, missing and new files, and the first three of each."""
    kinds = {
        "changed": [name for name in listed if name in found and listed[name] != found[name]],
        "missing": [name for name in listed if name not in found],
        "new": [name for name in sorted(found) if name not in listed],
    }
    return ", ".join(f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names)
