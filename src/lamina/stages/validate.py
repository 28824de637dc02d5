"""Stage `validate`: what must hold of the data before anything learns from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from lamina.config import read_params, section, validated
from lamina.data.drift import DataProfile, Delivery, Movement, Sample, ValidateConfig, measure, movements, read_profile
from lamina.data.filters import FilterConfig
from lamina.data.profile import profile
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.maths.crossvalidation import SPARE, AssessConfig
from lamina.maths.drift import independent
from lamina.maths.published_split import find_published_test
from lamina.maths.splits import FOLDS, SplitConfig
from lamina.stages import entry
from lamina.tracking.data_docs import page
from lamina.tracking.expectations import Finding, Suite, check
from lamina.tracking.suites import COLORED, DRIFT, GIVEN, LABELED, SUITES

BASELINE: Final = Path("baselines/data.json")
NAMED: Final = 3  # of the quantities that drifted: those furthest beyond their bounds


@dataclass(frozen=True, kw_only=True)
class ValidationSummary:
    """How many expectations were checked, all of them met, on how many tables, and what has moved most."""

    expectations: int
    tables: int
    most_moved: Movement | None

    def __str__(self) -> str:
        drift = f"most moved: {self.most_moved}" if self.most_moved else "no data accepted yet to compare with"
        return f"validated: {self.expectations} expectations hold on {self.tables} tables; {drift}"


def validate(
    shares: Mapping[str, float],
    conditions: Iterable[str],
    data: Path,
    out: Path,
    *,
    accepted: DataProfile | None = None,
    drift: float = ValidateConfig().drift,
    parts: int = 0,
    given: str | None = None,
) -> ValidationSummary:
    """Hold the tables under `data` against `SUITES`, and what the pictures are like against what was accepted.

    data: holds raw, filtered, lab and split; shares: asked-for share by fold; conditions: `LABELED`, `COLORED`, or
    none of them; drift: the share of the pictures that may move; parts: of a cross-validation (0: none); given: the
    pattern in the names of given test pictures.
    Writes to `out`: in any case `docs/index.html`; where `SUITES` hold, `profile.json` and, where something was
    accepted, `drift.json`; and where nothing drifted, `verdict.json`, which says of `SUITES` alone: what comes after
    need not run again when other data are accepted.
    Raises UserError that names the first broken expectation and the first rows that break it, or what drifted.
    """
    return validate_tables(
        SUITES,
        read_tables(data, shares, parts, given),
        [*conditions, *([GIVEN] if given is not None else [])],
        out,
        read_delivery=read_delivery,
        drift_suite=DRIFT,
        accepted=accepted,
        drift=drift,
    )


def validate_tables(
    suites: Sequence[Suite],
    tables: Mapping[str, pd.DataFrame],
    conditions: Iterable[str],
    out: Path,
    *,
    read_delivery: Callable[[Mapping[str, pd.DataFrame]], Delivery],
    drift_suite: Suite,
    accepted: DataProfile | None,
    drift: float,
) -> ValidationSummary:
    """Check tables, and then how far the delivery is from the accepted one; see `validate` for files and errors.

    Args:
        suites: What must hold of the tables.
        tables: By the suites' names.
        conditions: Those under which some expectations are checked.
        out: Folder for the results.
        read_delivery: Measures the delivery from the tables.
        drift_suite: What must hold of the movements.
        accepted: The accepted profile, or None.
        drift: Share of the items that may move, 0 to 1.
    """
    verdict, docs = out / "verdict.json", out / "docs" / "index.html"
    for name in ("verdict.json", "profile.json", "drift.json"):
        (out / name).unlink(missing_ok=True)
    sound, moved = check(suites, tables, conditions), list[Movement]()
    findings = sound
    if not sound.broken:
        moved = _measure_drift(read_delivery(tables), accepted, drift, out)
        findings += check([drift_suite], {drift_suite.table: pd.DataFrame(map(asdict, moved))} if moved else {})
    with staged(docs.parent, folder=True) as part:
        (part / docs.name).write_text(page(findings), encoding="utf-8")
    if sound.broken:
        raise UserError(_complaint(sound.broken, docs))
    if findings.broken:
        raise UserError(_drift_complaint([movement for movement in moved if movement.too_far], docs))
    write_json(verdict, sound.verdict())
    return ValidationSummary(
        expectations=len(findings.all),
        tables=len(findings.tables),
        most_moved=max(moved, key=lambda movement: movement.moved, default=None),
    )


def _measure_drift(delivery: Delivery, accepted: DataProfile | None, drift: float, out: Path) -> list[Movement]:
    """Write `profile.json`, and `drift.json` where something was accepted; return its rows."""
    write_json(out / "profile.json", delivery.profile.model_dump(mode="json"))
    if accepted is None:
        return []
    moved = movements(accepted, delivery, drift)
    write_json(out / "drift.json", {"drift": drift, "quantities": [asdict(movement) for movement in moved]})
    return moved


def _complaint(broken: tuple[Finding, ...], docs: Path) -> str:
    first, *others = broken
    rows = ": " + ", ".join(first.broken_by) if first.broken_by else ""
    more = {0: "", 1: "; another expectation is broken too"}.get(len(others), f"; {len(others)} others are broken too")
    return (
        f"validate: {first.suite.table}: expected that {first.expectation.words}, but {first.seen}{rows}{more}; "
        f"see {docs}, mend the source or params.yaml, and run again"
    )


def _drift_complaint(moved: list[Movement], docs: Path) -> str:
    furthest = sorted(moved, key=lambda movement: movement.bound - movement.moved)
    others = len(moved) - NAMED
    more = f" and {others} more" if others > 0 else ""
    return (
        f"validate: the data have drifted from the accepted ones: {', '.join(map(str, furthest[:NAMED]))}{more}; see "
        f"{docs}; if they are what they should be, accept them with `lamina gate --accept data`, or raise "
        f"validate.drift, and run again"
    )


def read_delivery(tables: Mapping[str, pd.DataFrame]) -> Delivery:
    """Measure what the delivery is like, from the tables of `read_tables`."""
    raw, kept, lab = (tables[name] for name in ("raw", "kept", "lab"))
    width, height = (kept[side].to_numpy(np.float64) for side in ("width", "height"))
    return measure(
        {
            "brightness": lab["l_mean"].to_numpy(),
            "contrast": lab["l_std"].to_numpy(),
            "color a": lab["a_mean"].to_numpy(),
            "color b": lab["b_mean"].to_numpy(),
            "chroma": lab["chroma"].to_numpy(),
            "size": np.sqrt(width * height),
            "aspect": width / height,
        },
        delivered=sample(raw),
        kept=sample(kept),
        classes=counts(kept["label"]),
        rejected=counts(tables["rejected"]["reason"]),
    )


def sample(pictures: pd.DataFrame) -> Sample:
    """Count the rows of a table, and as how many independent ones they count. pictures: `origin` of each."""
    sizes = pictures["origin"].value_counts()
    return Sample(pictures=len(pictures), independent=round(independent(sizes), 1))


def counts(values: pd.Series) -> dict[str, int]:
    """Count how often each value is there, by its name, sorted."""
    return {str(value): int(count) for value, count in sorted(values.value_counts().items())}


def read_tables(
    data: Path, shares: Mapping[str, float], parts: int = 0, given: str | None = None
) -> dict[str, pd.DataFrame]:
    """Read what the stages wrote, without the pictures' bytes, and add what one table says of another.

    shares, parts, given: as for `validate`. Returns the tables that `SUITES` describes, by name. Raises UserError
    where pixels and manifest differ in length.
    """
    raw = pd.read_parquet(data / "raw", columns=["id", "name", "origin", "sha256"])
    kept = pd.read_parquet(data / "filtered" / "kept.parquet")
    kept = kept[["id", "name", "label", "origin", "width", "height"]]
    rejected = pd.read_parquet(data / "filtered" / "rejected.parquet", columns=["name", "reason"])
    lab = _read_lab(data / "lab")
    split = pd.read_parquet(data / "split" / "manifest.parquet")
    decided = pd.concat([kept["name"], rejected["name"]])
    originals = split[split["copy"] == 0].assign(label=lambda rows: rows["label"].astype(object).fillna("unlabeled"))
    names = lab.drop_duplicates("id").set_index("id")["name"]
    split = split.assign(name=split["id"].map(names).fillna(split["id"]))
    is_given = find_published_test(list(split["name"]), given) if given is not None else np.zeros(len(split), bool)
    of_given = split["origin"].isin(split.loc[is_given, "origin"])
    return {
        "raw": raw.assign(decisions=occurrences(raw["name"], decided)),
        "kept": kept.assign(in_raw=agrees(kept, raw, "name"), in_lab=kept["id"].isin(lab["id"])),
        "rejected": rejected.assign(in_raw=rejected["name"].isin(raw["name"])),
        "lab": lab.assign(
            as_kept=agrees(lab, kept, "name", "origin", "label"),
            originals=occurrences(lab["id"], originals["id"]),
        ),
        "split": split.assign(
            as_converted=agrees(split, lab, "label"),
            origin_whole=_whole_origins(split, lab),
            copy_held_out=split["copy"].astype("Int64").mask(split["fold"].isin(["train", SPARE])),
            copy_spare=split["copy"].astype("Int64").mask((split["fold"] != SPARE) | of_given),
            as_given=((split["fold"] == "test") == is_given) | (split["copy"] > 0),
            part_asked_for=split["part"].isin(range(parts) if parts else [-1]),
        ),
        "origins": folds_of_origins(split[split["fold"] != SPARE]),
        "classes": pictures_of_classes(originals),
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


def occurrences(values: pd.Series, among: pd.Series) -> pd.Series:
    """How often each value is found among others."""
    return values.map(among.value_counts()).fillna(0).astype(np.int64)


def agrees(table: pd.DataFrame, source: pd.DataFrame, *columns: str) -> pd.Series:
    """Whether `source` holds each row's id, with the same values in `columns`; missing equals missing."""
    known = source.drop_duplicates("id").set_index("id").reindex(table["id"])
    agrees = table["id"].isin(source["id"])
    for column in columns:
        told, found = (series.astype("str").fillna("").to_numpy() for series in (table[column], known[column]))
        agrees &= told == found
    return agrees


