"""For all tests: no deadlines; and what takes longest begins first, so that processes end at about the same time."""

import gc
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

from lamina.stages import entry

# a busy machine takes its time: that says nothing of the code
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

LONGEST: Final = (
    "test_end_to_end", "test_wheel", "test_train", "test_studies", "test_storages", "test_repeats",
    "test_server", "test_sync", "test_backbones", "test_report", "test_extract", "test_warm", "test_jobs",
    "test_store", "test_registry", "test_heads",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _outlives_interruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a process for good after Ctrl-C would end this one."""
    monkeypatch.setattr(entry, "_end_soon", lambda: None)


def pytest_collection_finish() -> None:
    """Spare what is loaded by now, which stays, from every later search for garbage: a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = Path(item.fspath).stem
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)
