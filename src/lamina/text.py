"""Text that others wrote, made fit to print: names and values in messages and tables, and names in other systems."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Final

VALUE: Final = 80  # characters of a value in a message
PATH: Final = 300  # characters of the name of a file, whose end matters
BEGINNING, END = 1000, 400  # characters of a message that stay where it is too long
JOINERS: Final = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # invisible, but letters of Persian and Hindi


def printable(text: object) -> str:
    """Return text that stays on one line: line breaks, control characters and marks of direction as their escapes."""
    return "".join(map(_printable, str(text)))


def _printable(letter: str) -> str:
    if letter.isprintable() or letter in JOINERS:
        return letter
    return " " if unicodedata.category(letter) == "Zs" else escape(letter)


def escape(letter: str) -> str:
    r"""Return a character as Python writes it in ASCII: `\n`, `\u4e2d`."""
    return letter.encode("unicode_escape").decode()


def cut(text: str, most: int = VALUE) -> str:
    """Return at most so many characters; what was longer ends in three dots."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def quoted(value: object, most: int = VALUE) -> str:
    """Return a value of any type in a message: as Python writes it, cut."""
    return cut(repr(value), most)


def one_line(message: object) -> str:
    """Return a message as one printable line. A long one keeps its beginning and its end, which says what to do."""
    line = printable(" ".join(str(message).splitlines()))
    left_out = len(line) - BEGINNING - END
    return line if left_out <= 0 else f"{line[:BEGINNING]} ... ({left_out:,} letters left out) ... {line[-END:]}"


def distinct(names: Iterable[str], *, refused: str, most: int) -> dict[str, str]:
    """Give names a form that another system takes, so that no two become one.

    A name that cannot stay as it is ends in a digest of what it was; so do names that differ only in the case of their
    letters, which many file systems and databases ignore.

    Args:
        names: any text.
        refused: regular expression of a character that is not taken; `_` stands in its place.
        most: characters of a name.

    Returns:
        The form of each name.
    """
    known = list(names)
    alike = Counter(name.casefold() for name in known)
    forms = {name: re.sub(refused, "_", name) for name in known}
    return {
        name: name
        if form == name and len(name) <= most and alike[name.casefold()] == 1
        else _digested(name, form, most)
        for name, form in forms.items()
    }


def _digested(name: str, form: str, most: int) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{form[: most - len(digest) - 1]}-{digest}"
