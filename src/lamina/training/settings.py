"""What every run is configured with, whatever its task: the common part of a run's mapping in `params.yaml`.

A task subclasses `RunSettings`, or `GradientSettings` where it trains by gradient descent, and adds its own keys.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias, cast

from pydantic import AfterValidator, Field, ValidationError, WrapValidator, model_validator

from lamina.config import PUBLISHED, SEEDS, Config, nearest, shown
from lamina.files import file_digest
from lamina.models.backbones import RANDOM, WEIGHTS_SUFFIXES
from lamina.models.onnx_options import FROZEN_ONLY, ONNX
from lamina.text import quoted

TUNE: Final = "tune"
MOST_EPOCHS: Final = 100_000
MOST_ROWS: Final = 100_000  # of a batch
MOST_TOGETHER: Final = 10_000  # combinations of tuned values that are checked before the search

Rate: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Dropout: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Decay: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


def or_tune(numbers: str) -> WrapValidator:
    """Accept a number or the word `tune`, with one error message for both. numbers: the range, in words."""

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(f"expected a number from {numbers}, or the word tune") from None

    return WrapValidator(check)


def among(what: str, known: Iterable[str]) -> AfterValidator:
    """Accept one of the known names only; the error names the nearest one."""

    def check(name: str) -> str:
        if name in known:
            return name
        if name == ONNX:
            raise ValueError(FROZEN_ONLY)
        near = nearest(name, known)
        meant = f" did you mean {near!r}?" if near else ""
        raise ValueError(f"unknown {what} {name!r};{meant} available: {', '.join(known)}")

    return AfterValidator(check)


def is_weights(path: str) -> str:
    """Return a path that can stand in `weights`; ValueError otherwise."""
    if path != RANDOM and not path.endswith(WEIGHTS_SUFFIXES):
        raise ValueError(
            f"expected {RANDOM}, weights/imagenet/NAME.weights.h5, or the path of a "
            f"{' or '.join(WEIGHTS_SUFFIXES)} file"
        )
    return path


Weights: TypeAlias = Annotated[str, AfterValidator(is_weights)]


class Hyperparameters(Config):
    """The numbers of a run that Optuna may tune: each is a field, and a key of the run and of the section `tune`."""


class GradientNumbers(Hyperparameters):
    """What gradient descent is tuned by: learning rate, dropout and decay of the rate."""

    learning_rate: Rate
    dropout: Dropout
    decay: Decay


class RunSettings(Config):
    """What every run has.

    Attributes:
        task: name of the task.
        input: what it learns from: `pixels`, `features/NAME` or `words/NAME`.
        weights: path of the file that training starts from: `weights/random`, `weights/imagenet/NAME.weights.h5`, or
            a model that another run wrote.
        seed: of the initial weights, the order of batches and dropout; null: the system's seed.
        tune: further settings that Optuna chooses, by name: a range [low, high] of numbers, or a list of values.
    """

    numbers: ClassVar[type[Hyperparameters]]
    # settings that cannot be tuned; a subclass adds its own: what is learned, and what trials train without
    fixed: ClassVar[tuple[str, ...]] = ("task", "input", "weights", "seed", "tune")

    task: str
    input: str
    weights: Weights = RANDOM
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] | None = None
    tune: dict[str, list[Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _can_be_tuned(self) -> Self:
        fixed = {name for kind in type(self).__mro__ for name in vars(kind).get("fixed", ())}
        known = [name for name in type(self).model_fields if name not in fixed]
        for name, values in self.tune.items():
            if name in self.numbers.model_fields:
                raise ValueError(f"tune.{name}: write {name}: tune, and its range into the section tune")
            if name not in known:
                raise ValueError(f"tune: no setting {name!r} can be tuned; available: {', '.join(known)}")
            if len(values) < 2:
                raise ValueError(f"tune.{name}: expected [low, high] or a list of two or more values")
            for value in values:
                self._checked({name: value}, f"tune.{name}: {shown(value)}")
            if len(values) == 2 and all(type(value) in (int, float) for value in values) and values[0] > values[1]:
                raise ValueError(f"tune.{name}: expected [low, high] with low below high")
        for together in islice(product(*self.tune.values()), MOST_TOGETHER if len(self.tune) > 1 else 0):
            chosen = dict(zip(self.tune, together, strict=True))
            self._checked(chosen, "tune: " + ", ".join(f"{name} {quoted(value)}" for name, value in chosen.items()))
        return self

    def _checked(self, changes: Mapping[str, Any], place: str) -> None:
        try:
            self.with_settings(changes)
        except ValidationError as error:
            raise ValueError(f"{place}: {error.errors()[0]['msg']}") from None

    def with_settings(self, changes: Mapping[str, Any]) -> Self:
        """Return the run's settings with some others, validated, and nothing more to tune but its numbers."""
        return type(self).model_validate(self.model_dump() | dict(changes) | {"tune": {}})

    @property
    def needs_augmentation(self) -> bool:
        """Whether training draws fresh warps within the ranges of the section `augment`."""
        return "fresh" in (getattr(self, "augmentation", None), *self.tune.get("augmentation", []))

    @property
    def tunable(self) -> tuple[str, ...]:
        """Names of the numbers and other settings that shall be tuned."""
        return (*(name for name in self.numbers.model_fields if getattr(self, name) == TUNE), *self.tune)

    @property
    def starts_from_file(self) -> bool:
        """Whether training starts from weights that another run, or another system, wrote."""
        return self.weights != RANDOM and not PUBLISHED.fullmatch(self.weights)

    def seed_or(self, default: int) -> int:
        """Return the run's own seed, or else the default."""
        return default if self.seed is None else self.seed

    def given_numbers(self) -> Hyperparameters:
        """Return the run's numbers. None of them may be left open."""
        return self.numbers.model_validate({name: getattr(self, name) for name in self.numbers.model_fields})

    def decides(self) -> dict[str, Any]:
        """Return all settings, with the digest of the initial weights instead of their path."""
        return self.model_dump() | {"weights": weights_identity(self.weights)}


