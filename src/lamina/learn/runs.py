"""What a run is told: its section under `transfer.runs` or `scratch.runs`, and the numbers that are tuned."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, WrapValidator

from lamina.config import SEEDS, Config, nearest, runs_of, validated
from lamina.errors import UserError
from lamina.models.backbones import BACKBONES, Pooling, Preprocess
from lamina.models.networks import NETWORKS

TUNE: Final = "tune"

Rate: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Dropout: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Decay: TypeAlias = Annotated[float, Field(ge=0, le=1)]


def _or_tune(numbers: str) -> WrapValidator:
    """Say in one line what may stand there: pydantic says it in one for each of the two kinds."""

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(f"expected a number from {numbers}, or the word tune") from None

    return WrapValidator(check)


def _among(what: str, there: Iterable[str]) -> AfterValidator:
    """Refuse a name that is none of those that are there."""

    def check(name: str) -> str:
        if name in there:
            return name
        near = nearest(name, there)
        meant = f" did you mean {near!r}?" if near else ""
        raise ValueError(f"unknown {what} {name!r};{meant} available: {', '.join(there)}")

    return AfterValidator(check)


class Tuned(Config):
    """The three numbers that a run trains with, given or found."""

    learning_rate: Rate
    dropout: Dropout
    decay: Decay


class Run(Config):
    """What every run has. A number is used as it is; the word `tune` has Optuna look for one.

    seed: of the initial weights, the order of batches and dropout; null: the system's. Another one repeats the
    training on the same split.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: Annotated[Rate | Literal["tune"], _or_tune("0 (excluded) to 1")]
    dropout: Annotated[Dropout | Literal["tune"], _or_tune("0 to 1 (excluded)")]
    decay: Annotated[Decay | Literal["tune"], _or_tune("0 to 1")]
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] | None = None

    def seed_or(self, default: int) -> int:
        """The run's own seed, or the system's."""
        return default if self.seed is None else self.seed

    @property
    def open_numbers(self) -> tuple[str, ...]:
        """Names of the numbers that shall be tuned."""
        return tuple(name for name in Tuned.model_fields if getattr(self, name) == TUNE)


class TransferRun(Run):
    """A frozen backbone's features under a head of our own."""

    backbone: Annotated[str, _among("backbone", BACKBONES)]
    weights: str
    pooling: Pooling
    preprocess: Preprocess


class ScratchRun(Run):
    """A whole network from a random start."""

    network: Annotated[str, _among("network", NETWORKS)]


KINDS: Final[Mapping[str, type[Run]]] = {"transfer": TransferRun, "scratch": ScratchRun}


def run_names(params: Mapping[str, Any]) -> dict[str, str]:
    """Every run of `params.yaml` in order, with its kind.

    Raises UserError where a group is no mapping of runs, a name breaks the rule, or stands twice.
    """
    kinds: dict[str, str] = {}
    for kind in KINDS:
        for name in runs_of(params, kind):
            if name in kinds:
                raise UserError(f"params.yaml: run {name!r} stands under both {kinds[name]} and {kind}; rename one")
            kinds[name] = kind
    return kinds


def read_run(params: Mapping[str, Any], name: str) -> tuple[str, Run]:
    """The kind and the settings of one run. Raises UserError listing the runs where there is no such one."""
    kinds = run_names(params)
    if name not in kinds:
        raise UserError(f"params.yaml: no run {name!r}; there are: {', '.join(kinds) or 'none'}")
    kind = kinds[name]
    return kind, validated(runs_of(params, kind)[name], f"{kind}.runs.{name}", KINDS[kind])
