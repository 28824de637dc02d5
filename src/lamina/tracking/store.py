"""Open MLflow's store quickly, or fail with a message of one line.

MLflow by itself retries for minutes if a server is away or a database is locked. Here a store that does not answer
within seconds counts as away: `lamina track` adds what is missing later.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.errors import UserError
from lamina.files import staged
from lamina.installation import home
from lamina.locks import exclusive as hold
from lamina.prefetch import LOADING

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SECONDS_TO_ANSWER = 5
SECONDS_TO_WAIT = 20.0  # another process creates the database in about 5 s and logs a run in about 2 s
PLACE = "lamina.folder"  # of an experiment: where the system is
KIND = {"mlflow.experimentKind": "custom_model_development"}  # otherwise MLflow's page opens with views of chatbots
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines for each run on a server
    # enough for a server that stores a large model before it answers; `_check_server` waits less
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
for _name, _value in SETTINGS.items():  # MLflow reads some of them when it is imported: import this module first
    os.environ.setdefault(_name, _value)


@dataclass(frozen=True)
class Store:
    """An MLflow store that answered.

    Attributes:
        client: MLflow's client of the store.
        uri: Its address.
        root: Folder of the database and the lock (`store_root`).
        place: Folder of the system, relative to it.
        artifacts: Where new experiments keep their files; None: the server decides.
    """

    client: "MlflowClient"
    uri: str
    root: Path
    place: str
    artifacts: str | None


def store_root(system: Path) -> Path:
    """Return the folder that holds `mlflow/`: the nearest ancestor with `.dvc` or `.git`, else `system`."""
    system = home(system)
    return next((f for f in (system, *system.parents) if (f / ".dvc").exists() or (f / ".git").exists()), system)


def open_store(system: Path) -> Store:
    """Open the store that MLFLOW_TRACKING_URI names, or else the project's SQLite database, created if missing.

    Args:
        system: Folder of the system.

    Raises:
        UserError: If the store is away, locked, broken or of another MLflow version.
    """
    root = store_root(system)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow' / 'mlflow.db'}"
    with LOADING:
        import mlflow.tracking  # noqa: F401  # includes what is imported below
    with refused_in_one_line(uri):
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.CRITICAL)
        from mlflow.tracking import MlflowClient

        database = not uri.startswith(("http:", "https:"))
        artifacts = (root / "mlflow" / "artifacts").as_uri() if database else None
        # MLflow's migration fails if two processes create the database at once
        with exclusive(root):
            _check_database(uri) if database else _check_server(uri)
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
    return Store(client, uri, root, Path(os.path.relpath(home(system), root)).as_posix(), artifacts)


def experiment(store: Store, name: str) -> str:
    """Return the id of the system's experiment; create it, or restore a deleted one.

    Raises:
        UserError: If the project's folder was moved: MLflow would still write to the old one. If another system has the
            same name: the runs and the champions of both would be mixed.
    """
    from mlflow.exceptions import MlflowException

    found = store.client.get_experiment_by_name(name)
    if found is None:
        try:
            tags = {**KIND, PLACE: store.place}
            return str(store.client.create_experiment(name, artifact_location=store.artifacts, tags=tags))
        except MlflowException:
            # another machine created it meanwhile
            found = store.client.get_experiment_by_name(name)
            if found is None:
                raise
    if store.artifacts and found.artifact_location.startswith("file:") and found.artifact_location != store.artifacts:
        raise UserError(
            f"MLflow's experiment {name!r} keeps its files in {found.artifact_location}, not in {store.artifacts}: "
            f"the folder was moved; delete {store.root / 'mlflow'} and run `lamina track`, which creates it again"
        )
    other = found.tags.get(PLACE, store.place)
    if other != store.place and (store.root / other / "params.yaml").exists():
        raise UserError(
            f"MLflow's experiment {name!r} is that of the system in {other}, and {store.place} has the same name; "
            "rename one of the folders"
        )
    if found.lifecycle_stage == "deleted":
        store.client.restore_experiment(found.experiment_id)
    for tag, value in {**KIND, PLACE: store.place}.items():
        if found.tags.get(tag) != value:
            store.client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold a lock, so that only one process of this machine looks for a run and creates it.

    Raises:
        UserError: If another process holds it for `SECONDS_TO_WAIT`.
    """
    with hold(root / "mlflow" / "lock", "MLflow's store", patience=SECONDS_TO_WAIT):
        yield


@contextmanager
def refused_in_one_line(uri: str) -> Iterator[None]:
    """Turn errors of MLflow, its database and the network into a UserError of one line, without passwords."""
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, requests.RequestException, ImportError, OSError) as error:
        reason = re.sub(r"\(Background on this error.*", "", " ".join(str(error).split()))
        if len(reason) > 300:
            reason = f"{reason[:300]}..."
        line = f"the MLflow store {uri} cannot be used ({reason.strip()}); check that it answers"
        raise UserError(re.sub(r"//[^/@\s]*@", "//***@", line)) from None


def _check_database(uri: str) -> None:
    """Begin a write transaction: MLflow itself would retry for minutes before it fails."""
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite and url.database and not Path(url.database).exists():
        _make_database(Path(url.database))
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": 2} if sqlite else {})
    try:
        with engine.connect() as connection:
            if sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        engine.dispose()


def _make_database(file: Path) -> None:
    """Create SQLite's file with MLflow's tables, staged: MLflow never accepts a file that was cut short."""
    import sqlalchemy
    from mlflow.store.db import utils

    untyped: Any = utils
    with staged(file) as part:
        engine = sqlalchemy.create_engine(f"sqlite:///{part}")
        try:
            untyped._initialize_tables(engine)
        finally:
            engine.dispose()


def _check_server(uri: str) -> None:
    """Request any answer, with the credentials and certificates that MLflow uses."""
    from mlflow.utils import credentials, rest_utils

    untyped: Any = rest_utils
    host: Any = credentials.get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    untyped.http_request(host, "/health", "GET", timeout=SECONDS_TO_ANSWER, max_retries=0, raise_on_status=False)
