"""Calls ahead of what uses their results: in order, few in advance, in a thread or in processes that end."""

import os
import threading
import time
from pathlib import Path

import pytest

from lamina.commands.processes import IDLE, WAITING, map_in_order
from working import where


def failing(number: int) -> int:
    if number == 3:
        raise ValueError("of number 3")
    return number


def alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


@pytest.mark.parametrize("processes", [False, True])
def test_results_come_in_order(processes: bool) -> None:
    found = list(map_in_order(where, range(50), processes=processes))
    assert [number for number, _ in found] == list(range(50))
    others = {process for _, process in found} - {os.getpid()}
    assert bool(others) is processes
    deadline = time.monotonic() + IDLE / 2
    while any(map(alive, others)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, others)), "processes end with the last result"


def test_only_a_few_are_made_in_advance() -> None:
    made: list[int] = []
    results = map_in_order(made.append, range(100), processes=False)
    for _ in range(10):
        next(results)
    results.close()
    assert 10 <= len(made) <= 10 + WAITING + 1


def test_an_error_comes_after_the_results_before_it_and_ends_the_work() -> None:
    before = set(threading.enumerate())
    results = map_in_order(failing, range(100), processes=False)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="of number 3"):
        next(results)
    assert set(threading.enumerate()) <= before
