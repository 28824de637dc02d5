"""What a served model gives that learned a number."""

from lamina.results.record import Record
from lamina.results.serving import Serving, pictures


def serving(record: Record) -> Serving:
    """Return the interface of a run's served model: the number, in its own unit."""
    return Serving(inputs=pictures(record.width), outputs=(-1, 1))