def _whole_origins(split: pd.DataFrame, lab: pd.DataFrame) -> pd.Series:
    """Whether all pictures of a row's origin, as converted, are of one origin in the split."""
    converted = split["id"].map(lab.drop_duplicates("id").set_index("id")["origin"])
    return split["origin"].groupby(converted, dropna=False).transform("nunique") == 1


def folds_of_origins(split: pd.DataFrame) -> pd.DataFrame:
    """Per origin: `folds`, the names of those it is in, joined, and `parts`, how many of cross-validation."""
    pairs = split[["origin", "fold"]].astype(object).fillna("none").drop_duplicates().sort_values(["origin", "fold"])
    folds = pairs.groupby("origin")["fold"].agg(", ".join).rename("folds")
    return folds.to_frame().join(split.groupby("origin")["part"].nunique().rename("parts")).reset_index()


def pictures_of_classes(originals: pd.DataFrame) -> pd.DataFrame:
    """Per class: how many of its original pictures are in each fold."""
    table = pd.crosstab(originals["label"], originals["fold"])
    return table.reindex(columns=list(FOLDS), fill_value=0).rename_axis(columns=None).reset_index()


def shares_of_folds(originals: pd.DataFrame, shares: Mapping[str, float]) -> pd.DataFrame:
    """How far the held-out folds that are drawn are from what was asked for.

    originals: `label`, `origin`, `fold` of each picture; shares: asked-for share by fold; without test where that is
    given, not drawn.
    Returns per fold `share` of the pictures, and `least` and `most`: the asked-for share -+ the sum over the
    classes of the pictures of each one's largest origin, over the number of pictures. Nearer than this,
    whole origins with every class in every fold cannot always come.
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


def main() -> None:
    params = read_params(Path())
    conditions = {
        LABELED: section(params, "source", SourceConfig).labels != "none",
        COLORED: section(params, "filter", FilterConfig).drop_grayscale,
    }
    split = section(params, "split", SplitConfig)
    asked_for = [condition for condition, holds in conditions.items() if holds]
    drift = validated(params.get("validate", {}), "validate", ValidateConfig).drift
    accepted = read_profile(BASELINE, remedy="restore it, or write {} into it: nothing accepted yet")
    parts = validated(params.get("assess", {}), "assess", AssessConfig).folds
    data, out, given = Path("data"), Path("data/validation"), split.test_pattern
    print(validate(split.shares, asked_for, data, out, accepted=accepted, drift=drift, parts=parts, given=given))


if __name__ == "__main__":
    entry.run(main)
