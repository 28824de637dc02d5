"""Write the pipeline as jobs of an engine that exists: Slurm, Argo Workflows, GitHub Actions or GNU make.

Every stage is a job, in the order of DVC's graph. It works in a clone of its own, and starts with
`dvc repro --pull STAGE`: the results of the stages before come from the run cache of the DVC remote, where the jobs of
these stages pushed them. In the end, `dvc repro --pull` brings all results and writes `dvc.lock`. The templates are in
`engines/`. In a job, `LAMINA_ONLY` names the one stage that may run (`lamina.stages`).
"""

import os
import re
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jinja2

from lamina import __version__
from lamina.commands.check import check_system
from lamina.commands.look import above
from lamina.config import Params
from lamina.errors import UserError
from lamina.files import staged
from lamina.installation import is_checkout
from lamina.text import distinct

ENGINES: Final = ("slurm", "argo", "github", "make")
CLONED: Final = ("slurm", "make")  # their jobs clone this repository, on a file system that all machines share
STAGE: Final = re.compile("[A-Za-z][A-Za-z0-9_-]*(@[A-Za-z0-9_-]+)?")  # safe in a shell, in make and in YAML
LINE: Final = re.compile(r'"([^"]+)"(?: -> "([^"]+)")?;')  # of the graph in the language DOT: a stage, or an edge
FOLDER: Final = re.compile(r"[\w ./-]*")  # of a system in its repository, safe in a workflow
URL: Final = re.compile(r"^\s*url\s*=\s*(\S.*?)\s*$", re.MULTILINE)  # in DVC's settings
WORKFLOWS: Final = Path(".github/workflows")  # of the repository, where GitHub looks
LONGEST: Final = 90  # letters of the name of a job

