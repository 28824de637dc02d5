"""The training loop: shuffled batches, one row per epoch."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from lamina.errors import UserError
from lamina.models.keras_runtime import keras, tf
from lamina.models.layers import bytes_per_picture
from lamina.progress import progress
from lamina.training.checkpoint import Checkpoint, State
from lamina.training.history import DivergedError, EpochRow, Sums, averages, kept_row
from lamina.training.memory import free_memory
from lamina.training.trainers import Trainer


class Examples(Protocol):
    """Something to learn from, in batches."""

    def __len__(self) -> int: ...

    def learn(self, trainer: Trainer, order: np.ndarray, batch_size: int) -> Sums:
        """Learn from all rows in this order."""

    def judge(self, trainer: Trainer, batch_size: int) -> Sums:
        """Judge all rows without learning."""

    def answers(self, network: keras.Model) -> np.ndarray:
        """What a network says of all rows, in their order."""


def fit(
    trainer: Trainer,
    train: Examples,
    validation: Examples,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    on_epoch: Callable[[EpochRow], None],
    what: str = "train",
    first: int = 1,
    patience: int | None = None,
    anew: Callable[[int], Examples] | None = None,
    checkpoint: Checkpoint | None = None,
    look: Callable[[int, keras.Model], None] | None = None,
) -> list[EpochRow]:
    """Train for some epochs; call `on_epoch` with each epoch's row as it ends.

    first: the number of the first epoch. patience: stop after so many epochs without a better validation loss, and
    in any case end with the weights of the best one. anew: the training examples of an epoch, where each has its own.
    checkpoint: where to go on from, and to save to; `on_epoch` hears of the saved epochs again. look: is shown the
    network, with the weights that are judged, after each epoch.
    Returns the rows: `epoch`, loss and the trainer's measure on train (while learning, with dropout) and on
    validation (after the epoch), and the learning rate at its end. The order of batches depends on the
    seed and the epoch alone. Raises DivergedError where the loss is no longer a number, UserError where there is no
    memory for a batch; what `on_epoch` raises ends the training.
    """
    history, best = _resumed(trainer, checkpoint)
    for row in history:
        on_epoch(row)
    try:
        for epoch in progress(range(first + len(history), first + epochs), what=what, unit="epochs"):
            if _stopped(history, patience):
                break
            row = _epoch(trainer, anew(epoch) if anew else train, validation, epoch, batch_size, seed)
            if not math.isfinite(row["train_loss"] + row["validation_loss"]):
                raise DivergedError(_diverged(what, epoch, history, checkpoint))
            history.append(row)
            if patience is not None and kept_row(history, patience) is row:
                best = trainer.judged_weights()
            if look:
                with trainer.averaged():
                    look(epoch, trainer.network)
            if checkpoint:
                checkpoint.keep(State(history=list(history), variables=trainer.state(), best=best))
            on_epoch(row)
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise UserError(_no_memory(trainer, batch_size, what)) from None
    finally:
        if checkpoint:
            checkpoint.flush()
    trainer.settle(best)
    return history


def _epoch(trainer: Trainer, train: Examples, validation: Examples, epoch: int, batch_size: int, seed: int) -> EpochRow:
    """Learn and judge once; return the row."""
    order = np.random.default_rng([seed, epoch]).permutation(len(train)).astype(np.int32)
    measure = trainer.measure
    row = {"epoch": epoch} | averages("train", train.learn(trainer, order, batch_size), len(train), measure)
    with trainer.averaged():
        row |= averages("validation", validation.judge(trainer, batch_size), len(validation), measure)
    return row | {"learning_rate": float(trainer.optimizer.learning_rate)}


def _resumed(trainer: Trainer, checkpoint: Checkpoint | None) -> tuple[list[EpochRow], list[np.ndarray]]:
    """Bring the trainer to where it was saved; return the history and the best weights so far."""
    saved = checkpoint.load() if checkpoint else None
    if not saved:
        return [], []
    try:
        trainer.restore(saved.variables)
    except ValueError:
        raise UserError(f"{checkpoint.path}: of another network; delete it and run again") from None  # type: ignore[union-attr]
    return saved.history, saved.best


def _stopped(history: Sequence[EpochRow], patience: int | None) -> bool:
    return (
        bool(history)
        and patience is not None
        and history[-1]["epoch"] - kept_row(history, patience)["epoch"] >= patience
    )


def _diverged(what: str, epoch: int, history: Sequence[EpochRow], checkpoint: Checkpoint | None) -> str:
    kept = f"; the weights of epoch {history[-1]['epoch']} are in {checkpoint.path}" if checkpoint and history else ""
    return f"{what}: the loss is not a number any more in epoch {epoch}; lower learning_rate{kept}"


def _no_memory(trainer: Trainer, batch_size: int, what: str) -> str:
    """What to say of a batch for which there was no memory: after such a failure not even a smaller one is sure to run.

    On a GPU half of it is named; the memory of a machine tells more.
    """
    each = bytes_per_picture(trainer.network)
    fits = batch_size // 2
    if not tf.config.list_physical_devices("GPU"):
        fits = max(1, min(fits, free_memory() // each))
    needs = f"a step needs up to {each / 2**20:.2g} MiB for each of its pictures"
    if batch_size == 1:
        return f"{what}: no memory for a single picture ({needs}); take a smaller network, or a smaller convert.size"
    return f"{what}: no memory for batch_size {batch_size} ({needs}); lower it: {fits} should fit, by estimate"
