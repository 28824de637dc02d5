"""Stage `validate`: what must hold of the data before anything learns from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from lamina.config import read_params, section
from lamina.data.filters import REASONS, FilterConfig
from lamina.data.profile import profile
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.maths.splits import FOLDS, SplitConfig
from lamina.stages import entry
from lamina.tracking.expectations import (
    Findings,
    Suite,
    above,
    between,
    check,
    matching,
    one_of,
    ordered,
    rows,
    told,
    unique,
)

LABELED: Final = "source.labels"  # conditions of expectations: the parameters that ask for them
COLORED: Final = "filter.drop_grayscale"

SUITES: Final = (
    Suite(
        table="raw",
        about="data/raw, one row a picture. decisions: how often its name is among the kept and the rejected.",
        key="name",
        expectations=(
            rows("there is at least one picture", 1),
            told("every picture has a name", "name"),
            unique("every name is there once", "name"),
            told("every picture has an id", "id"),
            unique("every id is there once", "id"),
            matching("every id is 16 hexadecimal digits", "id", "^[0-9a-f]{16}$"),
            told("every picture has a digest", "sha256"),
            matching("every digest is a SHA-256", "sha256", "^[0-9a-f]{64}$"),
            one_of("every picture is either kept or rejected, once", "decisions", 1),
        ),
    ),
    Suite(
        table="kept",
        about="data/filtered/kept.parquet, one row a picture. in_raw: raw holds this id under this name.",
        key="name",
        expectations=(
            rows("at least one picture is kept", 1),
            unique("every id is there once", "id"),
            one_of("every kept picture is in raw", "in_raw", True),
            one_of("every kept picture is converted", "in_lab", True),
            between("every picture is at least a pixel wide", "width", 1, None),
            between("every picture is at least a pixel high", "height", 1, None),
            told("every picture has an origin", "origin"),
            told("every picture has a label", "label", when=LABELED),
        ),
    ),
    Suite(
        table="rejected",
        about="data/filtered/rejected.parquet, one row a picture. in_raw: raw holds this name.",
        key="name",
        expectations=(
            one_of("every rejected picture is in raw", "in_raw", True),
            one_of("every reason is a documented one", "reason", *REASONS),
        ),
    ),
    Suite(
        table="lab",
        about="data/lab, one row a picture: least and largest L, a and b of its pixels. tint: how far from grey any of "
        "them lies along a or b. as_kept: kept holds this id with this name, origin and label. originals: how often "
        "the split holds it.",
        key="name",
        expectations=(
            unique("every id is there once", "id"),
            one_of("every picture is a kept one, with its label", "as_kept", True),
            one_of("every picture is in the split, once", "originals", 1),
            # a and b: what the 256**3 sRGB colors span, and a tenth of a unit beyond
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
        "id with this origin and label. copy_held_out: the copy, where the row is not trained with.",
        key="name",
        expectations=(
            one_of("every row is a converted picture, with its label", "as_converted", True),
            unique("every copy is there once", "id", "copy"),
            between("copies count from 0", "copy", 0, None),
            told("every row has a fold", "fold"),
            one_of("every fold is one of train, validation and test", "fold", *FOLDS),
            one_of("validation and test hold originals only", "copy_held_out", 0),
        ),
    ),
    Suite(
        table="origins",
        about="data/split/manifest.parquet, one row an origin. folds: those that hold pictures of it.",
        key="origin",
        expectations=(one_of("no origin is in two folds", "folds", *FOLDS),),
    ),
    Suite(
        table="classes",
        about="data/split/manifest.parquet, one row a class: its original pictures in each fold.",
        key="label",
        expectations=tuple(between(f"every class is in {fold}", fold, 1, None) for fold in FOLDS),
    ),
    Suite(
        table="shares",
        about="data/split/manifest.parquet, one row a fold: its share of the original pictures, and the least and most "
        "it may be. Whole origins cannot be cut: every class may be off by its largest origin, so the share "
        "may be off by the sum of these over the number of pictures.",
        key="fold",
        expectations=(
            ordered("every share is as large as asked for", "least", "share"),
            ordered("every share is as small as asked for", "share", "most"),
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class ValidationSummary:
    """How many expectations were checked, all of them met, and on how many tables."""

    expectations: int
    tables: int

    def __str__(self) -> str:
        return f"validated: {self.expectations} expectations hold on {self.tables} tables"


def validate(shares: Mapping[str, float], conditions: Iterable[str], data: Path, out: Path) -> ValidationSummary:
    """Hold the tables under `data` (raw, filtered, lab, split) against `SUITES`.

    shares: asked-for share by fold; conditions: `LABELED`, `COLORED`, or none of them. Writes `docs/index.html`
    to `out` in any case, and `verdict.json` only where everything holds.
    Raises UserError that names the first broken expectation and the first rows that break it.
    """
    verdict, docs = out / "verdict.json", out / "docs"
    verdict.unlink(missing_ok=True)
    findings = check(SUITES, read_tables(data, shares), conditions)
    with staged(docs, folder=True) as part:
        (part / "index.html").write_text(findings.page, encoding="utf-8")
    if findings.broken:
        raise UserError(_complaint(findings, docs / "index.html"))
    write_json(verdict, findings.verdict())
    return ValidationSummary(expectations=len(findings.all), tables=len(SUITES))


def _complaint(findings: Findings, docs: Path) -> str:
    first, *others = findings.broken
    rows = ": " + ", ".join(first.broken_by) if first.broken_by else ""
    more = {0: "", 1: "; another expectation is broken too"}.get(len(others), f"; {len(others)} others are broken too")
    return (
        f"validate: {first.suite.table}: expected that {first.expectation.words}, but {first.seen}{rows}{more}; "
        f"see {docs}, mend the source or params.yaml, and run again"
    )


def read_tables(data: Path, shares: Mapping[str, float]) -> dict[str, pd.DataFrame]:
    """Read what the stages wrote, without the pictures' bytes, and add what one table says of another.

    Returns the tables that `SUITES` describes, by name. Raises UserError where pixels and manifest differ in length.
    """
    raw = pd.read_parquet(data / "raw", columns=["id", "name", "sha256"])
    kept = pd.read_parquet(data / "filtered" / "kept.parquet")
    kept = kept[["id", "name", "label", "origin", "width", "height"]]
    rejected = pd.read_parquet(data / "filtered" / "rejected.parquet", columns=["name", "reason"])
    lab = _read_lab(data / "lab")
    split = pd.read_parquet(data / "split" / "manifest.parquet")
    decided = pd.concat([kept["name"], rejected["name"]])
    originals = split[split["copy"] == 0].assign(label=lambda rows: rows["label"].astype(object).fillna("unlabeled"))
    names = lab.drop_duplicates("id").set_index("id")["name"]
    return {
        "raw": raw.assign(decisions=_occurrences(raw["name"], decided)),
        "kept": kept.assign(in_raw=_agrees(kept, raw, "name"), in_lab=kept["id"].isin(lab["id"])),
        "rejected": rejected.assign(in_raw=rejected["name"].isin(raw["name"])),
        "lab": lab.assign(
            as_kept=_agrees(lab, kept, "name", "origin", "label"),
            originals=_occurrences(lab["id"], originals["id"]),
        ),
        "split": split.assign(
            name=split["id"].map(names).fillna(split["id"]),
            as_converted=_agrees(split, lab, "origin", "label"),
            copy_held_out=split["copy"].astype("Int64").mask(split["fold"] == "train"),
        ),
        "origins": _folds_of_origins(split),
        "classes": _pictures_of_classes(originals),
        "shares": shares_of_folds(originals, shares),
    }


def _read_lab(folder: Path) -> pd.DataFrame:
    manifest = pd.read_parquet(folder / "manifest.parquet")
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    if len(pixels) != len(manifest):
        raise UserError(
            f"{folder}: pixels.npy holds {len(pixels)} pictures, manifest.parquet {len(manifest)}, expected as many; "
            f"run the convert stage again"
        )
    return manifest.join(profile(pixels))


def _occurrences(values: pd.Series, among: pd.Series) -> pd.Series:
    """How often each value is found among others."""
    return values.map(among.value_counts()).fillna(0).astype(np.int64)


def _agrees(table: pd.DataFrame, source: pd.DataFrame, *columns: str) -> pd.Series:
    """Whether `source` holds each row's id, with the same values in `columns`; missing equals missing."""
    known = source.drop_duplicates("id").set_index("id").reindex(table["id"])
    agrees = table["id"].isin(source["id"])
    for column in columns:
        told, found = (series.astype("str").fillna("").to_numpy() for series in (table[column], known[column]))
        agrees &= told == found
    return agrees


