"""What a served model gives that learned labels: a column of probabilities per label."""

from lamina.results.record import Record
from lamina.results.serving import Serving, pictures


def serving(record: Record) -> Serving:
    """Return the interface of a run's served model."""
    inputs = None if record.input.startswith("words/") else pictures(record.width)
    return Serving(inputs=inputs, columns=tuple(record.classes))
