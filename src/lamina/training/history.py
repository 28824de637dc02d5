"""The history of a training run: a row per epoch, and the error for a loss that is not finite."""

from collections.abc import Sequence

from lamina.errors import UserError

EpochRow = dict[str, float]  # a row of `history.csv`
Sums = tuple[float, float]  # sum of losses; sum of the measure: correct predictions or squared errors


class DivergedError(UserError):
    """The loss is not a finite number: the learning rate is too high for this network.

    Attributes:
        kept: the result up to the last good epoch (`lamina.training.learner.Learned`), if there is one.
    """

    kept: object = None


def averages(fold: str, sums: Sums, count: int, measure: str = "accuracy") -> EpochRow:
    """Make the columns of a fold: the mean loss and the mean measure over `count` rows."""
    loss, measured = sums
    return {f"{fold}_loss": float(loss) / count, f"{fold}_{measure}": float(measured) / count}


def kept_row(history: Sequence[EpochRow], patience: int | None) -> EpochRow:
    """Return the row of the epoch whose weights are kept.

    This is the last epoch without `patience`, else the one with the lowest validation loss. After fine-tuning, only the
    epochs of fine-tuning count.
    """
    if patience is None:
        return history[-1]
    phase = history[-1].get("fine_tuning")
    return min((row for row in history if row.get("fine_tuning") == phase), key=lambda row: row["validation_loss"])
