"""Stage `train@RUN`: the model, its history, and the record of the run."""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lamina.files import discard, staged
from lamina.models.saving import save_model
from lamina.results.record import Timing
from lamina.stages import entry
from lamina.stages.run_stage import RunStage, open_run_stage
from lamina.training.callbacks import Callbacks
from lamina.training.checkpoint import HEADS, Checkpoint, HeadCache
from lamina.training.environment import machine
from lamina.training.history import EpochRow, kept_row
from lamina.training.learner import TrainingOptions

RESUME = Path(".lamina/training")  # in a system's folder, out of reach of DVC, which empties a stage's outputs
PROGRESS = "learning"  # name of the sheet of progress


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """The row of the history whose weights were kept, the number of rows, and the seconds they took."""

    kept: EpochRow
    measure: str
    epochs: int
    seconds: float

    def __str__(self) -> str:
        train, validation = (f"{self.kept[f'{fold}_{self.measure}']:.4g} {fold}" for fold in ("train", "validation"))
        kept = "" if self.kept["epoch"] == self.epochs else f" in epoch {self.kept['epoch']}, which is kept"
        return f"trained {self.epochs} epochs in {self.seconds:.1f} s: {self.measure} {train}, {validation}{kept}"


def train(stage: RunStage, callbacks: Callbacks, *, resume: Path = RESUME, heads: Path = HEADS) -> TrainSummary:
    """Write `model.keras`, `history.csv`, `record.json`, `timing.json` and `progress/` to the run's folder.

    Args:
        stage: the run and its surroundings.
        callbacks: called as training goes.
        resume: folder that keeps the state of a training from pixels, `NAME/KEY.npz`, so that it resumes after a kill.
            `NAME` is removed in the end.
        heads: folder of what heads have learned (`lamina.training.checkpoint`).
    """
    start, stage = time.perf_counter(), stage.tuned()
    run, out, numbers = stage.run, stage.out, stage.numbers()
    learner = stage.open_learner()
    record = stage.record(learner)
    callbacks.on_train_begin(record)
    loaded = time.perf_counter()
    kept_at = resume / run.name / record.key[:16]
    sheet = learner.progress_sheet(kept_at)

    def on_epoch(row: EpochRow) -> None:
        callbacks.on_epoch_end(row)
        # here, not when it is drawn: a training that resumes reports its earlier epochs again
        if sheet and (strip := sheet.strip(int(row["epoch"]))):
            callbacks.on_picture(PROGRESS, int(row["epoch"]), strip)

    options = TrainingOptions(
        on_epoch=on_epoch,
        checkpoint=Checkpoint(kept_at.with_suffix(".npz")),
        on_network=sheet.on_network if sheet else None,
        head_cache=HeadCache(name=run.name, folder=heads),
    )
    learned = learner.learn_final(numbers, options)
    fitted = time.perf_counter()
    callbacks.on_train_end()
    save_model(learned.network, out / "model.keras")
    with staged(out / "progress", folder=True) as part:
        if sheet:
            sheet.sheet(learned.network, len(learned.history)).save(part / f"{PROGRESS}.png", format="PNG")
    with staged(out / "history.csv") as part:
        pd.DataFrame(learned.history).to_csv(part, index=False)
    record.model_copy(update={"parameters": learned.network.count_params()}).write(out / "record.json")
    seconds = {"load": loaded - start, "train": fitted - loaded, "save": time.perf_counter() - fitted}
    Timing(seconds=seconds, machine=machine()).write(out / "timing.json")
    discard(resume / run.name)
    kept = kept_row(learned.history, getattr(run.settings, "patience", None))
    return TrainSummary(kept=kept, measure=run.task.measure, epochs=len(learned.history), seconds=seconds["train"])


def main() -> None:
    from lamina.tracking.live import LiveRun

    print(train(open_run_stage(entry.run_name()), LiveRun(Path())))


if __name__ == "__main__":
    entry.run_stage(main)
