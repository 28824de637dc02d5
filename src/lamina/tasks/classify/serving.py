"""What a served classifier takes and gives: pictures, and a column of probabilities per class."""

from lamina.results.record import Record
from lamina.results.serving import Serving, pictures


def serving(record: Record) -> Serving:
    """Return the interface of a run's served model."""
    return Serving(inputs=pictures(record.width), columns=tuple(record.classes))
