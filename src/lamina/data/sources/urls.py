"""Addresses of files on the web, as params.yaml gives them and as messages may show them."""

import re
from urllib.parse import quote, unquote, urlsplit

from lamina.data.sources.members import is_ignored


def fault(url: str, *, folder: bool = False) -> str:
    """What is wrong with an address, in words that follow it; nothing where it is fine.

    folder: whether it may end in `/`; else its path has to end in a file's name.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https"):
        return "is no address that can be fetched: expected https://... or http://..."
    if not host or not url.isprintable():
        return "is no address: expected https://HOST/PATH"
    if not (folder and url.endswith("/")) and not _is_name(file_name(url)):
        return "names no file: expected an address whose path ends in a file's name"
    return ""


def _is_name(name: str) -> bool:
    return bool(name) and name.isprintable() and not {"/", "\\"} & set(name) and not is_ignored(name)


def file_name(url: str) -> str:
    """The last part of an address' path, decoded; nothing where it ends in `/`."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def shown(url: str) -> str:
    """An address for a message: without user, password and query, which may hold secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(an unreadable address)"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?..." if parts.query else "")


def places(url: str, mirrors: tuple[str, ...]) -> list[str]:
    """Where to look for a file: its own address, then each mirror's; one that ends in `/` holds it by its name."""
    name = quote(file_name(url))
    return list(dict.fromkeys([url, *(mirror + name if mirror.endswith("/") else mirror for mirror in mirrors)]))


def is_url(text: str) -> bool:
    """Whether a text is meant as an address, of whatever scheme, rather than as a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
