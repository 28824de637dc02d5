"""What is wanted of answers, as the options of `lamina predict` say it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is wanted of answers.

    Attributes:
        coverage: of sets; None: that of the evaluation.
        by_class: whether the sets have this coverage within each class.
        recall: a class of two, and the share of its pictures that are to be found.
        cost: a class of two, and how many times worse it is to miss it than to name it wrongly.
    """

    coverage: float | None = None
    by_class: bool = False
    recall: tuple[str, float] | None = None
    cost: tuple[str, float] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing else than the most probable class and the usual sets is wanted."""
        return self == Wish()


PLAIN: Final = Wish()
