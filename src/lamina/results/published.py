"""`published.yaml`: what a publication reported for the protocol of a system, to be shown next to its results.

Only the report depends on it: nothing is trained, tested or compared by it.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from pydantic import ConfigDict, Field
from ruamel.yaml import YAML

from lamina.config import Config
from lamina.files import staged
from lamina.results.result_file import read_yaml

NAME: Final = "published.yaml"

# a measure, and the class that it is of; None for all classes together
Place: TypeAlias = tuple[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a publication may report of a run.

    Attributes:
        title: as the report shows it; empty: the name of the measure.
        low, high: lowest and highest possible value.
        share: whether it is shown in percent.
        by_class: whether each class has its own value.
    """

    title: str = ""
    low: float = 0.0
    high: float = math.inf
    share: bool = False
    by_class: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value is a finite number in the range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and self.low <= value <= self.high

    @property
    def expected(self) -> str:
        """The range in words."""
        if self.share:
            return "a share from 0 to 1, not percent"
        return f"a number from {self.low:g} to {self.high:g}" if self.high < math.inf else f"at least {self.low:g}"


@dataclass(frozen=True, kw_only=True)
class Ours:
    """Our value of a quantity.

    Attributes:
        value: as in `metrics.json`.
        interval: 95 % interval over origins; None if there is none.
        n: pictures or texts that were tested.
        crossvalidated: whether it comes from the run's cross-validation, not from the test fold.
    """

    value: float
    interval: tuple[float, float] | None
    n: int
    crossvalidated: bool


class PublishedRun(Config):
    """What was reported of one run. Its further keys are measures, with a number, or a mapping of numbers by class.

    Attributes:
        where: table or page of the publication.
        seconds: of one training.
        n: pictures or texts that it was measured on.
        note: what else the reader must know.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    where: str
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    note: str | None = None

    @property
    def figures(self) -> dict[Place, Any]:
        """The reported values by measure and class, in the order of the file; checked by `lamina.tasks.published`."""
        found: dict[Place, Any] = {}
        for measure, value in (self.model_extra or {}).items():
            by_class = value if isinstance(value, dict) and value else {None: value}
            found |= {(measure, None if label is None else str(label)): one for label, one in by_class.items()}
        return found


class Published(Config):
    """The content of `published.yaml`.

    Attributes:
        title: of the study.
        reference: the publication; addresses in it become links.
        machine: of the published times.
        runs: by the name of a run or ensemble of `params.yaml`.
    """

    title: str
    reference: str
    machine: str | None = None
    runs: dict[str, PublishedRun] = Field(min_length=1)


def write_published(path: Path, published: Published | None) -> None:
    """Write a copy without comments and defaults, complete or not at all; an empty mapping if there is nothing."""
    with staged(path) as part:
        YAML().dump(published.model_dump(exclude_none=True) if published else {}, part)


def read_copy(system: Path) -> Published | None:
    """Read what `write_published` wrote in a system's folder; None where nothing was published.

    Raises:
        UserError: the file is broken.
    """
    found = read_yaml(system / "data" / NAME, "watch")
    return Published.model_validate(found) if found else None
