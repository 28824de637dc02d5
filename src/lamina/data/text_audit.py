"""Texts that are alike: near duplicates, whose origins become one before the split, and the leak audit after it.

Near duplicates have the same words but for a few, whatever their case, spaces and punctuation. The audit finds for each
test text the nearest text that training or tuning saw.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, combinations, pairwise, repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.data.duplicates import merge_groups, merge_origins
from lamina.data.texts import WORD, pieces, words_key
from lamina.progress import progress

SHINGLE: Final = 5  # words that follow each other
BANDS: Final = 63
ROWS: Final = 2  # hashes of a band: of pairs that share 30 % of their shingles, 99.7 % agree in one band at least
SAME_TEXT: Final = 0.3
"""Share of common shingles (Jaccard) from which two texts count as the same.

A changed word changes five shingles, so that of 230 words (a usual film review) 24 may differ, of 20 words one. Texts
that were written independently share hardly any: among 50,000 film reviews, all pairs from 0.3 on are versions of one
text, or one text of an author with another film's names in it.
"""

_HASHES: Final = BANDS * ROWS
_CHUNK: Final = 2**15  # shingles hashed at a time: they stay in the processor's cache
_SMALL: Final = 32  # texts of a bucket that are all compared with each other
_COMPARED: Final = 2**14  # pairs compared at a time: 16 MiB
_WORDS: Final = 2**16  # words hashed at a time

_NOTHING: Final = pd.DataFrame({"left": [], "right": [], "agreement": []}).astype(
    {"left": np.intp, "right": np.intp, "agreement": np.float64}
)

Hashes = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.uint32]

SUSPICIOUS: Final = 0.6
"""Cosine from which a test text and its nearest count as suspicious.

Of 24,799 test reviews of films, half have a nearest with less than 0.14, 99.9 % one with less than 0.37. The two above
0.6 are second versions of a training review; some between 0.45 and 0.6 share sentences with one.
"""
RARE: Final = 0.01  # of the texts: words in more of them say little about which text it is, and cost most of the time
ALWAYS_RARE: Final = 50  # texts
FEATURES: Final = 2**22  # columns that words are hashed to: two of 200,000 words share one in 5 % of the cases

_CELLS: Final = 2**23  # of a table of cosines: 32 MiB


def _odd_numbers(count: int, seed: int) -> Hashes:
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64, endpoint=False) | np.uint64(1)


_OF_BYTE: Final = _odd_numbers(64, 1)  # by place in the word; longer words use them again
_OF_WORD: Final = _odd_numbers(SHINGLE, 2)  # by place in the shingle
_OF_HASH: Final = _odd_numbers(_HASHES, 3)


def signatures(texts: Iterable[Sequence[str]]) -> Signatures:
    """Compute the MinHash signature of every text over its shingles of five words.

    The share of equal numbers in two signatures estimates the share of shingles that the texts have in common
    (Jaccard), with a standard error of 0.045 or less.

    Args:
        texts: Lists of texts; two are in memory for each processor.

    Returns:
        (n, 126) uint32; zeros for a text without words.

    Source:
        A. Broder, On the resemblance and containment of documents, Sequences 1997.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = []
        found = []
        for some in texts:
            waiting.append(pool.submit(_signatures, list(some)))
            if len(waiting) > 2 * (os.cpu_count() or 1):
                found.append(waiting.pop(0).result())
        found += [one.result() for one in waiting]
    return np.concatenate(found) if found else np.zeros((0, _HASHES), np.uint32)


def _signatures(texts: list[str]) -> Signatures:
    result = np.zeros((len(texts), _HASHES), np.uint32)
    for place, text in enumerate(texts):
        if words := words_key(text):
            result[place] = _min_hashes(_shingles(words.encode()))
    return result


