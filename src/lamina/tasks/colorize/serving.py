"""What a served colorizer takes and gives: pictures in RGB, grey or not, and the same pictures in color."""

from lamina.results.record import Record
from lamina.results.serving import Serving, pictures


def serving(record: Record) -> Serving:
    """Return the interface of a run's served model."""
    return Serving(inputs=pictures(record.width), outputs=pictures(record.width), output_type="uint8")
