"""Pictures of another kind, shown to a classifier: are they recognized as such?

python bench/outliers.py SYSTEM RUN FOLDER ... [--pictures 300]

SYSTEM is the folder of a finished system, RUN one of its runs or ensembles that classify pictures, each FOLDER holds
pictures that have nothing to do with it. Prints for each folder the AUROC of the distance to the training pictures
(`uncertainty/`): the probability that a foreign picture lies farther away than a test picture, with a 95 % interval
over origins; the same of 1 - the largest probability, the usual baseline (D. Hendrycks and K. Gimpel, ICLR 2017); and
the shares that are marked. It changes nothing.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from lamina.charts.formatting import percent
from lamina.commands.given_files import find_pictures
from lamina.commands.predict import predict
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.inputs.index import read_split
from lamina.maths.further_scores import further_scores
from lamina.models.divided import Divided
from lamina.models.loading import load_model
from lamina.results.folders import results_folder
from lamina.results.record import read_record
from lamina.results.uncertainty import find_judge
from lamina.stages import entry


def known_pictures(system: Path, run: str, most: int) -> pd.DataFrame:
    """Judge test pictures of the system: `origin`, `distance`, `doubt` (1 - the largest probability), `outlier`."""
    folder = results_folder(system, run)
    judge = find_judge(folder, read_record(folder).key)
    if judge is None or judge.known.neighborhood is None:
        raise UserError(f"{folder}: no limit of distances; run `dvc repro`, or name a run over pictures")
    folders = Folders(**{name: system / path for name, path in vars(Folders()).items()})
    split = read_split(folders)
    rows = split[split["fold"] == "test"].sort_values("id").head(most)
    pixels = open_rows(rows, folders).read(np.arange(len(rows)))
    shares, features = Divided(load_model(folder / "model.keras")).outputs_and_features(pixels)
    distance = judge.distances(features)
    limit = judge.known.neighborhood.limit
    return pd.DataFrame(
        {"origin": rows["origin"], "distance": distance, "doubt": 1 - shares.max(axis=1), "outlier": distance > limit}
    )


def foreign_pictures(system: Path, run: str, folder: Path, most: int) -> pd.DataFrame:
    """Judge pictures of a folder in the same way; each is an origin of its own."""
    files = find_pictures([folder])
    chosen = [files[place] for place in np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int)]
    found = [one for one in predict(system, run, chosen) if not one.error]
    return pd.DataFrame(
        {
            "origin": [one.path for one in found],
            "distance": [one.distance for one in found],
            "doubt": [1 - max(one.probabilities.values()) for one in found],
            "outlier": [bool(one.outlier) for one in found],
        }
    )


def separated(known: pd.DataFrame, foreign: pd.DataFrame, by: str) -> str:
    """Return the AUROC of a column, with its interval."""
    both = pd.concat([known, foreign])
    ranks = both[by].rank().to_numpy() / len(both)
    label = np.repeat([0, 1], [len(known), len(foreign)])
    found = further_scores(np.stack([1 - ranks, ranks], axis=1), label, both["origin"])["roc_auc"]
    return f"{found['value']:.3f} ({found['interval'][0]:.3f} to {found['interval'][1]:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", type=Path)
    parser.add_argument("run")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=300, help="at most, of each kind")
    given = parser.parse_args()
    known = known_pictures(given.system, given.run, given.pictures)
    print(
        f"{given.system.name} {given.run}: {percent(known['outlier'].mean())} of {len(known)} test pictures are marked"
    )
    print("foreign pictures | number | marked | AUROC of the distance | AUROC of 1 - probability")
    for folder in given.folders:
        foreign = foreign_pictures(given.system, given.run, folder, given.pictures)
        by = [separated(known, foreign, column) for column in ("distance", "doubt")]
        print(f"{folder.name} | {len(foreign)} | {percent(foreign['outlier'].mean())} | {' | '.join(by)}", flush=True)


if __name__ == "__main__":
    entry.run(main)