def _shingles(words: bytes) -> Hashes:
    """Hashes of the shingles of words that are separated by spaces; of fewer than five words, one of them all."""
    data = np.frombuffer(words, np.uint8)
    edges = np.concatenate([[-1], np.flatnonzero(data == ord(" ")), [len(data)]])
    starts = range(0, len(edges) - 1, _WORDS)
    hashes = np.concatenate([_word_hashes(data, edges[start : start + _WORDS + 1]) for start in starts])
    width = min(SHINGLE, len(hashes))
    count = len(hashes) - width + 1
    total = np.zeros(count, np.uint64)
    for number in range(width):
        total += hashes[number : number + count] * _OF_WORD[number]
    return _mixed(total)


def _word_hashes(data: npt.NDArray[np.uint8], edges: npt.NDArray[np.intp]) -> Hashes:
    """Hash the words between edges, the places of spaces. data: all letters as UTF-8."""
    starts = edges[:-1] + 1 - (edges[0] + 1)
    some = data[edges[0] + 1 : edges[-1]]
    place = np.arange(len(some)) - np.repeat(starts, np.diff(np.append(starts, len(some))))
    letters = (some.astype(np.uint64) + np.uint64(1)) * _OF_BYTE[place % len(_OF_BYTE)]
    letters[edges[1:-1] - (edges[0] + 1)] = 0
    return _mixed(np.add.reduceat(letters, starts))


def _mixed(hashes: Hashes) -> Hashes:
    """Spread every bit over all others. Source: the finalizer of MurmurHash3 (A. Appleby)."""
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return hashes ^ (hashes >> np.uint64(33))


