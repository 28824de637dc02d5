"""What goes with the export of a run over texts: how texts become its input, for people without lamina."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.data import texts as html_rules
from lamina.data.texts import read_texts
from lamina.errors import UserError
from lamina.inputs import exported_words
from lamina.inputs.exported_words import to_rows
from lamina.inputs.words import LONGEST_WORD, Vectorizer, read_vectorizer
from lamina.results.record import Record

RULES: Final = "words.json"
CODE: Final = "words.py"
TOLERANCE: Final = 1e-6  # of a value of tf-idf, a share of 1


def word_files(folder: Path) -> dict[str, bytes]:
    """Return the files that say how a text becomes a row, their content by name; folder: `data/words/NAME`."""
    text = json.dumps(describe(read_vectorizer(folder)), ensure_ascii=False, indent=0)
    return {RULES: f"{text}\n".encode(), CODE: Path(exported_words.__file__).read_bytes()}


def describe(vectorizer: Vectorizer) -> dict[str, Any]:
    """Return the content of `words.json`, which `lamina.inputs.exported_words` explains."""
    settings, idf = vectorizer.settings, vectorizer.idf
    simple = {"break": html_rules._BREAK.pattern, "tag": html_rules._TAG.pattern}
    return {
        "values": settings.values,
        "ngrams": settings.ngrams,
        "pattern": vectorizer.pattern,
        "longest_word": LONGEST_WORD,
        **({"html": simple} if vectorizer.strip_html else {}),
        "columns": vectorizer.vocabulary,
        **({} if idf is None else {"idf": idf.tolist()}),
    }


def check_rules(rules: bytes, system: Path, record: Record, originals: pd.DataFrame, matrix: Any) -> None:
    """Check that what goes with an export turns texts into the rows that the run learned from.

    Args:
        rules: content of `words.json`.
        system: folder of the system.
        record: of the run.
        originals: of the texts.
        matrix: (n, width), their rows as the stage `words` made them.

    Raises:
        UserError: if they differ, or the run learned from another number of words.
    """
    if matrix.shape[1] != record.width:
        raise UserError(
            f"export: data/{record.input} has {matrix.shape[1]} columns, but run {record.run!r} learned from "
            f"{record.width}; run `dvc repro`"
        )
    given = exported_words.numbered(json.loads(rules))
    given.pop("html", None)  # the stage filter_texts removed tags already
    texts = _texts(system / "data" / "texts", list(originals["id"]))
    found = to_rows(texts, given)
    difference = float(np.abs(found - matrix.toarray()).max())
    if not difference <= TOLERANCE:
        raise UserError(
            f"export: {RULES} turns test texts into other rows than data/words holds, by up to {difference:.2g}; "
            "run the stage words again"
        )


def _texts(folder: Path, ids: list[str]) -> list[str]:
    found = {key: text for keys, texts in read_texts(folder) for key, text in zip(keys, texts, strict=True)}
    return [found[key] for key in ids]
