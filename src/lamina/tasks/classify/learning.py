"""What each kind of run learns: which network, from which examples.

Importing this imports no TensorFlow: a head learns without it (`lamina.training.heads`).
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import json_digest
from lamina.inputs.pixels import FeatureExamples, PictureExamples, each_epoch
from lamina.models.layers import compute_in
from lamina.models.networks import build_head, build_network, join
from lamina.results.record import code_digest, environment
from lamina.tasks.colorize.learning import color_task
from lamina.tasks.lightness.learning import pretext_task
from lamina.tasks.runs import ClassifierRun, ColorizeRun, PretextRun, Run, ScratchRun, TransferRun, Tuned
from lamina.training.history import DivergedError
from lamina.training.learner import Learned, Task, data_digest, picture_size, pixel_files, read_split
from lamina.training.training_options import DEFAULT_OPTIONS, TrainingOptions

if TYPE_CHECKING:
    from lamina.training.heads import Fold, Head
    from lamina.training.trainers import ClassTrainer

_CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class ClassTask(Task):
    """What names classes: `names`, sorted; a network's output i is class i. pictures: a fold's examples as pixels."""

    run: ClassifierRun
    names: list[str]
    pictures: Callable[[str], PictureExamples]

    @property
    def classes(self) -> list[str]:
        return self.names

    def trainer(self, network: Any, tuned: Tuned) -> "ClassTrainer":
        from lamina.training.trainers import ClassTrainer

        balanced = self.run.class_weights == "balanced"
        return ClassTrainer(
            network,
            tuned,
            class_weights=balanced_weights(np.asarray(self.train.labels), len(self.classes)) if balanced else None,
            label_smoothing=self.run.label_smoothing,
            ema_decay=self.run.average,
        )


@dataclass(frozen=True, kw_only=True)
class HeadTask(ClassTask):
    """Features of the folds, and how a head learns them. mean, variance: (width,) of the training features."""

    mean: np.ndarray
    variance: np.ndarray

    @cached_property
    def _folds(self) -> "tuple[Fold, Fold]":
        from lamina.training.heads import make_fold

        smoothing, balanced, classes = self.run.label_smoothing, self.run.class_weights == "balanced", len(self.classes)
        train, validation = self.train, self.validation
        return (
            make_fold(train.features, train.labels, classes, smoothing=smoothing, balanced=balanced),
            make_fold(validation.features, validation.labels, classes),
        )

    def head(self, tuned: Tuned) -> "Head":
        """A fresh head that has learned nothing yet."""
        from lamina.training.heads import Head

        return Head(self.run, tuned, *self._folds, mean=self.mean, variance=self.variance, seed=self.seed)

    def learned(self, head: "Head") -> Learned:
        """What a head has learned so far, with the weights that it keeps."""

        def make() -> Any:
            built = self.build(head.tuned)
            built.get_layer("hidden").set_weights([head.kept.hidden, head.kept.hidden_bias])
            built.get_layer("classes").set_weights([head.kept.classes, head.kept.classes_bias])
            return built

        return Learned(history=head.history, make=make, answers=lambda examples: head.probabilities(examples.features))

    def learn(self, tuned: Tuned, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
        """Train a fresh head; see `lamina.training.heads.train_head`.

        Raises DivergedError, whose `kept` is what was learned before.
        """
        from lamina.training.heads import train_head

        head, epochs, head_cache = self.head(tuned), options.epochs or self.run.epochs, options.head_cache
        key = self._key(tuned) if head_cache else ""
        if head_cache and (saved := head_cache.find(key, epochs)):
            head.restore(saved)
        try:
            train_head(head, epochs=epochs, on_epoch=options.on_epoch, what=options.what)
        except DivergedError as error:
            error.kept = self.learned(head)
            raise
        finally:
            if head_cache and head.history:
                head_cache.leave(key, head.state())
        return self.learned(head)

    def _key(self, tuned: Tuned) -> str:
        """Digest of what decides how a head learns, but for how long."""
        run = self.run.model_dump(exclude={"epochs", "watch", "fine_tune"})
        told = [run, tuned.model_dump(), self.seed, self.digest, code_digest(), environment()]
        return json_digest(told)[:16]


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) float32: n / (classes x n of the class), as scikit-learn's `compute_class_weight`. labels: (n,)."""
    return (len(labels) / (classes * np.bincount(labels, minlength=classes))).astype(np.float32)


def open_task(name: str, run: Run, folders: Folders, *, seed: int, augment: AugmentConfig | None = None) -> Task:
    """What the run `name` learns; augment: the section, for runs of `augmentation: fresh`. Raises as those do."""
    if isinstance(run, ColorizeRun):
        return color_task(run, folders, read_split(folders), seed=seed, augment=augment)
    if isinstance(run, PretextRun):
        return pretext_task(run, folders, read_split(folders), seed=seed, augment=augment)
    return class_task(name, run, folders, seed=seed, augment=augment)


