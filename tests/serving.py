"""A web server of `lamina serve` in a thread of the test, and answers that need no network."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from lamina.commands.serve import listen
from lamina.commands.served import RefusedError, Served
from lamina.commands.web import LOOPBACK, Service, make_app
from lamina.data.memory import MIB


@dataclass
class Lengths(Served):
    """Served with the length of an upload; refuses empty ones, and breaks on the text `broken`.

    may_load, may_answer: loading and answering wait for them.
    """

    kind = "classes"
    run: str = "lengths"
    may_load: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)
    load_error: Exception | None = None

    def load(self) -> None:
        assert self.may_load.wait(60)
        if self.load_error:
            raise self.load_error

    def predict(self, upload: bytes) -> Mapping[str, Any]:
        assert self.may_answer.wait(60)
        if upload == b"broken":
            raise ZeroDivisionError("of a library")
        if not upload:
            raise RefusedError("empty")
        return {"length": len(upload), "begins": upload[:20].decode("latin-1")}


@contextmanager
def serving(
    answers: Served, *, about: Mapping[str, Any] | None = None, names: tuple[str, ...] = (), limit: int = MIB
) -> Iterator[str]:
    """Serve answers on a free port; yields the address."""
    service = Service(answers)
    facts = {"kind": answers.kind, "run": answers.run, "system": "test", "classes": [*answers.classes], "upload": 1}
    app = make_app(service, facts | dict(about or {}), {*LOOPBACK, *names}, addresses=False, limit=limit)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        service.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def wait_until_ready(session: Any, address: str, seconds: float = 60) -> None:
    """Wait until `/health` says that a server is ready."""
    deadline = time.monotonic() + seconds
    while (found := session.get(f"{address}/health")).status_code != 200:
        assert time.monotonic() < deadline, json.dumps(found.json())
        time.sleep(0.05)
