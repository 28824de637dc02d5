"""Makes a system in a temporary folder, and measures its data stages one by one."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

PARAMS = """
seed: 13
source: {{kind: archive, location: {archive}, labels: {labels}}}
filter: {{drop_grayscale: false, min_side: 1, drop_duplicates: false}}
convert: {{size: {size}, isolate: none}}
augment:
  {{copies: 4, rotation: 20.0, shift: 0.1, flip_horizontal: true, flip_vertical: true, color: 0.05}}
split: {{test: 0.3, validation: 0.15}}
"""
SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a stage took, its start included.

    seconds: on the clock; cpu: seconds of all cores together; largest, together: peak MiB of one process, of all.
    """

    seconds: float
    cpu: float
    largest: float
    together: float


def make_system(folder: Path, archive: Path, *, size: int, labels: str) -> Path:
    """Make a system that keeps every picture of an archive, so that all ways of a comparison do the same work."""
    folder.mkdir(parents=True)
    location = json.dumps(str(archive.resolve()))
    (folder / "params.yaml").write_text(PARAMS.format(archive=location, size=size, labels=labels))
    return folder


def run_stage(system: Path, name: str, *arguments: str) -> Measured:
    """Run a data stage in its own process; end with its message if it fails. Linux only."""
    return run_measured([sys.executable, "-m", f"lamina.stages.{name}", *arguments], system)


def run_measured(command: list[str], folder: Path) -> Measured:
    """Run a command in a session of its own, and measure it and the processes that it waits for."""
    done, peaks = Event(), [0.0]
    log = folder / "log.txt"
    with log.open("w") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True)
        watcher = Thread(target=_watch, args=(process.pid, done, peaks))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()}")
    largest = usage.ru_maxrss / 1024
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(seconds=seconds, cpu=cpu, largest=largest, together=max(peaks[0], largest))


def _watch(session: int, done: Event, peaks: list[float]) -> None:
    while not done.wait(SAMPLE_SECONDS):
        peaks[0] = max(peaks[0], sum(_proportional(process) for process in _members(session)))


def _members(session: int) -> list[Path]:
    members = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # the fields after the name in brackets: state, parent, group, session
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session:
            members.append(process)
    return members


def _proportional(process: Path) -> float:
    """Memory of a process in MiB, pages that it shares divided among their users (PSS)."""
    try:
        text = (process / "smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:")), 0.0)
