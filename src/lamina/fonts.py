"""Fonts for names in any script: the font that matplotlib ships, or one of this machine that has the letters."""

import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from lamina.text import cut, escape, printable

# covers Latin, Greek, Cyrillic, Arabic, Hebrew and more; found without importing matplotlib, which takes a second
SHIPPED: Final = Path(
    str(distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf"))  # Windows: a PurePath
)
FOLDERS: Final = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
)
SUFFIXES: Final = (".otf", ".ttc", ".ttf")
FIRST_UNCERTAIN: Final = 0x250  # the letters of European languages come before: all are in the shipped font
OURS: Final = "\N{HORIZONTAL ELLIPSIS}\N{RIGHTWARDS ARROW}"  # in our own captions, and in the shipped font
LONGEST: Final = 60  # characters of a name in a picture

_noted: list[str] = []  # the letter of the note that was printed


def lettering(text: str, most: int = LONGEST) -> tuple[str, Path]:
    """Return text as it can be drawn on one line, and a font that has its letters.

    Letters that no font of this machine has become their codes, such as `\\u4e2d`, and a note on stderr says what to
    install.

    Args:
        text: of any script.
        most: characters that are kept; longer text ends in three dots.
    """
    line = cut(printable(text), most)
    wanted = {letter for letter in line if ord(letter) >= FIRST_UNCERTAIN and letter not in OURS}
    if not wanted:
        return line, SHIPPED
    fonts = fonts_with(frozenset(wanted))
    best = max(fonts, key=lambda path: len(wanted & letters_of(path)))  # the first of equal ones
    missing = wanted - letters_of(best)
    if missing:
        _note(min(missing))
    return cut("".join(escape(letter) if letter in missing else letter for letter in line), most), best


def is_shaped(text: str) -> bool:
    """Whether letters join or change their order when they are drawn, as those of Arabic, Hebrew and Hindi."""
    return any(0x590 <= ord(letter) < 0x1E00 for letter in text)


@cache
def fonts_with(wanted: frozenset[str]) -> tuple[Path, ...]:
    """Return the shipped font, then those of this machine up to the first that has all the letters."""
    found: list[Path] = []
    for path in (SHIPPED, *installed_fonts()):
        found.append(path)
        if wanted <= letters_of(path):
            break
    return tuple(found)


@cache
def installed_fonts() -> tuple[Path, ...]:
    """Return the files of fonts on this machine, regular sans serif ones first, then by name."""
    own = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    folders = (Path(folder).expanduser() for folder in (*FOLDERS, f"{own}/fonts"))
    found = {path for folder in folders for path in _files(folder) if path.suffix.lower() in SUFFIXES}
    return tuple(
        sorted(found, key=lambda path: ("Regular" not in path.name, "Sans" not in path.name, path.name, str(path)))
    )


def _files(folder: Path) -> Iterator[Path]:
    return (Path(place) / name for place, _, names in os.walk(folder) for name in names)


@cache
def letters_of(path: Path) -> frozenset[str]:
    """Return the characters that a font has an outline for; none of a broken file, or of one with bitmaps alone."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with path.open("rb") as file, TTFont(file, fontNumber=0, lazy=True) as font:
            outlines = "glyf" in font or "CFF " in font or "CFF2" in font
            return frozenset(map(chr, font.getBestCmap() or {})) if outlines else frozenset()
    except (TTLibError, OSError, AssertionError, KeyError, ValueError):
        return frozenset()


def _note(missing: str) -> None:
    """Say that no font has a letter; only the first time, since there may be thousands of names."""
    if _noted:
        return
    _noted.append(missing)
    name = unicodedata.name(missing, "no letter of Unicode that this Python knows")
    print(
        f"note: no font of this machine has every letter of the names ({missing}: {name}, ...); pictures show codes "
        "in their place; install fonts that have them, as of the Debian packages fonts-noto-core and fonts-noto-cjk",
        file=sys.stderr,
    )
