"""What goes with the export of a run over texts makes the rows that the run learned from, without lamina."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lamina.commands.export_texts import describe, word_files
from lamina.data.sources.members import decode_text
from lamina.inputs.exported_words import numbered, to_rows
from lamina.inputs.words import WordsSettings, learn_vectorizer
from texts import opinions, words_system

PIECES = [
    "Great",
    "don\u2019t",
    "İ",
    "é",
    "e\u0301",
    "\u0939\u093f\u0928\u094d\u0926\u0940",
    "x" * 101,
    "<br />",
    "<b>",
    "&amp;lt;",
    "<3",
    "\n",
    " ",
    "dull",
    "und_er",
    "\u039f\u03a3",
]
LEARNED = [
    "great films don\u2019t bore",
    "dull and great",
    "i̇ é und_er \u03bf\u03c3 great",
    "dull br b amp lt \u0939\u093f\u0928\u094d\u0926\u0940",
]


@pytest.mark.parametrize("strip_html", [True, False])
@pytest.mark.parametrize("values", ["binary", "counts", "tfidf"])
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), min_size=1, max_size=4))
@example(texts=[f"dull {'x' * 101} and"])
@hypothesis_settings(max_examples=10)
def test_rows_are_those_of_the_stage(values: str, strip_html: bool, texts: list[str]) -> None:
    settings = WordsSettings.model_validate({"values": values, "ngrams": 2, "vocabulary": None})
    vectorizer = learn_vectorizer(LEARNED, settings, strip_html=strip_html)
    rules = numbered(json.loads(json.dumps(describe(vectorizer))))
    expected = vectorizer.transform_raw(texts).toarray()
    np.testing.assert_allclose(to_rows(texts, rules), expected, atol=1e-6)


def test_they_need_nothing_of_lamina(tmp_path: Path) -> None:
    system = words_system(tmp_path / "system", opinions(12), values="counts")
    for name, content in word_files(system / "data/words/common").items():
        (tmp_path / name).write_bytes(content)
    code = (
        "import sys, words\n"
        "rows = words.to_rows(['Great, great <b>film</b>'], words.read_rules())\n"
        "print(rows.sum(), rows.dtype, rows.shape[1], any(name.startswith('lamina') for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    columns = decode_text((system / "data/words/common/vocabulary.txt").read_bytes()).split()
    assert "great" in columns
    assert done.stdout.split() == ["2.0", "float32", str(len(columns)), "False"]
