"""Tuning with Optuna on the validation fold, in a study on disk that survives a kill."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import pandas as pd
from pydantic import BeforeValidator, Field, model_validator

from lamina.config import Config
from lamina.learn.runs import Run, Tuned

TRIAL_COLUMNS: Final = ["number", "state", "value", "learning_rate", "dropout", "decay", "epochs"]

Range = Annotated[tuple[float, float], BeforeValidator(tuple)]


class TuneConfig(Config):
    """Section `tune` of params.yaml.

    trials: how many; epochs: of each trial at most (null: as many as the run trains); then the range of
    each number. The learning rate and the decay are searched on a logarithmic scale.
    """

    trials: int = Field(ge=0)
    epochs: int | None = Field(ge=1)
    learning_rate: Range
    dropout: Range
    decay: Range

    @model_validator(mode="after")
    def _ordered(self) -> "TuneConfig":
        for name in Tuned.model_fields:
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name}: expected [low, high] with low below high, got [{low}, {high}]")
        for name in ("learning_rate", "decay"):
            if getattr(self, name)[0] <= 0:
                raise ValueError(f"{name}: the low end must be above 0, since the search is logarithmic")
        return self


def search(
    task: Any, run: Run, config: TuneConfig, study_file: Path, *, name: str, seed: int
) -> tuple[Tuned, pd.DataFrame]:
    """Look for the numbers that a run leaves open.

    task: a `lamina.learn.tasks.Task`; study_file: SQLite, made or gone on with: trials that ended before
    a kill are kept, one that was under way is started again. Trials that do worse than the median of the
    others at the same epoch are pruned. Returns the numbers with the best validation accuracy (the last
    epoch's) and the table of trials (`TRIAL_COLUMNS`). Each trial's proposal depends on the seed and on the
    trials before it alone, so that a study that was interrupted ends as one that was not.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study_file.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{study_file}",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=_epochs(run, config) // 4),
    )
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    for number in range(len(_ended(study)), config.trials):
        study.sampler = optuna.samplers.TPESampler(seed=seed + number, n_startup_trials=4)
        objective = partial(_try, number=number, task=task, run=run, config=config, name=name, seed=seed)
        study.optimize(objective, n_trials=1)
    trials = _ended(study)
    return _numbers(run, study.best_trial.params), _table(run, trials)


def _epochs(run: Run, config: TuneConfig) -> int:
    return config.epochs or run.epochs


def _ended(study: Any) -> list[Any]:
    """Trials that came to a result, in their order; those that a kill cut off are left out."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in ("COMPLETE", "PRUNED")]


def _try(trial: Any, number: int, task: Any, run: Run, config: TuneConfig, name: str, seed: int) -> float:
    import optuna

    from lamina.learn.fit import EpochRow, Trainer, fit
    from lamina.models.keras_runtime import keras

    def report(row: EpochRow) -> None:
        trial.report(row["validation_accuracy"], int(row["epoch"]))
        if trial.should_prune():
            raise optuna.TrialPruned

    keras.backend.clear_session()
    tuned = _numbers(run, {open_: _suggest(trial, config, open_) for open_ in run.open_numbers})
    history = fit(
        Trainer(task.build(tuned), tuned),
        task.train,
        task.validation,
        epochs=_epochs(run, config),
        batch_size=run.batch_size,
        seed=seed,
        on_epoch=report,
        what=f"{name}: trial {number + 1} of {config.trials}",
    )
    return history[-1]["validation_accuracy"]


def _suggest(trial: Any, config: TuneConfig, name: str) -> float:
    low, high = getattr(config, name)
    return float(trial.suggest_float(name, low, high, log=name != "dropout"))


def _numbers(run: Run, found: dict[str, float]) -> Tuned:
    """The run's own numbers, with those that were found in the open places."""
    return Tuned.model_validate({name: found.get(name, getattr(run, name)) for name in Tuned.model_fields})


def _table(run: Run, trials: list[Any]) -> pd.DataFrame:
    rows = [
        {
            "number": number,
            "state": trial.state.name,
            "value": list(trial.intermediate_values.values())[-1],
            **_numbers(run, trial.params).model_dump(),
            "epochs": len(trial.intermediate_values),
        }
        for number, trial in enumerate(trials)
    ]
    return pd.DataFrame(rows, columns=TRIAL_COLUMNS)


def no_trials() -> pd.DataFrame:
    """The table of a run that had nothing to tune."""
    return pd.DataFrame(columns=TRIAL_COLUMNS)
