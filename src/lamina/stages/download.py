"""Stage `download`: write the source's pictures or texts to Parquet files, byte for byte."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lamina.config import read_params, section
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.corrections import Corrections
from lamina.data.sources.members import Picture
from lamina.data.sources.metadata import Metadata
from lamina.data.sources.source import open_source
from lamina.errors import UserError
from lamina.files import PiecewiseWriter, staged
from lamina.prefetch import prefetch
from lamina.progress import progress
from lamina.stages import entry
from lamina.text import cut, printable

GROUP_PICTURES: Final = 256
GROUP_BYTES: Final = 8 * 2**20
PART_BYTES: Final = 256 * 2**20
FOOTER_BYTES: Final = 2**11  # per row group, measured and rounded up

SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("label_count", pa.int8(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("boxes", pa.list_(pa.list_(pa.int32())), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("encoded", pa.binary(), nullable=False),
    ]
)


# The formats of pictures compress already; compressing again costs time and saves nothing.
COMPRESSION: Final = {"pictures": "none", "texts": "zstd"}


@dataclass(frozen=True, kw_only=True)
class DownloadSummary:
    """Number of pictures (or texts), bytes on disk, number per label of those with exactly one, notes of the source."""

    pictures: int
    bytes: int
    labels: dict[str, int]
    content: str = "pictures"
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {cut(printable(label))}" for label, count in self.labels.items())
        classes = f"{len(self.labels) or 'no'} classes" + (f" ({counts})" if 0 < len(self.labels) <= 20 else "")
        return "\n".join([f"read {self.pictures} {self.content}, {self.bytes / 2**20:.1f} MiB, {classes}", *self.notes])


def download(config: SourceConfig, system: Path, out: Path, *, seed: int) -> DownloadSummary:
    """Write the source's pictures to `out` as `part-00000.parquet`, ... (docs/files.md).

    Memory holds two row groups: the next is read and hashed while one is written.

    Args:
        config: Section `source`.
        system: Folder that `source.location` is relative to.
        out: Folder for the parts.
        seed: For sources that draw a sample.

    Returns:
        What was written.

    Raises:
        UserError: If something is wrong with the source; then nothing is written.
    """
    corrections = Corrections(system / config.corrections, config.corrections) if config.corrections else None
    metadata = Metadata(system / config.metadata, config.metadata) if config.metadata else None
    with open_source(config, seed=seed, system=system) as source, staged(out, folder=True) as folder:
        found = corrections.apply(source.pictures) if corrections else source.pictures
        pictures = progress(found, what="download", unit=config.content, total=source.total)
        groups = prefetch(map(to_table, row_groups(_in_order(pictures))), depth=1)
        write_parts(groups, folder, compression=COMPRESSION[config.content])
        parts = sorted(folder.iterdir())
        summary = _summary(parts, config.content)
        if corrections:
            corrections.write(folder)
        if metadata:
            metadata.write(
                [name for part in parts for name in pq.read_table(part, columns=["name"])["name"].to_pylist()], folder
            )
        return replace(summary, notes=(*source.notes, *(str(one) for one in (corrections, metadata) if one)))


def _in_order(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Yield the pictures; refuse names that are not in strictly ascending order."""
    last = ""
    for picture in pictures:
        if picture.name <= last:
            raise UserError(f"source: {picture.name!r} comes twice or out of order; give each its own name")
        last = picture.name
        yield picture


def row_groups(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    """Cut pictures into groups of at most `GROUP_PICTURES` and `GROUP_BYTES`, or one larger picture alone."""
    group: list[Picture] = []
    size = 0
    for picture in pictures:
        if len(group) == GROUP_PICTURES or (group and size + len(picture.encoded) > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(picture)
        size += len(picture.encoded)
    if group:
        yield group


def write_parts(
    groups: Iterable[pa.Table], folder: Path, part_bytes: int = PART_BYTES, *, compression: str = "none"
) -> None:
    """Write row groups to `part-00000.parquet`, ...

    Args:
        groups: Tables of `SCHEMA`, one per row group.
        folder: For the parts.
        part_bytes: Largest size of a part; each holds at least one group.
        compression: Of the pictures' or texts' bytes, as Parquet names it.
    """
    encoding = _encoding(compression)
    tables = iter(groups)
    table = next(tables, None)
    for number in count():
        if table is None:
            return
        path = folder / f"part-{number:05d}.parquet"
        with PiecewiseWriter(path) as file, pq.ParquetWriter(file, SCHEMA, **encoding) as writer:
            held = 0
            while table is not None and (
                not held or file.tell() + table.nbytes + (held + 2) * FOOTER_BYTES <= part_bytes
            ):
                writer.write_table(table, row_group_size=table.num_rows)
                held += 1
                table = next(tables, None)


def _encoding(compression: str) -> dict[str, Any]:
    columns = dict.fromkeys(SCHEMA.names, "zstd")
    return {
        "compression": {**columns, "boxes.list.element.list.element": "zstd", "encoded": compression},
        "use_dictionary": ["label", "label_count"],
        "write_statistics": ["id", "name", "label"],
    }


def to_table(group: list[Picture]) -> pa.Table:
    """Return the rows of `data/raw/` (docs/files.md) for some pictures."""
    return pa.table(
        {
            "id": [hashlib.sha256(picture.name.encode()).hexdigest()[:16] for picture in group],
            "name": [picture.name for picture in group],
            "label": [" + ".join(picture.labels) or None for picture in group],
            "label_count": [min(len(picture.labels), 127) for picture in group],
            "origin": [picture.origin for picture in group],
            "boxes": [picture.boxes for picture in group],
            "sha256": [hashlib.sha256(picture.encoded).hexdigest() for picture in group],
            "encoded": _binary([picture.encoded for picture in group]),
        },
        schema=SCHEMA,
    )


def _binary(values: list[bytes]) -> pa.Array:
    """Return `pa.array(values)`, but copy the bytes only once."""
    ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.Array.from_buffers(pa.binary(), len(values), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(values))])


def _summary(parts: list[Path], content: str) -> DownloadSummary:
    pictures, labels = 0, Counter[str]()
    for part in parts:
        table = pq.read_table(part, columns=["label", "label_count"], read_dictionary=["label"])
        pictures += table.num_rows
        single = table.filter(pc.equal(table["label_count"], 1))["label"]
        labels.update({entry["values"]: entry["counts"] for entry in single.value_counts().to_pylist()})
    size = sum(part.stat().st_size for part in parts)
    return DownloadSummary(pictures=pictures, bytes=size, labels=dict(sorted(labels.items())), content=content)


def main() -> None:
    params = read_params(Path())
    config = section(params, "source", SourceConfig)
    print(download(config, Path(), Path("data/raw"), seed=entry.seed(params)))


if __name__ == "__main__":
    entry.run_stage(main)
