"""Texts: decoding of bytes, words, and the file that holds the texts which the filter kept."""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.data.sources.members import decode_text
from lamina.errors import UserError

TEXTS: Final = Path("texts.parquet")
SCHEMA: Final = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])

# what belongs to the letter before: accents, the vowel signs of Hindi or Thai (category M), and invisible joiners
_MARKS: Final = "".join(chr(code) for code in range(0x300, 0xFE00) if unicodedata.category(chr(code))[0] == "M")
_LETTERS: Final = rf"\w[\w{_MARKS}\u200c\u200d]*"
# letters and digits, apostrophes inside: "don't" is one word
WORD: Final = re.compile(rf"{_LETTERS}(?:['\u2019]{_LETTERS})*")
# Binary data have zeros, or a fifth of control characters or broken UTF-16 (U+FFFD). Texts have hardly any; some have
# 1 % where dashes of Windows-1252 were taken for Latin-1.
MOST_CONTROLS: Final = 0.05
_CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")

PIECE: Final = 2**20
_SPACE: Final = re.compile(r"\s")

_BREAK: Final = re.compile(r"<(?:br|hr|/p|/div|/li|/tr|/h[1-6])\s*/?>", re.IGNORECASE)
_NAMES: Final = (
    "a|b|blockquote|center|cite|code|div|em|font|h[1-6]|i|img|li|ol|p|pre|small|span|strong|sub|sup|table|td|th|tr"
    "|tt|u|ul"
)
_ATTRIBUTE: Final = r"""\s+[\w-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s<>"']+)"""
_TAG: Final = re.compile(rf"</?(?:{_NAMES})(?:{_ATTRIBUTE})*\s*/?>", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A decoded text. problem: why the bytes are no text, nothing where they are."""

    text: str
    problem: str


def decode(data: bytes, *, strip_html: bool = False) -> Decoded:
    """Decode a text file, as `decode_text` does.

    Args:
        data: The bytes of the file.
        strip_html: Whether `<br />` and other simple tags are removed and entities such as `&amp;` replaced.

    Returns:
        The text with line ends `\\n` in Unicode's composed form (NFC), or the problem where the bytes are binary:
        zeros, or more than 5 % of control characters.
    """
    text = decode_text(data)
    controls = sum(len(_CONTROLS.findall(piece)) for piece in pieces(text))
    if "\0" in text or controls > MOST_CONTROLS * len(text):
        share = 100 * controls / len(text)
        return Decoded(text="", problem=f"binary data: {share:.1f} % of {len(text)} characters are control characters")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Decoded(text=unicodedata.normalize("NFC", without_html(text) if strip_html else text), problem="")


def without_html(text: str) -> str:
    """Remove simple HTML: breaks become line ends, other known tags nothing, entities their characters.

    `a < b` and `<3` stay, as does a tag of unknown name.
    """
    if "<" in text:
        text = _TAG.sub("", _BREAK.sub("\n", text))
    return html.unescape(text) if "&" in text else text


def pieces(text: str, size: int = PIECE) -> Iterator[str]:
    """Cut a text at white space into pieces of about `size` characters: the words of a huge one need much memory.

    Where there is no white space for so long, a piece is twice as long and ends anywhere.
    """
    start = 0
    while len(text) - start > 2 * size:
        found = _SPACE.search(text, start + size, start + 2 * size)
        end = found.start() if found else start + 2 * size
        yield text[start:end]
        start = end
    yield text[start:] if start else text


def count_words(text: str) -> int:
    """Count the words of a text; letters of languages without spaces count as one word."""
    return sum(len(WORD.findall(piece)) for piece in pieces(text))


def same_text_key(text: str) -> str:
    """Reduce a text to what decides whether another is the same: its case and white space do not count."""
    return " ".join(filter(None, (" ".join(piece.split()) for piece in pieces(text.casefold()))))


def words_key(text: str) -> str:
    """Reduce a text to its words in lower case, separated by single spaces; punctuation does not count."""
    return " ".join(filter(None, (" ".join(WORD.findall(piece)) for piece in pieces(text.casefold()))))


def read_texts(folder: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Read the kept texts, a row group at a time.

    Args:
        folder: Where the stage `filter_texts` wrote `texts.parquet`.

    Yields:
        (ids, texts) of some texts; together all of them, in the order of `kept.parquet`.
    """
    with pq.ParquetFile(folder / TEXTS) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            yield table["id"].to_pylist(), table["text"].to_pylist()


def texts_of(ids: Sequence[str], folder: Path) -> Iterator[list[str]]:
    """Read the texts of a manifest, a row group at a time.

    Args:
        ids: Those of the manifest, (n,), in the order of `texts.parquet`.
        folder: Where the stage `filter_texts` wrote `texts.parquet`.

    Yields:
        Lists of texts; together n, in the order of `ids`.

    Raises:
        UserError: The file holds other texts, or another order.
    """
    place = 0
    for found, texts in read_texts(folder):
        if list(ids[place : place + len(found)]) != found:
            break
        place += len(found)
        yield texts
    if place != len(ids):
        raise UserError(f"{folder / TEXTS}: holds other texts than the manifest; run the stage filter_texts again")
