"""Tuning with Optuna on the validation fold, in a study that survives a kill and that workers can share."""

from typing import Annotated, Any, Final, Literal, TypeAlias

import pandas as pd
from pydantic import AfterValidator, BeforeValidator, Field

from lamina.config import Config
from lamina.training.history import DivergedError, kept_row
from lamina.training.learner import Learner
from lamina.training.settings import Dropout, Hyperparameters, RunSettings
from lamina.training.training_options import TrainingOptions
from lamina.tuning.studies import ENDED, OpenStudy, Place, open_study, storage_errors

STARTUP: Final = 4  # trials drawn at random before the sampler learns from them
DIVERGED: Final = {"maximize": 0.0, "minimize": 1e5}  # worse than any network: no two colors of sRGB are so far apart
ETA: Final = 3  # of the trials that reach a rung, one in so many goes on (Li et al. 2018)
LINEAR: Final = ("dropout",)  # numbers that are searched on a linear scale, all others on a logarithmic one


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

    Attributes:
        trials: how many; epochs: of each trial at most (null: as many as the run trains).
        pruner: what ends a trial early.
        workers: processes of this machine that share the trials.
        learning_rate, dropout, decay, penalty: range of each number, searched on a logarithmic scale, dropout on a
            linear one.
    """

    trials: int = Field(ge=0)
    epochs: int | None = Field(ge=1)
    pruner: Literal["median", "hyperband", "none"] = "median"
    workers: int = Field(default=1, ge=1)
    learning_rate: LogRange
    dropout: DropoutRange
    decay: LogRange
    penalty: LogRange = (0.1, 100.0)


def search(
    learner: Learner, config: TuneConfig, place: Place, *, measure: str, name: str, seed: int
) -> tuple[Hyperparameters, pd.DataFrame]:
    """Look for the numbers that a run leaves open, in the study at `place`, until it holds all trials.

    Other processes may search in the same study at the same time: each takes a trial that no other has, waits at the
    end for those that others still run, and takes over from one that died. For one process, each trial's proposal and end depend on the seed and on the trials before it
    alone, so that a study in a file that was interrupted ends as one that was not, and one that is asked for fewer
    trials than it holds as one that never had the others; for several they depend on who was faster. A trial whose
    loss is no number counts as worse than any other.

    Args:
        learner: of the run.
        config: section `tune`.
        place: where the study is.
        measure: of the validation fold, as the history names it.
        name: of the run.
        seed: of the sampler.

    Returns:
        The numbers with the best measure (of the epoch that is kept), and the table of trials (`trial_columns`).

    Raises:
        UserError: if the study cannot be reached.
    """
    import optuna

    # a trial that others took over, thinking its worker dead; or whose report came to nothing: it will be run again
    lost: tuple[type[Exception], ...] = (optuna.exceptions.UpdateFinishedTrialError, *storage_errors())
    settings = learner.settings
    with open_study(place, _pruner(config.pruner, _epochs(settings, config))) as opened:
        while taken := opened.take(config.trials):
            trial, number = taken
            try:
                with opened.working_on(trial):
                    what = f"{name}: trial {number + 1} of {config.trials}"
                    _try(opened, trial, learner, config, measure, place.direction, seed=seed, what=what)
            except lost:
                continue
        trials = opened.ended()[: config.trials]
    return _numbers(settings, _best(place.direction, trials).params), _table(settings, trials)


def _pruner(kind: str, epochs: int) -> Any:
    from optuna import pruners

    match kind:
        case "hyperband":  # rungs at a ninth and a third of the epochs; what starts at the top rung runs to the end
            rung = max(1, epochs // ETA**2)
            return pruners.HyperbandPruner(min_resource=rung, max_resource=epochs, reduction_factor=ETA)
        case "median":
            return pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=epochs // 4)
    return pruners.NopPruner()


def _epochs(settings: RunSettings, config: TuneConfig) -> int:
    own: int = getattr(settings, "epochs", 1)
    return config.epochs or own


def _try(
    opened: OpenStudy,
    trial: Any,
    learner: Learner,
    config: TuneConfig,
    measure: str,
    direction: str,
    *,
    seed: int,
    what: str,
) -> None:
    import optuna

    settings, measured = learner.settings, f"validation_{measure}"
    epochs = _epochs(settings, config)

    def report(row: dict[str, float]) -> None:
        trial.report(row[measured], int(row["epoch"]))
        if row["epoch"] < epochs and trial.should_prune():
            raise optuna.TrialPruned

    # by the trial's own number, so that no two workers draw the same
    opened.study.sampler = optuna.samplers.TPESampler(seed=seed + trial.number, n_startup_trials=STARTUP)
    numbers = _numbers(settings, {name: _suggest(trial, config, name) for name in settings.tunable})
    value, state = DIVERGED[direction], optuna.trial.TrialState.COMPLETE
    try:
        learned = learner.learn(numbers, TrainingOptions(epochs=epochs, on_epoch=report, what=what))
        value = float(kept_row(learned.history, getattr(settings, "patience", None))[measured])
    except DivergedError:
        pass
    except optuna.TrialPruned:
        state = optuna.trial.TrialState.PRUNED
    told = value if state == optuna.trial.TrialState.COMPLETE else None
    opened.study.tell(trial, told, state=state, skip_if_finished=True)


def _suggest(trial: Any, config: TuneConfig, name: str) -> float:
    low, high = getattr(config, name)
    return float(trial.suggest_float(name, low, high, log=name not in LINEAR))


def _numbers(settings: RunSettings, found: dict[str, float]) -> Hyperparameters:
    """The run's own numbers, and those that were found for the open ones."""
    kind = settings.numbers
    return kind.model_validate({name: found.get(name, getattr(settings, name)) for name in kind.model_fields})


def _best(direction: str, trials: list[Any]) -> Any:
    """The first of the best that ran to the end; where workers died with all that did, of the others."""
    best = max if direction == "maximize" else min
    return best([trial for trial in trials if trial.state.name == ENDED[0]] or trials, key=_value)


def _value(trial: Any) -> float:
    """The measure of the epoch that is kept; of a trial that diverged, `DIVERGED`."""
    return float(trial.value)


def _table(settings: RunSettings, trials: list[Any]) -> pd.DataFrame:
    rows = [
        {
            "number": number,
            "state": trial.state.name,
            "value": _value(trial),
            **_numbers(settings, trial.params).model_dump(),
            "epochs": len(trial.intermediate_values),
        }
        for number, trial in enumerate(trials)
    ]
    return pd.DataFrame(rows, columns=trial_columns(settings))


def trial_columns(settings: RunSettings) -> list[str]:
    """Return the columns of `trials.csv`."""
    return ["number", "state", "value", *settings.numbers.model_fields, "epochs"]


def no_trials(settings: RunSettings) -> pd.DataFrame:
    """Return the table of a run that has nothing to tune."""
    return pd.DataFrame(columns=trial_columns(settings))
