"""The rows that runs were tested on, as the page shows them."""

from typing import Protocol

from markupsafe import Markup


class ShownRows(Protocol):
    """Pictures or texts by id.

    Attributes:
        noun: what a row is, as the page says it: picture or text.
    """

    @property
    def noun(self) -> str: ...

    def name(self, row: str) -> str:
        """Return the name of a row."""

    def shown(self, row: str) -> Markup:
        """Return the picture, or the beginning of the text, as markup; raises UserError where there is none."""
