"""Addresses of studies."""

from pathlib import Path

import pytest

from lamina.errors import UserError
from lamina.tuning.places import SHARED, place_of


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://me:secret@host/db", r"mysql://me:\*\*\*@host/db: cannot hold shared studies"),
        ("postgresql+psycopg2://me:secret@host/db", r"psycopg2://me:\*\*\*@host/db: cannot hold shared studies"),
        ("postgresql://me:secret@host", r"me:\*\*\*@host: cannot hold shared studies"),
        ("sqlite:///studies.db", "cannot hold shared studies"),
        ("secret host", "not the address of a database"),
        ("postgresql://me:secret@host:port/db", "not the address of a database"),
        ("grpc://host", "not the address of a proxy"),
        ("grpc://host:port", "not the address of a proxy"),
        ("grpc://me:secret@host:13000", "not the address of a proxy"),
        ("grpc://host:13000/secret", "not the address of a proxy"),
        ("journal://shared/studies.log", "not the absolute path of a file"),
        ("journal:///", "not the absolute path of a file"),
    ],
)
def test_other_addresses_are_refused(address: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED, address)
    with pytest.raises(
        UserError, match=rf"LAMINA_STUDIES: .*{shown}.*; expected (postgresql|journal|grpc)://"
    ) as caught:
        place_of("hill", "tests", {}, Path())
    assert "secret" not in str(caught.value)
