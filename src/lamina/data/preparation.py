"""Each picture decoded once: facts for the filter and a square in CIELAB for the array, both kept in a memo.

The memo holds packs: an array of squares and a table of facts each, under keys that say what they were made of. Stages
ask for every picture, and only what is lacking is made: after an interruption the rest, after a new delivery what is
new. What is not asked for any more goes; the memo as a whole may be removed at any time.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lamina.data.decoding import Look, UnreadableError, look, open_picture, shown_size
from lamina.data.pixels import Box, ConvertConfig, around, box_fits, cut_square, whole
from lamina.data.shards import Shard, list_shards, map_shards, mean_bytes, read_pictures, read_shard
from lamina.files import copy_bytes, discard, file_digest, json_digest, staged
from lamina.maths.color import RgbPixels, srgb_to_lab
from lamina.progress import progress

MEMO: Final = Path(".lamina/prepared")  # in a system's folder, out of reach of DVC, which empties a stage's outputs
THUMBNAIL: Final = 16  # side in pixels

# What a pack holds at most: as much as a shard, for an interruption loses no more than the packs in hand; but not
# less, where new pictures stand among many, since every pack takes a moment to open.
_PACK_PICTURES: Final = 256
_PACK_BYTES: Final = 8 * 2**20  # of encoded pictures

_TOLD: Final = ["id", "name", "label", "label_count", "origin", "boxes", "sha256"]
_FACTS: Final = pa.schema(
    [
        ("key", pa.string()),
        ("error", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("grey", pa.bool_()),
        ("cell", pa.list_(pa.int32())),
        ("thumbnail", pa.binary()),
    ]
)
Lot: TypeAlias = list[tuple[Shard, "pd.Series[str]"]]  # some pictures: of each shard their keys, by row

# what decides a picture's facts and square beside the picture itself and the settings
_MODULES: Final = ("data/cell.py", "data/decoding.py", "data/pixels.py", "data/preparation.py", "maths/color.py")
_LIBRARIES: Final = ("numpy", "opencv-python-headless", "pillow", "scipy")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A picture as it was seen, the square made of it, (S, S, 3) uint8, and the box of the cell in it, if one was
    looked for and found."""

    look: Look
    square: RgbPixels
    cell: Box | None = None


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """All pictures of a raw folder, in its order.

    pictures: what the raw folder tells of each, and where its bytes are (`part`, `group`, `row`); `error`, `width`,
    `height`, `grey`, `cell` (see `Prepared`); where its square is (`pack`, `place`).
    thumbnails: (n, 16, 16, 3) uint8, black where a picture is unreadable.
    """

    folder: Path
    pictures: pd.DataFrame
    thumbnails: np.ndarray

    def write_squares(self, pictures: pd.DataFrame, file: BinaryIO) -> None:
        """Write the squares of some of the pictures, in their order, as they are kept: (S, S, 3) int16 CIELAB x 100.

        They are copied in runs and never become arrays: touching them through a memory map takes longer.
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

    memo: the folder that keeps what was made, see `MEMO`; what: a word for the progress shown.
    """
    pictures = read_pictures(raw, _TOLD)
    keys = _keys(pictures, config)
    packs = memo / _digest(config)
    known = _read_facts(packs)
    lacking = pictures[~keys.isin(known["key"]) & ~keys.duplicated()].assign(key=keys)
    tasks = [(raw, lot, config, packs) for lot in _lots(lacking, list_shards(raw))]
    sizes = [sum(len(keys) for _, keys in lot) for _, lot, _, _ in tasks]
    shards = [shard for _, lot, _, _ in tasks for shard, _ in lot]
    made = list(map_shards(make_pack, tasks, sizes=sizes, picture=mean_bytes(shards), what=what))
    facts = pd.concat([known, *made]).drop_duplicates("key").set_index("key").loc[keys]
    _tidy(memo, packs, set(facts["pack"]))
    thumbnails = np.frombuffer(b"".join(facts.pop("thumbnail")), np.uint8)
    return Preparation(
        folder=packs,
        pictures=pictures.join(facts.reset_index(drop=True)),
        thumbnails=thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL, 3),
    )


def prepare_picture(encoded: bytes, config: ConvertConfig, boxes: Sequence[Box] = ()) -> Prepared:
    """Decode a picture, no larger than needed, and make its square.

    boxes: those told of it, in pixels as shown; where `config.isolate` is `box` and there is one that fits, it is cut
    out. Raises UnreadableError.
    """
    opened = open_picture(encoded)
    if config.isolate == "cell":
        return _isolate(look(opened, 1.0), config)
    shape = shown_size(opened)
    boxed = config.isolate == "box" and len(boxes) == 1 and box_fits(boxes[0], *shape)
    region = around(boxes[0]) if boxed else whole(*shape, config.resize)
    seen = look(opened, config.size / min(region.width, region.height))
    return Prepared(
        look=seen, square=cut_square(seen.picture, config.size, region.scaled(seen.picture.width / shape[0]))
    )


