"""Stage `split`: pictures alike joined, whole origins to train, validation and test, copies to train; then an audit."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.config import read_params, section, validated
from lamina.data.audit import (
    NO_PAIRS,
    SAME_PICTURE,
    Audit,
    audit_folds,
    closest_sheet,
    describe_pictures,
    joined_sheet,
    merge_pair_origins,
    same_content_pairs,
)
from lamina.data.rows import Folders
from lamina.data.sheets import contact_sheet
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.inputs.index import index_pixels
from lamina.maths.color import LabPixels, lab_to_srgb
from lamina.maths.crossvalidation import SPARE, AssessConfig, partition
from lamina.maths.published_split import find_published_test, split_around
from lamina.maths.splits import FOLDS, SplitConfig, split_origins
from lamina.stages import entry

MANIFEST = ["id", "origin", "label", "copy", "fold", "part"]
RESERVED = {*MANIFEST, "predicted"}  # columns that stand beside one per class
SHEET_ROWS: Final = 24
SHEET_PICTURES: Final = 10  # in a row


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """Original pictures and origins by fold, pictures by fold and class, and what the leak audit found.

    Without labels there are no classes. The fold `spare` is there where given test pictures leave such.
    joined: pairs of pictures that show the same thing and became one origin;
    compared: pairs of a test picture and its nearest whose pixels were compared; suspicious: those that agree from
    `suspicious_from` on.
    """

    pictures: dict[str, int]
    origins: dict[str, int]
    classes: dict[str, dict[str, int]]
    joined: int
    compared: int
    suspicious: int
    suspicious_from: float

    def __str__(self) -> str:
        parts = [f"{fold} {self.pictures[fold]} of {self.origins[fold]} origins" for fold in FOLDS]
        found = f"{self.suspicious} test pictures look like one that was trained or tuned on, see closest.png"
        text = "split: " + ", ".join(parts)
        if spare := self.pictures.get(SPARE):
            text += f"; {spare} of origins with given test pictures take no part"
        text += f"; {self.joined} pairs that look the same were joined, see joined.png" if self.joined else ""
        return text + (f"; {found}" if self.suspicious else "")


def split(config: SplitConfig, lab: Path, augmented: Path, out: Path, *, seed: int, parts: int = 0) -> SplitSummary:
    """Write folds, the pictures joined before, the leak audit after, and sheets of them all to `out` (docs/files.md).

    parts: of a cross-validation, to which whole origins are dealt too; 0: none, and -1 stands in the manifest. Pictures
    without labels count as one class. Raises UserError where a class has fewer origins than folds or parts, or
    `config.test_pattern` leaves it without pictures in a fold.
    """
    pictures, pixels = pd.read_parquet(lab / "manifest.parquet"), np.load(lab / "pixels.npy", mmap_mode="r")
    labels = pictures["label"].fillna("").astype(str)
    if taken := RESERVED & set(labels):
        raise UserError(f"split: class {min(taken)!r} has the name of a column of the predictions; rename the class")
    given = (
        find_published_test(list(pictures["name"]), config.test_pattern) if config.test_pattern is not None else None
    )
    described = describe_pictures(pictures["id"], pixels)
    alike = same_content_pairs(pictures, pixels, described) if config.merge_near_duplicates else NO_PAIRS
    pictures["origin"] = merge_pair_origins(pictures, alike)
    origins = list(pictures["origin"])
    if given is None:
        pictures["fold"] = pictures["origin"].map(split_origins(origins, list(labels), config.shares, seed))
    else:
        pictures["fold"] = split_around(given, origins, list(labels), config.validation, seed)
    pictures["part"] = _parts(pictures["origin"], labels, parts, seed)
    audit = audit_folds(pictures, pixels, described)
    summary = _summarise(pictures, len(alike), audit)
    with staged(out, folder=True) as begun:
        _rows(pictures, augmented, spare=parts > 0).to_parquet(begun / "manifest.parquet", index=False)
        alike.to_parquet(begun / "joined.parquet", index=False)
        audit.pairs.to_parquet(begun / "audit.parquet", index=False)
        if len(alike):
            joined_sheet(alike, pictures, pixels).save(begun / "joined.png")
        closest_sheet(audit.pairs, pictures, pixels).save(begun / "closest.png")
        _folds_sheet(pictures, pixels).save(begun / "folds.png")
        write_json(begun / "summary.json", summary.__dict__)
    return summary


def _parts(origins: "pd.Series[str]", labels: "pd.Series[str]", parts: int, seed: int) -> "pd.Series[int]":
    if not parts:
        return pd.Series(np.int8(-1), index=origins.index)
    return origins.map(partition(list(origins), list(labels), parts, seed)).astype(np.int8)


def _rows(pictures: pd.DataFrame, augmented: Path, *, spare: bool) -> pd.DataFrame:
    """The originals of every fold, and the copies of the pictures that train; of the others where `spare` is asked."""
    plan = pd.read_parquet(augmented / "plan.parquet", columns=["id", "label", "copy"])
    told = pictures.set_index("id")[["origin", "fold", "part"]].loc[plan["id"]].reset_index(drop=True)
    rows = plan.join(told)
    takes_part = (rows["fold"] == "train") | (rows["copy"] == 0)
    rows["fold"] = rows["fold"].where(takes_part, SPARE)
    return rows.loc[takes_part | spare, MANIFEST]


def _folds_sheet(manifest: pd.DataFrame, pixels: LabPixels) -> Image.Image:
    """A row of pictures for each fold and class, whole classes at a time; of many classes the first."""
    labels = manifest["label"].fillna("").astype(str)
    rows, words = [], []
    for label in sorted(set(labels))[: SHEET_ROWS // len(FOLDS)]:
        for fold in FOLDS:
            places = np.flatnonzero((labels == label) & (manifest["fold"] == fold))
            rows.append([lab_to_srgb(np.array(pixels[place])) for place in places[:SHEET_PICTURES]])
            words.append(f"{label}, {fold} ({len(places)})".removeprefix(", "))
    return contact_sheet(rows, words)


def _summarise(originals: pd.DataFrame, joined: int, audit: Audit) -> SplitSummary:
    folds = originals.groupby("fold")
    told = originals[originals["label"].notna()]
    table = pd.crosstab(told["fold"], told["label"])
    return SplitSummary(
        pictures={str(fold): int(count) for fold, count in folds.size().items()},
        origins={str(fold): int(count) for fold, count in folds["origin"].nunique().items()},
        classes={
            str(fold): {str(label): int(n) for label, n in row.items()} for fold, row in table.to_dict("index").items()
        },
        joined=joined,
        compared=int(audit.pairs["agreement"].notna().sum()),
        suspicious=audit.suspicious,
        suspicious_from=SAME_PICTURE,
    )


def main() -> None:
    params = read_params(Path())
    config = section(params, "split", SplitConfig)
    parts = validated(params.get("assess") or {}, "assess", AssessConfig).folds
    folders = Folders()
    print(split(config, folders.lab, folders.augmented, folders.split, seed=entry.seed(params), parts=parts))
    with staged(folders.pixels, folder=True) as part:
        index_pixels(replace(folders, pixels=part))


if __name__ == "__main__":
    entry.run(main)
