"""Why each picture or text of a source is dropped, or none: what the filters of both have in common."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import pandas as pd

from lamina.data.sources.corrections import TABLE
from lamina.data.sources.members import suggestion
from lamina.errors import UserError
from lamina.maths.published_split import GivenTest

MUCH: Final = 0.5  # share of a class; a filter that drops more of it says so

Check: TypeAlias = tuple[str, pd.Series, pd.Series | str]  # reason, mask of what it holds for, detail


def give_verdicts(items: pd.DataFrame, checks: Iterable[Check]) -> pd.DataFrame:
    """Give each item the first reason that applies, or none.

    Args:
        items: A row for each picture or text.
        checks: In the order of the reasons.

    Returns:
        Columns `reason` (null: kept) and `detail`, with the index of `items`.
    """
    verdicts = pd.DataFrame({"reason": None, "detail": ""}, index=items.index, dtype=object)
    for reason, mask, detail in checks:
        mask &= verdicts["reason"].isna()
        verdicts.loc[mask, "reason"] = reason
        verdicts.loc[mask, "detail"] = detail[mask] if isinstance(detail, pd.Series) else detail
    return verdicts


def read_corrected(raw: Path) -> frozenset[str]:
    """Return the names of the items whose labels `source.corrections` replaced; raw: folder of the stage download."""
    path = raw / TABLE
    return frozenset(pd.read_csv(path, dtype=str, keep_default_na=False)["file"] if path.exists() else ())


def drop_duplicates(
    items: pd.DataFrame,
    verdicts: pd.DataFrame,
    key: str,
    what: str,
    given_test: GivenTest | None = None,
    corrected: Collection[str] = (),
) -> None:
    """Of the same items keep the first name, or none if their labels differ, in place.

    An item of a given test set wins: other copies of it are dropped, whatever their label. So does, among the other
    ones, an item whose label was corrected: who corrects the one that was kept does not see its copies.

    Args:
        items: Columns `name`, `label` and `key`, sorted by name.
        verdicts: From `give_verdicts`; receives the reasons.
        key: Column that is equal for the same items.
        what: What is the same then, for the detail.
        given_test: From names to whether each is of the given test set; None: there is none.
        corrected: Names of the items whose label was corrected.

    Raises:
        UserError: If no item that is left is of the given test set, or all are.
    """
    kept = items[verdicts["reason"].isna()]
    if given_test and len(kept):
        given = given_test(list(kept["name"]))
        first = kept[given].drop_duplicates(key).set_index(key)["name"]
        copies = kept[~given & kept[key].isin(first.index)]
        verdicts.loc[copies.index, "reason"] = "duplicate"
        verdicts.loc[copies.index, "detail"] = f"same {what} as the given test item " + copies[key].map(first)
        kept = kept.drop(copies.index)
    for _, same in kept[kept.duplicated(key, keep=False)].groupby(key, sort=False):
        right = same[same["name"].isin(corrected)]
        right = same if right.empty else right
        if right["label"].nunique(dropna=False) > 1:
            labels = ", ".join(sorted(right["label"].fillna("none").unique()))
            verdicts.loc[same.index, "reason"] = "ambiguous"
            verdicts.loc[same.index, "detail"] = f"same {what} under several labels: {labels}"
        else:
            others = same.index.drop(right.index[0])
            verdicts.loc[others, "reason"] = "duplicate"
            verdicts.loc[others, "detail"] = f"same {what} as {right['name'].iloc[0]}"


def count_classes(items: pd.DataFrame, kept: "pd.Series[bool]", classes: Collection[str] | None) -> pd.DataFrame:
    """Count the items of each class before and after a filter.

    Args:
        items: Columns `label` and `label_count`.
        kept: Whether each item is kept.
        classes: The allowed classes; None: all.

    Returns:
        A row for each allowed class that labels an item on its own: `label`, `delivered` and `kept`, sorted by label.
    """
    of_class = items["label_count"] == 1
    if classes is not None:
        of_class &= items["label"].isin(classes)
    groups = kept[of_class].groupby(items["label"][of_class].astype(str))
    return pd.DataFrame({"delivered": groups.size(), "kept": groups.sum().astype("int64")}).reset_index()


def describe_losses(
    items: pd.DataFrame,
    verdicts: pd.DataFrame,
    classes: Collection[str] | None,
    remedies: Mapping[str, str],
    unit: str,
) -> list[str]:
    """Describe the classes of which a filter drops more than `MUCH`.

    Args:
        items: Columns `label` and `label_count`.
        verdicts: From `give_verdicts`.
        classes: The allowed classes; None: all.
        remedies: What to do against a reason.
        unit: `pictures` or `texts`.

    Raises:
        UserError: If it drops all of a class, or an allowed class labels no item.
    """
    unknown = sorted({*(classes or ())} - {*items["label"].dropna()})
    if unknown:
        found = suggestion(unknown[0], sorted({*items["label"].dropna()}))
        raise UserError(f"source.classes: no {unit} of class {unknown[0]!r}{found}; correct the name, or remove it")
    counts = count_classes(items, verdicts["reason"].isna(), classes)
    notes = []
    for label, delivered, kept in counts[counts["kept"] < (1 - MUCH) * counts["delivered"]].itertuples(index=False):
        of_class = (items["label"] == label) & (items["label_count"] == 1)
        reasons = verdicts["reason"][of_class].value_counts()
        found = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        remedy = remedies.get(str(reasons.index[0]), "correct the source")
        if not kept:
            raise UserError(
                f"filter drops all {delivered} {unit} of class {label!r} ({found}); {remedy}, "
                "or leave the class out with source.classes"
            )
        notes.append(f"class {label!r} keeps only {kept} of {delivered} {unit} ({found}); if that is wrong, {remedy}")
    return notes
