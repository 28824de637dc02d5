"""How many labels does a frozen backbone need? Trains heads on shares of the training origins.

python bench/labels.py SYSTEM RUN [RUN ...] [--shares 0.1 0.3 1] [--draws 10] [--out labels.png]

SYSTEM is a system's folder. Each RUN classifies over features, which exist (`dvc repro extract`). The other runs are
compared with the first one. Origins are drawn class by class, the same for all runs. Each draw trains a head with the
run's numbers (1e-3, 0.5 and 1e-3 in place of `tune`). Scores on the test fold are accuracy, and the mean recall of the
classes, in which rare classes count as much as common ones.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lamina.config import read_params
from lamina.data.rows import Folders
from lamina.maths.crossvalidation import SPARE
from lamina.tasks.classify.learning import open_learner
from lamina.tasks.classify.settings import HeadSettings
from lamina.tasks.runs import read_run
from lamina.training.learner import Setup, TrainingOptions
from lamina.training.settings import TUNE, GradientNumbers

SCORES = ("accuracy", "recall")
RESAMPLES = 2_000
USUAL = {"learning_rate": 1e-3, "dropout": 0.5, "decay": 1e-3}


def labeled(manifest: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Keep a share of the training origins of each class, at least one; the others become spare."""
    random = np.random.default_rng(seed)
    train = manifest[manifest["fold"] == "train"]
    kept: set[str] = set()
    for _, rows in train.groupby("label"):
        origins = np.sort(rows["origin"].unique())
        kept |= set(random.permutation(origins)[: max(1, round(share * len(origins)))])
    spare = (manifest["fold"] == "train") & ~manifest["origin"].isin(kept)
    return manifest.assign(fold=manifest["fold"].mask(spare, SPARE))


def predict_test(name: str, settings: HeadSettings, manifest: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train a head once; return which test pictures it classifies correctly, and their class numbers."""
    given = {number: getattr(settings, number) for number in USUAL}
    numbers = GradientNumbers(**{number: USUAL[number] if value == TUNE else value for number, value in given.items()})
    learner = open_learner(Setup(settings=settings, folders=Folders(), manifest=manifest, seed=seed))
    test = learner.examples("test")
    learned = learner.learn(numbers, TrainingOptions(what=f"{name}, {len(learner.train)} rows"))
    return learned.predict(test).argmax(axis=1) == test.labels, test.labels


def contributions(labels: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return what each test picture adds to `SCORES`, (pictures, 2), if it is counted so many `times`."""
    of_class = np.bincount(labels, times)
    recall = times / np.maximum(of_class[labels], 1) / np.count_nonzero(of_class)
    return np.column_stack([times / times.sum(), recall])


def gain(more: np.ndarray, labels: np.ndarray, origins: np.ndarray) -> list[str]:
    """Return how much higher a run scores than the first, in percentage points, with the 95 % interval.

    more: (draws, pictures) 1 where only the run is right, -1 where only the first is. The interval is from a bootstrap
    over both the draws of labels and the test origins, which all draws share.
    """
    random, (_, place) = np.random.default_rng(0), np.unique(origins, return_inverse=True)
    count = place.max() + 1
    found = np.empty((RESAMPLES, len(SCORES)))
    for one in found:
        times = np.bincount(random.integers(0, count, count), minlength=count)[place]
        one[:] = more[random.integers(0, len(more), len(more))].mean(axis=0) @ contributions(labels, times)
    mean = more.mean(axis=0) @ contributions(labels, np.ones(len(labels)))
    shown = np.column_stack([mean, *np.percentile(found, [2.5, 97.5], axis=0)]) * 100
    return [f"{middle:+.1f} ({low:+.1f} to {high:+.1f})" for middle, low, high in shown]


def draw(table: pd.DataFrame, out: Path) -> None:
    """Draw a line for each run: mean accuracy over the share of labels, with standard deviations over draws."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, rows in table.groupby("run", sort=False):
        found = rows.groupby("share")["accuracy"].agg(["mean", "std"])
        axes.errorbar(100 * found.index, 100 * found["mean"], 100 * found["std"], marker="o", capsize=3, label=name)
    axes.set_xscale("log")
    axes.set_xticks(
        [100 * share for share in table["share"].unique()], [f"{share:.0%}" for share in table["share"].unique()]
    )
    axes.set_xlabel("training origins whose labels are used")
    axes.set_ylabel("test accuracy, %")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", type=Path)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 1.0])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out.resolve() if arguments.out else None
    os.chdir(arguments.system)
    params, manifest = read_params(Path()), pd.read_parquet("data/split/manifest.parquet")
    found_runs = {name: read_run(params, name).settings for name in arguments.runs}
    runs = {name: settings for name, settings in found_runs.items() if isinstance(settings, HeadSettings)}
    if others := [name for name in found_runs if name not in runs]:
        parser.error(f"{', '.join(others)}: expected runs that classify over features")
    seeds, first = range(arguments.draws), arguments.runs[0]
    origins = manifest.loc[manifest["fold"] == "test", "origin"].to_numpy()
    found = []
    print(f"more: difference from {first}, with its 95 % interval")
    print(f"{'run':24}{'labels':>8}" + "".join(f"{score:>10}{'+-':>7}{'more':>23}" for score in SCORES))
    for share in arguments.shares:
        right: dict[str, np.ndarray] = {}
        for name, settings in runs.items():
            draws = [predict_test(name, settings, labeled(manifest, share, seed), seed) for seed in seeds]
            right[name], labels = np.array([of_draw for of_draw, _ in draws], np.int8), draws[0][1]
            scores = right[name] @ contributions(labels, np.ones(len(labels)))
            found += [{"run": name, "share": share, "accuracy": score} for score in scores[:, 0]]
            more = [""] * len(SCORES) if name == first else gain(right[name] - right[first], labels, origins)
            cells = zip(100 * scores.mean(axis=0), 100 * scores.std(axis=0, ddof=1), more, strict=True)
            print(
                f"{name:24}{share:8.0%}{''.join(f'{a:9.1f}%{b:7.1f}{c:>23}' for a, b, c in cells)}".rstrip(), flush=True
            )
    if out:
        draw(pd.DataFrame(found), out)


if __name__ == "__main__":
    main()
