"""Expectations of pictures: one suite for each table that the stage `validate` reads.

`DRIFT` is checked separately: it compares the data with the accepted ones.
"""

from collections.abc import Iterable
from typing import Final

from lamina.data.filters import REASONS
from lamina.maths.crossvalidation import SPARE
from lamina.maths.splits import FOLDS
from lamina.tracking.expectations import (
    Expectation,
    Suite,
    above,
    between,
    matching,
    not_missing,
    one_of,
    ordered,
    rows,
    unique,
)

LABELED: Final = "source.labels"  # conditions of expectations, by the parameter that sets them
COLORED: Final = "filter.drop_grayscale"
PUBLISHED: Final = "split.test_pattern"


def raw_suite(item: str) -> Suite:
    """Return the expectations of the table `raw`; item: "picture" or "text"."""
    return Suite(
        table="raw",
        about=f"data/raw, one row a {item}. decisions: how often its name is among the kept and the rejected.",
        key="name",
        expectations=(
            rows(f"there is at least one {item}", 1),
            not_missing(f"every {item} has a name", "name"),
            unique("every name is there once", "name"),
            not_missing(f"every {item} has an id", "id"),
            unique("every id is there once", "id"),
            matching("every id is 16 hexadecimal digits", "id", "^[0-9a-f]{16}$"),
            not_missing(f"every {item} has a digest", "sha256"),
            matching("every digest is a SHA-256", "sha256", "^[0-9a-f]{64}$"),
            one_of(f"every {item} is either kept or rejected, once", "decisions", 1),
        ),
    )


def kept_suite(item: str, about: str, *own: Expectation) -> Suite:
    """Return the expectations of the table `kept`; about: what its `own` columns are, which `own` describes."""
    return Suite(
        table="kept",
        about=f"data/filtered/kept.parquet, one row a {item}. in_raw: raw holds this id under this name.{about}",
        key="name",
        expectations=(
            rows(f"at least one {item} is kept", 1),
            unique("every id is there once", "id"),
            one_of(f"every kept {item} is in raw", "in_raw", True),
            *own,
            not_missing(f"every {item} has an origin", "origin"),
            not_missing(f"every {item} has a label", "label", when=LABELED),
        ),
    )


def rejected_suite(item: str, reasons: Iterable[str]) -> Suite:
    """Return the expectations of the table `rejected`; reasons: the documented ones."""
    return Suite(
        table="rejected",
        about=f"data/filtered/rejected.parquet, one row a {item}. in_raw: raw holds this name.",
        key="name",
        expectations=(
            one_of(f"every rejected {item} is in raw", "in_raw", True),
            one_of("every reason is a documented one", "reason", *reasons),
        ),
    )


def losses_suite(items: str) -> Suite:
    """Return the expectations of the table `losses`; items: "pictures" or "texts"."""
    return Suite(
        table="losses",
        about=f"data/raw and data/filtered/kept.parquet, one row a class: its {items} with this label alone, before "
        "the filter and after it. Classes that source.classes leaves out are not counted.",
        key="label",
        shown=("label", "delivered", "kept"),
        expectations=(between("the filter leaves some of every class", "kept", 1, None),),
    )


def fold_suites(items: str, originals: str) -> tuple[Suite, ...]:
    """Return the expectations of the tables `origins`, `classes` and `shares`; items: "pictures" or "texts"."""
    return (
        Suite(
            table="origins",
            about=f"data/split/manifest.parquet, one row an origin. folds: those that hold {items} of it. parts: of "
            "cross-validation, how many do.",
            key="origin",
            expectations=(
                one_of("no origin is in two folds", "folds", *FOLDS),
                one_of("no origin is in two parts", "parts", 1),
            ),
        ),
        Suite(
            table="classes",
            about=f"data/split/manifest.parquet, one row a class: its {originals} in each fold.",
            key="label",
            shown=("label", *FOLDS),
            expectations=tuple(between(f"every class is in {fold}", fold, 1, None) for fold in FOLDS),
        ),
        Suite(
            table="shares",
            about=f"data/split/manifest.parquet, one row a fold that is drawn: its share of the {originals}, and the "
            "least and most it may be. Whole origins cannot be cut: every class may be off by its largest origin, so "
            f"the share may be off by the sum of these over the number of {items}.",
            key="fold",
            shown=("fold", "share", "least", "most"),
            expectations=(
                ordered("every share is as large as configured", "least", "share"),
                ordered("every share is as small as configured", "share", "most"),
            ),
        ),
    )


