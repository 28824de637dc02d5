"""What words promise: the training fold alone decides, new texts get the same rows, same input gives same bytes."""

import hashlib
import json
import random
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import load_npz
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from lamina.data.texts import WORD
from lamina.errors import UserError
from lamina.inputs.words import (
    LONGEST_WORD,
    Vectorizer,
    WordsSettings,
    find_ngrams,
    learn_vectorizer,
    read_matrix,
    read_vectorizer,
)
from lamina.stages.filter_texts import filter_texts
from lamina.stages.words import make_words, read_settings
from texts import rules, write_raw

LETTERS = "abcdeABCDEäß'\u2019 .,!\n"


def settings(**keys: object) -> WordsSettings:
    return WordsSettings.model_validate(keys)


def texts_of(count: int, seed: int = 0) -> list[str]:
    random_ = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(40)]
    weights = [1 / (1 + number) for number in range(40)]
    return [" ".join(random_.choices(vocabulary, weights, k=25)) for _ in range(count)]


def write_system(folder: Path, texts: list[str], folds: list[str]) -> Path:
    items = [(f"x/{place:03d}.txt", text.encode(), ("x",)) for place, text in enumerate(texts)]
    write_raw(folder, items, group=7)
    filter_texts(rules(drop_duplicates=False), folder / "raw", folder / "filtered", folder / "texts")
    manifest = pd.read_parquet(folder / "filtered" / "kept.parquet", columns=["id"]).assign(fold=folds)
    (folder / "split").mkdir()
    manifest.to_parquet(folder / "split" / "manifest.parquet")
    return folder


def run(folder: Path, name: str = "some", **keys: object) -> Path:
    out = folder / "words" / name
    make_words(settings(**keys), folder / "texts", folder / "split", out, name=name)
    return out


FOLDS = ["train", "validation", "train", "test", "spare"]


@pytest.mark.parametrize("ngrams", [1, 2, 3])
@pytest.mark.parametrize("values", ["binary", "counts", "tfidf"])
def test_rows_are_those_of_scikit_learn(values: str, ngrams: int) -> None:
    texts = texts_of(60)
    found = learn_vectorizer(texts, settings(vocabulary=10**6, values=values, ngrams=ngrams))
    kind = TfidfVectorizer if values == "tfidf" else CountVectorizer
    other = kind(
        token_pattern=WORD.pattern, ngram_range=(1, ngrams), binary=values == "binary", vocabulary=found.vocabulary
    )
    assert set(found.vocabulary) == set(
        CountVectorizer(token_pattern=WORD.pattern, ngram_range=(1, ngrams)).fit(texts).vocabulary_
    )
    other.fit(texts)
    new = [*texts, "w1 nobody-knows w2", "", "W1 w1"]
    matrix = found.transform(new)
    np.testing.assert_allclose(matrix.toarray(), other.transform(new).toarray(), rtol=1e-6)
    assert matrix.dtype == np.float32
    assert matrix.has_sorted_indices


def test_columns_are_sorted_by_frequency_then_alphabet() -> None:
    found = learn_vectorizer(["b b b a", "c a d d", "e"], settings())
    assert found.vocabulary == ("b", "a", "d", "c", "e")
    assert learn_vectorizer(["b b b a", "c a d d", "e"], settings(vocabulary=2)).vocabulary == ("b", "a")
    assert learn_vectorizer(["b b b a", "c a d d", "e"], settings(min_texts=2)).vocabulary == ("a",)