def _folds_of_origins(split: pd.DataFrame) -> pd.DataFrame:
    """Per origin: `folds`, the names of those it is in, joined."""
    pairs = split[["origin", "fold"]].astype(object).fillna("none").drop_duplicates().sort_values(["origin", "fold"])
    return pairs.groupby("origin")["fold"].agg(", ".join).rename("folds").reset_index()


def _pictures_of_classes(originals: pd.DataFrame) -> pd.DataFrame:
    """Per class: how many of its original pictures are in each fold."""
    counts = pd.crosstab(originals["label"], originals["fold"])
    return counts.reindex(columns=list(FOLDS), fill_value=0).rename_axis(columns=None).reset_index()


def shares_of_folds(originals: pd.DataFrame, shares: Mapping[str, float]) -> pd.DataFrame:
    """How far the held-out folds are from what was asked for.

    originals: `label`, `origin`, `fold` of each picture; shares: asked-for share by fold.
    Returns per fold `share` of the pictures, and `least` and `most`: the asked-for share -+ the sum over the
    classes of the pictures of each one's largest origin, over the number of pictures. Nearer than this,
    whole origins with every class in every fold cannot always come.
    """
    of_origins = originals.groupby(["label", "origin"]).size()
    slack = of_origins.groupby("label").max().sum() / max(1, len(originals))
    found = originals["fold"].value_counts(normalize=True)
    held_out = [fold for fold in FOLDS if fold != "train"]
    return pd.DataFrame(
        {
            "fold": held_out,
            "share": [float(found.get(fold, 0.0)) for fold in held_out],
            "least": [shares[fold] - slack for fold in held_out],
            "most": [shares[fold] + slack for fold in held_out],
        }
    )


def main() -> None:
    params = read_params(Path())
    conditions = {
        LABELED: section(params, "source", SourceConfig).labels != "none",
        COLORED: section(params, "filter", FilterConfig).drop_grayscale,
    }
    shares = section(params, "split", SplitConfig).shares
    given = [condition for condition, holds in conditions.items() if holds]
    print(validate(shares, given, Path("data"), Path("data/validation")))


if __name__ == "__main__":
    entry.run(main)
