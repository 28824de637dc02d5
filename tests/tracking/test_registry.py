"""MLflow's registry: the champion that the gate accepted, under an alias, and served."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finished import run_settings, write_params, write_profile
from lamina.commands import gate, predict, track
from lamina.errors import UserError
from lamina.results.champion import Champion, choose, read_champion
from lamina.tracking import store
from lamina.tracking.records import read_tracked
from lamina.tracking.registry import register, tags
from tracked import CLASSES, score, write_color_run, write_number_run, write_run

SIZE = 8


@pytest.fixture
def system(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system of two classifiers: `tiny` is better on validation pictures, `other` on test pictures."""
    for name in ("MLFLOW_TRACKING_URI", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    system = tmp_path / "cells"
    (system / ".dvc").mkdir(parents=True)
    (system / "mlflow").mkdir()
    (system / "mlflow" / "mlflow.db").write_bytes(empty_database)
    write_params(system, dict.fromkeys(["tiny", "other"], run_settings("network")))
    write_run(system, run="tiny", key="a", model=b"tiny")
    write_run(system, run="other", key="b", model=b"other")
    score(system, "tiny", validation=0.9, test=0.5)
    score(system, "other", validation=0.6, test=0.8)
    write_profile(system)
    return system


def call(command: Any, system: Path, *options: str) -> int:
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(["--system", str(system), *options])))


def versions(system: Path) -> dict[str, Any]:
    """The registered versions by number, and under `champion` the number that the alias names."""
    client = store.open_store(system).client
    found = {version.version: version for version in client.search_model_versions("name = 'cells'")}
    alias = client.get_registered_model("cells").aliases.get("champion") if found else None
    return {str(number): version for number, version in found.items()} | {"champion": str(alias)}


