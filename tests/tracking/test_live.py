"""Training as it happens, in MLflow."""

import time
from pathlib import Path

import pytest
from PIL import Image

from lamina.tracking import live, runs, store
from lamina.tracking.sync import sync
from lamina.training.callbacks import Callbacks, NoCallbacks
from tracked import EPOCHS, assert_history, class_record, follow, history, images, shown, wait_until


def test_pictures_are_there_before_training_ends(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_BATCHES", 0.1)
    callbacks: Callbacks = live.LiveRun(system)
    callbacks.on_train_begin(class_record())
    callbacks.on_epoch_end(history()[0])
    callbacks.on_picture("some colors", 1, Image.new("RGB", (6, 4), "red"))
    wait_until(lambda: shown(system) and len(images(system)) == 1)
    (run,) = shown(system)
    assert run.info.status == "RUNNING"
    callbacks.on_picture("some colors", 3, Image.new("RGB", (6, 4), "blue"))
    callbacks.on_train_end()
    found = images(system)
    assert [name.split("+")[:3] for name in found] == [["some colors", "step", "1"], ["some colors", "step", "3"]]
    pixels = [Image.open(path).convert("RGB").getpixel((0, 0)) for path in found.values()]
    assert pixels == [(255, 0, 0), (0, 0, 255)]
    assert shown(system)[0].data.metrics["train_loss"] == 1


def test_pictures_of_a_followed_run_stay(system: Path) -> None:
    follow(system, between=lambda callbacks: callbacks.on_picture("colors", 2, Image.new("RGB", (6, 4))))
    before = images(system)
    assert sync(system, "tiny") == "tracked"
    assert len(shown(system)) == 1
    assert images(system) == before != {}


def test_a_picture_that_the_store_refuses_costs_one_line(system: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def look(callbacks: Callbacks) -> None:
        wait_until(lambda: shown(system))
        (system.parents[1] / "mlflow" / "artifacts").mkdir()
        (system.parents[1] / "mlflow" / "artifacts" / shown(system)[0].info.run_id).write_text("in the way")
        callbacks.on_picture("colors", 2, Image.new("RGB", (6, 4)))

    follow(system, between=look)
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "training continues, `lamina track` brings MLflow up to date" in err


def test_epochs_are_there_before_training_ends(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_BATCHES", 0.1)

    def look(_: Callbacks) -> None:
        wait_until(lambda: len(shown(system)) == 1 and shown(system)[0].data.metrics.get("train_loss") == 0.5)
        (run,) = shown(system)
        assert run.info.status == "RUNNING"
        assert run.data.params["epochs"] == str(EPOCHS)

    follow(system, between=look)
    assert_history(system)
    assert shown(system)[0].info.status == "FINISHED"


def test_a_followed_run_is_completed_and_not_doubled(system: Path) -> None:
    follow(system)
    (followed,) = shown(system)
    assert followed.data.tags["lamina.complete"] == "false"
    assert sync(system, "tiny") == "tracked"
    (run,) = shown(system)
    assert run.info.run_id == followed.info.run_id
    assert len(run.data.tags["lamina.complete"]) == 64
    assert_history(system)


def test_a_killed_training_is_replaced_by_the_next(system: Path) -> None:
    opened = store.open_store(system)
    left = runs.begin(opened, class_record(), "cells")
    runs.log_epochs(opened, left, [(runs.now(), row) for row in history()[:2]])
    follow(system)
    (run,) = shown(system)
    assert run.info.run_id != left
    assert_history(system)


def test_a_killed_training_is_replaced_by_the_record(system: Path) -> None:
    opened = store.open_store(system)
    left = runs.begin(opened, class_record(), "cells")
    runs.log_epochs(opened, left, [(runs.now(), row) for row in history()[:2]])
    sync(system, "tiny")
    assert shown(system)[0].info.run_id != left
    assert_history(system)


def test_training_again_leaves_a_complete_run_alone(system: Path) -> None:
    sync(system, "tiny")
    before = shown(system)[0].to_dictionary()
    follow(system)
    assert [run.to_dictionary() for run in shown(system)] == [before]


def test_many_epochs_are_few_calls(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    log_epochs = runs.log_epochs
    monkeypatch.setattr(runs, "log_epochs", lambda *given: (calls.append(len(given[2])), log_epochs(*given)))
    callbacks = live.LiveRun(system)
    callbacks.on_train_begin(class_record())
    wait_until(lambda: shown(system))
    for epoch in range(1, 501):
        callbacks.on_epoch_end({"epoch": epoch, "train_loss": 1.0})
        time.sleep(0.001)
    callbacks.on_train_end()
    assert sum(calls) == 500
    assert len(calls) <= 3


def test_no_callbacks_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    callbacks: Callbacks = NoCallbacks()
    callbacks.on_train_begin(class_record())
    callbacks.on_epoch_end(history()[0])
    callbacks.on_picture("colors", 1, Image.new("RGB", (6, 4)))
    callbacks.on_train_end()
    assert capfd.readouterr() == ("", "")
