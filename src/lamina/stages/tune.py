"""Stage `tune@RUN`: find the numbers that the run trains with."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lamina.config import section
from lamina.errors import UserError
from lamina.files import staged
from lamina.results.record import system_name
from lamina.source_code import code_digest
from lamina.stages import entry
from lamina.stages.run_stage import RunStage, open_run_stage
from lamina.training.environment import environment
from lamina.training.learner import Learner
from lamina.training.settings import Hyperparameters
from lamina.tuning.numbers import write_numbers
from lamina.tuning.places import place_of
from lamina.tuning.search import TuneConfig, no_trials, search
from lamina.tuning.studies import resume

STUDIES = Path(".lamina/studies")  # in a system's folder, out of reach of DVC, which empties a stage's outputs


@dataclass(frozen=True, kw_only=True)
class TuneSummary:
    """The numbers and settings to train with, and how many trials found them."""

    tuned: Mapping[str, Any]
    trials: int

    def __str__(self) -> str:
        shown = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in self.tuned.items()}
        tuned = ", ".join(f"{name} {value}" for name, value in shown.items())
        return f"{tuned} ({f'best of {self.trials} trials' if self.trials else 'given in params.yaml'})"


def tune(stage: RunStage, config: TuneConfig, *, studies: Path = STUDIES) -> TuneSummary:
    """Write `tuned.yaml` and `trials.csv` to the run's folder, searching only for what the run leaves open.

    Args:
        stage: the run and its surroundings.
        config: section `tune`.
        studies: folder of the studies, so that one that was killed resumes. Where the environment variable
            LAMINA_STUDIES names a shared place, the study is kept there, and whoever calls this with the same settings
            on another machine shares its trials.

    Raises:
        UserError: if a number is left open and no trial is allowed, or the study cannot be reached.
    """
    settings = stage.run.settings
    numbers, found, trials = (
        _find(stage, config, studies) if settings.tunable else (settings.given_numbers(), {}, no_trials(settings))
    )
    write_numbers(stage.out / "tuned.yaml", numbers, found)
    with staged(stage.out / "trials.csv") as part:
        trials.to_csv(part, index=False)
    return TuneSummary(tuned=numbers.model_dump() | found, trials=len(trials))


def _find(stage: RunStage, config: TuneConfig, studies: Path) -> tuple[Hyperparameters, dict[str, Any], pd.DataFrame]:
    run = stage.run
    if not config.trials:
        raise UserError(
            f"run {run.name}: {', '.join(run.settings.tunable)}: tune, but tune.trials is 0; raise it or give a number"
        )
    if config.workers > 1:
        _share_machine(config.workers)
    learner = stage.open_learner()
    identity = {
        "run": run.settings.decides(),
        "tune": config.model_dump(exclude={"trials", "workers"}),  # with more of them the same study continues
        "seed": stage.seed,
        "data": learner.digest,
        "code": run.task.training_code,
        "search": code_digest(search.__module__),  # decides what a trial is worth, and how long it trains
        "environment": environment(),
    }
    place = place_of(run.name, system_name(Path()), identity, studies, run.task.direction)
    resume(place)
    find = partial(search, config=config, place=place, measure=run.task.measure, name=run.name, seed=stage.seed)
    with _workers(config.workers - 1, run.name, find):
        return find(learner)


def _share_machine(workers: int) -> None:
    """Have TensorFlow, before it is loaded, take no more of this machine than a worker's share."""
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


@contextmanager
def _workers(count: int, name: str, find: Callable[[Learner], Any]) -> Iterator[None]:
    """Start more processes that search in the same study. They end by themselves once it holds all trials."""
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    processes = [context.Process(target=_work, args=(name, find)) for _ in range(count)]
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


def _work(name: str, find: Callable[[Learner], Any]) -> None:
    def search_too() -> None:
        find(open_run_stage(name).open_learner())

    threading.Thread(target=_end_with_parent, daemon=True).start()
    entry.run(search_too)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # otherwise the worker would search on after its parent was killed


def main() -> None:
    stage = open_run_stage(entry.run_name())
    print(f"{stage.run.name}: {tune(stage, section(stage.params, 'tune', TuneConfig))}")


if __name__ == "__main__":
    entry.run_stage(main)
