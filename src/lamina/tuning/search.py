"""Tuning with Optuna on the validation fold, in a study that resumes after a kill and that workers can share."""

import math
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, TypeAlias

import pandas as pd
from pydantic import AfterValidator, BeforeValidator, Field

from lamina.config import Config
from lamina.training.history import DivergedError, kept_row
from lamina.training.learner import Learner, TrainingOptions
from lamina.training.settings import MOST_EPOCHS, Dropout, Hyperparameters, RunSettings
from lamina.tuning.numbers import LINEAR
from lamina.tuning.places import Place
from lamina.tuning.studies import ENDED, open_study

STARTUP: Final = 4  # trials drawn at random before the sampler learns from them
DIVERGED: Final = {"maximize": -math.inf, "minimize": math.inf}  # worse than any network, in any unit
LOGARITHMIC: Final = 10  # ranges whose ends differ by this factor are searched on a logarithmic scale
ETA: Final = 3  # one in three trials that reach a rung continues (Li et al. 2018)


def _as_pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError("expected [low, high] with low below high")
    return pair


Above0: TypeAlias = Annotated[float, Field(gt=0, le=1)]  # the search is logarithmic
LogRange: TypeAlias = Annotated[tuple[Above0, Above0], BeforeValidator(_as_pair), AfterValidator(_ordered)]
Penalty: TypeAlias = Annotated[float, Field(gt=0, le=1e6)]
PenaltyRange: TypeAlias = Annotated[tuple[Penalty, Penalty], BeforeValidator(_as_pair), AfterValidator(_ordered)]
DropoutRange: TypeAlias = Annotated[tuple[Dropout, Dropout], BeforeValidator(_as_pair), AfterValidator(_ordered)]


class TuneConfig(Config):
    """Section `tune` of params.yaml.

    Attributes:
        trials: Number of trials.
        epochs: Most epochs of a trial; null: as many as the run trains.
        pruner: Rule that stops bad trials early.
        workers: Processes on this machine that share the trials.
        learning_rate, decay, penalty: Ranges, searched on a logarithmic scale.
        dropout: Range, searched on a linear scale.
    """

    trials: int = Field(ge=0, le=100_000)
    epochs: int | None = Field(ge=1, le=MOST_EPOCHS)
    pruner: Literal["median", "hyperband", "none"] = "median"
    workers: int = Field(default=1, ge=1, le=256)
    learning_rate: LogRange
    dropout: DropoutRange
    decay: LogRange
    penalty: PenaltyRange = (0.1, 1000.0)


def search(
    learner: Learner, config: TuneConfig, place: Place, *, measure: str, name: str, seed: int
) -> tuple[Hyperparameters, dict[str, Any], pd.DataFrame]:
    """Search for the numbers that a run leaves to tuning, until the study at `place` holds all trials.

    Several processes may search in the same study: each takes a trial that no other has, waits at the end for the
    trials of the others, and runs the trials of workers that died. With one process, each trial depends only on the
    seed and on the trials before it: an interrupted study in a file ends like an uninterrupted one, and a study that
    holds more trials than needed gives the result of its first ones. With several processes, the order of their
    trials decides. A trial with a loss that is not finite counts as worse than any other.

    Args:
        learner: Of the run.
        config: Section `tune`.
        place: Address of the study.
        measure: Of the validation fold, as named in the history.
        name: Name of the run, for messages.
        seed: Of the sampler.

    Returns:
        The numbers with the best measure at the kept epoch, other settings that were tuned with them, and the table of
        trials (`trial_columns`).

    Raises:
        UserError: If the study cannot be reached.
    """
    import optuna

    from lamina.tuning.storages import storage_errors

    # the trial was taken over by another worker, or its report failed: it will be run again
    lost: tuple[type[Exception], ...] = (optuna.exceptions.UpdateFinishedTrialError, *storage_errors(place))
    settings, measured = learner.settings, f"validation_{measure}"
    with open_study(place, _pruner(config.pruner, _epochs(settings, config))) as opened:
        while taken := opened.take(config.trials):
            trial, number = taken
            what = f"{name}: trial {number + 1} of {config.trials}"
            # seeded by the trial's number, so that no two workers draw the same
            opened.study.sampler = optuna.samplers.TPESampler(seed=seed + trial.number, n_startup_trials=STARTUP)
            try:
                with opened.working_on(trial):
                    value = _try(trial, learner, config, measured, diverged=DIVERGED[place.direction], what=what)
                    ended = optuna.trial.TrialState.PRUNED if value is None else optuna.trial.TrialState.COMPLETE
                    opened.study.tell(trial, value, state=ended, skip_if_finished=True)
            except lost:
                continue
        trials = opened.ended()[: config.trials]
    best = _best(place.direction, trials).params
    return _numbers(settings, best), {name: best[name] for name in settings.tune}, _table(settings, trials)


