"""Expectations of texts: one suite for each table that the stage `validate_texts` reads."""

from dataclasses import replace
from typing import Final

from lamina.data.text_filters import TEXT_REASONS
from lamina.maths.crossvalidation import SPARE
from lamina.maths.splits import FOLDS
from lamina.tracking.expectations import Suite, between, not_missing, one_of, rows, unique
from lamina.tracking.suites import DRIFT, LABELED, PUBLISHED, SUITES, raw_suite, rejected_suite

_OF_PICTURES: Final = {suite.table: suite for suite in SUITES}

TEXT_SUITES: Final = (
    raw_suite("text"),
    Suite(
        table="kept",
        about="data/filtered/kept.parquet, one row a text. in_raw: raw holds this id under this name. in_texts: the "
        "row of the same number in data/texts/texts.parquet has this id. in_split: how often the split holds it.",
        key="name",
        expectations=(
            rows("at least one text is kept", 1),
            unique("every id is there once", "id"),
            one_of("every kept text is in raw", "in_raw", True),
            one_of("every kept text is decoded, in the same order", "in_texts", True),
            one_of("every kept text is in the split, once", "in_split", 1),
            between("every text has a word at least", "words", 1, None),
            between("every text has a character at least", "characters", 1, None),
            between("shares of characters that are not ASCII are at least 0", "foreign", 0, None),
            between("shares of characters that are not ASCII are at most 1", "foreign", None, 1),
            not_missing("every text has an origin", "origin"),
            not_missing("every text has a label", "label", when=LABELED),
        ),
    ),
    rejected_suite("text", TEXT_REASONS),
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
    replace(
        _OF_PICTURES["origins"],
        about="data/split/manifest.parquet, one row an origin. folds: those that hold texts of it. parts: of "
        "cross-validation, how many do.",
    ),
    replace(_OF_PICTURES["classes"], about="data/split/manifest.parquet, one row a class: its texts in each fold."),
    replace(
        _OF_PICTURES["shares"],
        about=_OF_PICTURES["shares"].about.replace("original pictures", "texts").replace("pictures", "texts"),
    ),
)

TEXT_DRIFT: Final = replace(
    DRIFT,
    about="These data and the accepted ones (baselines/data.json), one row a quantity. accepted, now: medians over the "
    "kept texts; of the classes, the one whose share changed most; of a reason to reject, its share. moved: the share "
    "of the texts that have moved. bound: validate.drift plus the effect of chance in samples of this size, texts of "
    "one origin counting as one. words, characters: numbers of each text; not ASCII: share of its characters.",
)
