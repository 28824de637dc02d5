"""What `lamina predict` says of a model's outputs, whatever the task; the `answers.py` of a task has its own."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from lamina.results.uncertainty import Judge


class Answers(ABC):
    """Turns the outputs of a run's model into answers.

    Attributes:
        prediction: class of the answer for a picture or text: `path`, `error`, and what the task answers.
        notes: what a reader must know about these answers.
        judge: measures the distance of pictures from those of training; None where nothing is known of it.
    """

    prediction: ClassVar[type]

    notes: list[str]
    judge: "Judge | None" = None

    @property
    def needs_features(self) -> bool:
        """Whether `given` needs distances."""
        return False

    @abstractmethod
    def given(self, outputs: np.ndarray, distance: np.ndarray | None) -> list[dict[str, Any]]:
        """Return the fields of the answer for each row.

        Args:
            outputs: (n, units) of the model.
            distance: (n,) of the judge, where it is needed; None for texts.
        """

    @abstractmethod
    def cells(self, one: Any) -> dict[str, object]:
        """Return an answer by column of a table; cells that an error leaves open are None."""

    @abstractmethod
    def in_words(self, one: Any) -> str:
        """Return an answer as a line for people."""
