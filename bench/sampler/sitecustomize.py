"""Samples what the main threads of `dvc repro` and of its stages do; Python imports it where it is on PYTHONPATH.

Writes a line `BEGIN END CAUSE` for each stretch of one cause to a file in the folder `LAMINA_SAMPLES`, and the seconds
at which each stage begins and ends. All clocks are the machine's monotonic one, so that lines of several processes fit
together.
"""

import atexit
import os
import re
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType

INTERVAL = 0.005  # seconds between two samples
LONGEST = 0.05  # seconds of a stretch: a process that ends loses no more
STAGE = "stage "  # begins the line of a complete stage
RUNS = "runs a stage"  # of DVC, written as one stretch
WAITING = "waiting"
IDLE = "waits for another process"  # which is sampled, too

# The first of these that fits a frame of the stack, as `file:function`, is the cause.
STAGE_CAUSES = {
    "imports": r"<frozen importlib\._bootstrap",
    IDLE: r"lamina/stages/warm\.py:(_serve|ask|_number)$",
    "graphs": r"tensorflow/python/framework/func_graph\.py:func_graph_from_py_func"
    r"|jax/_src/(compiler|interpreters/(mlir|partial_eval))\.py|openvino/.*:(compile_model|convert_model)",
    "MLflow": r"/mlflow/",
    "reading": r"pyarrow/parquet/core\.py:read|pandas/io/.*:read_|numpy/lib/_npyio_impl\.py:(load|__getitem__)"
    r"|lamina/files\.py:(file_digest|read_json)|pathlib.*:read_|yaml/.*:load|keras/.*:load_model|PIL/Image\.py:open",
    "writing": r"pyarrow/parquet/core\.py:write|pandas/io/.*:(to_|save|write)|numpy/lib/_npyio_impl\.py:_?save"
    r"|lamina/files\.py:(write|_own_place|discard)|pathlib.*:(write_|replace)|keras/.*:save_|PIL/Image\.py:save",
    WAITING: r"joblib/parallel\.py|concurrent/futures/|multiprocessing/|subprocess\.py:|/threading\.py:(wait|join)$",
}
DVC_CAUSES = {
    "imports": STAGE_CAUSES["imports"],
    RUNS: r"dvc/stage/run\.py:cmd_run$",
    "hashing": r"dvc_data/hashfile/(hash|build|state|transfer|checkout)",
    "locks": r"dvc/(rwlock|lock)\.py|zc/lockfile",
    "YAML": r"ruamel|/yaml/",
    "git": r"scmrepo|dulwich|pygit2",
}


class Sampler:
    """Looks at the main thread of this process every `INTERVAL` seconds, from another thread."""

    def __init__(self, causes: dict[str, str]) -> None:
        self._causes = [(name, re.compile(pattern)) for name, pattern in causes.items()]
        self._fits: dict[CodeType, int] = {}

    def start(self) -> None:
        self._main = threading.get_ident()
        self._file = Path(os.environ["LAMINA_SAMPLES"]) / f"{os.getpid()}.txt"
        threading.Thread(target=self._sample, daemon=True).start()

    def write(self, line: str) -> None:
        with self._file.open("a") as file:
            file.write(f"{line}\n")

    def _sample(self) -> None:
        begin = last = time.monotonic()
        cause = ""
        while True:
            time.sleep(INTERVAL)
            found = self._cause(sys._current_frames())
            now = time.monotonic()
            if found != cause or (now - begin > LONGEST and cause != RUNS):
                if cause:
                    self.write(f"{begin} {last} {cause}")
                begin, cause = last, found
            last = now

    def _cause(self, frames: dict[int, FrameType]) -> str:
        first = self._first(frames.get(self._main))
        if first == len(self._causes):
            return "computing"
        if self._causes[first][0] == WAITING:  # a thread that it waits for may be the one that imports or writes
            first = min(map(self._first, frames.values()))
        return self._causes[first][0]

    def _first(self, frame: FrameType | None) -> int:
        first = len(self._causes)
        while frame is not None:
            first = min(first, self._fit(frame.f_code))
            frame = frame.f_back
        return first

    def _fit(self, code: CodeType) -> int:
        if code not in self._fits:
            name = f"{code.co_filename}:{code.co_name}"
            fits = (number for number, (_, pattern) in enumerate(self._causes) if pattern.search(name))
            self._fits[code] = next(fits, len(self._causes))
        return self._fits[code]


def _forked_to_compute() -> bool:
    """Whether this process was forked by one that waits for its results, and not by `lamina.stages.warm`."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if "multiprocessing" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _start() -> None:
    words = sys.orig_argv
    if "lamina.stages.warm" in words:  # the server, which forks itself for each stage
        forked = Sampler(STAGE_CAUSES)
        os.register_at_fork(after_in_child=lambda: _forked_to_compute() or forked.start())
        return
    if "lamina.stages" in words and "DVC_STAGE" in os.environ:
        sampler = Sampler(STAGE_CAUSES)
        name, begin, process = os.environ["DVC_STAGE"].rpartition(":")[2], time.monotonic(), os.getpid()
        # not in what is forked from it
        atexit.register(lambda: os.getpid() == process and sampler.write(f"{begin} {time.monotonic()} {STAGE}{name}"))
    elif any(Path(word).name == "dvc" for word in words[:2]):
        sampler = Sampler(DVC_CAUSES)
    else:
        return
    sampler.start()


if "LAMINA_SAMPLES" in os.environ:
    _start()