def _min_hashes(shingles: Hashes) -> Signatures:
    least = np.full(_HASHES, 2**32 - 1, np.uint32)
    step = max(1, _CHUNK // _HASHES)
    for start in range(0, len(shingles), step):
        some = shingles[start : start + step, None] * _OF_HASH
        np.minimum(least, (some >> np.uint64(32)).astype(np.uint32).min(axis=0), out=least)
    return least


def similar_pairs(found: Signatures) -> pd.DataFrame:
    """Find the pairs of texts that have at least `SAME_TEXT` of their shingles in common.

    Candidates agree in all hashes of a band. Of many texts that agree in one band, each is compared with the first and
    the next one alone, so that the time does not grow with the square of their number.

    Args:
        found: (n, 126) of `signatures`.

    Returns:
        `left`, `right` (places below n, left < right) and `agreement` (estimated share of common shingles, 0 to 1),
        most similar first.
    """
    places = np.flatnonzero(found.any(axis=1))
    tables = [_NOTHING]
    for band in range(BANDS):
        pairs = places[_candidates(found[places, band * ROWS : (band + 1) * ROWS])]
        for start in range(0, len(pairs), _COMPARED):
            left, right = pairs[start : start + _COMPARED].T
            agreement = np.mean(found[left] == found[right], axis=1).round(4)
            table = pd.DataFrame({"left": left, "right": right, "agreement": agreement})
            tables.append(table[agreement >= SAME_TEXT])
    pairs_found = pd.concat(tables, ignore_index=True).drop_duplicates(["left", "right"])
    return pairs_found.sort_values(["agreement", "left", "right"], ascending=[False, True, True], ignore_index=True)


def _candidates(keys: Signatures) -> npt.NDArray[np.intp]:
    """Pairs of rows that are equal: (k, 2) places, the smaller one first."""
    order = np.lexsort(keys.T)  # stable: equal rows stay in their order
    is_new = np.append(True, np.any(keys[order[1:]] != keys[order[:-1]], axis=1))
    starts = np.flatnonzero(is_new)
    sizes = np.diff(np.append(starts, len(order)))
    buckets = [order[start : start + size] for start, size in zip(starts, sizes, strict=True) if size > 1]
    return np.array([pair for bucket in buckets for pair in _pairs(bucket)], np.intp).reshape(-1, 2)


def _pairs(bucket: npt.NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    places = bucket.tolist()
    if len(places) <= _SMALL:
        return combinations(places, 2)
    return chain(zip(repeat(places[0]), places[1:], strict=False), pairwise(places[1:]))


def merge_similar(origins: "pd.Series[str]", pairs: pd.DataFrame) -> "pd.Series[str]":
    """Make the origins of similar texts one origin.

    Args:
        origins: (n,) one for each text.
        pairs: `left`, `right` of `similar_pairs`.

    Returns:
        (n,) origins; several that became one have the first of their names.
    """
    return merge_origins(origins, merge_groups(np.arange(len(origins)), pairs[["left", "right"]].to_numpy()))


@dataclass(frozen=True, kw_only=True)
class TextAudit:
    """What the audit found: `pairs` (docs/files.md, `audit.parquet`), and how many of them are suspicious."""

    pairs: pd.DataFrame
    suspicious: int


@dataclass(frozen=True, kw_only=True)
class DescribedTexts:
    """Texts as numbers.

    Attributes:
        words: (n, `FEATURES`) sparse float32, tf-idf of each word; rows of length 1.
        rare: The same, where it is not 0 for rare words alone.
    """

    words: Any
    rare: Any


def describe_texts(texts: Iterable[Sequence[str]]) -> DescribedTexts:
    """Describe texts by their words, weighted by tf-idf.

    Args:
        texts: Lists of texts.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    vectorizer = HashingVectorizer(
        n_features=FEATURES, analyzer=_words, alternate_sign=False, norm=None, dtype=np.float32
    )
    counts = vstack([vectorizer.transform(list(some)) for some in texts], format="csr")
    in_texts = np.bincount(counts.indices, minlength=FEATURES)
    is_rare = in_texts <= max(ALWAYS_RARE, RARE * counts.shape[0])
    words = TfidfTransformer(sublinear_tf=True).fit_transform(counts).astype(np.float32)
    rare = words.copy()
    rare.data[~is_rare[rare.indices]] = 0
    rare.eliminate_zeros()
    return DescribedTexts(words=words, rare=rare)


def _words(text: str) -> list[str]:
    return [word for piece in pieces(text.lower()) for word in WORD.findall(piece)]


def audit_texts(manifest: pd.DataFrame, described: DescribedTexts) -> TextAudit:
    """Find for each test text its nearest in training and validation.

    Rare words decide which text is the nearest; all words decide how near it is.

    Args:
        manifest: `id`, `fold`, a row for each of `described`; spare texts take no part.
        described: Those of `describe_texts`.

    Returns:
        One row for each test text: `id`, `nearest` (null where none shares a rare word), `fold` of that, `agreement`
        (cosine, 0 to 1); the most similar first. Of equally near texts the first one counts.
    """
    folds = manifest["fold"]
    test, seen = np.flatnonzero(folds == "test"), np.flatnonzero(folds.isin(["train", "validation"]))
    found, of_rare = _nearest(described.rare[test], described.rare[seen])
    nearest = manifest.iloc[seen[found]]
    has_none = of_rare == 0
    products = described.words[test].multiply(described.words[seen[found]])
    cosine = np.where(has_none, 0, np.minimum(np.asarray(products.sum(axis=1)).ravel(), 1))
    pairs = pd.DataFrame(
        {
            "id": manifest["id"].to_numpy()[test],
            "nearest": pd.Series(nearest["id"].to_numpy(object)).mask(has_none, None),
            "fold": pd.Series(nearest["fold"].to_numpy(object)).mask(has_none, None),
            "agreement": np.round(cosine.astype(np.float64), 4),
        }
    )
    pairs = pairs.sort_values(["agreement", "id"], ascending=[False, True], ignore_index=True)
    return TextAudit(pairs=pairs, suspicious=int((pairs["agreement"] >= SUSPICIOUS).sum()))


def _nearest(test: Any, seen: Any) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Place of the nearest row, (n,), and its cosine. Memory holds `_CELLS` cosines at a time."""
    found, cosine = np.zeros(test.shape[0], np.intp), np.zeros(test.shape[0], np.float32)
    step = max(1, _CELLS // max(1, seen.shape[0]))
    starts = range(0, test.shape[0], step)
    sizes = [min(step, test.shape[0] - start) for start in starts]
    columns = seen.T.tocsr()
    for start in progress(starts, what="audit", unit="texts", sizes=sizes):
        cosines = (test[start : start + step] @ columns).toarray()
        found[start : start + step] = cosines.argmax(axis=1)
        cosine[start : start + step] = cosines.max(axis=1)
    return found, cosine
