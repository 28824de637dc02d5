"""Settings of runs over words: a dense network, or linear models."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, WrapValidator

from lamina.training.settings import GradientSettings, Hyperparameters, RunSettings, or_tune

Penalty = Annotated[float, Field(gt=0, le=1e6)]
DENSE: Final = "dense"
CLASSIFIERS: Final = ("logistic_regression", "nb_svm")
RIDGE: Final = "ridge"


def among_words(*names: str) -> WrapValidator:
    """Refuse a network with one message for all classes of settings of a task. names: those that the task has."""

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(f"unknown network {value!r}; available over words: {', '.join(names)}") from None

    return WrapValidator(check)


class DenseSettings(GradientSettings):
    """A dense network over words: Dense(16, ReLU) twice, then the outputs.

    Source: F. Chollet, Deep Learning with Python, section 4.1 (film reviews).
    """

    weights: Literal["weights/random"] = "weights/random"
    network: Annotated[Literal["dense"], among_words(DENSE, *CLASSIFIERS)]


class LinearNumbers(Hyperparameters):
    """What a linear model is tuned by. penalty: of large coefficients (1 / C, or alpha, of scikit-learn)."""

    penalty: Penalty


TunablePenalty = Annotated[Penalty | Literal["tune"], or_tune("0 (excluded) to 1,000,000")]


class LinearSettings(RunSettings):
    """A linear model over words, solved to the end: what any other run must beat.

    Attributes:
        network: which one (`lamina.training.linear`).
        penalty: of large coefficients; a number, or tune.
    """

    numbers = LinearNumbers

    weights: Literal["weights/random"] = "weights/random"
    network: str
    penalty: TunablePenalty = 1.0


class ClassifierSettings(LinearSettings):
    """A linear classifier over words, or one for each label."""

    network: Annotated[Literal["logistic_regression", "nb_svm"], among_words(DENSE, *CLASSIFIERS)]


class RidgeSettings(LinearSettings):
    """Ridge regression over words. Good penalties lie between 80 and 300; 1 hardly shrinks any coefficient."""

    network: Annotated[Literal["ridge"], among_words(DENSE, RIDGE)]
    penalty: TunablePenalty = 100.0


def words_class(
    given: Mapping[str, Any], dense: type[RunSettings], linear: type[RunSettings], names: tuple[str, ...]
) -> type[RunSettings]:
    """Return the class of the settings of a run over words, by its network.

    Of an unknown network it is the class that has the other keys, so that the message is about the network.

    Args:
        given: the run's mapping in `params.yaml`.
        dense, linear: classes of the task.
        names: networks of `linear`.
    """
    network = given.get("network")
    return dense if network == DENSE or (network not in names and "epochs" in given) else linear
