"""Where MLflow keeps its runs: opened quickly, or refused in one line."""

import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamina.errors import UserError
from lamina.tracking import live, store
from lamina.tracking.sync import sync, sync_or_warn
from tracked import follow, free_port, shown


def test_it_is_next_to_the_nearest_dvc_or_git(tmp_path: Path) -> None:
    system = tmp_path / "project" / "pipelines" / "cells"
    system.mkdir(parents=True)
    assert store.store_root(system) == system
    (tmp_path / "project" / ".git").touch()
    assert store.store_root(system) == tmp_path / "project"
    (tmp_path / "project" / "pipelines" / ".dvc").mkdir()
    assert store.store_root(system) == tmp_path / "project" / "pipelines"


@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_locked_database_costs_one_line_and_little_time(
    system: Path, capfd: pytest.CaptureFixture[str], lock: str
) -> None:
    other = sqlite3.connect(system.parents[1] / "mlflow" / "mlflow.db")
    other.execute(f"BEGIN {lock}")
    start = time.monotonic()
    follow(system)
    assert time.monotonic() - start < 15
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "database is locked" in err
    assert "training continues, `lamina track` brings MLflow up to date" in err
    with pytest.raises(UserError, match=r"mlflow\.db cannot be used .*database is locked"):
        sync(system, "tiny")
    other.close()
    assert sync(system, "tiny") == "tracked"


def test_a_process_killed_while_it_makes_the_database_leaves_none(system: Path) -> None:
    folder = system.parents[1] / "mlflow"
    shutil.rmtree(folder)
    code = "from pathlib import Path; from lamina.tracking.store import open_store; open_store(Path())"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=system)
    while not list(folder.glob(".part-*/mlflow.db")):
        assert process.poll() is None, "the database was made before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (folder / "mlflow.db").exists()
    assert sync(system, "tiny") == "tracked"
    assert not list(folder.glob(".part-*"))


def test_broken_database_is_one_line(system: Path) -> None:
    (system.parents[1] / "mlflow" / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="file is not a database") as caught:
        sync(system, "tiny")
    assert "\n" not in str(caught.value)


def test_moved_folder_is_refused_with_the_remedy(system: Path) -> None:
    sync(system, "tiny")
    moved = system.parents[1].rename(system.parents[2] / "moved")
    with pytest.raises(UserError, match=r"the folder was moved; delete .*moved/mlflow and run `lamina track`"):
        sync(moved / "pipelines" / "cells", "tiny")


def test_experiment_in_the_bin_is_taken_out(system: Path) -> None:
    opened = store.open_store(system)
    opened.client.delete_experiment(store.experiment(opened, "cells"))
    sync(system, "tiny")
    assert len(shown(system)) == 1


def test_no_server_is_one_line_without_the_password(
    system: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    start = time.monotonic()
    follow(system)
    sync_or_warn(system, "tiny")
    assert time.monotonic() - start < 15
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "warning: the MLflow store http://***@127.0.0.1" in line
        assert "secret" not in line


def test_server_that_never_answers_does_not_hold_training(
    system: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "SECONDS_TO_FINISH", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        start = time.monotonic()
        follow(system)
        assert time.monotonic() - start < 2
        assert "did not take everything within" in capfd.readouterr().err
        start = time.monotonic()
        with pytest.raises(UserError, match="timed out"):
            sync(system, "tiny")
        assert time.monotonic() - start < 15


def test_an_experiment_is_of_models_and_says_where_its_system_is(system: Path) -> None:
    opened = store.open_store(system)
    found = opened.client.get_experiment(store.experiment(opened, "cells"))
    assert found.tags["mlflow.experimentKind"] == "custom_model_development"
    assert found.tags["lamina.folder"] == system.relative_to(opened.root).as_posix()


def test_two_systems_of_one_name_are_not_mixed(system: Path) -> None:
    other = system.parent / "more" / system.name
    shutil.copytree(system, other)
    assert sync(system, "tiny") == "tracked"
    with pytest.raises(UserError, match=r"experiment 'cells' is that of the system in .*/cells, and .* has the same"):
        sync(other, "tiny")
    shutil.rmtree(system)  # it was moved
    assert sync(other, "tiny") == "already there"


def test_a_queued_experiment_is_logged_to_the_project_that_it_was_queued_from(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = store.store_root(system)
    copy = project / ".dvc" / "tmp" / "exps" / "tmp123"
    (copy / ".dvc").mkdir(parents=True)
    moved = copy / system.relative_to(project)
    shutil.copytree(system, moved)
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert store.store_root(moved) == project
    assert sync(moved, "tiny") == "tracked"
    (run,) = shown(system)
    assert run.data.tags["system"] == system.name
    assert not (copy / "mlflow").exists()
