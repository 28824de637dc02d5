"""Decodes each picture once and caches the result: facts for the filter, and a square in CIELAB for the array.

The cache holds packs: an array of squares and a table of facts each, with a key per picture that says what they were
made from. Stages request all pictures, and only missing ones are computed: after an interruption the rest, after a new
delivery the new pictures. Packs that are no longer used are removed. The whole cache may be removed at any time.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from lamina.data.cluster import on_cluster
from lamina.data.decoding import decode, inspect_picture, inspected_scale, open_for
from lamina.data.depth import FULL, Depth, depth_of
from lamina.data.memory import alone_if_large
from lamina.data.opening import Opened, UnreadableError
from lamina.data.pixels import Box, ConvertConfig, Region, box_fits, cut_square, square_around, whole_picture
from lamina.data.remote_calls import Parcel
from lamina.data.shards import Shard, list_shards, map_shards, mean_bytes, read_pictures, read_shard, shard_table
from lamina.files import copy_bytes, discard, json_digest, staged
from lamina.maths.color import RgbPixels, srgb_to_lab
from lamina.progress import progress
from lamina.source_code import code_digest

MEMO: Final = Path(".lamina/prepared")  # in a system's folder, but no output of a stage: DVC deletes outputs
THUMBNAIL: Final = 16  # side in pixels

# Largest pack. An interruption loses the packs that are being written, so they must not be large; but opening a pack
# takes time, so new pictures of many shards share one.
_PACK_PICTURES: Final = 256
_PACK_BYTES: Final = 8 * 2**20  # of encoded pictures

_COLUMNS: Final = ["id", "name", "label", "label_count", "origin", "boxes", "sha256"]
_FACTS: Final = pa.schema(
    [
        ("key", pa.string()),
        ("error", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("grey", pa.bool_()),
        ("largest", pa.int32()),
        ("cell", pa.list_(pa.int32())),
        ("thumbnail", pa.binary()),
    ]
)
_SMALL_FACTS: Final = _FACTS.remove(_FACTS.get_field_index("thumbnail"))  # those that are held of all pictures
Batch: TypeAlias = list[tuple[Shard, "pd.Series[str]"]]  # some pictures: for each shard their keys, by row

# libraries that determine a picture's facts and square, in addition to the picture, the settings and the code
_LIBRARIES: Final = (
    "imagecodecs", "numpy", "opencv-python-headless", "pi-heif", "pillow", "pydicom", "scipy", "tifffile",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is kept of a decoded picture.

    Attributes:
        square: (S, S, 3) uint8.
        facts: Its `width` and `height` in pixels as shown, whether it is `grey`, and its `largest` value (as of
            `Inspected`).
        small: The picture with 32 to 63 pixels on the shorter side.
        cell: Box of the white blood cell, if `convert.isolate` is `cell` and one is found.
    """

    square: RgbPixels
    facts: dict[str, Any]
    small: Image.Image
    cell: Box | None = None


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """All pictures of a raw folder, in its order.

    Attributes:
        folder: Folder of the packs.
        pictures: A row per picture: its columns in the raw folder and where its bytes are (`part`, `group`, `row`);
            `error`, `width`, `height`, `grey`, `largest`, `cell`; where its square is (`pack`, `place`).
        convert: Section `convert`, with the depth that was decided if there are pictures whose files do not say it.
    """

    folder: Path
    pictures: pd.DataFrame
    convert: ConvertConfig

    @property
    def depth(self) -> Depth | None:
        """What pictures are read as whose files do not say their depth; None without such pictures."""
        largest = self.pictures["largest"]
        if not largest.any() or self.convert.depth == "auto":
            return None
        return Depth(pictures=int((largest > 0).sum()), largest=int(largest.max()), bits=self.convert.depth)

    def write_squares(self, pictures: pd.DataFrame, file: BinaryIO) -> None:
        """Write the squares of some pictures, each (S, S, 3) int16, CIELAB x 100.

        Runs of neighboring squares are copied as bytes, which is faster than a memory map.

        Args:
            pictures: Rows of `self.pictures`, in the order to write.
            file: An open binary file.

        Raises:
            UserError: If a pack is shorter than it should be.
        """
        follows = (pictures["pack"] == pictures["pack"].shift()) & (pictures["place"] == pictures["place"].shift() + 1)
        runs = pictures.groupby((~follows).cumsum())["place"].agg(["first", "size"])
        packs = pictures["pack"][~follows.to_numpy()]
        copies = list(zip(packs, runs["first"], runs["size"], strict=True))
        for pack, place, count in progress(copies, what="copy", unit="pictures", sizes=runs["size"].tolist()):
            with (self.folder / f"{pack}.npy").open("rb", buffering=0) as squares:
                np.lib.format.read_magic(squares)
                shape, _, kind = np.lib.format.read_array_header_1_0(squares)
                size = math.prod(shape[1:]) * kind.itemsize
                squares.seek(place * size, os.SEEK_CUR)
                copy_bytes(squares, file, count * size)


