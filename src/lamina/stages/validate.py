"""Stage `validate`: check the data before anything learns from them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from lamina.config import read_params, section, validated
from lamina.data.drift import (
    DataProfile,
    Delivery,
    Movement,
    Sample,
    ValidateConfig,
    Values,
    measure,
    movements,
    read_profile,
)
from lamina.data.filters import FilterConfig
from lamina.data.given_test import given_test, read_metadata
from lamina.data.profile import profile
from lamina.data.sources.config import SourceConfig
from lamina.data.verdicts import count_classes
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.maths.crossvalidation import SPARE, AssessConfig
from lamina.maths.drift import independent
from lamina.maths.published_split import GivenTest
from lamina.maths.splits import FOLDS, SplitConfig
from lamina.stages import entry
from lamina.tracking.data_docs import page
from lamina.tracking.expectations import Finding, Suite, check
from lamina.tracking.suites import COLORED, DRIFT, LABELED, PUBLISHED, SUITES

BASELINE: Final = Path("baselines/data.json")
DRIFTED_SHOWN: Final = 3

Tables: TypeAlias = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class ValidationSummary:
    """Numbers of expectations and tables that were checked, and the quantity that moved most."""

    expectations: int
    tables: int
    most_moved: Movement | None

    def __str__(self) -> str:
        drift = f"most moved: {self.most_moved}" if self.most_moved else "no data accepted yet to compare with"
        return f"validated: {self.expectations} expectations hold on {self.tables} tables; {drift}"


@dataclass(frozen=True, kw_only=True)
class Content:
    """How the pictures, or the texts, of a system are validated.

    Attributes:
        suites: What must hold of the tables.
        drift_suite: What must hold of the movements.
        read_tables: Reads the tables by the suites' names; called with `data`, `shares`, `parts`, `published` and
            `classes`.
        quantities: Measures the quantities whose drift is watched, from the tables; by name, one value a kept row.
    """

    suites: tuple[Suite, ...]
    drift_suite: Suite
    read_tables: Callable[[Path, Mapping[str, float], int, GivenTest | None, Collection[str] | None], Tables]
    quantities: Callable[[Tables], Values]


def validate(
    content: Content,
    shares: Mapping[str, float],
    conditions: Iterable[str],
    data: Path,
    out: Path,
    *,
    accepted: DataProfile | None = None,
    drift: float = ValidateConfig().drift,
    parts: int = 0,
    published: GivenTest | None = None,
    classes: Collection[str] | None = None,
) -> ValidationSummary:
    """Check the tables under `data` against their suites, and the pictures or texts against the accepted ones.

    Always writes `docs/index.html`. If the suites hold, also `profile.json` and, if a profile was accepted,
    `drift.json`. If nothing drifted, also `verdict.json`. It covers the suites of the tables alone, so that later
    stages need not run again when other data are accepted.

    Args:
        content: `PICTURES` or `lamina.stages.validate_texts.TEXTS`.
        shares: Configured share by fold.
        conditions: `LABELED`, `COLORED` (of pictures), both or none.
        data: Holds raw, filtered, lab or texts, and split.
        out: Folder for the results.
        accepted: The accepted profile, or None.
        drift: Share of the pictures or texts that may move, 0 to 1.
        parts: Of a cross-validation; 0 for none.
        published: Tells from names which pictures or texts are of the given test set; None: it is drawn.
        classes: The allowed classes; None: all.

    Returns:
        What was checked.

    Raises:
        UserError: Names the first broken expectation and its first rows, or the quantities that drifted.
    """
    tables = content.read_tables(data, shares, parts, published, classes)
    if published is not None:
        conditions = [*conditions, PUBLISHED]
    verdict, docs = out / "verdict.json", out / "docs" / "index.html"
    for name in ("verdict.json", "profile.json", "drift.json"):
        (out / name).unlink(missing_ok=True)
    basic, moved = check(content.suites, tables, conditions), list[Movement]()
    findings = basic
    if not basic.broken:
        moved = _measure_drift(_delivery(content, tables), accepted, drift, out)
        drifted = {content.drift_suite.table: pd.DataFrame(map(asdict, moved))} if moved else {}
        findings += check([content.drift_suite], drifted)
    with staged(docs.parent, folder=True) as part:
        (part / docs.name).write_text(page(findings), encoding="utf-8", newline="\n")
    if basic.broken:
        raise UserError(_broken_message(basic.broken, docs))
    if findings.broken:
        raise UserError(_drift_message([movement for movement in moved if movement.too_far], docs))
    write_json(verdict, basic.verdict())
    return ValidationSummary(
        expectations=len(findings.all),
        tables=len(findings.tables),
        most_moved=max(moved, key=lambda movement: movement.moved, default=None),
    )


def _measure_drift(delivery: Delivery, accepted: DataProfile | None, drift: float, out: Path) -> list[Movement]:
    """Write `profile.json` and, if a profile was accepted, `drift.json`; return the movements."""
    write_json(out / "profile.json", delivery.profile.model_dump(mode="json"))
    if accepted is None:
        return []
    moved = movements(accepted, delivery, drift)
    write_json(out / "drift.json", {"drift": drift, "quantities": [asdict(movement) for movement in moved]})
    return moved


def _broken_message(broken: tuple[Finding, ...], docs: Path) -> str:
    first, *others = broken
    rows = ": " + ", ".join(first.broken_by) if first.broken_by else ""
    more = {0: "", 1: "; another expectation is broken too"}.get(len(others), f"; {len(others)} others are broken too")
    return (
        f"validate: {first.suite.table}: expected that {first.expectation.words}, but {first.seen}{rows}{more}; "
        f"see {docs}, correct the source or params.yaml, and run again"
    )


def _drift_message(moved: list[Movement], docs: Path) -> str:
    furthest = sorted(moved, key=lambda movement: movement.bound - movement.moved)
    shown = ", ".join(map(str, furthest[:DRIFTED_SHOWN]))
    others = len(moved) - DRIFTED_SHOWN
    more = f" and {others} more" if others > 0 else ""
    return (
        f"validate: the data have drifted from the accepted ones: {shown}{more}; see {docs}; if they are right, accept "
        "them with `lamina gate --accept data`, or raise validate.drift, and run again"
    )


def _delivery(content: Content, tables: Tables) -> Delivery:
    """Measure the quantities of a delivery."""
    return measure(
        content.quantities(tables),
        delivered=_sample(tables["raw"]),
        kept=_sample(tables["kept"]),
        classes=_counts(tables["kept"]["label"]),
        rejected=_counts(tables["rejected"]["reason"]),
    )


def _sample(rows: pd.DataFrame) -> Sample:
    """Count the rows of a table, and the independent rows that they are worth."""
    return Sample(pictures=len(rows), independent=round(independent(rows["origin"].value_counts()), 1))


def _counts(values: pd.Series) -> dict[str, int]:
    """Count each value, sorted by name."""
    return {str(value): int(count) for value, count in sorted(values.value_counts().items())}


def read_tables(
    data: Path,
    shares: Mapping[str, float],
    parts: int = 0,
    published: GivenTest | None = None,
    classes: Collection[str] | None = None,
) -> dict[str, pd.DataFrame]:
    """Read the tables of the stages, without the pictures' bytes, and add columns that compare them.

    The arguments are those of `validate`.

    Returns:
        The tables that `SUITES` describes, by name.

    Raises:
        UserError: If pixels and manifest differ in length.
    """
    kept = pd.read_parquet(data / "filtered" / "kept.parquet")
    kept = kept[["id", "name", "label", "origin", "width", "height"]]
    lab = _read_lab(data / "lab")
    split = read_split(data, lab, parts, published)
    originals = split[split["copy"] == 0]
    split = split.assign(
        as_converted=agrees(split, lab, "label"),
        copy_held_out=split["copy"].astype("Int64").mask(split["fold"].isin(["train", SPARE])),
        copy_spare=split["copy"].astype("Int64").mask((split["fold"] != SPARE) | split["of_published"]),
        as_published=split["as_published"] | (split["copy"] > 0),
    )
    return {
        **read_shared_tables(data, kept.assign(in_lab=kept["id"].isin(lab["id"])), split, originals, shares, classes),
        "lab": lab.assign(
            as_kept=agrees(lab, kept, "name", "origin", "label"),
            originals=occurrences(lab["id"], originals["id"]),
        ),
    }


def read_split(data: Path, known: pd.DataFrame, parts: int, published: GivenTest | None) -> pd.DataFrame:
    """Read the rows of the split, and compare them with the pictures or texts that were split.

    Args:
        data: As of `validate`, like `parts` and `published`.
        known: The pictures or texts: `id`, `name`, `origin`.
        parts: Of a cross-validation.
        published: As of `validate`.

    Returns:
        The rows with `name`; `origin_whole`: whether all of their known origin share one origin in the split;
        `of_published`: whether their origin holds a published one; `as_published`: whether they are in test exactly if
        they are published; and `part_expected`: whether their part is one of the cross-validation.
    """
    split = pd.read_parquet(data / "split" / "manifest.parquet")
    known = known.drop_duplicates("id").set_index("id")
    split = split.assign(name=split["id"].map(known["name"]).fillna(split["id"]))
    is_published = np.zeros(len(split), bool)
    if published is not None:
        is_published = published(list(split["name"]))
    return split.assign(
        origin_whole=split["origin"].groupby(split["id"].map(known["origin"]), dropna=False).transform("nunique") == 1,
        of_published=split["origin"].isin(split.loc[is_published, "origin"]),
        as_published=(split["fold"] == "test") == is_published,
        part_expected=split["part"].isin(range(parts) if parts else [-1]),
    )


def read_shared_tables(
    data: Path,
    kept: pd.DataFrame,
    split: pd.DataFrame,
    originals: pd.DataFrame,
    shares: Mapping[str, float],
    classes: Collection[str] | None,
) -> dict[str, pd.DataFrame]:
    """Return the tables that pictures and texts have, by name.

    Args:
        data: As of `validate`, like `shares`.
        kept: The kept pictures or texts.
        split: Of `read_split`.
        originals: Its rows without copies.
        shares: By fold.
        classes: The allowed ones.
    """
    raw = pd.read_parquet(data / "raw", columns=["id", "name", "label", "label_count", "origin", "sha256"])
    rejected = pd.read_parquet(data / "filtered" / "rejected.parquet", columns=["name", "reason"])
    originals = originals.assign(label=originals["label"].astype(object).fillna("unlabeled"))
    return {
        "raw": raw.assign(decisions=occurrences(raw["name"], pd.concat([kept["name"], rejected["name"]]))),
        "kept": kept.assign(in_raw=agrees(kept, raw, "name")),
        "rejected": rejected.assign(in_raw=rejected["name"].isin(raw["name"])),
        "losses": count_classes(raw, raw["id"].isin(kept["id"]), classes),
        "split": split,
        "origins": _folds_of_origins(split[split["fold"] != SPARE]),
        "classes": _rows_of_classes(originals),
        "shares": shares_of_folds(originals, shares),
    }


def quantities(tables: Tables) -> Values:
    """Measure the quantities of pictures whose drift is watched, from the tables of `read_tables`."""
    kept, lab = tables["kept"], tables["lab"]
    width, height = (kept[side].to_numpy(np.float64) for side in ("width", "height"))
    return {
        "brightness": lab["l_mean"].to_numpy(),
        "contrast": lab["l_std"].to_numpy(),
        "color a": lab["a_mean"].to_numpy(),
        "color b": lab["b_mean"].to_numpy(),
        "chroma": lab["chroma"].to_numpy(),
        "size": np.sqrt(width * height),
        "aspect": width / height,
    }


PICTURES: Final = Content(suites=SUITES, drift_suite=DRIFT, read_tables=read_tables, quantities=quantities)


def _read_lab(folder: Path) -> pd.DataFrame:
    manifest = pd.read_parquet(folder / "manifest.parquet")
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    if len(pixels) != len(manifest):
        raise UserError(
            f"{folder}: pixels.npy holds {len(pixels)} pictures, manifest.parquet {len(manifest)}, expected as many; "
            "run the convert stage again"
        )
    return manifest.join(profile(pixels))


def occurrences(values: pd.Series, among: pd.Series) -> pd.Series:
    """Count each value among others."""
    return values.map(among.value_counts()).fillna(0).astype(np.int64)


def agrees(table: pd.DataFrame, source: pd.DataFrame, *columns: str) -> pd.Series:
    """Return whether `source` holds each row's id with the same values in `columns`; missing equals missing."""
    known = source.drop_duplicates("id").set_index("id").reindex(table["id"])
    agrees = table["id"].isin(source["id"])
    for column in columns:
        here, there = (series.astype("str").fillna("").to_numpy() for series in (table[column], known[column]))
        agrees &= here == there
    return agrees


