"""The whole chain on a small system, as people drive it: git, dvc and lamina on the command line."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
RUNS = ("head", "tiny")
COLORS = "tint"
SMALL = {
    "source": {"pictures": 70},
    "convert": {"size": 32},
    "augment": {"copies": 1},
    "tune": {"trials": 2, "epochs": 2},
    "transfer": {
        "runs": {
            "head": {
                "backbone": "mobilenet_v2", "weights": "none", "pooling": "avg", "preprocess": "native",
                "watch": "src/lamina/__init__.py",
                "precision": "float32",
                "epochs": 3, "batch_size": 16, "learning_rate": "tune", "dropout": 0.2, "decay": 0.001,
            },
        }
    },
    "colorize": {
        "runs": {
            COLORS: {
                "backbone": "small_cnn", "weights": "models/tiny/model.keras", "preprocess": "native",
                "watch": "models/tiny/model.keras",
                "decoder": "unet", "loss": "mse", "encoder": "trainable",
                "epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "dropout": 0.0, "decay": 0.001,
            }
        }
    },
    "scratch": {
        "runs": {
            "tiny": {
                "network": "small_cnn",
                "epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001,
            }
        }
    },
}  # fmt: skip


def environment(project: Path) -> dict[str, str]:
    mine = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
    }  # fmt: skip
    return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | mine


def call(project: Path, *command: str, expect: int = 0) -> str:
    """Run a command in a project's folder; return what it printed."""
    done = subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True)
    assert done.returncode == expect, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def change(project: Path, sections: dict) -> None:
    """Change values in a project's params.yaml, one level below the sections."""
    yaml, path = YAML(), project / "params.yaml"
    params = yaml.load(path)
    for name, values in sections.items():
        params[name].update(values)
    yaml.dump(params, path)


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
    change(project, SMALL)
    call(project, "git", "add", "-A")
    call(project, "git", "commit", "-qm", "start")
    return project


def stages_run(said: str) -> set[str]:
    """The stages that `dvc repro` says it ran."""
    return {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose results are rebuilt, committed and pushed to a DVC remote."""
    project = copy_checkout(tmp_path_factory.mktemp("project") / "repo")
    remote = tmp_path_factory.mktemp("remote")
    call(project, "dvc", "remote", "add", "--default", "store", str(remote))
    call(project, "dvc", "repro")
    call(project, "lamina", "gate", "--accept")
    again = call(project, "dvc", "repro")  # with the data that were accepted
    assert {"validate"} <= stages_run(again) <= {"validate", "report"}
    call(project, "git", "add", "-A")
    call(project, "git", "commit", "-qm", "results")
    call(project, "dvc", "push")
    return project


def tracked(project: Path) -> dict[str, float]:
    """Test accuracy, or MSE, by name of the whole runs that a project's MLflow holds."""
    with sqlite3.connect(project / "mlflow" / "mlflow.db") as database:
        rows = database.execute(
            "select name, value from runs join latest_metrics using (run_uuid) "
            "where key in ('test_accuracy', 'test_mse') and lifecycle_stage = 'active'"
        ).fetchall()
    assert len(rows) == len(dict(rows)), "a run stands there twice"
    return dict(rows)


def accuracy(project: Path, run: str) -> float:
    return json.loads((project / "models" / run / "metrics.json").read_text())["test"]["accuracy"]


def test_everything_is_there(project: Path) -> None:
    for run in RUNS:
        folder = project / "models" / run
        assert 0 <= accuracy(project, run) <= 1
        for file in (
            "model.keras",
            "history.csv",
            "record.json",
            "predictions.parquet",
            "timing.json",
            "tuned.yaml",
            "assessment.json",
        ):
            assert (folder / file).stat().st_size > 0
        assert run in (project / "reports" / "index.html").read_text()
    assert (project / "data" / "validation" / "docs" / "index.html").exists()
    colors = json.loads((project / "models" / COLORS / "metrics.json").read_text())["test"]["measures"]["mse"]
    expected = {run: accuracy(project, run) for run in RUNS} | {COLORS: colors["value"]}
    assert tracked(project) == pytest.approx(expected)


def test_again_there_is_nothing_to_do(project: Path) -> None:
    said = call(project, "dvc", "repro")
    assert "Running stage" not in said
    assert "Data and pipelines are up to date" in said


def would_run(project: Path) -> set[str]:
    return stages_run(call(project, "dvc", "repro", "--dry"))


@pytest.fixture
def params(project: Path) -> Iterator[None]:
    """Whatever a test does to params.yaml is undone."""
    before = (project / "params.yaml").read_bytes()
    yield
    (project / "params.yaml").write_bytes(before)


@pytest.mark.usefixtures("params")
def test_another_dropout_trains_that_run_again_and_extracts_nothing(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("dropout: 0.2", "dropout: 0.9", 1))
    # what reads the new model (evaluate@head) follows once it is there: a dry run cannot know that it will differ
    assert would_run(project) == {"tune@head", "train@head", "assess@head", "report"}


@pytest.mark.usefixtures("params")
def test_another_augmentation_leaves_preparation_alone(project: Path) -> None:
    change(project, {"augment": {"rotation": 5}})
    assert "augment" in would_run(project)
    assert not would_run(project) & {"download", "filter", "convert"}


def test_dvc_shows_metrics_and_plots(project: Path) -> None:
    assert "accuracy" in call(project, "dvc", "metrics", "show", "--md")
    call(project, "dvc", "plots", "show", "--out", "plots")
    assert "history.csv" in (project / "plots" / "index.html").read_text()
    shutil.rmtree(project / "plots")


def test_the_gate_keeps_what_is_unchanged(project: Path) -> None:
    said = call(project, "lamina", "gate")
    assert all(re.search(rf"^{run} .* kept$", said, re.M) for run in (*RUNS, COLORS))


def test_a_colorizer_colors_any_picture_and_names_no_class(project: Path, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (40, 90), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "scan.png")
    call(project, "lamina", "colorize", str(tmp_path / "scan.png"), "--run", COLORS, "--out", str(tmp_path / "out"))
    with Image.open(tmp_path / "out" / "scan.png") as colored:
        assert (colored.mode, colored.size) == ("RGB", (90, 40))
        assert np.ptp(np.asarray(colored).astype(int), axis=-1).max() > 3
    said = call(project, "lamina", "predict", str(tmp_path / "scan.png"), "--run", COLORS, expect=2)
    assert "lamina colorize" in said


def test_predict_names_a_class_for_files_and_folders(project: Path) -> None:
    from lamina.data.sources.smear import pictures

    folder = project / "mine"
    folder.mkdir()
    for picture in list(pictures(5, 3)):
        (folder / Path(picture.name).name).write_bytes(picture.encoded)
    (folder / "broken.png").write_bytes(b"nothing")
    said = call(project, "lamina", "predict", "mine", "--run", "tiny", "--json", expect=1)
    found = json.loads(said[said.index("[") : said.rindex("]") + 1])
    assert len(found) == 4
    for one in found:
        if one["path"] == "mine/broken.png":
            assert "not a picture" in one["error"]
        else:
            assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-4)
            assert one["predicted"] == max(one["probabilities"], key=one["probabilities"].get)
    assert "no run 'other'; there are: head, tiny, tint" in call(
        project, "lamina", "predict", "mine", "--run", "other", expect=2
    )
    shutil.rmtree(folder)


