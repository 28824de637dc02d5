"""What a run learns: which network, from which examples. Tuning and training share it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

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


class Task(Protocol):
    """Examples of two folds and a way to build the network that shall learn them."""

    @property
    def train(self) -> Examples: ...

    @property
    def validation(self) -> Examples: ...

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted; a network's output column i is class i."""

    @property
    def digest(self) -> str:
        """SHA-256 of the data: the split, and the features or pixels."""

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""

    def build(self, tuned: Tuned) -> keras.Model:
        """A fresh network that maps an example to class probabilities."""

    def whole(self, learned: keras.Model) -> keras.Model:
        """The model that people use: from (n, S, S, 3) RGB values 0..255 to class probabilities."""


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


def open_task(name: str, run: Run, folders: Folders, *, seed: int) -> Task:
    """What the run `name` learns."""
    if isinstance(run, TransferRun):
        return HeadTask(folders=folders, name=name, seed=seed)
    if isinstance(run, ScratchRun):
        return NetworkTask(folders=folders, network=run.network, seed=seed)
    raise TypeError(f"no task for {type(run).__name__}")


@dataclass(kw_only=True)
class HeadTask:
    """A head over the features of a frozen backbone."""

    folders: Folders
    name: str
    seed: int
    classes: list[str] = field(init=False)
    train: FeatureExamples = field(init=False)
    validation: FeatureExamples = field(init=False)

    def __post_init__(self) -> None:
        manifest, self.classes = read_split(self.folders)
        features = np.load(self._folder / "features.npy", mmap_mode="r")
        labels = class_numbers(manifest, self.classes)
        for fold in ("train", "validation"):
            rows = np.flatnonzero(manifest["fold"] == fold)
            setattr(self, fold, FeatureExamples(tf.constant(features[rows]), tf.constant(labels[rows])))
        self.mean, self.variance = _moments(self.train.features.numpy())

    @property
    def _folder(self) -> Path:
        return self.folders.features / self.name

    @property
    def digest(self) -> str:
        return _digest(self.folders, self._folder / "features.npy")

    @property
    def size(self) -> int:
        return _size(self.folders)

    def build(self, tuned: Tuned) -> keras.Model:
        mean, variance = self.mean, self.variance
        classes = len(self.classes)
        return build_head(len(mean), classes, dropout=tuned.dropout, mean=mean, variance=variance, seed=self.seed)

    def whole(self, learned: keras.Model) -> keras.Model:
        extractor = keras.saving.load_model(self._folder / "backbone.keras", compile=False)
        return join(extractor, learned)


@dataclass(kw_only=True)
class NetworkTask:
    """A whole network over pictures and their planned copies."""

    folders: Folders
    network: str
    seed: int
    classes: list[str] = field(init=False)
    train: PictureExamples = field(init=False)
    validation: PictureExamples = field(init=False)

    def __post_init__(self) -> None:
        manifest, self.classes = read_split(self.folders)
        for fold in ("train", "validation"):
            rows = manifest[manifest["fold"] == fold]
            opened = open_rows(rows, self.folders)
            setattr(self, fold, PictureExamples(opened, class_numbers(rows, self.classes)))

    @property
    def digest(self) -> str:
        return _digest(self.folders, self.folders.lab / "pixels.npy", self.folders.augmented / "plan.parquet")

    @property
    def size(self) -> int:
        return _size(self.folders)

    def build(self, tuned: Tuned) -> keras.Model:
        return network(self.network)(self.size, len(self.classes), dropout=tuned.dropout, seed=self.seed)

    def whole(self, learned: keras.Model) -> keras.Model:
        return learned


def _digest(folders: Folders, *files: Path) -> str:
    return json_digest([file_digest(path) for path in (folders.split / "manifest.parquet", *files)])


def _size(folders: Folders) -> int:
    return int(np.load(folders.lab / "pixels.npy", mmap_mode="r").shape[1])


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each feature; the variance never far below that of the others."""
    chunks = [features[start : start + _CHUNK].astype(np.float64) for start in range(0, len(features), _CHUNK)]
    mean = sum(chunk.sum(axis=0) for chunk in chunks) / len(features)
    variance = sum(((chunk - mean) ** 2).sum(axis=0) for chunk in chunks) / len(features)
    return mean.astype(np.float32), (variance + 1e-3 * variance.mean()).astype(np.float32)
