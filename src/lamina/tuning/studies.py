"""Studies whose trials survive a kill and are shared by workers.

Optuna brings the storages and `load_if_exists`. Where its own does not suffice:
`Signs`: only databases have its heartbeats; only `Study.optimize` sends them, and one failed write ends them.
`_run_again`: Optuna's callback for it copies the pruner's completed rungs, so the retried trial would skip them.
`resume`: a retried trial gets a new number, which seeds its sampler; a killed study would end with other numbers.
"""

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from lamina.errors import UserError
from lamina.files import staged
from lamina.tuning.places import Place

ENDED: Final = ("COMPLETE", "PRUNED")
HEARTBEAT: Final = "lamina:heartbeat"  # attribute of a trial: a number that grows while its worker lives
POLL: Final = 0.5  # seconds
DIFFERENCES_SHOWN: Final = 3

Sign: TypeAlias = tuple[int, int, int]


def resume(place: Place) -> None:
    """Create the study, or prepare an existing one to continue. Call it once, before the first worker opens it.

    The workers of a study of its own ended with the process that started them; their unfinished trials are removed.

    Raises:
        UserError: If the study cannot be used, or workers at the same address run the same run with another identity.
    """
    import optuna

    from lamina.tuning.storages import check_journal, errors_in_one_line, open_storage

    with errors_in_one_line(place, opening=True):
        if place.kind == "journal":
            check_journal(place)
        if place.file and not place.file.exists():
            # a table without its index, as a kill would leave it, takes a second study of the same name
            with staged(place.file) as part, open_storage(replace(place, url=f"sqlite:///{part}")):
                pass
        with open_storage(place) as storage:
            study = _load(storage, place)
            if place.file is None:
                _refuse_other_identity(storage, place)
                return
            trials = study.get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state.name in ENDED]
    if place.file and len(ended) < len(trials):
        with staged(place.file) as part, open_storage(replace(place, url=f"sqlite:///{part}")) as storage:
            optuna.create_study(study_name=place.study, storage=storage, direction=place.direction).add_trials(ended)


class OpenStudy:
    """A study that this process works on, opened by `open_study`."""

    def __init__(self, study: Any, storage: Any, place: Place) -> None:
        self.study = study
        self._storage = storage
        self._place = place
        self._signs = Signs(place.grace)

    def ended(self) -> list[Any]:
        """Return the finished and pruned trials, in order."""
        return [trial for trial in self._trials() if trial.state.name in ENDED]

    def take(self, total: int) -> tuple[Any, int] | None:
        """Return the next trial to work on; wait while other workers run all that are left.

        A trial whose worker died is returned again, with the same numbers.

        Args:
            total: Number of trials that the study shall hold.

        Returns:
            The trial and its position among `total`, from 0; None if that many have ended.
        """
        import optuna

        while True:
            for trial in self._signs.dead(self._trials()):
                _run_again(self.study, self._storage, trial)
            begun = self._begun()
            if sum(trial.state.name in ENDED for trial in begun) >= total:
                return None
            if len(begun) < total:
                trial = self.study.ask()
                numbers = [other.number for other in self._begun()]
                if (position := numbers.index(trial.number)) < total:
                    return trial, position
                # another worker took the last place at the same moment
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
            time.sleep(POLL)

    @contextlib.contextmanager
    def working_on(self, trial: Any) -> Iterator[None]:
        """Send heartbeats for the trial, so that other workers leave it alone."""
        from optuna.exceptions import UpdateFinishedTrialError

        from lamina.tuning.storages import storage_errors

        ended, counts = threading.Event(), itertools.count()

        def beat() -> None:
            while not ended.wait(self._place.grace / 5):
                # one heartbeat less, or a trial that others took over; the next report fails by itself
                with contextlib.suppress(UpdateFinishedTrialError, KeyError, *storage_errors(self._place)):
                    self._storage.set_trial_system_attr(trial._trial_id, HEARTBEAT, next(counts))

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _trials(self) -> list[Any]:
        return list(self.study.get_trials(deepcopy=False))

    def _begun(self) -> list[Any]:
        return [trial for trial in self._trials() if trial.state.name in (*ENDED, "RUNNING")]


