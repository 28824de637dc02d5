"""Optuna's storages, one for each kind of address, and what they lack.

`Journal`: Optuna's goes on silently, without results, when its file is deleted; and a failing file raises errors that
    could also come from a training.
`Proxy`: Optuna's waits forever for a server that hangs, and not at all for one that restarts.
`_wait_for_server`: SQLAlchemy and Optuna do not wait for a database server that restarts.
"""

import contextlib
import json
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError

from lamina.errors import UserError
from lamina.tuning.places import Kind, Place

PATIENCE: Final = 30.0  # seconds to wait for a server that does not answer
TIMEOUT: Final = 60  # seconds that a worker waits for a locked file
ATTEMPTS: Final = 5

# a lost connection is noticed within half a minute, not after TCP's two hours
_CONNECT: Final[Mapping[str, int]] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

# what to do when the study cannot be opened, and when it is lost later
_REMEDIES: Final[Mapping[Kind, tuple[str, str]]] = {
    "sqlite": ("delete it and run again", "run again when the file can be written"),
    "postgresql": ("check the address, PGPASSWORD and the server", "run again when the server answers"),
    "journal": ("check the path, and that you may write there", "run again when the file can be written"),
    "grpc": ("check the address and the proxy", "run again when the proxy answers"),
}


@contextlib.contextmanager
def open_storage(place: Place, *, patient: bool = False) -> Iterator[BaseStorage]:
    """Open the storage of a study.

    Args:
        place: Address of the study.
        patient: Whether to wait `PATIENCE` seconds for a server that does not answer.

    Raises:
        Any of `storage_errors`: If the storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    match place.kind:
        case "journal":
            yield JournalStorage(Journal(place.target, place.grace))
        case "grpc":
            with contextlib.closing(_proxy(place.target, patient)) as proxy:
                yield proxy
        case _:
            with _database(place) as storage:
                if patient and not place.file:
                    _wait_for_server(storage)
                yield storage


def storage_errors(place: Place) -> tuple[type[Exception], ...]:
    """Return the exceptions that a failing storage raises."""
    if place.kind == "grpc":
        import grpc

        return StorageInternalError, grpc.RpcError
    return StorageInternalError, SQLAlchemyError


@contextlib.contextmanager
def errors_in_one_line(place: Place, *, opening: bool = False) -> Iterator[None]:
    """Turn errors of the storage into a UserError of one line."""
    errors = storage_errors(place)
    caught: tuple[type[Exception], ...] = (*errors, KeyError)
    try:
        yield
    except caught as error:
        # a proxy that restarts with another database answers that there is no such record
        if isinstance(error, KeyError) and not isinstance(error.__cause__, errors):
            raise
        reason, remedy = _reason(error), _REMEDIES[place.kind][not opening]
        if place.file and opening:
            raise UserError(f"{place.file}: not a study ({reason}); {remedy}") from None
        kept = "" if opening else "; finished trials are kept"
        raise UserError(f"{place.shown}: the study cannot be reached ({reason}){kept}; {remedy}") from None


def _reason(error: Exception) -> str:
    cause = error.__cause__ if error.__cause__ is not None and not hasattr(error, "orig") else error
    details = getattr(cause, "details", None)  # of gRPC
    return " ".join(str(details() if callable(details) else getattr(cause, "orig", None) or cause).split())


class Journal(JournalFileBackend):
    """A file that many machines append to, on a file system that they share.

    Its lock is a file that exists while a worker writes, not a symbolic link, which some file systems do not have.
    """

    def __init__(self, path: str, grace: int) -> None:
        self._path = path
        self._size = 0
        with _failing_file():
            # a worker killed while it wrote delays the others by half of the time after which they would count as dead
            super().__init__(path, JournalFileOpenLock(path, grace_period=grace // 2))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        with _failing_file():
            self._refuse_replaced()
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with _failing_file():
            self._refuse_replaced()
            super().append_logs(logs)

    def _refuse_replaced(self) -> None:
        size = Path(self._path).stat().st_size
        if size < self._size:
            raise StorageInternalError("it was deleted or replaced while this worker used it")
        self._size = size


@contextlib.contextmanager
def _failing_file() -> Iterator[None]:
    """Raise Optuna's error of a failing storage in place of those that a training may raise, too."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # the last one: the lock was lost
        raise StorageInternalError(str(error)) from error


