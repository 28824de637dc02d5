"""Callbacks of one training: what is called as it goes."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

    from lamina.results.record import Record


class Callbacks(Protocol):
    """Follow one training. No method raises, or delays the training for long."""

    def on_train_begin(self, record: "Record") -> None:
        """Called before the first epoch with the record that the run will leave."""

    def on_epoch_end(self, row: dict[str, float]) -> None:
        """Called with each epoch's row of `history.csv`; `epoch` counts from 1."""

    def on_picture(self, name: str, epoch: int, image: "Image") -> None:
        """Called with what the network makes of some pictures after an epoch; name: the same for one series.

        The image must not be changed afterwards.
        """

    def on_train_end(self) -> None:
        """Called when training has ended; what is held back is passed on."""


class NoCallbacks(Callbacks):
    """Ignores every event; for tests."""