def prepare(raw: Path, config: ConvertConfig, memo: Path, *, what: str) -> Preparation:
    """Prepare every picture of a raw folder.

    Args:
        raw: Folder of the Parquet files.
        config: Size and content of the squares.
        memo: Folder of the cache, see `MEMO`.
        what: Name of the progress bar.
    """
    pictures = read_pictures(raw, _COLUMNS)
    keys = _keys(pictures, config)
    packs = memo / _digest(config)
    facts = _facts(pictures, keys, raw, config, packs, what)
    used = set(facts["pack"])
    deep = facts["largest"] > 0
    if config.depth == "auto" and deep.any():
        depth = depth_of(int(facts["largest"].max()))
        config = config.model_copy(update={"depth": depth})
        if depth != FULL:
            scaled = _facts(pictures[deep], keys[deep] + f"/{depth} bits", raw, config, packs, what)
            facts = pd.concat([facts[~deep], scaled]).loc[pictures.index]
    _remove_unused(memo, packs, used | set(facts["pack"]))
    return Preparation(folder=packs, pictures=pictures.join(facts), convert=config)


def read_thumbnails(packs: Path, pictures: pd.DataFrame) -> np.ndarray:
    """Read the thumbnails of some pictures; they take 768 bytes each.

    Args:
        packs: `Preparation.folder`.
        pictures: Columns `pack` and `place` of `Preparation.pictures`, a row per picture.

    Returns:
        (n, 16, 16, 3) uint8, in the same order; black for unreadable pictures.
    """
    thumbnails = np.empty((len(pictures), THUMBNAIL, THUMBNAIL, 3), np.uint8)
    places = pictures["place"].to_numpy()
    for pack, rows in pictures.reset_index(drop=True).groupby("pack").indices.items():
        column = pq.ParquetFile(packs / f"{pack}.parquet").read(["thumbnail"], use_threads=False)["thumbnail"]
        of_pack = np.frombuffer(b"".join(column.to_pylist()), np.uint8)
        thumbnails[rows] = of_pack.reshape(-1, *thumbnails.shape[1:])[places[rows]]
    return thumbnails


def _facts(
    pictures: pd.DataFrame, keys: pd.Series, raw: Path, config: ConvertConfig, packs: Path, what: str
) -> pd.DataFrame:
    """The facts of pictures, with their index; what the cache lacks is prepared."""
    tables = _read_facts(packs)
    missing = pictures.loc[_rows(tables, keys).isna() & ~keys.duplicated(), ["part", "group", "row"]].assign(key=keys)
    batches = _batches(missing, list_shards(raw))
    tasks = [(raw.absolute(), batch, config, packs.absolute()) for batch in batches]
    sizes = [sum(len(keys) for _, keys in batch) for batch in batches]
    shards = [shard for batch in batches for shard, _ in batch]
    if tasks:
        packs.mkdir(parents=True, exist_ok=True)
        with on_cluster(packs.absolute(), partial(_digest, config)) as remote:
            if remote:
                results = remote.map(make_pack, tasks, pack_parcel, packs)
                tables |= progress(results, what=what, unit="pictures", sizes=sizes)
            else:
                tables |= map_shards(make_pack, tasks, sizes=sizes, picture=mean_bytes(shards), what=what)
    return _with_places(tables, _rows(tables, keys))


def prepare_picture(encoded: bytes, config: ConvertConfig, boxes: Sequence[Box] = ()) -> Prepared:
    """Decode a picture, no larger than needed, and make its square.

    Args:
        encoded: Bytes of the file.
        config: Size and content of the square.
        boxes: Labeled boxes, in pixels as shown. If `config.isolate` is `box` and there is exactly one that fits, the
            square shows it.

    Raises:
        UnreadableError: If the picture cannot be decoded.
    """
    opened = open_for(config, encoded)
    region, least = _cut(opened, config, boxes)
    with alone_if_large(opened.needed(least)):
        inspected = inspect_picture(opened, least)
        facts = {name: getattr(inspected, name) for name in ("width", "height", "grey", "largest")}
        square, cell = _square(inspected.picture, opened, region, config)
        return Prepared(square=square, facts=facts, small=inspected.small, cell=cell)


