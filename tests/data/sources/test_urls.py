"""The source `url`: downloads from working servers and from broken ones."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from checkout import ROOT
from lamina.commands.new import new
from lamina.config import read_params, section
from lamina.data.sources import fetch as fetching
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.fetch import FetchError, Patience, Session, fetch
from lamina.data.sources.fetched import DOWNLOADS, fits_digest, obtain, open_fetched
from lamina.data.sources.listing import LISTING, listing
from lamina.data.sources.source import open_source
from lamina.data.sources.survey import COPY_OR_OTHER
from lamina.data.sources.urls import fault, file_name, shown
from lamina.errors import UserError
from lamina.stages.download import download
from loopback import Server
from packing import Files, copies, idx_pair, picture, tarred, zipped

BIG = bytes(range(256)) * 4096  # 1 MiB: more than what sockets hold back, so that half of it is half


# ---- what is served


PETS: Files = {f"{kind}/{index}.png": picture(index) for kind in ("cat", "dog") for index in range(3)}


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "LAMINA_MIRROR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = Server()
    server.files = {"big.bin": BIG, "a.zip": zipped(PETS)}
    yield server
    server.close()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def patience(waits: list[float]) -> Patience:
    return Patience(connect=20, silence=20, retries=3, sleep=waits.append)


def get(url: str, folder: Path, patience: Patience) -> bytes:
    with Session() as session:
        fetch(url, folder / "12345678-file", session=session, patience=patience)
    return (folder / "12345678-file").read_bytes()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---- one file


@pytest.mark.parametrize("behavior", ["fine", "unmeasured", "moved"])
def test_a_file_comes_whole_at_once(server: Server, tmp_path: Path, patience: Patience, behavior: str) -> None:
    assert get(server.url(f"{behavior}/big.bin"), tmp_path, patience) == BIG
    assert left(tmp_path) == ["12345678-file"]
    assert patience.sleep.__self__ == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("behavior", ["cut", "stutter", "unversioned", "capped"])
def test_what_was_cut_is_resumed_and_no_byte_sent_twice(
    server: Server, tmp_path: Path, patience: Patience, behavior: str
) -> None:
    assert get(server.url(f"{behavior}/big.bin"), tmp_path, patience) == BIG
    assert server.ranges()[0] is None
    assert server.ranges()[1] == f"bytes={server.log[0][2]}-"
    assert sum(sent for _, _, sent in server.log) == len(BIG)
    assert left(tmp_path) == ["12345678-file"]


@pytest.mark.parametrize("behavior", ["unranged", "replaced", "sneaky"])
def test_a_file_that_changed_or_cannot_be_resumed_is_downloaded_again(
    server: Server, tmp_path: Path, patience: Patience, behavior: str
) -> None:
    assert get(server.url(f"{behavior}/big.bin"), tmp_path, patience) == BIG
    # a server that obeys If-Range, or knows no Range, sends the whole file at once
    again = [None] if behavior == "sneaky" else []
    assert server.ranges() == [None, f"bytes={len(BIG) // 2}-", *again]
    assert left(tmp_path) == ["12345678-file"]


def test_progress_resets_the_count_of_failures(
    server: Server, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    get(server.url("stutter/big.bin"), tmp_path, patience)
    assert len(waits) > patience.retries
    assert set(waits) == {patience.first_wait}


def test_waits_double_and_end(server: Server, tmp_path: Path, patience: Patience, waits: list[float]) -> None:
    with pytest.raises(FetchError, match=r"^answered 500 Internal Server Error$"):
        get(server.url("broken/big.bin"), tmp_path, patience)
    assert waits == [1, 2, 4]
    assert get(server.url("broken_twice/big.bin"), tmp_path, patience) == BIG


def test_the_wait_that_a_server_requests_is_respected_up_to_a_limit(
    server: Server, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    assert get(server.url("busy/big.bin"), tmp_path, patience) == BIG
    assert waits == [7]
    with pytest.raises(FetchError, match="answered 503 Service Unavailable"):
        get(server.url("very_busy/big.bin"), tmp_path, patience)
    assert waits == [7, *[patience.longest_wait] * 3]


@pytest.mark.parametrize(
    ("path", "words", "attempts"),
    [
        ("fine/none.bin", r"^answered 404 Not Found$", 1),
        ("forbidden/big.bin", r"^answered 403 Forbidden$", 1),
        ("circle/big.bin", r"^redirects in a circle, or more than 10 times$", 11),
        ("astray/big.bin", r"^redirects to an invalid URL$", 1),
        ("page/big.bin", r"^an HTML page came instead of the file, titled 'Log in first'$", 1),
        ("vast/big.bin", r"^needs \d+ MiB on the disk, but \d+ MiB are missing; free some$", 1),
        ("short/big.bin", r"^the connection was cut$", 4),
    ],
)
def test_a_failing_server_gives_a_clear_message(
    server: Server, tmp_path: Path, patience: Patience, path: str, words: str, attempts: int
) -> None:
    with pytest.raises(FetchError, match=words):
        get(server.url(path), tmp_path, patience)
    assert server.seen.total() == attempts


def test_silence_refusal_and_unknown_hosts_are_reported(server: Server, tmp_path: Path, waits: list[float]) -> None:
    once = Patience(connect=20, silence=0.3, retries=0, sleep=waits.append)
    with pytest.raises(FetchError, match=r"^no data for 0\.3 s$"):
        get(server.url("mute/big.bin"), tmp_path, once)
    server.close()
    with pytest.raises(FetchError, match=r"^connection refused$"):
        get(server.url("fine/big.bin"), tmp_path, once)
    with pytest.raises(FetchError, match=r"^the name of its host cannot be resolved$"):
        get("http://nowhere.invalid/big.bin", tmp_path, once)


def test_a_proxy_that_is_no_url_is_named(
    server: Server, tmp_path: Path, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://:8080")
    with pytest.raises(FetchError, match="or http_proxy, https_proxy or all_proxy names one"):
        get(server.url("fine/big.bin"), tmp_path, patience)


def test_a_length_that_is_too_large_is_detected_by_ranges(server: Server, tmp_path: Path, patience: Patience) -> None:
    assert get(server.url("short_ranged/big.bin"), tmp_path, patience) == BIG
    assert server.ranges() == [None, f"bytes={len(BIG)}-"]


def test_a_page_does_not_spoil_a_part(server: Server, tmp_path: Path, patience: Patience) -> None:
    with pytest.raises(FetchError, match="an HTML page came"):
        get(server.url("cut_then_page/big.bin"), tmp_path, patience)
    assert (tmp_path / "12345678-file.part").read_bytes() == BIG[: len(BIG) // 2]


def test_without_a_length_the_disk_is_never_filled(
    server: Server, tmp_path: Path, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "RESERVE", 2**60)
    with pytest.raises(FetchError, match=r"sends no size, and left less than .* MiB free on the disk"):
        get(server.url("unmeasured/big.bin"), tmp_path, patience)
    assert left(tmp_path) == []


def test_a_full_disk_is_an_error_of_the_disk(server: Server, tmp_path: Path, patience: Patience) -> None:
    (tmp_path / "12345678-file.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        get(server.url("unversioned/big.bin"), tmp_path, patience)


# ---- TLS


@pytest.fixture
def secure(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server speaks TLS; the certificate that it shows, signed by itself."""
    import ssl

    if not shutil.which("openssl"):
        pytest.skip("openssl is not there")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out certificate"
    subject = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *subject], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    server.http.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.scheme = "https"
    return folder / "certificate"


