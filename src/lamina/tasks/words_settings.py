"""Settings of runs over words: a dense network, or linear models."""

from typing import Annotated, Literal

from pydantic import Field

from lamina.training.settings import GradientSettings, Hyperparameters, RunSettings, or_tune

Penalty = Annotated[float, Field(gt=0, le=1e6)]


class DenseSettings(GradientSettings):
    """A dense network over words: Dense(16, ReLU) twice, then the outputs.

    Source: F. Chollet, Deep Learning with Python, section 4.1 (film reviews).
    """

    weights: Literal["weights/random"] = "weights/random"
    network: Literal["dense"]


class LinearNumbers(Hyperparameters):
    """What a linear model is tuned by. penalty: of large coefficients (1 / C of scikit-learn)."""

    penalty: Penalty


class LinearSettings(RunSettings):
    """A linear classifier over words, or one for each label, solved to the end: what any other one must beat.

    Attributes:
        network: logistic_regression, or nb_svm (`lamina.training.linear`).
        penalty: of large coefficients; a number, or tune.
    """

    numbers = LinearNumbers

    weights: Literal["weights/random"] = "weights/random"
    network: Literal["logistic_regression", "nb_svm"]
    penalty: Annotated[Penalty | Literal["tune"], or_tune("0 (excluded) to 1,000,000")] = 1.0
