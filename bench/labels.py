"""How many labels does a frozen backbone need? Heads of transfer runs, learned from shares of the training origins.

python bench/labels.py SYSTEM RUN [RUN ...] [--shares 0.1 0.3 1] [--draws 10] [--out labels.png]

SYSTEM is a folder in which the stage `extract` has run for each RUN (`dvc repro extract`); the first RUN is what the
others are held against. Origins are drawn class by class, the same for all runs; each draw trains a head with the
run's numbers, where they are given (`tune` stands for 1e-3, 0.5, 1e-3), and judges it on the test fold: by accuracy,
and by the mean of the classes' recalls, in which rare classes count as much as common ones.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t

from lamina.config import read_params
from lamina.data.rows import Folders
from lamina.learn.course import Course
from lamina.learn.runs import TransferRun, Tuned, read_run
from lamina.learn.tasks import class_task
from lamina.maths.crossvalidation import SPARE

SCORES = ("accuracy", "recall")
USUAL = {"learning_rate": 1e-3, "dropout": 0.5, "decay": 1e-3}


def labeled(manifest: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """The split with only a share of the training origins of each class, at least one; the others are spare."""
    random = np.random.default_rng(seed)
    train = manifest[manifest["fold"] == "train"]
    kept: set[str] = set()
    for _, rows in train.groupby("label"):
        origins = np.sort(rows["origin"].unique())
        kept |= set(random.permutation(origins)[: max(1, round(share * len(origins)))])
    spare = (manifest["fold"] == "train") & ~manifest["origin"].isin(kept)
    return manifest.assign(fold=manifest["fold"].mask(spare, SPARE))


def scores(name: str, run: TransferRun, manifest: pd.DataFrame, seed: int) -> dict[str, float]:
    """Train a head once; return its `accuracy` on the test fold, and `recall`, the mean of the classes'."""
    tuned = Tuned(**{number: USUAL[number] if (told := getattr(run, number)) == "tune" else told for number in USUAL})
    task = class_task(name, run, Folders(), seed=seed, manifest=manifest)
    test = task.examples("test")
    answers = task.learn(tuned, Course(what=f"{name}, {len(task.train)} rows")).answers(test)
    right = answers.argmax(axis=1) == test.labels
    recalls = [right[test.labels == label].mean() for label in np.unique(test.labels)]
    return {"accuracy": float(right.mean()), "recall": float(np.mean(recalls))}


def gain(wide: pd.DataFrame, name: str, first: str) -> str:
    """By how much more a run scores than the first, in percentage points, with the 95 % interval over draws."""
    if name == first:
        return ""
    more = wide[name] - wide[first]
    half = t.ppf(0.975, len(more) - 1) * more.std() / np.sqrt(len(more))
    low, mean, high = (100 * (more.mean() + way * half) for way in (-1, 0, 1))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def draw(table: pd.DataFrame, out: Path) -> None:
    """Draw mean accuracies over the share of labels, a line a run, with their standard deviations over draws."""
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
    runs = {name: read_run(params, name)[1] for name in arguments.runs}
    found = [
        {
            "run": name,
            "share": share,
            "draw": seed,
            **scores(name, run, labeled(manifest, share, seed), seed),
        }
        for share in arguments.shares
        for seed in range(arguments.draws)
        for name, run in runs.items()
        if isinstance(run, TransferRun)
    ]
    table = pd.DataFrame(found)
    first = arguments.runs[0]
    print(f"beside each score, by how much it is more than that of {first}, with its 95 % interval over draws")
    print(f"{'run':24}{'labels':>8}" + "".join(f"{score:>10}{'+-':>7}{'more':>23}" for score in SCORES))
    for share, rows in table.groupby("share"):
        wide = {score: rows.pivot(index="draw", columns="run", values=score)[list(runs)] for score in SCORES}
        for name in runs:
            told = [
                f"{100 * one[name].mean():9.1f}%{100 * one[name].std():7.1f}{gain(one, name, first):>23}"
                for one in wide.values()
            ]
            print(f"{name:24}{share:8.0%}{''.join(told)}".rstrip())
    if out:
        draw(table, out)


if __name__ == "__main__":
    main()
