"""Pictures as an input: read and warped batch by batch while the network trains."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig, draw_fresh
from lamina.data.rows import Rows
from lamina.files import json_digest
from lamina.inputs.batches import BatchExamples
from lamina.prefetch import prefetch

PICTURES_AT_ONCE = 64


@dataclass(frozen=True)
class RowExamples(BatchExamples):
    """Pictures by row of a manifest. Subclasses say what is read of them."""

    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class PictureExamples(RowExamples):
    """Pictures as pixels, and their class numbers, (n,) int32."""

    labels: np.ndarray

    def predict(self, network: Any) -> np.ndarray:
        """Return a network's class probabilities for all rows, (n, classes)."""
        from lamina.models.inference import inference

        return np.concatenate([*map(inference(network), prefetch(self.rows.batches(PICTURES_AT_ONCE)))])

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.rows.read(rows).astype(np.float32), self.labels[rows]


E = TypeVar("E", bound=RowExamples)


def fresh_each_epoch(
    augmentation: str,
    examples: Callable[[str], E],
    manifest: pd.DataFrame,
    augment: AugmentConfig | None,
    digest: str,
    *,
    seed: int,
) -> tuple[Callable[[int], E] | None, str]:
    """What gives the training examples of an epoch, where each has its own, and the digest of what is learned from.

    examples: those of a fold; augment: the section, within whose ranges rows are warped again; digest: of the data.
    Of `augmentation: plan` None, and the digest as it is.
    """
    if augmentation != "fresh":
        return None, digest
    if augment is None:
        raise TypeError("augmentation: fresh draws within the ranges of `augment`, got None")
    train, rows, reach = examples("train"), manifest[manifest["fold"] == "train"], augment

    def fresh(epoch: int) -> E:
        drawn = draw_fresh(rows, reach, seed=seed, epoch=epoch)
        return replace(train, rows=replace(train.rows, plan=drawn))

    return fresh, json_digest([digest, reach.model_dump()])