def test_a_self_signed_certificate_is_refused(
    server: Server, secure: Path, tmp_path: Path, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FetchError, match=r"^its TLS certificate is not trusted \(self-signed certificate\)$"):
        get(server.url("fine/big.bin"), tmp_path, patience)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "nowhere.pem")
    with pytest.raises(FetchError, match=r"invalid path: nowhere\.pem; correct the variable REQUESTS_CA_BUNDLE"):
        get(server.url("fine/big.bin"), tmp_path, patience)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(secure))
    assert get(server.url("fine/big.bin"), tmp_path, patience) == BIG
    with pytest.raises(FetchError, match="redirects from https to http, which is refused"):
        get(server.url("downgrade/a.zip"), tmp_path, patience)


# ---- places: mirrors, kept files, LAMINA_MIRROR


def find(url: str, folder: Path, patience: Patience, data: bytes, *mirrors: str) -> bytes:
    with Session() as session:
        check = fits_digest(digest(data))
        return obtain(url, mirrors, check, folder, session=session, patience=patience).path.read_bytes()


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        attempt()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_file_is_kept_and_used_again_while_it_fits(server: Server, tmp_path: Path, patience: Patience) -> None:
    url = server.url("fine/big.bin")
    assert find(url, tmp_path, patience, BIG) == BIG
    assert left(tmp_path) == [f"{digest(url.encode())[:8]}-big.bin"]
    assert find(url, tmp_path, patience, BIG) == BIG
    assert len(server.log) == 1
    server.files["big.bin"] = b"other"
    assert find(url, tmp_path, patience, b"other") == b"other"
    assert len(server.log) == 2


