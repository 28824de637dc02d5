"""Stage `validate_texts`: check the texts before anything learns from them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lamina.config import read_params
from lamina.data.drift import Values
from lamina.data.texts import TEXTS as TEXTS_FILE
from lamina.maths.crossvalidation import SPARE
from lamina.maths.published_split import GivenTest
from lamina.stages import entry
from lamina.stages.validate import (
    Content,
    Tables,
    agrees,
    occurrences,
    read_shared_tables,
    read_split,
    run_validation,
)
from lamina.tracking.text_suites import TEXT_DRIFT, TEXT_SUITES


def read_text_tables(
    data: Path, shares: Mapping[str, float], parts: int, published: GivenTest | None, classes: Collection[str] | None
) -> dict[str, pd.DataFrame]:
    """Read the tables that `TEXT_SUITES` describe, by their names; arguments as of `lamina.stages.validate`."""
    kept = pd.read_parquet(data / "filtered" / "kept.parquet")
    decoded = pq.read_table(data / "texts" / TEXTS_FILE, columns=["id"])["id"].to_pylist()
    joined = pd.read_parquet(data / "split" / "joined.parquet")
    split = read_split(data, kept, parts, published)
    split["label"] = split["label"].astype(object)
    in_texts = [place < len(decoded) and decoded[place] == one for place, one in enumerate(kept["id"])]
    kept = kept.assign(
        in_texts=pd.Series(in_texts, kept.index) & (len(decoded) == len(kept)),
        in_split=occurrences(kept["id"], split["id"]),
    )
    split = split.assign(
        as_kept=agrees(split, kept, "label"), spare_of_published=split["of_published"] | (split["fold"] != SPARE)
    )
    origin = split.drop_duplicates("id").set_index("id")["origin"]
    return {
        **read_shared_tables(data, kept, split, split, shares, classes),
        "joined": joined.assign(one_origin=joined["id"].map(origin) == joined["other"].map(origin)),
    }


def text_quantities(tables: Tables) -> Values:
    """Measure the quantities of texts whose drift is watched, from the tables of `read_text_tables`."""
    kept = tables["kept"]
    return {
        "words": kept["words"].to_numpy(np.float64),
        "characters": kept["characters"].to_numpy(np.float64),
        "not ASCII": kept["foreign"].to_numpy(np.float64),
    }


TEXTS: Final = Content(
    suites=TEXT_SUITES, drift_suite=TEXT_DRIFT, read_tables=read_text_tables, quantities=text_quantities
)


def main() -> None:
    run_validation(TEXTS, read_params(Path()))


if __name__ == "__main__":
    entry.run_stage(main)
