"""Stages without the seconds of their imports: a process loads libraries once, and forks itself for each stage.

`dvc repro` starts a process for each stage. The first one forks a server, which imports what a stage needs before it
forks the worker that runs it, so that the next stage finds it loaded. The process that DVC started hands its files,
folder, arguments and environment over, waits, and ends with the worker's exit code. The server computes nothing, and
serves one `dvc`, one folder and one user.

The server's allocator asks for large pages of memory: a step of a wide head, which streams its weights through memory,
takes a seventh less time with them. That can only be chosen when a process starts.

Any of the three may be killed: a worker ends when its client does; a client ends when its worker or `dvc` does; the
server ends with `dvc`. Where there can be no server, the stage runs in the process that DVC started: on other systems
than Linux, where forking is not safe, without DVC, and with `LAMINA_WARM=0`.
"""

import atexit
import gc
import hashlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Final

from lamina.dvc_process import SECONDS_BETWEEN_LOOKS, find_dvc, is_alive

SWITCH: Final = "LAMINA_WARM"
KILLED: Final = 137  # as a shell reports SIGKILL
INTERRUPTED: Final = 130
ENDED: Final = "interrupted: this stage had done its work; run again to continue"
STANDARD: Final = (0, 1, 2)  # file descriptors
LONGEST: Final = 2**20  # bytes of a request
SECONDS_TO_END: Final = 10.0  # for a worker that has said its exit code, or was interrupted
NUMBER: Final = struct.Struct("!i")

HELPERS: Final = ("entry", "folds", "run_stage", "warm")  # modules next to this one that are no stages
# glibc has it since 2.35, others ignore it; where the kernel gives no large pages it changes nothing
TUNABLES, LARGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
COLD: Final = ("watch",)  # it always runs, and mostly alone
KERAS: Final = "lamina.models.keras_runtime"  # before jax, which it would import more of
OPENVINO: Final = "lamina.models.openvino_runtime"  # which keeps its telemetry from starting a process
MLFLOW: Final = ("lamina.tracking.store", "mlflow.tracking")  # the first one switches the telemetry of the second off
# what stages import while they run, in addition to the imports of their modules
LIBRARIES: Final[Mapping[str, tuple[str, ...]]] = {
    "extract": (KERAS, OPENVINO),
    "tune": (KERAS, "jax", "optuna"),
    "train": (KERAS, "jax", *MLFLOW),
    "assess": (KERAS, "jax", "sklearn"),
    "evaluate": (KERAS, "sklearn"),
    "ensembles": (KERAS, "sklearn"),
}


def run(name: str, arguments: list[str]) -> int | None:
    """Run a stage in a worker of the server; start that if there is none.

    Args:
        name: of the stage's module in `lamina.stages`.
        arguments: of the stage.

    Returns:
        The exit code; None if there can be no server, or if it does not answer. Nothing has run then.
    """
    if sys.platform != "linux" or "DVC_STAGE" not in os.environ or os.environ.get(SWITCH) == "0" or name in COLD:
        return None
    dvc = find_dvc()
    connection = dvc and _connect(dvc)
    if not connection:
        return None
    client = _Client(connection)
    request = {
        "name": name,
        "arguments": arguments,
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib takes a third of the time of a client
        "environment": dict(os.environ),
    }
    return client.ask(json.dumps(request).encode(), dvc)


class _Client:
    """The process that DVC started, while a worker runs its stage."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.worker: int | None = None
        self.interrupted = False

    def ask(self, request: bytes, dvc: Any) -> int | None:
        code = None
        signal.signal(signal.SIGINT, self._interrupt)
        with suppress(OSError):  # the server was killed
            socket.send_fds(self.connection, [NUMBER.pack(len(request)) + request], STANDARD)
            self.worker = self._number(dvc)
            if self.worker is not None:
                code = self._number(dvc)
        if self.worker is None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return None
        if code == 0 and self.interrupted:  # a library swallowed it; DVC goes on after a 0
            print(ENDED, file=sys.stderr)
        if not code and self.interrupted:
            return INTERRUPTED
        if code is None:
            print("error: the process of this stage was killed; run it again", file=sys.stderr)
            return KILLED
        select.select([self.connection], [], [], SECONDS_TO_END)  # until it has ended
        return code

    def _number(self, dvc: Any) -> int | None:
        """Wait for a number from the worker; None if that was killed."""
        while not select.select([self.connection], [], [], SECONDS_BETWEEN_LOOKS)[0]:
            if not is_alive(dvc):
                print("error: dvc, which started this stage, has ended; run it again", file=sys.stderr)
                os._exit(INTERRUPTED)  # the worker ends with this process
        answer = self.connection.recv(NUMBER.size, socket.MSG_WAITALL)
        return NUMBER.unpack(answer)[0] if len(answer) == NUMBER.size else None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Pass Ctrl-C on: the worker is not in the terminal's group of processes."""
        if self.worker is None:  # it may have begun at this moment, and ends with this process
            os.write(STANDARD[2], b"interrupted: no half-written file is left; run again to continue\n")
            os._exit(INTERRUPTED)
        self.interrupted = True
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(self.worker, number)


