"""What a learner has whose network learns from pixels, whatever the task."""

from dataclasses import replace
from functools import cached_property
from typing import Any

from lamina.data.augmentation import AugmentConfig, draw_fresh
from lamina.files import json_digest
from lamina.inputs.index import input_digest, input_width
from lamina.models.layers import compute_in
from lamina.training.learner import NetworkLearner


class PixelsLearner(NetworkLearner):
    """A network that learns from pictures with their planned copies, or with fresh ones in every epoch."""

    @cached_property
    def width(self) -> int:
        return input_width(self.folders.pixels)

    @cached_property
    def data_digest(self) -> str:
        """SHA-256 of what every epoch learns from."""
        return input_digest(self.folders.pixels, self.folders)

    @property
    def ranges(self) -> AugmentConfig | None:
        """Ranges of fresh warps; None where the planned copies are used."""
        return self.augment if self.settings.needs_augmentation else None

    @cached_property
    def digest(self) -> str:
        ranges = self.ranges
        return self.data_digest if ranges is None else json_digest([self.data_digest, ranges.model_dump()])

    def fresh_examples(self, epoch: int, epochs: int) -> Any:
        """Return the training examples of an epoch: with fresh warps where there is a section `augment`."""
        if self.ranges is None:
            return self.train
        rows = self.manifest[self.manifest["fold"] == "train"]
        drawn = draw_fresh(rows, self.ranges, seed=self.seed, epoch=epoch)
        return replace(self.train, rows=replace(self.train.rows, plan=drawn))

    def build_final_model(self, network: Any, base: Any) -> Any:
        """Return the network, changed in place: it computes in float32, so that it runs everywhere."""
        compute_in(network, "float32")
        return network
