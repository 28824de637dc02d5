"""Stages `train@RUN` and `train-KIND@RUN` of all other kinds: the model, its history, and the record of the run."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lamina.config import read_params, section
from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders
from lamina.files import discard, staged, write_json
from lamina.models.saving import save_model
from lamina.results.record import machine, make_record, note_convention
from lamina.stages import entry
from lamina.tasks.runs import ColorizeRun, PretextRun, Run, Tuned, read_run, warps_anew
from lamina.training.callbacks import Callbacks
from lamina.training.checkpoint import Checkpoint
from lamina.training.head_cache import HEADS, HeadCache
from lamina.training.history import EpochRow, kept_row
from lamina.training.training_options import TrainingOptions
from lamina.tuning.tuned import read_tuned

if TYPE_CHECKING:
    from lamina.tasks.colorize.learning import ColorTask
    from lamina.tasks.colorize.progress_sheet import ProgressSheet


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """The row of the history whose weights were kept, how many rows there are, and what all of them took."""

    kept: dict[str, float]
    measure: str
    epochs: int
    seconds: float

    def __str__(self) -> str:
        train, validation = (f"{self.kept[f'{fold}_{self.measure}']:.4g} {fold}" for fold in ("train", "validation"))
        which = "" if self.kept["epoch"] == self.epochs else f" in epoch {self.kept['epoch']}, which is kept"
        return f"trained {self.epochs} epochs in {self.seconds:.1f} s: {self.measure} {train}, {validation}{which}"


def train(
    name: str,
    kind: str,
    run: Run,
    tuned: Tuned,
    folders: Folders,
    out: Path,
    callbacks: Callbacks,
    *,
    seed: int,
    augment: AugmentConfig | None = None,
    underway: Path = Path(".lamina/training"),
    heads: Path = HEADS,
) -> TrainSummary:
    """Write `model.keras`, `history.csv`, `record.json` and `timing.json` to `out`; tell `callbacks` of each epoch.

    Of a colorizer, `learning.png` as well. augment: the section, for runs of `augmentation: fresh`. underway: folder,
    outside of what DVC removes, where a training from pixels that was killed goes on from: `NAME/KEY.npz`
    (`lamina.training.checkpoint`) and, of a colorizer, `NAME/KEY/`. `NAME` is removed in the end. heads: folder, there as
    well, of what heads learned before (`lamina.training.head_cache`).
    """
    from lamina.tasks.classify.fine_tuning import learn_whole
    from lamina.tasks.classify.learning import open_task
    from lamina.tasks.colorize.learning import ColorTask

    start = time.perf_counter()
    if isinstance(run, ColorizeRun | PretextRun):  # of others the stage `extract` tells
        note_convention(run.weights, "chroma" if isinstance(run, PretextRun) else run.preprocess)
    task = open_task(name, run, folders, seed=seed, augment=augment)
    rows = {"train": len(task.train), "validation": len(task.validation)}
    record = make_record(
        run=name,
        kind=kind,
        params=run.model_dump(),
        tuned=tuned.model_dump(),
        seed=seed,
        classes=task.classes,
        size=task.size,
        data={"digest": task.digest, "rows": rows} | task.told,
        system=Path(),
    )
    callbacks.start(record)
    loaded = time.perf_counter()
    kept_at = underway / name / record["key"][:16]
    progress_sheet = _progress_sheet(task, kept_at) if isinstance(task, ColorTask) else None

    def on_epoch(row: EpochRow) -> None:
        callbacks.epoch(row)
        # here, not when it is drawn: a training that goes on tells of its earlier epochs again
        if progress_sheet and (strip := progress_sheet.strip(int(row["epoch"]))):
            callbacks.picture("learning", int(row["epoch"]), strip)

    options = TrainingOptions(
        on_epoch=on_epoch,
        checkpoint=Checkpoint(kept_at.with_suffix(".npz")),
        look=progress_sheet.look if progress_sheet else None,
        head_cache=HeadCache(name=name, folder=heads),
    )
    learned = learn_whole(task, tuned, options)
    fitted = time.perf_counter()
    callbacks.finish()
    save_model(learned.network, out / "model.keras")
    if progress_sheet:
        with staged(out / "learning.png") as part:
            progress_sheet.sheet(learned.network, len(learned.history)).save(part, format="PNG")
    with staged(out / "history.csv") as part:
        pd.DataFrame(learned.history).to_csv(part, index=False)
    write_json(out / "record.json", record | {"parameters": learned.network.count_params()})
    seconds = {"load": loaded - start, "train": fitted - loaded, "save": time.perf_counter() - fitted}
    before = _extraction(folders.features / name / "timing.json")
    write_json(out / "timing.json", {"seconds": before | seconds, "machine": machine()})
    discard(underway / name)
    kept = kept_row(learned.history, run.patience)
    return TrainSummary(kept=kept, measure=run.measure, epochs=len(learned.history), seconds=seconds["train"])


def _progress_sheet(task: "ColorTask", folder: Path) -> "ProgressSheet":
    from lamina.tasks.colorize.progress_sheet import ProgressSheet, some

    return ProgressSheet(lab=some(task.validation.rows), tail=task.tail(), folder=folder)


def _extraction(timing: Path) -> dict[str, float]:
    """The seconds that extraction took, where there was one."""
    return dict(json.loads(timing.read_text())["seconds"]) if timing.exists() else {}


def main() -> None:
    from lamina.tracking.live import LiveRun

    params = read_params(Path())
    name = entry.run_name()
    kind, run = read_run(params, name)
    out = Path("models") / name
    tuned = read_tuned(out / "tuned.yaml")
    augment = section(params, "augment", AugmentConfig) if warps_anew(run) else None
    seed, callbacks = run.seed_or(entry.seed(params)), LiveRun(Path())
    print(train(name, kind, run, tuned, Folders(), out, callbacks, seed=seed, augment=augment))


if __name__ == "__main__":
    entry.run(main)
