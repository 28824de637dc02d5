"""Does the gate tell noise from regression? How often it says "regressed", over seeds, processors and damages.

python bench/gate.py [--seeds 5] [--folder FOLDER]

Two small systems are trained with several seeds: a head over random features and a small network learn the digits that
scikit-learn ships, and a colorizer learns drawn blood smears. The same trainings run as on other processors, by the
libraries' own switches, each in a process of its own; then, on this processor, with known damages. Every result is
compared with accepted ones of the undamaged run on this processor: of the same seed, and of other seeds. Columns:

- test alone: the paired test is significant, and the result is worse;
- gate: what `lamina gate` says of a run that was not repeated;
- gate, repeats: the same if two repeats with other seeds were accepted with it (`assess.repeats: 2`).

For rows of "unchanged" the right answer is 0 %, for the others 100 %. Trainings are kept in FOLDER, if there is one, so
that a second run continues.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lamina.config import named, validated
from lamina.data.rows import Folders
from lamina.inputs.features import FeaturesSettings
from lamina.results.judgement import judge
from lamina.results.measures import MEASURES, Answers, Measure
from lamina.stages.extract import extract_features
from lamina.stages.run_stage import open_run_stage
from lamina.training.learner import Setup, TrainingOptions
from system import run_stage

FILTER = {"drop_grayscale": False, "min_side": 8, "drop_duplicates": False}
AUGMENT = {"copies": 0, "rotation": 0, "shift": 0, "flip_horizontal": False, "flip_vertical": False, "color": 0}
TRAINED = {"weights": "weights/random", "batch_size": 32, "learning_rate": 1e-3, "dropout": 0.5, "decay": 0.001}
SYSTEMS: dict[str, dict[str, Any]] = {
    "digits": {
        "source": {"kind": "sklearn", "location": "digits"},
        "convert": {"size": 16, "isolate": "none"},
        "split": {"test": 0.4, "validation": 0.1, "merge_near_duplicates": False},
        "features": {
            "random": {
                "backbone": "small_cnn",
                "weights": "weights/random",
                "pooling": "scales",
                "preprocess": "native",
            }
        },
        "runs": {
            "head": {"task": "classify", "input": "features/random", "epochs": 40} | TRAINED,
            "network": {"task": "classify", "input": "pixels", "network": "small_cnn", "epochs": 8}
            | {"precision": "bfloat16"}
            | TRAINED,
        },
    },
    "smears": {
        "source": {"kind": "smear", "pictures": 600},
        "convert": {"size": 48, "isolate": "none"},
        "split": {"test": 0.3, "validation": 0.15},
        "runs": {
            "colors": {"task": "colorize", "input": "pixels", "encoder": "small_cnn", "decoder": "unet", "epochs": 6}
            | {"loss": "mse", "trainable": True, "preprocess": "native", "precision": "bfloat16", "ema_decay": 0.9}
            | TRAINED
            | {"dropout": 0.0, "decay": 1e-4},
        },
    },
}
HERE = "this processor"
PROCESSORS: dict[str, dict[str, str]] = {
    HERE: {},
    "AVX2, float32": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    },
    "one core": {},
    "float32": {},
    "no oneDNN, float32": {"TF_ENABLE_ONEDNN_OPTS": "0"},
}
UNDAMAGED = "unchanged"
DAMAGES: dict[str, Callable[[Setup], Setup]] = {
    "dropout 0.97": lambda setup: changed(setup, dropout=0.97),
    "learning rate 1e-9": lambda setup: changed(setup, learning_rate=1e-9),
    "10 % of the labels shuffled": lambda setup: replace(setup, manifest=mislabeled(setup.manifest, 0.1, setup.seed)),
    "one epoch": lambda setup: changed(setup, epochs=1),
}
OF_RUN = {"head": [*DAMAGES][:3], "network": [*DAMAGES][:3], "colors": [*DAMAGES][1:2] + [*DAMAGES][3:]}


def changed(setup: Setup, **settings: Any) -> Setup:
    """Give a run other settings."""
    return replace(setup, settings=setup.settings.model_copy(update=settings))


def mislabeled(manifest: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Shuffle the labels of a share of the rows that train and validate among each other."""
    random = np.random.default_rng(seed)
    learned = np.flatnonzero(manifest["fold"] != "test")
    some = random.choice(learned, round(share * len(learned)), replace=False)
    labels = manifest["label"].to_numpy(dtype=object, copy=True)
    labels[some] = random.permutation(labels[some])
    return manifest.assign(label=labels)


def make_system(folder: Path, name: str) -> None:
    """Write a system's params, and run its data stages."""
    folder.mkdir(parents=True)
    params = {"seed": 13, "filter": FILTER, "augment": AUGMENT} | SYSTEMS[name]
    (folder / "params.yaml").write_text(json.dumps(params))  # JSON is YAML
    for stage in ("download", "filter", "convert", "augment", "split"):
        run_stage(folder, stage)


