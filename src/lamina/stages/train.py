"""Stage `train@RUN`: the model, its history epoch by epoch, and the record of the run."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lamina.config import read_params, section
from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders
from lamina.files import discard, staged, write_json
from lamina.learn.checkpoint import Checkpoint
from lamina.learn.history import kept_row
from lamina.learn.listener import Listener
from lamina.learn.record import machine, make_record
from lamina.learn.runs import Run, ScratchRun, Tuned, read_run
from lamina.learn.tuned import read_tuned
from lamina.models.saving import save_model
from lamina.stages import entry


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """The row of the history whose weights were kept, how many rows there are, and what all of them took."""

    kept: dict[str, float]
    epochs: int
    seconds: float

    def __str__(self) -> str:
        accuracy = f"{self.kept['train_accuracy']:.3f} train, {self.kept['validation_accuracy']:.3f} validation"
        which = "" if self.kept["epoch"] == self.epochs else f" in epoch {self.kept['epoch']}, which is kept"
        return f"trained {self.epochs} epochs in {self.seconds:.1f} s: accuracy {accuracy}{which}"


def train(
    name: str,
    kind: str,
    run: Run,
    tuned: Tuned,
    folders: Folders,
    out: Path,
    listener: Listener,
    *,
    seed: int,
    augment: AugmentConfig | None = None,
    underway: Path = Path(".lamina/training"),
) -> TrainSummary:
    """Write `model.keras`, `history.csv`, `record.json` and `timing.json` to `out`; tell `listener` of each epoch.

    augment: the section, for runs of `augmentation: fresh`. underway: folder, outside of what DVC removes, where a
    training from pixels that was killed goes on from: `NAME/KEY.npz` (`lamina.learn.checkpoint`). `NAME` is removed in
    the end.
    """
    from lamina.learn.fine_tuning import learn_whole
    from lamina.learn.tasks import open_task

    start = time.perf_counter()
    task = open_task(name, run, folders, seed=seed, augment=augment)
    record = make_record(
        run=name,
        kind=kind,
        params=run.model_dump(),
        tuned=tuned.model_dump(),
        seed=seed,
        classes=task.classes,
        size=task.size,
        data={"digest": task.digest, "rows": {"train": len(task.train), "validation": len(task.validation)}},
        system=Path(),
    )
    listener.start(record)
    loaded = time.perf_counter()
    checkpoint = Checkpoint(underway / name / f"{record['key'][:16]}.npz")
    learned = learn_whole(task, tuned, on_epoch=listener.epoch, checkpoint=checkpoint)
    fitted = time.perf_counter()
    listener.finish()
    save_model(learned.network, out / "model.keras")
    with staged(out / "history.csv") as part:
        pd.DataFrame(learned.history).to_csv(part, index=False)
    write_json(out / "record.json", record | {"parameters": learned.network.count_params()})
    seconds = {"load": loaded - start, "train": fitted - loaded, "save": time.perf_counter() - fitted}
    before = _extraction(folders.features / name / "timing.json")
    write_json(out / "timing.json", {"seconds": before | seconds, "machine": machine()})
    discard(underway / name)
    kept = kept_row(learned.history, run.patience)
    return TrainSummary(kept=kept, epochs=len(learned.history), seconds=seconds["train"])


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
    augment = section(params, "augment", AugmentConfig) if isinstance(run, ScratchRun) else None
    seed, listener = run.seed_or(entry.seed(params)), LiveRun(Path())
    print(train(name, kind, run, tuned, Folders(), out, listener, seed=seed, augment=augment))


if __name__ == "__main__":
    entry.run(main)
