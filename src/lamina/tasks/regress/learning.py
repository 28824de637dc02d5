"""What a run that predicts a number learns: which network, from which examples.

Importing this imports no TensorFlow: a head trains without it (`lamina.training.heads`).
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lamina.errors import UserError
from lamina.inputs.features import FeatureExamples
from lamina.inputs.targets import read_numbers, read_targets
from lamina.maths.means import mean_interval
from lamina.models.networks import Outputs
from lamina.tasks.metadata_learner import MetadataLearner, with_truth
from lamina.tasks.output_learner import HeadLearner, WholeNetworkLearner
from lamina.tasks.regress.settings import DenseSettings, HeadSettings, LinearSettings
from lamina.training.learner import Learned, Setup
from lamina.training.settings import GradientNumbers, Recipe

if TYPE_CHECKING:
    from lamina.tasks.regress.trainer import NumberTrainer
    from lamina.training.head_steps import Fold
    from lamina.training.objectives import NumberObjective


_FINEST: Final = 0.01  # of the numbers' standard deviation: the largest step between neighbors in float32


class NumberLearner(MetadataLearner):
    """A network that predicts a number, which is standardized while it learns."""

    @cached_property
    def moments_of_target(self) -> tuple[float, float]:
        """Mean and standard deviation of the target in the training pictures, each counted once."""
        train = self.rows("train")
        values = self.labels(train[train["copy"] == 0]).astype(np.float64)
        return float(values.mean()), float(values.std())

    @property
    def facts(self) -> dict[str, Any]:
        mean, deviation = self.moments_of_target
        return super().facts | {"target_mean": mean, "target_deviation": deviation}

    @property
    def outputs(self) -> Outputs:
        return Outputs(units=1, activation="linear", name="number")

    def finish(self, model: Any) -> Any:
        """Return the model from pixels to the number in its own unit, (n, 1)."""
        from lamina.models.keras_runtime import keras

        mean, deviation = self.moments_of_target
        number = keras.layers.Rescaling(deviation, offset=mean, name="units", dtype="float32")(model.output)
        return keras.Model(model.input, number, name="number")

    def trainer(self, network: Any, numbers: GradientNumbers, recipe: Recipe, steps: int) -> "NumberTrainer":
        from lamina.tasks.regress.trainer import NumberTrainer

        (mean, deviation), ema_decay = self.moments_of_target, self.settings.ema_decay
        return NumberTrainer(
            network, numbers, recipe=recipe, steps=steps, ema_decay=ema_decay, mean=mean, deviation=deviation
        )

    def judge(self, learned: Learned, fold: str) -> pd.DataFrame:
        """Return `target` and `predicted`, in units of the target."""
        predicted = learned.predict(self.judged_examples(fold))[:, 0]
        true = self.truth.loc[self.rows(fold)["id"]].to_numpy()[:, 0]
        return pd.DataFrame({"target": true, "predicted": predicted.astype(np.float64)})

    def summarise(self, judged: pd.DataFrame) -> dict[str, Any]:
        errors = (judged["target"] - judged["predicted"]).abs()
        low, high = mean_interval(errors, judged["origin"])
        return {
            "n": len(judged),
            "origins": int(judged["origin"].nunique()),
            "mae": float(errors.mean()),
            "interval": [max(0.0, low), high] if np.isfinite(low) else None,
        }


class NumberHeadLearner(NumberLearner, HeadLearner):
    """A head that predicts a number."""

    @property
    def objective(self) -> "NumberObjective":
        from lamina.training.objectives import NumberObjective

        mean, deviation = self.moments_of_target
        return NumberObjective(mean=mean, deviation=deviation)

    def fold(self, examples: FeatureExamples, *, training: bool) -> "Fold":
        from lamina.training.heads import make_fold

        mean, deviation = self.moments_of_target
        return make_fold(examples.features, examples.labels[:, 0], (examples.labels - mean) / deviation)


class NetworkNumberLearner(NumberLearner, WholeNetworkLearner):
    """A whole network that predicts a number."""


def open_learner(setup: Setup) -> NumberLearner:
    """Open what a run learns; see `lamina.tasks.task.Task.open_learner`.

    Raises:
        UserError: if the metadata do not hold the number, or it is the same in all training pictures, or float32, in
            which networks compute, cannot tell its values apart.
    """
    settings: Any = setup.settings
    numbers = read_numbers(read_targets(setup.folders, settings.task), settings.target)
    _demand_steps(settings.target, numbers)
    known = with_truth(setup, numbers.to_frame())
    if isinstance(settings, HeadSettings):
        import lamina.training.heads  # noqa: F401  # JAX, before another thread loads TensorFlow

        learner: NumberLearner = NumberHeadLearner(**known)
    elif isinstance(settings, DenseSettings | LinearSettings):
        from lamina.tasks.regress.words_learning import open_words_learner

        learner = open_words_learner(known)
    else:
        learner = NetworkNumberLearner(**known)
    mean, deviation = learner.moments_of_target
    if not deviation:
        raise UserError(f"target: {settings.target!r} is {mean:g} in every training example; there is nothing to learn")
    return learner


def _demand_steps(target: str, numbers: "pd.Series[float]") -> None:
    limits, largest, deviation = np.finfo(np.float32), float(numbers.abs().max()), float(numbers.std(ddof=0))
    if largest > float(limits.max) or largest * float(limits.eps) > _FINEST * deviation > 0:
        raise UserError(
            f"target: {target!r} lies between {numbers.min():.9g} and {numbers.max():.9g}: networks compute with seven "
            "digits, too few to tell such numbers apart; subtract a constant in source.metadata, or use another unit"
        )