def train_on(processor: str, seeds: int, out: Path) -> None:
    """Train every run of the system in the working folder, and write its test predictions, one table for all."""
    if processor == "one core":
        os.sched_setaffinity(0, {0})
    folders = Folders(features=Path("features") / processor)
    params = json.loads(Path("params.yaml").read_text())
    for name, given in named(params, "features").items():
        settings = validated(given, f"features.{name}", FeaturesSettings)
        extract_features(settings, folders, folders.features / name, seed=13, unfinished=folders.features / "part")
    tables = []
    for run in params["runs"]:
        stage = replace(open_run_stage(run), folders=folders)
        damages = [UNDAMAGED, *OF_RUN[run]] if processor == HERE else [UNDAMAGED]
        for seed, damage in ((seed, damage) for seed in range(seeds) for damage in damages):
            setup = replace(stage.setup, seed=seed)
            # a processor without AVX-512 has no bfloat16 either; without oneDNN it takes minutes an epoch
            if "float32" in processor and hasattr(setup.settings, "precision"):
                setup = changed(setup, precision="float32")
            setup = DAMAGES[damage](setup) if damage in DAMAGES else setup
            given = setup.settings.model_dump()
            numbers = setup.settings.numbers(**{key: given[key] for key in setup.settings.numbers.model_fields})
            learner = stage.run.task.open_learner(setup)
            learned = learner.learn_again(numbers, TrainingOptions(what=f"{run}, {processor}, {damage}, seed {seed}"))
            rows = setup.manifest.loc[setup.manifest["fold"] == "test", ["id", "origin"]].reset_index(drop=True)
            columns = ["id", "origin", *MEASURES[stage.run.task.measure].columns]
            judged = rows.join(learner.judge(learned, "test"))[columns]
            tables.append(judged.assign(run=run, processor=processor, damage=damage, seed=seed))
    pd.concat(tables).to_parquet(out)


def compared(
    trainings: dict[tuple[str, str, int], Answers], origins: dict[str, str], measure: Measure
) -> Iterator[Any]:
    """Yield for each comparison what is compared, the loss, and whether each of the three ways says "regressed"."""
    seeds = sorted({seed for _, _, seed in trainings})
    for own in seeds:
        others = [seeds[(own + step) % len(seeds)] for step in range(1, len(seeds))]
        before = trainings[HERE, UNDAMAGED, own]
        repeats = [measure.value(trainings[HERE, UNDAMAGED, seed]) for seed in others[:2]]
        for (processor, damage, seed), after in trainings.items():
            if seed in others[:2] or (processor, damage, seed) == (HERE, UNDAMAGED, own):
                continue
            change = measure.change(before, after, origins)
            by_gate, _ = judge(change, change.p, measure)
            by_repeats, _ = judge(change, change.p, measure, accepted_repeats=repeats)
            source = "another processor" if seed == own else "other seeds"
            kind = f"{damage}: {source}" if damage == UNDAMAGED else damage
            yield kind, change.loss, change.p <= 0.05 and change.loss > 0, by_gate, by_repeats


def table_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Count how often each way says "regressed", by run and by what was changed."""
    parts = []
    for run, of_run in scores.groupby("run", sort=False):
        measure = MEASURES["mse" if of_run["predicted"].isna().all() else "accuracy"]
        origins = dict(zip(of_run["id"], of_run["origin"], strict=True))
        trainings = {
            key: {row[0]: measure.cells(row[1:]) for row in rows[["id", *measure.columns]].itertuples(index=False)}
            for key, rows in of_run.groupby(["processor", "damage", "seed"], sort=False)
        }
        names = ["change", "mean loss", "test alone", "gate", "gate, repeats"]
        found = pd.DataFrame(compared(trainings, origins, measure), columns=names).groupby("change", sort=False)
        shares = found.mean().assign(comparisons=found.size()).sort_index(ascending=False).reset_index()
        parts.append(shares.assign(run=run, **{"mean loss": shares["mean loss"].map(measure.amount)}))
    table = pd.concat(parts)[["run", "change", "comparisons", "mean loss", *names[2:]]]
    return table.assign(**{name: table[name].map("{:.0%}".format) for name in names[2:]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--processor", choices=PROCESSORS, help=argparse.SUPPRESS)  # of a process that trains
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.processor:
        train_on(given.processor, given.seeds, given.out)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        tables = []
        for name in SYSTEMS:
            if not (folder / name / "data" / "split").exists():
                make_system(folder / name, name)
            for processor, switches in PROCESSORS.items():
                out = folder / name / f"{processor}, {given.seeds} seeds.parquet"
                command = [
                    sys.executable,
                    __file__,
                    "--seeds",
                    str(given.seeds),
                    "--processor",
                    processor,
                    "--out",
                    out,
                ]
                if not out.exists():
                    subprocess.run(command, cwd=folder / name, env=os.environ | switches, check=True)
                tables.append(pd.read_parquet(out))
    print(table_of(pd.concat(tables)).to_string(index=False))


if __name__ == "__main__":
    main()
