"""Stage `inspect`: doubtful labels, odd pictures, and a map of all originals, for people to look at."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.config import named, read_params
from lamina.data.oddities import ODD, find_oddities, measure_pixels, nearest_distance
from lamina.data.rows import Folders
from lamina.data.sheets import contact_sheet
from lamina.data.sources.corrections import TABLE
from lamina.files import staged
from lamina.inputs.points import Floats, feature_points, pixel_points, read_originals
from lamina.maths.color import LabPixels, lab_to_srgb
from lamina.maths.doubts import PARTS, Doubts, NothingToJudgeError, find_doubts, what_correcting_changes
from lamina.maths.embedding import embed
from lamina.results.inspection import MAP_COLUMNS, SUSPECTS, Accuracy, Inspection
from lamina.results.inspection import ODD as ODD_COLUMNS
from lamina.stages import entry
from lamina.text import printable

RANDOM: Final = "weights/random"  # of a control: what it sees separates classes worse
SHOWN: Final = 48  # pictures of a sheet
IN_A_ROW: Final = 8


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Originals as points, and what a cross-validation says about their labels; in words why it says nothing.

    Attributes:
        points: (n, width) of each of the features, by name.
        doubts: None if nothing was judged.
        reason: Why nothing was judged.
    """

    points: Mapping[str, Floats]
    doubts: Doubts | None
    reason: str = ""

    @property
    def names(self) -> list[str]:
        """Names of the features that judged, the most accurate first; the first of all where nothing was judged."""
        return list(self.doubts.strengths) if self.doubts else [next(iter(self.points))]

    @property
    def best(self) -> Floats:
        """The points by which classes are told apart best."""
        return self.points[self.names[0]]


def inspect_pictures(
    features: Sequence[str], folders: Folders, filtered: Path, raw: Path, out: Path, *, seed: int
) -> Inspection:
    """Write `suspects.csv`, `odd.csv`, `map.parquet`, `summary.json` and two contact sheets to `out` (docs/files.md).

    Args:
        features: Names of entries of the section `features`. Those judge that tell the classes apart best together;
            the map and distances use the best one. Empty: small pictures are used.
        folders: Where the data lie.
        filtered: Folder of the filter.
        raw: Folder of the downloaded pictures.
        out: Folder for the results.
        seed: Of the cross-validation, the sample and the map.

    Returns:
        What was found.
    """
    originals = read_originals(folders, filtered)
    pixels = np.load(folders.lab / "pixels.npy", mmap_mode="r")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:  # Windows removes no mapped file
        points = _read_points(features, folders, originals, pixels, Path(temporary), seed=seed)
        seen = _look(points, originals, seed)
        found = originals.join(_judge(originals, seen.doubts)).join(_measure(originals, pixels, seen.best, seed))
        found[["x", "y"]] = embed(seen.best, seed=seed)
        changes = what_correcting_changes(points, seen.doubts) if seen.doubts else {}
    found = found.rename(columns={"name": "file"})
    suspects = found[found["suspect"]].sort_values(["score", "file"])
    odd = found[found["odd"] >= ODD].sort_values(["odd", "file"], ascending=[False, True])
    with staged(out, folder=True) as part:
        found[[*MAP_COLUMNS]].to_parquet(part / "map.parquet", index=False)
        _write_csv(suspects.assign(corrected=""), SUSPECTS, part / "suspects.csv")
        _write_csv(odd, ODD_COLUMNS, part / "odd.csv")
        _write_sheet(pixels, suspects, "\N{RIGHTWARDS ARROW} " + suspects["likelier"], "label", part / "suspects.png")
        short = odd["detail"].map(lambda text: str(text).partition(",")[0])
        _write_sheet(pixels, odd, short, "reason", part / "odd.png")
        summary = _summarise(found, seen, changes, odd, _count_corrected(raw))
        summary.write(part / "summary.json")
    return summary


def _read_points(
    features: Sequence[str], folders: Folders, originals: pd.DataFrame, pixels: LabPixels, temporary: Path, *, seed: int
) -> dict[str, Floats]:
    """Return the points of each of the features, or of small pictures, in files: those of all may be large together."""
    if not features:
        return {"pixels": pixel_points(pixels, seed=seed)}
    points: dict[str, Floats] = {}
    for number, name in enumerate(features):
        path = temporary / f"{number}.npy"
        np.save(path, feature_points(folders.features / name, originals["row"].to_numpy(), seed=seed))
        points[f"features/{name}"] = np.load(path, mmap_mode="r")
    return points


def _look(points: Mapping[str, Floats], originals: pd.DataFrame, seed: int) -> Seen:
    if originals["label"].isna().all():
        return Seen(points=points, doubts=None, reason="the pictures have no labels")
    try:
        return Seen(points=points, doubts=find_doubts(points, originals["label"], originals["origin"], seed=seed))
    except NothingToJudgeError as error:
        return Seen(points=points, doubts=None, reason=str(error))


