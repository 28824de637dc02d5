"""Stage `watch`: write digests of the package's code and of the source, so that DVC notices their changes.

It runs in every `dvc repro`. Each other stage depends on a list of the code that decides its results,
`data/code/STAGE.txt`; the stages of a run depend on the list of their task, `data/code/STAGE/TASK.txt`. So an edit
reruns only the stages that use the edited code, in a checkout or in an installed package. `data/source.txt` changes
when the files of a source change, and `data/published.yaml`, on which only the report depends, when `published.yaml`
says something else. The list of the report also holds the name of the system: DVC's cache knows no names, and would
give a copied system the page of the first one, and no experiment in MLflow.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lamina.config import Params, check_references, named, read_params
from lamina.data.sources.folder import list_folder
from lamina.data.sources.places import check_first, check_places
from lamina.errors import UserError
from lamina.files import file_digest, json_digest, read_json, staged, write_json
from lamina.installation import check_version
from lamina.mirror import mirrored_path
from lamina.old_pipeline import check_size
from lamina.progress import progress
from lamina.results.published import NAME, write_published
from lamina.results.record import system_name
from lamina.source_code import PACKAGE, all_modules, code_lines
from lamina.stages import entry
from lamina.stages.warm import HELPERS
from lamina.tasks.controls import control_module
from lamina.tasks.ensembles import read_ensembles
from lamina.tasks.published import published_module, read_published
from lamina.tasks.registry import TASKS
from lamina.tasks.task import DECIDING, Task

UNSEEN: Final = ("size", "nfiles")  # `dvc.stage.cache._get_cache_hash` leaves them out, of params, too
SEEN: Final = re.compile(r"convert\.size|features\.[^.]+\.size")
NO_STAGES = (*HELPERS, "__main__", "watch")


def list_code(out: Path, cache: Path, system: str, sizes: Sequence[str] = ()) -> int:
    """Write a list for every stage, and for every task of a run's stages, to `out`; return the number of code files.

    Args:
        out: Folder of the lists.
        cache: File that keeps the lists for as long as no file of the package changes in size or time.
        system: Name of the system, which the list of the report ends with.
        sizes: What the list of `extract` ends with (`feature_sizes`).
    """
    ends = {"report.txt": [f"the system: {system}"], "extract.txt": sizes}
    files = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    state = json_digest([[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files])
    known = read_json(cache) if cache.exists() else {}
    if known.get("state") != state:
        known = {"state": state, "lists": code_lists()}
        write_json(cache, known)
    lists: dict[str, list[str]] = known["lists"]
    with staged(out, folder=True) as part:
        for name, lines in lists.items():
            (part / name).parent.mkdir(exist_ok=True)
            written = [*lines, *ends.get(name, ())]
            (part / name).write_text("".join(f"{line}\n" for line in written), encoding="utf-8", newline="\n")
    return len({line for lines in lists.values() for line in lines})


def feature_sizes(params: Params) -> list[str]:
    """Return a line for each entry of `features` that has a `size`.

    DVC's run cache leaves out what is called `size` in a section of params.yaml, and would take the features of another
    size from there.
    """
    entries = {name: given for name, given in named(params, "features").items() if isinstance(given, dict)}
    return [f"features.{name}.size: {given['size']}" for name, given in entries.items() if given.get("size")]


def check_seen(params: Mapping[str, Any], place: str = "") -> None:
    """Refuse names that DVC's run cache leaves out at any depth: it would give back the results of another value.

    Args:
        params: Content of `params.yaml`, or of a section or an entry.
        place: Name of the section or entry, with a dot at the end.

    Raises:
        UserError: Something is called `size` or `nfiles`, as a column in `split.hold_out`, other than the settings of
            that name, which DVC sees in another way (`convert.size` in dvc.yaml, `feature_sizes`).
    """
    for name, value in params.items():
        if name in UNSEEN and place and not SEEN.fullmatch(f"{place}{name}"):
            raise UserError(
                f"params.yaml: {place}{name}: DVC's run cache does not see what is called {name!r}, and would give "
                "back the results of another one; rename it"
            )
        if isinstance(value, dict):
            check_seen(value, f"{place}{name}.")


def code_lists() -> dict[str, list[str]]:
    """Return the lists of `list_code`, by the names of their files."""
    lists = {f"{stage}.txt": code_lines(*roots(stage)) for stage in stages() if stage not in DECIDING}
    return lists | {
        f"{stage}/{name}.txt": code_lines(f"lamina.stages.{stage}", *deciding_modules(stage, task))
        for stage in DECIDING
        for name, task in TASKS.items()
    }


def deciding_modules(stage: str, task: Task) -> list[str]:
    """List the modules of a task that decide what a stage writes about a run; its control is in assessments alone."""
    control = control_module(task) if stage == "assess" else None
    return [*task.deciding_modules(stage), *([control] if control else [])]


def stages() -> list[str]:
    """List the modules that are stages, except for this one."""
    names = (module.split(".") for module in all_modules())
    return [name[2] for name in names if name[1] == "stages" and name[2] not in NO_STAGES]


def roots(stage: str) -> list[str]:
    """Return the modules whose closure decides what a stage writes.

    The report shows and logs every task; ensembles average and evaluate some.
    """
    used = {"report": ("chapter", "results", "serving"), "ensembles": ("averaging", "evaluation")}.get(stage, ())
    tasks = [task for task in TASKS.values() if stage != "ensembles" or task.averaged]
    named = [f"{task.package}.{module}" for task in tasks for module in used]
    compared = [module for task in tasks if stage == "report" and (module := published_module(task))]
    return [f"lamina.stages.{stage}", *named, *compared]


def watch_source(source: Mapping[str, Any], system: Path, cache: Path) -> str:
    """Return a digest of the files that a source reads (`_watch_files`), of its corrections and of its metadata."""
    found = _watch_files(source, system, cache)
    for name in ("corrections", "metadata"):
        if isinstance(place := source.get(name), str):
            path = system / place
            found += f"\n{name} {file_digest(path) if path.is_file() else 'missing'}"
    return found


def _watch_files(source: Mapping[str, Any], system: Path, cache: Path) -> str:
    """Return a digest of the files of a source, or of `source.mirrored` if it is there; of others, their kind.

    Args:
        source: section `source` of params.yaml.
        system: the folder that `location` is relative to.
        cache: file that keeps the digests of files by their size and times.
    """
    location, mirrored = source.get("location"), source.get("mirrored")
    path = mirrored_path(str(mirrored.get("path"))) if isinstance(mirrored, dict) else None
    if path is None:
        if source.get("kind") not in ("folder", "archive") or not isinstance(location, str):
            return f"kind {source.get('kind')}"
        path = system / location
    if not path.exists():
        return "missing"
    files = [path / name for name in list_folder(path, str(location))] if path.is_dir() else [path]
    known = read_json(cache) if cache.exists() else {}
    digests = {}
    for file in progress(files, what="watch", unit="files"):
        state = file.stat()
        # unzip, tar, rsync and `cp -p` set the time of the content (mtime), but nothing sets that of the change (ctime)
        key = f"{file}|{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}"
        digests[key] = known.get(key) or file_digest(file)
    if digests.keys() != known.keys():
        write_json(cache, digests)
    names = (file.relative_to(path).as_posix() for file in files)
    return json_digest(list(zip(names, digests.values(), strict=True)))


def check_folds(assess: Mapping[str, Any]) -> None:
    """Check that no run asks for other rounds of cross-validation than the system, before anything trains.

    Args:
        assess: section `assess` of params.yaml.

    Raises:
        UserError: names the run; the stage `split` assigns the rounds once for all runs.
    """
    folds = assess.get("folds", 0)
    for name, own in assess.items():
        if isinstance(own, dict) and own.get("folds", 0) not in (0, folds):
            raise UserError(
                f"params.yaml: assess.{name}.folds is {own['folds']}, but assess.folds is {folds}, and all runs share "
                "its rounds; set assess.folds, and 0 for the runs without a cross-validation"
            )


def main() -> None:
    system = Path()
    check_version(system)
    check_size(system / "dvc.yaml")
    check_first(system)
    params = read_params(system)
    check_seen(params)
    source = params.get("source") or {}
    check_places(source, system)
    Path("data/features").mkdir(parents=True, exist_ok=True)  # the stage inspect reads it, even without `features`
    with staged(Path("data/source.txt")) as part:
        digest = watch_source(source, system, Path(".lamina/source.json"))
        part.write_text(f"{digest}\n", encoding="utf-8", newline="\n")
    count = list_code(Path("data/code"), Path(".lamina/code.json"), system_name(system), feature_sizes(params))
    print(f"watching {count} files of code, and the source")
    read_ensembles(params)
    check_folds(params.get("assess") or {})
    write_published(Path("data") / NAME, read_published(system, params))
    for note in check_references(params):
        print(note, file=sys.stderr)


if __name__ == "__main__":
    entry.run_stage(main)