def _folds_of_origins(split: pd.DataFrame) -> pd.DataFrame:
    """Return per origin `folds`, the joined names of its folds, and `parts`, its number of cross-validation parts."""
    pairs = split[["origin", "fold"]].astype(object).fillna("none").drop_duplicates().sort_values(["origin", "fold"])
    folds = pairs.groupby("origin")["fold"].agg(", ".join).rename("folds")
    return folds.to_frame().join(split.groupby("origin")["part"].nunique().rename("parts")).reset_index()


def _rows_of_classes(originals: pd.DataFrame) -> pd.DataFrame:
    """Count the originals of each class in each fold."""
    table = pd.crosstab(originals["label"], originals["fold"])
    return table.reindex(columns=list(FOLDS), fill_value=0).rename_axis(columns=None).reset_index()


def shares_of_folds(originals: pd.DataFrame, shares: Mapping[str, float]) -> pd.DataFrame:
    """Compare the shares of the held-out folds with the configured ones.

    Args:
        originals: Columns `label`, `origin`, `fold`.
        shares: Configured share by fold; without `test` if the test set is published.

    Returns:
        Per fold: its `share` of the rows, and the bounds `least` and `most`. They are the configured share minus
        and plus the sum over classes of the rows of the largest origin, divided by the number of rows. Whole
        origins with each class in each fold cannot always come closer.
    """
    drawn = originals if "test" in shares else originals[~originals["fold"].isin(["test", SPARE])]
    of_origins = drawn.groupby(["label", "origin"]).size()
    slack = of_origins.groupby("label").max().sum() / max(1, len(originals))
    found = originals["fold"].value_counts(normalize=True)
    held_out = [fold for fold in FOLDS if fold != "train" and fold in shares]
    return pd.DataFrame(
        {
            "fold": held_out,
            "share": [float(found.get(fold, 0.0)) for fold in held_out],
            "least": [shares[fold] - slack for fold in held_out],
            "most": [shares[fold] + slack for fold in held_out],
        }
    )


def run_validation(content: Content, params: Mapping[str, Any], *, colored: bool = False) -> None:
    """Call `validate` with the settings of `params.yaml`, and print the summary."""
    source = section(params, "source", SourceConfig)
    conditions = {LABELED: source.labels != "none", COLORED: colored}
    split = section(params, "split", SplitConfig)
    summary = validate(
        content,
        split.shares,
        [condition for condition, holds in conditions.items() if holds],
        Path("data"),
        Path("data/validation"),
        accepted=read_profile(BASELINE, remedy="restore it, or write {} into it: nothing accepted yet"),
        drift=validated(params.get("validate", {}), "validate", ValidateConfig).drift,
        parts=validated(params.get("assess", {}), "assess", AssessConfig).folds,
        published=given_test(split, read_metadata(Path("data/raw"))),
        classes=source.classes,
    )
    print(summary)


def main() -> None:
    params = read_params(Path())
    run_validation(PICTURES, params, colored=section(params, "filter", FilterConfig).drop_grayscale)


if __name__ == "__main__":
    entry.run_stage(main)