def prepare_square(encoded: bytes, config: ConvertConfig) -> tuple[RgbPixels, Box | None]:
    """Make the square of a picture as `prepare_picture` does; without its measurements that takes a quarter less.

    Args:
        encoded: Bytes of the file.
        config: Size and content of the square; with `isolate: box` it shows the whole picture.

    Returns:
        (S, S, 3) uint8, and the box of the cell, as of `Prepared`.

    Raises:
        UnreadableError: If the picture cannot be decoded.
    """
    opened = open_for(config, encoded)
    region, least = _cut(opened, config)
    with alone_if_large(opened.needed(least)):
        return _square(decode(opened, inspected_scale(opened, least)), opened, region, config)


def _cut(opened: Opened, config: ConvertConfig, boxes: Sequence[Box] = ()) -> tuple[Region, float]:
    """What to cut out, in pixels of the picture, and the smallest scale of it that is enough."""
    shape = opened.width, opened.height
    if config.isolate == "cell":  # which is searched for in the picture at full size
        return whole_picture(*shape, config.resize), 1.0
    boxed = config.isolate == "box" and len(boxes) == 1 and box_fits(boxes[0], *shape)
    region = square_around(boxes[0]) if boxed else whole_picture(*shape, config.resize)
    return region, config.size / min(region.width, region.height)


def _square(
    picture: Image.Image, opened: Opened, region: Region, config: ConvertConfig
) -> tuple[RgbPixels, Box | None]:
    """Cut out the cell, or else the region; return the square, and the box of the cell."""
    if config.isolate == "cell":
        from lamina.data.cell import find_cell, isolate_cell  # imports SciPy's image filters, which nothing else needs

        rgb = np.asarray(picture)
        if cell := find_cell(rgb):
            return isolate_cell(rgb, cell, config.size), cell.box
    return cut_square(picture, config.size, region.scaled(picture.width / opened.width)), None


def _keys(pictures: pd.DataFrame, config: ConvertConfig) -> pd.Series:
    """A key per picture: the digest of its bytes, and its box if that is cut out."""
    digests: pd.Series = pictures["sha256"]
    if config.isolate != "box":
        return digests
    return digests + [f"/{list(map(list, boxes))}" for boxes in pictures["boxes"]]


def _digest(config: ConvertConfig) -> str:
    code = code_digest(__name__)
    settings = [config.size, config.isolate, config.resize, config.depth, config.memory]
    return json_digest([*settings, code, [version(name) for name in _LIBRARIES]])[:16]


def _read_facts(packs: Path) -> dict[str, pa.Table]:
    """The facts of each complete pack, without thumbnails."""
    paths = [path for path in sorted(packs.glob("[0-9a-f]*.parquet")) if path.with_suffix(".npy").exists()]
    return {path.stem: pq.ParquetFile(path).read(_SMALL_FACTS.names, use_threads=False) for path in paths}


def _rows(tables: Mapping[str, pa.Table], keys: pd.Series) -> pd.Series:
    """The first row of each key among those of all packs; missing where there is none."""
    known = pa.chunked_array([table["key"].combine_chunks() for table in tables.values()], pa.string())
    found = pc.index_in(pa.array(keys, pa.string()), value_set=known)
    return pd.Series(found.to_numpy(zero_copy_only=False), keys.index)


def _with_places(tables: Mapping[str, pa.Table], rows: pd.Series) -> pd.DataFrame:
    """Some rows of the facts of all packs, and where each square is: `pack`, and `place` in it."""
    counts = [table.num_rows for table in tables.values()]
    every = pa.concat_tables([_SMALL_FACTS.empty_table(), *tables.values()]).drop_columns("key")
    chosen = rows.to_numpy(np.int64)
    number = np.repeat(np.arange(len(counts)), counts)[chosen]
    place = np.concatenate([*map(np.arange, [0, *counts])])[chosen]
    pack = pd.array(np.array(list(tables), object), dtype="str")[number]
    facts: pd.DataFrame = every.take(chosen).to_pandas()
    return facts.assign(pack=pack, place=place).set_index(rows.index)


