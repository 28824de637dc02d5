"""Where a study keeps its trials: in a file of its own, or in a PostgreSQL database that several machines share.

Optuna brings storage, heartbeats, stale trials and `load_if_exists`. Where its own does not suffice:
`_retry`: `RetryHeartbeatStaleTrialCallback` copies the pruner's completed rungs, so the retried trial would skip them.
`OpenStudy.working_on`: only `Study.optimize` starts Optuna's heartbeat, and one failed write ends it.
`resume`: a retried trial gets a new number, which seeds its sampler; a killed study would end with other numbers.
`_wait_for_server`: SQLAlchemy and Optuna do not wait for a server that restarts.
"""

import contextlib
import os
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from lamina.errors import UserError
from lamina.files import json_digest, staged

Direction: TypeAlias = Literal["maximize", "minimize"]

SHARED: Final = "LAMINA_STUDIES"  # the environment variable that names a database
ADDRESS_FORM: Final = "postgresql://USER@HOST/DATABASE"
ENDED: Final = ("COMPLETE", "PRUNED")
PATIENCE: Final = 30.0  # seconds to wait for a server that does not answer
GRACE: Final = 60  # seconds without a heartbeat after which a trial is run again
POLL: Final = 0.5  # seconds
TIMEOUT: Final = 60  # seconds that a worker waits for a locked file
ATTEMPTS: Final = 5
DIFFERENCES_SHOWN: Final = 3

# a lost connection is noticed within half a minute, not after TCP's two hours
_CONNECT: Final[Mapping[str, int]] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """The address of a study.

    Attributes:
        url: As SQLAlchemy writes it.
        study: Its name.
        identity: Everything that decides the results of its trials, as JSON.
        direction: Of better values.
        grace: Seconds without a heartbeat after which a worker counts as dead.
    """

    url: str
    study: str
    identity: Mapping[str, Any]
    direction: Direction = "maximize"
    grace: int = GRACE

    @property
    def file(self) -> Path | None:
        """The file of the study; None for a server."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:") else None

    @property
    def shown(self) -> str:
        """The file or the address, without a password."""
        from sqlalchemy import make_url

        return str(self.file) if self.file else make_url(self.url).render_as_string(hide_password=True)


def place_of(
    run: str, system: str, identity: Mapping[str, Any], studies: Path, direction: Direction = "maximize"
) -> Place:
    """Return the address of a run's study: in the database that `LAMINA_STUDIES` names, or in the folder `studies`.

    Args:
        run: Name of the run.
        system: Name of the system.
        identity: See `Place`. A different identity is a different study.
        studies: Folder of the files.
        direction: Of better values.

    Raises:
        UserError: If the variable does not hold the address of a PostgreSQL database.
    """
    key, address = json_digest(identity)[:16], os.environ.get(SHARED)
    if address:
        url, study = _checked(address), f"{system}/{run}-{key}"
    else:  # Hyperband draws a trial's bracket from the study's name, so the name must not change with the code
        url, study = f"sqlite:///{studies / f'{run}-{key}.db'}", run
    return Place(url=url, study=study, identity=identity, direction=direction)


def _checked(address: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # the address may hold a password: do not show it
        raise UserError(f"{SHARED}: not the address of a database; expected {ADDRESS_FORM}") from None
    if url.drivername not in ("postgresql", "postgresql+psycopg") or not url.database:
        shown = url.render_as_string(hide_password=True)
        raise UserError(f"{SHARED}: {shown}: cannot hold shared studies; expected {ADDRESS_FORM}")
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def resume(place: Place) -> None:
    """Create the study, or prepare an existing one to continue. Call it once, before the first worker opens it.

    The workers of a file ended with the process that started them; their unfinished trials are removed.

    Raises:
        UserError: If the file or database cannot be used, or workers in the same database run the same run with
            another identity.
    """
    import optuna

    with _errors_in_one_line(place, opening=True):
        if place.file and not place.file.exists():
            # a table without its index, as a kill would leave it, takes a second study of the same name
            with staged(place.file) as part, _storage(replace(place, url=f"sqlite:///{part}")):
                pass
    with _errors_in_one_line(place, opening=True), _storage(place) as storage:
        study = _load(storage, place)
        if place.file is None:
            _refuse_other_identity(storage, study, place)
            return
        trials = study.get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state.name in ENDED]
    if place.file and len(ended) < len(trials):
        with staged(place.file) as part, _storage(replace(place, url=f"sqlite:///{part}")) as storage:
            optuna.create_study(study_name=place.study, storage=storage, direction=place.direction).add_trials(ended)


class OpenStudy:
    """A study that this process works on, opened by `open_study`."""

    def __init__(self, study: Any, storage: Any, grace: int) -> None:
        self.study = study
        self._storage = storage
        self._grace = grace
        self._silent: dict[int, float] = {}  # trials without parameters or heartbeat, and since when

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
            self._fail_dead()
            begun = self._begun()
            if sum(trial.state.name in ENDED for trial in begun) >= total:
                return None
            if len(begun) < total:
                with _without_warnings():
                    trial = self.study.ask()
                self._storage.record_heartbeat(trial._trial_id)
                numbers = [other.number for other in self._begun()]
                if (position := numbers.index(trial.number)) < total:
                    return trial, position
                # another worker took the last place at the same moment
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
            time.sleep(POLL)

    @contextlib.contextmanager
    def working_on(self, trial: Any) -> Iterator[None]:
        """Send heartbeats for the trial, so that other workers leave it alone."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._grace / 5):
                with contextlib.suppress(*storage_errors()):  # one heartbeat less; the next report fails by itself
                    self._storage.record_heartbeat(trial._trial_id)

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

    def _fail_dead(self) -> None:
        """Fail the trials of workers that died; those with numbers are queued again."""
        import optuna

        _fail_stale(self.study)
        # Optuna does not notice a worker that dies before its first heartbeat.
        silent = {trial.number for trial in self._trials() if trial.state.name == "RUNNING" and not trial.params}
        now = time.monotonic()
        self._silent = {number: self._silent.get(number, now) for number in silent}
        for number, since in self._silent.items():
            if now - since > self._grace:
                self.study.tell(number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)


