"""The leak audit of texts: for each test text the nearest text that training or tuning saw."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.data.texts import WORD, pieces
from lamina.progress import progress

SUSPICIOUS: Final = 0.6
"""Cosine from which a test text and its nearest count as suspicious.

Of 24,799 test reviews of films, half have a nearest with less than 0.14, 99.9 % one with less than 0.37. The two above
0.6 are second versions of a training review; some between 0.45 and 0.6 share sentences with one.
"""
RARE: Final = 0.01  # of the texts: words in more of them say little about which text it is, and cost most of the time
ALWAYS_RARE: Final = 50  # texts
FEATURES: Final = 2**22  # columns that words are hashed to: two of 200,000 words share one in 5 % of the cases

_CELLS: Final = 2**23  # of a table of cosines: 32 MiB


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
