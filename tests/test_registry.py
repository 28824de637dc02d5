"""The champion: chosen by validation pictures, accepted by the gate alone, named by MLflow's registry, served."""

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

from lamina.commands import explain, export, gate, predict, track
from lamina.errors import UserError
from lamina.files import write_json
from lamina.results.champion import Champion, champion_path, choose, read_champion
from lamina.results.measures import MeasureName
from lamina.stages import assess, extract
from lamina.tracking import store
from lamina.tracking.registry import register
from test_gate import write_profile
from test_tracking import CLASSES, SIDE, write_color_run, write_run

SIZE = 8
BOTH: dict[str, MeasureName] = {"other": "accuracy", "tiny": "accuracy"}
RUN = {"epochs": 1, "batch_size": 4, "learning_rate": 0.001, "dropout": 0.5, "decay": 0.0}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("empty")
    store.open_store(folder)
    return (folder / "mlflow" / "mlflow.db").read_bytes()


@pytest.fixture
def system(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system of two trained runs, of which `tiny` is better on validation and `other` on test pictures."""
    for name in ("MLFLOW_TRACKING_URI", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    system = tmp_path / "cells"
    (system / ".dvc").mkdir(parents=True)
    (system / "mlflow").mkdir()
    (system / "mlflow" / "mlflow.db").write_bytes(empty_database)
    write_params(system, "tiny", "other")
    write_run(system, run="tiny", key="a", model=b"tiny")
    write_run(system, run="other", key="b", model=b"other")
    score(system, "tiny", validation=0.9, test=0.5)
    score(system, "other", validation=0.6, test=0.8)
    write_profile(system)
    return system


def write_params(system: Path, *runs: str) -> None:
    told = {"network": "small_cnn", **RUN}
    sections = {
        "seed": 1,
        "convert": {"size": SIZE, "isolate": "none", "no_cell": "drop"},
        "transfer": {"runs": {}},
        "scratch": {"runs": dict.fromkeys(runs, told)},
    }
    (system / "params.yaml").write_text(json.dumps(sections))  # JSON is YAML


def score(system: Path, run: str, **accuracy: float) -> None:
    path = system / "models" / run / "metrics.json"
    metrics = json.loads(path.read_text())
    for fold, value in accuracy.items():
        metrics[fold] |= {"accuracy": value}
    write_json(path, metrics)


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


class TestChoice:
    def test_validation_decides_and_not_the_test_pictures(self, system: Path) -> None:
        assert choose(system, BOTH).run == "tiny"
        score(system, "other", validation=0.95, test=0.1)
        assert choose(system, BOTH).run == "other"

    def test_equals_stand_by_name(self, system: Path) -> None:
        score(system, "other", validation=0.9)
        assert choose(system, BOTH).run == choose(system, dict(reversed(BOTH.items()))).run == "other"

    def test_of_colorizers_alone_the_least_error_decides(self, system: Path) -> None:
        for run, mse in (("far", 300.0), ("near", 100.0), ("like near", 100.0)):
            write_color_run(system, run=run, validation=mse)
        champion = choose(system, {"far": "mse", "near": "mse", "like near": "mse"})
        assert (champion.run, champion.measure, champion.validation) == ("like near", "mse", 100.0)
        write_json(champion_path(system), champion.model_dump())
        assert read_champion(system) == champion
        assert champion.is_in(system)
        write_color_run(system, run="like near", validation=99.0)
        assert not champion.is_in(system)

    def test_beside_a_classifier_no_colorizer_is_champion(self, system: Path) -> None:
        write_color_run(system, run="near", validation=0.01)
        assert choose(system, {"near": "mse", **BOTH}).run == "tiny"

    def test_it_is_read_as_it_was_written(self, system: Path) -> None:
        assert read_champion(system) is None
        champion = choose(system, {"tiny": "accuracy"})
        write_json(champion_path(system), champion.model_dump())
        assert read_champion(system) == champion
        assert champion.is_in(system)

    def test_a_model_trained_since_is_not_the_champion(self, system: Path) -> None:
        champion = choose(system, {"tiny": "accuracy"})
        (system / "models" / "tiny" / "model.keras").write_bytes(b"trained since")
        assert not champion.is_in(system)
        (system / "models" / "tiny" / "model.keras").unlink()
        assert not champion.is_in(system)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{}", "run Field required"),
            ("[", "Invalid JSON"),
            ('{"run": 1}', "run Input should be"),
            # as it was written before there were colorizers
            ('{"key": "k", "model": "m", "run": "r", "validation_accuracy": 0.5}', "measure Field required"),
        ],
    )
    def test_a_broken_file_is_named(self, text: str, words: str, system: Path) -> None:
        champion_path(system).parent.mkdir()
        champion_path(system).write_text(text)
        with pytest.raises(UserError, match=rf"champion\.json: .*{words}.*; restore it, or renew it with"):
            read_champion(system)


class TestGate:
    def test_accepting_registers_the_champion(self, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert call(gate, system, "--accept") == 0
        assert "champion: tiny, best by validation accuracy (0.900)" in capsys.readouterr().out
        there = versions(system)
        assert there["champion"] == "1"
        tags = there["1"].tags
        assert (tags["run"], tags["lamina.key"], tags["test_accuracy"]) == ("tiny", "a" * 64, "0.5000")
        assert (tags["test_interval"], tags["digest"]) == (
            "0.5000 to 0.9000",
            choose(system, {"tiny": "accuracy"}).model,
        )
        run = store.open_store(system).client.get_run(there["1"].run_id)
        assert run.info.run_name == "tiny"

    def test_accepting_again_makes_no_other_version(self, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for _ in range(2):
            assert call(gate, system, "--accept") == 0
        assert "champion: unchanged, tiny" in capsys.readouterr().out
        assert set(versions(system)) == {"1", "champion"}

    def test_the_alias_moves_to_another_champion_and_back(self, system: Path) -> None:
        call(gate, system, "--accept")
        for validation, champion in ((0.95, "2"), (0.1, "1")):
            score(system, "other", validation=validation)
            call(gate, system, "--accept")
            assert versions(system)["champion"] == champion
        assert set(versions(system)) >= {"1", "2"}

    @pytest.mark.parametrize("options", [(), ("--accept", "data")])
    def test_nothing_else_moves_it(self, options: tuple[str, ...], system: Path) -> None:
        call(gate, system, "--accept")
        before = read_champion(system)
        score(system, "other", validation=0.95)
        assert call(gate, system, *options) == 0
        call(track, system)
        assert versions(system)["champion"] == "1"
        assert read_champion(system) == before

    def test_a_run_without_a_model_is_not_accepted(self, system: Path) -> None:
        (system / "models" / "other" / "model.keras").unlink()
        with pytest.raises(UserError, match=r"nothing was accepted: no .*other/model\.keras; make it with"):
            call(gate, system, "--accept")
        assert not (system / "baselines").exists()

    def test_a_store_that_is_away_costs_a_line_and_is_caught_up(
        self, system: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert call(gate, system, "--accept") == 0
        said = capsys.readouterr()
        assert len(said.err.splitlines()) == 1
        assert said.err.startswith("warning: the MLflow store http://127.0.0.1")
        assert "what was accepted is kept, `lamina track` brings MLflow up to date" in said.err
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        assert call(track, system) == 0
        assert "champion tiny: registered" in capsys.readouterr().out
        assert versions(system)["champion"] == "1"
        call(track, system)
        assert "champion tiny: already there" in capsys.readouterr().out

    def test_a_lost_store_is_filled_again(self, system: Path, empty_database: bytes) -> None:
        call(gate, system, "--accept")
        shutil.rmtree(system / "mlflow")
        (system / "mlflow").mkdir()
        (system / "mlflow" / "mlflow.db").write_bytes(empty_database)
        # in a process of its own: this one holds the lost database open
        subprocess.run([sys.executable, "-m", "lamina.cli", "track", "--system", str(system)], check=True)
        assert versions(system)["champion"] == "1"

    def test_what_was_trained_since_is_not_registered(self, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
        call(gate, system, "--accept")
        (system / "models" / "tiny" / "model.keras").write_bytes(b"trained since")
        assert call(track, system) == 0
        assert "champion tiny: models/tiny: not the accepted model" in capsys.readouterr().out
        champion = read_champion(system)
        assert isinstance(champion, Champion)
        with pytest.raises(UserError, match="not the accepted champion tiny"):
            register(system, champion)

    def test_a_system_of_colorizers_names_its_best(self, system: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (system / "params.yaml").write_text(json.dumps({"seed": 1, "colorize": {"runs": {"near": {}, "far": {}}}}))
        write_color_run(system, run="near", key="a", validation=100.0, test=120.0)
        write_color_run(system, run="far", key="b", validation=200.0, test=110.0)
        assert call(gate, system, "--accept") == 0
        assert "champion: near, best by validation MSE (100)" in capsys.readouterr().out
        there = versions(system)
        assert there["champion"] == "1"
        told = {name: there["1"].tags.get(name) for name in ("run", "validation_mse", "test_mse", "test_interval")}
        assert told == {
            "run": "near",
            "validation_mse": "100.0000",
            "test_mse": "120.0000",
            "test_interval": "114.0000 to 126.0000",
        }
        assert not [name for name in there["1"].tags if "accuracy" in name]
        assert call(track, system) == 0
        assert "champion near: already there" in capsys.readouterr().out

    def test_comparing_needs_no_mlflow(self, system: Path) -> None:
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


class TestColorizer:
    """What asks a run for classes names the command for runs that have none."""

    @pytest.fixture
    def colored(self, system: Path) -> Path:
        told = {"backbone": "small_cnn", "weights": "none", "watch": "params.yaml", "preprocess": "native", **RUN}
        told |= {"decoder": "unet", "loss": "mse", "encoder": "trainable"}
        params = json.loads((system / "params.yaml").read_text()) | {"colorize": {"runs": {"colors": told}}}
        (system / "params.yaml").write_text(json.dumps(params))
        write_color_run(system)
        Image.new("RGB", (9, 9)).save(system / "a.png")
        return system

    @pytest.mark.parametrize(
        ("command", "options"), [(predict, ("a.png",)), (explain, ("a.png", "--out", "why")), (export, ())]
    )
    def test_commands_about_classes_refuse_it(self, command: Any, options: tuple[str, ...], colored: Path) -> None:
        placed = [str(colored / name) if name[0] != "-" else name for name in options]
        match = r"^colors colors pictures and .*; `lamina colorize PATH --run colors --out FOLDER` has it color some$"
        with pytest.raises(UserError, match=match):
            call(command, colored, *placed, "--run", "colors")
        assert not (colored / "why").exists()

    def test_what_to_send_to_a_served_one_are_the_squares(
        self, colored: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert call(predict, colored, str(colored / "a.png"), "--run", "colors", "--request") == 0
        assert np.shape(json.loads(capsys.readouterr().out)["inputs"]) == (1, SIDE, SIDE, 3)

    @pytest.mark.parametrize(
        ("stage", "words"),
        [(extract, "learns from pixels; only runs under"), (assess, "is a run of kind colorize; `python -m")],
    )
    def test_stages_of_classifiers_refuse_it(
        self, stage: Any, words: str, colored: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(colored)
        monkeypatch.setattr(sys, "argv", ["stage", "colors"])
        with pytest.raises(UserError, match=f"colors {words}"):
            stage.main()


@pytest.fixture
def served(system: Path) -> Iterator[str]:
    """The address at which the champion, a real network, is served by MLflow itself."""
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    write_params(system, "tiny")
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


def test_the_served_champion_says_what_lamina_predict_says(
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
    told = json.loads(capsys.readouterr().out)
    question = urllib.request.Request(  # noqa: S310 - on this machine
        f"{served}/invocations", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(question, timeout=60) as answer:  # noqa: S310 - on this machine
        found = json.load(answer)["predictions"]
    assert len(found) == len(told) == 3
    for one, here in zip(found, told, strict=True):
        assert one == pytest.approx(here["probabilities"], abs=1e-6)
    assert len({str(one) for one in found}) == 3, "different pictures, different answers"
