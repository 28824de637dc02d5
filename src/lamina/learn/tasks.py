"""What a run learns: which network, from which examples. Tuning and training share it.

Importing this imports no TensorFlow: a head learns without it (`lamina.learn.heads`).
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig, draw_anew
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import file_digest, json_digest
from lamina.learn.checkpoint import Checkpoint
from lamina.learn.examples import FeatureExamples, PictureExamples
from lamina.learn.history import DivergedError, EpochRow
from lamina.learn.runs import ClassifierRun, Run, ScratchRun, TransferRun, Tuned
from lamina.models.layers import compute_in
from lamina.models.networks import build_head, build_network, join

if TYPE_CHECKING:
    from lamina.learn.fit import Trainer
    from lamina.learn.heads import Fold, Head

_CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A row per epoch of how learning went, and what learned.

    make: gives the network, when it is asked for; answers: what it says of a fold's examples, (n, classes)
    probabilities.
    """

    history: list[EpochRow]
    make: Callable[[], Any]
    answers: Callable[[Any], np.ndarray]

    @cached_property
    def network(self) -> Any:
        """The Keras model, from an example to class probabilities."""
        return self.make()


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples of the folds, and how a network learns them.

    classes: names, sorted; a network's output i is class i. size: side of the pictures in pixels.
    digest: SHA-256 of the split and the features or pixels. examples: those of a fold, by its name. pictures: the same
    as pixels. build: a fresh network from an example to class probabilities. whole: from a learned network, the model
    that people use, from (n, size, size, 3) RGB values 0..255 to class probabilities. seed: of weights, order of
    batches and dropout. anew: the training examples of an epoch, where each epoch has its own.
    """

    run: ClassifierRun
    classes: list[str]
    size: int
    digest: str
    examples: Callable[[str], Any]
    pictures: Callable[[str], PictureExamples]
    build: Callable[[Tuned], Any]
    whole: Callable[[Any], Any]
    seed: int
    anew: Callable[[int], PictureExamples] | None = None

    @cached_property
    def train(self) -> Any:
        """The training fold's examples (`lamina.learn.examples`)."""
        return self.examples("train")

    @cached_property
    def validation(self) -> Any:
        """The validation fold's examples."""
        return self.examples("validation")

    def learn(
        self,
        tuned: Tuned,
        *,
        on_epoch: Callable[[EpochRow], None] = lambda row: None,
        epochs: int | None = None,
        what: str = "train",
        checkpoint: Checkpoint | None = None,
    ) -> Learned:
        """Train a fresh network for some epochs (None: as many as the run says); see `lamina.learn.fit.fit`."""
        from lamina.learn.fit import fit
        from lamina.models.keras_runtime import keras

        keras.backend.clear_session()  # memory grows with every network that was built
        trainer = self.trainer(self.build(tuned), tuned)
        history = fit(
            trainer,
            self.train,
            self.validation,
            epochs=epochs or self.run.epochs,
            batch_size=self.run.batch_size,
            seed=self.seed,
            on_epoch=on_epoch,
            what=what,
            patience=self.run.patience,
            anew=self.anew,
            checkpoint=checkpoint,
        )
        network = trainer.network
        return Learned(history=history, make=lambda: network, answers=lambda examples: examples.answers(network))

    def trainer(self, network: Any, tuned: Tuned) -> "Trainer":
        """Who trains a network as the run says."""
        from lamina.learn.fit import Trainer

        balanced = self.run.class_weights == "balanced"
        return Trainer(
            network,
            tuned,
            class_weights=balanced_weights(np.asarray(self.train.labels), len(self.classes)) if balanced else None,
            label_smoothing=self.run.label_smoothing,
            average=self.run.average,
        )


@dataclass(frozen=True, kw_only=True)
class HeadTask(Task):
    """Features of the folds, and how a head learns them. mean, variance: (width,) of the training features."""

    mean: np.ndarray
    variance: np.ndarray

    @cached_property
    def _folds(self) -> "tuple[Fold, Fold]":
        from lamina.learn.heads import make_fold

        smoothing, balanced, classes = self.run.label_smoothing, self.run.class_weights == "balanced", len(self.classes)
        train, validation = self.train, self.validation
        return (
            make_fold(train.features, train.labels, classes, smoothing=smoothing, balanced=balanced),
            make_fold(validation.features, validation.labels, classes),
        )

    def head(self, tuned: Tuned) -> "Head":
        """A fresh head that has learned nothing yet."""
        from lamina.learn.heads import Head

        return Head(self.run, tuned, *self._folds, mean=self.mean, variance=self.variance, seed=self.seed)

    def learned(self, head: "Head") -> Learned:
        """What a head has learned so far, with the weights that it keeps."""

        def make() -> Any:
            built = self.build(head.tuned)
            built.get_layer("hidden").set_weights([head.kept.hidden, head.kept.hidden_bias])
            built.get_layer("classes").set_weights([head.kept.classes, head.kept.classes_bias])
            return built

        return Learned(history=head.history, make=make, answers=lambda examples: head.answers(examples.features))

    def learn(
        self,
        tuned: Tuned,
        *,
        on_epoch: Callable[[EpochRow], None] = lambda row: None,
        epochs: int | None = None,
        what: str = "train",
        checkpoint: Checkpoint | None = None,
    ) -> Learned:
        """Train a fresh head for some epochs (None: as many as the run says); see `lamina.learn.heads.learn`.

        checkpoint: not used, this takes seconds. Raises DivergedError, whose `kept` is what was learned until then.
        """
        from lamina.learn.heads import learn

        head = self.head(tuned)
        try:
            learn(head, epochs=epochs or self.run.epochs, on_epoch=on_epoch, what=what)
        except DivergedError as error:
            error.kept = self.learned(head)
            raise
        return self.learned(head)


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) float32: n / (classes x n of the class), as scikit-learn's `compute_class_weight`. labels: (n,)."""
    return (len(labels) / (classes * np.bincount(labels, minlength=classes))).astype(np.float32)


