"""Stage `train@RUN`: the model, its history epoch by epoch, and the record of the run."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lamina.config import read_params
from lamina.data.rows import Folders
from lamina.files import staged, write_json
from lamina.learn.listener import Listener
from lamina.learn.record import machine, make_record
from lamina.learn.runs import Run, Tuned, read_run
from lamina.learn.tuned import read_tuned
from lamina.models.saving import save_model
from lamina.stages import entry


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """The last epoch's row of the history, and what all of them took."""

    last: dict[str, float]
    seconds: float

    def __str__(self) -> str:
        accuracy = f"{self.last['train_accuracy']:.3f} train, {self.last['validation_accuracy']:.3f} validation"
        return f"trained {self.last['epoch']} epochs in {self.seconds:.1f} s: accuracy {accuracy}"


def train(
    name: str, kind: str, run: Run, tuned: Tuned, folders: Folders, out: Path, listener: Listener, *, seed: int
) -> TrainSummary:
    """Write `model.keras`, `history.csv`, `record.json` and `timing.json` to `out`; tell `listener` of each epoch."""
    from lamina.learn.fit import Trainer, fit
    from lamina.learn.tasks import open_task

    start = time.perf_counter()
    task = open_task(name, run, folders, seed=seed)
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
    trainer = Trainer(task.build(tuned), tuned)
    loaded = time.perf_counter()
    history = fit(
        trainer,
        task.train,
        task.validation,
        epochs=run.epochs,
        batch_size=run.batch_size,
        seed=seed,
        on_epoch=listener.epoch,
    )
    fitted = time.perf_counter()
    listener.finish()
    whole = task.whole(trainer.network)
    save_model(whole, out / "model.keras")
    with staged(out / "history.csv") as part:
        pd.DataFrame(history).to_csv(part, index=False)
    write_json(out / "record.json", record | {"parameters": whole.count_params()})
    seconds = {"load": loaded - start, "train": fitted - loaded, "save": time.perf_counter() - fitted}
    before = _extraction(folders.features / name / "timing.json")
    write_json(out / "timing.json", {"seconds": before | seconds, "machine": machine()})
    return TrainSummary(last=history[-1], seconds=seconds["train"])


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
    print(train(name, kind, run, tuned, Folders(), out, LiveRun(Path()), seed=run.seed_or(entry.seed(params))))


if __name__ == "__main__":
    entry.run(main)
