"""The `dvc` that started this process."""

import time
from contextlib import suppress
from typing import Final

import psutil

SECONDS_BETWEEN_LOOKS: Final = 0.25


def find_dvc() -> psutil.Process | None:
    """Return the nearest parent that is `dvc`, or a program that may call it; None if that has ended."""
    with suppress(psutil.NoSuchProcess):  # a parent ended at this moment
        return next((one for one in psutil.Process().parents() if _may_be_dvc(one)), None)
    return None


def is_alive(process: psutil.Process) -> bool:
    """Whether a process has not ended."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def wait_for_end(process: psutil.Process | None) -> None:
    """Return when a process has ended."""
    while process and is_alive(process):
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _may_be_dvc(process: psutil.Process) -> bool:
    """Whether it is `dvc` or a program that may call it, and not a shell that DVC runs a stage in."""
    try:
        text = " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a parent that has ended at this moment: those above it have not started this process
        return True
    except psutil.AccessDenied:  # of somebody else
        return False
    if not text:  # it is ending, and its command line has gone before it
        return True
    return ("dvc" in text or "python" in text) and "lamina.stages" not in text
