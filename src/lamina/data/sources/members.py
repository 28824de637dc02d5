"""What sources hold: the files of a folder or an archive (sorted names, bytes on demand), and their pictures."""

import difflib
import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final

from lamina.errors import UserError
from lamina.text import PATH, quoted

PICTURE_SUFFIXES: Final = (
    ".avif", ".bmp", ".dcm", ".dicom", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
IDX_SUFFIXES: Final = ("idx3-ubyte", "idx3-ubyte.gz")  # of files of images, see `lamina.data.sources.idx`
SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "pictures": (*PICTURE_SUFFIXES, *IDX_SUFFIXES),
    "texts": (".txt",),
}
# Largest file, so that a row group with one huge picture still needs little memory.
MEMBER_BYTES: Final = 128 * 2**20
MAX_MEMBERS: Final = 5_000_000
IGNORED: Final = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir"})
HIDDEN: Final = "hidden"
# why files that are no items are passed over, by suffix
REASONS: Final[Mapping[str, tuple[str, ...]]] = {
    "pictures of a format that is not read": (
        ".jxl", ".jp2", ".svg", ".psd", ".ico", ".tga", ".ppm", ".pgm", ".raw", ".cr2", ".nef", ".arw", ".dng",
    ),
    "archives inside the source are not opened": (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"),
}  # fmt: skip
OF_SYSTEM: Final = "hidden, or left by an operating system"
NO_ITEMS: Final = "no {}, and not used"

BROKEN: Final = "\ufffd"  # in place of what cannot be decoded
FEW_BROKEN: Final = 10  # letters that are not ASCII for each broken one: in other encodings nearly all are broken

Box = tuple[int, int, int, int]  # (left, top, right, bottom) in pixels


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One encoded item of a source: a picture, or a text.

    Attributes:
        name: Path inside the source, with `/`.
        encoded: Bytes of the file.
        labels: Its labels; two cells have two labels, even equal ones; empty if unlabeled.
        origin: What it was taken from (slide, patient). Pictures of one origin stay in one fold.
        boxes: A box per object of interest.
    """

    name: str
    encoded: bytes
    labels: tuple[str, ...]
    origin: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Members:
    """Files of a source.

    Attributes:
        where: Name of the source in error messages.
        names: Sorted names, with `/`.
        read: Returns the bytes of a file by its name; may raise UserError.
        content: Which of the files are its items, a key of `SUFFIXES`.
        ignored: Numbers of files that are not among the names, by what `ignored_part` finds in theirs.
    """

    where: str
    names: tuple[str, ...]
    read: Callable[[str], bytes]
    content: str = "pictures"
    ignored: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        """Sorted names of the items (pictures, or texts), by suffix. Raises UserError if there are none."""
        suffixes = SUFFIXES[self.content]
        found = tuple(name for name in self.names if name.lower().endswith(suffixes))
        if not found:
            raise UserError(f"{self.where}: no {self.content}: looked for {' '.join(suffixes)}, {self._suffixes()}")
        return found

    @cached_property
    def top(self) -> str:
        """`NAME/` if all files share one top folder, else an empty string."""
        tops = {name.partition("/")[0] if "/" in name else "" for name in self.names}
        return f"{tops.pop()}/" if len(tops) == 1 and "" not in tops else ""

    def find(self, name: str, key: str, *, folder: bool = False) -> str:
        """Return the full name of a file or folder.

        Args:
            name: Its name, relative to the root or to the single top folder.
            key: The key of params.yaml that names it, for error messages.
            folder: Whether to find a folder.

        Raises:
            UserError: If it does not exist; names the nearest one.
        """
        wanted = posixpath.normpath(name).removeprefix("./")
        known = self._folders if folder else self._known
        for candidate in (wanted, posixpath.normpath(self.top + wanted)):
            if candidate in known:
                return candidate
        kind = "folder" if folder else "file"
        raise UserError(
            f"{self.where}: no {kind} {name!r} in it, which {key} names{suggestion(wanted, self._no_pictures(known))}"
        )

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def _folders(self) -> frozenset[str]:
        folders = {"."}
        for parent in {posixpath.dirname(name) for name in self.names}:
            while parent and parent not in folders:
                folders.add(parent)
                parent = posixpath.dirname(parent)
        return frozenset(folders)

    def _no_pictures(self, known: Iterable[str]) -> list[str]:
        """Names of everything but its items, relative to the top folder, for suggestions."""
        suffixes = SUFFIXES[self.content]
        return sorted(name.removeprefix(self.top) for name in known if not name.lower().endswith(suffixes))

    def _suffixes(self) -> str:
        if not self.names:
            return "found no files"
        suffixes = Counter(PurePosixPath(name).suffix.lower() or "(no suffix)" for name in self.names)
        return "found " + ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))


def combine(parts: Iterable[tuple[str, Members]], where: str) -> Members:
    """Combine several sources into one.

    Args:
        parts: Prefix of the names (`train/`, or empty) and files of each source.
        where: Name of the combined source in error messages.

    Raises:
        UserError: If two files get the same name.
    """
    parts = list(parts)
    ignored = sum((Counter(part.ignored) for _, part in parts), Counter[str]())
    found = [(prefix + name, part, name) for prefix, part in parts for name in part.names]
    names = sorted_names((full for full, _, _ in found), where)
    places = {full: (part, name) for full, part, name in found}

    def read(full: str) -> bytes:
        part, name = places[full]
        return part.read(name)

    return Members(where=where, names=names, read=read, ignored=ignored)


def passed_over(members: Members, used: Iterable[str]) -> str:
    """Count the files of a source that are not used, by kind and reason, in words; nothing if there are none.

    Args:
        members: Files of the source.
        used: Names of those that are used.
    """
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for name in {*members.names}.difference(used):
        suffix = PurePosixPath(name).suffix.lower()
        reason = next((why for why, suffixes in REASONS.items() if suffix in suffixes), NO_ITEMS)
        kinds[reason.format(members.content)][suffix or "without suffix"] += 1
    kinds[OF_SYSTEM].update(members.ignored)
    total = sum(counts.total() for counts in kinds.values())
    found = [f"{_counted(counts)} ({reason})" for reason, counts in sorted(kinds.items()) if counts]
    return f"passed over {total} file{'s' * (total > 1)}: {', '.join(found)}" if total else ""


def _counted(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = [f"{sum(count for _, count in ordered[5:])} others"] if len(ordered) > 5 else []
    return ", ".join([*(f"{count} {kind}" for kind, count in ordered[:5]), *more])


def check_size(size: int, name: str, where: str) -> None:
    """Raise UserError if a file has more than `MEMBER_BYTES` bytes."""
    if size > MEMBER_BYTES:
        raise UserError(f"{where}: {name!r} is larger than {MEMBER_BYTES // 2**20} MiB; remove it")


def stem(name: str) -> str:
    """Return the base name of a file without its suffix, in composed Unicode."""
    return to_nfc(posixpath.splitext(posixpath.basename(name))[0])


def sorted_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Sort the names of files. Raises UserError for a name that occurs twice."""
    ordered = sorted(names)
    for before, name in pairwise(ordered):
        if before == name:
            raise UserError(f"{where}: holds {name!r} twice; pack it again, with each file once")
    return tuple(ordered)


def ignored_part(name: str) -> str | None:
    """Return what makes a file no part of the data: `hidden`, or a name that a system gives; None if nothing does."""
    for part in name.split("/"):
        if part.startswith(".") or part.lower() in IGNORED:
            return HIDDEN if part.startswith(".") else part
    return None


def is_ignored(name: str) -> bool:
    """Whether a file is no part of the data, by its name."""
    return ignored_part(name) is not None


def checked_name(name: str, where: str) -> str:
    """Return a name without `./`.

    Args:
        name: Name of a file in a source.
        where: Name of the source in error messages.

    Raises:
        UserError: If the name could point outside the source, or is not valid text.
    """
    reason = _fault(name)
    if reason:
        raise UserError(f"{where}: {name!a} {reason}; refused; give the files plain relative names")
    return posixpath.normpath(name) if name else "."


def _fault(name: str) -> str:
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "has an absolute name"
    if "\\" in name:
        return "has a backslash in its name"
    if ".." in name.split("/"):
        return "points outside the archive"
    if not _is_text(name):
        return "has a name that is not UTF-8"
    return ""


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def to_nfc(text: str) -> str:
    """Return Unicode's composed form (NFC), so that `é` from macOS and from Windows are equal."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def decode_text(data: bytes) -> str:
    """Decode text in UTF-8 (with or without byte order mark), UTF-16, or else Windows-1252 or Latin-1.

    UTF-8 with a few broken bytes stays UTF-8, with U+FFFD in their place: other encodings would replace each of its
    accented letters.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:2]:
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("utf-8-sig", errors="replace")
    broken = text.count(BROKEN)
    if len(text) - len(text.encode("ascii", "ignore")) >= (1 + FEW_BROKEN) * broken:
        return text
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def suggestion(wanted: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, else the first few names, else an empty string."""
    names = list(known)[:10_000]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; found: {', '.join(map(quoted, names[:5]))}" if names else ""


def some(items: Iterable[str]) -> str:
    """Return the first three names as text for a message."""
    shown = list(items)
    return ", ".join(quoted(one, PATH) for one in shown[:3]) + (", ..." if len(shown) > 3 else "")