Jobs = dict[str, list[str]]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `lamina jobs`, except --system."""
    parser.add_argument("--to", required=True, choices=ENGINES, help="the engine that runs the jobs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a file instead of printing it")
    parser.add_argument("--image", help="argo: the container image, with lamina and git")
    parser.add_argument(
        "--install", metavar="COMMAND", help="github: installs lamina (default in a checkout of it: make .venv/run)"
    )


def run(arguments: Namespace) -> int:
    """Print the jobs, or write them; return 0.

    Raises:
        UserError: If the jobs could not find what they need: the remote, or files that are not in git.
    """
    text = write_jobs(arguments.system, arguments.to, image=arguments.image, install=arguments.install)
    if arguments.out and arguments.to == "github":
        check_place(arguments.system, arguments.out)
    if not arguments.out:
        print(text, end="")
        return 0
    if arguments.out.is_dir():
        raise UserError(f"{arguments.out}: is a folder; --out expects a file")
    with staged(arguments.out) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    print(arguments.out)
    return 0


def write_jobs(system: Path, engine: str, *, image: str | None = None, install: str | None = None) -> str:
    """Return the text of a script, workflow or makefile that runs every stage of a system as a job.

    Args:
        system: folder that holds `params.yaml` and `dvc.yaml`.
        engine: one of `ENGINES`.
        image: container image of the jobs; for `argo` only.
        install: command that installs lamina on a runner; for `github` only.

    Raises:
        UserError: the jobs could not find what they need, or a name is not safe in such a file.
    """
    if image and engine != "argo":
        raise UserError(f"--image: only --to argo takes it, not {engine}")
    if install and engine != "github":
        raise UserError(f"--install: only --to github takes it, not {engine}")
    params = check_system(system)
    root, project = above(system, ".git"), above(system, ".dvc")
    if root is None or project is None:
        raise UserError(f"{system}: expected a repository of git and of DVC, since every job works in a clone")
    check_in_git(system, project, params)
    check_remote(system, project, everywhere=engine in CLONED)
    values: dict[str, Any] = {"dvc": Path(os.path.relpath(project / ".dvc", system.resolve())).as_posix()}
    if engine not in CLONED:
        values["prefix"] = system.resolve().relative_to(root).as_posix()
        if not FOLDER.fullmatch(values["prefix"]):
            raise UserError(f"{system}: expected a folder of letters, digits, - and _, got {values['prefix']!r}")
    if engine == "github":
        values["install"] = install or _install(root)
    if engine == "argo":
        values |= {"image": _image(image), "repository": _origin(root), "commit": _commit(root)}
    return _render(engine, read_jobs(system), values)


def check_place(system: Path, out: Path) -> None:
    """Refuse a workflow in a folder `.github/workflows` where GitHub never looks, as in that of a system.

    Args:
        system: folder of the system, inside a repository.
        out: file of the workflow.

    Raises:
        UserError: the folder is not that of the repository.
    """
    root = above(system, ".git")
    if root is None or out.resolve().parts[-3:-1] != WORKFLOWS.parts or out.resolve().parent == root / WORKFLOWS:
        return
    place = Path(os.path.relpath(root / WORKFLOWS / out.name)).as_posix()
    raise UserError(f"--out: GitHub reads workflows in {WORKFLOWS} of the repository alone; write --out {place}")


def read_jobs(system: Path) -> Jobs:
    """Return, for each stage of a system, the stages that it waits for, as DVC knows them; these come first.

    A stage that another one of them waits for is left out.

    Raises:
        UserError: DVC cannot read the pipeline, or a stage is not safe to name in a job.
    """
    needs: Jobs = {}
    for line in _dvc(system, "dag", "--dot", "dvc.yaml").strip().splitlines()[1:-1]:  # between { and }
        found = LINE.fullmatch(line)
        names = [name for name in found.groups() if name] if found else [line]
        if names[0].endswith(".dvc"):  # a file of `dvc add`, which is in the remote already
            continue
        for name in names:
            if not STAGE.fullmatch(name):
                raise UserError(
                    f"{system / 'dvc.yaml'}: {name!r}: expected a stage of this file, named with letters (A-Z, a-z), "
                    "digits, - and _; rename it"
                )
        needs.setdefault(names[-1], []).extend(names[:-1])
    jobs: Jobs = {}
    before: dict[str, set[str]] = {}  # all that must have run
    for stage in TopologicalSorter(needs).static_order():
        passed = {one for direct in needs[stage] for one in before[direct]}
        jobs[stage] = [direct for direct in needs[stage] if direct not in passed]
        before[stage] = {*needs[stage], *passed}
    return jobs


def check_in_git(system: Path, project: Path, params: Params) -> None:
    """Refuse a system whose clone would lack the pipeline, the parameters, DVC's settings, or the files of the source.

    Args:
        system: folder of the system.
        project: folder that holds `.dvc`.
        params: content of `params.yaml`.

    Raises:
        UserError: one of them is not in git.
    """
    source = params["source"]
    local = ["location"] if source.get("kind") in ("folder", "archive") else []
    named = [source.get(key) for key in (*local, "corrections", "metadata")]
    settings = os.path.relpath(project / ".dvc" / "config", system.resolve())
    for file in ("dvc.yaml", "params.yaml", settings, *(name for name in named if isinstance(name, str))):
        if not Path(file).is_absolute() and _git(system, "ls-files", "--error-unmatch", "--", file) is None:
            raise UserError(
                f"{system / file}: not in git, and every job works in a clone: commit it, or name in params.yaml an "
                "absolute path that all machines have"
            )


def check_remote(system: Path, project: Path, *, everywhere: bool) -> None:
    """Refuse a DVC remote that cannot carry results between jobs; note one that is a folder.

    Args:
        system: folder of the system.
        project: folder that holds `.dvc`.
        everywhere: whether all jobs see the same file system.

    Raises:
        UserError: there is no default remote, or none that holds a run cache at the same place for every clone.
    """
    settings = dict(line.partition("=")[::2] for line in _dvc(system, "config", "--list").splitlines())
    name = settings.get("core.remote")
    url = settings.get(f"remote.{name}.url")
    if not url:
        raise UserError(
            f"{system}: no default DVC remote, which carries results from job to job; add one: "
            "`dvc remote add --default NAME ADDRESS`, and commit .dvc/config"
        )
    if url.startswith(("http://", "https://")):
        raise UserError(f"the DVC remote {name}: HTTP has no run cache; use a folder, SSH, S3 or another kind")
    if any(settings.get(f"remote.{name}.{key}", "").lower() == "true" for key in ("version_aware", "worktree")):
        raise UserError(f"the DVC remote {name}: a remote with cloud versioning has no run cache; use another one")
    if Path(url).is_absolute():
        if url in _relative_addresses(project / ".dvc"):
            raise UserError(
                f"the DVC remote {name}: a relative path leads elsewhere in a clone; "
                f"run `dvc remote modify {name} url {url}`"
            )
        if not everywhere:
            print(f"note: the DVC remote {name} is a folder, {url}: every machine must have it", file=sys.stderr)


def _relative_addresses(folder: Path) -> list[str]:
    """Return what the relative addresses in DVC's settings mean here; `dvc config` says only that."""
    files = [folder / name for name in ("config", "config.local")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    return [os.path.normpath(folder / url) for url in URL.findall(text) if not Path(url).is_absolute()]


def _render(engine: str, jobs: Jobs, values: Mapping[str, Any]) -> str:
    """Fill in the template of an engine."""
    environment = jinja2.Environment(  # noqa: S701 - no HTML; all values are names that were checked, or JSON
        loader=jinja2.PackageLoader("lamina.commands", "engines"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # as GitHub and Argo take them: letters, digits and -
    ids = {name: form.replace("_", "-") for name, form in distinct(jobs, refused="[^A-Za-z0-9-]", most=LONGEST).items()}
    job = {stage: f"job_{place}" for place, stage in enumerate(jobs, 1)}  # a variable of a shell
    last = [stage for stage in jobs if not any(stage in before for before in jobs.values())]
    template = environment.get_template(f"{engine}.jinja")
    return template.render(version=__version__, jobs=jobs, ids=ids, job=job, last=last, **values)


def _install(root: Path) -> str:
    if not is_checkout(root):
        raise UserError("--install: expected the command that installs lamina on a runner, as 'pip install ...'")
    return "make .venv/run"


def _image(image: str | None) -> str:
    if not image:
        raise UserError("--image: expected the name of a container image, with lamina and git; Argo starts it")
    return image


def _origin(root: Path) -> str:
    """Return the address of the repository, from which a container clones it."""
    url = _git(root, "remote", "get-url", "origin")
    if not url:
        raise UserError(
            f"{root}: git knows no `origin`, from which Argo's containers clone; `git remote add origin ADDRESS`"
        )
    if urlsplit(url).scheme in ("http", "https") and "@" in urlsplit(url).netloc:
        raise UserError(f"{root}: the address of `origin` in git holds a name or password; keep it out of the workflow")
    return url


def _commit(root: Path) -> str:
    """Return the commit of the repository, which holds all that jobs need."""
    commit = _git(root, "rev-parse", "HEAD")
    if not commit or _git(root, "diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)*dvc.lock") is None:
        raise UserError(f"{root}: there are changes that are not committed, and jobs work in clones; commit them first")
    return commit


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; None if it fails."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


def _dvc(system: Path, *arguments: str) -> str:
    """Return what DVC prints."""
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=system, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        output = " ".join((done.stderr or done.stdout).split())[:300]
        raise UserError(f"{system}: `dvc {arguments[0]}` failed: {output}")
    return done.stdout
