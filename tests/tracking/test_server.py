"""A real MLflow server: runs, models and files reach it once, also where it dies in the middle."""

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lamina.tracking import live, runs, store
from lamina.tracking.sync import sync
from lamina.training.callbacks import Callbacks
from tracked import follow, free_port, shown, trials, wait_until, write_run


class Server:
    """A real `mlflow server`, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self.answers, 120)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:  # noqa: S310 - our own server
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory, empty_database: bytes) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    (server.folder / "mlflow.db").write_bytes(empty_database)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(running_server: Server, system: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running_server.uri)
    return running_server


@pytest.mark.nightly
def test_machines_that_make_an_experiment_at_once_get_the_same(server: Server, system: Path) -> None:
    opened = store.open_store(system)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: store.experiment(opened, "made at once"), range(8)))) == 1


def test_runs_models_and_files_reach_it_once(server: Server, system: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_run(system, key="1")
    assert sync(system, "tiny") == "tracked"
    assert sync(system, "tiny") == "already there"
    assert capfd.readouterr().out == ""
    (run,) = [run for run in shown(system) if run.data.tags["lamina.key"] == "1" * 64]
    client = store.open_store(system).client
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"figures", "record"}
    (model,) = run.outputs.model_outputs
    assert client.get_logged_model(model.model_id).status == "READY"
    assert len([trial for trial in trials(system) if trial.data.tags[runs.PARENT] == run.info.run_id]) == 3


def test_killed_in_the_middle_costs_one_line_and_is_repaired(
    server: Server, system: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_BATCHES", 0.1)
    write_run(system, key="2")

    def found() -> list[Any]:
        return [run for run in shown(system) if run.data.tags["lamina.key"] == "2" * 64]

    def kill(_: Callbacks) -> None:
        wait_until(lambda: found() and found()[0].data.metrics.get("train_loss") == 0.5)
        server.kill()

    follow(system, key="2", between=kill)
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "training continues, `lamina track` brings MLflow up to date" in err
    server.start()
    (left,) = found()
    assert left.info.status == "RUNNING"
    assert sync(system, "tiny") == "tracked"
    (run,) = found()
    assert run.info.run_id != left.info.run_id
    client = store.open_store(system).client
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train_loss")] == [1, 2, 3, 4]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH to look at MLflow's page with")
def test_people_see_the_runs(server: Server, system: Path, tmp_path: Path) -> None:
    write_run(system, key="3", run="seen-by-people")
    sync(system, "seen-by-people")
    experiment = store.experiment(store.open_store(system), "cells")
    page = browse(f"{server.uri}/#/experiments/{experiment}/runs", tmp_path)
    assert "seen-by-people" in page
    assert "cells" in page


def browse(address: str, folder: Path) -> str:
    """The page at `address` as Chromium shows it once its scripts ran."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'browser'}", "--virtual-time-budget=20000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
