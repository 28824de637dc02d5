"""URLs of files: checks, file names, and a form without secrets for messages."""

import re
from urllib.parse import quote, unquote, urlsplit

from lamina.data.sources.members import is_ignored


def fault(url: str, *, folder: bool = False) -> str:
    """Check a URL.

    Args:
        url: The URL.
        folder: Whether it may end in `/`; else its path must end in the name of a file.

    Returns:
        What is wrong, as words that follow the URL; empty if it is valid.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no valid URL"
    if parts.scheme not in ("http", "https"):
        return "cannot be downloaded: expected https://... or http://..."
    if not host or not url.isprintable():
        return "is no valid URL: expected https://HOST/PATH"
    if not (folder and url.endswith("/")) and not _is_name(file_name(url)):
        return "names no file: expected a URL whose path ends in the name of a file"
    return ""


def _is_name(name: str) -> bool:
    return bool(name) and name.isprintable() and not {"/", "\\"} & set(name) and not is_ignored(name)


def file_name(url: str) -> str:
    """Return the last part of a URL's path, decoded; empty if it ends in `/`."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def shown(url: str) -> str:
    """Return a URL for messages: without user, password and query, which may be secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(an invalid URL)"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?..." if parts.query else "")


def all_urls(url: str, mirrors: tuple[str, ...]) -> list[str]:
    """Return the URLs of a file: its own, then those of the mirrors.

    Args:
        url: URL of the file.
        mirrors: URLs of the same file, or of folders that contain it; these end in `/`.
    """
    name = quote(file_name(url))
    return list(dict.fromkeys([url, *(mirror + name if mirror.endswith("/") else mirror for mirror in mirrors)]))


def is_url(text: str) -> bool:
    """Whether a text is a URL (of any scheme) rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
