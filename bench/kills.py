"""Does `dvc repro` end with the same bytes however often it is killed, and does it leave nothing behind?

python bench/kills.py [KILLS] [--seed SEED] [--folder FOLDER]

Runs a small system once without disturbance. Then, until KILLS (100) were made, it runs it again in a new folder. At
random moments it kills `dvc` alone, the stage alone, or both, or presses Ctrl-C, and runs `dvc repro` again at once,
until that ends by itself. Then every output must have the same bytes as without disturbance (times excepted), and no
lock may be held, and no temporary file, process, shared memory, RUNNING trial or run of MLflow be left. Prints a line
for each kill; ends with 1 if something is wrong. Linux only.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
from filelock import FileLock, Timeout
from ruamel.yaml import YAML

ROOT: Final = Path(__file__).parents[1]
WAYS: Final = ("dvc alone", "the stage alone", "both", "Ctrl-C")
OUTPUTS: Final = tuple(map(Path, ("data", "weights", "models", "ensembles")))
HELD: Final = "has held the stage"  # a second instance stopped, since the first still ran
# of files that DVC writes in place, and what it says of those that it was killed in
BROKEN_BY_DVC: Final = {
    "Unable to read RWLock-file": Path(".dvc/tmp/rwlock"),
    "dvc.lock' validation failed": Path("dvc.lock"),
}
COMMON: Final = {"weights": "weights/random", "batch_size": 16, "learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001}
PARAMS: Final = {
    "source": {"pictures": 80},
    "convert": {"size": 32},
    "augment": {"copies": 1},
    "tune": {"trials": 4, "epochs": 2},
    "weights": {"imagenet": []},
}
ASSESS: Final = {"repeats": 1, "folds": 0, "control": False}
FEATURES: Final = {
    "maps": {
        "backbone": "small_cnn", "weights": "weights/random", "pooling": "scales", "preprocess": "native",
        "precision": "float32",
    }
}  # fmt: skip
RUNS: Final = {
    "head": COMMON | {"task": "classify", "input": "features/maps", "epochs": 4, "learning_rate": "tune"},
    "tiny": COMMON | {"task": "classify", "input": "pixels", "network": "small_cnn", "epochs": 6},
}


def make_system(folder: Path) -> None:
    """Make a system with the default pipeline, small and without network, and a DVC repository of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "baselines").mkdir(parents=True)
    (folder / "tmp").mkdir()
    (folder / "baselines" / "data.json").write_text("{}\n")
    shutil.copy(ROOT / "dvc.yaml", folder)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    for name, values in PARAMS.items():
        params[name].update(values)
    params |= {"assess": ASSESS, "features": FEATURES, "runs": RUNS, "ensembles": {"both": {"runs": ["head", "tiny"]}}}
    yaml.dump(params, folder / "params.yaml")
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=folder, env=environment(folder), check=True)


