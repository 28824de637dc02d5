"""`lamina jobs`: every stage as a job of an engine, in the order of DVC's graph, over one DVC remote."""

import contextlib
import io
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from checkout import ROOT
from lamina.commands.jobs import ENGINES, check_place, read_jobs, write_jobs
from lamina.errors import UserError
from projects import change_params, environment, stages_run

OPTIONS: dict[str, dict[str, str]] = {
    "argo": {"image": "registry.example.org/lamina:1"}, "github": {"install": "pip install ./lamina"}
}  # fmt: skip
PARAMS = (ROOT / "params.yaml").read_text()
RUNS = ("one", "t-wo", "Th_ree")
ENGINES_FOLDER = ROOT / "src/lamina/commands/engines"
FLAG = "LAMINA_TEST_FLAG"  # names the file without which the stage `left` fails


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, env=environment(ROOT / "src"), check=True, capture_output=True)


def command(folder: Path, *words: str, expect: int = 0, **variables: str) -> str:
    """Run a command in a folder; return what it printed."""
    env = environment(ROOT / "src") | {"SHELL": "/bin/sh", **variables}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == expect, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "--message", "system")


def start_repository(folder: Path, *remote: str) -> None:
    """Make a folder a repository of git and DVC, with a remote."""
    (folder / ".gitignore").write_text("data/\n.lamina/\njobs.*\n")
    git(folder, "init", "--quiet")
    command(folder, "dvc", "init", "--quiet")
    command(folder, "dvc", "remote", "add", "--quiet", "--default", "store", *remote)
    commit(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system of pictures with three runs, in a folder of a repository; nothing has run."""
    place = tmp_path_factory.mktemp("pictures")
    system = place / "repository" / "systems" / "cells"
    system.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, system)
    run = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")["runs"]["small_cnn"]
    change_params(system, {"runs": dict.fromkeys(RUNS, run), "assess": {}}, replace=("runs", "assess"))
    start_repository(place / "repository", str(place / "store"))
    git(system, "remote", "add", "origin", "https://git.example.org/me/repository.git")
    return system


@pytest.fixture
def copy(pictures: Path, tmp_path: Path) -> Path:
    """A copy of the system of pictures, to change it."""
    root = shutil.copytree(pictures.parents[1], tmp_path / "repository")
    return root / pictures.relative_to(pictures.parents[1])


@cache
def graph(system: Path) -> dict[str, list[str]]:
    return read_jobs(system)


@cache
def text_for(system: Path, engine: str) -> str:
    return text_and_notes(system, engine)[0]


@cache
def text_and_notes(system: Path, engine: str) -> tuple[str, str]:
    """The text for an engine, and what was said on stderr while it was written."""
    with contextlib.redirect_stderr(io.StringIO()) as notes:
        text = written(system, engine)
    return text, notes.getvalue()


def written(system: Path, engine: str) -> str:
    return write_jobs(system, engine, **OPTIONS.get(engine, {}))


@cache
def loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


# ---- the graph


def test_jobs_are_the_stages_of_dvc_in_their_order(pictures: Path) -> None:
    jobs = graph(pictures)
    listed = {line.split()[0] for line in command(pictures, "dvc", "stage", "list").splitlines()}
    assert set(jobs) == listed
    assert {f"train@{run}" for run in RUNS} <= set(jobs)
    seen: set[str] = set()
    for stage, before in jobs.items():
        assert set(before) <= seen
        seen.add(stage)


def test_a_job_waits_only_for_those_that_nothing_between_waits_for(pictures: Path) -> None:
    jobs = graph(pictures)
    assert jobs["watch"] == []
    assert jobs["train@t-wo"] == ["tune@t-wo"]  # which waits for all the data
    assert jobs["evaluate@one"] == ["train@one"]
    assert sorted(jobs["report"]) == ["ensembles", "inspect"]


# ---- the engines


def waiting(engine: str, text: str) -> dict[str, list[str]]:
    """For each stage in a file of an engine, the stages that it waits for."""
    if engine == "make":
        lines = re.findall(r"^([\w@-]+): (.*)$", text, re.MULTILINE)
        return {"watch": []} | {stage: before.split() for stage, before in lines}
    if engine == "slurm":
        lines = re.findall(r'^job_(\d+)=\$\(stage (\S+) "(\S*)" "\$@"\)$', text, re.MULTILINE)
        stages = {number: stage for number, stage, _ in lines}
        return {stage: [stages[number] for number in re.findall(r"job_(\d+)", before)] for _, stage, before in lines}
    if engine == "github":
        jobs = loaded(text)["jobs"]
        stages = {key: job["env"]["stage"] for key, job in jobs.items()}
        return {stages[key]: [stages[one] for one in job.get("needs", [])] for key, job in jobs.items()}
    tasks = loaded(text)["spec"]["templates"][0]["dag"]["tasks"]
    stages = {task["name"]: task["arguments"]["parameters"][0]["value"] for task in tasks}
    return {stages[task["name"]]: [stages[one] for one in task.get("dependencies", [])] for task in tasks}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_stage_is_a_job_that_waits_for_those_before(pictures: Path, engine: str) -> None:
    text = text_for(pictures, engine)
    assert waiting(engine, text) == graph(pictures)
    for line in ('dvc repro --pull "$', 'dvc push --quiet "$', 'dvc push --quiet --run-cache "$'):
        assert line in text


def test_the_script_for_slurm_and_the_makefile_are_valid(pictures: Path) -> None:
    (pictures / "jobs.sh").write_text(text_for(pictures, "slurm"))
    for shell in ("sh", "bash"):
        command(pictures, shell, "-n", "jobs.sh")
    (pictures / "jobs.mk").write_text(text_for(pictures, "make"))
    plan = command(pictures, "make", "--dry-run", "-f", "jobs.mk", "evaluate@Th_ree")
    planned = re.findall("stage='(.*?)'", plan)
    assert planned[0] == "watch"
    assert planned[-2:] == ["train@Th_ree", "evaluate@Th_ree"]
    assert "evaluate@one" not in planned


def test_the_workflow_of_github_is_valid_and_may_only_read(pictures: Path) -> None:
    text = text_for(pictures, "github")
    workflow = loaded(text)
    assert workflow["permissions"] == {"contents": "read"}
    steps = workflow["jobs"]["report"]["steps"]
    assert [step["uses"] for step in steps if "uses" in step]
    for step in steps:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step.get("uses", f"actions/x@{'0' * 40}"))
    assert steps[-1]["working-directory"] == "systems/cells"
    assert "../../.dvc/config.local" in steps[-1]["run"]
    own = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert all(step["uses"] in own for step in steps if "uses" in step)


def test_the_schema_of_github_takes_the_workflow(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema, which has the schema, is not installed")
    (tmp_path / "jobs.yml").write_text(text_for(pictures, "github"))
    command(tmp_path, "check-jsonschema", "--builtin-schema", "vendor.github-workflows", "jobs.yml")


def test_the_models_of_argo_take_the_workflow(pictures: Path) -> None:
    models = pytest.importorskip("hera.workflows.models", reason="hera, which has Argo's models, is not installed")
    text = text_for(pictures, "argo")
    workflow = models.Workflow.model_validate(loaded(text))
    # the models drop keys that Argo does not know
    assert workflow.model_dump(by_alias=True, exclude_none=True, mode="json") == loaded(text)


def test_names_of_argo_and_github_have_letters_digits_and_hyphens(pictures: Path) -> None:
    tasks = loaded(text_for(pictures, "argo"))["spec"]["templates"][0]["dag"]["tasks"]
    names = [*(task["name"] for task in tasks), *loaded(text_for(pictures, "github"))["jobs"]]
    assert not [name for name in names if not re.fullmatch("[A-Za-z][A-Za-z0-9-]{0,89}", name)]
    assert len(set(names)) == len(tasks)


def test_sbatch_gets_each_job_after_those_that_it_waits_for(pictures: Path, tmp_path: Path) -> None:
    """With a program in place of `sbatch` that notes how it is called."""
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(
        f'#!/bin/sh\ncd "{tmp_path}"\necho "$@" >> calls\nnumber=$(wc -l < calls)\n'
        'cat > "script-$number"\n[ "$number" != "$FAIL" ] || exit 1\necho "$number;cluster"\n'
    )
    sbatch.chmod(0o755)
    (pictures / "jobs.sh").write_text(text_for(pictures, "slurm"))
    path = f"{sbatch.parent}:{environment(ROOT / 'src')['PATH']}"
    command(pictures, "sh", "jobs.sh", "--mem=1G", PATH=path, FAIL="none")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert all("--mem=1G" in line for line in calls)
    names = [re.findall(r"--job-name=(\S+)", line)[0] for line in calls]
    numbers = [re.findall(r"--dependency=afterok:(\S+)", line) for line in calls]
    before = [[names[int(one) - 1] for one in found[0].split(":")] if found else [] for found in numbers]
    assert dict(zip(names, before, strict=True)) == graph(pictures) | {"gather": ["report"]}
    assert "stage=watch commit=" in (tmp_path / "script-1").read_text().splitlines()[2]
    for shell in ("sh", "bash"):  # nothing is submitted after the first refusal
        (tmp_path / "calls").unlink()
        command(pictures, shell, "jobs.sh", PATH=path, FAIL="3", expect=1)
        assert len((tmp_path / "calls").read_text().splitlines()) == 3


# ---- what is refused


def rename(system: Path) -> None:
    change_params(system, {"runs": {"$(touch x)": {"task": "classify", "input": "pixels"}}}, replace=("runs",))


def add_stage(name: str) -> Callable[[Path], None]:
    def add(system: Path) -> None:
        with (system / "dvc.yaml").open("a") as file:
            file.write(f"\n  {name}:\n    cmd: 'true'\n    deps: [reports]\n")

    return add


def configure(old: str, new: str) -> Callable[[Path], None]:
    """Change a line of DVC's settings, as `dvc remote` does."""

    def change(system: Path) -> None:
        settings = system.parents[1] / ".dvc" / "config"
        lines = settings.read_text().splitlines()
        (line,) = [line for line in lines if line.strip().startswith(f"{old} = ")]
        lines[lines.index(line)] = new
        settings.write_text("\n".join([*lines, ""]))

    return change


def take_out_of_git(system: Path) -> None:
    change_params(system, {"source": {"kind": "folder", "location": "cells", "labels": "folder"}}, replace=("source",))
    (system / "cells").mkdir()
    (system / "cells" / "a.png").write_bytes(b"")


def break_pipeline(system: Path) -> None:
    (system / "dvc.yaml").write_text("stages: [")


@pytest.mark.parametrize(
    ("change", "engine", "words"),
    [
        (rename, "make", r"params.yaml: runs: '\$\(touch x\)': expected a name of letters"),
        (add_stage("größe"), "make", r"dvc.yaml: 'größe': expected a stage .* named with letters"),
        (break_pipeline, "make", r"`dvc dag` failed: .*dvc.yaml. is invalid"),
        (configure("remote", ""), "slurm", r"no default DVC remote.*`dvc remote add --default"),
        (configure("url", "url = https://example.org/x"), "make", "HTTP has no run cache"),
        (configure("url", "url = s3://here/there\nversion_aware = true"), "make", "cloud versioning has no run cache"),
        (configure("url", "url = ../there"), "make", r"a relative path .*`dvc remote modify"),
        (take_out_of_git, "make", r"cells/cells: not in git, and every job works in a clone"),
        (lambda system: git(system, "remote", "remove", "origin"), "argo", "git knows no `origin`"),
        (
            lambda system: git(system, "remote", "set-url", "origin", "https://me:secret@example.org/x"),
            "argo",
            "`origin` in git holds a name or password",
        ),
        (lambda system: (system / "params.yaml").write_text(PARAMS + "\n"), "argo", "changes that are not committed"),
        (lambda system: git(system, "rm", "-q", "--cached", "../../.dvc/config"), "make", r"\.dvc/config: not in git"),
        (lambda system: shutil.rmtree(system.parents[1] / ".git"), "make", "expected a repository of git and of DVC"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_a_line(
    copy: Path, change: Callable[[Path], None], engine: str, words: str
) -> None:
    change(copy)
    with pytest.raises(UserError, match=words) as caught:
        written(copy, engine)
    assert "secret" not in str(caught.value)
    assert not [*copy.parents[1].rglob("x")]


@pytest.mark.parametrize(
    ("engine", "options", "words"),
    [
        ("argo", {}, "--image: expected the name of a container image"),
        ("github", {}, "--install: expected the command that installs lamina"),
        ("make", {"image": "x"}, "--image: only --to argo takes it, not make"),
        ("argo", {"install": "x"}, "--install: only --to github takes it, not argo"),
    ],
)
def test_options_belong_to_their_engine(pictures: Path, engine: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        write_jobs(pictures, engine, **options)


def test_a_workflow_where_github_never_looks_is_refused(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures)
    with pytest.raises(UserError, match=r"write --out \.\./\.\./\.github/workflows/jobs\.yml$"):
        check_place(pictures, Path(".github/workflows/jobs.yml"))
    for right in ("../../.github/workflows/jobs.yml", "jobs.yml"):
        check_place(pictures, Path(right))


def test_a_folder_that_not_every_machine_has_is_noted(pictures: Path) -> None:
    assert not text_and_notes(pictures, "make")[1]
    assert text_and_notes(pictures, "github")[1].startswith("note: the DVC remote store is a folder, ")


# ---- jobs that run, over a remote


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with `watch` and quick stages: `left`, which fails without a file, `right`, and `both`."""
    place = tmp_path_factory.mktemp("jobs")
    system = place / "a repository" / "systems" / "my system"
    system.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", system)
    stages = {"watch": YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]["watch"]}
    for name, command, deps in (
        ("left", f'test -e "${FLAG}" && cp data/source.txt data/left.txt', ["source"]),
        ("right", "cat data/code/*.txt data/source.txt > data/right.txt", ["code/download", "source"]),
        ("both", "cat data/left.txt data/right.txt > data/both.txt", ["left", "right"]),
    ):
        paths = [f"data/{path}.txt" for path in deps]
        stages[name] = {"cmd": command, "deps": paths, "outs": [f"data/{name}.txt"]}
    YAML().dump({"stages": stages}, system / "dvc.yaml")
    start_repository(place / "a repository", "--local", str(place / "store"))  # in .dvc/config.local
    return system


def clone(system: Path, place: Path) -> Path:
    """Clone the repository of a system into a folder; return the system there."""
    git(place, "clone", "--quiet", str(system.parents[1]), str(place / "clone"))
    return place / "clone" / system.relative_to(system.parents[1])


@pytest.mark.nightly
def test_jobs_of_make_end_in_the_bytes_of_one_dvc_repro(system: Path, tmp_path: Path) -> None:
    """The job of `left` fails at first: what depends on it does not run, and the second time nothing runs twice."""
    command(system, "lamina", "jobs", "--to", "make", "--out", "jobs.mk")
    flag = {FLAG: str(tmp_path / "flag")}
    output = command(system, "make", "-j2", "-f", "jobs.mk", expect=2, **flag)
    assert stages_run(output) == {"watch", "left", "right"}
    assert [path.name for path in (system / ".lamina" / "jobs").iterdir()] == ["left"]
    assert not (system / "dvc.lock").exists()
    Path(flag[FLAG]).touch()
    output = command(system, "make", "-j2", "-f", "jobs.mk", **flag)
    assert stages_run(output) == {"watch", "left", "both"}
    assert not [*(system / ".lamina" / "jobs").iterdir()]

    alone = clone(system, tmp_path)
    command(alone, "dvc", "repro", **flag)
    for name in ("dvc.lock", "data/both.txt"):
        assert (system / name).read_bytes() == (alone / name).read_bytes()


def test_jobs_of_slurm_end_in_the_same_bytes(system: Path, tmp_path: Path) -> None:
    if not shutil.which("sinfo") or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("no Slurm is running here")
    (tmp_path / "flag").touch()
    flag = {FLAG: str(tmp_path / "flag")}
    alone = clone(system, tmp_path)
    command(alone, "dvc", "repro", **flag)
    command(system, "lamina", "jobs", "--to", "slurm", "--out", "jobs.sh")
    (system / "dvc.lock").unlink(missing_ok=True)
    command(system, "sh", "jobs.sh", "--mem=500M", **flag)
    while subprocess.run(["squeue", "--noheader"], capture_output=True, check=True).stdout:
        time.sleep(1)
    assert (system / "dvc.lock").read_bytes() == (alone / "dvc.lock").read_bytes()


@pytest.mark.nightly
def test_the_steps_of_argo_and_github_bring_a_result_from_one_to_the_other(system: Path, tmp_path: Path) -> None:
    """Run here, as the engines would in a container and on a runner."""
    secret = {"DVC_CONFIG_LOCAL": (system.parents[1] / ".dvc" / "config.local").read_text()}
    git(system, "remote", "add", "origin", str(system.parents[1]))
    container = loaded(written(system, "argo"))["spec"]["templates"][1]["container"]
    inside = {"REPOSITORY": str(system.parents[1]), "COMMIT": "HEAD", "SYSTEM": "systems/my system", "stage": "right"}
    assert set(inside) == {one["name"] for one in container["env"]} - set(secret)
    output = command(tmp_path, *container["command"], *container["args"], **inside, **secret)
    assert stages_run(output) <= {"watch", "right"}

    *_, step = loaded(written(system, "github"))["jobs"]["right"]["steps"]
    output = command(clone(system, tmp_path), "bash", "-e", "-c", step["run"], stage="right", **secret)
    assert "Stage 'right' is cached" in output


def test_a_job_does_not_make_what_other_jobs_have_to_make(copy: Path) -> None:
    output = command(copy, "dvc", "repro", "--pull", "filter", expect=255, LAMINA_ONLY="filter")
    assert "error: the DVC remote has no result of download for this code, source and params.yaml" in output
    assert "LAMINA_ONLY=filter forbids to run it here" in output
    assert not (copy / "data" / "raw").exists()


def test_results_that_are_missing_in_the_end_leave_the_lock_file_of_before(copy: Path) -> None:
    (copy / ".lamina" / "jobs").mkdir(parents=True, exist_ok=True)
    (copy / "dvc.lock").write_text("schema: '2.0'\nstages: {}  # not in git\n")
    output = command(copy, "sh", "-euc", (ENGINES_FOLDER / "gather.sh").read_text(), expect=1)
    assert "LAMINA_ONLY=watch forbids to run it here" in output
    assert (copy / "dvc.lock").read_text() == "schema: '2.0'\nstages: {}  # not in git\n"


def test_jobs_do_not_start_from_changes_that_are_not_committed(system: Path) -> None:
    command(system, "lamina", "jobs", "--to", "make", "--out", "jobs.mk")
    params = system / "params.yaml"
    before = params.read_text()
    params.write_text(before + "\n")
    try:
        output = command(system, "make", "-f", "jobs.mk", expect=2)
    finally:
        params.write_text(before)
    assert "error: jobs work in clones of the commit" in output
    assert not stages_run(output)
