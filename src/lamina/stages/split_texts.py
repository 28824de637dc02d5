"""Stage `split_texts`: join similar texts, split whole origins into train, validation and test, and audit for leaks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from lamina.config import read_params, section, validated
from lamina.data.text_audit import (
    SUSPICIOUS,
    TextAudit,
    audit_texts,
    describe_texts,
    merge_similar,
    signatures,
    similar_pairs,
)
from lamina.data.texts import texts_of
from lamina.files import staged, write_json
from lamina.maths.crossvalidation import AssessConfig
from lamina.maths.splits import SplitConfig
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

JOINED: Final = ["id", "other", "agreement"]


@dataclass(frozen=True, kw_only=True)
class TextSplitSummary(FoldsSummary):
    """Numbers of a split; texts: by fold, `spare` only if the published test set leaves texts that may not train."""

    texts: dict[str, int]

    def __str__(self) -> str:
        return self.in_words(
            self.texts,
            spare="that share an origin with a published test text are not used",
            joined="pairs of similar texts were joined, see joined.parquet",
            suspicious="test texts are like one of training or validation, see audit.parquet",
        )


def split_texts(
    config: SplitConfig, filtered: Path, texts: Path, out: Path, *, seed: int, parts: int = 0, raw: Path = RAW
) -> TextSplitSummary:
    """Write folds, the pairs that were joined before, and the leak audit after to `out` (docs/files.md).

    Args:
        config: Shares of the folds, or the pattern of published test texts.
        filtered: Folder with `kept.parquet`.
        texts: Folder with `texts.parquet`.
        out: Folder for `manifest.parquet`, `joined.parquet`, `audit.parquet` and `summary.json`.
        seed: Decides which origins go to which fold.
        parts: Of a cross-validation, to which whole origins are assigned too; 0 for none (-1 in the manifest).
        raw: Folder of the downloaded texts, with their metadata if there are some.

    Returns:
        What the folds hold and what the audit found. Texts without labels count as one class.

    Raises:
        UserError: A class has fewer origins than folds or parts, or the published test set leaves it without texts
            in a fold.
    """
    kept = pd.read_parquet(filtered / "kept.parquet")
    published, metadata = wanted_folds(kept, config, raw)
    ids = list(kept["id"])
    joined = pd.DataFrame(columns=JOINED)
    if config.merge_near_duplicates:
        pairs = similar_pairs(signatures(texts_of(ids, texts)))
        joined = _named(pairs, kept)
        kept["origin"] = merge_similar(kept["origin"], pairs)
    kept = assign_folds(kept, metadata, published, config, parts=parts, seed=seed).assign(copy=np.int8(0))
    audit = audit_texts(kept, describe_texts(texts_of(ids, texts)))
    summary = _summary(kept, len(joined), audit)
    with staged(out, folder=True) as part:
        kept[MANIFEST].to_parquet(part / "manifest.parquet", index=False)
        write_metadata(metadata, kept, part)
        joined.to_parquet(part / "joined.parquet", index=False)
        audit.pairs.to_parquet(part / "audit.parquet", index=False)
        write_json(part / "summary.json", summary.__dict__)
    return summary


def _named(pairs: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """`id`, `other`, `agreement` of the pairs whose origins differ before they are joined."""
    ids, origins = kept["id"].to_numpy(), kept["origin"].to_numpy()
    left, right = pairs["left"].to_numpy(np.intp), pairs["right"].to_numpy(np.intp)
    table = pd.DataFrame({"id": ids[left], "other": ids[right], "agreement": pairs["agreement"]})
    named: pd.DataFrame = table[origins[left] != origins[right]].astype({"id": str, "other": str})
    return named.reset_index(drop=True)


def _summary(kept: pd.DataFrame, joined: int, audit: TextAudit) -> TextSplitSummary:
    counts, origins, classes = count_folds(kept)
    return TextSplitSummary(
        texts=counts,
        origins=origins,
        classes=classes,
        joined=joined,
        compared=int(audit.pairs["nearest"].notna().sum()),
        suspicious=audit.suspicious,
        suspicious_from=SUSPICIOUS,
    )


def main() -> None:
    params = read_params(Path())
    config = section(params, "split", SplitConfig)
    parts = validated(params.get("assess", {}), "assess", AssessConfig).folds
    filtered, texts, out = Path("data/filtered"), Path("data/texts"), Path("data/split")
    print(split_texts(config, filtered, texts, out, seed=entry.seed(params), parts=parts))
    with staged(Path("data/targets"), folder=True) as part:
        split_targets(out, part)


if __name__ == "__main__":
    entry.run_stage(main)
