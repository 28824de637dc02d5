"""Settings of runs over words whose true answers are columns of `source.metadata`."""

from typing import Annotated, Literal

from pydantic import Field

from lamina.training.settings import GradientSettings, Hyperparameters, RunSettings, or_tune

Penalty = Annotated[float, Field(gt=0, le=1e6)]


class DenseSettings(GradientSettings):
    """A dense network over words: Dense(16, ReLU) twice, then the outputs."""

    weights: Literal["weights/random"] = "weights/random"
    network: Literal["dense"]


class LinearNumbers(Hyperparameters):
    """What a linear model is tuned by. penalty: of large coefficients (1 / C of scikit-learn)."""

    penalty: Penalty


class LinearSettings(RunSettings):
    """A linear model over words for each label, solved to the end.

    Attributes:
        network: logistic_regression, or nb_svm (`lamina.training.linear`).
        penalty: of large coefficients; a number, or tune.
    """

    numbers = LinearNumbers

    weights: Literal["weights/random"] = "weights/random"
    network: Literal["logistic_regression", "nb_svm"]
    penalty: Annotated[Penalty | Literal["tune"], or_tune("0 (excluded) to 1,000,000")] = 1.0