@given(st.lists(st.text(LETTERS, max_size=60), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_texts_does_not_count(texts: list[str], random_: random.Random) -> None:
    texts = [*texts, "one"]
    mixed = random_.sample(texts, len(texts))
    kinds = settings(ngrams=2, values="tfidf", vocabulary=20)
    one, other = learn_vectorizer(texts, kinds), learn_vectorizer(mixed, kinds)
    assert one.vocabulary == other.vocabulary
    assert one.digest == other.digest


@given(st.text(LETTERS, max_size=300), st.integers(1, 4), st.integers(1, 30))
def test_ngrams_do_not_depend_on_how_a_text_is_cut(text: str, ngrams: int, size: int) -> None:
    from lamina.inputs import words

    whole = sorted(find_ngrams(text, ngrams))
    longest = max(map(len, text.split()), default=0)
    original = words.pieces
    words.pieces = lambda piece: original(piece, max(size, longest + 1))  # type: ignore[assignment]
    try:
        assert sorted(find_ngrams(text, ngrams)) == whole
    finally:
        words.pieces = original  # type: ignore[assignment]
    analyze = CountVectorizer(token_pattern=WORD.pattern, ngram_range=(1, ngrams)).build_analyzer()
    assert whole == sorted(analyze(text))


def test_words_longer_than_any_are_left_out() -> None:
    assert list(find_ngrams(f"a {'x' * (LONGEST_WORD + 1)} b", 2)) == ["a", "b", "a b"]


@pytest.mark.parametrize("values", ["binary", "tfidf"])
def test_the_training_fold_alone_decides(tmp_path: Path, values: str) -> None:
    texts, folds = texts_of(50), FOLDS * 10
    plain = run(write_system(tmp_path / "plain", texts, folds), values=values, ngrams=2)
    held_out = [
        text if fold == "train" else f"{text} leaked leaked word{place}"
        for place, (text, fold) in enumerate(zip(texts, folds, strict=True))
    ]
    other = run(write_system(tmp_path / "other", held_out, folds), values=values, ngrams=2)
    for name in ("vocabulary.txt", "index.json", *(["idf.npy"] if values == "tfidf" else [])):
        assert (plain / name).read_bytes() == (other / name).read_bytes()
    is_train = np.array(folds) == "train"
    assert (read_matrix(plain)[is_train] != read_matrix(other)[is_train]).nnz == 0
    assert "leaked" not in read_vectorizer(other).vocabulary
    trained = [text if fold != "train" else f"{text} leaked" for text, fold in zip(texts, folds, strict=True)]
    assert "leaked" in read_vectorizer(run(write_system(tmp_path / "train", trained, folds), values=values)).vocabulary


@pytest.mark.parametrize("values", ["binary", "counts", "tfidf"])
def test_new_texts_get_the_rows_that_the_matrix_has(tmp_path: Path, values: str) -> None:
    texts = [*texts_of(47), "Don't!", "W1 w1 w2", "unknown words only"]
    out = run(write_system(tmp_path, texts, FOLDS * 10), values=values, ngrams=2)
    found = read_vectorizer(out)
    matrix = read_matrix(out)
    assert matrix.shape == (50, found.width)
    assert (found.transform(texts) != matrix).nnz == 0
    lines = (out / "vocabulary.txt").read_text().splitlines()
    assert tuple(lines) == found.vocabulary
    index = json.loads((out / "index.json").read_text())
    assert (index["rows"], index["width"], index["pattern"]) == (50, len(lines), WORD.pattern)
    assert index["settings"]["values"] == values
    assert (out / "idf.npy").exists() == (values == "tfidf")


def test_same_input_gives_same_bytes_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_system(tmp_path, texts_of(50), FOLDS * 10)

    def digests() -> dict[str, str]:
        out = run(folder, values="tfidf")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}

    before = digests()
    later = time.localtime(time.time() + 10**8)
    monkeypatch.setattr(time, "localtime", lambda *_: later)
    assert digests() == before
    assert list(before) == ["idf.npy", "index.json", "matrix.npz", "vocabulary.txt"]


def test_the_matrix_holds_no_pickle(tmp_path: Path) -> None:
    out = run(write_system(tmp_path, texts_of(50), FOLDS * 10))
    with np.load(out / "matrix.npz", allow_pickle=False) as arrays:
        assert set(arrays) >= {"indices", "indptr", "data", "shape"}
    assert load_npz(out / "matrix.npz").format == "csr"


def test_an_empty_vocabulary_is_one_line(tmp_path: Path) -> None:
    folder = write_system(tmp_path, texts_of(50), FOLDS * 10)
    with pytest.raises(
        UserError, match=r"words\.rare: the vocabulary is empty: .* in 20 training texts, min_texts is 99"
    ):
        run(folder, "rare", min_texts=99)
    with pytest.raises(UserError, match=r"words: the vocabulary is empty: the training texts hold no words"):
        learn_vectorizer(["...", ""], settings())
    assert not (folder / "words" / "rare").exists()


def test_files_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    out = run(write_system(tmp_path, texts_of(50), FOLDS * 10), values="tfidf")
    vocabulary = (out / "vocabulary.txt").read_text()
    for name, content in [
        ("vocabulary.txt", vocabulary.replace("w3\n", "w99\n", 1)),
        ("vocabulary.txt", vocabulary[:-4]),
        ("index.json", "{"),
        ("index.json", "{}"),
        ("idf.npy", "no array"),
    ]:
        before = (out / name).read_bytes()
        (out / name).write_text(content)
        with pytest.raises(UserError, match="run the stage words again"):
            read_vectorizer(out)
        (out / name).write_bytes(before)
    (out / "idf.npy").unlink()
    with pytest.raises(UserError, match=r"idf\.npy: not found"):
        read_vectorizer(out)


def test_a_pattern_of_another_version_is_kept() -> None:
    found = Vectorizer(settings=settings(), vocabulary=("a-b", "a"), pattern=r"[\w-]+")
    assert found.transform(["a-b a a"]).toarray().tolist() == [[1, 1]]
    assert re.compile(found.pattern)


def test_a_wrong_name_or_setting_is_one_line() -> None:
    params = {"words": {"frequent": {"vocabulary": 0}, "plain": None}}
    assert read_settings(params, "plain") == WordsSettings()
    with pytest.raises(UserError, match=r"words has no entry 'frequnt'; did you mean 'frequent'\?"):
        read_settings(params, "frequnt")
    with pytest.raises(UserError, match=r"words\.frequent\.vocabulary: .*greater than or equal to 1"):
        read_settings(params, "frequent")
    with pytest.raises(UserError, match=r"words has no entry 'x'; known: none"):
        read_settings({}, "x")


def test_another_split_than_the_texts_is_refused(tmp_path: Path) -> None:
    folder = write_system(tmp_path, texts_of(50), FOLDS * 10)
    manifest = pd.read_parquet(folder / "split" / "manifest.parquet")
    manifest.iloc[::-1].to_parquet(folder / "split" / "manifest.parquet")
    with pytest.raises(UserError, match="holds other texts than the manifest"):
        run(folder)