@contextlib.contextmanager
def open_study(place: Place, pruner: Any) -> Iterator[OpenStudy]:
    """Open a study that `resume` prepared.

    Raises:
        UserError: If a server does not answer for half a minute, or a file cannot be used.
    """
    from lamina.tuning.storages import errors_in_one_line, open_storage

    with errors_in_one_line(place), open_storage(place, patient=True) as storage:
        study = _load(storage, place)
        study.pruner = pruner
        yield OpenStudy(study, storage, place)


class Signs:
    """Tell the trials of dead workers from those of live ones.

    Compares no times of different machines, whose clocks may differ: a trial counts as dead if this process has seen
    the same heartbeat and the same number of reports for `grace` seconds.
    """

    def __init__(self, grace: int) -> None:
        self._grace = grace
        self._since: dict[Sign, float] = {}

    def dead(self, trials: Iterable[Any]) -> list[Any]:
        """Return the running trials whose workers count as dead."""
        now, signs = time.monotonic(), _signs(trials)
        self._since = {sign: self._since.get(sign, now) for sign in signs}
        return [trial for sign, trial in signs.items() if now - self._since[sign] > self._grace]


def _signs(trials: Iterable[Any]) -> dict[Sign, Any]:
    """Return the running trials by a value that changes while their workers live."""
    return {
        (trial._trial_id, trial.system_attrs.get(HEARTBEAT, -1), len(trial.intermediate_values)): trial
        for trial in trials
        if trial.state.name == "RUNNING"
    }


def _run_again(study: Any, storage: Any, trial: Any) -> None:
    """Fail the trial of a dead worker and queue its numbers, unless another worker does."""
    import optuna

    try:
        storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return
    if numbers := trial.params or trial.system_attrs.get("fixed_params"):
        study.enqueue_trial(numbers)


def _load(storage: Any, place: Place) -> Any:
    import optuna

    study = optuna.create_study(study_name=place.study, storage=storage, direction=place.direction, load_if_exists=True)
    if "identity" not in study.user_attrs:
        study.set_user_attr("identity", dict(place.identity))
    return study


def _refuse_other_identity(storage: Any, place: Place) -> None:
    """Raise UserError if workers run a study of the same run with another identity.

    Where such a study has unfinished trials, this waits for a sign of life, and gives them up if there is none.
    """
    import optuna

    family = place.study.rpartition("-")[0]
    others = [
        optuna.load_study(study_name=name, storage=storage)
        for name in optuna.get_all_study_names(storage)
        if name != place.study and name.rpartition("-")[0] == family
    ]

    def running() -> dict[Sign, tuple[Any, Any]]:
        return {
            sign: (other, trial) for other in others for sign, trial in _signs(other.get_trials(deepcopy=False)).items()
        }

    first, end = running(), time.monotonic() + place.grace
    if first:
        print(f"{place.shown}: waiting for workers with other settings or code to show that they run", file=sys.stderr)
    while found := running():
        if alive := found.keys() - first.keys():
            other, _ = found[min(alive)]
            differences = _differences(other.user_attrs.get("identity", {}), place.identity)
            raise UserError(
                f"{place.shown}: others are busy with study {other.study_name}, here it would be {place.study}: "
                f"{differences}; use the same settings and code everywhere, or run again when they have ended"
            )
        if time.monotonic() > end:
            for other, trial in found.values():
                _run_again(other, storage, trial)
            return
        time.sleep(POLL)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    one, other = dict(_flat(there)), dict(_flat(here))
    differ = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
    shown = [f"{key} is {one.get(key)} there, {other.get(key)} here" for key in differ[:DIFFERENCES_SHOWN]]
    more = len(differ) - len(shown)
    return "; ".join(shown) + (f" and {more} more" if more else "")


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", part
