"""The files of the data stages that the report shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from lamina.charts.inlined import inlined
from lamina.data.texts import read_texts as read_kept_texts
from lamina.errors import UserError
from lamina.maths.color import lab_to_srgb
from lamina.results.result_file import ResultFile, read_optional_table, read_pixels, read_result, read_table

EXCERPT: Final = 280  # characters of a text in the page
LARGEST_SIDE = 160  # pixels of a picture in the page, at which 16 runs stay below 3 MB
GROUPS = ("group", "id", "name", "origin")
CELLS = ("agreement",)
JOINED = ("id", "other", "agreement")
PAIRS = ("id", "nearest", "fold", "distance", "unusual", "agreement")
SHEETS = {
    "kept": "filtered/kept.png",
    "rejected": "filtered/rejected.png",
    "groups": "filtered/groups.png",
    "cells": "filtered/cells.png",
    "augmented": "augmented/sheet.png",
    "folds": "split/folds.png",
    "joined": "split/joined.png",
    "closest": "split/closest.png",
}


class AuditCount(ResultFile):
    """The part of the split's `summary.json` about the leak audit; None if there was none."""

    compared: int | None = None
    suspicious: int | None = None
    suspicious_from: float | None = None


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """What the data stages wrote about pictures or texts.

    names: by id.
    split: `id`, `origin`, `label`, `copy`, `fold`. rejected: `name`, `reason`; None where nothing was filtered.
    joined: pairs that became one origin, `id`, `other`, `agreement`.
    audit: `id`, `nearest`, `fold`, `agreement`, the suspicious first; None where none was made.
    docs: whether Data Docs are there.
    """

    names: "pd.Series[str]"
    split: pd.DataFrame
    rejected: pd.DataFrame | None
    joined: pd.DataFrame
    audit: pd.DataFrame | None
    counted: AuditCount
    docs: bool

    def name(self, row: str) -> str:
        """Return the name of a picture or text by its id."""
        return str(self.names.get(row, row))


@dataclass(frozen=True, kw_only=True)
class Pictures(DataFiles):
    """The pictures that the system learned from; `audit` also has `distance` and `unusual`.

    pixels: (N, S, S, 3) int16 CIELAB x 100, mapped from disk, in the order of `names`.
    groups: near duplicates, `group`, `name`, `origin`; no rows where none were looked for.
    cells: `agreement` of the cell found in each picture with the labeled box; no rows if cells were not looked for.
    sheets: contact sheets that are there, by the name of what they show.
    """

    noun: ClassVar[str] = "picture"

    pixels: np.ndarray
    groups: pd.DataFrame
    cells: pd.DataFrame
    sheets: Mapping[str, Path]

    def shown(self, row: str) -> Markup:
        """Return a picture by its id as markup.

        Raises:
            UserError: if there is none.
        """
        if row not in self.names.index:
            raise UserError(f"data/lab/manifest.parquet: no picture {row}, which a run was tested on; run `dvc repro`")
        pixels = lab_to_srgb(np.array(self.pixels[self.names.index.get_loc(row)]))
        drawn = inlined(Image.fromarray(pixels), LARGEST_SIDE)
        size = f'width="{drawn.width}" height="{drawn.height}"'
        return Markup(f'<img src="{drawn.source}" {size} alt="{{}}">').format(self.name(row))  # noqa: S704 - made here


@dataclass(frozen=True, kw_only=True)
class Texts(DataFiles):
    """The texts that the system learned from; folder: `data/texts`."""

    noun: ClassVar[str] = "text"

    folder: Path

    def shown(self, row: str) -> Markup:
        """Return the beginning of a text by its id; raises UserError where there is none."""
        if row not in self._excerpts:
            raise UserError(f"data/texts/texts.parquet: no text {row}, which a run was tested on; run `dvc repro`")
        return Markup("<blockquote>{}</blockquote>").format(self._excerpts[row])

    @cached_property
    def _excerpts(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for ids, texts in read_kept_texts(self.folder):
            cut = (text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…" for text in texts)
            found |= dict(zip(ids, cut, strict=True))
        return found


def read_pictures(system: Path) -> Pictures:
    """Read what the data stages of a system's folder wrote; raises UserError where convert or split is missing."""
    data = system / "data"
    manifest = read_table(data / "lab" / "manifest.parquet", ("id", "name"), "convert")
    rejected, audit = data / "filtered" / "rejected.parquet", data / "split" / "audit.parquet"
    summary = data / "split" / "summary.json"
    return Pictures(
        names=manifest.set_index("id")["name"],
        pixels=read_pixels(data / "lab" / "pixels.npy", "convert"),
        split=read_table(data / "split" / "manifest.parquet", ("id", "origin", "label", "copy", "fold"), "split"),
        rejected=read_table(rejected, ("name", "reason"), "filter") if rejected.exists() else None,
        groups=read_optional_table(data / "filtered" / "groups.parquet", GROUPS, "filter"),
        cells=read_optional_table(data / "filtered" / "cells.parquet", CELLS, "filter"),
        joined=read_optional_table(data / "split" / "joined.parquet", JOINED, "split"),
        audit=read_table(audit, PAIRS, "split") if audit.exists() else None,
        counted=read_result(summary, AuditCount, "split") if summary.exists() else AuditCount(),
        sheets={name: data / path for name, path in SHEETS.items() if (data / path).exists()},
        docs=(data / "validation" / "docs" / "index.html").exists(),
    )


def read_texts(system: Path) -> Texts:
    """Read what the data stages of a system's folder wrote; raises UserError where a file is missing or broken."""
    data = system / "data"
    kept = read_table(data / "filtered" / "kept.parquet", ("id", "name"), "filter")
    return Texts(
        folder=data / "texts",
        names=kept.set_index("id")["name"],
        split=read_table(data / "split" / "manifest.parquet", ("id", "origin", "label", "copy", "fold"), "split"),
        rejected=read_table(data / "filtered" / "rejected.parquet", ("name", "reason"), "filter"),
        joined=read_table(data / "split" / "joined.parquet", ("id", "other", "agreement"), "split"),
        audit=read_table(data / "split" / "audit.parquet", ("id", "nearest", "fold", "agreement"), "split"),
        counted=read_result(data / "split" / "summary.json", AuditCount, "split"),
        docs=(data / "validation" / "docs" / "index.html").exists(),
    )