def test_a_digest_can_be_corrected_without_another_download(server: Server, tmp_path: Path, patience: Patience) -> None:
    url, mirror = server.url("fine/big.bin"), server.url("unmeasured/big.bin")
    said = refusal(lambda: find(url, tmp_path, patience, b"other", mirror))
    expected, got = digest(b"other"), digest(BIG)
    assert said.count(f"source.sha256 expects {expected}, got {got}") == 2
    assert f"{url}: source" in said
    assert f"{mirror}: source" in said
    assert f"correct the digest: {tmp_path}/" in said
    assert len(left(tmp_path)) == 1
    assert find(url, tmp_path, patience, BIG, mirror) == BIG
    assert len(server.log) == 2


def test_a_kept_file_with_another_digest_stays_while_the_server_fails(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    url = server.url("fine/big.bin")
    find(url, tmp_path, patience, BIG)
    del server.files["big.bin"]
    said = refusal(lambda: find(url, tmp_path, patience, b"other"))
    assert f"answered 404 Not Found, and {tmp_path}" in said
    assert f"source.sha256 expects {digest(b'other')}, got {digest(BIG)}" in said
    assert find(url, tmp_path, patience, BIG) == BIG


def test_an_error_names_no_file_that_is_gone(server: Server, tmp_path: Path, patience: Patience) -> None:
    server.files["copy.bin"] = b"copy"
    url, mirror = server.url("fine/own.bin"), server.url("fine/copy.bin")
    assert f"got {digest(b'copy')}" in refusal(lambda: find(url, tmp_path, patience, BIG, mirror))
    server.files = {"own.bin": b"own"}
    said = refusal(lambda: find(url, tmp_path, patience, BIG, mirror))
    assert f"got {digest(b'own')}" in said
    assert digest(b"copy") not in said
    assert [name[8:] for name in left(tmp_path)] == ["-own.bin"]


def test_a_file_of_two_versions_is_fetched_once_more(server: Server, tmp_path: Path, patience: Patience) -> None:
    assert find(server.url("silent_change/big.bin"), tmp_path, patience, BIG) == BIG
    assert server.ranges() == [None, f"bytes={len(BIG) // 2}-", None]


def test_a_length_that_is_too_small_is_detected_by_the_digest(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    said = refusal(lambda: find(server.url("long/big.bin"), tmp_path, patience, BIG))
    assert f"got {digest(BIG[:-100])}" in said


@pytest.mark.parametrize("first", ["fine/none.bin", "forbidden/big.bin", "page/big.bin", "short/other.bin"])
def test_mirrors_are_tried_in_turn(server: Server, tmp_path: Path, patience: Patience, first: str) -> None:
    server.files.update({"none.bin": BIG, "other.bin": BIG} if first.startswith("short") else {})
    name = first.rpartition("/")[2]
    server.files.setdefault("copy.bin", BIG)
    missing, exact = server.url("forbidden/"), server.url("fine/copy.bin")
    assert find(server.url(first), tmp_path, patience, BIG, missing, exact) == BIG
    assert f"forbidden/{name}" in {path for path, _, _ in server.log}
    assert server.log[-1][0] == "fine/copy.bin"


def test_a_mirror_that_serves_something_else_is_passed_over(server: Server, tmp_path: Path, patience: Patience) -> None:
    server.files["a# b.bin"] = BIG
    url = server.url("page/a%23%20b.bin")
    server.files["wrong.bin"] = b"wrong"
    mirrors = server.url("fine/wrong.bin"), server.url("fine/")
    assert find(url, tmp_path, patience, BIG, *mirrors) == BIG
    assert [path for path, _, _ in server.log] == ["page/a# b.bin", "fine/wrong.bin", "fine/a# b.bin"]
    assert [name[8:] for name in left(tmp_path)] == ["-a# b.bin"]


def test_a_total_failure_lists_every_place(server: Server, tmp_path: Path, patience: Patience) -> None:
    url, mirrors = server.url("forbidden/a.zip?token=secret"), (server.url("page/"), server.url("broken/a.zip"))
    said = refusal(lambda: find(url.replace("//", "//me:secret@"), tmp_path, patience, BIG, *mirrors))
    assert f"{server.url('forbidden/a.zip')}?...: answered 403 Forbidden" in said
    assert f"{server.url('page/a.zip')}: an HTML page came" in said
    assert f"{server.url('broken/a.zip')}: answered 500" in said
    assert "put 'a.zip' into a folder that LAMINA_MIRROR names" in said
    assert "secret" not in said


def test_a_local_mirror_is_read_in_place(
    server: Server, tmp_path: Path, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, folder = tmp_path / "shelf", tmp_path / "downloads"
    shelf.mkdir()
    monkeypatch.setenv("LAMINA_MIRROR", str(shelf))
    said = refusal(lambda: find(server.url("fine/none.bin"), folder, patience, BIG))
    assert f"LAMINA_MIRROR {str(shelf)!r} has no file 'none.bin'" in said
    assert find(server.url("fine/big.bin"), folder, patience, BIG) == BIG
    before = len(server.log)
    (shelf / "big.bin").write_bytes(b"wrong")
    said = refusal(lambda: find(server.url("fine/big.bin"), folder, patience, BIG))
    assert said == (
        f"{shelf / 'big.bin'}: source.sha256 expects {digest(BIG)}, got {digest(b'wrong')}; LAMINA_MIRROR names its "
        "folder: put the right file there, remove it, or unset LAMINA_MIRROR; if this version is the right one, "
        "correct the digest"
    )
    (shelf / "big.bin").write_bytes(BIG)
    shutil.rmtree(folder)
    assert find(server.url("fine/big.bin"), folder, patience, BIG) == BIG
    assert not folder.exists()
    assert len(server.log) == before
    monkeypatch.setenv("LAMINA_MIRROR", str(tmp_path / "gone"))
    assert "which is no folder; correct it, or unset it" in refusal(
        lambda: find(server.url("fine/big.bin"), folder, patience, BIG)
    )


# ---- the source


def config(location: str | list[str], **keys: object) -> SourceConfig:
    values = {"kind": "url", "location": location, **keys}
    return section({"source": values}, "source", SourceConfig)


def labels_of(config: SourceConfig, system: Path) -> dict[str, tuple[str, ...]]:
    with open_source(config, seed=1, system=system) as source:
        pictures = list(source.pictures)
        assert len(pictures) == source.total
    return {one.name: one.labels for one in pictures}


def test_an_archive_gives_its_members_as_they_are(server: Server, tmp_path: Path) -> None:
    labels = labels_of(config(server.url("cut/a.zip?x=1"), sha256=digest(server.files["a.zip"]).upper()), tmp_path)
    assert labels == {name: (name[:3],) for name in sorted(PETS)}
    assert len(left(tmp_path / DOWNLOADS)) == 1


def test_several_files_are_one_source(server: Server, tmp_path: Path) -> None:
    pets = {"pets/1.png": picture(1), "boxes/7.xml": b"<annotation/>"}
    table = b"file,label\ntrain/pets/1.png,cat\n7.png,dog\n"
    served = {"train.tar.gz": tarred(pets), "extra.zip": zipped({"7.png": picture(7)}), "labels.csv": table}
    served |= {"own.PNG": picture(9)}
    server.files |= served
    urls = [server.url(f"fine/{name}") for name in served]
    digests = [digest(data) for data in served.values()]
    labels = labels_of(config(urls, sha256=digests, labels="labels.csv", boxes="train/boxes"), tmp_path)
    assert labels == {"extra/7.png": ("dog",), "own.PNG": (), "train/pets/1.png": ("cat",)}
    wrong = config(urls, sha256=[*digests[:-1], digest(b"x")], labels="labels.csv")
    assert "cannot fetch 'own.PNG': " in refusal(lambda: labels_of(wrong, tmp_path))


def test_a_pair_of_idx_files_is_one_source(server: Server, tmp_path: Path) -> None:
    pair = idx_pair("t10k", 3)
    server.files |= pair
    urls, digests = [server.url(f"fine/{name}") for name in pair], [digest(data) for data in pair.values()]
    expected = {f"t10k-images/0000{index}.png": (str(index),) for index in range(3)}
    assert labels_of(config(urls, sha256=digests, labels="idx"), tmp_path) == expected
    members = digest(listed(pair, sorted(pair)).encode())
    assert labels_of(config(urls, members=members, labels="idx"), tmp_path) == expected
    server.files["mnist.zip"] = zipped(pair)
    assert labels_of(config(server.url("fine/mnist.zip"), members=members, labels="idx"), tmp_path) == expected


def test_files_of_one_name_in_two_places_of_a_source_are_refused(server: Server, tmp_path: Path) -> None:
    server.files |= {"a.zip": zipped({"1.png": picture()}), "a.tar.gz": tarred({"1.png": picture()})}
    both = config([server.url("fine/a.zip"), server.url("fine/a.tar.gz")], members="0" * 64)
    assert "the 2 files of source.location: holds 'a/1.png' twice" in refusal(lambda: labels_of(both, tmp_path))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "source.sha256 is null, but downloaded files must be checked; set it, or source.members"),
        ({"sha256": ["0" * 64] * 2}, "source.sha256 has 2 digests, source.location 1 files"),
        ({"location": []}, "source.location: expected a path, or for kind: url a URL or a list of them, got nothing"),
        ({"location": ["https://x.org/a", 3]}, "a URL or a list of them, got int 3"),
        ({"location": None}, "source.location is null; name the url"),
        ({"location": "a.zip"}, "cannot be downloaded: expected https://"),
        ({"location": "ftp://me:secret@x.org/a.zip?secret"}, r"ftp://x.org/a.zip\?... cannot be downloaded"),
        ({"location": "https://x.org/"}, "https://x.org/ names no file"),
        ({"location": "https:///a.zip"}, "is no valid URL: expected https://HOST/PATH"),
        ({"location": "https://[x/a.zip"}, "is no valid URL"),
        ({"location": ["https://x.org/a.zip", "https://y.org/a.zip"]}, "source.location names two files 'a.zip'"),
        ({"sha256": "0" * 63}, "source.sha256: expected 64 hexadecimal digits, or null, got str '0"),
        ({"sha256": ["0" * 64, None]}, "source.sha256: expected 64 hexadecimal digits, or null, got null"),
        ({"members": "x" * 64}, "source.members: expected 64 hexadecimal digits, or null, got str 'x"),
        ({"members": "0" * 64, "mirrors": ["/srv"]}, "source.mirrors: .*cannot be downloaded"),
        ({"members": "0" * 64, "mirrors": "https://x.org/"}, "source.mirrors: input should be a valid tuple"),
        (
            {
                "members": "0" * 64,
                "location": ["https://x.org/a", "https://x.org/b"],
                "mirrors": ["https://y.org/a?s=secret"],
            },
            r"source.mirrors: https://y.org/a\?... is one file, source.location names 2; end it in /",
        ),
        ({"watch": "params.json"}, "unknown key 'source.watch'"),
        ({"kind": "archive"}, "source.location is a URL, but source.kind is archive; set kind: url"),
        ({"kind": "folder", "location": ["x"]}, "source.location is a list, but only kind: url reads several"),
        ({"kind": "archive", "location": "params.yaml", "sha256": ["0" * 64]}, "source.sha256 is a list"),
        ({"kind": "archive", "location": "params.yaml", "mirrors": ["https://x.org/"]}, "source.mirrors is set"),
        (
            {"kind": "smear", "location": None, "members": "0" * 64},
            "source.members is set, but kind: smear does not use it",
        ),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(keys: dict[str, object], words: str) -> None:
    values = {"kind": "url", "location": "https://x.org/a.zip", **keys}
    with pytest.raises(UserError, match=words) as caught:
        section({"source": values}, "source", SourceConfig)
    assert "secret" not in str(caught.value)


def test_addresses_are_shown_without_secrets() -> None:
    assert shown("https://me:pw@x.org:81/a/b.zip?key=1#f") == "https://x.org:81/a/b.zip?..."
    assert file_name("https://x.org/a%20b.zip?download=1") == "a b.zip"
    assert fault("https://x.org/records/7/files/train.zip?download=1") == ""
    for name in ("%2Fetc", "..", ".hidden", "a%0Ab.zip", "a%5Cb"):
        assert "names no file" in fault(f"https://x.org/{name}")


# ---- source.members


def listed(files: Files, names: list[str]) -> str:
    return listing({name: digest(files[name]) for name in names})


FULL: Files = {
    **PETS,
    "labels.csv": b"file,label\ncat/0.png,cat\ndog/0.png,dog\n",
    "boxes/0.xml": b"<annotation></annotation>",
    "boxes/else.xml": b"<annotation></annotation>",
    "README": b"not read",
}
READ = [*PETS]


@pytest.mark.parametrize("kind", ["folder", "archive", "url"])
def test_members_are_checked_however_they_are_packed(server: Server, tmp_path: Path, kind: str) -> None:
    members = digest(listed(FULL, [*READ, "labels.csv"]).encode())
    keys = {"members": members, "labels": "labels.csv", "location": "x", "kind": kind}
    for name, data in FULL.items():
        if kind == "folder":
            (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "x" / name).write_bytes(data)
    server.files["x"] = tarred(dict(sorted(FULL.items(), reverse=True)))
    if kind == "archive":
        (tmp_path / "x").write_bytes(server.files["x"])
    if kind == "url":
        keys["location"] = server.url("fine/x")
    right = section({"source": keys}, "source", SourceConfig)
    assert len(labels_of(right, tmp_path)) == len(PETS)
    raw = tmp_path / "raw"
    said = refusal(
        lambda: download(right.model_copy(update={"members": "0" * 64}), tmp_path, raw, seed=1),
    )
    assert f"source.members expects {'0' * 64}, got {members} of 7 files" in said
    assert "put a listing members.sha256 next to params.yaml to see which differ" in said
    assert not raw.exists()


@pytest.mark.parametrize("kind", ["archive", "url"])
def test_box_files_that_are_used_are_members(server: Server, tmp_path: Path, kind: str) -> None:
    files = {f"{kind}/{kind}{index}.png": picture(index) for kind in ("cat", "dog") for index in range(2)}
    boxes = {"boxes/cat0.xml": b"<annotation/>", "boxes/none.xml": b"<annotation/>"}
    server.files["a.zip"] = zipped(files | boxes)
    (tmp_path / "a.zip").write_bytes(server.files["a.zip"])
    members = digest(listed(files | boxes, [*files, "boxes/cat0.xml"]).encode())
    location = server.url("fine/a.zip") if kind == "url" else "a.zip"
    keys = {"kind": kind, "location": location, "boxes": "boxes", "members": members}
    assert len(labels_of(section({"source": keys}, "source", SourceConfig), tmp_path)) == 4


def test_a_listing_is_what_sha256sum_reads(tmp_path: Path) -> None:
    for name, data in PETS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    text = listed(PETS, sorted(PETS))
    done = subprocess.run(["sha256sum", "--check", "--strict"], cwd=tmp_path, input=text.encode(), check=False)
    assert done.returncode == 0


def test_members_that_differ_are_named(server: Server, tmp_path: Path) -> None:
    text = listed(PETS, sorted(PETS))
    (tmp_path / LISTING).write_text(text)
    changed = {**PETS, "cat/0.png": b"x", "cat/9.png": b"y"}
    del changed["dog/2.png"]
    server.files["a.zip"] = zipped(changed)
    source = config(server.url("fine/a.zip"), members=digest(text.encode()))
    said = refusal(lambda: labels_of(source, tmp_path))
    assert "got " in said
    assert "of 6 files: 1 changed ('cat/0.png'), 1 missing ('dog/2.png'), 1 new ('cat/9.png')" in said
    (tmp_path / LISTING).write_text(text + "\n")
    assert "members.sha256 does not match source.members" in refusal(lambda: labels_of(source, tmp_path))
    server.files["a.zip"] = zipped(PETS)
    assert len(labels_of(source, tmp_path)) == 6


def test_members_decide_between_places(
    server: Server, tmp_path: Path, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = digest(listed(PETS, sorted(PETS)).encode())
    server.files |= {"a.zip": zipped({**PETS, "cat/0.png": b"x"}), "cut.zip": server.files["a.zip"][:-40]}
    server.files["b.zip"] = tarred(PETS)
    mirrors = [server.url("fine/cut.zip"), server.url("fine/b.zip")]
    with open_fetched(config(server.url("fine/a.zip"), members=expected, mirrors=mirrors), tmp_path) as members:
        assert len(members.pictures) == 6
    server.files["c.zip"] = server.files["cut.zip"]
    damaged = config(server.url("fine/c.zip"), members=expected)
    assert "c.zip: the archive is damaged or cut short" in refusal(lambda: labels_of(damaged, tmp_path))
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "a.zip").write_bytes(server.files["a.zip"])
    monkeypatch.setenv("LAMINA_MIRROR", str(tmp_path / "shelf"))
    said = refusal(lambda: labels_of(config(server.url("fine/a.zip"), members=expected), tmp_path))
    assert said.startswith(f"{tmp_path}/shelf/a.zip: source.members expects {expected}, got ")


def test_a_mistake_in_params_fetches_nothing_again(server: Server, tmp_path: Path) -> None:
    expected = digest(listed(PETS, sorted(PETS)).encode())
    wrong = config(server.url("fine/a.zip"), members=expected, labels="label.csv")
    for _ in range(2):
        assert "no file 'label.csv' in it, which source.labels names" in refusal(lambda: labels_of(wrong, tmp_path))
    assert len(server.log) == 1


def test_messages_name_the_file_of_a_local_mirror(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 broken")
    monkeypatch.setenv("LAMINA_MIRROR", str(tmp_path))
    source = config(server.url("fine/a.zip"), sha256=digest(b"PK\3\4 broken"))
    assert refusal(lambda: labels_of(source, tmp_path)).startswith(f"{tmp_path}/a.zip: the archive is damaged")
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "b.png").write_bytes(picture(1))
    urls = [server.url("fine/a.png"), server.url("fine/b.png")]
    said = refusal(lambda: labels_of(config(urls, members="0" * 64, labels="none"), tmp_path))
    assert "got " in said
    assert f"; check the files in LAMINA_MIRROR {str(tmp_path)!r}, remove {tmp_path / DOWNLOADS} to download" in said


@pytest.mark.parametrize("several", [False, True])
def test_members_that_differ_in_a_local_mirror_are_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    prefix = "pets/" if several else ""
    files = {f"{prefix}{name}": data for name, data in many().items()} | ({"extra.png": picture()} if several else {})
    text = listed(files, sorted(files))
    (tmp_path / LISTING).write_text(text)
    (tmp_path / "shelf").mkdir()
    other = zipped({name: data + b"x" * name.startswith("cat") for name, data in many().items()})
    (tmp_path / "shelf/pets.zip").write_bytes(other)
    (tmp_path / "shelf/extra.png").write_bytes(picture())
    monkeypatch.setenv("LAMINA_MIRROR", str(tmp_path / "shelf"))
    urls = [server.url("fine/pets.zip"), server.url("fine/extra.png")][: 1 + several]
    said = refusal(lambda: labels_of(config(urls, members=digest(text.encode())), tmp_path))
    names = ", ".join(repr(f"{prefix}cat/{index}.png") for index in (0, 1, 10))
    assert f"source.members expects {digest(text.encode())}, got " in said
    assert f" of {len(files)} files: 12 changed ({names}, ...); " in said
    assert (
        f"LAMINA_MIRROR {str(tmp_path / 'shelf')!r}" in said
        if several
        else said.startswith(f"{tmp_path}/shelf/pets.zip")
    )
    assert said.endswith("correct source.members" if several else "correct the digest")
    assert not server.log


def test_members_of_several_files_are_checked_together(server: Server, tmp_path: Path) -> None:
    server.files |= {"cat.zip": zipped({"0.png": picture(0)}), "dog.zip": zipped({"0.png": picture(1)})}
    urls = [server.url("fine/cat.zip"), server.url("fine/dog.zip")]
    text = listed({"cat/0.png": picture(0), "dog/0.png": picture(1)}, ["cat/0.png", "dog/0.png"])
    right = config(urls, members=digest(text.encode()))
    assert labels_of(right, tmp_path) == {"cat/0.png": ("cat",), "dog/0.png": ("dog",)}
    said = refusal(lambda: labels_of(config(urls, members="0" * 64), tmp_path))
    assert f"remove {tmp_path / DOWNLOADS} to download again, or correct source.members" in said


# ---- the stage's own process, and kills


def system_of(folder: Path, source: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(json.dumps({"seed": 1, "source": source}))
    return folder


def stage(system: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lamina.stages.download"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        command, cwd=system, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_killed_download_resumes(server: Server, tmp_path: Path) -> None:
    server.files["a.zip"] = zipped({**PETS, "noise.bin": os.urandom(2**20)})
    source = {"kind": "url", "location": server.url("slow/a.zip")}
    system = system_of(tmp_path / "system", {**source, "sha256": digest(server.files["a.zip"])})
    running = stage(system)
    while not (sizes := [path.stat().st_size for path in system.glob(f"{DOWNLOADS}/*.part")]) or sizes[0] < 2**17:
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    (part,) = system.glob(f"{DOWNLOADS}/*.part")
    size = part.stat().st_size
    assert size < len(server.files["a.zip"])
    said, wrong = (again := stage(system)).communicate()
    assert again.returncode == 0, wrong
    assert "read 6 pictures" in said
    assert server.ranges()[-1] == f"bytes={size}-"
    assert server.log[-1][2] == len(server.files["a.zip"]) - size
    assert pq.read_table(system / "data/raw")["label"].to_pylist() == ["cat"] * 3 + ["dog"] * 3
    assert left(system) == [".lamina", "data", "params.yaml"]
    assert len(left(system / DOWNLOADS)) == 1


def test_a_stage_that_cannot_fetch_ends_with_one_line(server: Server, tmp_path: Path) -> None:
    location = server.url("fine/none.zip?key=secret").replace("//", "//me:secret@")
    source = {"kind": "url", "location": location, "sha256": "0" * 64}
    running = stage(system_of(tmp_path / "system", source))
    _, said = running.communicate()
    assert running.returncode == 2
    assert said.startswith(f"error: cannot fetch 'none.zip': {server.url('fine/none.zip')}?...: answered 404 Not Found")
    assert len(said.splitlines()) == 1
    assert "secret" not in said


# ---- lamina new


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    return tmp_path


def many(count: int = 12) -> Files:
    return {f"{kind}/{index}.png": picture(index) for kind in ("cat", "dog") for index in range(count)}


def test_a_system_is_made_from_an_address(server: Server, project: Path) -> None:
    server.files["pets.zip"] = zipped(many())
    url, system = server.url("cut/pets.zip?x=1"), project / "pets"
    right = digest(server.files["pets.zip"])
    lines = new(system, url, sha256=right)
    assert lines[0].startswith("found 24 pictures, labeled by folder: cat (12), dog (12)")
    source = section(read_params(system), "source", SourceConfig)
    assert (source.kind, source.location, source.sha256, source.members) == ("url", url, right, None)
    assert (system / "params.yaml").read_text().startswith("# pets.zip: 24 pictures of 2 classes.")
    before = len(server.log)
    assert download(source, system, system / "data/raw", seed=1).labels == {"cat": 12, "dog": 12}
    assert len(server.log) == before
    assert "/.lamina/" in (system / ".gitignore").read_text().split()


@pytest.mark.parametrize(
    ("path", "sha256", "words"),
    [
        ("fine/none.zip", None, "cannot fetch 'none.zip': .*answered 404"),
        ("page/a.zip", None, "an HTML page came"),
        ("fine/a.zip", "0" * 63, "--sha256: expected 64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_fetched_leaves_nothing(
    server: Server, project: Path, path: str, sha256: str | None, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        new(project / "deep/pets", server.url(path), sha256=sha256)
    assert left(project) == [".dvc"]


def test_what_was_fetched_survives_a_refusal(server: Server, project: Path) -> None:
    server.files["pets.zip"] = zipped(many())
    url, system = server.url("fine/pets.zip"), project / "pets"
    with pytest.raises(UserError, match=r"pets\.zip: --sha256 expects 0000"):
        new(system, url, sha256="0" * 64)
    assert left(system) == [".lamina"]
    new(system, url)
    assert len(server.log) == 1
    assert left(system) == [".gitignore", ".lamina", "baselines", "dvc.yaml", "params.yaml"]


def test_what_is_no_archive_is_fetched_again(
    server: Server, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, whole = server.url("fine/pets.zip"), zipped(many())
    for data, words in ((b"", "an empty file"), (whole[:-99], "damaged or cut short")):
        server.files["pets.zip"] = data
        with pytest.raises(UserError, match=words):
            new(project / "pets", url)
        assert left(project) == [".dvc"]
    mirrored = tmp_path / "mirror" / "pets.zip"
    mirrored.parent.mkdir()
    mirrored.write_bytes(b"")
    with monkeypatch.context() as context:
        context.setenv("LAMINA_MIRROR", str(mirrored.parent))
        with pytest.raises(UserError, match="an empty file"):
            new(project / "pets", url)
    assert mirrored.exists()
    server.files["pets.zip"] = whole
    assert new(project / "pets", url)[0].startswith("found 24 pictures")


def test_a_digest_is_checked_for_an_archive_on_disk_too(server: Server, project: Path) -> None:
    archive = project / "pets.zip"
    archive.write_bytes(zipped(many()))
    with pytest.raises(UserError, match=r"pets\.zip: --sha256 expects 0000"):
        new(project / "one", str(archive), sha256="0" * 64)
    new(project / "two", str(archive), sha256=digest(archive.read_bytes()))
    assert read_params(project / "two")["source"]["sha256"] == digest(archive.read_bytes())
    for source in ("smear", str(project / ".dvc")):
        with pytest.raises(UserError, match="leave it out"):
            new(project / "three", source, sha256="0" * 64)


def test_a_system_of_copies_gets_its_pattern_and_keeps_them_together(server: Server, project: Path) -> None:
    names = copies(24, 6)
    kinds = ["cat" if int(name.split("_")[1]) % 2 else "dog" for name in names]
    files = {f"{kind}/{name}": picture(index) for index, (kind, name) in enumerate(zip(kinds, names, strict=True))}
    extra = {"cat/17.png": picture(250), "dog/18.png": picture(251)}
    server.files["copies.zip"] = zipped({**files, **extra})
    new(project / "pets", server.url("fine/copies.zip"))
    text = (project / "pets/params.yaml").read_text()
    assert f"24 origins of {len(names)} pictures; 2 other names are origins of their own" in text
    source = section(read_params(project / "pets"), "source", SourceConfig)
    assert source.origin == COPY_OR_OTHER
    with open_source(source, seed=1, system=project / "pets") as opened:
        origins = {one.name.rpartition("/")[2]: one.origin for one in opened.pictures}
    assert origins == {name: name.split("_")[1] for name in names} | {"17.png": "17.png", "18.png": "18.png"}
