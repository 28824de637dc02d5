"""Where a study's trials are kept: in a file of its own, or in a PostgreSQL that workers on many machines share."""

import contextlib
import os
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from lamina.errors import UserError
from lamina.files import json_digest, staged

Direction: TypeAlias = Literal["maximize", "minimize"]

SHARED: Final = "LAMINA_STUDIES"  # the environment variable that names a database
FORM: Final = "postgresql://USER@HOST/DATABASE"
ENDED: Final = ("COMPLETE", "PRUNED")
PATIENCE: Final = 30.0  # seconds to wait for a server that went away
GRACE: Final = 60  # seconds without a sign of life after which a worker's trial is run again
POLL: Final = 0.5  # seconds
TIMEOUT: Final = 60  # seconds that one worker waits for another's write to a file
ATTEMPTS: Final = 5
SAID: Final = 3  # differences that are named

# a server that vanishes without a word is noticed within half a minute, not after TCP's two hours
_CONNECT: Final[Mapping[str, int]] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a study is found, by every worker.

    url: SQLAlchemy's. study: its name. identity: all that decides what its trials come to, as JSON.
    direction: where better values lie. grace: seconds without a sign of life after which a worker counts as dead.
    """

    url: str
    study: str
    identity: Mapping[str, Any]
    direction: Direction = "maximize"
    grace: int = GRACE

    @property
    def file(self) -> Path | None:
        """The file, where it is no server."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:") else None

    @property
    def shown(self) -> str:
        """The file or the address, without a password."""
        from sqlalchemy import make_url

        return str(self.file) if self.file else make_url(self.url).render_as_string(hide_password=True)


def place_of(
    run: str, system: str, identity: Mapping[str, Any], studies: Path, direction: Direction = "maximize"
) -> Place:
    """Where the study of a run is kept: in the database that `LAMINA_STUDIES` names, or in the folder `studies`.

    Another identity is another study. Raises UserError where the variable holds no address of a PostgreSQL.
    """
    key, address = json_digest(identity)[:16], os.environ.get(SHARED)
    if address:
        return Place(url=_checked(address), study=f"{system}/{run}-{key}", identity=identity, direction=direction)
    # Hyperband draws a trial's bracket from the study's name: an edit of the code shall not draw others
    url = f"sqlite:///{studies / f'{run}-{key}.db'}"
    return Place(url=url, study=run, identity=identity, direction=direction)


def _checked(address: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # shown is nothing of it: it may hold a password
        raise UserError(f"{SHARED}: not the address of a database; expected {FORM}") from None
    if url.drivername not in ("postgresql", "postgresql+psycopg") or not url.database:
        shown = url.render_as_string(hide_password=True)
        raise UserError(f"{SHARED}: {shown}: no study can be shared there; expected {FORM}")
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def resume(place: Place) -> None:
    """Make the study, or get the one that is there ready to go on; once, before the first worker opens it.

    From a file, whose workers all ended with the process that started them, what was cut off is dropped: the trials
    that ended stand there as if nothing else had ever begun. Raises UserError where the place cannot be used, and
    where workers are busy in the same database with the same run, but not with the same identity.
    """
    import optuna

    if place.file:
        place.file.parent.mkdir(parents=True, exist_ok=True)
    with _told(place, opening=True), _storage(place) as storage:
        study = _load(storage, place)
        if place.file is None:
            _refuse_strangers(storage, study, place)
            return
        trials = study.get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state.name in ENDED]
    if place.file and len(ended) < len(trials):
        with staged(place.file) as part, _storage(Place(url=f"sqlite:///{part}", study="", identity={})) as storage:
            optuna.create_study(study_name=place.study, storage=storage, direction=place.direction).add_trials(ended)


