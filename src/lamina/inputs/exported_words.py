"""From texts to the input of an exported network. This file needs NumPy and `words.json` next to it, and no lamina.

    rules = read_rules()
    to_rows(["A great film"], rules)  # (1, columns) float32

The rules, for those who write them in another language:

1. Decode the file: UTF-8 (U+FFFD for a few broken bytes), or UTF-16 with a byte order mark, else Windows-1252.
2. If `words.json` has `html`: if there is a `<`, replace what matches `break` by a line end, then remove what matches
   `tag` (both without regard to case); if there is a `&`, replace the entities of HTML 5, as `&amp;`, by their
   characters, once.
3. Bring it to Unicode's composed form (NFC), then to lower case (Unicode's full mapping).
4. The words are the matches of `pattern`, from left to right. `\\w` is a letter or digit of any script, or `_`. Words
   of more than `longest_word` characters are left out; their neighbors count as neighbors.
5. If `ngrams` is above 1, every 2 to `ngrams` neighbors, joined by a space, count as a word, too.
6. A row has a value for each of `columns`; other words count for nothing. `values` says which: `binary`, 1 if the word
   is in the text, else 0; `counts`, how often; `tfidf`, how often times `idf`, then divided by the Euclidean length of
   the row.
"""

import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def read_rules(path: Path | None = None) -> dict[str, Any]:
    """Read `words.json`; path: None for the one next to this file."""
    path = path or Path(__file__).with_name("words.json")
    return numbered(json.loads(path.read_text(encoding="utf-8")))


def numbered(rules: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `words.json` with the column of each word, `place`."""
    return rules | {"place": {word: place for place, word in enumerate(rules["columns"])}}


def to_rows(texts: Iterable[str], rules: dict[str, Any]) -> np.ndarray:
    """Turn n decoded texts into what the network takes, (n, columns) float32. rules: of `read_rules`."""
    return np.stack([_row(_cleaned(text, rules.get("html")), rules) for text in texts])


def _row(text: str, rules: dict[str, Any]) -> np.ndarray:
    row = np.zeros(len(rules["columns"]), np.float32)
    for word, count in Counter(_words(text, rules)).items():
        if word in rules["place"]:
            row[rules["place"][word]] = 1 if rules["values"] == "binary" else count
    if rules["values"] == "tfidf":
        row *= np.array(rules["idf"], np.float32)
        length = float(np.linalg.norm(row))
        return row / np.float32(length or 1)
    return row


def _words(text: str, rules: dict[str, Any]) -> Iterator[str]:
    found = [
        word
        for word in re.findall(rules["pattern"], unicodedata.normalize("NFC", text).lower())
        if len(word) <= rules["longest_word"]
    ]
    for length in range(1, rules["ngrams"] + 1):
        for start in range(len(found) - length + 1):
            yield " ".join(found[start : start + length])


def _cleaned(text: str, simple: dict[str, str] | None) -> str:
    if simple and "<" in text:
        text = re.sub(simple["break"], "\n", text, flags=re.IGNORECASE)
        text = re.sub(simple["tag"], "", text, flags=re.IGNORECASE)
    return html.unescape(text) if simple and "&" in text else text
