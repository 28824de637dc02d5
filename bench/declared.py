"""Does every stage give the same bytes where only what `dvc.yaml` names is there?

python bench/declared.py [--folder FOLDER] [--one-core]

Runs a small system once. Then it runs each stage again in a folder that holds nothing but the stage's dependencies, and
of `params.yaml` only the keys that the stage names, in another time zone and locale, with another order of sets, and
without a home folder; with --one-core also on one core alone. What has other bytes than before, or ends with an error,
depends on something that DVC does not know. Ends with 1 if there is such a stage. Linux only.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dvc.repo import Repo
from ruamel.yaml import YAML

from kills import digests, environment, make_system

ELSEWHERE: Final = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
NO_FILES: Final = ("watch",)  # depends on the package and on the source by design


def run(command: str, folder: Path, *, one_core: bool = False, **variables: str) -> str:
    """Run the command of a stage; return its last line if it fails."""
    ours = {name: value for name, value in environment(folder).items() if name != "HOME"} | variables
    words = [*(["taskset", "--cpu-list", "0"] if one_core else []), *command.split()]
    done = subprocess.run(words, cwd=folder, env=ours, capture_output=True, text=True)
    return (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1] if done.returncode else ""


def keys_of(params: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return only these keys (`source.classes`) of nested parameters."""
    found: dict[str, Any] = {}
    for name in names:
        *above, key = name.split(".")
        there, here = params, found
        for part in above:
            there, here = there[part], here.setdefault(part, {})
        if key in there:
            here[key] = there[key]
    return found


def copy_declared(stage: Any, system: Path, out: Path) -> None:
    """Copy the dependencies of a stage, and the parameters that it names."""
    yaml, names = YAML(typ="safe"), []
    for dependency in stage.deps:
        path = Path(dependency.fs_path).relative_to(system)
        if hasattr(dependency, "params"):
            names += dependency.params
        elif (system / path).is_dir():
            shutil.copytree(system / path, out / path, dirs_exist_ok=True)
        elif (system / path).exists():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(system / path, out / path)
    yaml.dump(keys_of(yaml.load(system / "params.yaml"), names), out / "params.yaml")


def faults(system: Path, stage: Any, *, one_core: bool) -> Iterator[str]:
    """Run a stage alone; yield what is not as before."""
    alone = system.parent / "alone" / system.name
    shutil.rmtree(alone, ignore_errors=True)
    (alone / "tmp").mkdir(parents=True)
    copy_declared(stage, system, alone)
    if problem := run(stage.cmd, alone, one_core=one_core, **ELSEWHERE):
        yield problem
    for out in stage.outs:
        path = Path(out.fs_path).relative_to(system)
        before, now = digests(system, path), digests(alone, path)
        yield from (name for name in sorted(before | now) if before.get(name) != now.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "lamina-declared")
    parser.add_argument("--one-core", action="store_true")
    arguments = parser.parse_args()
    system: Path = arguments.folder.resolve() / "system"
    make_system(system)
    subprocess.run(["dvc", "repro", "--quiet"], cwd=system, env=environment(system), check=True)
    wrong = 0
    for stage in Repo(system).index.stages:
        if stage.name not in NO_FILES:
            found = list(faults(system, stage, one_core=arguments.one_core))
            wrong += bool(found)
            print(f"{stage.name}: {', '.join(found) or 'the same'}", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    os.environ["DVC_NO_ANALYTICS"] = "1"
    sys.exit(main())
