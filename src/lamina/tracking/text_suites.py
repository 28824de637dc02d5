"""What must hold of texts, as data: one suite for each table that the stage `validate_texts` reads."""

from dataclasses import replace
from typing import Final

from lamina.data.text_filters import TEXT_REASONS
from lamina.maths.crossvalidation import SPARE
from lamina.maths.splits import FOLDS
from lamina.tracking.expectations import Suite, between, matching, one_of, rows, told, unique
from lamina.tracking.suites import DRIFT, GIVEN, LABELED, SUITES

_OF_PICTURES: Final = {suite.table: suite for suite in SUITES}

TEXT_SUITES: Final = (
    Suite(
        table="raw",
        about="data/raw, one row a text. decisions: how often its name is among the kept and the rejected.",
        key="name",
        expectations=(
            rows("there is at least one text", 1),
            told("every text has a name", "name"),
            unique("every name is there once", "name"),
            told("every text has an id", "id"),
            unique("every id is there once", "id"),
            matching("every id is 16 hexadecimal digits", "id", "^[0-9a-f]{16}$"),
            told("every text has a digest", "sha256"),
            matching("every digest is a SHA-256", "sha256", "^[0-9a-f]{64}$"),
            one_of("every text is either kept or rejected, once", "decisions", 1),
        ),
    ),
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
            told("every text has an origin", "origin"),
            told("every text has a label", "label", when=LABELED),
        ),
    ),
    Suite(
        table="rejected",
        about="data/filtered/rejected.parquet, one row a text. in_raw: raw holds this name.",
        key="name",
        expectations=(
            one_of("every rejected text is in raw", "in_raw", True),
            one_of("every reason is a documented one", "reason", *TEXT_REASONS),
        ),
    ),
    Suite(
        table="split",
        about="data/split/manifest.parquet, one row a text. as_kept: kept holds this id with this label. origin_whole: "
        "all texts of its origin in kept are of one origin here. spare_of_published: where it is spare, whether its "
        "origin holds a published test text. as_published: whether it is in test just where its name is a published "
        "one. part_asked_for: its part is one of those that assess.folds asks for.",
        key="name",
        expectations=(
            one_of("every row is a kept text, with its label", "as_kept", True),
            one_of("no origin is cut", "origin_whole", True),
            unique("every id is there once", "id"),
            one_of("there are no copies", "copy", 0),
            told("every row has a fold", "fold"),
            one_of("every fold is one of train, validation and test, or spare", "fold", *FOLDS, SPARE),
            one_of("no text is spare, but of origins with published test texts", "spare_of_published", True),
            one_of("test holds the published texts, and no others", "as_published", True, when=GIVEN),
            one_of("every row is of a part asked for", "part_asked_for", True),
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
    "of the texts that have moved. bound: validate.drift, and what chance makes of samples of this size, texts of one "
    "origin counting as one. words, characters: numbers of each text; not ASCII: share of its characters.",
)
