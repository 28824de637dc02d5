"""A web server on loopback whose behavior, good or bad, depends on the path."""

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from packing import Files


class Server:
    """A server on loopback. The first part of a path selects its behavior, the last part the file.

    log: for each request the path, the requested Range, and the number of bytes of the body that were sent.
    """

    def __init__(self) -> None:
        self.files: Files = {}
        self.ended: list[tuple[str, str | None, int]] = []
        self.seen: Counter[str] = Counter()
        self.underway = 0
        self.change = threading.Condition()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.scheme = "http"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.http.server_port}/{path}"

    @property
    def log(self) -> list[tuple[str, str | None, int]]:
        """The finished requests; waits for all answers to end, since a client may have its last byte earlier."""
        with self.change:
            assert self.change.wait_for(lambda: not self.underway, timeout=20)
            return list(self.ended)

    def ranges(self) -> list[str | None]:
        return [asked for _, asked, _ in self.log]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(request.path.partition("?")[0].strip("/"))
        behavior, name = path.split("/")[0], path.split("/")[-1]
        with self.change:
            first = not self.seen[path]
            self.seen[path] += 1
            self.underway += 1
        sent = 0
        try:
            sent = getattr(self, behavior)(request, self.files.get(name), first)
        finally:
            with self.change:
                self.ended.append((path, request.headers["Range"], sent))
                self.underway -= 1
                self.change.notify_all()

    def send(
        self,
        request: BaseHTTPRequestHandler,
        data: bytes,
        *,
        status: int = 200,
        most: int | None = None,
        pause: float = 0.0,
        **headers: object,
    ) -> int:
        """Send a body, or only its first `most` bytes and then cut the connection."""
        request.send_response(status)
        for key, value in {"Content_Length": len(data), **headers}.items():
            if value is not None:
                request.send_header(key.replace("_", "-"), str(value))
        request.end_headers()
        body = data if most is None else data[:most]
        request.close_connection = most is not None or headers.get("Content_Length", 0) is None
        for start in range(0, len(body), 2**14):
            try:
                request.wfile.write(body[start : start + 2**14])
            except OSError:
                return start
            time.sleep(pause)
        return len(body)

    def part(
        self,
        request: BaseHTTPRequestHandler,
        data: bytes,
        *,
        version: str | None = '"1"',
        obey: bool = True,
        end: int | None = None,
        **how: Any,
    ) -> int:
        """Send the requested Range; the whole file if If-Range names another version and is obeyed."""
        asked, condition = request.headers["Range"], request.headers["If-Range"]
        if not asked or (obey and condition not in (None, version)):
            return self.send(request, data, ETag=version, **how)
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            return self.send(request, b"", status=416, Content_Range=f"bytes */{len(data)}")
        content_range = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self.send(request, data[start:end], status=206, ETag=version, Content_Range=content_range, **how)

    # behaviors: (request, the file, whether this is the first request of the path) -> bytes of the body that were sent

    def fine(self, request: Any, data: bytes | None, first: bool) -> int:
        return self.send(request, b"no", status=404) if data is None else self.part(request, data)

    def cut(self, request: Any, data: bytes, first: bool) -> int:
        return self.part(request, data, most=len(data) // 2 if first else None)

    def stutter(self, request: Any, data: bytes, first: bool) -> int:
        return self.part(request, data, most=len(data) // 8 + 1)

    def slow(self, request: Any, data: bytes, first: bool) -> int:
        return self.part(request, data, pause=0.05)

    def unversioned(self, request: Any, data: bytes, first: bool) -> int:
        return self.part(request, data, version=None, most=len(data) // 2 if first else None)

    def unranged(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, data, most=len(data) // 2 if first else None)

    def replaced(self, request: Any, data: bytes, first: bool) -> int:
        """The file changes after its first half was sent; If-Range is obeyed."""
        if first:
            return self.part(request, data[::-1], version='"0"', most=len(data) // 2)
        return self.part(request, data)

    def sneaky(self, request: Any, data: bytes, first: bool) -> int:
        """The same, but If-Range is ignored."""
        if first:
            return self.part(request, data[::-1], version='"0"', most=len(data) // 2)
        return self.part(request, data, obey=False)

    def silent_change(self, request: Any, data: bytes, first: bool) -> int:
        """The same, without a version."""
        if first:
            return self.part(request, data[::-1], version=None, most=len(data) // 2)
        return self.part(request, data, version=None)

    def capped(self, request: Any, data: bytes, first: bool) -> int:
        """Cut once; then never more than a tenth at a time, as some storage does."""
        if first:
            return self.part(request, data, most=len(data) // 2)
        start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
        return self.part(request, data, end=start + len(data) // 10)

    def short(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, data, Content_Length=len(data) + 100, most=len(data))

    def short_ranged(self, request: Any, data: bytes, first: bool) -> int:
        return self.part(request, data, **({"Content_Length": len(data) + 100, "most": len(data)} if first else {}))

    def long(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, data, Content_Length=len(data) - 100, most=len(data))

    def unmeasured(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, data, Content_Length=None)

    def vast(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, data, Content_Length=10**17, most=len(data))

    def page(self, request: Any, data: bytes, first: bool) -> int:
        text = b"\n<!DOCTYPE html><html><head><title>Log&nbsp;in\n first</title></head></html>"
        return self.send(request, text, Content_Type="text/html; charset=utf-8")

    def cut_then_page(self, request: Any, data: bytes, first: bool) -> int:
        return self.cut(request, data, True) if first else self.page(request, data, False)

    def forbidden(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, b"", status=403)

    def broken(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, b"", status=500)

    def broken_twice(self, request: Any, data: bytes, first: bool) -> int:
        return self.broken(request, data, first) if max(self.seen.values()) < 3 else self.fine(request, data, first)

    def busy(self, request: Any, data: bytes, first: bool) -> int:
        if first:
            return self.send(request, b"", status=429, Retry_After=7)
        return self.fine(request, data, first)

    def very_busy(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, b"", status=503, Retry_After="Fri, 31 Dec 2100 23:59:59 GMT")

    def moved(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, b"", status=302, Location="/fine/" + request.path.rpartition("/")[2])

    def circle(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, b"", status=302, Location=request.path)

    def astray(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, b"", status=302, Location="http://[::1/big.bin")

    def downgrade(self, request: Any, data: bytes, first: bool) -> int:
        return self.send(request, b"", status=302, Location=f"http://127.0.0.1:{self.http.server_port}/fine/a.zip")

    def mute(self, request: Any, data: bytes, first: bool) -> int:
        time.sleep(1)
        return self.send(request, data)
