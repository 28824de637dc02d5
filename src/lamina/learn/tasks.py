"""What a run learns: which network, from which examples. Tuning and training share it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import file_digest, json_digest
from lamina.learn.examples import FeatureExamples, PictureExamples
from lamina.learn.fit import Examples
from lamina.learn.runs import Run, ScratchRun, TransferRun, Tuned
from lamina.models.keras_runtime import keras, tf
from lamina.models.networks import build_head, join, network

_CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples of two folds, and how to build the network that shall learn them.

    classes: names, sorted; a network's output i is class i. size: side of the pictures in pixels.
    digest: SHA-256 of the split and the features or pixels. build: a fresh network from an example to class
    probabilities. whole: from a learned network, the model that people use, from (n, size, size, 3) RGB values
    0..255 to class probabilities.
    """

    train: Examples
    validation: Examples
    classes: list[str]
    size: int
    digest: str
    build: Callable[[Tuned], keras.Model]
    whole: Callable[[keras.Model], keras.Model]


def open_task(name: str, run: Run, folders: Folders, *, seed: int) -> Task:
    """What the run `name` learns."""
    if isinstance(run, TransferRun):
        return head_task(folders.features / name, folders, seed=seed)
    if isinstance(run, ScratchRun):
        return network_task(run.network, folders, seed=seed)
    raise TypeError(f"no task for {type(run).__name__}")


def head_task(extracted: Path, folders: Folders, *, seed: int) -> Task:
    """A head over the features that a frozen backbone left in the folder `extracted`."""
    manifest, classes = read_split(folders)
    features = np.load(extracted / "features.npy", mmap_mode="r")
    labels = class_numbers(manifest, classes)
    rows = {fold: np.flatnonzero(manifest["fold"] == fold) for fold in ("train", "validation")}
    learned_from = features[rows["train"]]
    mean, variance = _moments(learned_from)

    def build(tuned: Tuned) -> keras.Model:
        return build_head(len(mean), len(classes), dropout=tuned.dropout, mean=mean, variance=variance, seed=seed)

    def whole(learned: keras.Model) -> keras.Model:
        return join(keras.saving.load_model(extracted / "backbone.keras", compile=False), learned)

    return Task(
        train=FeatureExamples(tf.constant(learned_from), tf.constant(labels[rows["train"]])),
        validation=FeatureExamples(tf.constant(features[rows["validation"]]), tf.constant(labels[rows["validation"]])),
        classes=classes,
        size=_size(folders),
        digest=_digest(folders, extracted / "features.npy"),
        build=build,
        whole=whole,
    )


def network_task(name: str, folders: Folders, *, seed: int) -> Task:
    """The whole network `name` over pictures and their planned copies."""
    manifest, classes = read_split(folders)
    builder, size = network(name), _size(folders)

    def examples(fold: str) -> PictureExamples:
        rows = manifest[manifest["fold"] == fold]
        return PictureExamples(open_rows(rows, folders), class_numbers(rows, classes))

    return Task(
        train=examples("train"),
        validation=examples("validation"),
        classes=classes,
        size=size,
        digest=_digest(folders, folders.lab / "pixels.npy", folders.augmented / "plan.parquet"),
        build=lambda tuned: builder(size, len(classes), dropout=tuned.dropout, seed=seed),
        whole=lambda learned: learned,
    )


def read_split(folders: Folders) -> tuple[pd.DataFrame, list[str]]:
    """The split manifest and its classes, sorted. Raises UserError where there are fewer than two."""
    manifest = pd.read_parquet(folders.split / "manifest.parquet")
    classes = sorted(manifest["label"].dropna().unique())
    if len(classes) < 2:
        raise UserError(
            f"expected pictures of at least two classes, found {classes or 'no label'}; look at source.labels"
        )
    return manifest, classes


def class_numbers(manifest: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """(rows,) int32: each row's place in `classes`."""
    return pd.Categorical(manifest["label"], categories=classes).codes.astype(np.int32)


def _digest(folders: Folders, *files: Path) -> str:
    return json_digest([file_digest(path) for path in (folders.split / "manifest.parquet", *files)])


def _size(folders: Folders) -> int:
    return int(np.load(folders.lab / "pixels.npy", mmap_mode="r").shape[1])


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each feature; the variance never far below that of the others."""

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(features), _CHUNK):
            yield features[start : start + _CHUNK].astype(np.float64)

    mean = sum(chunk.sum(axis=0) for chunk in chunks()) / len(features)
    variance = sum(((chunk - mean) ** 2).sum(axis=0) for chunk in chunks()) / len(features)
    return mean.astype(np.float32), (variance + 1e-3 * variance.mean()).astype(np.float32)
