"""What a run is told: its section under `transfer.runs` or `scratch.runs`, and the numbers that are tuned."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field

from lamina.config import Config, section
from lamina.errors import UserError
from lamina.models.backbones import Pooling, Preprocess

TUNE: Final = "tune"

Rate: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Dropout: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Decay: TypeAlias = Annotated[float, Field(ge=0, le=1)]


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
    learning_rate: Rate | Literal["tune"]
    dropout: Dropout | Literal["tune"]
    decay: Decay | Literal["tune"]
    seed: Annotated[int, Field(ge=0)] | None = None

    def seed_or(self, default: int) -> int:
        """The run's own seed, or the system's."""
        return default if self.seed is None else self.seed

    @property
    def open_numbers(self) -> tuple[str, ...]:
        """Names of the numbers that shall be tuned."""
        return tuple(name for name in Tuned.model_fields if getattr(self, name) == TUNE)


class TransferRun(Run):
    """A frozen backbone's features under a head of our own."""

    backbone: str
    weights: str
    pooling: Pooling
    preprocess: Preprocess


class ScratchRun(Run):
    """A whole network from a random start."""

    network: str


KINDS: Final[Mapping[str, type[Run]]] = {"transfer": TransferRun, "scratch": ScratchRun}


def run_names(params: Mapping[str, Any]) -> dict[str, str]:
    """Every run of `params.yaml` in order, with its kind. Raises UserError where a name stands twice."""
    kinds: dict[str, str] = {}
    for kind in KINDS:
        for name in (params.get(kind) or {}).get("runs") or {}:
            if name in kinds:
                raise UserError(f"params.yaml: run {name!r} stands under both {kinds[name]} and {kind}; rename one")
            kinds[str(name)] = kind
    return kinds


def read_run(params: dict[str, Any], name: str) -> tuple[str, Run]:
    """The kind and the settings of one run. Raises UserError listing the runs where there is no such one."""
    kinds = run_names(params)
    if name not in kinds:
        raise UserError(f"params.yaml: no run {name!r}; there are: {', '.join(kinds) or 'none'}")
    kind = kinds[name]
    return kind, section(params, f"{kind}.runs.{name}", KINDS[kind])
