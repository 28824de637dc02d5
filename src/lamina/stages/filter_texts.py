"""Stage `filter_texts`: which texts are kept, decoded, and for each of the others the reason why not."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lamina.config import read_params, section, validated
from lamina.data.given_test import given_test, read_metadata
from lamina.data.sources.config import SourceConfig
from lamina.data.text_filters import REMEDIES, TextFilterConfig, TextRules, describe_text, judge_texts
from lamina.data.texts import SCHEMA, TEXTS, decode
from lamina.data.verdicts import describe_losses, read_corrected
from lamina.errors import UserError
from lamina.files import staged
from lamina.maths.splits import SplitConfig
from lamina.progress import progress
from lamina.stages import entry

FACTS: Final = ["id", "name", "label", "label_count", "origin"]
KEPT: Final = ["id", "name", "label", "origin", "words", "characters", "foreign", "part", "group", "row"]
LONG_WORDS: Final = 15  # characters a word, on average: no language with spaces has so many
FOREIGN: Final = 0.5  # share of characters that are not ASCII, as addresses on the web are
FEW_UNSPACED: Final = 0.1  # of the texts
REJECTED: Final = ["name", "reason", "detail"]


@dataclass(frozen=True, kw_only=True)
class TextFilterSummary:
    """What was kept and rejected.

    Attributes:
        kept: Number of kept texts.
        words: Number of their words.
        rejected: Numbers of rejected texts by reason.
        losses: In words, classes that lost most texts.
        unspaced: Number of kept texts in letters such as those of Chinese or Thai, without spaces between the words.
    """

    kept: int
    words: int
    rejected: dict[str, int]
    losses: tuple[str, ...] = ()
    unspaced: int = 0

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())
        rejected = f"rejected {sum(self.rejected.values())}" + (f" ({reasons})" if reasons else "")
        kept = f"kept {self.kept} texts of {self.words:,} words, {rejected}"
        unspaced = (
            f"{self.unspaced} texts have no spaces between their words, so that a word here is a whole clause, and few "
            "are in two texts; write spaces between the words first (with jieba, MeCab or PyThaiNLP, say)"
        )
        warnings = [*self.losses, *([unspaced] * (self.unspaced > FEW_UNSPACED * self.kept))]
        return "\n".join([kept, *(f"warning: {one}" for one in warnings)])


def filter_texts(rules: TextRules, raw: Path, out: Path, texts: Path) -> TextFilterSummary:
    """Write tables of kept and rejected texts, and the kept texts themselves (docs/files.md).

    Every text is decoded twice, so that memory holds one row group at a time, and some 400 bytes for each text.

    Args:
        rules: What a text must satisfy.
        raw: Folder that the stage `download` wrote.
        out: Folder for `kept.parquet` and `rejected.parquet`.
        texts: Folder for `texts.parquet`.

    Returns:
        What was kept and rejected.

    Raises:
        UserError: No text is kept, or none of a class.
    """
    found = _describe(raw, strip_html=rules.filter.strip_html)
    found = found.join(judge_texts(found, rules))
    is_kept = found["reason"].isna()
    kept = found[is_kept].reset_index(drop=True)
    reasons = found["reason"].value_counts()
    summary = TextFilterSummary(
        kept=len(kept),
        words=int(kept["words"].sum()),
        rejected={str(reason): int(count) for reason, count in sorted(reasons.items())},
        unspaced=int(((kept["characters"] > LONG_WORDS * kept["words"]) & (kept["foreign"] > FOREIGN)).sum()),
    )
    if not summary.kept:
        raise UserError(f"filter keeps no text: {summary}; loosen `filter` or `source.classes`, or look at the source")
    if rules.labeled:
        summary = replace(summary, losses=tuple(describe_losses(found, found, rules.classes, REMEDIES, "texts")))
    with staged(out, folder=True) as tables, staged(texts, folder=True) as decoded:
        kept[KEPT].to_parquet(tables / "kept.parquet", index=False)
        found.loc[~is_kept, REJECTED].astype("str").to_parquet(tables / "rejected.parquet", index=False)
        _write_texts(raw, kept, decoded / TEXTS, strip_html=rules.filter.strip_html)
    return summary


def _describe(raw: Path, *, strip_html: bool) -> pd.DataFrame:
    """Facts of every text, and where its bytes are: `part` (file name), `group` (row group), `row` in it."""
    tables = []
    for part, group, table in _groups(raw, [*FACTS, "encoded"], what="filter"):
        facts = pd.DataFrame([describe_text(decode(data.as_py(), strip_html=strip_html)) for data in table["encoded"]])
        place = pd.DataFrame({"part": part, "group": group, "row": range(len(facts))})
        tables.append(pd.concat([table.select(FACTS).to_pandas(), facts, place], axis=1))
    if not tables:
        raise UserError(f"{raw}: holds no texts; run the stage download again")
    described: pd.DataFrame = pd.concat(tables, ignore_index=True)
    return described


def _write_texts(raw: Path, kept: pd.DataFrame, out: Path, *, strip_html: bool) -> None:
    """Write the kept texts, a row group for each one of `raw`."""
    rows = {place: list(of_group["row"]) for place, of_group in kept.groupby(["part", "group"], sort=False)}
    with pq.ParquetWriter(out, SCHEMA, compression="zstd", use_dictionary=False, write_statistics=False) as writer:
        for part, group, table in _groups(raw, ["id", "encoded"], what="decode"):
            if (part, group) in rows:
                table = table.take(rows[part, group])
                texts = [decode(data.as_py(), strip_html=strip_html).text for data in table["encoded"]]
                writer.write_table(pa.table({"id": table["id"], "text": texts}, schema=SCHEMA))


def _groups(raw: Path, columns: list[str], *, what: str) -> Iterator[tuple[str, int, pa.Table]]:
    """(part, number, rows) of each row group."""
    files = {path.name: pq.ParquetFile(path) for path in sorted(raw.glob("part-*.parquet"))}
    places = [(name, group) for name, file in files.items() for group in range(file.num_row_groups)]
    sizes = [files[name].metadata.row_group(group).num_rows for name, group in places]
    for name, group in progress(places, what=what, unit="texts", sizes=sizes):
        yield name, group, files[name].read_row_group(group, columns=columns)


def main() -> None:
    params = read_params(Path())
    source = section(params, "source", SourceConfig)
    raw = Path("data/raw")
    rules = TextRules(
        filter=validated(params.get("filter", {}), "filter", TextFilterConfig),
        labeled=source.labels != "none",
        classes=source.classes,
        given_test=given_test(section(params, "split", SplitConfig), read_metadata(raw)),
        corrected=read_corrected(raw),
    )
    print(filter_texts(rules, raw, Path("data/filtered"), Path("data/texts")))


if __name__ == "__main__":
    entry.run_stage(main)
