"""Serve a web page, and answers for programs, with a run's model."""

import asyncio
import socket
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from lamina.commands.served import Served, find_run, open_served
from lamina.data.memory import MIB
from lamina.errors import UserError
from lamina.results.evaluated import are_scores_earlier
from lamina.results.folders import made_by, results_folder
from lamina.results.record import system_name
from lamina.results.result_file import ResultFile, read_result

HOST: Final = "127.0.0.1"
PORT: Final = 8080
UPLOAD: Final = 32  # MiB
CONNECTIONS: Final = 1000
SECONDS_TO_END: Final = 3


class _Tested(ResultFile):
    """What `metrics.json` says of the test fold, whatever the task."""

    test: dict[str, Any]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="RUN", help="run or ensemble (default: the accepted champion)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}; 0: any that is free")
    parser.add_argument(
        "--host", default=HOST, metavar="ADDRESS", help=f"to listen on (default: {HOST}, this machine alone)"
    )
    parser.add_argument(
        "--name",
        dest="names",
        nargs="+",
        default=[],
        metavar="HOST",
        help="further names by which browsers reach this server, as example.org",
    )
    parser.add_argument("--upload", type=int, default=UPLOAD, metavar="MIB", help=f"largest file (default: {UPLOAD})")


def run(arguments: Namespace) -> int:
    """Serve until Ctrl-C; raises UserError if the run cannot be served, or the port is taken."""
    if arguments.upload < 1:
        raise UserError(f"--upload: expected at least 1 MiB, got {arguments.upload}")
    name = find_run(arguments.system, arguments.name)
    answers = open_served(arguments.system, name)
    with listen(arguments.host, arguments.port) as listening:
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        print(f"{name} on http://{host}:{listening.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            serve(answers, listening, {**about(arguments.system, answers), "upload": arguments.upload}, arguments)
    return 0


def serve(answers: Served, listening: socket.socket, facts: dict[str, object], arguments: Namespace) -> None:
    """Serve a run on a socket; the page is there at once, its answers once the model is loaded.

    Raises:
        UserError: If the model cannot be loaded.
    """
    import uvicorn

    from lamina.commands.web import LOOPBACK, Service, make_app

    service = Service(answers)
    is_open = arguments.host not in LOOPBACK
    app = make_app(service, facts, {*LOOPBACK, *arguments.names}, addresses=is_open, limit=arguments.upload * MIB)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
    )

    async def until_the_end() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not (server.started or serving.done()):
            await asyncio.sleep(0.01)
        service.start()  # not before: its imports would delay the page
        while service.status == "loading" and not serving.done():
            await asyncio.sleep(0.1)
        if service.status == "ready":
            print("ready", flush=True)
        server.should_exit |= service.status == "failed"
        await serving

    asyncio.run(until_the_end())
    if service.status == "failed":
        raise UserError(f"{arguments.system}: {service.error}")


def about(system: Path, answers: Served) -> dict[str, object]:
    """Return what the page shows of a run: names, classes, and how it did on its test pictures or texts.

    Scores of an earlier training are left out, as are those of a run that was not evaluated.

    Raises:
        UserError: If a file of the scores is broken.
    """
    folder, test = results_folder(system, answers.run), {}
    path = folder / "metrics.json"
    if path.exists() and not are_scores_earlier(folder):
        test = read_result(path, _Tested, made_by(folder, "evaluate")).test
    return {
        "kind": answers.kind,
        "takes": answers.takes,
        "run": answers.run,
        "system": system_name(system),
        "classes": list(answers.classes),
        "accuracy": test.get("accuracy"),
        "interval": test.get("interval"),
        "tested": test.get("n"),
        "coverage": (test.get("sets") or test.get("held") or {}).get("wanted"),
        "f1": test.get("f1"),
        "thresholds": answers.thresholds,
        "target": answers.target,
        "mae": test.get("mae"),
        "baseline": test.get("baseline"),
    }


def listen(host: str, port: int) -> socket.socket:
    """Open a socket; raises UserError if the address or the port cannot be had."""
    if not 0 <= port < 2**16:
        raise UserError(f"--port: expected a number from 0 to {2**16 - 1}, got {port}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise UserError(
            f"--host {host} --port {port}: {reason}; expected an address of this machine and a free port, "
            "name another one"
        ) from None
