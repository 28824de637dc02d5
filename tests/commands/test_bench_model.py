"""`lamina bench-model`: a line for Keras and for each export, and which exports it refuses."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finished import CONVERT, finished_record, run_settings, write_params
from lamina.commands import bench_model
from lamina.commands.export import export
from lamina.errors import UserError
from pages import CELLS, write_pictures, write_plan

SIDE = 16


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that nobody trained, exported to two formats."""
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    folder = tmp_path_factory.mktemp("system")
    write_params(folder, {"small": run_settings("network")}, convert=CONVERT | {"size": SIDE})
    write_plan(folder, write_pictures(folder, origins=24, side=SIDE))
    (folder / "models/small").mkdir(parents=True)
    finished_record("small", run_settings("network"), classes=CELLS, width=SIDE).write(
        folder / "models/small/record.json"
    )
    network = build_network("small_cnn", SIDE, len(CELLS), dropout=0.5, seed=3)
    save_model(network, folder / "models/small/model.keras")
    export(folder, "small", ["onnx", "litert"])
    return folder


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_model, "SECONDS", 0.1)
    monkeypatch.setattr(bench_model, "SINGLES", 10)


def test_keras_and_every_export_have_a_line(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    parser.add_argument("--system", type=Path)
    bench_model.add_arguments(parser)
    assert bench_model.run(parser.parse_args(["--system", str(system), "small"])) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["format", "MB", "load", "s", "p50", "ms", "p95", "ms", "per", "s"]
    assert sorted(line.split()[0] for line in lines) == ["keras", "litert", "onnx"]
    values = [[float(cell.replace(",", "")) for cell in line.split()[1:]] for line in lines]
    assert all(size > 0 and 0 < median <= slow and rate > 0 for size, _, median, slow, rate in values)
    assert [row[2] for row in values] == sorted(row[2] for row in values)


def test_percentiles_are_those_of_single_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a known time for each picture."""
    sent: list[int] = []
    now = [0.0]

    def predict(pixels: Any) -> Any:
        sent.append(len(pixels))
        now[0] += 0.001 * len(sent)
        return pixels

    monkeypatch.setattr(bench_model.time, "perf_counter", lambda: now[0])
    found = bench_model.seconds_of_singles(predict, np.zeros((4, 2, 2, 3), np.float32))
    assert set(sent) == {1}
    assert found == pytest.approx([0.001 * (bench_model.WARM_UP + number) for number in range(1, 11)])
    rate = bench_model.rate_in_batches(predict, np.zeros((4, 2, 2, 3), np.float32))
    assert rate == pytest.approx(bench_model.BATCH / (0.001 * len(sent)), rel=0.3)


def test_missing_exports_and_those_of_another_model_are_refused(system: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no exports there; write some with `lamina export --run small`"):
        bench_model.bench_model(system, "small", tmp_path)
    path = system / "exported/small/onnx/export.json"
    described = json.loads(path.read_text())
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/export.json").write_text(json.dumps(described | {"model": "another"}))
    with pytest.raises(UserError, match=r"onnx: is of another model than .*; run `lamina export --run small` again"):
        bench_model.bench_model(system, "small", tmp_path)
