"""Pictures as an input: read and augmented batch by batch while the network trains."""

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
    """Pictures by row of a manifest. Subclasses define what is read."""

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
    """Make the training examples of each epoch, for `augmentation: fresh`.

    Args:
        augmentation: `plan` or `fresh`.
        examples: Returns those of a fold.
        manifest: Of the split.
        augment: Section `augment`, with the ranges.
        digest: Of the data.
        seed: Of the random draws.

    Returns:
        A function from an epoch to its examples, and the digest of data and ranges. For `plan`: None, and the digest
        unchanged.
    """
    if augmentation != "fresh":
        return None, digest
    if augment is None:
        raise TypeError("augmentation: fresh draws within the ranges of `augment`, got None")
    train, rows, ranges = examples("train"), manifest[manifest["fold"] == "train"], augment

    def fresh(epoch: int) -> E:
        drawn = draw_fresh(rows, ranges, seed=seed, epoch=epoch)
        return replace(train, rows=replace(train.rows, plan=drawn))

    return fresh, json_digest([digest, ranges.model_dump()])
