"""The whole chain on a small system, from the command line: git, dvc and lamina.

A new task is one folder and one line: `tasks/mean_color`, next to this file, is added to the copy of the checkout, and
its run goes through every stage and command with the others.
"""

import contextlib
import csv
import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from checkout import ROOT
from lamina.data.shards import FEW_PICTURES
from lamina.source_code import PACKAGE
from projects import call, change_params, environment, stages_run, tracked_scores

TOY = Path(__file__).parent / "tasks" / "mean_color"
LINE = '        "mean_color": Task(name="mean_color", package="lamina.tasks.mean_color", measure="mse"),\n'
HEAD, NETWORK, COLORS, MEANS, PAIR = "head", "tiny", "tint", "means", "pair"
RUNS = (HEAD, NETWORK, COLORS, MEANS)
NAMES = (*RUNS, PAIR)
BEFORE_REPORT = ("evaluate", "assess", "ensembles", "inspect")  # with all that they depend on
PICTURES = 200  # of a system that is interrupted: enough for work in several processes
GRADIENT = {"weights": "weights/random", "batch_size": 16, "learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001}
SMALL = {
    "source": {"pictures": 70},
    "convert": {"size": 32},
    "augment": {"copies": 1},
    "tune": {"trials": 2, "epochs": 2, "penalty": [1e-6, 1e-3]},
    "assess": {
        "repeats": 0, "folds": 0, "control": False, MEANS: {"repeats": 1, "folds": 0, "control": True}
    },
    "weights": {"imagenet": []},
    "features": {
        "maps": {
            "backbone": "small_cnn", "weights": "weights/random", "pooling": "scales", "preprocess": "native",
            "precision": "float32",
        }
    },
    "runs": {
        HEAD: GRADIENT | {"task": "classify", "input": "features/maps", "epochs": 3, "learning_rate": "tune"},
        NETWORK: GRADIENT | {"task": "classify", "input": "pixels", "network": "small_cnn", "epochs": 2},
        COLORS: GRADIENT | {
            "task": "colorize", "input": "pixels", "encoder": "small_cnn", "weights": f"models/{NETWORK}/model.keras",
            "preprocess": "native", "decoder": "unet", "loss": "mse", "trainable": True, "epochs": 2, "dropout": 0.0,
        },
        MEANS: {"task": "mean_color", "input": "pixels", "weights": "weights/random", "penalty": "tune"},
    },
    "ensembles": {PAIR: {"runs": [HEAD, NETWORK]}},
}  # fmt: skip


def shrink(project: Path) -> None:
    """Make the checkout's system small enough for a test."""
    change_params(project, SMALL, replace=("features", "runs", "ensembles", "assess"))


def add_task(package: Path) -> None:
    """Add the folder of the new task, and its line in the registry."""
    shutil.copytree(TOY, package / "tasks" / TOY.name, ignore=shutil.ignore_patterns("__pycache__"))
    registry = package / "tasks" / "registry.py"
    before, last = registry.read_text().rsplit("    }\n", 1)
    registry.write_text(f"{before}{LINE}    }}\n{last}")


def copy_checkout(project: Path) -> Path:
    """The checkout as it stands, committed or not, as a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists() and name != "dvc.lock":
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, project / name, follow_symlinks=False)
    call(project, "git", "init", "-q")
    add_task(project / "src" / "lamina")
    shrink(project)
    call(project, "git", "add", "-A")
    call(project, "git", "commit", "-qm", "start")
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose results are computed, accepted, committed and pushed to a DVC remote."""
    project = copy_checkout(tmp_path_factory.mktemp("project") / "repo")
    remote = tmp_path_factory.mktemp("remote")
    call(project, "dvc", "remote", "add", "--default", "store", str(remote))
    call(project, "dvc", "repro", *BEFORE_REPORT)
    call(project, "lamina", "gate", "--accept")
    again = call(project, "dvc", "repro")  # with the data that were accepted
    assert stages_run(again) == {"watch", "validate", "report"}
    call(project, "git", "add", "-A")
    call(project, "git", "commit", "-qm", "results")
    call(project, "dvc", "push")
    return project


def score(project: Path, run: str) -> float:
    folder = project / ("ensembles" if run == PAIR else "models") / run
    test = json.loads((folder / "metrics.json").read_text())["test"]
    return test["accuracy"] if "accuracy" in test else test["mse"]


def tracked(project: Path) -> dict[str, float]:
    return tracked_scores(project, "accuracy", "mse")


def test_everything_is_there(project: Path) -> None:
    page = (project / "reports" / "index.html").read_text()
    for run in RUNS:
        folder = project / "models" / run
        for file in (
            "model.keras",
            "history.csv",
            "record.json",
            "predictions.parquet",
            "timing.json",
            "tuned.yaml",
            "trials.csv",
            "assessment.json",
        ):
            assert (folder / file).stat().st_size > 0
        assert run in page
    assert (project / "data" / "validation" / "docs" / "index.html").exists()
    assert (project / "weights" / "random").exists()
    assert all(0 <= score(project, run) <= 1 for run in (HEAD, NETWORK, PAIR))
    page_of_toy = ('<section id="mean-colors"', f'<section id="run-{MEANS}"', "Mean colors: test MSE of runs that were")
    assert all(part in page for part in page_of_toy)
    assert f"mean of {HEAD}, {NETWORK}" in re.sub("<[^>]+>", "", page)
    assert tracked(project) == pytest.approx({run: score(project, run) for run in NAMES})


def test_the_notebook_runs_from_top_to_bottom(project: Path) -> None:
    cells = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    code = f"import os; os.environ['LAMINA_SYSTEM'] = '.'\n{code}\nprint(run.name, len(table), *table['error'].isna())"
    champion = json.loads((project / "baselines" / "champion.json").read_text())["run"]
    assert f"{champion} 4 True True True True" in call(project, sys.executable, "-c", code).splitlines()


def test_again_there_is_nothing_to_do(project: Path) -> None:
    assert stages_run(call(project, "dvc", "repro")) == {"watch"}
    assert call(project, "git", "status", "--porcelain") == ""


# ---- what runs again after an edit: what reads a new model follows once it is there, which a dry run cannot know


@pytest.fixture
def would_run(project: Path, tmp_path: Path) -> Iterator[Callable[[dict[str, Callable[[str], str]]], set[str]]]:
    """The stages that `dvc repro` would run after edits of files; the edits are undone."""
    before: dict[Path, tuple[str, int]] = {}
    for name in ("data/code", ".lamina"):
        shutil.copytree(project / name, tmp_path / name)

    def found(edits: dict[str, Callable[[str], str]]) -> set[str]:
        for name, edit in edits.items():
            path = project / name
            before[path] = (path.read_text(), path.stat().st_mtime_ns)
            path.write_text(edit(before[path][0]))
            assert path.read_text() != before[path][0]
        if any(name.startswith("src/") for name in edits):
            call(project, sys.executable, "-m", "lamina.stages.watch")
        return stages_run(call(project, "dvc", "repro", "--dry")) - {"watch"}

    yield found
    for path, (text, time_ns) in before.items():
        path.write_text(text)
        os.utime(path, ns=(time_ns, time_ns))
    for name in ("data/code", ".lamina"):
        shutil.rmtree(project / name)
        shutil.copytree(tmp_path / name, project / name)


def of_run(run: str) -> set[str]:
    return {f"tune@{run}", f"train@{run}", f"assess@{run}"}


Edits = Callable[[dict[str, Callable[[str], str]]], set[str]]


def test_another_dropout_trains_that_run_again_and_extracts_nothing(would_run: Edits) -> None:
    edit = {"params.yaml": lambda text: text.replace("dropout: 0.2", "dropout: 0.9", 1)}
    assert would_run(edit) == {*of_run(HEAD), "report"}


@pytest.mark.nightly
def test_another_augmentation_leaves_preparation_alone(would_run: Edits) -> None:
    ran = would_run({"params.yaml": lambda text: text.replace("rotation: 20", "rotation: 5")})
    assert "augment" in ran
    assert not ran & {"download", "filter", "convert"}


@pytest.mark.nightly
def test_an_ensemble_of_other_runs_is_made_again_and_nothing_is_trained(would_run: Edits) -> None:
    pair = rf"({PAIR}:\s+runs:\s+)- {HEAD}(\s+)- {NETWORK}"
    edit = {"params.yaml": lambda text: re.sub(pair, rf"\1- {NETWORK}\2- {HEAD}", text)}
    assert would_run(edit) == {"ensembles", "report"}


def test_code_of_a_task_runs_its_runs_alone_a_template_the_report_and_a_comment_nothing(would_run: Edits) -> None:
    ran = would_run(
        {
            "src/lamina/tasks/mean_color/learning.py": lambda text: f"{text}\nADDED = 1\n",
            "src/lamina/charts/macros.html.jinja": lambda text: f"{text}\n",
            "src/lamina/__init__.py": lambda text: text.replace("__version__ = ", "__version__ = '99' + "),
            "src/lamina/training/fit.py": lambda text: f"# a comment\n{text}\n# another\n",
            "src/lamina/data/decoding.py": lambda text: text.replace('"""', '"""Another docstring. ', 1),
        }
    )
    assert ran == {*of_run(MEANS), "report"}


@pytest.mark.nightly
def test_published_figures_write_the_report_again_and_train_nothing(project: Path) -> None:
    path, page = project / "published.yaml", project / "reports" / "index.html"
    assert "Published and ours" not in page.read_text()
    text = f"title: smears\nreference: a thesis\nruns: {{{NETWORK}: {{where: page 1, accuracy: 0.25}}}}\n"
    path.write_text(text)
    assert stages_run(call(project, "dvc", "repro")) == {"watch", "report"}
    assert "Published and ours" in page.read_text()
    path.write_text(f"# copied from the thesis\n{text}")
    assert stages_run(call(project, "dvc", "repro")) == {"watch"}
    path.unlink()
    call(project, "git", "checkout", "-q", ".")
    call(project, "dvc", "checkout", "dvc.yaml")


# ---- commands


@pytest.mark.nightly
def test_dvc_shows_metrics_and_plots(project: Path) -> None:
    assert "accuracy" in call(project, "dvc", "metrics", "show", "--md")
    call(project, "dvc", "plots", "show", "--out", "plots")
    assert "history.csv" in (project / "plots" / "index.html").read_text()
    shutil.rmtree(project / "plots")


def test_the_gate_keeps_what_is_unchanged(project: Path) -> None:
    output = call(project, "lamina", "gate")
    assert all(re.search(rf"^{run} .* kept$", output, re.M) for run in NAMES)


def test_a_colorizer_colors_any_picture_and_names_no_class(project: Path, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (40, 90), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "scan.png")
    call(project, "lamina", "colorize", str(tmp_path / "scan.png"), "--run", COLORS, "--out", str(tmp_path / "out"))
    with Image.open(tmp_path / "out" / "scan.png") as colored:
        assert (colored.mode, colored.size) == ("RGB", (90, 40))
        assert np.ptp(np.asarray(colored).astype(int), axis=-1).max() > 3
    output = call(project, "lamina", "predict", str(tmp_path / "scan.png"), "--run", COLORS, expect=2)
    assert f"run {COLORS!r} has the task colorize, but this command needs classify" in output


def test_predict_names_a_class_for_files_and_folders(project: Path) -> None:
    from lamina.data.sources.smear import pictures

    folder = project / "mine"
    folder.mkdir()
    for picture in list(pictures(5, 3)):
        (folder / Path(picture.name).name).write_bytes(picture.encoded)
    (folder / "broken.png").write_bytes(b"nothing")
    output = call(project, "lamina", "predict", "mine", "--run", NETWORK, "--json", expect=1)
    found = json.loads(output[output.index("[") : output.rindex("]") + 1])
    assert len(found) == 4
    for one in found:
        if one["path"] == "mine/broken.png":
            assert "not a picture" in one["error"]
        else:
            assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-4)
            assert one["predicted"] == max(one["probabilities"], key=one["probabilities"].get)
    output = call(project, "lamina", "predict", "mine", "--run", "other", expect=2)
    assert f"there is no run 'other'; known: {', '.join(NAMES)}" in output
    shutil.rmtree(folder)


