"""Tuning with Optuna on the validation fold, in a study on disk that survives a kill."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import pandas as pd
from pydantic import AfterValidator, BeforeValidator, Field

from lamina.config import Config
from lamina.errors import UserError
from lamina.learn.runs import Dropout, Run, Tuned

TRIAL_COLUMNS: Final = ["number", "state", "value", "learning_rate", "dropout", "decay", "epochs"]


def _as_pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError("expected [low, high] with low below high")
    return pair


Above0: TypeAlias = Annotated[float, Field(gt=0, le=1)]  # the search is logarithmic
LogRange: TypeAlias = Annotated[tuple[Above0, Above0], BeforeValidator(_as_pair), AfterValidator(_ordered)]
DropoutRange: TypeAlias = Annotated[tuple[Dropout, Dropout], BeforeValidator(_as_pair), AfterValidator(_ordered)]


class TuneConfig(Config):
    """Section `tune` of params.yaml.

    trials: how many; epochs: of each trial at most (null: as many as the run trains); then the range of
    each number. The learning rate and the decay are searched on a logarithmic scale.
    """

    trials: int = Field(ge=0)
    epochs: int | None = Field(ge=1)
    learning_rate: LogRange
    dropout: DropoutRange
    decay: LogRange


def search(
    task: Any, run: Run, config: TuneConfig, study_file: Path, *, name: str, seed: int
) -> tuple[Tuned, pd.DataFrame]:
    """Look for the numbers that a run leaves open.

    task: a `lamina.learn.tasks.Task`; study_file: SQLite, made or gone on with: trials that ended before
    a kill are kept, one that was under way is started again. Trials that do worse than the median of the
    others at the same epoch are pruned. Returns the numbers with the best validation accuracy (the last
    epoch's) and the table of trials (`TRIAL_COLUMNS`). Each trial's proposal depends on the seed and on the
    trials before it alone, so that a study that was interrupted ends as one that was not, and one that is
    asked for fewer trials than it holds as one that never had the others. A trial whose loss is no number
    counts as one that got nothing right. Raises UserError where the study's file is broken.
    """
    import optuna

    study = _open_study(study_file, name, warmup=_epochs(run, config) // 4)
    for number in range(len(_ended(study)), config.trials):
        study.sampler = optuna.samplers.TPESampler(seed=seed + number, n_startup_trials=4)
        objective = partial(_try, number=number, task=task, run=run, config=config, name=name, seed=seed)
        study.optimize(objective, n_trials=1)
    trials = _ended(study)[: config.trials]
    best = max((trial for trial in trials if trial.state.name == "COMPLETE"), key=lambda trial: trial.value)
    return _numbers(run, best.params), _table(run, trials)


def _open_study(file: Path, name: str, *, warmup: int) -> Any:
    import optuna
    from sqlalchemy.exc import DatabaseError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{file}",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=warmup),
        )
    except (DatabaseError, optuna.exceptions.StorageInternalError) as error:
        raise UserError(f"{file}: not a study ({str(error).splitlines()[0]}); delete it and run again") from None
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # what a kill cut off
    return study


def _epochs(run: Run, config: TuneConfig) -> int:
    return config.epochs or run.epochs


def _ended(study: Any) -> list[Any]:
    """Trials that came to a result, in their order; those that a kill cut off are left out."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in ("COMPLETE", "PRUNED")]


def _try(trial: Any, number: int, task: Any, run: Run, config: TuneConfig, name: str, seed: int) -> float:
    import optuna

    from lamina.learn.fit import DivergedError, EpochRow, Trainer, fit
    from lamina.models.keras_runtime import keras

    def report(row: EpochRow) -> None:
        trial.report(row["validation_accuracy"], int(row["epoch"]))
        if trial.should_prune():
            raise optuna.TrialPruned

    keras.backend.clear_session()
    tuned = _numbers(run, {open_: _suggest(trial, config, open_) for open_ in run.open_numbers})
    try:
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
    except DivergedError:
        return 0.0
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
            # the last epoch's accuracy; of a trial that diverged, 0
            "value": trial.value if trial.state.name == "COMPLETE" else list(trial.intermediate_values.values())[-1],
            **_numbers(run, trial.params).model_dump(),
            "epochs": len(trial.intermediate_values),
        }
        for number, trial in enumerate(trials)
    ]
    return pd.DataFrame(rows, columns=TRIAL_COLUMNS)


def no_trials() -> pd.DataFrame:
    """The table of a run that had nothing to tune."""
    return pd.DataFrame(columns=TRIAL_COLUMNS)
