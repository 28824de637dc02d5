"""Fetching one file over HTTP: resumed where it was cut, tried again while there is hope, bounded by the disk."""

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
RESERVE: Final = 2**28  # bytes left free on the disk by a file whose size nobody told
REDIRECTS: Final = 10
# of HTTP's client errors those that pass: request timeout, too early, too many requests
PASSING: Final = (408, 425, 429)
HEAD: Final = 2**9  # enough to see that something is a page
PAGE: Final = 2**16  # enough to find its title

# (cause, what to say of it, whether another attempt may do better); the first that fits counts
CAUSES: Final[tuple[tuple[type[BaseException], str, bool], ...]] = (
    (ssl.SSLCertVerificationError, "its TLS certificate is not trusted", False),
    (requests.TooManyRedirects, f"redirects in a circle, or more than {REDIRECTS} times", False),
    (requests.exceptions.InvalidURL, "redirects to what is no address", False),
    (requests.exceptions.InvalidSchema, "redirects to what is neither http nor https", False),
    (requests.exceptions.ProxyError, "the proxy does not let it through", True),
    (socket.gaierror, "its host's name cannot be resolved", True),
    (ConnectionRefusedError, "connection refused", True),
    (ssl.SSLError, "TLS failed", True),
    (requests.ConnectTimeout, "no connection within {connect:g} s", True),
    (requests.ReadTimeout, "silent for {silence:g} s", True),
    (urllib3.exceptions.ReadTimeoutError, "silent for {silence:g} s", True),
    (BaseException, "the connection was cut", True),
)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for a server, in seconds, and how often to come back.

    connect: for a connection; silence: for the next bytes; retries: attempts after one that failed, as long as
    none gets further; first_wait: before the first of them, doubled each time up to longest_wait, which also
    bounds what a server's Retry-After may ask for.
    """

    connect: float = 15.0
    silence: float = 60.0
    retries: int = 4
    first_wait: float = 1.0
    longest_wait: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def wait(self, failures: int, told: float) -> float:
        """Seconds to wait after so many failures in a row, where the server told so many."""
        return min(max(self.first_wait * 2.0 ** (failures - 1), told), self.longest_wait)


PATIENCE: Final = Patience()


class FetchError(Exception):
    """Why a place does not give the file, in words that follow its address and hold none."""


class _PassingError(Exception):
    """What another attempt may mend; told: the seconds after which the server wants to be asked again."""

    def __init__(self, reason: str, told: float = 0.0) -> None:
        super().__init__(reason)
        self.told = told


class Session(requests.Session):
    """Connections that are kept between files; a redirect never leads from https to http."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = REDIRECTS

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target and urlsplit(resp.url).scheme == "https" and urlsplit(urljoin(resp.url, target)).scheme == "http":
            raise FetchError("redirects from https to http, which is refused")
        return target


@dataclass(frozen=True, kw_only=True)
class _Partial:
    """A file underway, and beside it what the server said of the version that it belongs to."""

    path: Path
    note: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> dict[str, str]:
        """`etag` and `modified`, as far as the server told them."""
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
    """Fetch `url` to `file`, going on with `file`.part where that is there.

    Returns whether the file was put together from several answers, which a server that tells no version of it
    may have changed in between. Raises FetchError where the place does not give it; what came stays in the part,
    and so it does after Ctrl-C or a kill.
    """
    part = _Partial(path=file.with_name(f"{file.name}.part"), note=file.with_name(f"{file.name}.part.json"))
    file.parent.mkdir(parents=True, exist_ok=True)
    furthest, failures = part.size, 0
    while True:
        try:
            resumed = _attempt(url, part, session, patience, what=f"fetch {file.name.partition('-')[2]}")
            break
        except _PassingError as error:
            failures = failures + 1 if part.size <= furthest else 1
            furthest = max(furthest, part.size)
            if failures > patience.retries:
                raise FetchError(str(error)) from None
            wait = patience.wait(failures, error.told)
            print(f"{urlsplit(url).hostname}: {error}; trying again in {wait:g} s", file=sys.stderr, flush=True)
            patience.sleep(wait)
    part.path.replace(file)
    part.discard()
    return resumed


