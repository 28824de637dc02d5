"""Words as input: a sparse matrix over the most frequent words of the training fold, and its transform."""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from lamina.config import Config
from lamina.data.texts import WORD, pieces, without_html
from lamina.errors import UserError
from lamina.files import file_digest, json_digest, write_json

MATRIX: Final = "matrix.npz"
VOCABULARY: Final = "vocabulary.txt"
INDEX: Final = "index.json"
IDF: Final = "idf.npy"
LONGEST_WORD: Final = 100  # characters; longer ones are data, not words, and are left out

Floats = npt.NDArray[np.float64]


class WordsSettings(Config):
    """One entry of the section `words` of params.yaml.

    Attributes:
        vocabulary: Number of columns at most: the most frequent words of the training fold; null: all.
        ngrams: Longest run of words that is a column of its own: 1 for words, 2 for words and pairs of words.
        values: Of a word in a text: `binary` (1 where it is there), `counts`, or `tfidf` (rows of length 1).
        min_texts: Words that are in fewer training texts are left out.
    """

    vocabulary: Annotated[int, Field(ge=1, le=10_000_000)] | None = 10_000
    ngrams: int = Field(default=1, ge=1, le=5)
    values: Literal["binary", "counts", "tfidf"] = "binary"
    min_texts: int = Field(default=1, ge=1, le=1_000_000)


