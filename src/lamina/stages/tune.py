"""Stages `tune@RUN` and `tune-KIND@RUN`: the learning rate, dropout and decay that the run shall train with."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lamina.config import read_params, section
from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import staged
from lamina.results.record import code_digest, environment, system_name
from lamina.stages import entry
from lamina.tasks.classify.learning import open_task
from lamina.tasks.runs import Run, Tuned, read_run, warps_anew
from lamina.training.learner import Task
from lamina.tuning.search import TuneConfig, no_trials, search
from lamina.tuning.studies import Place, place_of, resume
from lamina.tuning.tuned import given, write_tuned


@dataclass(frozen=True, kw_only=True)
class TuneSummary:
    """The numbers to train with, and how many trials found them."""

    tuned: Tuned
    trials: int

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in self.tuned.model_dump().items())
        return f"{numbers} ({f'best of {self.trials} trials' if self.trials else 'as params.yaml says'})"


def tune(
    name: str,
    run: Run,
    config: TuneConfig,
    folders: Folders,
    studies: Path,
    out: Path,
    *,
    seed: int,
    augment: AugmentConfig | None = None,
) -> TuneSummary:
    """Write `tuned.yaml` and `trials.csv` to `out`, searching only for what the run leaves open.

    studies: folder, outside of what DVC removes, where a study that was killed is found again; where the environment
    variable LAMINA_STUDIES names a database, it is kept there, and whoever calls this with the same settings on
    another machine shares its trials. augment: the section, for runs of `augmentation: fresh`.
    Raises UserError where a number is left open and no trial is allowed, and where the study cannot be reached.
    """
    tuned, trials = (
        _find(name, run, config, partial(open_task, name, run, folders, seed=seed, augment=augment), studies, seed)
        if run.tunable
        else (given(run), no_trials())
    )
    write_tuned(out / "tuned.yaml", tuned)
    with staged(out / "trials.csv") as part:
        trials.to_csv(part, index=False)
    return TuneSummary(tuned=tuned, trials=len(trials))


def _find(
    name: str, run: Run, config: TuneConfig, opened: Callable[[], Task], studies: Path, seed: int
) -> tuple[Tuned, pd.DataFrame]:
    if not config.trials:
        raise UserError(f"run {name}: {', '.join(run.tunable)}: tune, but tune.trials is 0; raise it or give a number")
    if config.workers > 1:
        _share_machine(config.workers)
    task = opened()
    identity = {
        "run": run.model_dump(),
        "tune": config.model_dump(exclude={"trials", "workers"}),  # with more of them the same study goes on
        "seed": seed,
        "data": task.digest,
        "code": code_digest(),
        "environment": environment(),
    }
    place = place_of(name, system_name(Path()), identity, studies, run.direction)
    resume(place)
    with _workers(config.workers - 1, opened, run, config, place, name, seed):
        return search(task, run, config, place, name=name, seed=seed)


def _share_machine(workers: int) -> None:
    """Have TensorFlow, before it is loaded, take no more of this machine than a worker's share."""
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


@contextmanager
def _workers(count: int, *told: Any) -> Iterator[None]:
    """So many more processes that search in the same study; they end by themselves once it holds all trials."""
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    processes = [context.Process(target=_work, args=told) for _ in range(count)]
    try:
        for process in processes:
            process.start()
        yield
        for process in processes:
            process.join()
            if process.exitcode:
                print(f"warning: a worker ended with {process.exitcode}; others ran its trial again", file=sys.stderr)
    finally:
        for process in processes:
            process.terminate()


def _work(opened: Callable[[], Task], run: Run, config: TuneConfig, place: Place, name: str, seed: int) -> None:
    def search_too() -> None:
        search(opened(), run, config, place, name=name, seed=seed)

    threading.Thread(target=_end_with_parent, daemon=True).start()
    entry.run(search_too)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # were it killed, the study would go on with nobody to read it


def main() -> None:
    params = read_params(Path())
    name = entry.run_name()
    _, run = read_run(params, name)
    config = section(params, "tune", TuneConfig)
    studies, out = Path(".lamina/studies"), Path("models") / name
    augment = section(params, "augment", AugmentConfig) if warps_anew(run) else None
    seed = run.seed_or(entry.seed(params))
    print(f"{name}: {tune(name, run, config, Folders(), studies, out, seed=seed, augment=augment)}")


if __name__ == "__main__":
    entry.run(main)
