"""From the archive of film reviews to classifiers: a part of the real data set, where it is there."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from checkout import SHARED
from lamina.config import section
from lamina.data.sources.config import SourceConfig
from lamina.inputs.words import WordsSettings, read_matrix
from lamina.maths.splits import SplitConfig
from lamina.stages.download import download
from lamina.stages.filter_texts import filter_texts
from lamina.stages.split_texts import split_texts
from lamina.stages.words import make_words
from lamina.training.linear import fit_logistic, fit_nbsvm
from texts import rules

REVIEWS = SHARED / "imdb.zip"


def write_part(out: Path) -> None:
    """Every 25th review, and two copies across the published parts."""
    with zipfile.ZipFile(REVIEWS) as source, zipfile.ZipFile(out, "w") as target:
        names = sorted(name for name in source.namelist() if name.endswith(".txt") and name.count("/") == 2)
        for name in names[::25]:
            target.writestr(name, source.read(name))
        text = source.read(names[0])
        target.writestr("train/neg/copied.txt", text)
        target.writestr("train/neg/changed.txt", text.upper() + b" And so on.")


@pytest.mark.skipif(not REVIEWS.exists(), reason="../shared/data/imdb.zip is not there")
def test_real_reviews_are_learned_from(tmp_path: Path) -> None:
    write_part(tmp_path / "part.zip")
    told = {"kind": "archive", "content": "texts", "location": "part.zip"}
    config = section({"source": told}, "source", SourceConfig)
    assert download(config, tmp_path, tmp_path / "raw", seed=1).labels == {"neg": 1_002, "pos": 1_000}
    filtered, texts, split = tmp_path / "filtered", tmp_path / "texts", tmp_path / "split"
    assert filter_texts(rules(min_words=3), tmp_path / "raw", filtered, texts).rejected == {"duplicate": 1}
    published = SplitConfig(test=0.3, validation=0.05, test_pattern="^test/")
    summary = split_texts(published, filtered, texts, split, seed=1)
    assert (summary.texts["test"], summary.texts["spare"], summary.suspicious) == (1_000, 1, 0)
    manifest = pd.read_parquet(split / "manifest.parquet")
    labels = (manifest["label"] == "pos").to_numpy().astype(int)
    train, test = ((manifest["fold"] == fold).to_numpy() for fold in ("train", "test"))
    least = {1: (fit_logistic, 0.78), 2: (fit_nbsvm, 0.80)}
    for ngrams, (fit, accuracy) in least.items():
        out = tmp_path / f"words{ngrams}"
        make_words(WordsSettings(vocabulary=300_000, ngrams=ngrams), texts, split, out)
        x = read_matrix(out)
        fitted = fit(x[train], labels[train], 2)
        assert np.mean(fitted.predict(x[test]).argmax(axis=1) == labels[test]) > accuracy
