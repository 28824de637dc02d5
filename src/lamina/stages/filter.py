"""Stage `filter`: which pictures are kept, and for each of the others the reason why not."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lamina.config import read_params, section
from lamina.data.duplicates import merge_origins, near_duplicate_groups
from lamina.data.filters import Demands, FilterConfig, judge
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import MEMO, prepare
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.files import staged
from lamina.stages import entry

KEPT = ["id", "name", "label", "origin", "width", "height", "box", "part", "group", "row"]
REJECTED = ["name", "reason", "detail"]


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


def filter_pictures(demands: Demands, config: ConvertConfig, raw: Path, out: Path, *, memo: Path) -> FilterSummary:
    """Write `kept.parquet` and `rejected.parquet` (docs/files.md) to `out`. Raises UserError if none is kept.

    config, memo: what the pictures are prepared for, and where that is kept (`lamina.data.preparation`): each is
    decoded once, here, for this stage and the next.
    """
    prepared = prepare(raw, config, memo, what="filter")
    pictures = prepared.pictures.join(judge(prepared.pictures, demands))
    summary = _summary(pictures)
    if not summary.kept:
        raise UserError(
            f"filter keeps no picture: {summary}; loosen `filter` or `source.classes`, or look at the source"
        )
    is_kept = pictures["reason"].isna()
    kept = pictures[is_kept].reset_index(drop=True)
    kept["origin"] = merge_origins(kept["origin"], near_duplicate_groups(prepared.thumbnails[is_kept.to_numpy()]))
    kept["box"] = [boxes[0] if demands.boxed else cell for boxes, cell in zip(kept["boxes"], kept["cell"], strict=True)]
    with staged(out, folder=True) as part:
        kept[KEPT].to_parquet(part / "kept.parquet", index=False)
        pictures.loc[~is_kept, REJECTED].astype("str").to_parquet(part / "rejected.parquet", index=False)
    return summary


def _summary(pictures: pd.DataFrame) -> FilterSummary:
    reasons = pictures["reason"].value_counts()
    rejected = {str(reason): int(count) for reason, count in sorted(reasons.items())}
    return FilterSummary(kept=int(pictures["reason"].isna().sum()), rejected=rejected)


def main() -> None:
    system = Path()
    params = read_params(system)
    source = section(params, "source", SourceConfig)
    config = section(params, "convert", ConvertConfig)
    demands = Demands(
        filter=section(params, "filter", FilterConfig),
        labeled=source.labels != "none",
        classes=source.classes,
        boxed=config.isolate == "box",
        celled=config.isolate == "cell" and config.no_cell == "drop",
    )
    print(filter_pictures(demands, config, Path("data/raw"), Path("data/filtered"), memo=MEMO))


if __name__ == "__main__":
    entry.run(main)
