"""Expectations of texts: one suite for each table that the stage `validate_texts` reads."""

from typing import Final

from lamina.data.text_filters import TEXT_REASONS
from lamina.maths.crossvalidation import SPARE
from lamina.maths.splits import FOLDS
from lamina.tracking.expectations import Suite, between, not_missing, one_of, unique
from lamina.tracking.suites import (
    PUBLISHED,
    drift_suite,
    fold_suites,
    kept_suite,
    losses_suite,
    raw_suite,
    rejected_suite,
)

TEXT_SUITES: Final = (
    raw_suite("text"),
    kept_suite(
        "text",
        " in_texts: the row of the same number in data/texts/texts.parquet has this id. in_split: how often the split "
        "holds it.",
        one_of("every kept text is decoded, in the same order", "in_texts", True),
        one_of("every kept text is in the split, once", "in_split", 1),
        between("every text has a word at least", "words", 1, None),
        between("every text has a character at least", "characters", 1, None),
        between("shares of characters that are not ASCII are at least 0", "foreign", 0, None),
        between("shares of characters that are not ASCII are at most 1", "foreign", None, 1),
    ),
    rejected_suite("text", TEXT_REASONS),
    losses_suite("texts"),
    Suite(
        table="split",
        about="data/split/manifest.parquet, one row a text. as_kept: kept holds this id with this label. origin_whole: "
        "all texts of its origin in kept are of one origin here. spare_of_published: where it is spare, whether its "
        "origin holds a published test text. as_published: whether it is in test exactly if its name is a published "
        "one. part_expected: whether its part is one of assess.folds.",
        key="name",
        expectations=(
            one_of("every row is a kept text, with its label", "as_kept", True),
            one_of("no origin is cut", "origin_whole", True),
            unique("every id is there once", "id"),
            one_of("there are no copies", "copy", 0),
            not_missing("every row has a fold", "fold"),
            one_of("every fold is one of train, validation and test, or spare", "fold", *FOLDS, SPARE),
            one_of("no text is spare, but of origins with published test texts", "spare_of_published", True),
            one_of("test holds the published texts, and no others", "as_published", True, when=PUBLISHED),
            one_of("every part is one of assess.folds", "part_expected", True),
        ),
    ),
    Suite(
        table="joined",
        about="data/split/joined.parquet, one row a pair of similar texts. one_origin: whether both are of one "
        "origin in the split.",
        key="id",
        expectations=(one_of("similar texts are of one origin", "one_origin", True),),
    ),
    *fold_suites("texts", "texts"),
)

TEXT_DRIFT: Final = drift_suite("texts", "words, characters: numbers of each text; not ASCII: share of its characters.")
