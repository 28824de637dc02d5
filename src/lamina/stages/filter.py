"""Stage `filter`: keep or reject each picture, with the reason."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lamina.config import read_params, section
from lamina.data.duplicates import merge_origins, near_duplicate_groups
from lamina.data.filter_sheets import groups_sheet, kept_sheet, near_duplicates, rejected_sheet
from lamina.data.filters import REMEDIES, FilterConfig, FilterRules, judge
from lamina.data.given_test import given_test, read_metadata
from lamina.data.pixels import ConvertConfig
from lamina.data.preparation import MEMO, prepare, read_thumbnails
from lamina.data.sources.config import SourceConfig
from lamina.data.verdicts import describe_losses, read_corrected
from lamina.errors import UserError
from lamina.files import staged
from lamina.maths.splits import SplitConfig
from lamina.stages import entry

KEPT = ["id", "name", "label", "origin", "width", "height", "box", "part", "group", "row"]
PLACE = ["pack", "place"]
REJECTED = ["name", "reason", "detail"]
CELLS = ["id", "name", "cell", "labeled", "agreement"]
GROUPS = ["group", "id", "name", "origin"]


@dataclass(frozen=True, kw_only=True)
class FilterSummary:
    """Numbers of kept pictures and of rejected ones by reason.

    labeled: pictures with exactly one labeled box; agreeing: those whose found cell agrees with it.
    depth: what was decided for pictures whose files do not say their depth, in words; empty without such pictures.
    losses: in words, the classes that lost most of their pictures.
    """

    kept: int
    rejected: dict[str, int]
    labeled: int = 0
    agreeing: int = 0
    depth: str = ""
    losses: tuple[str, ...] = ()

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())
        rejected = f"rejected {sum(self.rejected.values())}" + (f" ({reasons})" if reasons else "")
        cells = f"; {self.agreeing} of {self.labeled} cells found agree with the labeled box"
        depth = f"; {self.depth}" if self.depth else ""
        kept = f"kept {self.kept} pictures, {rejected}" + (cells if self.labeled else "") + depth
        return "\n".join([kept, *(f"warning: {loss}" for loss in self.losses)])


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """What is held of pictures after they are judged.

    packs: folder of the prepared pictures.
    config: section `convert`, with the depth that was decided.
    kept: columns `KEPT` and `PLACE` (in `packs`); origins are not merged.
    rejected: all columns of the others.
    cells: found and labeled cells of all pictures; None unless cells are isolated.
    """

    packs: Path
    config: ConvertConfig
    kept: pd.DataFrame
    rejected: pd.DataFrame
    cells: pd.DataFrame | None
    summary: FilterSummary


def filter_pictures(rules: FilterRules, config: ConvertConfig, raw: Path, out: Path, *, memo: Path) -> FilterSummary:
    """Write tables and sheets of kept and rejected pictures, near duplicates and cells to `out` (docs/files.md).

    Args:
        rules: For keeping a picture.
        config: Section `convert`. Each picture is decoded once, here, and prepared for that stage too.
        raw: Folder of the downloaded pictures.
        out: Folder for the results.
        memo: Cache of prepared pictures (`lamina.data.preparation`).

    Returns:
        What was kept.

    Raises:
        UserError: If no picture is kept, or none of a class.
    """
    judged = _judge(rules, config, raw, memo)
    pa.default_memory_pool().release_unused()  # the facts of all pictures, before their thumbnails come
    kept, groups = judged.kept, np.arange(len(judged.kept))
    if rules.filter.merge_near_duplicates:
        groups = near_duplicate_groups(read_thumbnails(judged.packs, kept))
    kept = kept.assign(origin=merge_origins(kept["origin"], groups))
    with staged(out, folder=True) as part:
        kept[KEPT].to_parquet(part / "kept.parquet", index=False)
        judged.rejected[REJECTED].astype("str").to_parquet(part / "rejected.parquet", index=False)
        _write_sheets(raw, kept, judged.rejected, near_duplicates(kept, groups), judged.config, part)
        if judged.cells is not None:
            _write_cells(raw, judged.cells, judged.config, part)
    return judged.summary


def _judge(rules: FilterRules, config: ConvertConfig, raw: Path, memo: Path) -> _Judged:
    """Decide which pictures are kept. Of the others, and of their facts, little stays in memory."""
    prepared = prepare(raw, config, memo, what="filter")
    pictures = prepared.pictures.join(judge(prepared.pictures, rules))
    summary = replace(_summary(pictures), depth=str(prepared.depth or ""))
    if not summary.kept:
        raise UserError(f"filter keeps no picture: {summary}; loosen `filter` or `source.classes`, or check the source")
    if rules.labeled:
        losses = describe_losses(pictures, pictures, rules.classes, REMEDIES, "pictures")
        summary = replace(summary, losses=tuple(losses))
    cells = None
    if config.isolate == "cell":
        from lamina.data.isolation import HIT, compare_cells  # brings SciPy's image filters

        cells = compare_cells(pictures)
        agreement = cells["agreement"].dropna()
        summary = replace(summary, labeled=len(agreement), agreeing=int((agreement >= HIT).sum()))
    is_kept = pictures["reason"].isna()
    kept = pictures[is_kept].reset_index(drop=True)
    kept["box"] = [boxes[0] if rules.boxed else cell for boxes, cell in zip(kept["boxes"], kept["cell"], strict=True)]
    return _Judged(
        packs=prepared.folder,
        config=prepared.convert,
        kept=kept[[*KEPT, *PLACE]].copy(),
        rejected=pictures[~is_kept],
        cells=cells,
        summary=summary,
    )


def _write_cells(raw: Path, compared: pd.DataFrame, config: ConvertConfig, out: Path) -> None:
    """Write the table of found and labeled cells, and their sheet unless it is empty."""
    from lamina.data.isolation import cells_sheet  # brings SciPy's image filters

    compared[CELLS].to_parquet(out / "cells.parquet", index=False)
    if sheet := cells_sheet(raw, compared, config):
        sheet.save(out / "cells.png")


def _write_sheets(
    raw: Path, kept: pd.DataFrame, rejected: pd.DataFrame, listed: pd.DataFrame, config: ConvertConfig, out: Path
) -> None:
    """Write the groups of near duplicates, and all contact sheets that are not empty."""
    listed[GROUPS].to_parquet(out / "groups.parquet", index=False)
    sheets = {
        "kept.png": kept_sheet(raw, kept, config),
        "rejected.png": rejected_sheet(raw, rejected, config),
        "groups.png": groups_sheet(raw, kept, listed, config),
    }
    for name, sheet in sheets.items():
        if sheet:
            sheet.save(out / name)


def _summary(pictures: pd.DataFrame) -> FilterSummary:
    reasons = pictures["reason"].value_counts()
    rejected = {str(reason): int(count) for reason, count in sorted(reasons.items())}
    return FilterSummary(kept=int(pictures["reason"].isna().sum()), rejected=rejected)


def main() -> None:
    params = read_params(Path())
    source = section(params, "source", SourceConfig)
    config = section(params, "convert", ConvertConfig)
    raw = Path("data/raw")
    rules = FilterRules(
        filter=section(params, "filter", FilterConfig),
        labeled=source.labels != "none",
        classes=source.classes,
        boxed=config.isolate == "box",
        celled=config.isolate == "cell" and config.no_cell == "drop",
        given_test=given_test(section(params, "split", SplitConfig), read_metadata(raw)),
        corrected=read_corrected(raw),
    )
    print(filter_pictures(rules, config, raw, Path("data/filtered"), memo=MEMO))


if __name__ == "__main__":
    entry.run_stage(main)