def check_journal(place: Place) -> None:
    """Refuse a file that is not a journal, or holds a damaged line, before anything is added to it.

    A last line without its end is removed: its worker was killed, or its machine stopped, while it wrote.

    Raises:
        UserError: With the number of the first bad line.
        StorageInternalError: If the file cannot be read and written.
    """
    path = Path(place.target)
    with _failing_file():
        if not path.exists():
            return
        lock = JournalFileOpenLock(str(path), grace_period=place.grace // 2)
        lock.acquire()
        try:
            with path.open("r+b") as file:
                end = 0
                for number, line in enumerate(file, start=1):
                    if not _is_record(line):
                        if number == 1:
                            raise UserError(f"{path}: not a journal of studies; name another file")
                        if line.endswith(b"\n"):
                            raise UserError(f"{path}: line {number} is damaged; delete that line and run again")
                        file.truncate(end)
                    end += len(line)
        finally:
            lock.release()


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record and line.endswith(b"\n")


class Proxy(GrpcStorageProxy):
    """A client of `optuna.storages.run_grpc_proxy_server`."""

    def __init__(self, address: str, *, patient: bool) -> None:
        self._patient = patient
        host, _, port = address.rpartition(":")
        super().__init__(host=host, port=int(port))

    def _setup(self) -> None:
        import grpc
        from optuna.storages._grpc.auto_generated.api_pb2_grpc import StorageServiceStub
        from optuna.storages._grpc.client import GrpcClientCache

        # waits for a connection only: a call that may have arrived is not sent twice
        calls = {"name": [{}], "waitForReady": self._patient, "timeout": f"{PATIENCE}s"}
        options = {
            "grpc.service_config": json.dumps({"methodConfig": [calls]}),
            "grpc.max_receive_message_length": -1,
            "grpc.max_reconnect_backoff_ms": 5000,
            "grpc.enable_http_proxy": 0,  # which is for the internet
        }
        self._channel = grpc.insecure_channel(f"{self._host}:{self._port}", options=list(options.items()))
        self._stub = StorageServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._cache = GrpcClientCache(self._stub)


def _proxy(address: str, patient: bool) -> Proxy:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # otherwise it logs what is reported in one line
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return Proxy(address, patient=patient)


@contextlib.contextmanager
def _database(place: Place) -> Iterator[RDBStorage]:
    connect = {"timeout": TIMEOUT} if place.file else dict(_CONNECT)
    options = {"connect_args": connect, "pool_pre_ping": place.file is None}
    storage = _create_tables(partial(RDBStorage, place.url, engine_kwargs=options))
    if place.file:
        _disable_fsync(storage)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _create_tables(make: Callable[[], RDBStorage]) -> RDBStorage:
    """Call `make`, again if another worker creates the same tables at the same moment."""
    for _ in range(ATTEMPTS - 1):
        try:
            return make()
        except (IntegrityError, ProgrammingError):
            time.sleep(random.uniform(0.1, 1))  # noqa: S311 - to avoid the next collision
    return make()


def _disable_fsync(storage: RDBStorage) -> None:
    """Make SQLite not wait for the disk: otherwise each report takes as long as a small epoch.

    If the machine stops, the file may be broken, and `resume` reports it; a killed process loses nothing.
    A write-ahead log is no alternative: its extra files would be read into a file that replaces this one.
    """

    @event.listens_for(storage.engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    storage.engine.dispose()  # close the connection that created the tables


def _wait_for_server(storage: RDBStorage) -> None:
    """Retry every new connection for `PATIENCE` seconds, so that the server may restart while workers run."""

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
