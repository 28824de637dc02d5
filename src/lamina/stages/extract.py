"""Stage `extract@NAME`: the features of every row of the split, from a frozen backbone of the section `features`."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.config import Params, named, read_params, validated
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import discard, file_digest, staged, write_json
from lamina.inputs.features import UNFINISHED, FeaturesSettings, features_key, tidy
from lamina.inputs.index import read_split, write_index
from lamina.locks import exclusive
from lamina.models.saving import save_model
from lamina.models.weights import weights_facts
from lamina.results.record import note_convention
from lamina.stages import entry
from lamina.training.environment import machine


@dataclass(frozen=True, kw_only=True)
class ExtractSummary:
    """Shape of the feature array, and the seconds it took."""

    shape: tuple[int, int]
    seconds: float

    def __str__(self) -> str:
        rows, width = self.shape
        return f"extracted {width} features of {rows} rows in {self.seconds:.1f} s ({rows / self.seconds:.0f} rows/s)"


def extract_features(
    settings: FeaturesSettings,
    folders: Folders,
    out: Path,
    *,
    seed: int,
    others: Sequence[FeaturesSettings] = (),
    unfinished: Path = UNFINISHED,
) -> ExtractSummary:
    """Write `features.npy` (row by row as the split manifest), `backbone.keras` and `index.json` to `out`.

    Next to `out`, `NAME.timing.json` says what it took.

    Args:
        settings: the entry of the section `features`.
        folders: where the data lie.
        out: folder `data/features/NAME`.
        seed: of random weights.
        others: all entries of the section; what interrupted extractions of any other left is removed.
        unfinished: folder that keeps what an interrupted extraction wrote, so that it resumes.
    """
    note_convention(settings.weights, settings.preprocess)
    key, *needed = (features_key(one, folders, seed=seed) for one in (settings, *others))
    tidy(unfinished, {key, *needed})
    with staged(out, folder=True) as part:
        timing = _extract(settings, folders, part, unfinished / key, seed=seed)
        shape = np.load(part / "features.npy", mmap_mode="r").shape
        write_index(part, file_digest(part / "features.npy"), shape[1], weights_facts(settings.weights))
    write_json(timing_path(out), timing)
    discard(unfinished / key)
    return ExtractSummary(shape=shape, seconds=timing["seconds"]["extract"])


def timing_path(features: Path) -> Path:
    """Return the file that says what extraction took: next to the features, since times differ from run to run."""
    return features.with_name(f"{features.name}.timing.json")


def _extract(
    settings: FeaturesSettings, folders: Folders, out: Path, unfinished: Path, *, seed: int
) -> Mapping[str, Any]:
    from lamina.inputs.extraction import extract, make_extractor
    from lamina.models.engine import compile_engine

    manifest = read_split(folders)
    start = time.perf_counter()
    extractor = make_extractor(settings, manifest, folders, seed=seed)
    engine = compile_engine(extractor, settings.precision)
    built = time.perf_counter()
    with exclusive(unfinished / "lock", "these features"):  # entries with the same settings share them
        extract(engine, open_rows(manifest, folders), unfinished / "features.npy")
        seconds = {"build": built - start, "extract": time.perf_counter() - built}
        shutil.move(unfinished / "features.npy", out / "features.npy")
    save_model(extractor, out / "backbone.keras")
    return {"seconds": seconds, "machine": machine(), "engine": engine.name, "precision": engine.precision}


def _all_settings(params: Params) -> list[FeaturesSettings]:
    """All entries; one whose settings are wrong is reported when it is extracted."""
    found = []
    for name, given in named(params, "features").items():
        with suppress(UserError):
            found.append(validated(given, f"features.{name}", FeaturesSettings))
    return found


def main() -> None:
    params, name = read_params(Path()), entry.argument("NAME of an entry of features")
    entries = named(params, "features")
    if name not in entries:
        raise UserError(f"params.yaml: features has no entry {name!r}; known: {', '.join(entries) or 'none'}")
    settings = validated(entries[name], f"features.{name}", FeaturesSettings)
    folders, others = Folders(), _all_settings(params)
    print(extract_features(settings, folders, folders.features / name, seed=entry.seed(params), others=others))


if __name__ == "__main__":
    entry.run_stage(main)
