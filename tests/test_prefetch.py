"""Items made ahead: all of them, in order, and no more than asked for; what breaks, breaks in its place."""

import threading
from collections.abc import Iterator

import pytest

from lamina.prefetch import in_background, prefetch


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_all_items_come_in_order(depth: int) -> None:
    assert list(prefetch(iter(range(20)), depth)) == list(range(20))
    assert list(prefetch([], depth)) == []


def test_they_are_made_by_another_thread_while_one_is_used() -> None:
    second_is_made = threading.Event()

    def make() -> Iterator[int]:
        yield threading.get_ident()
        second_is_made.set()
        yield 0

    items = prefetch(make(), depth=1)
    assert next(items) != threading.get_ident()
    assert second_is_made.wait(10), "nobody asked for it yet"
    assert list(items) == [0]


def test_no_more_are_made_than_asked_for() -> None:
    made = []
    items = prefetch((made.append(number) or number for number in range(100)), depth=2)
    assert next(items) == 0
    items.close()
    assert len(made) <= 3


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise ValueError("broken in the middle")

    items = prefetch(make())
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken in the middle"):
        next(items)


def test_a_call_goes_on_beside_the_body() -> None:
    body_runs = threading.Event()
    with in_background(lambda: body_runs.wait(10)) as result:
        body_runs.set()
        assert result(), "the body did not run until the call had ended"


def test_what_the_call_raises_is_raised_where_its_result_is_asked_for() -> None:
    def fail() -> None:
        raise ValueError("no such file")

    with in_background(fail):
        pass
    with in_background(fail) as result, pytest.raises(ValueError, match="no such file"):
        result()


def test_a_body_that_fails_waits_for_the_call() -> None:
    called, may_end = [], threading.Event()

    def call() -> None:
        may_end.wait(10)
        called.append(True)

    threading.Timer(0.1, may_end.set).start()
    with pytest.raises(KeyboardInterrupt), in_background(call):
        raise KeyboardInterrupt
    assert called
