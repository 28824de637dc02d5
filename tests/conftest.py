"""What takes longest begins first, so that two processes that share the files end at about the same time."""

from pathlib import Path
from typing import Final

import pytest

LONGEST: Final = ("test_end_to_end", "test_tracking", "test_report", "test_extract", "test_regimes", "test_models")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = Path(item.fspath).stem
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)