class OpenStudy:
    """A study that this process works on; see `open_study`."""

    def __init__(self, study: Any, storage: Any, grace: int) -> None:
        self.study = study
        self._storage = storage
        self._grace = grace
        self._mute: dict[int, float] = {}  # trials that nothing is known of, and since when

    def ended(self) -> list[Any]:
        """Trials that came to a result, in their order."""
        return [trial for trial in self._trials() if trial.state.name in ENDED]

    def take(self, total: int) -> tuple[Any, int] | None:
        """A trial to work on and its place among `total`, from 0; None once so many have ended.

        Where others work on all that are left, waits for them: a trial whose worker died is proposed again, with the
        numbers it had.
        """
        import optuna

        while True:
            self._fail_dead()
            begun = self._begun()
            if sum(trial.state.name in ENDED for trial in begun) >= total:
                return None
            if len(begun) < total:
                with _unwarned():
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
        """Show the other workers that somebody works on the trial, for as long as this lasts."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._grace / 5):
                with contextlib.suppress(*storage_errors()):  # one sign of life less; the trial itself will notice
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
        """Give up the trials of workers that died; those whose numbers are known wait to be run again."""
        import optuna

        _fail_stale(self.study)
        # A worker that dies between beginning a trial and its first sign of life is unknown to Optuna's watch.
        mute = {trial.number for trial in self._trials() if trial.state.name == "RUNNING" and not trial.params}
        now = time.monotonic()
        self._mute = {number: self._mute.get(number, now) for number in mute}
        for number, since in self._mute.items():
            if now - since > self._grace:
                self.study.tell(number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)


@contextlib.contextmanager
def open_study(place: Place, pruner: Any) -> Iterator[OpenStudy]:
    """Open a study that `resume` made ready, to work on.

    A server that goes away is waited for, `PATIENCE` seconds each time; then a UserError says so in one line.
    """
    with _told(place), _storage(place) as storage:
        study = _load(storage, place)
        study.pruner = pruner
        if place.file is None:
            _wait_for_server(storage)
        yield OpenStudy(study, storage, place.grace)


def storage_errors() -> tuple[type[Exception], ...]:
    """What Optuna and SQLAlchemy raise where a database does not do what it is asked."""
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
        heartbeat_stale_trial_callback=_again,
    )
    with _unwarned():
        storage = _with_tables(make)
    if place.file:
        _spare_the_disk(storage)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _with_tables(make: Callable[[], Any]) -> Any:
    """What `make` gives, made again where another worker makes the same tables at the same moment."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for _ in range(ATTEMPTS - 1):
        try:
            return make()
        except (IntegrityError, ProgrammingError):
            time.sleep(random.uniform(0.1, 1))  # noqa: S311 - so that they do not meet again
    return make()


def _spare_the_disk(storage: Any) -> None:
    """Have SQLite not wait for the disk: each epoch's report would take as long as a small epoch.

    A process that is killed loses nothing by it; where the machine stops, the file may be broken, and `resume` says so.
    No log ahead (WAL) instead: it stands in files beside, which would be read into a file that replaced this one.
    """
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    storage.engine.dispose()  # of the connection that made the tables


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Optuna's watch over workers is called experimental, and meant for `optimize`: `working_on` does its part."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with")
        yield


def _fail_stale(study: Any) -> None:
    import optuna

    with _unwarned():
        optuna.storages.fail_stale_trials(study)


def _again(study: Any, trial: Any) -> None:
    """Have a trial that was cut off run again with the same numbers, from its first epoch.

    Optuna's own callback would give it the rungs that it had passed, too.
    """
    if trial.params:
        study.enqueue_trial(trial.params)


def _wait_for_server(storage: Any) -> None:
    """Have every new connection tried for a while, so that a server may be started again under the workers."""
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


def _refuse_strangers(storage: Any, own: Any, place: Place) -> None:
    """Raise UserError where workers are busy with a study of the same run that differs from ours."""
    import optuna

    family = place.study.rpartition("-")[0]
    for name in optuna.get_all_study_names(storage):
        if name == own.study_name or name.rpartition("-")[0] != family:
            continue
        other = optuna.load_study(study_name=name, storage=storage)
        _fail_stale(other)
        running = other.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
        if any(trial.params for trial in running):
            said = _differences(other.user_attrs.get("identity", {}), place.identity)
            raise UserError(
                f"{place.shown}: others are busy with study {name}, here it would be {own.study_name}: {said}; "
                "bring them to the same, or run again when they have ended"
            )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    one, other = dict(_flat(there)), dict(_flat(here))
    differ = [place for place in sorted({*one, *other}) if one.get(place) != other.get(place)]
    said = [f"{place} is {one.get(place)} there, {other.get(place)} here" for place in differ[:SAID]]
    return "; ".join(said) + (f" and {len(differ) - SAID} more" if len(differ) > SAID else "")


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", part


@contextlib.contextmanager
def _told(place: Place, *, opening: bool = False) -> Iterator[None]:
    """Turn what the database says into one line."""
    try:
        yield
    except storage_errors() as error:
        cause = error.__cause__ if error.__cause__ is not None and not hasattr(error, "orig") else error
        said = " ".join(str(getattr(cause, "orig", None) or cause).split())
        if place.file and opening:
            raise UserError(f"{place.file}: not a study ({said}); delete it and run again") from None
        remedy = "look at the address, PGPASSWORD and the server" if opening else "run again when it is there"
        kept = "" if opening else "; the trials that ended are kept"
        raise UserError(f"{place.shown}: the study cannot be reached ({said}){kept}; {remedy}") from None
