"""What a served model takes and gives that predicts mean colors."""

from lamina.results.record import Record
from lamina.results.serving import Serving, pictures


def serving(record: Record) -> Serving:
    """Return the interface of a run's served model: pictures in, mean L, a and b out."""
    return Serving(inputs=pictures(record.width), outputs=(-1, 3))
