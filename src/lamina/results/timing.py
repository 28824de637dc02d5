"""`timing.json`: what the phases of a stage took. No other result file holds a clock."""

from typing import Any

from pydantic import Field

from lamina.results.result_file import ResultFile


class Timing(ResultFile):
    """Seconds by phase, and the machine."""

    seconds: dict[str, float]
    machine: dict[str, Any] = Field(default_factory=dict)
