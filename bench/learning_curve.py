"""What limits a run: accuracy over the number of training pictures.

python bench/learning_curve.py SYSTEM RUN [--shares 0.25 0.5 1] [--plot FILE.png]

SYSTEM is the folder of a finished system. For each share, that part of the training origins is kept, drawn from each
class; validation and test parts stay. With `assess.folds` the run is cross-validated, or else learned once and tested
on the test part. If the curve still rises at its end, more pictures would help; if it is flat, they would not. Next to
it the plot shows the accuracy of the main split over the epochs.
"""

import argparse
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lamina.config import validated
from lamina.maths.crossvalidation import fold_of
from lamina.maths.splits import SplitConfig
from lamina.results.repeats import crossvalidation_rows
from lamina.stages.assess import read_config
from lamina.stages.run_stage import RunStage, open_run_stage
from lamina.training.learner import TrainingOptions


def thinned(manifest: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Keep a share of the training origins of each class, at least one; the others become `spare`."""
    train = manifest[manifest["fold"] == "train"]
    origins = train.groupby("origin")["label"].first()
    kept = origins.groupby(origins).sample(frac=share, random_state=seed) if share < 1 else origins
    missing = set(origins) - set(kept)
    kept_names = {*kept.index, *(origins.index[origins == label][0] for label in missing)}
    return manifest.assign(
        fold=manifest["fold"].mask((manifest["fold"] == "train") & ~manifest["origin"].isin(kept_names), "spare")
    )


def splits(stage: RunStage, folds: int, validation: float) -> Iterator[pd.DataFrame]:
    """Yield the manifest of each fold, or the only one that there is."""
    if not folds:
        yield stage.setup.manifest
        return
    rows = crossvalidation_rows(stage.setup, folds, stratify=True, seed=stage.system_seed)
    for part in range(folds):
        yield fold_of(rows, part, validation, stage.system_seed)


def learned_from(stage: RunStage, share: float, manifests: Iterable[pd.DataFrame]) -> dict[str, Any]:
    """Learn from a share of the training pictures of each split; return their mean number and the scores."""
    tables, counts = [], []
    for part, whole in enumerate(manifests):
        manifest = thinned(whole, share, part)
        learner = stage.run.task.open_learner(replace(stage.setup, manifest=manifest))
        learned = learner.learn_again(stage.numbers(), TrainingOptions(what=f"{share:.0%}, split {part + 1}"))
        tested = manifest[manifest["fold"] == "test"]
        judged = learner.judge(learned, "test")
        tables.append(judged.assign(id=tested["id"].to_numpy(), origin=tested["origin"].to_numpy()))
        counts.append(((manifest["fold"] == "train") & (manifest["copy"] == 0)).sum())
    scores = learner.summarise(pd.concat(tables).sort_values("id", ignore_index=True))
    return {
        "pictures": float(np.mean(counts)), "accuracy": scores["accuracy"],
        "low": scores["interval"][0], "high": scores["interval"][1], "macro_f1": scores["macro_f1"],
    }  # fmt: skip


def draw(curve: pd.DataFrame, history: pd.DataFrame, name: str, out: Path) -> None:
    """Draw accuracy over the training pictures, with its interval, and over the epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    errors = [curve["accuracy"] - curve["low"], curve["high"] - curve["accuracy"]]
    left.errorbar(curve["pictures"], curve["accuracy"], errors, marker="o", capsize=3, color="#5b3fa8")
    left.set(xscale="log", xlabel="training pictures", ylabel="accuracy", title=name)
    left.set_xticks(curve["pictures"], [f"{count:.0f}" for count in curve["pictures"]])
    left.minorticks_off()
    for fold, color in (("train", "#b9a9e0"), ("validation", "#5b3fa8")):
        right.plot(history["epoch"], history[f"{fold}_accuracy"], label=fold, color=color)
    right.set(xlabel="epoch", title="main split")
    right.legend()
    figure.savefig(out, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", type=Path)
    parser.add_argument("run")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.125, 0.25, 0.5, 1.0])
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    plot = given.plot.resolve() if given.plot else None
    os.chdir(given.system)
    stage = open_run_stage(given.run).tuned()
    folds = read_config(stage.params).of(given.run, stage.run.task.name).folds
    validation = validated(stage.params.get("split"), "split", SplitConfig).validation
    curve = pd.DataFrame([learned_from(stage, share, splits(stage, folds, validation)) for share in given.shares])
    print(curve.round(4).to_string(index=False))
    if plot:
        draw(curve, pd.read_csv(stage.out / "history.csv"), given.run, plot)


if __name__ == "__main__":
    main()
