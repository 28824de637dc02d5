"""Where does `dvc repro` spend its time, by stage and by cause?

python bench/profiling.py [SYSTEM] [--small] [--cold]

Clones the git repository that holds SYSTEM (a folder; without one: this repository, the default system) to a temporary
folder, at its current commit and without results, and runs `dvc repro` there with the installed lamina. `--small` takes
the small system of bench/kills.py instead. `--cold` starts a new process for each stage (LAMINA_WARM=0).

A thread in each process looks 200 times a second at what its main thread does (bench/sampler/sitecustomize.py).
Prints seconds:

DVC        before the stage: DVC hashes what the last stage wrote, checks what this one reads, writes dvc.lock
start      of processes and their end, and what the thread did not see
imports    of modules
graphs     TensorFlow traces functions, JAX traces and compiles, OpenVINO compiles. What TensorFlow compiles inside its
           first step is in computing
MLflow     its calls
reading    of tables, arrays, models and text, and digests of files. What is mapped to memory is read in computing
writing    of the same
waiting    for processes and threads that compute; what a thread imports, reads and writes meanwhile is above
computing  all the rest
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from kills import make_system
from sampler.sitecustomize import DVC_CAUSES, IDLE, RUNS, STAGE, STAGE_CAUSES

ROOT = Path(__file__).parents[1]
COLUMNS = ["start", *(cause for cause in STAGE_CAUSES if cause != IDLE), "computing"]


@dataclass
class Stage:
    """A stage that ran, or what DVC did: when, and the seconds of each cause."""

    name: str
    begin: float
    end: float
    causes: Counter[str] = field(default_factory=Counter)

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def place(system: Path, small: bool, folder: Path) -> Path:
    """Return the folder of a system without results."""
    if small:
        make_system(folder / "small")
        return folder / "small"
    top = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=system, capture_output=True, text=True)
    if top.returncode:
        raise SystemExit(f"{system}: not in a git repository, of which a clone could be measured")
    root = Path(top.stdout.strip())
    subprocess.run(["git", "clone", "--quiet", str(root), str(folder / "clone")], check=True)
    return folder / "clone" / system.resolve().relative_to(root.resolve())


def reproduce(system: Path, samples: Path, cold: bool) -> tuple[float, float]:
    """Run `dvc repro`, and return when it began and ended."""
    samples.mkdir()
    paths = (Path(__file__).parent / "sampler", ROOT / "src", os.environ.get("PYTHONPATH", ""))
    own = {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LAMINA_SAMPLES": str(samples),
        "DVC_NO_ANALYTICS": "1",
    } | ({"LAMINA_WARM": "0"} if cold else {})
    log, begin = samples / "log", time.monotonic()
    with log.open("wb") as output:
        ran = subprocess.run(["dvc", "repro"], cwd=system, env=os.environ | own, stdout=output, stderr=output)
    if ran.returncode:
        raise SystemExit(f"dvc repro ended with {ran.returncode}:\n{log.read_text()[-3000:]}")
    return begin, time.monotonic()


def read(samples: Path, begin: float, end: float) -> tuple[list[Stage], Stage]:
    """Return the stages in the order in which they ran, and DVC, with the seconds of their causes."""
    lines = [line.split(" ", 2) for path in samples.glob("*.txt") for line in path.read_text().splitlines()]
    found = sorted((float(first), float(last), cause) for first, last, cause in lines)
    stages = [Stage(cause.removeprefix(STAGE), first, last) for first, last, cause in found if cause.startswith(STAGE)]
    for stage in stages:  # from the moment at which DVC starts its process, until it has ended
        for first, last, cause in found:
            if cause == RUNS and first <= stage.end and last >= stage.begin:
                stage.begin, stage.end = min(stage.begin, first), max(stage.end, last)
    dvc = Stage("dvc", begin, end)
    for first, last, cause in found:
        if cause not in (IDLE, RUNS) and not cause.startswith(STAGE):
            next((stage for stage in stages if stage.begin <= last <= stage.end), dvc).causes[cause] += last - first
    for stage in stages:
        stage.causes["start"] = max(0.0, stage.seconds - stage.causes.total())
    return stages, dvc


def show(stages: list[Stage], dvc: Stage) -> None:
    print(f"{'seconds of':24}{'total':>9}{'DVC':>10}{''.join(f'{name:>10}' for name in COLUMNS)}")
    before, sums = dvc.begin, Counter[str]()
    for stage in stages:
        causes = Counter({"DVC": stage.begin - before}) + stage.causes
        print_row(stage.name, causes)
        before, sums = stage.end, sums + causes
    last = Counter({"DVC": dvc.end - before})
    print_row("(end of dvc)", last)
    print_row("together", sums + last)
    own = dvc.seconds - sum(stage.seconds for stage in stages)
    parts = {cause: dvc.causes[cause] for cause in (*DVC_CAUSES, "computing") if cause != RUNS}
    shown = ", ".join(f"{cause.replace('computing', 'other')} {seconds:.1f}" for cause, seconds in parts.items())
    print(f"\nof the {own:.1f} seconds of DVC: {shown}, start {max(0.0, own - sum(parts.values())):.1f}")


def print_row(name: str, causes: Counter[str]) -> None:
    print(f"{name:24}{causes.total():9.1f}{''.join(f'{causes[cause]:10.1f}' for cause in ('DVC', *COLUMNS))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", nargs="?", type=Path, default=ROOT, help="folder in a git repository")
    parser.add_argument("--small", action="store_true", help="a small system instead")
    parser.add_argument("--cold", action="store_true", help="a new process for each stage")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = place(arguments.system, arguments.small, Path(temporary))
        samples = Path(temporary) / "samples"
        show(*read(samples, *reproduce(folder, samples, arguments.cold)))


if __name__ == "__main__":
    main()