def _isolate(seen: Look, config: ConvertConfig) -> Prepared:
    from lamina.data.cell import find_cell, isolate_cell  # brings SciPy's image filters, which nothing else needs

    rgb = np.asarray(seen.picture)
    cell = find_cell(rgb)
    if cell is None:
        region = whole(*seen.picture.size, config.resize)
        return Prepared(look=seen, square=cut_square(seen.picture, config.size, region))
    return Prepared(look=seen, square=isolate_cell(rgb, cell, config.size), cell=cell.box)


def _keys(pictures: pd.DataFrame, config: ConvertConfig) -> pd.Series:
    """What each picture's facts and square are made of: its bytes, and its box where that is cut out."""
    digests: pd.Series = pictures["sha256"]
    if config.isolate != "box":
        return digests
    return digests + [f"/{list(map(list, boxes))}" for boxes in pictures["boxes"]]


def _digest(config: ConvertConfig) -> str:
    code = [file_digest(Path(__file__).parents[1] / module) for module in _MODULES]
    return json_digest([config.size, config.isolate, config.resize, code, [version(name) for name in _LIBRARIES]])[:16]


def _read_facts(packs: Path) -> pd.DataFrame:
    """The facts of all packs that are whole."""
    whole_ones = [path for path in sorted(packs.glob("[0-9a-f]*.parquet")) if path.with_suffix(".npy").exists()]
    tables = [pq.ParquetFile(path).read(use_threads=False) for path in whole_ones]
    return _placed(tables, [path.stem for path in whole_ones])


def _placed(tables: Sequence[pa.Table], packs: Sequence[str]) -> pd.DataFrame:
    """The facts of some packs, one after another, and where each one's square is: `pack` and `place` in it."""
    rows = [table.num_rows for table in tables]
    pack = pd.array(np.repeat(np.array(packs, object), rows), dtype="str")
    place = np.concatenate([*map(np.arange, [0, *rows])])
    facts: pd.DataFrame = pa.concat_tables([_FACTS.empty_table(), *tables]).to_pandas()
    return facts.assign(pack=pack, place=place)


def _lots(lacking: pd.DataFrame, shards: Sequence[Shard]) -> list[Lot]:
    """Cut the pictures that are lacking, in their order, into what a pack holds; those of a shard stay together.

    lacking: their `part`, `group`, `row` and `key`.
    """
    by_place = {place: rows.set_index("row")["key"] for place, rows in lacking.groupby(["part", "group"])}
    lots: list[Lot] = []
    pictures, size = 0, 0.0
    for shard in shards:
        keys = by_place.get((shard.part, shard.group))
        if keys is None:
            continue
        more = len(keys) * shard.size / shard.rows
        if not lots or pictures + len(keys) > _PACK_PICTURES or size + more > _PACK_BYTES:
            lots.append([])
            pictures, size = 0, 0.0
        lots[-1].append((shard, keys))
        pictures, size = pictures + len(keys), size + more
    return lots


def make_pack(raw: Path, lot: Lot, config: ConvertConfig, packs: Path) -> pd.DataFrame:
    """Prepare some pictures and write their pack, the facts last: they say that it is whole. Returns the facts."""
    every = [key for _, keys in lot for key in keys]
    pack = json_digest(every)[:16]
    facts = []
    with staged(packs / f"{pack}.npy") as part, part.open("wb") as file:
        header = {"descr": "<i2", "fortran_order": False, "shape": (len(every), config.size, config.size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for shard, keys in lot:
            pictures = read_shard(raw, shard, ["encoded", "boxes"], keys.index)
            for key, encoded, boxes in zip(keys, pictures["encoded"], pictures["boxes"], strict=True):
                square, told = _describe(encoded, boxes, config)
                file.write(srgb_to_lab(square).data)  # one by one, from memory that is used again: faster than by map
                facts.append({"key": key, **told})
    table = pa.Table.from_pylist(facts, _FACTS)
    with staged(packs / f"{pack}.parquet") as part:
        pq.write_table(table, part)
    return _placed([table], [pack])


def _describe(encoded: bytes, boxes: Sequence[Box], config: ConvertConfig) -> tuple[RgbPixels, dict[str, Any]]:
    """A picture's square and facts; the square of an unreadable one is black."""
    try:
        made = prepare_picture(encoded, config, boxes)
    except UnreadableError as error:
        black = np.zeros((config.size, config.size, 3), np.uint8)
        thumbnail = bytes(3 * THUMBNAIL**2)
        return black, {"error": str(error), "width": 0, "height": 0, "grey": False, "thumbnail": thumbnail}
    return made.square, {
        "error": "",
        "width": made.look.width,
        "height": made.look.height,
        "grey": made.look.grey,
        "cell": made.cell,
        "thumbnail": _thumbnail(made.look.small),
    }


def _thumbnail(small: Image.Image) -> bytes:
    # the box filter counts whole pixels alone, so that a picture at another size would look a little different
    return small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR).tobytes()


def _tidy(memo: Path, packs: Path, asked: set[str]) -> None:
    """Remove what was made with other settings, and packs of which no picture was asked for."""
    for path in memo.iterdir() if memo.exists() else ():
        if path != packs:
            discard(path)
    for path in packs.glob("*"):
        if path.stem not in asked:
            discard(path)
