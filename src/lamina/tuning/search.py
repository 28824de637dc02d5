"""Tuning with Optuna on the validation fold, in a study that survives a kill and that workers can share."""

from typing import Annotated, Any, Final, Literal, TypeAlias

import pandas as pd
from pydantic import AfterValidator, BeforeValidator, Field

from lamina.config import Config
from lamina.tasks.runs import Dropout, Run, Tuned
from lamina.training.history import DivergedError, kept_row
from lamina.training.training_options import TrainingOptions
from lamina.tuning.studies import ENDED, OpenStudy, Place, open_study, storage_errors

TRIAL_COLUMNS: Final = ["number", "state", "value", "learning_rate", "dropout", "decay", "epochs"]
STARTUP: Final = 4  # trials drawn at random before the sampler learns from them
DIVERGED: Final = {"accuracy": 0.0, "mse": 1e5}  # worse than any network: no two colors of sRGB are so far apart
ETA: Final = 3  # of the trials that reach a rung, one in so many goes on (Li et al. 2018)


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

    trials: how many; epochs: of each trial at most (null: as many as the run trains); pruner: what ends a trial
    early; workers: processes of this machine that share the trials; then the range of each number. The learning rate
    and the decay are searched on a logarithmic scale.
    """

    trials: int = Field(ge=0)
    epochs: int | None = Field(ge=1)
    pruner: Literal["median", "hyperband", "none"] = "median"
    workers: int = Field(default=1, ge=1)
    learning_rate: LogRange
    dropout: DropoutRange
    decay: LogRange


def search(
    task: Any,
    run: Run,
    config: TuneConfig,
    place: Place,
    *,
    name: str,
    seed: int,
) -> tuple[Tuned, pd.DataFrame]:
    """Look for the numbers that a run leaves open, in the study at `place`, until it holds all trials.

    task: a `lamina.training.learner.Task`. Other processes may search in the same study at the same time: each takes a
    trial that nobody has, waits at the end for those that others still run, and takes over from one that died.
    Returns the numbers with the best measure on the validation fold (of the epoch that is kept) and the table of trials
    (`TRIAL_COLUMNS`). For one process, each trial's proposal and end depend on the seed and on the trials before it
    alone, so that a study in a file that was interrupted ends as one that was not, and one that is asked for fewer
    trials than it holds as one that never had the others; for several they depend on who was faster. A trial whose
    loss is no number counts as worse than any other.
    Raises UserError where the study cannot be reached.
    """
    import optuna

    # a trial that others took over, thinking its worker dead; or whose report came to nothing: it will be run again
    lost: tuple[type[Exception], ...] = (optuna.exceptions.UpdateFinishedTrialError, *storage_errors())
    with open_study(place, _pruner(config.pruner, _epochs(run, config))) as opened:
        while taken := opened.take(config.trials):
            trial, number = taken
            try:
                with opened.working_on(trial):
                    what = f"{name}: trial {number + 1} of {config.trials}"
                    _try(opened, trial, task=task, run=run, config=config, seed=seed, what=what)
            except lost:
                continue
        trials = opened.ended()[: config.trials]
    return _numbers(run, _best(run, trials).params), _table(run, trials)


def _pruner(kind: str, epochs: int) -> Any:
    from optuna import pruners

    match kind:
        case "hyperband":  # rungs at a ninth and a third of the epochs; what starts at the top rung runs to the end
            rung = max(1, epochs // ETA**2)
            return pruners.HyperbandPruner(min_resource=rung, max_resource=epochs, reduction_factor=ETA)
        case "median":
            return pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=epochs // 4)
    return pruners.NopPruner()


def _epochs(run: Run, config: TuneConfig) -> int:
    return config.epochs or run.epochs


def _try(opened: OpenStudy, trial: Any, *, task: Any, run: Run, config: TuneConfig, seed: int, what: str) -> None:
    import optuna

    epochs, measured = _epochs(run, config), f"validation_{run.measure}"

    def report(row: dict[str, float]) -> None:
        trial.report(row[measured], int(row["epoch"]))
        if row["epoch"] < epochs and trial.should_prune():
            raise optuna.TrialPruned

    # by the trial's own number, so that no two workers draw the same
    opened.study.sampler = optuna.samplers.TPESampler(seed=seed + trial.number, n_startup_trials=STARTUP)
    tuned = _numbers(run, {open_: _suggest(trial, config, open_) for open_ in run.tunable})
    value, state = DIVERGED[run.measure], optuna.trial.TrialState.COMPLETE
    try:
        learned = task.learn(tuned, TrainingOptions(epochs=epochs, on_epoch=report, what=what))
        value = float(kept_row(learned.history, run.patience)[measured])
    except DivergedError:
        pass
    except optuna.TrialPruned:
        state = optuna.trial.TrialState.PRUNED
    told = value if state == optuna.trial.TrialState.COMPLETE else None
    opened.study.tell(trial, told, state=state, skip_if_finished=True)


def _suggest(trial: Any, config: TuneConfig, name: str) -> float:
    low, high = getattr(config, name)
    return float(trial.suggest_float(name, low, high, log=name != "dropout"))


def _numbers(run: Run, found: dict[str, float]) -> Tuned:
    """The run's own numbers, with those that were found in the open places."""
    return Tuned.model_validate({name: found.get(name, getattr(run, name)) for name in Tuned.model_fields})


def _best(run: Run, trials: list[Any]) -> Any:
    """The first of the best that ran to the end; where workers died with all that did, of the others."""
    best = max if run.direction == "maximize" else min
    return best([trial for trial in trials if trial.state.name == ENDED[0]] or trials, key=_value)


def _value(trial: Any) -> float:
    """The measure of the epoch that is kept; of a trial that diverged, `DIVERGED`."""
    return float(trial.value)


def _table(run: Run, trials: list[Any]) -> pd.DataFrame:
    rows = [
        {
            "number": number,
            "state": trial.state.name,
            "value": _value(trial),
            **_numbers(run, trial.params).model_dump(),
            "epochs": len(trial.intermediate_values),
        }
        for number, trial in enumerate(trials)
    ]
    return pd.DataFrame(rows, columns=TRIAL_COLUMNS)


def no_trials() -> pd.DataFrame:
    """The table of a run that had nothing to tune."""
    return pd.DataFrame(columns=TRIAL_COLUMNS)
