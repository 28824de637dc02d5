"""The whole training of a run: what its task learns, then, where it says so, the backbone's last layers as well.

Importing this imports no TensorFlow: a head learns while another thread does (`Task.load`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lamina.prefetch import in_background
from lamina.tasks.classify.learning import ClassTask
from lamina.tasks.runs import TransferRun, Tuned
from lamina.training.history import EpochRow
from lamina.training.learner import Learned, Task
from lamina.training.training_options import DEFAULT_OPTIONS, TrainingOptions


def learn_whole(task: Task, tuned: Tuned, options: TrainingOptions = DEFAULT_OPTIONS) -> Learned:
    """Train as the run says, to the end; the network that is returned is the model that people use.

    course: its `epochs` are those of the head or network, not of what fine-tunes it. A head over features is trained
    again where its fine-tuning goes on from a checkpoint.
    The history of a run with `fine_tune` has a further column, `fine_tuning`: 0 while the head learned alone, then 1;
    epochs count on.
    """
    fine = task.run.fine_tune if isinstance(task.run, TransferRun) else None
    with in_background(
        task.load
    ) as loaded:  # a head learns on one core and without Keras: a frozen backbone is ready by then
        learned = task.learn(tuned, replace(options, on_epoch=_marked(options, 0)) if fine else options)
        rest = loaded()
    network = task.whole(learned.network, rest)
    if fine is None or not isinstance(task, ClassTask):
        return _whole(network, learned.history)
    from lamina.models.layers import unfreeze
    from lamina.training.fit import fit

    history = [row | {"fine_tuning": 0} for row in learned.history]
    unfreeze(network, fine.layers)
    trainer = task.trainer(network, tuned.model_copy(update={"learning_rate": fine.learning_rate}))
    more = fit(
        trainer,
        task.pictures("train"),
        task.pictures("validation"),
        epochs=fine.epochs,
        batch_size=task.run.batch_size,
        seed=task.seed,
        on_epoch=_marked(options, 1),
        what=f"{options.what}, fine-tuning",
        first_epoch=len(history) + 1,
        patience=task.run.patience,
        checkpoint=options.checkpoint,
    )
    return _whole(network, history + [row | {"fine_tuning": 1} for row in more])


def _marked(options: TrainingOptions, fine_tuning: int) -> Callable[[EpochRow], None]:
    return lambda row: options.on_epoch(row | {"fine_tuning": fine_tuning})


def _whole(network: Any, history: list[EpochRow]) -> Learned:
    """What learned as a model from pixels; `answers` takes pictures."""
    return Learned(history=history, make=lambda: network, answers=lambda pictures: pictures.answers(network))
