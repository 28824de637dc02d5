"""Which of many parameters `make test` leaves to the night."""

from collections.abc import Collection, Iterable
from typing import Final

import pytest

DEEPER: Final = ("efficientnet_lite1", "efficientnet_lite2")  # than efficientnet_lite0, of the same layers


def by_time(names: Iterable[str], quick: Collection[str]) -> list[object]:
    """The names as parameters; those that are not quick are tested at night."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.nightly) for name in names]
