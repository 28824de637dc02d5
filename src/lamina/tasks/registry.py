"""Every task that there is: a line for each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lamina.tasks.task import Task

TASKS: Final[Mapping[str, Task]] = MappingProxyType(
    {
        "classify": Task(name="classify", package="lamina.tasks.classify", measure="accuracy", averaged=True),
        "colorize": Task(name="colorize", package="lamina.tasks.colorize", measure="mse"),
        "lightness": Task(name="lightness", package="lamina.tasks.lightness", measure="mse", guarded=False),
        "multilabel": Task(name="multilabel", package="lamina.tasks.multilabel", measure="f1", uses_metadata=True),
        "regress": Task(name="regress", package="lamina.tasks.regress", measure="mae", uses_metadata=True),
    }
)