def _connect(dvc: Any) -> socket.socket | None:
    """Connect to the server of a `dvc` and this folder; start it if there is none."""
    place = hashlib.sha256(f"{os.getcwd()}\n{sys.executable}".encode()).hexdigest()[:16]  # noqa: PTH109
    address = f"\0lamina-{os.getuid()}-{dvc.pid}-{dvc.create_time()}-{place}"  # no file, which could be left behind
    for _ in range(2):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(address)
        except ConnectionRefusedError:
            _start(address, dvc)
        else:
            return connection if _is_own(connection) else None
    return None


def _is_own(connection: socket.socket) -> bool:
    """Whether the process at the other end is of the same user."""
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(user == os.getuid())


def _start(address: str, dvc: Any) -> None:
    """Start the server."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(address)
    except OSError:  # another client was faster
        return
    listener.listen()
    first = os.fork()
    if first:
        listener.close()
        os.waitpid(first, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)  # so that nobody waits for the server
    listener.set_inheritable(True)
    tunables = ":".join(filter(None, (os.environ.get(TUNABLES), LARGE_PAGES)))
    command = [sys.executable, "-m", __name__, str(listener.fileno()), str(dvc.pid), str(dvc.create_time())]
    try:
        os.execve(sys.executable, command, os.environ | {TUNABLES: tunables})  # noqa: S606 - ourselves
    finally:  # without Python there is no server: the client runs its stage itself
        os._exit(1)


def main() -> None:
    """Be the server, for a listening socket and the pid and time of creation of `dvc`.

    A worker of it comes back from `_serve`, runs its stage, and raises SystemExit.
    """
    codes: dict[int, int] = {}
    atexit.register(_end_at_once, codes)  # before all others, and so called last
    import psutil

    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.set_inheritable(False)
    os.environ.pop(TUNABLES)
    with suppress(psutil.NoSuchProcess):
        dvc = psutil.Process(int(sys.argv[2]))
        if str(dvc.create_time()) == sys.argv[3]:
            _work(*_serve(listener, dvc), codes)


def _serve(listener: socket.socket, dvc: Any) -> tuple[socket.socket, dict[str, Any], list[int]]:
    """Fork a worker for each request until `dvc` has ended. Returns in workers only."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in STANDARD:
        os.dup2(nothing, descriptor)
    while is_alive(dvc):
        if not select.select([listener], [], [], SECONDS_BETWEEN_LOOKS)[0]:
            continue
        connection, _ = listener.accept()
        files: list[int] = []
        worker = None
        try:
            request, files = _receive(connection)
            for module in (
                f"lamina.stages.{request['name']}",
                "lamina.stages.entry",
                *LIBRARIES.get(request["name"], ()),
            ):
                import_module(module)
            gc.collect()
            gc.freeze()  # so that collections do not touch, and so copy, the memory that workers share
            worker = os.fork()
        except Exception:  # noqa: S110 - the client gets no answer, runs the stage itself, and shows what is wrong
            pass
        if worker == 0:
            listener.close()
            return connection, request, files
        connection.close()
        for file in files:
            os.close(file)
    os._exit(0)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    if not _is_own(connection):
        raise PermissionError("a client of another user")
    first, files, _, _ = socket.recv_fds(connection, LONGEST, len(STANDARD))
    try:
        (length,) = NUMBER.unpack(first[: NUMBER.size])
        text = first[NUMBER.size :]
        while len(text) < length:
            if not (more := connection.recv(length - len(text))):
                raise EOFError("the client was killed while it asked")
            text += more
        return json.loads(text), files
    except Exception:
        for file in files:  # a reader of the client's output waits until nobody holds it
            os.close(file)
        raise


def _work(connection: socket.socket, request: dict[str, Any], files: list[int], codes: dict[int, int]) -> None:
    """Run a stage as if DVC had started this process; note its exit code in `codes`, by the pid."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor, file in zip(STANDARD, files, strict=True):
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    sys.argv = [request["name"], *request["arguments"]]
    with suppress(OSError):
        Path("/proc/self/comm").write_text(f"lamina {request['name']}", encoding="ascii")  # what `top` shows
    try:
        connection.sendall(NUMBER.pack(os.getpid()))
    except OSError:  # the client was killed
        os._exit(INTERRUPTED)
    threading.Thread(target=_end_with_client, args=[connection], daemon=True).start()
    entry, stage = import_module("lamina.stages.entry"), import_module(f"lamina.stages.{request['name']}")
    worker, code = os.getpid(), 1  # the code of an error that is none of the user's
    try:
        entry.run_alone(stage.main)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)  # a text: Python prints it
        raise
    finally:
        if os.getpid() == worker:  # and not a process that the stage forked
            codes[worker] = code
            with suppress(OSError):  # the client was killed
                connection.sendall(NUMBER.pack(code))


def _end_at_once(codes: Mapping[int, int]) -> None:
    """End this process, if it is a worker, before Python takes its objects apart: a third of a second of each stage."""
    if (code := codes.get(os.getpid())) is not None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # it is closed
                stream.flush()
        os._exit(code)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Interrupt the stage, and end it soon even if a library waits forever for processes that are gone."""
    timer = threading.Timer(SECONDS_TO_END, _end_group)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _end_with_client(connection: socket.socket) -> None:
    connection.recv(1)  # it sends nothing: this returns when it has ended
    _end_group()


def _end_group() -> None:
    """End this worker and the processes that work for it, which would wait for minutes.

    Trackers of shared memory ignore SIGTERM: they remove what is left, and end.
    """
    os.killpg(0, signal.SIGTERM)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