def test_accepting_registers_the_champion(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(gate, system, "--accept") == 0
    assert "champion: tiny, best by validation accuracy (0.900)" in capsys.readouterr().out
    there = versions(system)
    assert there["champion"] == "1"
    tags = there["1"].tags
    assert (tags["run"], tags["lamina.key"], tags["test_accuracy"]) == ("tiny", "a" * 64, "0.5000")
    assert (tags["test_interval"], tags["digest"]) == (
        "0.5000 to 0.9000",
        choose(system, ["tiny"], "accuracy").model,
    )
    run = store.open_store(system).client.get_run(there["1"].run_id)
    assert run.info.run_name == "tiny"


def test_accepting_again_makes_no_other_version(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert call(gate, system, "--accept") == 0
    assert "champion: unchanged, tiny" in capsys.readouterr().out
    assert set(versions(system)) == {"1", "champion"}


def test_the_alias_moves_to_another_champion_and_back(system: Path) -> None:
    call(gate, system, "--accept")
    for validation, champion in ((0.95, "2"), (0.1, "1")):
        score(system, "other", validation=validation)
        call(gate, system, "--accept")
        assert versions(system)["champion"] == champion
    assert set(versions(system)) >= {"1", "2"}


@pytest.mark.parametrize("options", [(), ("--accept", "data")])
def test_nothing_else_moves_it(options: tuple[str, ...], system: Path) -> None:
    call(gate, system, "--accept")
    before = read_champion(system)
    score(system, "other", validation=0.95)
    assert call(gate, system, *options) == 0
    call(track, system)
    assert versions(system)["champion"] == "1"
    assert read_champion(system) == before


def test_a_run_without_a_model_is_not_accepted(system: Path) -> None:
    (system / "models" / "other" / "model.keras").unlink()
    with pytest.raises(UserError, match=r"nothing was accepted: no .*other/model\.keras; make it with"):
        call(gate, system, "--accept")
    assert not (system / "baselines").exists()


def test_a_store_that_is_away_costs_a_line_and_is_filled_later(
    system: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert call(gate, system, "--accept") == 0
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("warning: the MLflow store http://127.0.0.1")
    assert "the accepted results are kept, `lamina track` brings MLflow up to date" in printed.err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert call(track, system) == 0
    assert "champion tiny: registered" in capsys.readouterr().out
    assert versions(system)["champion"] == "1"
    call(track, system)
    assert "champion tiny: already there" in capsys.readouterr().out


@pytest.mark.nightly
def test_a_lost_store_is_filled_again(system: Path, empty_database: bytes) -> None:
    call(gate, system, "--accept")
    shutil.rmtree(system / "mlflow")
    (system / "mlflow").mkdir()
    (system / "mlflow" / "mlflow.db").write_bytes(empty_database)
    # in a process of its own: this one holds the lost database open
    subprocess.run([sys.executable, "-m", "lamina.cli", "track", "--system", str(system)], check=True)
    assert versions(system)["champion"] == "1"


def test_what_was_trained_since_is_not_registered(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(gate, system, "--accept")
    (system / "models" / "tiny" / "model.keras").write_bytes(b"trained since")
    assert call(track, system) == 0
    assert "models/tiny: not the accepted model" in capsys.readouterr().out
    champion = read_champion(system)
    assert isinstance(champion, Champion)
    with pytest.raises(UserError, match="not the accepted champion tiny; fetch"):
        register(system, champion)


def test_a_system_of_colorizers_names_its_best(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(system, dict.fromkeys(["near", "far"], run_settings("colorizer")))
    write_color_run(system, run="near", key="a", validation=100.0, test=120.0)
    write_color_run(system, run="far", key="b", validation=200.0, test=110.0)
    assert call(gate, system, "--accept") == 0
    assert "champion: near, best by validation MSE (100)" in capsys.readouterr().out
    there = versions(system)
    assert there["champion"] == "1"
    found = {name: there["1"].tags.get(name) for name in ("run", "validation_mse", "test_mse", "test_interval")}
    assert found == {
        "run": "near",
        "validation_mse": "100.0000",
        "test_mse": "120.0000",
        "test_interval": "108.0000 to 144.0000",
    }
    assert not [name for name in there["1"].tags if "accuracy" in name]
    assert call(track, system) == 0
    assert "champion near: already there" in capsys.readouterr().out


def test_comparing_needs_no_mlflow(system: Path) -> None:
    call(gate, system, "--accept")
    code = f"""
import sys
from lamina.cli import main
try:
    main(["gate", "--system", {str(system)!r}])
except SystemExit as ended:
    assert ended.code == 0, ended.code
assert "mlflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.fixture
def served(system: Path) -> Iterator[str]:
    """The address at which the champion, a real network, is served by MLflow itself."""
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    write_params(system, {"tiny": run_settings("network")})
    save_model(
        build_network("small_cnn", SIZE, len(CLASSES), dropout=0.5, seed=3), system / "models" / "tiny" / "model.keras"
    )
    call(gate, system, "--accept")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", "models:/cells@champion", "--env-manager", "local", "-p", str(port)]
    environment = os.environ | {
        **store.SETTINGS,
        "MLFLOW_TRACKING_URI": f"sqlite:///{system / 'mlflow' / 'mlflow.db'}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = system / "served.log"
    with log.open("w") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/ping", server, log)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - on this machine
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the server did not answer: {log.read_text()}")


def test_the_served_champion_predicts_as_lamina_predict_does(
    served: str, system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.jpg"):
        shape = (24, 20, 3) if name == "b.png" else (16, 16, 3)
        Image.fromarray(draw.integers(0, 256, shape).astype(np.uint8)).save(system / name)
    pictures = [str(system / name) for name in ("b.png", "a.png", "c.jpg")]
    capsys.readouterr()
    assert call(predict, system, *pictures, "--run", "tiny", "--request") == 0
    body = capsys.readouterr().out.encode()
    assert call(predict, system, *pictures, "--run", "tiny", "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    question = urllib.request.Request(  # noqa: S310 - on this machine
        f"{served}/invocations", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(question, timeout=60) as answer:  # noqa: S310 - on this machine
        found = json.load(answer)["predictions"]
    assert len(found) == len(expected) == 3
    for one, here in zip(found, expected, strict=True):
        assert one == pytest.approx(here["probabilities"], abs=1e-6)
    assert len({str(one) for one in found}) == 3, "different pictures, different predictions"


def test_scores_of_a_small_unit_are_not_rounded_away(tmp_path: Path) -> None:
    write_params(tmp_path, {"count": run_settings("head", task="regress", target="count")})
    path = write_number_run(tmp_path) / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"] |= {"mae": 3.1234567e-5, "interval": [2.0e-5, 0.4]}
    path.write_text(json.dumps(metrics))
    best = Champion(run="count", key="a", model="b", measure="mae", validation=2.5e-5)
    found = tags(read_tracked(tmp_path, "count"), best)
    assert found["validation_mae"] == "2.5e-05"
    assert (found["test_mae"], found["test_interval"]) == ("3.123e-05", "2e-05 to 0.4000")