class GradientSettings(RunSettings):
    """A run that trains by gradient descent. A number is used as it is; the word `tune` has Optuna look for one.

    Attributes:
        patience: stop after so many epochs without a better validation loss, and keep the best epoch's weights; null:
            train to the last epoch and keep its weights.
        ema_decay: decay of an exponential moving average of the weights, which is evaluated and kept instead of the
            weights themselves; 0: none.
    """

    numbers = GradientNumbers

    epochs: int = Field(ge=1, le=MOST_EPOCHS)
    batch_size: int = Field(ge=1, le=MOST_ROWS)
    learning_rate: Annotated[Rate | Literal["tune"], or_tune("0 (excluded) to 1")]
    dropout: Annotated[Dropout | Literal["tune"], or_tune("0 to 1 (excluded)")]
    decay: Annotated[Decay | Literal["tune"], or_tune("0 to 1")]
    patience: Annotated[int, Field(ge=1, le=MOST_EPOCHS)] | None = None
    ema_decay: Share = 0.0


class Recipe(Config):
    """How gradient descent goes, besides its numbers. The defaults are those of the published systems.

    Attributes:
        optimizer: rmsprop (Hinton 2012) | adamw (Loshchilov and Hutter, ICLR 2019) | sgd (with Nesterov's momentum of
            0.9: Sutskever et al., ICML 2013).
        schedule: of the learning rate: decay (rate / (1 + decay x step)) | cosine (to a hundredth at the last step:
            Loshchilov and Hutter, ICLR 2017; `decay` is not used then).
        warmup: share of the steps in which the rate rises from 0, with cosine (Goyal et al. 2017).
        weight_decay: decoupled from the gradient, times the learning rate; not of biases and normalizations.
        first_layer_rate: rate of the first layer, as a share of the last one's; layers between them in geometric steps
            (Howard and Ruder, ACL 2018).
        batch_norm: whether batch normalization learns, or keeps the statistics of the weights that training starts
            from.
    """

    optimizer: Literal["rmsprop", "adamw", "sgd"] = "rmsprop"
    schedule: Literal["decay", "cosine"] = "decay"
    warmup: Share = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    first_layer_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_norm: Literal["train", "frozen"] = "train"

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.schedule == "decay" and self.warmup:
            raise ValueError(f"warmup: only the schedule cosine has one, got {self.warmup}; write schedule: cosine")
        if self.schedule == "cosine" and getattr(self, "decay", None):
            raise ValueError("decay: the schedule cosine does not use it; write decay: 0")
        return self


Augmentation: TypeAlias = Literal["plan", "fresh"]


def weights_identity(weights: str) -> str:
    """Return the digest of a file of weights; the value itself where it stands for a random start or is missing."""
    path = Path(weights)
    return file_digest(path) if weights != RANDOM and path.is_file() else weights


def gradient_numbers(numbers: Hyperparameters) -> GradientNumbers:
    """Return the numbers as those of gradient descent, for type checkers."""
    return cast(GradientNumbers, numbers)