TRACK_TWICE = """
from lamina.cli import main
for _ in range(2):
    try:
        main(["track"])
    except SystemExit as ended:
        print("ended with", ended.code)
"""


def test_a_second_clone_pulls_and_tracks_without_training(project: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    call(project, "git", "clone", "-q", str(project), str(second))
    call(second, "dvc", "pull", "dvc.yaml")  # other systems have their outputs elsewhere
    first, again = call(second, sys.executable, "-c", TRACK_TWICE).split("ended with 0\n")[:2]
    assert first.count("tracked") == len(NAMES)
    assert tracked(second) == tracked(project)
    assert all(re.search(rf"^{run} +already there", again, re.M) for run in NAMES)
    assert re.search(r"champion \w+: already there", again)
    assert len(re.findall(r" kept$", call(second, "lamina", "gate"), re.M)) == len(NAMES)


@pytest.mark.nightly
def test_an_experiment_with_another_seed_runs_and_is_shown(project: Path) -> None:
    history = project / "models" / HEAD / "history.csv"
    before = history.read_bytes()
    change = ("-S", f"+runs.{HEAD}.seed=14")
    call(project, "dvc", "exp", "run", "--name", "other-seed", *change, "--single-item", f"train@{HEAD}")
    assert history.read_bytes() != before
    assert "other-seed" in call(project, "dvc", "exp", "show", "--csv")
    call(project, "git", "checkout", "-q", ".")
    call(project, "dvc", "checkout", "dvc.yaml")
    assert history.read_bytes() == before


# ---- a new task


def results(project: Path, name: str) -> dict:
    return json.loads((project / "models" / MEANS / name).read_text())


def files(package: Path) -> Iterator[str]:
    for folder, _, names in os.walk(package):
        if "__pycache__" not in folder:
            yield from (Path(folder, name).relative_to(package).as_posix() for name in names)


def test_nothing_but_one_folder_and_one_line_is_new(project: Path) -> None:
    package = project / "src" / "lamina"
    here, there = set(files(PACKAGE)), set(files(package))
    same, _, _ = filecmp.cmpfiles(PACKAGE, package, here, shallow=False)
    assert (here - there) == set()
    assert there - set(same) == {"tasks/registry.py", *(f"tasks/{TOY.name}/{name}" for name in files(TOY))}
    lines = (package / "tasks" / "registry.py").read_text().splitlines(keepends=True)
    assert [line for line in lines if line != LINE] == (PACKAGE / "tasks" / "registry.py").read_text().splitlines(True)
    assert filecmp.cmp(ROOT / "dvc.yaml", project / "dvc.yaml", shallow=False)


def test_tune_tries_and_keeps_the_best(project: Path) -> None:
    trials = pd.read_csv(project / "models" / MEANS / "trials.csv")
    assert list(trials["state"]) == ["COMPLETE"] * 2
    best = trials.loc[trials["value"].idxmin(), "penalty"]
    assert YAML(typ="safe").load(project / "models" / MEANS / "tuned.yaml") == {"penalty": pytest.approx(best)}


def test_train_leaves_a_model_and_its_record(project: Path) -> None:
    record = results(project, "record.json")
    assert (record["task"], record["parameters"], record["classes"]) == ("mean_color", 12, [])
    assert record["settings"]["penalty"] == "tune"
    history = pd.read_csv(project / "models" / MEANS / "history.csv")
    assert list(history) == ["epoch", "train_loss", "train_mse", "validation_loss", "validation_mse"]


def test_assess_trains_again(project: Path) -> None:
    found = results(project, "assessment.json")
    assert len(found["repeats"]["test"]["values"]) == 1
    assert found["crossvalidation"] is None
    assert found["control"] is None  # there are no labels to shuffle


def test_evaluate_scores_both_folds_and_learned_something(project: Path) -> None:
    metrics = results(project, "metrics.json")
    for fold in ("validation", "test"):
        scores = metrics[fold]
        assert scores["n"] >= scores["origins"] >= 1
        assert 0 <= scores["mse"] < 2  # squared CIELAB units
        if scores["origins"] > 1:
            assert scores["interval"][0] <= scores["mse"] <= scores["interval"][1]
    predictions = pd.read_parquet(project / "models" / MEANS / "predictions.parquet")
    assert predictions["mse"].mean() == pytest.approx(metrics["test"]["mse"])


def test_the_gate_accepts_it(project: Path) -> None:
    with (project / "baselines" / f"{MEANS}.csv").open() as file:
        assert len(list(csv.DictReader(file))) == results(project, "metrics.json")["test"]["n"]


# ---- interruptions and full disks


def run_stage(stage: str, system: Path) -> subprocess.CompletedProcess[str]:
    """Run a stage of the checkout in a system's folder."""
    command = [sys.executable, "-m", f"lamina.stages.{stage}"]
    return subprocess.run(
        command, cwd=system, env=environment(ROOT / "src"), capture_output=True, text=True, timeout=180
    )


def has_begun(process: subprocess.Popen[str]) -> bool:
    """Whether a stage's workers are there, or it reads or writes one of its files."""
    folder = Path(f"/proc/{process.pid}")
    workers = (folder / "task" / str(process.pid) / "children").read_text().split()
    with contextlib.suppress(FileNotFoundError):  # closed in the meantime
        return len(workers) >= 2 or any("part-" in str(file.readlink()) for file in (folder / "fd").iterdir())
    return False


def accept_ctrl_c() -> None:
    """A process started in the background of a shell ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def prepare(folder: Path, pictures: int) -> Path:
    """Run the first two stages of the default system with this many pictures."""
    shutil.copy(ROOT / "params.yaml", folder)
    change_params(folder, {"source": {"pictures": pictures}})
    both = "from lamina.stages import download, entry, filter; entry.run(lambda: (download.main(), filter.main()))"
    call(folder, sys.executable, "-c", both, package=ROOT / "src")
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two stages of the default system's data."""
    return prepare(tmp_path_factory.mktemp("prepared"), PICTURES)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of so few pictures that a stage works in one process."""
    return prepare(tmp_path_factory.mktemp("few"), FEW_PICTURES // 2)


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="sees the work in /proc")
@pytest.mark.parametrize("stage", ["download", "filter", "convert"])
def test_ctrl_c_leaves_nothing_half_written(stage: str, prepared: Path, tmp_path: Path) -> None:
    """The signal goes to the whole group, as from a terminal, as soon as the work has begun."""
    needed = {"download": (), "filter": ("raw",), "convert": ("raw", "filtered")}[stage]
    shutil.copy(prepared / "params.yaml", tmp_path)
    for name in needed:
        shutil.copytree(prepared / "data" / name, tmp_path / "data" / name)
    before = sorted(path.name for path in tmp_path.glob("data/*"))
    process = subprocess.Popen(
        [sys.executable, "-m", f"lamina.stages.{stage}"],
        cwd=tmp_path,
        env=environment(ROOT / "src"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=accept_ctrl_c,
    )
    while process.poll() is None and not has_begun(process):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130, output
    *progress, last = output.splitlines()
    assert last == "interrupted: no half-written file is left; run again to continue"
    assert all(line.startswith(f"{stage}: ") for line in progress), "a slow machine shows its progress"
    assert sorted(path.name for path in tmp_path.glob("data/*")) == before
    assert run_stage(stage, tmp_path).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 300 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a full disk takes a small file system, which only root can mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(("stage", "needed"), [("download", ()), ("convert", ("raw", "filtered"))])
def test_a_full_disk_is_one_line(stage: str, needed: tuple[str, ...], few: Path, disk: Path) -> None:
    shutil.copy(few / "params.yaml", disk)
    (disk / "data").mkdir()
    for name in needed:
        (disk / "data" / name).symlink_to(few / "data" / name)
    before = set(disk.glob("data/*"))
    done = run_stage(stage, disk)
    assert done.returncode == 2
    assert "error: no space left on the disk" in done.stderr
    assert "Traceback" not in done.stderr
    assert set(disk.glob("data/*")) == before
