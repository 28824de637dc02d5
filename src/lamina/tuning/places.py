"""The address of a study: a file of its own, or what `LAMINA_STUDIES` names and several machines share."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from lamina.errors import UserError
from lamina.files import json_digest

Direction: TypeAlias = Literal["maximize", "minimize"]
Kind: TypeAlias = Literal["sqlite", "postgresql", "journal", "grpc"]

SHARED: Final = "LAMINA_STUDIES"  # the environment variable
JOURNAL: Final = "journal://"
PROXY: Final = "grpc://"
ADDRESS_FORMS: Final = "postgresql://USER@HOST/DATABASE, journal:///SHARED/FOLDER/FILE or grpc://HOST:PORT"
GRACE: Final = 60  # seconds without a sign of life after which a trial is run again


@dataclass(frozen=True, kw_only=True)
class Place:
    """The address of a study.

    Attributes:
        url: `sqlite:///FILE`, `postgresql+psycopg://...`, `journal://FILE` or `grpc://HOST:PORT`.
        study: Its name.
        identity: Everything that decides the results of its trials, as JSON.
        direction: Of better values.
        grace: Seconds without a sign of life after which a worker counts as dead.
    """

    url: str
    study: str
    identity: Mapping[str, Any]
    direction: Direction = "maximize"
    grace: int = GRACE

    @property
    def kind(self) -> Kind:
        """What kind of storage is at this address."""
        return cast(Kind, self.url.partition(":")[0].partition("+")[0])

    @property
    def target(self) -> str:
        """What follows `journal://` or `grpc://`."""
        return self.url.partition("://")[2]

    @property
    def file(self) -> Path | None:
        """The file that holds this study alone; None if the study is shared."""
        return Path(self.url.removeprefix("sqlite:///")) if self.kind == "sqlite" else None

    @property
    def shown(self) -> str:
        """The file or the address, without a password."""
        from sqlalchemy import make_url

        if self.kind == "postgresql":
            return make_url(self.url).render_as_string(hide_password=True)
        return str(self.file or self.url)


def place_of(
    run: str, system: str, identity: Mapping[str, Any], studies: Path, direction: Direction = "maximize"
) -> Place:
    """Return the address of a run's study: where `LAMINA_STUDIES` says, or in the folder `studies`.

    Args:
        run: Name of the run.
        system: Name of the system.
        identity: See `Place`. A different identity is a different study.
        studies: Folder of the files.
        direction: Of better values.

    Raises:
        UserError: If the variable does not hold the address of a PostgreSQL database, a journal or a proxy.
    """
    key, address = json_digest(identity)[:16], os.environ.get(SHARED)
    if address:
        url, study = _checked(address), f"{system}/{run}-{key}"
    else:  # Hyperband draws a trial's bracket from the study's name, so the name must not change with the code
        url, study = f"sqlite:///{studies / f'{run}-{key}.db'}", run
    return Place(url=url, study=study, identity=identity, direction=direction)


def _checked(address: str) -> str:
    if address.startswith(JOURNAL):
        return _journal(address)
    return _proxy(address) if address.startswith(PROXY) else _database(address)


def _journal(address: str) -> str:
    file = Path(address.removeprefix(JOURNAL))
    if not file.is_absolute() or file.is_dir():  # a relative path would be another file in another folder
        raise UserError(f"{SHARED}: {address}: not the absolute path of a file; expected journal:///SHARED/FOLDER/FILE")
    return f"{JOURNAL}{file}"


def _proxy(address: str) -> str:
    parts = urlsplit(address)
    try:
        found = parts.hostname and parts.port
    except ValueError:  # the port is no number
        found = None
    if not found or address != f"{PROXY}{parts.netloc}" or parts.username is not None:
        raise UserError(f"{SHARED}: not the address of a proxy, which takes no password; expected grpc://HOST:PORT")
    return address


def _database(address: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # the address may hold a password: do not show it
        raise UserError(f"{SHARED}: not the address of a database; expected {ADDRESS_FORMS}") from None
    if url.drivername not in ("postgresql", "postgresql+psycopg") or not url.database:
        shown = url.render_as_string(hide_password=True)
        raise UserError(f"{SHARED}: {shown}: cannot hold shared studies; expected {ADDRESS_FORMS}")
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
