"""Stage `filter`: which pictures are kept, and for each of the others the reason why not."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lamina.config import read_params, section
from lamina.data.duplicates import merge_origins, near_duplicate_groups
from lamina.data.filters import Demands, FilterConfig, inspect_shard, judge
from lamina.data.looks import groups_sheet, kept_sheet, near_duplicates, rejected_sheet
from lamina.data.pixels import ConvertConfig
from lamina.data.shards import list_shards, map_shards, read_shard
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.files import staged
from lamina.stages import entry

KEPT = ["id", "name", "label", "origin", "width", "height", "box", "part", "group", "row"]
REJECTED = ["name", "reason", "detail"]
GROUPS = ["group", "id", "name", "origin"]


@dataclass(frozen=True, kw_only=True)
class FilterSummary:
    """How many pictures were kept, and rejected by reason."""

    kept: int
    rejected: dict[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())
        return f"kept {self.kept} pictures, rejected {sum(self.rejected.values())}" + (
            f" ({reasons})" if reasons else ""
        )


def filter_pictures(demands: Demands, raw: Path, out: Path) -> FilterSummary:
    """Write tables and sheets of kept and rejected pictures and of near duplicates (docs/files.md) to `out`.

    Raises UserError if none is kept.
    """
    pictures, thumbnails = _inspect(raw)
    pictures = pictures.join(judge(pictures, demands))
    summary = _summary(pictures)
    if not summary.kept:
        raise UserError(
            f"filter keeps no picture: {summary}; loosen `filter` or `source.classes`, or look at the source"
        )
    is_kept = pictures["reason"].isna()
    kept = pictures[is_kept].reset_index(drop=True)
    groups = near_duplicate_groups(thumbnails[is_kept.to_numpy()])
    kept["origin"] = merge_origins(kept["origin"], groups)
    kept["box"] = [boxes[0] if demands.boxed else None for boxes in kept["boxes"]]
    with staged(out, folder=True) as part:
        kept[KEPT].to_parquet(part / "kept.parquet", index=False)
        pictures.loc[~is_kept, REJECTED].astype("str").to_parquet(part / "rejected.parquet", index=False)
        _look(raw, kept, pictures[~is_kept], near_duplicates(kept, groups), part)
    return summary


def _look(raw: Path, kept: pd.DataFrame, rejected: pd.DataFrame, listed: pd.DataFrame, out: Path) -> None:
    """Write what people may look at; sheets that would be empty are left out."""
    listed[GROUPS].to_parquet(out / "groups.parquet", index=False)
    sheets = {
        "kept.png": kept_sheet(raw, kept),
        "rejected.png": rejected_sheet(raw, rejected),
        "groups.png": groups_sheet(raw, kept, listed),
    }
    for name, sheet in sheets.items():
        if sheet:
            sheet.save(out / name, optimize=True)


def _inspect(raw: Path) -> tuple[pd.DataFrame, np.ndarray]:
    shards = list_shards(raw)
    sizes = [shard.rows for shard in shards]
    found = list(map_shards(inspect_shard, [(raw, shard) for shard in shards], sizes=sizes, what="filter"))
    told = ["id", "name", "label", "label_count", "origin", "boxes", "sha256"]
    tables = [
        read_shard(raw, shard, told).join(facts).assign(part=shard.part, group=shard.group, row=range(shard.rows))
        for shard, (facts, _) in zip(shards, found, strict=True)
    ]
    return pd.concat(tables, ignore_index=True), np.concatenate([thumbnails for _, thumbnails in found])


def _summary(pictures: pd.DataFrame) -> FilterSummary:
    reasons = pictures["reason"].value_counts()
    rejected = {str(reason): int(count) for reason, count in sorted(reasons.items())}
    return FilterSummary(kept=int(pictures["reason"].isna().sum()), rejected=rejected)


def main() -> None:
    system = Path()
    params = read_params(system)
    source = section(params, "source", SourceConfig)
    demands = Demands(
        filter=section(params, "filter", FilterConfig),
        labeled=source.labels != "none",
        classes=source.classes,
        boxed=section(params, "convert", ConvertConfig).isolate == "box",
    )
    print(filter_pictures(demands, Path("data/raw"), Path("data/filtered")))


if __name__ == "__main__":
    entry.run(main)
