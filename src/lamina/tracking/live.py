"""Log a training to MLflow while it runs, in a separate thread, so that training never waits for the store."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from lamina.results.record import Record, system_name
from lamina.tracking import runs, store

if TYPE_CHECKING:
    from PIL.Image import Image

SECONDS_BETWEEN_BATCHES = 2.0
SECONDS_TO_FINISH = 8.0

Row = tuple[int, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of an epoch.

    Attributes:
        name: Of the pictures of one kind.
        epoch: From 1.
        image: The picture.
        at: Milliseconds since 1970.
    """

    name: str
    epoch: int
    image: "Image"
    at: int


class LiveRun:
    """Callbacks that log a run to MLflow while it trains.

    If the store is away, locked or broken, one warning is printed; `lamina.tracking.sync.sync` later adds what is
    missing, from the run's files.
    """

    def __init__(self, system: Path) -> None:
        self._system = system
        self._events: SimpleQueue[Row | Picture | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._warned = False

    def on_train_begin(self, record: Record) -> None:
        # a daemon, so that a store which hangs cannot keep the process alive
        self._thread = Thread(target=self._follow, args=(record,), daemon=True)
        self._thread.start()

    def on_epoch_end(self, row: dict[str, float]) -> None:
        self._events.put((runs.now(), row))

    def on_picture(self, name: str, epoch: int, image: "Image") -> None:
        self._events.put(Picture(name=name, epoch=epoch, image=image, at=runs.now()))

    def on_train_end(self) -> None:
        self._events.put(None)
        if self._thread:
            self._thread.join(SECONDS_TO_FINISH)
            if self._thread.is_alive():
                self._warn(
                    f"the MLflow store did not take everything within {SECONDS_TO_FINISH:.0f} s of training's end"
                )

    def _follow(self, record: Record) -> None:
        try:
            opened = store.open_store(self._system)
            with store.refused_in_one_line(opened.uri):
                run_id = runs.begin(opened, record, system_name(self._system))
                if run_id is not None:
                    self._log(opened, run_id)
        except Exception as error:  # no error of tracking may stop the training
            self._warn(" ".join(str(error).split()))

    def _log(self, opened: store.Store, run_id: str) -> None:
        more, epochs = True, 0
        while more:
            rows, pictures, more = self._batch()
            runs.log_epochs(opened, run_id, rows)
            for picture in pictures:
                runs.log_picture(opened, run_id, picture.name, picture.epoch, picture.image, picture.at)
            epochs += len(rows)
        runs.end_training(opened, run_id, epochs)

    def _batch(self) -> tuple[list[Row], list[Picture], bool]:
        """Collect the rows and pictures of the next seconds; the last value is false once training ended."""
        rows: list[Row] = []
        pictures: list[Picture] = []
        end = time.monotonic() + SECONDS_BETWEEN_BATCHES
        while (left := end - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left)
            except Empty:
                break
            if event is None:
                return rows, pictures, False
            if isinstance(event, Picture):
                pictures.append(event)
            else:
                rows.append(event)
        return rows, pictures, True

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            print(f"warning: {reason}; training continues, `lamina track` brings MLflow up to date", file=sys.stderr)