def environment(folder: Path) -> dict[str, str]:
    own = {"PYTHONPATH": str(ROOT / "src"), "DVC_NO_ANALYTICS": "1", "TMPDIR": str(folder / "tmp")}
    return os.environ | own | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def start(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            ["dvc", "repro"],
            cwd=folder,
            env=environment(folder),
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def stages(folder: Path) -> Iterator[psutil.Process]:
    """The processes that work in the system, apart from `dvc`."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            named = any("lamina" in part or "joblib" in part or "loky" in part for part in process.cmdline())
            if named and process.cwd() == str(folder) and process.pid != os.getpid():
                yield process


def kill(process: subprocess.Popen[bytes], way: str, folder: Path) -> None:
    if way == "dvc alone":
        process.kill()
    elif way == "the stage alone":
        while process.poll() is None:  # at this moment none may work, or not yet
            for stage in stages(folder):
                with contextlib.suppress(psutil.Error):
                    stage.kill()
            time.sleep(0.02)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL if way == "both" else signal.SIGINT)
    process.wait()


def digests(folder: Path, *names: Path) -> dict[str, str]:
    """The digest of every file of some outputs that holds no times, by its path."""
    files = (
        path for name in names for path in ((folder / name).rglob("*") if (folder / name).is_dir() else [folder / name])
    )
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file() and not path.name.endswith("timing.json")
    }


def leftovers(folder: Path) -> Iterator[str]:
    """What a finished system may not hold, in words."""
    time.sleep(1)
    yield from (f"process {process.pid}: {' '.join(process.cmdline())[:200]}" for process in stages(folder))
    yield from (f"temporary {path.relative_to(folder)}" for path in folder.rglob(".part-*"))
    yield from (f"temporary {path.relative_to(folder)}" for path in (folder / "tmp").iterdir())
    for path in folder.rglob("*.lock"):
        if ".dvc" not in path.parts:
            try:
                FileLock(path).acquire(blocking=False).lock.release()
            except Timeout:
                yield f"held {path.relative_to(folder)}"
    for file, query in (
        ("mlflow/mlflow.db", "select name from runs where status = 'RUNNING' and lifecycle_stage = 'active'"),
        (".lamina/studies/*.db", "select number from trials where state = 'RUNNING'"),
    ):
        for path in folder.glob(file):
            with contextlib.closing(sqlite3.connect(path)) as database:
                yield from (f"{path.name}: RUNNING {row[0]}" for row in database.execute(query))


def shared_memory() -> set[str]:
    """The names of shared memory whose process is gone; libraries name it by its process."""
    found = set()
    for path in Path("/dev/shm").iterdir():  # noqa: S108 - what lies there is looked at, not written
        numbers = [int(part) for part in path.name.replace("_", "-").split("-") if part.isdecimal()]
        if numbers and not any(map(psutil.pid_exists, numbers)):
            found.add(path.name)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "lamina-kills")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve() / "system"
    draw, log, faults = random.Random(arguments.seed), folder.parent / "log.txt", []  # noqa: S311 - moments, no secrets
    make_system(folder)
    began = time.monotonic()
    if start(folder, log).wait():
        raise SystemExit(log.read_text())
    seconds, expected, shared = time.monotonic() - began, digests(folder, *OUTPUTS), shared_memory()
    print(
        f"undisturbed: {seconds:.0f} s, {len(expected)} outputs; left: {list(leftovers(folder)) or 'nothing'}",
        flush=True,
    )
    made = ended = tracebacks = waited = 0
    while made < arguments.kills:
        make_system(folder)
        while True:
            process = start(folder, log)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0, seconds / 3) if made < arguments.kills else None)
            if process.returncode == 0:
                break
            said = log.read_text(errors="replace")
            broken = [path for words, path in BROKEN_BY_DVC.items() if words in said]
            if broken:
                for path in broken:
                    (folder / path).unlink()
                continue
            if process.returncode is not None:
                waited += HELD in said
                if HELD not in said:
                    faults.append(f"dvc repro ended with {process.returncode} by itself")
                    print(said[-3000:], flush=True)
                    break
                continue
            way, made = draw.choice(WAYS), made + 1
            kill(process, way, folder)
            said = log.read_text(errors="replace")
            stage = said.rpartition("Running stage '")[2].partition("'")[0]
            tracebacks += way == "Ctrl-C" and "Traceback" in said
            print(f"{made}: {way} killed in {stage or 'no stage'}, exit {process.returncode}", flush=True)
            if "Traceback" in said and way in ("Ctrl-C", "dvc alone"):
                print(said[-1500:], flush=True)
        ended += 1
        found = digests(folder, *OUTPUTS)
        differ = sorted(name for name in expected | found if expected.get(name) != found.get(name))
        faults += [f"other bytes: {name}" for name in differ] + list(leftovers(folder))
        faults += [f"shared memory: {name}" for name in shared_memory() - shared]
        print(f"ended {ended}", *faults, sep="\n", flush=True)
    print(f"{made} kills, {ended} ends, {len(faults)} faults; tracebacks after Ctrl-C: {tracebacks}")
    print(f"a second instance stopped because the first still ran: {waited}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
