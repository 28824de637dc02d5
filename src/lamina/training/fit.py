"""The training loop: shuffled batches, one row of history per epoch."""

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamina.errors import UserError
from lamina.models.keras_runtime import tf
from lamina.models.layers import bytes_per_picture
from lamina.progress import progress
from lamina.training.checkpoint import Checkpoint, State
from lamina.training.history import DivergedError, EpochRow, averages, kept_row
from lamina.training.learner import TrainingOptions
from lamina.training.settings import GradientSettings
from lamina.training.trainers import Trainer

if TYPE_CHECKING:
    from lamina.inputs.batches import BatchExamples


def fit(
    trainer: Trainer,
    train: "BatchExamples",
    validation: "BatchExamples",
    settings: GradientSettings,
    options: TrainingOptions,
    *,
    seed: int,
    first_epoch: int = 1,
    fresh_examples: "Callable[[int], BatchExamples] | None" = None,
) -> list[EpochRow]:
    """Train for some epochs.

    The order of the batches depends on the seed and the number of the epoch alone.

    Args:
        trainer: the network with its optimizer.
        train: examples for training.
        validation: examples for evaluation after each epoch.
        settings: number of epochs, rows in a step, and patience: with it, training stops after so many epochs without
            a lower validation loss, and keeps the weights of the best epoch, otherwise the last ones.
        options: `on_epoch` is also called with the rows from the checkpoint; `on_network` gets the network with the
            weights that are evaluated.
        seed: of the order of the batches.
        first_epoch: number of the first epoch.
        fresh_examples: makes the training examples of an epoch, if they differ from epoch to epoch.

    Returns:
        A row for each epoch: `epoch`, the loss and the trainer's measure on train (during the epoch, with dropout) and
        on validation (after the epoch), and the learning rate at its end.

    Raises:
        DivergedError: if the loss is not finite.
        UserError: if there is not enough memory for a batch, or if the checkpoint is of another network.
    """
    what, checkpoint, patience, batch_size = options.what, options.checkpoint, settings.patience, settings.batch_size
    history, best = _resumed(trainer, checkpoint)
    for row in history:
        options.on_epoch(row)
    end = first_epoch + (options.epochs or settings.epochs)
    try:
        for epoch in progress(range(first_epoch + len(history), end), what=what, unit="epochs"):
            if _stopped(history, patience):
                break
            examples = fresh_examples(epoch) if fresh_examples else train
            row = _epoch(trainer, examples, validation, epoch, batch_size, seed)
            if not math.isfinite(row["train_loss"] + row["validation_loss"]):
                raise DivergedError(_diverged(what, epoch, history, checkpoint))
            history.append(row)
            if patience is not None and kept_row(history, patience) is row:
                best = trainer.evaluated_weights()
            if options.on_network:
                with trainer.ema_weights():
                    options.on_network(epoch, trainer.network)
            if checkpoint:
                checkpoint.keep(State(history=list(history), variables=trainer.state(), best=best))
            options.on_epoch(row)
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise UserError(_no_memory(trainer, batch_size, what)) from None
    finally:
        if checkpoint:
            checkpoint.flush()
    trainer.keep_weights(best)
    return history


def _epoch(
    trainer: Trainer, train: "BatchExamples", validation: "BatchExamples", epoch: int, batch_size: int, seed: int
) -> EpochRow:
    """Train for one epoch, evaluate, and return the row."""
    order = np.random.default_rng([seed, epoch]).permutation(len(train)).astype(np.int32)
    measure = trainer.measure
    row = {"epoch": epoch} | averages("train", train.train_epoch(trainer, order, batch_size), len(train), measure)
    with trainer.ema_weights():
        row |= averages("validation", validation.evaluate(trainer, batch_size), len(validation), measure)
    return row | {"learning_rate": float(trainer.optimizer.learning_rate)}


def _resumed(trainer: Trainer, checkpoint: Checkpoint | None) -> tuple[list[EpochRow], list[np.ndarray]]:
    """Restore the trainer from the checkpoint; return the history and the best weights so far."""
    saved = checkpoint.load() if checkpoint else None
    if not saved:
        return [], []
    try:
        trainer.restore(saved.variables)
    except ValueError:
        raise UserError(f"{checkpoint.path}: of another network; delete it and run again") from None  # type: ignore[union-attr]
    return saved.history, saved.best


def _stopped(history: Sequence[EpochRow], patience: int | None) -> bool:
    if patience is None or not history:
        return False
    return history[-1]["epoch"] - kept_row(history, patience)["epoch"] >= patience


def _diverged(what: str, epoch: int, history: Sequence[EpochRow], checkpoint: Checkpoint | None) -> str:
    kept = f"; the weights of epoch {history[-1]['epoch']} are in {checkpoint.path}" if checkpoint and history else ""
    return f"{what}: the loss is not finite in epoch {epoch}; lower learning_rate{kept}"


def _no_memory(trainer: Trainer, batch_size: int, what: str) -> str:
    """Make the message for a failed allocation.

    On a GPU it suggests half of the batch size. Elsewhere the free memory gives a better estimate.
    """
    per_picture = bytes_per_picture(trainer.network)
    fits = batch_size // 2
    if not tf.config.list_physical_devices("GPU"):
        fits = max(1, min(fits, free_memory() // per_picture))
    needs = f"a step needs up to {per_picture / 2**20:.2g} MiB for each of its pictures"
    if batch_size == 1:
        return f"{what}: no memory for a single picture ({needs}); take a smaller network, or a smaller convert.size"
    return f"{what}: no memory for batch_size {batch_size} ({needs}); lower it: {fits} should fit, by estimate"


def free_memory() -> int:
    """Return how many bytes this process can still allocate: on the machine, or below its address space limit.

    Without /proc (that is, outside Linux) this is unknown: the result is `sys.maxsize`.
    """
    if not Path("/proc/meminfo").exists():
        return sys.maxsize
    import resource  # Windows has none

    machine = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    available = int(machine["MemAvailable"].split()[0]) * 1024
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return available
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    return max(0, min(available, limit - used))