@contextlib.contextmanager
def open_study(place: Place, pruner: Any) -> Iterator[OpenStudy]:
    """Open a study that `resume` prepared.

    Raises:
        UserError: If the server does not answer for `PATIENCE` seconds.
    """
    with _errors_in_one_line(place), _storage(place) as storage:
        study = _load(storage, place)
        study.pruner = pruner
        if place.file is None:
            _wait_for_server(storage)
        yield OpenStudy(study, storage, place.grace)


def storage_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that Optuna and SQLAlchemy raise for a failing database."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return StorageInternalError, SQLAlchemyError


def _load(storage: Any, place: Place) -> Any:
    import optuna

    study = optuna.create_study(study_name=place.study, storage=storage, direction=place.direction, load_if_exists=True)
    if "identity" not in study.user_attrs:
        study.set_user_attr("identity", dict(place.identity))
    return study


@contextlib.contextmanager
def _storage(place: Place) -> Iterator[Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    connect = {"timeout": TIMEOUT} if place.file else dict(_CONNECT)
    make = partial(
        optuna.storages.RDBStorage,
        place.url,
        engine_kwargs={"connect_args": connect, "pool_pre_ping": place.file is None},
        heartbeat_interval=max(1, place.grace // 5),
        grace_period=place.grace,
        heartbeat_stale_trial_callback=_retry,
    )
    with _without_warnings():
        storage = _create_tables(make)
    if place.file:
        _disable_fsync(storage)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _create_tables(make: Callable[[], Any]) -> Any:
    """Call `make`, again if another worker creates the same tables at the same moment."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for _ in range(ATTEMPTS - 1):
        try:
            return make()
        except (IntegrityError, ProgrammingError):
            time.sleep(random.uniform(0.1, 1))  # noqa: S311 - to avoid the next collision
    return make()


def _disable_fsync(storage: Any) -> None:
    """Make SQLite not wait for the disk: otherwise each report takes as long as a small epoch.

    If the machine stops, the file may be broken, and `resume` reports it; a killed process loses nothing.
    A write-ahead log is no alternative: its extra files would be read into a file that replaces this one.
    """
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    storage.engine.dispose()  # close the connection that created the tables


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Ignore warnings that heartbeats are experimental and meant for `optimize`; `working_on` sends them."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with")
        yield


def _fail_stale(study: Any) -> None:
    import optuna

    with _without_warnings():
        optuna.storages.fail_stale_trials(study)


def _retry(study: Any, trial: Any) -> None:
    """Queue a trial again with the same numbers."""
    if trial.params:
        study.enqueue_trial(trial.params)


def _wait_for_server(storage: Any) -> None:
    """Retry every new connection for `PATIENCE` seconds, so that the server may restart while workers run."""
    from sqlalchemy import event
    from sqlalchemy.exc import DBAPIError

    @event.listens_for(storage.engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, named: Any) -> Any:
        end, pause = time.monotonic() + PATIENCE, 0.1
        while True:
            try:
                return dialect.connect(*arguments, **named)
            except (dialect.loaded_dbapi.OperationalError, DBAPIError):
                if time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


def _refuse_other_identity(storage: Any, own: Any, place: Place) -> None:
    """Raise UserError if workers run a study of the same run with another identity."""
    import optuna

    family = place.study.rpartition("-")[0]
    for name in optuna.get_all_study_names(storage):
        if name == own.study_name or name.rpartition("-")[0] != family:
            continue
        other = optuna.load_study(study_name=name, storage=storage)
        _fail_stale(other)
        running = other.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
        if any(trial.params for trial in running):
            differences = _differences(other.user_attrs.get("identity", {}), place.identity)
            raise UserError(
                f"{place.shown}: others are busy with study {name}, here it would be {own.study_name}: {differences}; "
                "use the same settings and code everywhere, or run again when they have ended"
            )


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


@contextlib.contextmanager
def _errors_in_one_line(place: Place, *, opening: bool = False) -> Iterator[None]:
    """Turn errors of the database into a UserError of one line."""
    try:
        yield
    except storage_errors() as error:
        cause = error.__cause__ if error.__cause__ is not None and not hasattr(error, "orig") else error
        reason = " ".join(str(getattr(cause, "orig", None) or cause).split())
        if place.file and opening:
            raise UserError(f"{place.file}: not a study ({reason}); delete it and run again") from None
        remedy = "check the address, PGPASSWORD and the server" if opening else "run again when the server answers"
        kept = "" if opening else "; finished trials are kept"
        raise UserError(f"{place.shown}: the study cannot be reached ({reason}){kept}; {remedy}") from None