def _batches(missing: pd.DataFrame, shards: Sequence[Shard]) -> list[Batch]:
    """Divide the missing pictures, in their order, into batches of the size of a pack; shards are not divided.

    missing: columns `part`, `group`, `row` and `key`.
    """
    by_place = {place: rows.set_index("row")["key"] for place, rows in missing.groupby(["part", "group"])}
    batches: list[Batch] = []
    pictures, size = 0, 0.0
    for shard in shards:
        keys = by_place.get((shard.part, shard.group))
        if keys is None:
            continue
        more = len(keys) * shard.size / shard.rows
        if not batches or pictures + len(keys) > _PACK_PICTURES or size + more > _PACK_BYTES:
            batches.append([])
            pictures, size = 0, 0.0
        batches[-1].append((shard, keys))
        pictures, size = pictures + len(keys), size + more
    return batches


def make_pack(raw: Path, batch: Batch, config: ConvertConfig, packs: Path) -> tuple[str, pa.Table]:
    """Prepare a batch of pictures and write its pack. The facts are written last: they mark the pack as complete.

    Args:
        raw: Folder of the Parquet files.
        batch: The pictures.
        config: Size and content of the squares.
        packs: Folder of the packs.

    Returns:
        The name of the pack, and its facts, a row per picture, without thumbnails.
    """
    all_keys = [key for _, keys in batch for key in keys]
    pack = json_digest(all_keys)[:16]
    facts = []
    with staged(packs / f"{pack}.npy") as part, part.open("wb") as file:
        header = {"descr": "<i2", "fortran_order": False, "shape": (len(all_keys), config.size, config.size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for shard, keys in batch:
            pictures = read_shard(raw, shard, ["encoded", "boxes"], keys.index)
            for key, encoded, boxes in zip(keys, pictures["encoded"], pictures["boxes"], strict=True):
                square, measured = _square_and_facts(encoded, boxes, config)
                file.write(srgb_to_lab(square).data)  # faster than writing to a memory map
                facts.append({"key": key, **measured})
    table = pa.Table.from_pylist(facts, _FACTS)
    with staged(packs / f"{pack}.parquet") as part:
        pq.write_table(table, part, compression="none", use_dictionary=False)  # a small file that is read once or twice
    return pack, table.select(_SMALL_FACTS.names)


def pack_parcel(raw: Path, batch: Batch, config: ConvertConfig, packs: Path) -> Parcel:
    """Pack what `make_pack` needs on a machine without these folders: a raw folder of the batch alone, in one shard."""
    columns = ["encoded", "boxes"]
    pictures = pa.concat_tables([shard_table(raw, shard, columns, keys.index) for shard, keys in batch])
    file = pa.BufferOutputStream()
    pq.write_table(pictures, file, row_group_size=pictures.num_rows, compression="none", use_dictionary=False)
    keys = pd.concat([keys for _, keys in batch], ignore_index=True)
    shard = Shard(part="part-00000.parquet", group=0, rows=len(keys), size=pictures.nbytes)
    return Parcel(name=shard.part, content=file.getvalue().to_pybytes(), arguments=([(shard, keys)], config))


def _square_and_facts(encoded: bytes, boxes: Sequence[Box], config: ConvertConfig) -> tuple[RgbPixels, dict[str, Any]]:
    """A picture's square and facts; the square of an unreadable picture is black."""
    try:
        prepared = prepare_picture(encoded, config, boxes)
    except UnreadableError as error:
        black = np.zeros((config.size, config.size, 3), np.uint8)
        thumbnail = bytes(3 * THUMBNAIL**2)
        unknown = {"width": 0, "height": 0, "grey": False, "largest": 0, "thumbnail": thumbnail}
        return black, {"error": str(error)} | unknown
    return prepared.square, {
        "error": "",
        **prepared.facts,
        "cell": prepared.cell,
        # not the box filter: it takes whole pixels only, so that a resized copy would differ slightly
        "thumbnail": prepared.small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR).tobytes(),
    }


def _remove_unused(memo: Path, packs: Path, used: set[str]) -> None:
    """Remove packs of other settings, and packs without a requested picture."""
    for path in memo.iterdir() if memo.exists() else ():
        if path != packs:
            discard(path)
    for path in packs.glob("[0-9a-f]*"):  # not what other processes are writing
        if path.stem not in used:
            discard(path)
