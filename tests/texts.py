"""Small systems of texts: invented sentences, near duplicates of them, and the stages that read them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from lamina.config import section
from lamina.data.sources.members import Picture
from lamina.data.text_filters import TextFilterConfig, TextRules
from lamina.inputs.words import WordsSettings
from lamina.maths.splits import SplitConfig
from lamina.stages.download import to_table, write_parts
from lamina.stages.filter_texts import filter_texts
from lamina.stages.split_texts import TextSplitSummary, split_texts
from lamina.stages.words import make_words

Item = tuple[str, bytes, tuple[str, ...]]

OPINIONS: Final = {"neg": "awful dull boring bad", "pos": "great lovely moving good", "so": "fair usual plain average"}
_OVER_WORDS: Final = {"task": "classify", "input": "words/common"}
DENSE: Final = {
    **_OVER_WORDS, "network": "dense", "epochs": 20, "batch_size": 16,
    "learning_rate": 0.02, "dropout": 0.0, "decay": 0.0,
}  # fmt: skip
LOGISTIC: Final = {**_OVER_WORDS, "network": "logistic_regression", "penalty": 1.0}
NB_SVM: Final = {**_OVER_WORDS, "network": "nb_svm", "penalty": 1.0}
RIDGE: Final = {**_OVER_WORDS, "task": "regress", "network": "ridge", "penalty": 1.0}


def rules(*, labeled: bool = True, classes: tuple[str, ...] | None = None, **keys: object) -> TextRules:
    config = section({"filter": keys}, "filter", TextFilterConfig)
    return TextRules(filter=config, labeled=labeled, classes=classes)


def write_raw(folder: Path, items: list[Item], *, group: int = 3) -> Path:
    pictures = [Picture(name=name, encoded=data, labels=labels, origin=name) for name, data, labels in sorted(items)]
    (folder / "raw").mkdir(parents=True)
    groups = [to_table(pictures[start : start + group]) for start in range(0, len(pictures), group)]
    write_parts(groups, folder / "raw", compression="zstd")
    return folder


WORDS = [f"{first}{middle}{last}" for first in "bdfgk" for middle in "aeiou" for last in "lmnrstx"] * 2


def sentence(seed: int, length: int = 60) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def changed(words: list[str], count: int, seed: int = 0) -> list[str]:
    """The words, some of them others, in other case and with other punctuation."""
    result = list(words)
    for place in random.Random(seed).sample(range(len(words)), count):
        result[place] = f"other{place}"
    return result


def disguised(words: list[str]) -> str:
    return "...  ".join(word.upper() for word in words) + "!?\n"


def filtered_system(folder: Path, texts: dict[str, str]) -> Path:
    items = [(name, text.encode(), (name.split("/")[-2],)) for name, text in texts.items()]
    write_raw(folder, items, group=20)
    filter_texts(rules(), folder / "raw", folder / "filtered", folder / "texts")
    return folder


def split_system(
    folder: Path, *, seed: int = 1, parts: int = 0, **keys: object
) -> tuple[TextSplitSummary, pd.DataFrame]:
    config = SplitConfig.model_validate({"test": 0.3, "validation": 0.2, **keys})
    summary = split_texts(config, folder / "filtered", folder / "texts", folder / "split", seed=seed, parts=parts)
    names = pd.read_parquet(folder / "filtered" / "kept.parquet", columns=["id", "name"])
    return summary, pd.read_parquet(folder / "split" / "manifest.parquet").merge(names, on="id", validate="1:1")


def families(count: int, copies: int) -> dict[str, str]:
    """Texts of two classes, each there again with other words, far away in the order of names."""
    texts = {}
    for number in range(count):
        label = ("pos", "neg")[number % 2]
        words = sentence(number)
        for copy in range(copies):
            text = " ".join(words) if copy == 0 else disguised(changed(words, 4, copy))
            texts[f"{label}/{copy}-{number:03d}.txt"] = text
    return texts


def published(leaks: int) -> dict[str, str]:
    texts = {f"{part}/{label}/{number:03d}.txt": " ".join(sentence(1_000 * at + number))
             for at, (part, label) in enumerate([("train", "pos"), ("train", "neg"), ("test", "pos"), ("test", "neg")])
             for number in range(30)}  # fmt: skip
    for number in range(leaks):
        again = changed(texts[f"test/pos/{number:03d}.txt"].split(), 2)
        texts[f"train/pos/9{number:02d}.txt"] = disguised(again)
    return texts


def opinions(count: int, labels: Sequence[str] = ("neg", "pos")) -> dict[str, str]:
    """Short texts, of each label `count`: two words of their label among words that say nothing."""
    texts = {}
    for number, (label, opinion) in enumerate(zip(labels, OPINIONS.values(), strict=False)):
        for at in range(count):
            seed = 10_000 * number + at
            words = sentence(seed, 8) + random.Random(seed).sample(opinion.split(), 2)
            random.Random(seed).shuffle(words)
            texts[f"{label}/{at:03d}.txt"] = " ".join(words)
    return texts


def words_system(system: Path, texts: dict[str, str], *, parts: int = 0, seed: int = 1, **words: Any) -> Path:
    """Write `data/` of a system of texts as its stages do, with the entry `common` of `words`; return the system."""
    data = filtered_system(system / "data", texts)
    split_system(data, seed=seed, parts=parts)
    settings, out = WordsSettings.model_validate(words), data / "words" / "common"
    make_words(settings, data / "texts", data / "split", out, name="common", strip_html=True)
    return system