def _judge(originals: pd.DataFrame, doubts: Doubts | None) -> pd.DataFrame:
    """For each original: `likelier` class, `score` of its label, `doubt` (1 - score), whether it is a `suspect`."""
    found = pd.DataFrame({"likelier": None, "score": np.nan, "suspect": False}, index=originals.index, dtype=object)
    if doubts is not None:
        places = np.flatnonzero(doubts.judged)
        found.loc[places, "likelier"] = np.array(doubts.classes, dtype=object)[doubts.likelier]
        found.loc[places, "score"] = doubts.score.round(4)
        found.loc[places, "suspect"] = doubts.suspect
    found = found.astype({"likelier": "str", "score": float, "suspect": bool})
    return found.assign(doubt=1 - found["score"])


def _measure(originals: pd.DataFrame, pixels: LabPixels, points: Floats, seed: int) -> pd.DataFrame:
    """What is most unusual about each original."""
    width, height = originals["width"].to_numpy(dtype=float), originals["height"].to_numpy(dtype=float)
    distance = nearest_distance(points, seed=seed)
    return find_oddities(
        measure_pixels(pixels).assign(side=np.sqrt(width * height), aspect=width / height, distance=distance)
    )


def _summarise(
    found: pd.DataFrame, seen: Seen, changes: Mapping[str, Mapping[str, float]], odd: pd.DataFrame, corrected: int
) -> Inspection:
    doubts = seen.doubts
    origins = found.groupby("label")["origin"].nunique()
    few = {str(label): int(count) for label, count in origins.items() if doubts and label not in doubts.classes}
    return Inspection(
        input=", ".join(seen.names),
        pictures=len(found),
        judged=0 if doubts is None else int(doubts.judged.sum()),
        left_out=few,
        suspects=int(found["suspect"].sum()),
        reason=seen.reason,
        accuracy={name: Accuracy(**values) for name, values in changes.items()},
        odd={str(reason): int(count) for reason, count in sorted(odd["reason"].value_counts().items())},
        corrected=corrected,
        mapped=int(found["x"].notna().sum()),
    )


def _count_corrected(raw: Path) -> int:
    return len(pd.read_csv(raw / TABLE)) if (raw / TABLE).exists() else 0


def _write_csv(rows: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    rows[[*columns]].to_csv(path, index=False, lineterminator="\n", float_format="%.4f")


def _write_sheet(pixels: LabPixels, ranked: pd.DataFrame, second: "pd.Series[str]", first: str, out: Path) -> None:
    """Draw the first pictures of a ranking in rows from left to right, each over two lines; nothing where none is.

    Args:
        pixels: Of all originals.
        ranked: Rows of originals.
        second: Second line below each.
        first: Column with the first line.
        out: File of the sheet.
    """
    if ranked.empty:
        return
    rows = [lab_to_srgb(np.array(pixels[row])) for row in ranked.index[:SHOWN]]
    lines = [f"{printable(one)}\n{printable(two)}" for one, two in zip(ranked[first], second, strict=True)][:SHOWN]
    cut = [slice(start, start + IN_A_ROW) for start in range(0, len(rows), IN_A_ROW)]
    contact_sheet([rows[one] for one in cut], [""] * len(cut), [lines[one] for one in cut], cell=120).save(out)


def in_words(found: Inspection) -> str:
    """Describe what was found in one line."""
    odd = ", ".join(f"{count} {reason}" for reason, count in found.odd.items())
    labels = found.reason or f"{found.suspects} of {found.judged} labels are doubtful, see suspects.csv"
    strange = f"{sum(found.odd.values())} pictures are odd" + (f" ({odd}), see odd.csv" if odd else "")
    left = f"; not judged: {', '.join(found.left_out)} (fewer than {PARTS} origins)" if found.left_out else ""
    return f"inspected {found.pictures} pictures by {found.input}: {labels}; {strange}{left}"


def chosen_features(params: Mapping[str, Any]) -> list[str]:
    """Return the names of the entries of `features` that were trained, or of all if none was; sorted."""
    entries = named(params, "features")
    trained = [name for name, given in entries.items() if isinstance(given, dict) and given.get("weights") != RANDOM]
    return sorted(trained or entries)


def main() -> None:
    params, folders = read_params(Path()), Folders()
    found = inspect_pictures(
        chosen_features(params),
        folders,
        Path("data/filtered"),
        Path("data/raw"),
        Path("data/inspection"),
        seed=entry.seed(params),
    )
    print(in_words(found))


if __name__ == "__main__":
    entry.run_stage(main)
