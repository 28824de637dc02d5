"""What a served model gives that learned a number."""

from lamina.results.record import Record
from lamina.results.serving import Serving, pictures


def serving(record: Record) -> Serving:
    """Return the interface of a run's served model: the number, in its own unit."""
    inputs = None if record.input.startswith("words/") else pictures(record.width)
    return Serving(inputs=inputs, outputs=(-1, 1))
