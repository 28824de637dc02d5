"""Stage `split`: join near duplicates, split whole origins into train, validation and test, and audit for leaks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.config import read_params, section, validated
from lamina.data.audit import (
    NO_PAIRS,
    Audit,
    audit_folds,
    describe_pictures,
    merge_pair_origins,
    pairs_sheet,
    same_content_bounds,
    same_content_pairs,
)
from lamina.data.row_groups import read_groups, write_groups
from lamina.data.rows import Folders
from lamina.data.sheets import contact_sheet
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.inputs.index import index_pixels
from lamina.maths.color import LabPixels, lab_to_srgb
from lamina.maths.crossvalidation import SPARE, AssessConfig
from lamina.maths.splits import FOLDS, SplitConfig
from lamina.stages import entry
from lamina.stages.folds import (
    MANIFEST,
    RAW,
    FoldsSummary,
    assign_folds,
    count_folds,
    split_targets,
    wanted_folds,
    write_metadata,
)

SHEET_ROWS: Final = 24
SHEET_PICTURES: Final = 10  # in a row


@dataclass(frozen=True, kw_only=True)
class SplitSummary(FoldsSummary):
    """Numbers of a split; pictures: by fold, `spare` only if published test pictures leave some."""

    pictures: dict[str, int]

    def __str__(self) -> str:
        return self.in_words(
            self.pictures,
            spare="of origins with published test pictures are not used",
            joined="pairs that look the same were joined, see joined.png",
            suspicious="test pictures look like a training or validation picture, see closest.png",
        )


def split(
    config: SplitConfig, lab: Path, augmented: Path, out: Path, *, seed: int, parts: int = 0, raw: Path = RAW
) -> SplitSummary:
    """Write folds, joined pictures, the leak audit and contact sheets to `out` (docs/files.md).

    Pictures without labels count as one class.

    Args:
        config: Section `split`.
        lab: Folder of the converted pictures.
        augmented: Folder of the plan of copies.
        out: Folder for the results.
        seed: Of the random draws.
        parts: Of a cross-validation, of whole origins; 0: none, and the manifest holds -1.
        raw: Folder of the downloaded pictures, with their metadata if there are some.

    Returns:
        The numbers of the split.

    Raises:
        UserError: If a class has fewer origins than folds or parts, the given test pictures leave it without
            pictures in a fold, `config` names a column that the metadata lack, or its name is reserved.
    """
    pictures, pixels = pd.read_parquet(lab / "manifest.parquet"), np.load(lab / "pixels.npy", mmap_mode="r")
    published, metadata = wanted_folds(pictures, config, raw)
    described = describe_pictures(pictures["id"], pixels)
    bounds = same_content_bounds(pictures, pixels)
    pairs = same_content_pairs(pictures, pixels, described, bounds) if config.merge_near_duplicates else NO_PAIRS
    pictures["origin"] = merge_pair_origins(pictures, pairs)
    with _explaining_shared_origins(pictures):
        pictures = assign_folds(pictures, metadata, published, config, parts=parts, seed=seed)
    audit = audit_folds(pictures, pixels, described, bounds)
    del described  # as large as all that is written below
    summary = _summary(pictures, len(pairs), audit, float(bounds.min()))
    with staged(out, folder=True) as part:
        plan = read_groups(augmented / "plan.parquet", ["id", "label", "copy"])
        placed = pictures.set_index("id")[["origin", "fold", "part"]]
        write_groups(part / "manifest.parquet", (_rows(group, placed, spare=parts > 0) for group in plan))
        write_metadata(metadata, pictures, part)
        pairs.to_parquet(part / "joined.parquet", index=False)
        audit.pairs.to_parquet(part / "audit.parquet", index=False)
        if len(pairs):
            pairs_sheet(pairs, pictures, pixels).save(part / "joined.png")
        pairs_sheet(audit.pairs, pictures, pixels).save(part / "closest.png")
        _folds_sheet(pictures, pixels).save(part / "folds.png")
        write_json(part / "summary.json", summary.__dict__)
    return summary


@contextmanager
def _explaining_shared_origins(pictures: pd.DataFrame) -> Iterator[None]:
    """Add to a message about too few origins what to do if pictures share one wrongly."""
    try:
        yield
    except UserError as error:
        if pictures["origin"].is_unique:
            raise
        count, origins = len(pictures), pictures["origin"].nunique()
        raise UserError(
            f"{error}; {count} pictures share {origins} origins: if data/filtered/groups.png shows different pictures "
            "as near duplicates, set merge_near_duplicates to false in filter and split"
        ) from None


def _rows(plan: pd.DataFrame, placed: pd.DataFrame, *, spare: bool) -> pd.DataFrame:
    """Return originals and training copies; with `spare` the other copies too, in the fold `spare`.

    plan: `id`, `label`, `copy`; placed: `origin`, `fold` and `part` by id.
    """
    rows = plan.join(placed.loc[plan["id"]].reset_index(drop=True))
    used = (rows["fold"] == "train") | (rows["copy"] == 0)
    rows["fold"] = rows["fold"].where(used, SPARE)
    return rows.loc[used | spare, MANIFEST]


def _folds_sheet(manifest: pd.DataFrame, pixels: LabPixels) -> Image.Image:
    """Draw a row of pictures for each class and fold; of many classes only the first."""
    labels = manifest["label"].fillna("").astype(str)
    rows, titles = [], []
    for label in sorted(set(labels))[: SHEET_ROWS // len(FOLDS)]:
        for fold in FOLDS:
            places = np.flatnonzero((labels == label) & (manifest["fold"] == fold))
            rows.append([lab_to_srgb(np.array(pixels[place])) for place in places[:SHEET_PICTURES]])
            titles.append(f"{label}, {fold} ({len(places)})".removeprefix(", "))
    return contact_sheet(rows, titles)


def _summary(originals: pd.DataFrame, joined: int, audit: Audit, suspicious_from: float) -> SplitSummary:
    pictures, origins, classes = count_folds(originals)
    return SplitSummary(
        pictures=pictures,
        origins=origins,
        classes=classes,
        joined=joined,
        compared=int(audit.pairs["agreement"].notna().sum()),
        suspicious=audit.suspicious,
        suspicious_from=round(suspicious_from, 4),
    )


def main() -> None:
    params = read_params(Path())
    config = section(params, "split", SplitConfig)
    parts = validated(params.get("assess") or {}, "assess", AssessConfig).folds
    folders = Folders()
    print(split(config, folders.lab, folders.augmented, folders.split, seed=entry.seed(params), parts=parts))
    with staged(folders.pixels, folder=True) as part:
        index_pixels(replace(folders, pixels=part))
    with staged(folders.targets, folder=True) as part:
        split_targets(folders.split, part)


if __name__ == "__main__":
    entry.run_stage(main)
