"""Downloads a file over HTTP: resumes after an interruption, retries temporary errors, and checks the free disk."""

import json
import re
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from http import HTTPStatus
from http.client import responses
from itertools import chain
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from lamina.files import write_json
from lamina.progress import progress_bytes

CHUNK: Final = 2**18
RESERVE: Final = 2**28  # bytes that a file of unknown size leaves free on the disk
REDIRECTS: Final = 10
# client errors that are temporary: request timeout, too early, too many requests
TEMPORARY: Final = (408, 425, 429)
HEAD: Final = 2**9  # bytes that show whether something is an HTML page
PAGE: Final = 2**16  # bytes that contain its title

PROXY: Final = "http_proxy, https_proxy or all_proxy"  # variables

# (exception, message, whether a retry may help); the first that matches counts
CAUSES: Final[tuple[tuple[type[BaseException], str, bool], ...]] = (
    (ssl.SSLCertVerificationError, "its TLS certificate is not trusted", False),
    (requests.TooManyRedirects, f"redirects in a circle, or more than {REDIRECTS} times", False),
    # the URL itself was checked before: what is wrong is the target of a redirect, or the address of a proxy
    (requests.exceptions.InvalidURL, f"redirects to an invalid URL, or {PROXY} names one", False),
    (
        requests.exceptions.InvalidSchema,
        f"redirects to a URL that is neither http nor https, or {PROXY} names one",
        False,
    ),
    (requests.exceptions.ProxyError, "the proxy refuses the connection", True),
    (socket.gaierror, "the name of its host cannot be resolved", True),
    (ConnectionRefusedError, "connection refused", True),
    (ssl.SSLError, "TLS failed", True),
    (requests.ConnectTimeout, "no connection within {connect:g} s", True),
    (requests.ReadTimeout, "no data for {silence:g} s", True),
    (urllib3.exceptions.ReadTimeoutError, "no data for {silence:g} s", True),
    (BaseException, "the connection was cut", True),
)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Timeouts in seconds, and number of retries.

    Attributes:
        connect: Timeout of a connection.
        silence: Timeout of the next bytes.
        retries: Attempts after a failed one; counted again after each attempt that received data.
        first_wait: Wait before the first retry; doubled for each further retry.
        longest_wait: Longest wait, also for a server's Retry-After.
        sleep: Function that waits.
    """

    connect: float = 15.0
    silence: float = 60.0
    retries: int = 4
    first_wait: float = 1.0
    longest_wait: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def wait(self, failures: int, requested: float) -> float:
        """Return the seconds to wait.

        Args:
            failures: Number of failures in a row.
            requested: Seconds that the server requests.
        """
        return min(max(self.first_wait * 2.0 ** (failures - 1), requested), self.longest_wait)


PATIENCE: Final = Patience()


class FetchError(Exception):
    """Why a URL does not return the file; the message follows the URL and contains none."""


class _TemporaryError(Exception):
    """An error that a retry may solve. wait: seconds that the server requests before the retry."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Session(requests.Session):
    """Connections that are reused between files; refuses redirects from https to http."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = REDIRECTS

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        try:
            target = super().get_redirect_target(resp)
            scheme = urlsplit(urljoin(resp.url, target or "")).scheme
        except ValueError:
            raise FetchError("redirects to an invalid URL") from None
        if urlsplit(resp.url).scheme == "https" and scheme == "http":
            raise FetchError("redirects from https to http, which is refused")
        return target


@dataclass(frozen=True, kw_only=True)
class _Partial:
    """A partly downloaded file, and next to it a note of the version that the server sends."""

    path: Path
    note: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> dict[str, str]:
        """`etag` and `modified`, as far as the server sent them."""
        with suppress(FileNotFoundError, ValueError):
            return dict(json.loads(self.note.read_text(encoding="utf-8")))
        return {}

    def begin(self, answer: requests.Response) -> None:
        self.path.write_bytes(b"")
        write_json(self.note, _version(answer))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def fetch(url: str, file: Path, *, session: requests.Session, patience: Patience) -> bool:
    """Download a file; resume from `FILE.part` if it exists.

    The part also stays after an error, Ctrl-C or a kill.

    Args:
        url: URL of the file.
        file: Where to write it.
        session: Connections to reuse.
        patience: Timeouts and retries.

    Returns:
        Whether the file was assembled from several answers. A server without version headers may have changed it in
        between.

    Raises:
        FetchError: If the URL does not return the file.
    """
    part = _Partial(path=file.with_name(f"{file.name}.part"), note=file.with_name(f"{file.name}.part.json"))
    file.parent.mkdir(parents=True, exist_ok=True)
    furthest, failures = part.size, 0
    while True:
        try:
            resumed = _attempt(url, part, session, patience, what=f"fetch {file.name.partition('-')[2]}")
            break
        except _TemporaryError as error:
            failures = failures + 1 if part.size <= furthest else 1
            furthest = max(furthest, part.size)
            if failures > patience.retries:
                raise FetchError(str(error)) from None
            wait = patience.wait(failures, error.wait)
            print(f"{urlsplit(url).hostname}: {error}; trying again in {wait:g} s", file=sys.stderr, flush=True)
            patience.sleep(wait)
    part.path.replace(file)
    part.discard()
    return resumed


def _attempt(url: str, part: _Partial, session: requests.Session, patience: Patience, *, what: str) -> bool:
    """Send one request and write its answer. Returns whether it continued a part."""
    size = part.size
    headers = {"Accept-Encoding": "identity"}
    if size:
        headers["Range"] = f"bytes={size}-"
        version = part.version()
        # a weak ETag must not be used here, because its bytes may differ (RFC 9110, 13.1.5)
        strong = "" if version.get("etag", "").startswith("W/") else version.get("etag", "")
        if validator := strong or version.get("modified", ""):
            headers["If-Range"] = validator
    with _translated_errors(patience):
        answer = session.get(url, headers=headers, stream=True, timeout=(patience.connect, patience.silence))
        with answer:
            offset = _offset(answer, part, size)
            if offset is not None:
                _receive(answer, part, offset, what)
    return offset != 0


def _offset(answer: requests.Response, part: _Partial, size: int) -> int | None:
    """Offset of the answer's body in the file; None if the part is complete."""
    status = answer.status_code
    content_range = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if status == HTTPStatus.OK:
        return 0
    if status == HTTPStatus.PARTIAL_CONTENT and size:
        version, now = part.version(), _version(answer)
        if (
            content_range
            and content_range[1] == str(size)
            and all(version[key] == now[key] for key in version.keys() & now.keys())
        ):
            return size
        part.discard()
        raise _TemporaryError("the file has changed on the server")
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and size:
        if content_range and content_range[2] == str(size):
            return None
        part.discard()
        raise _TemporaryError("the file has become shorter on the server")
    reason = f"answered {status} {responses.get(status, '')}".rstrip()
    if status in TEMPORARY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _TemporaryError(reason, _retry_after(answer))
    raise FetchError(reason)


