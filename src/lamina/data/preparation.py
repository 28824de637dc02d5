"""Each picture decoded once: facts for the filter and a square in CIELAB for the array, both kept in a memo.

The memo holds packs: an array of squares and a table of facts each, under keys that say what they were made of. Stages
ask for every picture, and only what is lacking is made: after an interruption the rest, after a new delivery what is
new. What is not asked for any more goes; the memo as a whole may be removed at any time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lamina.data.cell import find_cell, isolate_cell
from lamina.data.decoding import Look, UnreadableError, look, open_picture, shown_size
from lamina.data.pixels import Box, ConvertConfig, around, box_fits, cut_square, whole
from lamina.data.shards import Shard, list_shards, map_shards, read_pictures, read_shard
from lamina.files import discard, file_digest, json_digest, staged
from lamina.maths.color import LabPixels, RgbPixels, srgb_to_lab

MEMO: Final = Path(".lamina/prepared")  # in a system's folder, out of reach of DVC, which empties a stage's outputs
THUMBNAIL: Final = 16  # side in pixels

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

    def squares(self, pictures: pd.DataFrame) -> Iterator[LabPixels]:
        """Yield the squares of some of the pictures, in their order: (k, S, S, 3) int16 CIELAB x 100 at a time."""
        changes = (pictures["pack"] != pictures["pack"].shift()).cumsum()
        for _, rows in pictures.groupby(changes):
            squares = np.load(self.folder / f"{rows['pack'].iloc[0]}.npy", mmap_mode="r")
            places = rows["place"].to_numpy()
            in_a_row = bool((np.diff(places) == 1).all())
            yield squares[places[0] : places[-1] + 1] if in_a_row else squares[places]


def prepare(raw: Path, config: ConvertConfig, memo: Path, *, what: str) -> Preparation:
    """Prepare every picture of a raw folder.

    memo: the folder that keeps what was made, see `MEMO`; what: a word for the progress shown.
    """
    shards = list_shards(raw)
    pictures = read_pictures(raw, _TOLD)
    keys = _keys(pictures, config)
    packs = memo / _digest(config)
    known = _read_facts(packs)
    lacking = pictures[~keys.isin(known["key"]) & ~keys.duplicated()].assign(key=keys)
    by_place = {place: rows.set_index("row")["key"] for place, rows in lacking.groupby(["part", "group"])}
    places = [(shard, by_place.get((shard.part, shard.group))) for shard in shards]
    tasks = [(raw, shard, some, config, packs) for shard, some in places if some is not None]
    made = list(map_shards(make_pack, tasks, sizes=[len(some) for _, _, some, _, _ in tasks], what=what))
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
        return _isolate(look(opened, 1.0), config.size)
    shape = shown_size(opened)
    boxed = config.isolate == "box" and len(boxes) == 1 and box_fits(boxes[0], *shape)
    region = around(boxes[0]) if boxed else whole(*shape)
    seen = look(opened, config.size / region.side)
    return Prepared(
        look=seen, square=cut_square(seen.picture, config.size, region.scaled(seen.picture.width / shape[0]))
    )


def _isolate(seen: Look, size: int) -> Prepared:
    rgb = np.asarray(seen.picture)
    cell = find_cell(rgb)
    if cell is None:
        return Prepared(look=seen, square=cut_square(seen.picture, size, whole(*seen.picture.size)))
    return Prepared(look=seen, square=isolate_cell(rgb, cell, size), cell=cell.box)


def _keys(pictures: pd.DataFrame, config: ConvertConfig) -> pd.Series:
    """What each picture's facts and square are made of: its bytes, and its box where that is cut out."""
    digests: pd.Series = pictures["sha256"]
    if config.isolate != "box":
        return digests
    return digests + [f"/{list(map(list, boxes))}" for boxes in pictures["boxes"]]


def _digest(config: ConvertConfig) -> str:
    code = [file_digest(Path(__file__).parents[1] / module) for module in _MODULES]
    return json_digest([config.size, config.isolate, code, [version(name) for name in _LIBRARIES]])[:16]


def _read_facts(packs: Path) -> pd.DataFrame:
    """The facts of all packs that are whole."""
    whole_ones = [path for path in sorted(packs.glob("[0-9a-f]*.parquet")) if path.with_suffix(".npy").exists()]
    tables = [_placed(pq.read_table(path, schema=_FACTS), path.stem) for path in whole_ones]
    return pd.concat([_placed(_FACTS.empty_table(), ""), *tables])


def _placed(facts: pa.Table, pack: str) -> pd.DataFrame:
    table: pd.DataFrame = facts.to_pandas()
    return table.assign(pack=pack, place=np.arange(len(table)))


def make_pack(raw: Path, shard: Shard, keys: pd.Series, config: ConvertConfig, packs: Path) -> pd.DataFrame:
    """Prepare some pictures of a shard and write their pack, the facts last: they say that it is whole.

    keys: of the pictures, by their rows in the shard. Returns the facts.
    """
    pictures = read_shard(raw, shard, ["encoded", "boxes"]).loc[keys.index]
    pack = json_digest(keys.tolist())[:16]
    facts = []
    with staged(packs / f"{pack}.npy") as part, part.open("wb") as file:
        header = {"descr": "<i2", "fortran_order": False, "shape": (len(keys), config.size, config.size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for key, encoded, boxes in zip(keys, pictures["encoded"], pictures["boxes"], strict=True):
            square, told = _describe(encoded, boxes, config)
            file.write(srgb_to_lab(square).data)  # one by one, from memory that is used again: faster than by map
            facts.append({"key": key, **told})
    table = pa.Table.from_pylist(facts, _FACTS)
    with staged(packs / f"{pack}.parquet") as part:
        pq.write_table(table, part)
    return _placed(table, pack)


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
