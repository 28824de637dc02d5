"""What a served model gives that learned labels: a column of probabilities per label."""

from lamina.results.record import Record
from lamina.results.serving import Serving, pictures


def serving(record: Record) -> Serving:
    """Return the interface of a run's served model."""
    return Serving(inputs=pictures(record.width), columns=tuple(record.classes))