def test_a_second_clone_pulls_and_tracks_without_training(project: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    call(project, "git", "clone", "-q", str(project), str(second))
    call(second, "dvc", "pull")
    said = call(second, "lamina", "track")
    assert said.count("tracked") == len(RUNS) + 1
    assert tracked(second) == tracked(project)
    again = call(second, "lamina", "track")
    assert all(f"{run}  already there" in again for run in (*RUNS, COLORS))
    assert "champion head: already there" in again
    assert len(re.findall(r" kept$", call(second, "lamina", "gate"), re.M)) == len(RUNS) + 1
    assert "Running stage" not in call(second, "dvc", "repro")


def test_an_experiment_with_another_seed_runs_and_is_shown(project: Path) -> None:
    before = (project / "models" / "head" / "predictions.parquet").read_bytes()
    call(project, "dvc", "exp", "run", "--name", "other-seed", "-S", "+transfer.runs.head.seed=14")
    assert (project / "models" / "head" / "predictions.parquet").read_bytes() != before
    shown = call(project, "dvc", "exp", "show", "--csv")
    assert "other-seed" in shown
    call(project, "git", "checkout", "-q", ".")
    call(project, "dvc", "checkout")
    assert (project / "models" / "head" / "predictions.parquet").read_bytes() == before


def has_begun(process: subprocess.Popen[str]) -> bool:
    """Whether a stage's workers are there, or it reads or writes one of its files."""
    folder = Path(f"/proc/{process.pid}")
    workers = (folder / "task" / str(process.pid) / "children").read_text().split()
    with contextlib.suppress(FileNotFoundError):  # closed while we looked
        return len(workers) >= 2 or any("part-" in str(file.readlink()) for file in (folder / "fd").iterdir())
    return False


def heed_ctrl_c() -> None:
    """A process started in the background of a shell ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="sees the work in /proc")
@pytest.mark.parametrize("stage", ["download", "filter", "convert"])
def test_ctrl_c_leaves_nothing_half_written(stage: str, tmp_path: Path) -> None:
    """The signal goes to the whole group, as from a terminal, as soon as the work has begun."""
    order = ["download", "filter", "convert"]
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for before in order[: order.index(stage)]:
        call(tmp_path, sys.executable, "-m", f"lamina.stages.{before}")
    there = sorted(path.name for path in tmp_path.glob("data/*"))
    command = [sys.executable, "-m", f"lamina.stages.{stage}"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )
    while process.poll() is None and not has_begun(process):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    *progress, last = said.splitlines()
    assert last == "interrupted: nothing half-written is left; run again to go on"
    assert all(line.startswith(f"{stage}: ") for line in progress), "a slow machine tells how far it is"
    assert sorted(path.name for path in tmp_path.glob("data/*")) == there
    call(tmp_path, *command)


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


@pytest.mark.parametrize(("stage", "before"), [("download", ()), ("convert", ("download", "filter"))])
def test_a_full_disk_is_one_line(stage: str, before: tuple[str, ...], disk: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    change(tmp_path, {"source": {"pictures": 70}} if before else {})
    for earlier in before:
        call(tmp_path, sys.executable, "-m", f"lamina.stages.{earlier}")
    shutil.copy(tmp_path / "params.yaml", disk)
    (disk / "data").mkdir()
    for there in ("raw", "filtered"):
        if before:
            (disk / "data" / there).symlink_to(tmp_path / "data" / there)
    made = set(disk.glob("data/*"))
    said = call(disk, sys.executable, "-m", f"lamina.stages.{stage}", expect=2)
    assert "error: no space left on the disk" in said
    assert "Traceback" not in said
    assert set(disk.glob("data/*")) == made
