"""Which texts are kept: facts about each text, then one reason for each text that is dropped."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from pydantic import Field

from lamina.config import Config
from lamina.data.texts import Decoded, count_words, same_text_key
from lamina.data.verdicts import Check, drop_duplicates, give_verdicts
from lamina.maths.published_split import GivenTest

TEXT_REASONS: Final = ("undecodable", "empty", "too short", "unlabeled", "ambiguous", "excluded class", "duplicate")
REMEDIES: Final[Mapping[str, str]] = {"too short": "lower filter.min_words"}


class TextFilterConfig(Config):
    """Section `filter` of params.yaml, for texts.

    Attributes:
        min_words: Texts of fewer words are dropped.
        strip_html: Whether `<br />` and other simple tags are removed.
        drop_duplicates: Whether of the same texts (but for case and white space) only the first is kept.
    """

    min_words: int = Field(default=1, ge=1, le=1_000_000)
    strip_html: bool = True
    drop_duplicates: bool = True


@dataclass(frozen=True, kw_only=True)
class TextRules:
    """What a text must satisfy, gathered from the sections `filter` and `source`.

    Attributes:
        filter: The section `filter`.
        labeled: Whether each text needs one label.
        classes: The only labels that are kept; None for all.
        given_test: From names to whether each is of the given test set, whose texts stay when copies are dropped.
        corrected: Names of the texts whose label was corrected, which stays when copies have another one.
    """

    filter: TextFilterConfig
    labeled: bool
    classes: tuple[str, ...] | None
    given_test: GivenTest | None = None
    corrected: Collection[str] = ()


def describe_text(decoded: Decoded) -> dict[str, Any]:
    """Measure one text.

    Returns:
        `problem`, numbers of `words` and `characters`, `foreign` (share of characters that are not ASCII, 0 to 1) and
        `key` (the same for texts that differ in case and white space alone).
    """
    text = decoded.text
    ascii_count = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return {
        "problem": decoded.problem,
        "words": count_words(text),
        "characters": len(text),
        "foreign": round(1 - ascii_count / len(text), 4) if text else 0.0,
        "key": hashlib.sha256(same_text_key(text).encode()).hexdigest()[:32],
    }


def judge_texts(texts: pd.DataFrame, rules: TextRules) -> pd.DataFrame:
    """Give every text its reason to be dropped, or none.

    Args:
        texts: Columns `name`, `label`, `label_count`, and those of `describe_text`; sorted by name.
        rules: What a text must satisfy.

    Returns:
        `reason` (null: kept) and `detail`, same index. Where several reasons hold, the first of `TEXT_REASONS`.
    """
    verdicts = give_verdicts(texts, _checks(texts, rules))
    if rules.filter.drop_duplicates:
        drop_duplicates(texts, verdicts, "key", "text", rules.given_test, rules.corrected)
    return verdicts


def _checks(texts: pd.DataFrame, rules: TextRules) -> list[Check]:
    """The checks in the order of `TEXT_REASONS`."""
    label = texts["label"].fillna("").astype(str)
    excluded = ~label.isin(rules.classes) if rules.classes is not None else label != label
    words, least = texts["words"], rules.filter.min_words
    characters = texts["characters"].astype(str) + " characters, no word among them"
    few = words.astype(str) + f" words are fewer than filter.min_words={least}"
    return [
        ("undecodable", texts["problem"] != "", texts["problem"]),
        ("empty", words == 0, characters),
        ("too short", words < least, few),
        ("unlabeled", (texts["label_count"] == 0) & rules.labeled, "no label given"),
        ("ambiguous", (texts["label_count"] > 1) & rules.labeled, "several labels: " + label),
        ("excluded class", excluded, label + " is not in source.classes"),
    ]
