"""The test set that `split.test_pattern` or `split.hold_out` gives, and the columns of `source.metadata`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from lamina.data.sources.members import some, to_nfc
from lamina.data.sources.metadata import TABLE
from lamina.errors import UserError
from lamina.maths.published_split import Flags, GivenTest, find_published_test
from lamina.maths.splits import SplitConfig


def read_metadata(raw: Path) -> pd.DataFrame | None:
    """Read the columns of `source.metadata` by the name of the picture or text; None if there is no table."""
    return pd.read_parquet(raw / TABLE).set_index("name") if (raw / TABLE).exists() else None


def given_test(config: SplitConfig, metadata: pd.DataFrame | None) -> GivenTest | None:
    """Return a function from names to whether each belongs to the given test set; None if `config` gives none."""
    if config.test_pattern is not None:
        return partial(find_published_test, pattern=config.test_pattern)
    if config.hold_out is None:
        return None
    ((name, given_values),) = config.hold_out.items()
    column = column_of(metadata, name, "split.hold_out")
    values = [to_nfc(value) for value in given_values]  # as in the metadata
    there = set(column.dropna())
    missing = [value for value in values if value not in there]
    if 0 < len(missing) < len(values):  # pictures of a mistyped value would be trained on
        known = ", ".join(sorted(there)[:10])
        raise UserError(f"split.hold_out: nothing has {name} {' or '.join(missing)}; its values are {known}")

    def find(names: Sequence[str]) -> Flags:
        given = column.reindex(list(names))
        found = given.isin(values).to_numpy(bool)
        if found.all() or not found.any():
            known = ", ".join(sorted(there)[:10])
            raise UserError(
                f"split.hold_out: {'all' if found.all() else 'none'} of {len(names)} have {name} "
                f"{' or '.join(values)}; its values are {known}"
            )
        unknown = given.index[given.isna()]
        if len(unknown):
            raise UserError(
                f"split.hold_out: {len(unknown)} of {len(names)} have no {name} ({some(unknown)}), so they may belong "
                f"to {' or '.join(values)}; write it into source.metadata, or a word such as unknown to train on them"
            )
        return found

    return find


def column_of(metadata: pd.DataFrame | None, name: str, key: str) -> "pd.Series[str]":
    """Return a column of the metadata by the name of the picture or text.

    Args:
        metadata: Of `read_metadata`.
        name: Of the column.
        key: Of params.yaml, which names it.

    Raises:
        UserError: If it is not there.
    """
    if metadata is None:
        raise UserError(f"{key}: names the column {name!r}, but there is no metadata; set source.metadata")
    if name not in metadata:
        raise UserError(f"{key}: source.metadata has no column {name!r}; it has {', '.join(map(str, metadata))}")
    column: pd.Series[str] = metadata[name]
    return column