def class_task(
    name: str,
    run: Run,
    folders: Folders,
    *,
    seed: int,
    manifest: pd.DataFrame | None = None,
    augment: AugmentConfig | None = None,
) -> ClassTask:
    """What the run `name` learns, where that is classes.

    manifest: the split's (None), or one with the same rows in the same order whose folds or labels differ.
    Raises UserError where a class has no training picture; where it has none for validation, says so.
    """
    if manifest is None:
        manifest = read_split(folders)
    _demand_every_class(manifest)
    if isinstance(run, TransferRun):
        return head_task(run, folders.features / name, folders, manifest, seed=seed)
    if isinstance(run, ScratchRun):
        return network_task(run, folders, manifest, seed=seed, augment=augment)
    raise TypeError(f"{type(run).__name__} tells no classes")


def head_task(run: TransferRun, extracted: Path, folders: Folders, manifest: pd.DataFrame, *, seed: int) -> HeadTask:
    """A head over the features that a frozen backbone left in the folder `extracted`."""
    import lamina.training.heads  # noqa: F401  # JAX, before another thread loads TensorFlow

    classes = class_names(manifest)
    features = np.load(extracted / "features.npy", mmap_mode="r")
    labels = class_numbers(manifest, classes)
    mean, variance = _moments(features[manifest["fold"] == "train"])

    def examples(fold: str) -> FeatureExamples:
        rows = np.flatnonzero(manifest["fold"] == fold)
        return FeatureExamples(features[rows], labels[rows])

    def build(tuned: Tuned) -> Any:
        return build_head(len(mean), len(classes), dropout=tuned.dropout, mean=mean, variance=variance, seed=seed)

    def load() -> Any:
        from lamina.models.keras_runtime import keras

        return keras.saving.load_model(extracted / "backbone.keras", compile=False)

    return HeadTask(
        run=run,
        names=classes,
        size=picture_size(folders),
        digest=data_digest(folders, extracted / "features.npy", *(pixel_files(folders) if run.fine_tune else ())),
        examples=examples,
        pictures=_pictures(folders, manifest, classes),
        build=build,
        load=load,
        whole=lambda learned, loaded: join(loaded, learned),
        seed=seed,
        mean=mean,
        variance=variance,
    )


def network_task(
    run: ScratchRun, folders: Folders, manifest: pd.DataFrame, *, seed: int, augment: AugmentConfig | None = None
) -> ClassTask:
    """A whole network over pictures and their planned copies, or, where the run wants fresh ones, such as `augment`."""
    classes = class_names(manifest)
    size = picture_size(folders)
    pictures, digest = _pictures(folders, manifest, classes), data_digest(folders, *pixel_files(folders))
    anew, digest = each_epoch(run.augmentation, pictures, manifest, augment, digest, seed=seed)

    def build(tuned: Tuned) -> Any:
        built = build_network(run.network, size, len(classes), dropout=tuned.dropout, seed=seed)
        compute_in(built, run.precision)
        return built

    def whole(learned: Any, _: None) -> Any:
        compute_in(learned, "float32")  # what is saved runs everywhere
        return learned

    return ClassTask(
        run=run,
        names=classes,
        size=size,
        digest=digest,
        examples=pictures,
        pictures=pictures,
        build=build,
        whole=whole,
        seed=seed,
        anew=anew,
    )


def _pictures(folders: Folders, manifest: pd.DataFrame, classes: list[str]) -> Callable[[str], PictureExamples]:
    def of_fold(fold: str) -> PictureExamples:
        rows = manifest[manifest["fold"] == fold]
        return PictureExamples(open_rows(rows, folders), class_numbers(rows, classes))

    return of_fold


def class_names(manifest: pd.DataFrame) -> list[str]:
    """The classes of a manifest, sorted. Raises UserError where there are fewer than two."""
    classes = sorted(manifest["label"].dropna().unique())
    if len(classes) < 2:
        raise UserError(
            f"expected pictures of at least two classes, found {classes or 'no label'}; look at source.labels"
        )
    return classes


def class_numbers(manifest: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """(rows,) int32: each row's place in `classes`."""
    return pd.Categorical(manifest["label"], categories=classes).codes.astype(np.int32)


def _demand_every_class(manifest: pd.DataFrame) -> None:
    counts = pd.crosstab(manifest["label"], manifest["fold"])
    for fold in ("train", "validation"):
        missing = ", ".join(counts.index[counts[fold] == 0]) if fold in counts else "any class"
        said = f"no picture of {missing} in the fold {fold}"
        if missing and (fold == "train" or fold not in counts):
            raise UserError(f"{said}; add pictures of other origins, or leave the class out with source.classes")
        if missing:
            print(f"warning: {said}; its validation figures say nothing of that", file=sys.stderr)


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each feature; the variance never far below that of the others."""

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(features), _CHUNK):
            yield features[start : start + _CHUNK].astype(np.float64)

    mean = sum(chunk.sum(axis=0) for chunk in chunks()) / len(features)
    variance = sum(((chunk - mean) ** 2).sum(axis=0) for chunk in chunks()) / len(features)
    return mean.astype(np.float32), (variance + 1e-3 * variance.mean()).astype(np.float32)
