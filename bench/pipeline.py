"""How long do `make run` on a new clone, and `dvc repro` with everything and with nothing to do, take?

python bench/pipeline.py

The clone of the current commit is in a temporary folder. The installation is timed twice: as the Makefile does it, and
with pip alone. `dvc repro --force` is timed twice, too: with stages forked from one process, and with a new
process for each.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ["--quiet", "--require-hashes", "--no-deps", "--no-build-isolation", "--requirement"]


def seconds(*command: str, folder: Path, **environment: str) -> float:
    start, quiet = time.perf_counter(), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, cwd=folder, check=True, env=os.environ | environment, **quiet)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        clone, other = Path(temporary) / "clone", Path(temporary) / "other"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        bare = {"PATH": f"{clone / '.venv/bin'}:{os.environ['PATH']}"}
        install = seconds("make", ".venv/run", folder=clone)
        chain = seconds("make", "run", folder=clone)
        again = seconds("dvc", "repro", folder=clone, **bare)
        warm = seconds("dvc", "repro", "--force", folder=clone, **bare)
        cold = seconds("dvc", "repro", "--force", folder=clone, LAMINA_WARM="0", **bare)
        with_pip = seconds(sys.executable, "-m", "venv", str(other), folder=clone)
        for group in ("build", "run"):
            lock = f"requirements/{group}.txt"
            with_pip += seconds(str(other / "bin/python"), "-m", "pip", "install", *REQUIREMENTS, lock, folder=clone)
    print("what                                      seconds")
    print(f"make run on a new clone                   {install + chain:7.1f}")
    print(f"  of which installing                     {install:7.1f}")
    print(f"  installing the same lock with pip alone {with_pip:7.1f}")
    print(f"dvc repro --force                         {warm:7.1f}")
    print(f"  with a new process for each stage       {cold:7.1f}")
    print(f"dvc repro with nothing to do              {again:7.1f}")


if __name__ == "__main__":
    main()