def _version(answer: requests.Response) -> dict[str, str]:
    version = {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified")}
    return {key: value for key, value in version.items() if value}


def _retry_after(answer: requests.Response) -> float:
    """Seconds to wait by the header Retry-After, which is a number or a date; 0 without it."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value[:9])
    with suppress(ValueError, TypeError):
        when = parsedate_to_datetime(value)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return 0.0


def _receive(answer: requests.Response, part: _Partial, offset: int, what: str) -> None:
    """Append the body to the part; raise an error if it is an HTML page, too large, or incomplete."""
    total = _total(answer, offset)
    _check_room(part.path.parent, None if total is None else total - offset)
    # read1 returns what has arrived, so that an interruption loses nothing; not decoded, as for the digest
    chunks: Iterator[bytes] = iter(lambda: answer.raw.read1(CHUNK, decode_content=False), b"")
    if offset == 0:
        head = _at_least(HEAD, chunks)
        _refuse_page(answer, head, chunks)
        part.begin(answer)
        chunks = chain([head], chunks)
    with part.path.open("ab") as out:
        for chunk in progress_bytes(chunks, what=what, total=total, initial=offset):
            out.write(chunk)
            if total is None and shutil.disk_usage(part.path.parent).free < RESERVE:
                out.close()
                part.discard()
                raise FetchError(
                    f"sends no size, and left less than {RESERVE // 2**20} MiB free on the disk; free some"
                )
    if total is not None and part.size < total:
        raise _TemporaryError(f"ended after {part.size} of {total} bytes")


def _total(answer: requests.Response, offset: int) -> int | None:
    """Size of the whole file, if the server sends it."""
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if offset and whole.isdecimal():
        return int(whole)
    length = answer.headers.get("Content-Length", "")
    return offset + int(length) if length.isdecimal() else None


def _check_room(folder: Path, needed: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if needed is not None and needed > free:
        raise FetchError(
            f"needs {_mebibytes(needed)} MiB on the disk, but {_mebibytes(needed - free)} MiB are missing; free some"
        )


def _mebibytes(size: int) -> int:
    return -(-size // 2**20)


def _at_least(size: int, chunks: Iterator[bytes]) -> bytes:
    """The first `size` bytes or a few more; all if there are fewer."""
    head = b""
    while len(head) < size and (chunk := next(chunks, b"")):
        head += chunk
    return head


def _refuse_page(answer: requests.Response, head: bytes, chunks: Iterator[bytes]) -> None:
    """Raise FetchError for an HTML page (an error or a login) that comes with a status of success."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    is_page = start.startswith((b"<!doctype html", b"<html"))
    is_called_page = start.startswith(b"<") and "html" in answer.headers.get("Content-Type", "").lower()
    if not (is_page or is_called_page):
        return
    text = (head + _at_least(PAGE - len(head), chunks)).decode(errors="replace")
    found = re.search(r"<title[^>]*>([^<]*)", text, flags=re.IGNORECASE)
    title = " ".join(unescape(found[1]).split())[:80] if found else ""
    raise FetchError("an HTML page came instead of the file" + (f", titled {title!r}" if title else ""))


@contextmanager
def _translated_errors(patience: Patience) -> Iterator[None]:
    """Replace the messages of the libraries, which contain the URL with its secrets."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        causes = list(_causes(error))
        text, retry = next((text, retry) for kind, text, retry in CAUSES if any(isinstance(c, kind) for c in causes))
        reason = text.format(connect=patience.connect, silence=patience.silence) + _detail(causes)
        raise (_TemporaryError if retry else FetchError)(reason) from None
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        raise FetchError(f"{error}; correct the variable REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE") from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _detail(causes: list[Any]) -> str:
    """Why a certificate is not trusted: expired, self-signed, of another host."""
    return next((f" ({c.verify_message})" for c in causes if isinstance(c, ssl.SSLCertVerificationError)), "")
