"""Stage `split`: whole origins to train, validation and test; copies to train alone."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lamina.config import read_params, section
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.maths.splits import FOLDS, SplitConfig, split_origins
from lamina.stages import entry

MANIFEST = ["id", "origin", "label", "copy", "fold"]
RESERVED = {*MANIFEST, "predicted"}  # columns that stand beside one per class


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """Original pictures and origins by fold, and pictures by fold and class."""

    pictures: dict[str, int]
    origins: dict[str, int]
    classes: dict[str, dict[str, int]]

    def __str__(self) -> str:
        parts = [f"{fold} {self.pictures[fold]} of {self.origins[fold]} origins" for fold in FOLDS]
        return "split: " + ", ".join(parts)


def split(config: SplitConfig, augmented: Path, out: Path, *, seed: int) -> SplitSummary:
    """Write `manifest.parquet` (one row per picture or training copy) and `summary.json` to `out`.

    Pictures without labels count as one class. Raises UserError where a class has fewer origins than folds.
    """
    plan = pd.read_parquet(augmented / "plan.parquet", columns=["id", "origin", "label", "copy"])
    originals = plan[plan["copy"] == 0]
    labels = originals["label"].fillna("").astype(str)
    if taken := RESERVED & set(labels):
        raise UserError(f"split: class {min(taken)!r} has the name of a column of the predictions; rename the class")
    plan["fold"] = plan["origin"].map(split_origins(list(originals["origin"]), list(labels), config.shares, seed))
    rows = plan[(plan["fold"] == "train") | (plan["copy"] == 0)]
    summary = _summarise(rows[rows["copy"] == 0])
    with staged(out, folder=True) as part:
        rows[MANIFEST].to_parquet(part / "manifest.parquet", index=False)
        write_json(part / "summary.json", summary.__dict__)
    return summary


def _summarise(originals: pd.DataFrame) -> SplitSummary:
    folds = originals.groupby("fold")
    table = pd.crosstab(originals["fold"], originals["label"].fillna(""))
    return SplitSummary(
        pictures={str(fold): int(count) for fold, count in folds.size().items()},
        origins={str(fold): int(count) for fold, count in folds["origin"].nunique().items()},
        classes={
            str(fold): {str(label): int(n) for label, n in row.items()} for fold, row in table.to_dict("index").items()
        },
    )


def main() -> None:
    params = read_params(Path())
    config = section(params, "split", SplitConfig)
    print(split(config, Path("data/augmented"), Path("data/split"), seed=entry.seed(params)))


if __name__ == "__main__":
    entry.run(main)
