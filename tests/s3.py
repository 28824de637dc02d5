"""An S3 server of the test's own on 127.0.0.1: moto's, which can also be full, refuse access, or go away."""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from wsgiref.types import StartResponse, WSGIEnvironment

import requests
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

BUCKET = "shards"
ACCOUNT = "123456789012"  # moto's
BUSY = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"
FULL = b"<Error><Code>XMinioStorageFull</Code><Message>Storage backend is full</Message></Error>"


@dataclass
class Storage:
    """The server, with one bucket.

    Attributes:
        log: a pair for each request so far: its method and path.
        busy: how many of the next files it does not take, and asks the client to come again.
        full: whether it has no room for files that workers write.
        on_request: called with method and path, before the answer.
    """

    log: list[tuple[str, str]] = field(default_factory=list)
    busy: int = 0
    full: bool = False
    on_request: Callable[[str, str], None] = lambda method, path: None
    server: BaseWSGIServer | None = None
    port: int = 0

    def __post_init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.app = DomainDispatcherApplication(create_backend_app)
        self.start()
        requests.put(f"{self.url}/{BUCKET}", timeout=10).raise_for_status()

    def start(self) -> None:
        self.server = make_server("127.0.0.1", self.port, self.answer, threaded=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """End as when its machine goes away; what it holds is there again after `start`."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.log.append((method, path))
        self.on_request(method, path)
        if method == "PUT" and self.busy:
            self.busy -= 1
            return refusal("503 Slow Down", BUSY, environ, start_response)
        if method == "PUT" and self.full and "/out/" in path:
            return refusal("507 Insufficient Storage", FULL, environ, start_response)
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What its clients need in their environment; a failure is not tried again for long."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def refuse(self, *, refuse: bool) -> None:
        """Check keys from now on, none of which it knows; or let everybody in."""
        requests.post(f"{self.url}/moto-api/reset-auth", data="0" if refuse else "inf", timeout=10).raise_for_status()

    @property
    def held(self) -> list[str]:
        """Names of all files in the bucket."""
        return sorted(s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys)


def refusal(status: str, body: bytes, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response(status, [("Content-Type", "application/xml")])
    return [body]
