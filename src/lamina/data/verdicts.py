"""Why each picture or text of a source is dropped, or none: what the filters of both have in common."""

from collections.abc import Iterable
from typing import TypeAlias

import pandas as pd

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


def drop_duplicates(items: pd.DataFrame, verdicts: pd.DataFrame, key: str, what: str) -> None:
    """Of the same items keep the first name, or none if their labels differ, in place.

    Args:
        items: Columns `name`, `label` and `key`, sorted by name.
        verdicts: From `give_verdicts`; receives the reasons.
        key: Column that is equal for the same items.
        what: What is the same then, for the detail.
    """
    kept = items[verdicts["reason"].isna()]
    for _, same in kept[kept.duplicated(key, keep=False)].groupby(key, sort=False):
        if same["label"].nunique(dropna=False) > 1:
            labels = ", ".join(sorted(same["label"].fillna("none").unique()))
            verdicts.loc[same.index, "reason"] = "ambiguous"
            verdicts.loc[same.index, "detail"] = f"same {what} under several labels: {labels}"
        else:
            verdicts.loc[same.index[1:], "reason"] = "duplicate"
            verdicts.loc[same.index[1:], "detail"] = f"same {what} as {same['name'].iloc[0]}"
