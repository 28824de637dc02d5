"""Stage `words@NAME`: a sparse matrix over the most frequent words of the training fold.

Cross-validation uses the same matrix: its vocabulary, and the weights of tf-idf, come from the training fold of the
main split. So in a round that tests texts of that fold, the choice of words has seen those texts, though never a label;
and in a round that trains on texts of the main test fold, words that are only there are missing. Both effects are small
against the interval of a round; the scores of the main test fold have neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import pandas as pd

from lamina.config import named, nearest, read_params, validated
from lamina.data.text_filters import TextFilterConfig
from lamina.data.texts import texts_of
from lamina.errors import UserError
from lamina.files import staged
from lamina.inputs.words import WordsSettings, learn_vectorizer, write_words
from lamina.progress import progress
from lamina.stages import entry


@dataclass(frozen=True, kw_only=True)
class WordsSummary:
    """Shape of the matrix, share of its cells that are not 0 (0 to 1), and the rarest word of the vocabulary."""

    rows: int
    width: int
    filled: float
    rarest: str

    def __str__(self) -> str:
        return (
            f"{self.width} words of {self.rows} texts, {100 * self.filled:.2g} % of the matrix are not 0; "
            f"the rarest is {self.rarest!r}"
        )


def make_words(
    settings: WordsSettings, texts: Path, split: Path, out: Path, *, name: str = "", strip_html: bool = False
) -> WordsSummary:
    """Write the matrix of all texts, and its transform, to `out` (docs/files.md).

    Args:
        settings: One entry of the section `words`.
        texts: Folder with `texts.parquet`.
        split: Folder with `manifest.parquet`, whose rows are those of the matrix.
        out: Folder for `matrix.npz`, `vocabulary.txt`, `index.json` and `idf.npy`.
        name: Of the entry, for messages.
        strip_html: How the texts were decoded; kept for new texts.

    Raises:
        UserError: The vocabulary is empty, or the texts are others than those of the manifest.
    """
    from scipy.sparse import vstack

    manifest = pd.read_parquet(split / "manifest.parquet", columns=["id", "fold"])
    ids, is_train = list(manifest["id"]), list(manifest["fold"] == "train")
    all_texts = (text for some in texts_of(ids, texts) for text in some)
    train = progress(compress(all_texts, is_train), what="vocabulary", unit="texts", total=sum(is_train))
    vectorizer = learn_vectorizer(train, settings, name=name, strip_html=strip_html)
    groups = progress(texts_of(ids, texts), what="words", unit="groups")
    matrix = vstack([vectorizer.transform(some) for some in groups], format="csr")
    with staged(out, folder=True) as part:
        write_words(part, vectorizer, matrix)
    filled = matrix.nnz / (matrix.shape[0] * matrix.shape[1])
    return WordsSummary(rows=matrix.shape[0], width=vectorizer.width, filled=filled, rarest=vectorizer.vocabulary[-1])


def read_settings(params: Mapping[str, Any], name: str) -> WordsSettings:
    """Read the entry `name` of the section `words`. Raises UserError where there is none, with the nearest name."""
    entries = named(params, "words")
    if name not in entries:
        near = nearest(name, entries)
        advice = f"did you mean {near!r}?" if near else f"known: {', '.join(entries) or 'none'}"
        raise UserError(f"params.yaml: words has no entry {name!r}; {advice}")
    return validated(entries[name] or {}, f"words.{name}", WordsSettings)


def main() -> None:
    params = read_params(Path())
    name = entry.run_name()
    settings = read_settings(params, name)
    strip_html = validated(params.get("filter", {}), "filter", TextFilterConfig).strip_html
    texts, split, out = Path("data/texts"), Path("data/split"), Path("data/words") / name
    print(make_words(settings, texts, split, out, name=name, strip_html=strip_html))


if __name__ == "__main__":
    entry.run_stage(main)
