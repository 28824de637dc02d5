"""What a training tells of its epochs, and how it ends where there is nothing left to learn from."""

from collections.abc import Sequence

from lamina.errors import UserError

EpochRow = dict[str, float]  # a row of `history.csv`
Sums = tuple[float, float]  # of losses, and of what is measured: right answers, or squared errors


class DivergedError(UserError):
    """The loss is no longer a number: the learning rate is too high for this network.

    kept: what was learned up to the last good epoch (`lamina.tasks.classify.learning.Learned`), where that was kept.
    """

    kept: object = None


def averages(fold: str, sums: Sums, count: int, measure: str = "accuracy") -> EpochRow:
    """Mean loss and measure on a fold of `count` rows."""
    loss, measured = sums
    return {f"{fold}_loss": float(loss) / count, f"{fold}_{measure}": float(measured) / count}


def kept_row(history: Sequence[EpochRow], patience: int | None) -> EpochRow:
    """The row of the epoch whose weights are kept: the last, or with patience the one of least validation loss.

    Where fine-tuning followed on other training, that epoch is one of fine-tuning.
    """
    if patience is None:
        return history[-1]
    phase = history[-1].get("fine_tuning")
    return min((row for row in history if row.get("fine_tuning") == phase), key=lambda row: row["validation_loss"])
