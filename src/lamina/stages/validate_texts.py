"""Stage `validate_texts`: check the texts before anything learns from them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lamina.config import read_params
from lamina.data.drift import DataProfile, Delivery, ValidateConfig, measure
from lamina.data.texts import TEXTS
from lamina.maths.crossvalidation import SPARE
from lamina.maths.published_split import find_published_test
from lamina.stages import entry
from lamina.stages.validate import (
    ValidationSummary,
    agrees,
    counts,
    folds_of_origins,
    occurrences,
    pictures_of_classes,
    run_validation,
    sample,
    shares_of_folds,
    validate_tables,
)
from lamina.tracking.suites import PUBLISHED
from lamina.tracking.text_suites import TEXT_DRIFT, TEXT_SUITES


def validate_texts(
    shares: Mapping[str, float],
    conditions: Iterable[str],
    data: Path,
    out: Path,
    *,
    accepted: DataProfile | None = None,
    drift: float = ValidateConfig().drift,
    parts: int = 0,
    published: str | None = None,
) -> ValidationSummary:
    """Check the tables under `data` against `TEXT_SUITES`, and the texts against the accepted ones.

    Args:
        shares: Configured share by fold.
        conditions: `LABELED`, or nothing.
        data: Holds raw, filtered, texts and split.
        out: Folder for `docs/index.html`, `verdict.json`, `profile.json` and `drift.json`, as of the stage `validate`.
        accepted: The accepted profile, or None.
        drift: Share of the texts that may move, 0 to 1.
        parts: Of a cross-validation; 0 for none.
        published: Pattern in the names of published test texts, or None.

    Raises:
        UserError: An expectation is broken, or the data have drifted.
    """
    return validate_tables(
        TEXT_SUITES,
        read_text_tables(data, shares, parts, published),
        [*conditions, *([PUBLISHED] if published is not None else [])],
        out,
        read_delivery=read_text_delivery,
        drift_suite=TEXT_DRIFT,
        accepted=accepted,
        drift=drift,
    )


def read_text_delivery(tables: Mapping[str, pd.DataFrame]) -> Delivery:
    """Measure the quantities of a delivery, from the tables of `read_text_tables`."""
    kept = tables["kept"]
    return measure(
        {
            "words": kept["words"].to_numpy(np.float64),
            "characters": kept["characters"].to_numpy(np.float64),
            "not ASCII": kept["foreign"].to_numpy(np.float64),
        },
        delivered=sample(tables["raw"]),
        kept=sample(kept),
        classes=counts(kept["label"]),
        rejected=counts(tables["rejected"]["reason"]),
    )


def read_text_tables(
    data: Path, shares: Mapping[str, float], parts: int, published: str | None
) -> dict[str, pd.DataFrame]:
    """Read the tables that `TEXT_SUITES` describe, by their names; arguments as of `validate_texts`."""
    columns = ["id", "name", "label", "label_count", "origin", "sha256"]
    raw = pd.concat(
        [pd.read_parquet(part, columns=columns) for part in sorted((data / "raw").glob("part-*.parquet"))],
        ignore_index=True,
    )
    kept = pd.read_parquet(data / "filtered" / "kept.parquet")
    rejected = pd.read_parquet(data / "filtered" / "rejected.parquet", columns=["name", "reason"])
    decoded = pq.read_table(data / "texts" / TEXTS, columns=["id"])["id"].to_pylist()
    split = pd.read_parquet(data / "split" / "manifest.parquet")
    split["label"] = split["label"].astype(object)
    joined = pd.read_parquet(data / "split" / "joined.parquet")
    origin_in_split = split.drop_duplicates("id").set_index("id")["origin"]
    names = kept.drop_duplicates("id").set_index("id")["name"]
    split = split.assign(name=split["id"].map(names).fillna(split["id"]))
    texts = split.assign(label=split["label"].fillna("unlabeled"))
    is_published = np.zeros(len(split), bool)
    if published is not None:
        is_published = find_published_test(list(split["name"]), published)
    of_published = split["origin"].isin(split.loc[is_published, "origin"])
    in_texts = [place < len(decoded) and decoded[place] == one for place, one in enumerate(kept["id"])]
    origin_of = kept.drop_duplicates("id").set_index("id")["origin"]
    whole = split["origin"].groupby(split["id"].map(origin_of), dropna=False).transform("nunique") == 1
    return {
        "raw": raw.assign(decisions=occurrences(raw["name"], pd.concat([kept["name"], rejected["name"]]))),
        "kept": kept.assign(
            in_raw=agrees(kept, raw, "name"),
            in_texts=pd.Series(in_texts, kept.index) & (len(decoded) == len(kept)),
            in_split=occurrences(kept["id"], split["id"]),
        ),
        "rejected": rejected.assign(in_raw=rejected["name"].isin(raw["name"])),
        "split": split.assign(
            as_kept=agrees(split, kept, "label"),
            origin_whole=whole,
            spare_of_published=of_published | (split["fold"] != SPARE),
            as_published=(split["fold"] == "test") == is_published,
            part_expected=split["part"].isin(range(parts) if parts else [-1]),
        ),
        "joined": joined.assign(one_origin=joined["id"].map(origin_in_split) == joined["other"].map(origin_in_split)),
        "origins": folds_of_origins(split[split["fold"] != SPARE]),
        "classes": pictures_of_classes(texts),
        "shares": shares_of_folds(texts, shares),
    }


def main() -> None:
    run_validation(validate_texts, read_params(Path()))


if __name__ == "__main__":
    entry.run(main)
