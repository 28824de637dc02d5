"""What every learner of classes has, whatever its input."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lamina.errors import UserError
from lamina.maths.class_weights import class_weights
from lamina.maths.scores import score
from lamina.models.networks import Outputs, class_outputs
from lamina.tasks.classify.settings import ClassifySettings
from lamina.tasks.columns import probability
from lamina.tasks.output_learner import OutputLearner
from lamina.training.learner import Learned, Learner
from lamina.training.settings import GradientNumbers, Recipe

if TYPE_CHECKING:
    from lamina.training.trainers import ClassTrainer


@dataclass(frozen=True, kw_only=True)
class ClassLearner(Learner):
    """What a learner of classes has, whatever its input.

    Attributes:
        names: of the classes, sorted; a network's output i is class i.
    """

    tests_labels = True
    uses_parts = True

    names: list[str]

    @property
    def classes(self) -> list[str]:
        return self.names

    def judge(self, learned: Learned, fold: str) -> pd.DataFrame:
        """Return `label`, `predicted`, and a column of probabilities per class."""
        probabilities = learned.predict(self.judged_examples(fold))
        labels = self.manifest.loc[self.manifest["fold"] == fold, "label"].to_numpy()
        predicted = np.array(self.names, dtype=object)[probabilities.argmax(axis=1)]
        table = pd.DataFrame({"label": labels, "predicted": predicted})
        return table.join(pd.DataFrame(probabilities, columns=[*map(probability, self.names)]))

    def summarise(self, judged: pd.DataFrame) -> dict[str, Any]:
        return score(judged["label"], judged["predicted"], judged["origin"], self.names)


class ClassNetworkLearner(ClassLearner, OutputLearner):
    """A network that classifies."""

    settings: ClassifySettings

    @property
    def outputs(self) -> Outputs:
        return class_outputs(len(self.names))

    def labels(self, rows: pd.DataFrame) -> np.ndarray:
        """Return class numbers, (rows,) int32."""
        return class_numbers(rows, self.names)

    def trainer(self, network: Any, numbers: GradientNumbers, recipe: Recipe, steps: int) -> "ClassTrainer":
        from lamina.training.trainers import ClassTrainer

        kind = self.settings.class_weights
        labels = np.asarray(self.train.labels)
        return ClassTrainer(
            network,
            numbers,
            recipe=recipe,
            steps=steps,
            class_weights=None if kind == "none" else class_weights(labels, len(self.names), kind),
            label_smoothing=self.settings.label_smoothing,
            ema_decay=self.settings.ema_decay,
        )


def class_names(manifest: pd.DataFrame) -> list[str]:
    """Return the classes of a manifest, sorted.

    Raises:
        UserError: if there are fewer than two.
    """
    classes: list[str] = sorted(manifest["label"].dropna().unique())
    if len(classes) < 2:
        raise UserError(f"expected at least two classes, found {classes or 'no label'}; look at source.labels")
    return classes


def class_numbers(manifest: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """Return (rows,) int32: each row's place in `classes`."""
    return pd.Categorical(manifest["label"], categories=classes).codes.astype(np.int32)
