"""What a served model takes and gives that learned lightness: pictures in RGB, and their L."""

from lamina.results.record import Record
from lamina.results.serving import Serving, pictures


def serving(record: Record) -> Serving:
    """Return the interface of a run's served model: L of CIELAB, about 0 to 100."""
    side = record.width
    return Serving(inputs=pictures(side), outputs=(-1, side, side, 1))
