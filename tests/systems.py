"""Small systems for tests: what the stages up to `split` or `extract` leave in a folder, and the settings of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.config import section
from lamina.data.augmentation import AugmentConfig, draw_plan
from lamina.data.rows import Folders
from lamina.files import file_digest
from lamina.inputs.index import index_pixels, write_index
from lamina.maths.color import srgb_to_lab
from lamina.maths.splits import SplitConfig
from lamina.results.repeats import Retrainer
from lamina.stages.run_stage import RunStage
from lamina.stages.split import split
from lamina.stages.train import TrainSummary, train
from lamina.tasks.controls import find_control
from lamina.tasks.runs import read_run
from lamina.training.callbacks import Callbacks, NoCallbacks
from lamina.training.learner import Learner
from lamina.tuning.numbers import write_numbers

NUMBERS: Final = {"learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001}
TRAINING: Final = {"weights": "weights/random", "epochs": 4, "batch_size": 8, **NUMBERS}
FEATURES: Final = {"backbone": "small_cnn", "weights": "weights/random", "pooling": "avg", "preprocess": "native"}
HEAD: Final = {"task": "classify", "input": "features/small", **TRAINING}
NETWORK: Final = {"task": "classify", "input": "pixels", "network": "small_cnn", **TRAINING}
COLORS: Final = {
    "task": "colorize", "input": "pixels", "encoder": "small_cnn", "preprocess": "native", "decoder": "unet",
    "loss": "mse", "trainable": True, **TRAINING, "learning_rate": 2e-3, "dropout": 0.0,
}  # fmt: skip
LIGHT: Final = {
    "task": "lightness", "input": "pixels", "encoder": "small_cnn", "decoder": "unet",
    **TRAINING, "learning_rate": 2e-3, "dropout": 0.0,
}  # fmt: skip
LABELS: Final = {"task": "multilabel", "targets": ["seen"]}  # and input and training
LEVEL: Final = {"task": "regress", "target": "level"}
TUNE: Final = {
    "trials": 3, "epochs": 2, "learning_rate": [1e-4, 1e-2], "dropout": [0.0, 0.5], "decay": [1e-5, 1e-2]
}  # fmt: skip
AUGMENT: Final = {
    "copies": 1, "rotation": 10.0, "shift": 0.1, "flip_horizontal": True, "flip_vertical": True, "color": 0.05,
}  # fmt: skip


def folders_of(system: Path) -> Folders:
    """Return the data folders of a system that is not the working folder."""
    names = ("lab", "augmented", "split", "pixels", "features", "words", "targets")
    return Folders(**{name: system / getattr(Folders(), name) for name in names})


# ---- pictures


def draw_stripes(labels: np.ndarray, side: int = 32) -> np.ndarray:
    """Draw (n, side, side, 3) uint8 noisy stripes: vertical ones for the label `upright`, horizontal ones otherwise."""
    random, count = np.random.default_rng(0), len(labels)
    stripes = np.sin(np.arange(side) * random.uniform(0.8, 1.6, (count, 1)))[:, :, None, None] * 60
    rgb = 128 + np.broadcast_to(stripes, (count, side, side, 3)) + random.normal(0, 20, (count, side, side, 3))
    rgb[labels == "upright"] = rgb[labels == "upright"].transpose(0, 2, 1, 3)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def draw_blots(count: int, side: int = 16) -> np.ndarray:
    """Draw (n, side, side, 3) uint8 blots: light parts are orange, dark parts are blue."""
    random = np.random.default_rng(0)
    light = random.uniform(0, 1, (count, 2, 2)).repeat(side // 2, axis=1).repeat(side // 2, axis=2)[..., None]
    return np.rint(light * np.array([255, 160, 60]) + (1 - light) * np.array([20, 40, 120])).astype(np.uint8)


def hex_ids(count: int) -> list[str]:
    """Return ids like those of pictures."""
    return [f"{number:016x}" for number in range(count)]


def write_pictures(
    system: Path,
    rgb: np.ndarray,
    labels: Sequence[str | None],
    *,
    origins: Sequence[str] | None = None,
    augment: Mapping[str, Any] = AUGMENT,
) -> pd.DataFrame:
    """Write what the stages `convert` and `augment` leave; return the manifest of the pictures."""
    folders, ids = folders_of(system), hex_ids(len(rgb))
    manifest = pd.DataFrame({"id": ids, "origin": list(origins or ids), "label": labels, "name": ids})
    for folder in (folders.lab, folders.augmented):
        folder.mkdir(parents=True)
    np.save(folders.lab / "pixels.npy", srgb_to_lab(rgb))
    manifest.to_parquet(folders.lab / "manifest.parquet")
    reach = section({"augment": dict(augment)}, "augment", AugmentConfig)
    draw_plan(manifest, reach, seed=1).to_parquet(folders.augmented / "plan.parquet")
    return manifest


def write_split(system: Path, folds: Sequence[str]) -> pd.DataFrame:
    """Write the split manifest with a fold for each picture, and the index of the pictures; return the manifest."""
    folders = folders_of(system)
    rows = pd.read_parquet(folders.augmented / "plan.parquet")
    ids = pd.read_parquet(folders.lab / "manifest.parquet")["id"]
    rows["fold"] = rows["id"].map(dict(zip(ids, folds, strict=True)))
    rows = rows[(rows["fold"] == "train") | (rows["copy"] == 0)].assign(part=np.int8(-1))
    folders.split.mkdir(parents=True)
    rows.to_parquet(folders.split / "manifest.parquet")
    index_pixels(folders)
    return rows


def write_stripes(system: Path, *, train: int = 50, validation: int = 20, test: int = 20, side: int = 32) -> Path:
    """Write a system of two classes, `lying` and `upright`, in turn, with one warped copy of each picture."""
    count = train + validation + test
    labels = np.array(["lying", "upright"] * count)[:count]
    write_pictures(system, draw_stripes(labels, side), list(labels))
    write_split(system, ["train"] * train + ["validation"] * validation + ["test"] * test)
    return system


def write_blots(system: Path, *, train: int = 50, validation: int = 20, test: int = 20, side: int = 16) -> Path:
    """Write a system of unlabeled pictures in which lightness determines color, and color lightness."""
    count = train + validation + test
    write_pictures(system, draw_blots(count, side), [None] * count, augment=AUGMENT | {"color": 0.3})
    write_split(system, ["train"] * train + ["validation"] * validation + ["test"] * test)
    return system


def write_target_table(system: Path, task: str, columns: Mapping[str, Sequence[object]]) -> None:
    """Write the metadata of all pictures for a task: cells as text, None where they are missing."""
    folder = folders_of(system).targets
    folder.mkdir(parents=True, exist_ok=True)
    count = len(next(iter(columns.values())))
    cells = {name: [None if pd.isna(cell) else str(cell) for cell in cells] for name, cells in columns.items()}
    pd.DataFrame({"id": hex_ids(count)} | cells).to_parquet(folder / f"{task}.parquet")


def write_answered_stripes(system: Path, *, train: int = 40, validation: int = 24, test: int = 24) -> Path:
    """Write pictures of 16 pixels of one of two directions, dark to light, and what the metadata say about them.

    Column `seen` lists the labels `upright` and `light`, `level` holds 1000 + the lightness, -50 to 50. The first
    picture of each fold has neither.
    """
    count, random = train + validation + test, np.random.default_rng(3)
    kinds, levels = random.choice(["upright", "lying"], count), random.uniform(-50, 50, count)
    rgb = np.clip(draw_stripes(kinds, 16) + levels[:, None, None, None], 0, 255).astype(np.uint8)
    write_pictures(system, rgb, [None] * count, augment=AUGMENT | {"color": 0.0, "rotation": 5.0})
    write_split(system, ["train"] * train + ["validation"] * validation + ["test"] * test)
    named = [
        [label for label, has in (("upright", kind == "upright"), ("light", level > 0)) if has]
        for kind, level in zip(kinds, levels, strict=True)
    ]
    known = [place not in (0, train, train + validation) for place in range(count)]
    seen = [" | ".join(labels) or "-" if is_known else None for labels, is_known in zip(named, known, strict=True)]
    level = [1000 + level if is_known else None for level, is_known in zip(levels, known, strict=True)]
    for task in ("multilabel", "regress"):
        write_target_table(system, task, {"seen": seen, "level": level})
    return system


def write_features(system: Path, name: str, features: np.ndarray) -> Path:
    """Write an entry of `features`, (rows of the split, width), without its backbone; return its folder."""
    folder = folders_of(system).features / name
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", features.astype(np.float16))
    write_index(folder, file_digest(folder / "features.npy"), features.shape[1])
    return folder


def write_classes_as_features(system: Path, name: str = "small", *, train: int = 85, validation: int = 40) -> Path:
    """Write a system without pictures: 24 features at different scales, which tell three unequal classes apart in part.

    The default number of training rows fills no batch.
    """
    random, width = np.random.default_rng(0), 24
    numbers = random.choice(3, train + validation, p=[0.6, 0.3, 0.1])
    numbers[:3] = range(3)
    scales = 10.0 ** random.integers(-1, 3, width)
    features = (random.normal(size=(3, width))[numbers] + random.normal(size=(len(numbers), width)) * 2) * scales
    ids = hex_ids(len(numbers))
    rows = pd.DataFrame({"id": ids, "origin": ids, "label": np.array(["a", "b", "c"])[numbers], "copy": 0})
    folders = folders_of(system)
    folders.split.mkdir(parents=True)
    rows["fold"] = ["train"] * train + ["validation"] * validation
    rows.to_parquet(folders.split / "manifest.parquet")
    write_index(folders.pixels, "no pictures", 8)
    write_features(system, name, features)
    return system


def write_origins_with_classes(system: Path, parts: int = 3) -> Path:
    """Write 72 noisy pictures of three classes and 36 origins, split in parts, with features that show the class."""
    random, count = np.random.default_rng(0), 72
    folders, labels = folders_of(system), ["dark", "light", "plain"] * (count // 3)
    origins = [f"slide {number // 6}-{number % 3}" for number in range(count)]
    rgb = random.integers(0, 256, (count, 16, 16, 3), np.uint8)
    write_pictures(system, rgb, labels, origins=origins, augment=AUGMENT | {"rotation": 5.0, "shift": 0.0})
    shares = SplitConfig(test=0.3, validation=0.2, merge_near_duplicates=False)
    split(shares, folders.lab, folders.augmented, folders.split, seed=1, parts=parts)
    index_pixels(folders)
    rows = pd.read_parquet(folders.split / "manifest.parquet")
    shown = np.eye(3)[pd.Categorical(rows["label"]).codes] * 2
    features = np.concatenate([shown, np.zeros((len(rows), 5))], axis=1) + random.normal(0, 0.4, (len(rows), 8))
    write_features(system, "small", features)
    return system


def write_origins_of_blots(system: Path) -> Path:
    """Write 72 unlabeled pictures of blots: two of an origin, and four where the split merged near duplicates."""
    count = 72
    slides = np.arange(count) // 2
    merged = np.where(slides < 6, slides // 2, slides)
    folds = np.select([merged % 6 == 0, merged % 6 == 1], ["test", "validation"], "train")
    origins = [f"slide {slide}" for slide in slides]
    write_pictures(system, draw_blots(count), [None] * count, origins=origins, augment=AUGMENT | {"color": 0.3})
    rows, path = write_split(system, list(folds)), folders_of(system).split / "manifest.parquet"
    names = dict(zip(hex_ids(count), (f"merged {number}" for number in merged), strict=True))
    rows.assign(origin=rows["id"].map(names)).to_parquet(path)
    return system


# ---- runs


def params_of(runs: Mapping[str, Mapping[str, Any]], **sections: Any) -> dict[str, Any]:
    """Return the content of a `params.yaml` with these runs and the default test sections."""
    named = {name: dict(settings) for name, settings in runs.items()}
    return {"seed": 1, "augment": dict(AUGMENT), "tune": dict(TUNE), "runs": named} | sections


def stage_of(
    settings: Mapping[str, Any], out: Path | None = None, *, name: str = "run", seed: int = 1, **sections: Any
) -> RunStage:
    """Return the surroundings of a stage in the working folder for a run with these settings.

    out: folder of the run's results. sections: of `params.yaml`, in place of the default ones.
    """
    params = params_of({name: settings}, seed=seed, **sections)
    run = read_run(params, name)
    return RunStage(
        run=run,
        params=params,
        folders=Folders(),
        out=out or Path("models") / name,
        seed=run.settings.seed_or(seed),
        system_seed=seed,
        augment=section(params, "augment", AugmentConfig) if run.settings.needs_augmentation else None,
    )


def learner_of(settings: Mapping[str, Any], *, name: str = "run", seed: int = 1, **sections: Any) -> Learner:
    """Open what a run with these settings learns, in the working folder."""
    return stage_of(settings, name=name, seed=seed, **sections).open_learner()


def train_run(stage: RunStage, callbacks: Callbacks | None = None, **options: Any) -> TrainSummary:
    """Run the stage `train` with the numbers of the settings; without a cache of heads unless `heads` names one."""
    write_numbers(stage.out / "tuned.yaml", stage.run.settings.given_numbers())
    options = {"resume": stage.out / "resume", "heads": stage.out / "heads"} | options
    return train(stage, callbacks or NoCallbacks(), **options)


def retrainer_of(stage: RunStage, cache: Path, **changes: Any) -> Retrainer:
    """Return what trains a run again with the numbers of its settings. changes: other attributes."""
    run = stage.run
    given = {
        "name": run.name,
        "setup": stage.setup,
        "numbers": run.settings.given_numbers(),
        "measure": run.task.measure,
        "code": run.task.training_code,
        "open_learner": run.task.open_learner,
        "cache": cache,
        "control": find_control(run.task),
    }
    return Retrainer(**(given | changes))