def _attempt(url: str, part: _Partial, session: requests.Session, patience: Patience, *, what: str) -> bool:
    """Ask once; write what comes. Returns whether it came on top of a part."""
    size = part.size
    headers = {"Accept-Encoding": "identity"}
    if size:
        headers["Range"] = f"bytes={size}-"
        version = part.version()
        # a weak ETag may stand for other bytes, so that it must not be used here (RFC 9110, 13.1.5)
        strong = "" if version.get("etag", "").startswith("W/") else version.get("etag", "")
        if validator := strong or version.get("modified", ""):
            headers["If-Range"] = validator
    with _explained(patience):
        answer = session.get(url, headers=headers, stream=True, timeout=(patience.connect, patience.silence))
        with answer:
            offset = _offset(answer, part, size)
            if offset is not None:
                _receive(answer, part, offset, what)
    return offset != 0


def _offset(answer: requests.Response, part: _Partial, size: int) -> int | None:
    """Where in the file the answer's body belongs; None where the part is the whole file already."""
    status = answer.status_code
    told = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if status == HTTPStatus.OK:
        return 0
    if status == HTTPStatus.PARTIAL_CONTENT and size:
        version, now = part.version(), _version(answer)
        if told and told[1] == str(size) and all(version[key] == now[key] for key in version.keys() & now.keys()):
            return size
        part.discard()
        raise _PassingError("the file there has changed")
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and size:
        if told and told[2] == str(size):
            return None
        part.discard()
        raise _PassingError("the file there has become shorter")
    reason = f"answered {status} {responses.get(status, '')}".rstrip()
    if status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _PassingError(reason, _retry_after(answer))
    raise FetchError(reason)


def _version(answer: requests.Response) -> dict[str, str]:
    told = {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified")}
    return {key: value for key, value in told.items() if value}


def _retry_after(answer: requests.Response) -> float:
    """Seconds that the server wants to be left alone: told as such, or as a date."""
    told = answer.headers.get("Retry-After", "").strip()
    if told.isdecimal():
        return float(told[:9])
    with suppress(ValueError, TypeError):
        when = parsedate_to_datetime(told)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return 0.0


def _receive(answer: requests.Response, part: _Partial, offset: int, what: str) -> None:
    """Write the body to the part from `offset` on; raise where it is a page, too large, or ends too early."""
    total = _total(answer, offset)
    _check_room(part.path.parent, None if total is None else total - offset)
    # read1 gives what has come, so that a cut connection loses nothing; undecoded, as the digest is of that
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
                    f"tells no size, and left less than {RESERVE // 2**20} MiB free on the disk; free some"
                )
    if total is not None and part.size < total:
        raise _PassingError(f"ended after {part.size} of {total} bytes")


def _total(answer: requests.Response, offset: int) -> int | None:
    """The whole file's size, as far as the server tells it."""
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if offset and whole.isdecimal():
        return int(whole)
    length = answer.headers.get("Content-Length", "")
    return offset + int(length) if length.isdecimal() else None


def _check_room(folder: Path, needed: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if needed is not None and needed > free:
        raise FetchError(
            f"needs {_mebibytes(needed)} MiB on the disk, where {_mebibytes(needed - free)} MiB are missing; free some"
        )


def _mebibytes(size: int) -> int:
    return -(-size // 2**20)


def _at_least(size: int, chunks: Iterator[bytes]) -> bytes:
    """The first so many bytes, or a few more; all where there are fewer."""
    head = b""
    while len(head) < size and (chunk := next(chunks, b"")):
        head += chunk
    return head


def _refuse_page(answer: requests.Response, head: bytes, chunks: Iterator[bytes]) -> None:
    """Raise FetchError where a page came, of an error or a login, although the status says that all is well."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    is_page = start.startswith((b"<!doctype html", b"<html"))
    is_called_page = start.startswith(b"<") and "html" in answer.headers.get("Content-Type", "").lower()
    if not (is_page or is_called_page):
        return
    text = (head + _at_least(PAGE - len(head), chunks)).decode(errors="replace")
    found = re.search(r"<title[^>]*>([^<]*)", text, flags=re.IGNORECASE)
    title = " ".join(unescape(found[1]).split())[:80] if found else ""
    raise FetchError("an HTML page came in place of the file" + (f", titled {title!r}" if title else ""))


@contextmanager
def _explained(patience: Patience) -> Iterator[None]:
    """Turn what the libraries raise into words of our own: theirs hold the address with all its secrets."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        causes = list(_causes(error))
        words, hope = next((words, hope) for kind, words, hope in CAUSES if any(isinstance(c, kind) for c in causes))
        reason = words.format(connect=patience.connect, silence=patience.silence) + _detail(causes)
        raise (_PassingError if hope else FetchError)(reason) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _detail(causes: list[Any]) -> str:
    """What TLS says of a certificate: expired, self-signed, of another host."""
    return next((f" ({c.verify_message})" for c in causes if isinstance(c, ssl.SSLCertVerificationError)), "")
