"""`lamina track`: one line a run."""

import re
from argparse import Namespace
from pathlib import Path

import pytest

from lamina.commands import track
from lamina.errors import UserError
from lamina.files import write_json
from tracked import free_port, write_run


def test_every_run_of_params_gets_its_line(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert track.run(Namespace(system=system)) == 0
    assert capsys.readouterr().out == "tiny   tracked\nlater  not trained yet\n"
    write_run(system, key="b", run="later")
    (system / "models" / "later" / "metrics.json").unlink()
    assert track.run(Namespace(system=system)) == 0
    assert capsys.readouterr().out == "tiny   already there\nlater  not evaluated yet\n"
    write_run(system, key="b", run="later")
    (system / "models" / "tiny" / "model.keras").unlink()
    assert track.run(Namespace(system=system)) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert re.search(r"tiny   not tracked: .*model.keras: not found; run `dvc repro train@tiny`, or `dvc pull`", first)
    assert second == "later  tracked"


def test_scores_of_an_earlier_training_are_not_tracked(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(system / "models/tiny/uncertainty/uncertainty.json", {"key": "b" * 64})
    assert track.run(Namespace(system=system)) == 0
    line = r"tiny   not tracked: .*earlier training; run `dvc repro evaluate@tiny`"
    assert re.search(line, capsys.readouterr().out)
    write_json(system / "models/tiny/assessment.json", {"key": "b" * 64})
    assert track.run(Namespace(system=system)) == 0, "both stages have yet to run again"
    assert re.search(line, capsys.readouterr().out)


def test_store_out_of_reach_is_an_error(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match=r"the MLflow store http://127\.0\.0\.1:\d+ cannot be used"):
        track.run(Namespace(system=system))
