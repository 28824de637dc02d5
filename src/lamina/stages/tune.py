"""Stage `tune@RUN`: the learning rate, dropout and decay that the run shall train with."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lamina.config import read_params, section
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import json_digest, staged
from lamina.learn.record import code_digest, environment
from lamina.learn.runs import Run, Tuned, read_run
from lamina.learn.tune import TuneConfig, no_trials, search
from lamina.learn.tuned import given, write_tuned
from lamina.stages import entry


@dataclass(frozen=True, kw_only=True)
class TuneSummary:
    """The numbers to train with, and how many trials found them."""

    tuned: Tuned
    trials: int

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in self.tuned.model_dump().items())
        return f"{numbers} ({f'best of {self.trials} trials' if self.trials else 'as params.yaml says'})"


def tune(
    name: str, run: Run, config: TuneConfig, folders: Folders, studies: Path, out: Path, *, seed: int
) -> TuneSummary:
    """Write `tuned.yaml` and `trials.csv` to `out`, searching only for what the run leaves open.

    studies: folder, outside of what DVC removes, where a study that was killed is found again.
    Raises UserError where a number is left open and no trial is allowed.
    """
    tuned, trials = _find(name, run, config, folders, studies, seed) if run.open_numbers else (given(run), no_trials())
    write_tuned(out / "tuned.yaml", tuned)
    with staged(out / "trials.csv") as part:
        trials.to_csv(part, index=False)
    return TuneSummary(tuned=tuned, trials=len(trials))


def _find(
    name: str, run: Run, config: TuneConfig, folders: Folders, studies: Path, seed: int
) -> tuple[Tuned, pd.DataFrame]:
    if not config.trials:
        raise UserError(
            f"run {name}: {', '.join(run.open_numbers)}: tune, but tune.trials is 0; raise it or give a number"
        )
    from lamina.learn.tasks import open_task

    task = open_task(name, run, folders, seed=seed)
    searched = config.model_dump(exclude={"trials"})  # more trials go on with the same study
    key = json_digest([name, run.model_dump(), searched, seed, task.digest, code_digest(), environment()])
    return search(task, run, config, studies / f"{name}-{key[:16]}.db", name=name, seed=seed)


def main() -> None:
    params = read_params(Path())
    name = entry.run_name()
    _, run = read_run(params, name)
    config = section(params, "tune", TuneConfig)
    studies, out = Path(".lamina/studies"), Path("models") / name
    print(f"{name}: {tune(name, run, config, Folders(), studies, out, seed=run.seed_or(entry.seed(params)))}")


if __name__ == "__main__":
    entry.run(main)
