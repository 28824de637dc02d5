"""What the data stages of a system of texts left behind, as far as the report shows it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final

from markupsafe import Markup

from lamina.data.texts import read_texts as read_kept_texts
from lamina.errors import UserError
from lamina.report.pictures import AuditCount, DataFiles
from lamina.results.result_file import read_result, read_table

EXCERPT: Final = 280  # characters of a text in the page


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
