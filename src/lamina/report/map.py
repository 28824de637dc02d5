"""A map of the data in the page: a dot for each original, with small pictures that a script shows on hovering."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.data.oddities import ODD
from lamina.maths.color import lab_to_srgb
from lamina.maths.quarters import cut_numbers
from lamina.maths.splits import FOLDS, UNKNOWN
from lamina.report.data_files import Pictures

MOST: Final = 2_000  # dots; of more pictures the suspects, the odd ones and a random sample
COLORS: Final = 9  # classes with a color of their own; the smaller ones share grey
WIDTH, HEIGHT = 1000, 640  # units of the drawing
MARGIN: Final = 16
SIDES: Final = (56, 48, 40, 32, 24, 16)  # pixels of a small picture: the largest for which all fit into SPRITE_BYTES
SPRITE_BYTES: Final = 350_000
QUALITY: Final = 60

_GREY: Final = "none"  # style of what is not known or not coloured
_DOUBTS: Final = {
    "doubt0": "below 0.25",
    "doubt1": "to 0.5",
    "doubt2": "above 0.5",
    "pink": "suspect",
    _GREY: "not judged",
}


@dataclass(frozen=True, kw_only=True)
class View:
    """A way to color the dots.

    name: what the color says. legend: style and meaning of each value. values: of each dot, a place in the legend.
    """

    name: str
    legend: Sequence[tuple[str, str]]
    values: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Map:
    """A drawing and what the script needs.

    dots: x, y and style of each. links: path between pictures that were joined. data: for the script.
    """

    dots: Sequence[tuple[int, int, str]]
    links: str
    view: View
    views: Sequence[View]
    pictures: int
    data: Mapping[str, Any]


def draw_map(
    table: pd.DataFrame,
    pictures: Pictures,
    best: "tuple[str, pd.Series[str]] | None",
    learned: pd.DataFrame | None = None,
) -> Map | None:
    """Lay out the map; None where there are too few pictures.

    Args:
        table: Of `map.parquet`.
        pictures: Of the data.
        best: Name of a run, and the class that it predicts by the id of test pictures.
        learned: Further columns to color by, by id of the picture: numbers by their quarters, texts by their value.
    """
    shown = _choose(table[table["x"].notna()])
    if len(shown) < 2:
        return None
    x = np.rint(MARGIN + (shown["x"] + 1) / 2 * (WIDTH - 2 * MARGIN)).astype(int)
    y = np.rint(MARGIN + (shown["y"] + 1) / 2 * (HEIGHT - 2 * MARGIN)).astype(int)
    others = [] if learned is None else [_values(str(name), shown["id"].map(learned[name])) for name in learned]
    known = [_classes(shown), *others, _doubts(shown), _verdicts(shown, best), _folds(shown), _odd(shown)]
    views = [view for view in known if view]
    sprite, side, columns = _sprite(shown, pictures)
    first = views[0]
    return Map(
        dots=[(*place, first.legend[value][0]) for *place, value in zip(x, y, first.values, strict=True)],
        links=_links(shown["id"], list(zip(x, y, strict=True)), pictures),
        view=first,
        views=views,
        pictures=len(table),
        data={
            "views": [{"name": view.name, "legend": view.legend, "values": view.values} for view in views],
            "files": shown["file"].tolist(),
            "notes": _notes(shown, best),
            "origins": _shared_origins(shown["origin"]),
            "sprite": sprite,
            "side": side,
            "columns": columns,
        },
    )


def _choose(table: pd.DataFrame) -> pd.DataFrame:
    """Return at most `MOST` rows: suspects and odd ones first, then others at random; in the order of the table."""
    if len(table) <= MOST:
        return table.reset_index(drop=True)
    order = np.random.default_rng(0).permutation(len(table))
    special = (table["suspect"] | (table["odd"] >= ODD)).to_numpy()[order]
    chosen = order[np.argsort(~special, kind="stable")][:MOST]
    return table.iloc[np.sort(chosen)].reset_index(drop=True)


def _classes(shown: pd.DataFrame) -> View | None:
    if shown["label"].isna().all():
        return None
    return _most_common("class", shown["label"].fillna("no label").astype(str), "classes")


def _most_common(name: str, values: "pd.Series[str]", noun: str) -> View:
    """Color the `COLORS` most common values."""
    counts = values.value_counts()
    largest = sorted(sorted(counts.index, key=lambda value: (-counts[value], value))[:COLORS])
    others = len(counts) - len(largest)
    legend = [(f"c{number}", value) for number, value in enumerate(largest)]
    legend += [(_GREY, f"{others} other {noun}")] if others else []
    places = {value: number for number, value in enumerate(largest)}
    return View(name=name, legend=legend, values=[places.get(value, len(largest)) for value in values])


def _values(name: str, column: "pd.Series[str]") -> View:
    """Color numbers by their quarters, texts by their most common values."""
    cut = cut_numbers(column)
    if cut is None:
        return _most_common(name, column.fillna(UNKNOWN).astype(str), "values")
    cut = cut.cat.remove_unused_categories()
    legend = [(f"c{number}" if value != UNKNOWN else _GREY, value) for number, value in enumerate(cut.cat.categories)]
    return View(name=name, legend=legend, values=cut.cat.codes.tolist())


def _doubts(shown: pd.DataFrame) -> View | None:
    if shown["doubt"].isna().all():
        return None
    values = np.searchsorted([0.25, 0.5], shown["doubt"].fillna(0), side="right")
    values = np.where(shown["suspect"], 3, np.where(shown["doubt"].isna(), 4, values))
    return View(name="doubt of its label", legend=list(_DOUBTS.items()), values=values.tolist())


def _verdicts(shown: pd.DataFrame, best: "tuple[str, pd.Series[str]] | None") -> View | None:
    if best is None:
        return None
    name, predicted = best[0], shown["id"].map(best[1])
    values = np.select([predicted.isna(), predicted != shown["label"]], [2, 1], 0)
    return View(
        name=f"answer of {name}",
        legend=[("c0", "correct"), ("pink", "wrong"), (_GREY, "not tested")],
        values=values.tolist(),
    )


def _folds(shown: pd.DataFrame) -> View:
    folds = shown["fold"].astype(str)
    names = [*FOLDS, *sorted(set(folds) - {*FOLDS})]
    legend = [(f"c{number}" if name in FOLDS else _GREY, name) for number, name in enumerate(names)]
    return View(name="fold", legend=legend, values=[names.index(fold) for fold in folds])


def _odd(shown: pd.DataFrame) -> View:
    values = (shown["odd"] >= ODD).astype(int).tolist()
    return View(name="oddity", legend=[(_GREY, "usual"), ("pink", "odd")], values=values)


def _notes(shown: pd.DataFrame, best: "tuple[str, pd.Series[str]] | None") -> dict[int, str]:
    """What to say about some of the dots, by number."""
    predicted = shown["id"].map(best[1]) if best else pd.Series(None, index=shown.index, dtype=object)
    found: dict[int, str] = {}
    for number, row in enumerate(shown.assign(predicted=predicted).to_dict("records")):
        said = [f"likelier: {row['likelier']}"] if row["suspect"] else []
        if best and isinstance(row["predicted"], str) and row["predicted"] != row["label"]:
            said.append(f"{best[0]} says {row['predicted']}")
        if row["odd"] >= ODD:
            said.append(f"{row['reason']}: {row['detail']}")
        if said:
            found[number] = "; ".join(said)
    return found


def _shared_origins(origins: "pd.Series[str]") -> list[list[int]]:
    """Numbers of the dots of each origin that has several."""
    return [
        [int(number) for number in numbers] for numbers in origins.groupby(origins).indices.values() if len(numbers) > 1
    ]


def _links(ids: "pd.Series[str]", places: Sequence[tuple[int, int]], pictures: Pictures) -> str:
    """Return a path with a line between near duplicates, and between pictures that were joined in the split."""
    at = dict(zip(ids, places, strict=True))
    pairs = list(zip(pictures.joined["id"], pictures.joined["other"], strict=True))
    for _, group in pictures.groups.groupby("group"):
        pairs += list(zip(group["id"][:-1], group["id"][1:], strict=True))
    lines = [(at[one], at[other]) for one, other in pairs if one in at and other in at]
    return "".join(f"M{a},{b}L{c},{d}" for (a, b), (c, d) in lines)


def _sprite(shown: pd.DataFrame, pictures: Pictures) -> tuple[str, int, int]:
    """Return one picture of all small pictures as a data URI, the side of each, and their number in a row."""
    columns = math.ceil(math.sqrt(len(shown)))
    places = pictures.names.index.get_indexer(pd.Index(shown["id"]))
    for side in SIDES:
        sheet = Image.new("RGB", (columns * side, math.ceil(len(shown) / columns) * side))
        for number, place in enumerate(places):
            tile = Image.fromarray(lab_to_srgb(np.array(pictures.pixels[place])))
            row, column = divmod(number, columns)
            sheet.paste(tile.resize((side, side), Image.Resampling.BOX), (column * side, row * side))
        file = io.BytesIO()
        sheet.save(file, format="WEBP", quality=QUALITY)
        if file.tell() <= SPRITE_BYTES:
            break
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode(), side, columns
