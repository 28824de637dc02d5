"""The web server: who may send what, how much of it, and what others get."""

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import requests

from lamina.commands import web
from lamina.data.memory import MIB
from lamina.errors import UserError
from serving import Lengths, serving, wait_until_ready


@pytest.fixture
def answers() -> Lengths:
    lengths = Lengths()
    lengths.may_load.set()
    lengths.may_answer.set()
    return lengths


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False  # no proxy of the machine
        yield session


@pytest.fixture
def address(answers: Lengths, session: requests.Session) -> Iterator[str]:
    with serving(answers, names=("example.org",)) as address:
        wait_until_ready(session, address)
        yield address


@pytest.mark.parametrize("path", web.PAGE)
def test_the_page_may_load_nothing_from_elsewhere(path: str, address: str, session: requests.Session) -> None:
    answer = session.get(address + path)
    assert answer.status_code == 200
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "<script>" not in answer.text
    assert " style=" not in answer.text


def test_the_page_is_there_before_the_model(session: requests.Session) -> None:
    answers = Lengths()
    answers.may_answer.set()
    with serving(answers) as address:
        assert session.get(f"{address}/").status_code == 200
        health = session.get(f"{address}/health")
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        early = session.post(f"{address}/predict", data=b"picture")
        assert early.status_code == 503
        assert early.headers["Retry-After"] == "1"
        assert early.json() == {"error": "the model is loading; try again in a second"}
        answers.may_load.set()
        wait_until_ready(session, address)
        assert session.post(f"{address}/predict", data=b"picture").json()["length"] == 7


def test_a_model_that_cannot_be_loaded_is_reported(session: requests.Session) -> None:
    answers = Lengths(load_error=UserError("model.keras: broken"))
    answers.may_load.set()
    with serving(answers) as address:
        deadline = time.monotonic() + 20
        while (health := session.get(f"{address}/health")).status_code == 503:
            assert time.monotonic() < deadline
        assert (health.status_code, health.json()) == (500, {"status": "failed", "error": "model.keras: broken"})
        assert session.post(f"{address}/predict", data=b"x").json() == {"error": "model.keras: broken"}