def drift_suite(items: str, quantities: str) -> Suite:
    """Return the expectations of the table `drift`; quantities: what its quantities are."""
    return Suite(
        table="drift",
        about="These data and the accepted ones (baselines/data.json), one row a quantity. accepted, now: medians over "
        f"the kept {items}, or a range (of the middle 90 %, or of all) where medians are the same; of the classes, the "
        f"one whose share changed most; of a reason to reject, its share. moved: the share of the {items} that have "
        f"moved. bound: validate.drift plus the effect of chance in samples of this "
        f"size, {items} of one origin counting as one. {quantities}",
        key="quantity",
        shown=("quantity", "accepted", "now", "moved", "bound"),
        meter=("moved", "bound"),
        expectations=(ordered("nothing has moved further than its bound", "moved", "bound"),),
    )


SUITES: Final = (
    raw_suite("picture"),
    kept_suite(
        "picture",
        "",
        one_of("every kept picture is converted", "in_lab", True),
        between("every picture is at least a pixel wide", "width", 1, None),
        between("every picture is at least a pixel high", "height", 1, None),
    ),
    rejected_suite("picture", REASONS),
    losses_suite("pictures"),
    Suite(
        table="lab",
        about="data/lab, one row a picture: least and largest L, a and b of its pixels. tint: largest distance from "
        "grey along a or b. as_kept: kept holds this id with this name, origin and label. originals: how often "
        "the split holds it.",
        key="name",
        expectations=(
            unique("every id is there once", "id"),
            one_of("every picture is a kept one, with its label", "as_kept", True),
            one_of("every picture is in the split, once", "originals", 1),
            # a and b: the range of the 256**3 sRGB colors, and a tenth of a unit more
            between("L is at least 0", "l_min", 0, None),
            between("L is at most 100", "l_max", None, 100),
            between("a is at least that of an sRGB color", "a_min", -86.3, None),
            between("a is at most that of an sRGB color", "a_max", None, 98.4),
            between("b is at least that of an sRGB color", "b_min", -108.0, None),
            between("b is at most that of an sRGB color", "b_max", None, 94.6),
            above("no picture is grey", "tint", 0, when=COLORED),
        ),
    ),
    Suite(
        table="split",
        about="data/split/manifest.parquet, one row a picture or a training copy of it. as_converted: lab holds this "
        "id with this label. origin_whole: all pictures of its origin there are of one here. copy_held_out: number of "
        "the copy in validation and test, else missing. copy_spare: number of the copy in spare rows (copies used by "
        "cross-validation alone) whose origin holds no published test picture (split.test_pattern), else missing. "
        "as_published: whether it is in test exactly if its name is a published one, copies aside. part_expected: "
        "whether its part is one of assess.folds.",
        key="name",
        expectations=(
            one_of("every row is a converted picture, with its label", "as_converted", True),
            one_of("no origin is cut", "origin_whole", True),
            unique("every copy is there once", "id", "copy"),
            between("copies count from 0", "copy", 0, None),
            not_missing("every row has a fold", "fold"),
            one_of("every fold is one of train, validation and test, or spare", "fold", *FOLDS, SPARE),
            one_of("validation and test hold originals only", "copy_held_out", 0),
            between("no original is spare, but of origins with published test pictures", "copy_spare", 1, None),
            one_of("test holds the published pictures, and no others", "as_published", True, when=PUBLISHED),
            one_of("every part is one of assess.folds", "part_expected", True),
        ),
    ),
    *fold_suites("pictures", "original pictures"),
)

DRIFT: Final = drift_suite(
    "pictures",
    "Brightness, contrast, color a, color b and chroma are mean L, standard deviation of L, mean a, mean b and mean "
    "chroma of the converted picture in CIELAB; size is the square root of the delivered picture's pixels, aspect its "
    "width over its height.",
)
