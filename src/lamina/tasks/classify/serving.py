"""What a served classifier takes and gives: pictures or texts, and a column of probabilities per class."""

from lamina.results.record import Record
from lamina.results.serving import Serving, pictures


def serving(record: Record) -> Serving:
    """Return the interface of a run's served model."""
    is_text = record.input.startswith("words/")
    return Serving(inputs=None if is_text else pictures(record.width), columns=tuple(record.classes))