def _pruner(kind: str, epochs: int) -> Any:
    from optuna import pruners

    match kind:
        case "hyperband":  # rungs at a ninth and a third of the epochs; trials of the top bracket run to the end
            rung = max(1, epochs // ETA**2)
            return pruners.HyperbandPruner(min_resource=rung, max_resource=epochs, reduction_factor=ETA)
        case "median":
            return pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=epochs // 4)
    return pruners.NopPruner()


def _epochs(settings: RunSettings, config: TuneConfig) -> int:
    own: int = getattr(settings, "epochs", 1)
    return min(own, config.epochs or own)


def _try(
    trial: Any, learner: Learner, config: TuneConfig, measured: str, *, diverged: float, what: str
) -> float | None:
    """Train with the numbers that the trial suggests; return the measure of the kept epoch, None if it was pruned."""
    import optuna

    settings = learner.settings
    found = {name: _suggest(trial, config, settings, name) for name in settings.tunable}
    numbers = _numbers(settings, found)
    if settings.tune:
        settings = settings.with_settings({name: found[name] for name in settings.tune})
        learner = replace(learner, settings=settings)
    epochs = _epochs(settings, config)

    def report(row: dict[str, float]) -> None:
        trial.report(row[measured], int(row["epoch"]))
        if row["epoch"] < epochs and trial.should_prune():
            raise optuna.TrialPruned

    try:
        learned = learner.learn(numbers, TrainingOptions(epochs=epochs, on_epoch=report, what=what))
        return float(kept_row(learned.history, getattr(settings, "patience", None))[measured])
    except DivergedError:
        return diverged
    except optuna.TrialPruned:
        return None


def _suggest(trial: Any, config: TuneConfig, settings: RunSettings, name: str) -> Any:
    if name not in settings.tune:
        low, high = getattr(config, name)
        return float(trial.suggest_float(name, low, high, log=name not in LINEAR))
    # validated: 0 and 1 of a setting of any number between them are no range of whole numbers
    values = [getattr(settings.with_settings({name: value}), name) for value in settings.tune[name]]
    if len(values) == 2 and all(type(value) is int for value in values):
        return trial.suggest_int(name, *values)
    if len(values) == 2 and all(type(value) in (int, float) for value in values):
        low, high = values
        return trial.suggest_float(name, low, high, log=low > 0 and high >= LOGARITHMIC * low)
    return trial.suggest_categorical(name, values)


def _numbers(settings: RunSettings, found: dict[str, float]) -> Hyperparameters:
    """Return the run's own numbers and the ones that were found."""
    kind = settings.numbers
    return kind.model_validate({name: found.get(name, getattr(settings, name)) for name in kind.model_fields})


def _best(direction: str, trials: list[Any]) -> Any:
    """Return the first best trial that ran to the end; if none did, the first best pruned one."""
    best = max if direction == "maximize" else min
    return best([trial for trial in trials if trial.state.name == ENDED[0]] or trials, key=lambda trial: trial.value)


def _table(settings: RunSettings, trials: list[Any]) -> pd.DataFrame:
    rows = [
        {
            "number": number,
            "state": trial.state.name,
            "value": trial.value,
            **_numbers(settings, trial.params).model_dump(),
            **{name: trial.params[name] for name in settings.tune},
            "epochs": len(trial.intermediate_values),
        }
        for number, trial in enumerate(trials)
    ]
    return pd.DataFrame(rows, columns=trial_columns(settings))


def trial_columns(settings: RunSettings) -> list[str]:
    """Return the columns of `trials.csv`."""
    return ["number", "state", "value", *settings.numbers.model_fields, *settings.tune, "epochs"]


def no_trials(settings: RunSettings) -> pd.DataFrame:
    """Return the table of a run that has nothing to tune."""
    return pd.DataFrame(columns=trial_columns(settings))