def open_task(
    name: str,
    run: Run,
    folders: Folders,
    *,
    seed: int,
    manifest: pd.DataFrame | None = None,
    augment: AugmentConfig | None = None,
) -> Task:
    """What the run `name` learns.

    manifest: the split's (None), or one with the same rows in the same order whose folds or labels differ.
    augment: the section, for runs of `augmentation: fresh`. Raises UserError where a class has no training picture;
    where it has none for validation, says so.
    """
    if manifest is None:
        manifest = read_split(folders)
    _demand_every_class(manifest)
    if isinstance(run, TransferRun):
        return head_task(run, folders.features / name, folders, manifest, seed=seed)
    if isinstance(run, ScratchRun):
        return network_task(run, folders, manifest, seed=seed, augment=augment)
    raise TypeError(f"no task for {type(run).__name__}")


def head_task(run: TransferRun, extracted: Path, folders: Folders, manifest: pd.DataFrame, *, seed: int) -> HeadTask:
    """A head over the features that a frozen backbone left in the folder `extracted`."""
    classes = class_names(manifest)
    features = np.load(extracted / "features.npy", mmap_mode="r")
    labels = class_numbers(manifest, classes)
    mean, variance = _moments(features[manifest["fold"] == "train"])

    def examples(fold: str) -> FeatureExamples:
        rows = np.flatnonzero(manifest["fold"] == fold)
        return FeatureExamples(features[rows], labels[rows])

    def build(tuned: Tuned) -> Any:
        return build_head(len(mean), len(classes), dropout=tuned.dropout, mean=mean, variance=variance, seed=seed)

    def whole(learned: Any) -> Any:
        from lamina.models.keras_runtime import keras

        return join(keras.saving.load_model(extracted / "backbone.keras", compile=False), learned)

    return HeadTask(
        run=run,
        classes=classes,
        size=_size(folders),
        digest=_digest(folders, extracted / "features.npy", *(_pixels(folders) if run.fine_tune else ())),
        examples=examples,
        pictures=_pictures(folders, manifest, classes),
        build=build,
        whole=whole,
        seed=seed,
        mean=mean,
        variance=variance,
    )


def network_task(
    run: ScratchRun, folders: Folders, manifest: pd.DataFrame, *, seed: int, augment: AugmentConfig | None = None
) -> Task:
    """A whole network over pictures and their planned copies, or, where the run wants fresh ones, such as `augment`."""
    classes = class_names(manifest)
    size = _size(folders)
    pictures, anew, digest = _pictures(folders, manifest, classes), None, _digest(folders, *_pixels(folders))

    if run.augmentation == "fresh":
        if augment is None:
            raise TypeError("augmentation: fresh draws within the ranges of `augment`, got None")
        train, rows, reach = pictures("train"), manifest[manifest["fold"] == "train"], augment
        digest = json_digest([digest, augment.model_dump()])

        def anew(epoch: int) -> PictureExamples:
            drawn = draw_anew(rows, reach, seed=seed, epoch=epoch)
            return PictureExamples(replace(train.rows, plan=drawn), train.labels)

    def build(tuned: Tuned) -> Any:
        built = build_network(run.network, size, len(classes), dropout=tuned.dropout, seed=seed)
        compute_in(built, run.precision)
        return built

    def whole(learned: Any) -> Any:
        compute_in(learned, "float32")  # what is saved runs everywhere
        return learned

    return Task(
        run=run,
        classes=classes,
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


def read_split(folders: Folders) -> pd.DataFrame:
    """The split manifest: `id`, `origin`, `label`, `copy`, `fold`."""
    return pd.read_parquet(folders.split / "manifest.parquet")


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


def _pixels(folders: Folders) -> tuple[Path, Path]:
    return folders.lab / "pixels.npy", folders.augmented / "plan.parquet"


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