def test_uploads_are_answered_between_the_steps_of_what_comes_later(session: requests.Session) -> None:
    ended = threading.Event()

    class Preparing(Lengths):
        def prepare_more(self) -> bool:
            time.sleep(0.02)
            return not ended.is_set()

    answers = Preparing()
    answers.may_load.set()
    answers.may_answer.set()
    with serving(answers) as address:
        wait_until_ready(session, address)
        start = time.monotonic()
        assert all(session.post(f"{address}/predict", data=b"x").ok for _ in range(20))
        ended.set()
        assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:80", 200), ("localhost:9", 200), ("[::1]:9", 200), ("example.org", 200), ("EXAMPLE.org", 200),
     ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("10.0.0.1", 421), ("", 421), ("[", 421)],
)  # fmt: skip
def test_only_its_own_names_are_answered(host: str, status: int, address: str, session: requests.Session) -> None:
    assert session.get(f"{address}/about", headers={"Host": host}).status_code == status
    assert session.post(f"{address}/predict", data=b"x", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 200), ({"Sec-Fetch-Site": "same-origin"}, 200), ({"Sec-Fetch-Site": "cross-site"}, 403),
     ({"Sec-Fetch-Site": "same-site"}, 403), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
     ({"Origin": "http://127.0.0.1:1"}, 403), ({"Origin": "{address}"}, 200), ({"Origin": "http://[bad"}, 403)],
)  # fmt: skip
def test_pages_of_other_sites_cannot_send_anything(
    headers: dict[str, str], status: int, address: str, session: requests.Session
) -> None:
    sent = {name: value.format(address=address) for name, value in headers.items()}
    answer = session.post(f"{address}/predict", data=b"x", headers=sent)
    assert answer.status_code == status
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_file_may_come_by_itself_in_a_form_or_in_json(address: str, session: requests.Session) -> None:
    content = b"\x89PNG\r\n\x1a\n\0--\r\n"
    expected = {"length": len(content), "begins": content.decode("latin-1")}
    assert session.post(f"{address}/predict", data=content).json() == expected
    form = {"data": {"note": "first"}, "files": {"file": ("a.png", content)}}
    assert session.post(f"{address}/predict", **form).json() == expected  # type: ignore[arg-type]
    assert session.post(f"{address}/predict", json={"text": "gr\u00fcn"}).json()["length"] == 5
    assert session.post(f"{address}/predict", files={"text": (None, "some words")}).json()["length"] == 10
    other_case = {"data": '{"text": "four"}', "headers": {"Content-Type": "Application/JSON; charset=utf-8"}}
    assert session.post(f"{address}/predict", **other_case).json()["length"] == 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [("application/json", b"{", "not valid JSON"), ("application/json", b"[1]", "not valid JSON"),
     ("application/json", b'{"text": null}', "not valid JSON"), ("application/json", b'{"text": 5}', "not valid JSON"),
     ("application/json", b'{"text": ["a"]}', "not valid JSON"), ("application/json", b"[" * 200_000, "not valid JSON"),
     ("multipart/form-data; boundary=x", b"nothing", "not a valid form"),
     ("multipart/form-data; boundary=x", b"--x\r\n\r\nA", "not a valid form"),
     ("multipart/form-data", b"--x", "not a valid form"),
     ("multipart/form-data; boundary=x", b"--x--\r\n", "a form without a file")],
)  # fmt: skip
def test_broken_bodies_are_refused(kind: str, body: bytes, words: str, address: str, session: requests.Session) -> None:
    answer = session.post(f"{address}/predict", data=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_what_has_no_answer_gets_a_line_and_an_error_of_a_library_ends_nothing(
    address: str, session: requests.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = session.post(f"{address}/predict", data=b"")
    assert (refused.status_code, refused.json()) == (422, {"error": "empty"})
    broken = session.post(f"{address}/predict", data=b"broken")
    assert (broken.status_code, broken.json()) == (500, {"error": "an error of the server; its output says which"})
    assert capsys.readouterr().err == "error: /predict: ZeroDivisionError: of a library\n"
    assert session.post(f"{address}/predict", data=b"x").status_code == 200


def test_an_upload_may_be_as_large_as_the_limit(address: str, session: requests.Session) -> None:
    assert session.post(f"{address}/predict", data=b"x" * MIB).json()["length"] == MIB
    for body in (b"x" * (MIB + 1), iter([b"x" * MIB, b"x"])):  # with its length in the header, and without
        answer = session.post(f"{address}/predict", data=body)
        assert answer.status_code == 413
        assert answer.json() == {"error": "the upload has more than 1 MiB; send a smaller file"}


def test_of_two_hundred_uploads_at_once_some_wait_and_the_others_are_told(
    answers: Lengths, address: str, session: requests.Session
) -> None:
    """Small ones are limited in number, large ones in bytes; afterwards all places are free."""
    for size, most in ((1000, web.WAITING), (MIB, web.WAITING_LIMITS)):
        answers.may_answer.clear()

        def send(_: int, size: int = size) -> requests.Response:
            return requests.post(f"{address}/predict", data=b"x" * size, timeout=60)

        with ThreadPoolExecutor(200) as pool:
            sent = [pool.submit(send, number) for number in range(200)]
            deadline = time.monotonic() + 60
            while sum(one.done() for one in sent) < 200 - most:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            answers.may_answer.set()
            found = [one.result() for one in sent]
        assert Counter(one.status_code for one in found) == {200: most, 503: 200 - most}
        assert {one.headers["Retry-After"] for one in found if one.status_code == 503} == {"1"}
    assert all(session.post(f"{address}/predict", data=b"x").ok for _ in range(web.WAITING + 1))


def begin_uploads(address: str, until: ExitStack) -> list[socket.socket]:
    """Begin twice as many large uploads as have a place, and send no more of them."""
    parts = urlsplit(address)
    head = f"POST /predict HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {MIB}\r\n\r\nbegin".encode()
    place = (str(parts.hostname), int(parts.port or 0))
    started = [until.enter_context(socket.create_connection(place)) for _ in range(2 * web.WAITING_LIMITS)]
    for one in started:
        one.settimeout(20)
        one.sendall(head)
    deadline = time.monotonic() + 20
    while len(select.select(started, [], [], 0.05)[0]) < web.WAITING_LIMITS:  # those without a place are told
        assert time.monotonic() < deadline
    return started


def wait_until_free(address: str, session: requests.Session) -> None:
    deadline = time.monotonic() + 20
    while session.post(f"{address}/predict", data=b"x" * MIB).status_code != 200:
        assert time.monotonic() < deadline


def test_uploads_that_end_midway_give_their_place_back(address: str, session: requests.Session) -> None:
    with ExitStack() as until:
        begin_uploads(address, until)
        assert session.post(f"{address}/predict", data=b"x" * MIB).status_code == 503
    wait_until_free(address, session)


def test_uploads_that_take_too_long_give_their_place_back(
    address: str, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "SECONDS_TO_SEND", 0.2)
    with ExitStack() as until:
        found = Counter(one.recv(1000)[9:12] for one in begin_uploads(address, until))
        assert found == {b"408": web.WAITING_LIMITS, b"503": web.WAITING_LIMITS}
        wait_until_free(address, session)


def test_other_methods_and_paths_are_refused(address: str, session: requests.Session) -> None:
    assert session.get(f"{address}/predict").status_code == 405
    assert session.get(f"{address}/../../params.yaml").status_code == 404
    assert session.get(f"{address}/serve.py").status_code == 404


def test_many_threads_are_not_needed(address: str) -> None:
    before = threading.active_count()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: requests.post(f"{address}/predict", data=b"x", timeout=60), range(100)))
    assert threading.active_count() <= before + 2
