"""What training tells to whoever follows it live."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image


class Callbacks(Protocol):
    """Follows one run while it trains. No method raises or delays training for long."""

    def start(self, record: dict[str, Any]) -> None:
        """Hear of the run before its first epoch; record: what `record.json` will hold."""

    def epoch(self, row: dict[str, float]) -> None:
        """Hear of an epoch that ended; row: that epoch's row of `history.csv`, `epoch` counting from 1."""

    def picture(self, name: str, epoch: int, image: "Image") -> None:
        """See what the network makes of some pictures after an epoch; name: the same for all epochs of one series.

        The image is not to be changed afterwards.
        """

    def finish(self) -> None:
        """Hear that training ended; what is still held back is passed on."""


class Silent:
    """A callbacks to whom nothing matters."""

    def start(self, record: dict[str, Any]) -> None:
        pass

    def epoch(self, row: dict[str, float]) -> None:
        pass

    def picture(self, name: str, epoch: int, image: "Image") -> None:
        pass

    def finish(self) -> None:
        pass
