"""The web server of `lamina serve`: a page, `POST /predict` for programs, and what protects both.

- A page of another site can send requests to this machine, too: the headers Host and Origin tell (`Guard`).
- Uploads are limited in size, time and number: those that wait fit into a fixed amount of memory (`Uploads`).
- One thread answers, one upload after the other; the event loop only moves bytes.
"""

import asyncio
import ipaddress
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from lamina.commands.served import RefusedError, Served
from lamina.data.memory import MIB
from lamina.errors import UserError
from lamina.text import one_line

PAGE: Final = {"/": "serve.html", "/serve.css": "serve.css", "/serve.js": "serve.js"}
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
WAITING: Final = 64  # uploads that are received or wait for their answer
WAITING_LIMITS: Final = 4  # together they take at most so many times the limit of one
SECONDS_TO_SEND: Final = 60.0
RETRY_AFTER: Final = 1  # seconds
BETWEEN_STEPS: Final = 0.01  # seconds

_HEADERS: Final = {
    # no script, style or picture from elsewhere, none inside the page itself, and no frame around it
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ProblemError(Exception):
    """A request that is not answered.

    Attributes:
        status: Of HTTP.
        headers: In addition to all others.
    """

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Service:
    """A run's answers in a thread of their own, which loads the network first.

    Attributes:
        status: `loading`, `ready` or `failed`.
        error: Why it failed.
    """

    def __init__(self, answers: Served) -> None:
        self.answers, self.status, self.error = answers, "loading", ""
        self._one_at_a_time = Lock()
        self._worker = ThreadPoolExecutor(max_workers=1)

    def start(self) -> None:
        """Start loading; returns at once."""
        # a daemon: Ctrl-C does not wait for it
        Thread(target=self._load, daemon=True).start()

    async def call(self, method: Callable[[bytes], Any], upload: bytes) -> Any:
        """Call a method of the answers, after those that wait already."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._alone, method, upload)

    def check_ready(self) -> None:
        """Raise ProblemError if nothing can be answered yet, or ever."""
        if self.status == "loading":
            raise ProblemError(503, "the model is loading; try again in a second", Retry_After=str(RETRY_AFTER))
        if self.status == "failed":
            raise ProblemError(500, self.error)

    def _alone(self, method: Callable[[bytes], Any], upload: bytes) -> Any:
        with self._one_at_a_time:
            return method(upload)

    def _load(self) -> None:
        try:
            self.answers.load()
            self.status = "ready"
        except Exception as error:  # of the model, the libraries or the machine: the page says so, and the server ends
            self.error = one_line(error if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            self.status = "failed"
            return
        more = True
        while more:
            with self._one_at_a_time:
                more = self._prepare_more()
            time.sleep(BETWEEN_STEPS)  # a lock is not fair: without a pause, uploads would hardly ever get it

    def _prepare_more(self) -> bool:
        try:
            return self.answers.prepare_more()
        except Exception as error:  # of training data that are broken: all else is there
            print(one_line(f"note: no training pictures are shown: {type(error).__name__}: {error}"), file=sys.stderr)
            return False


class Uploads:
    """The uploads that are in memory: limited in number and bytes.

    Args:
        limit: Bytes of one.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._count, self._bytes = 0, 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[bytes]:
        """Receive the body of a request; it counts until the end of the `with` block.

        Raises:
            ProblemError: If it is too large or too slow, if it ends early, or too many others wait.
        """
        size = self._size(request.headers)
        if self._count >= WAITING or self._bytes + size > WAITING_LIMITS * self.limit:
            raise ProblemError(503, "too many uploads at once; try again in a second", Retry_After=str(RETRY_AFTER))
        self._count, self._bytes = self._count + 1, self._bytes + size
        try:
            yield await self._body(request)
        finally:
            self._count, self._bytes = self._count - 1, self._bytes - size

    def _size(self, headers: Headers) -> int:
        """Bytes that an upload may have: what its header says, or the limit."""
        given = headers.get("content-length", "")
        size = int(given) if given.isascii() and given.isdigit() else self.limit
        self._check(size)
        return size

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise ProblemError(413, f"the upload has more than {self.limit // MIB} MiB; send a smaller file")

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(SECONDS_TO_SEND):
                async for chunk in request.stream():
                    body += chunk
                    self._check(len(body))
        except TimeoutError:
            raise ProblemError(408, f"the upload took more than {SECONDS_TO_SEND:.0f} seconds; send it again") from None
        except ClientDisconnect:
            raise ProblemError(400, "the upload ended early; send it again") from None
        return bytes(body)


class Guard:
    """Lets only requests through that a page of this server, or a program, has sent; adds headers to all answers.

    A page of another site can send a POST here, but its Origin tells. It can also let its own name point to this server
    (DNS rebinding), but then the Host is that name.

    Args:
        app: What answers.
        hosts: Names under which this server is reached.
        addresses: Whether any IP address is one of them: no page of another site has one as its name.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], addresses: bool) -> None:
        self._app, self._hosts, self._addresses = app, hosts, addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        problem = self._problem(Headers(scope=scope), scope["method"])
        await (_answer(problem) if problem else self._app)(scope, receive, send_with_headers)

    def _problem(self, headers: Headers, method: str) -> ProblemError | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return ProblemError(421, f"{host[:80]!r} is not a name of this server; `lamina serve --name` adds one")
        origin = headers.get("origin")
        is_foreign = origin is not None and _place_of(origin) != host
        is_foreign |= headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        if is_foreign and method not in ("GET", "HEAD"):
            return ProblemError(403, "sent by a page of another site; open this server's own page")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            return self._addresses and bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def make_app(
    service: Service, about: dict[str, Any], hosts: Collection[str], *, addresses: bool, limit: int
) -> ASGIApp:
    """Make the application.

    Args:
        service: What answers.
        about: What the page shows of it: `GET /about`.
        hosts: As of `Guard`.
        addresses: As of `Guard`.
        limit: Bytes of an upload.
    """
    uploads = Uploads(limit)

    async def page(request: Request) -> Response:
        return FileResponse(Path(__file__).with_name(PAGE[request.url.path]))

    async def facts(request: Request) -> Response:
        return JSONResponse(about)

    async def health(request: Request) -> Response:
        code = {"ready": 200, "loading": 503, "failed": 500}[service.status]
        found = {"status": service.status} | ({"error": service.error} if service.error else {})
        return JSONResponse(found, code, {"Retry-After": str(RETRY_AFTER)} if code == 503 else None)

    def answering(method: Callable[[bytes], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            service.check_ready()
            async with uploads.receive(request) as body:
                upload = content(body, request.headers.get("content-type", ""))
                try:
                    found = await service.call(method, upload)
                except RefusedError as error:
                    raise ProblemError(422, one_line(error)) from None
                except Exception as error:  # of a library: the next upload may be fine
                    print(one_line(f"error: {request.url.path}: {type(error).__name__}: {error}"), file=sys.stderr)
                    raise ProblemError(500, "an error of the server; its output says which") from None
            return Response(found, media_type="image/png") if isinstance(found, bytes) else JSONResponse(found)

        return answer

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return _answer(error)

    routes = [Route(path, page) for path in PAGE]
    routes += [Route("/about", facts), Route("/health", health)]
    routes += [
        Route(f"/{method.__name__}", answering(method), methods=["POST"])
        for method in (service.answers.predict, service.answers.explain)
    ]
    return Guard(Starlette(routes=routes, exception_handlers={ProblemError: refused}), hosts, addresses)


def content(body: bytes, content_type: str) -> bytes:
    """Return the picture or text inside the body of a request.

    Args:
        body: The file itself; a form with it (`multipart/form-data`), of which the first file or field counts; or JSON
            with the key `text`.
        content_type: Header of the request.

    Raises:
        ProblemError: If the body is not what the header says.
    """
    kind, options = parse_options_header(content_type)
    if kind.lower() == "multipart/form-data":
        return _first_part(body, options.get("boundary", ""))
    return _text_of(body) if kind.lower() == "application/json" else body


def _text_of(body: bytes) -> bytes:
    """Return the text in JSON; null or a number is none: it is not answered as the words `None` or `5`."""
    try:
        text = json.loads(body)["text"]
        if not isinstance(text, str):
            raise TypeError
        return text.encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ProblemError(400, 'not valid JSON; expected {"text": "..."}') from None


def _first_part(body: bytes, boundary: str) -> bytes:
    """Return the first file, or the first field, of a form."""
    decoder = MultipartDecoder(boundary.encode(), max_parts=100)
    decoder.receive_data(body)
    decoder.receive_data(None)
    parts: list[tuple[bool, bytearray]] = []
    try:
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, File | Field):
                parts.append((isinstance(event, File), bytearray()))
            elif isinstance(event, Data):
                parts[-1][1].extend(event.data)
    except Exception:  # of a broken form: the parser raises errors of several types
        raise ProblemError(400, "not a valid form; expected multipart/form-data with a file") from None
    if not parts:
        raise ProblemError(400, "a form without a file; expected multipart/form-data with a file")
    return bytes(max(parts, key=lambda part: part[0])[1])  # the first file, if there is one


def _place_of(origin: str) -> str | None:
    """Return host and port of an Origin; None where it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _answer(problem: ProblemError) -> Response:
    return JSONResponse({"error": str(problem)}, problem.status, problem.headers)