@dataclass(frozen=True, kw_only=True)
class Vectorizer:
    """The transform from texts to rows of the matrix.

    Attributes:
        settings: What the matrix is made by.
        vocabulary: Words, or runs of words with a space between, in the order of the columns.
        idf: (width,) weights where `settings.values` is `tfidf`, else None.
        pattern: Regular expression of a word, searched in the text in lower case.
        strip_html: How the texts were decoded: new ones need `decode(data, strip_html=vectorizer.strip_html)`.
    """

    settings: WordsSettings
    vocabulary: tuple[str, ...]
    idf: Floats | None = None
    pattern: str = WORD.pattern
    strip_html: bool = False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides a row."""
        idf = None if self.idf is None else [float(value).hex() for value in self.idf]
        settings = self.settings.model_dump()
        return json_digest([settings, self.pattern, LONGEST_WORD, self.strip_html, self.vocabulary, idf])

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.vocabulary)

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {word: column for column, word in enumerate(self.vocabulary)}

    def transform(self, texts: Iterable[str]) -> Any:
        """Turn decoded texts into rows.

        Args:
            texts: n texts, in memory one at a time.

        Returns:
            (n, width) sparse CSR float32; words that the vocabulary lacks count for nothing.
        """
        columns, word = self._columns, re.compile(self.pattern)
        rows = (
            np.fromiter(map(columns.get, find_ngrams(text, self.settings.ngrams, word), repeat(-1)), np.int32)
            for text in texts
        )
        counts = _count((row[row >= 0] for row in rows), self.width)
        if self.settings.values == "binary":
            counts.data[:] = 1
        if self.idf is None:
            return counts
        from sklearn.preprocessing import normalize

        counts.data *= self.idf[counts.indices].astype(np.float32)
        return normalize(counts, copy=False)

    def transform_raw(self, texts: Sequence[str]) -> Any:
        """Turn new texts into rows, cleaned as those that were learned from; see `transform`."""
        return self.transform([without_html(text) for text in texts] if self.strip_html else texts)


def learn_vectorizer(
    texts: Iterable[str], settings: WordsSettings, *, name: str = "", strip_html: bool = False
) -> Vectorizer:
    """Choose the vocabulary from training texts, and weigh it where the values are tf-idf.

    Columns are sorted by how often a word occurs in all texts, the most frequent first; of equally frequent words the
    alphabet decides, so that the order of the texts does not count.

    Args:
        texts: Decoded texts of the training fold, and of no other.
        settings: What is chosen, and how.
        name: Of the entry under `words`, for messages.
        strip_html: As of `Vectorizer`.

    Raises:
        UserError: No word is left.

    Source:
        Inverse document frequencies as of scikit-learn's `TfidfTransformer` (smoothed): ln((1 + n) / (1 + df)) + 1.
    """
    columns: defaultdict[str, int] = defaultdict()
    columns.default_factory = columns.__len__  # a new word gets the next number
    counts = _count(
        np.fromiter(map(columns.__getitem__, find_ngrams(text, settings.ngrams)), np.int32) for text in texts
    )
    if not columns:
        raise _empty(name, "the training texts hold no words; look at filter.min_words and the source")
    words = sorted(columns)
    places = np.fromiter(map(columns.__getitem__, words), np.intp, len(words))
    in_texts = np.bincount(counts.indices, minlength=len(words))[places]
    occurrences = np.bincount(counts.indices, counts.data, minlength=len(words))[places]
    order = np.argsort(-occurrences, kind="stable")
    chosen = order[in_texts[order] >= settings.min_texts][: settings.vocabulary]
    if not len(chosen):
        most = int(in_texts.max())
        raise _empty(
            name, f"the most common word is in {most} training texts, min_texts is {settings.min_texts}; lower it"
        )
    idf = np.log((1 + counts.shape[0]) / (1 + in_texts[chosen])) + 1 if settings.values == "tfidf" else None
    return Vectorizer(
        settings=settings, vocabulary=tuple(words[place] for place in chosen), idf=idf, strip_html=strip_html
    )


def _empty(name: str, why: str) -> UserError:
    return UserError(f"params.yaml: words{'.' if name else ''}{name}: the vocabulary is empty: {why}")


def _count(rows: Iterable[npt.NDArray[np.int32]], width: int | None = None) -> Any:
    """Count the columns of each row: (n, width) CSR float32, columns sorted. width: None for one that fits."""
    from scipy.sparse import csr_matrix

    found = list(rows)
    indices = np.concatenate([np.zeros(0, np.int32), *found])
    ends = np.cumsum([0, *map(len, found)], dtype=np.int64)
    width = int(indices.max(initial=-1)) + 1 if width is None else width
    counts = csr_matrix((np.ones(len(indices), np.float32), indices, ends), shape=(len(found), width))
    counts.sum_duplicates()
    return counts


def find_ngrams(text: str, ngrams: int, word: re.Pattern[str] = WORD) -> Iterator[str]:
    """Find the words of a text in lower case, and the runs of up to `ngrams` words, joined by spaces."""
    tail: list[str] = []  # words of the piece before, with which runs begin that end in the next
    for piece in pieces(unicodedata.normalize("NFC", text).lower()):
        found = word.findall(piece)
        if max(map(len, found), default=0) > LONGEST_WORD:
            found = [one for one in found if len(one) <= LONGEST_WORD]
        yield from found
        for length in range(2, ngrams + 1):
            words = tail[-(length - 1) :] + found if tail else found
            yield from map(" ".join, zip(*(words[start:] for start in range(length)), strict=False))
        tail = (tail + found)[-(ngrams - 1) :] if ngrams > 1 else []


def write_words(folder: Path, vectorizer: Vectorizer, matrix: Any) -> None:
    """Write a matrix and its transform to an existing folder: the same input gives the same bytes.

    Args:
        folder: Gets `matrix.npz` (for `scipy.sparse.load_npz`), `vocabulary.txt` (one column a line), `index.json`
            and, for tf-idf, `idf.npy`.
        vectorizer: The transform.
        matrix: (rows, width) CSR of `Vectorizer.transform`.
    """
    from scipy.sparse import save_npz

    save_npz(folder / MATRIX, matrix)
    words = "".join(f"{word}\n" for word in vectorizer.vocabulary)
    (folder / VOCABULARY).write_text(words, encoding="utf-8", newline="\n")
    if vectorizer.idf is not None:
        np.save(folder / IDF, vectorizer.idf)
    index = {
        "digest": json_digest([vectorizer.digest, file_digest(folder / MATRIX)]),
        "vectorizer": vectorizer.digest,
        "pattern": vectorizer.pattern,
        "rows": int(matrix.shape[0]),
        "settings": vectorizer.settings.model_dump(),
        "strip_html": vectorizer.strip_html,
        "width": vectorizer.width,
    }
    write_json(folder / INDEX, index)


def read_vectorizer(folder: Path) -> Vectorizer:
    """Read the transform that the stage `words` wrote: for new texts, it gives the rows that the matrix would have.

    Args:
        folder: `data/words/NAME`, or a folder with copies of its `vocabulary.txt`, `index.json` and `idf.npy`.

    Raises:
        UserError: A file is missing, or does not fit the others.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        vocabulary = tuple((folder / VOCABULARY).read_text(encoding="utf-8").split("\n")[:-1])
        settings = WordsSettings.model_validate(index["settings"])
        idf = np.load(folder / IDF) if settings.values == "tfidf" else None
        found = Vectorizer(
            settings=settings,
            vocabulary=vocabulary,
            idf=idf,
            pattern=index["pattern"],
            strip_html=index["strip_html"],
        )
        if found.digest == index["vectorizer"]:
            return found
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; `dvc repro` runs the stage words, which makes it") from None
    except (ValueError, KeyError, TypeError, re.error):  # not JSON, or cut short
        pass
    raise UserError(
        f"{folder}: {INDEX} does not fit {VOCABULARY} and the settings, or another version wrote it; "
        "run the stage words again"
    )


def read_matrix(folder: Path) -> Any:
    """Read the matrix of a folder that the stage `words` wrote: (rows, width) CSR float32, rows as in the manifest."""
    from scipy.sparse import load_npz

    return load_npz(folder / MATRIX)
