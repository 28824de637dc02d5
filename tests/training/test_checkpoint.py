"""States of a training on disk."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.training.checkpoint import Checkpoint, State


def test_a_state_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    history = [{"epoch": 1, "train_loss": 0.1 + 0.2}, {"epoch": 2, "train_loss": 1e-9}]
    variables = [np.arange(12, dtype=np.float32) + number for number in range(11)]
    Checkpoint(tmp_path / "x.npz").keep(State(history=history, variables=variables, best=variables[:1]))
    found = Checkpoint(tmp_path / "x.npz").load()
    assert found.history == history
    assert isinstance(found.history[0]["epoch"], int)
    np.testing.assert_array_equal(found.variables, variables)
    assert len(found.best) == 1
    assert Checkpoint(tmp_path / "y.npz").load() is None


def test_saving_is_rare_and_loses_nothing(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "x.npz")
    states = [State(history=[{"epoch": epoch}] * epoch, variables=[np.zeros(10**6)], best=[]) for epoch in range(1, 9)]
    for state in states:
        checkpoint.keep(state)  # at once: only the first is written, the others would take more than 5 % of the time
    assert len(Checkpoint(checkpoint.path).load().history) == 1
    checkpoint.flush()
    assert len(Checkpoint(checkpoint.path).load().history) == 8


@pytest.mark.parametrize("damage", ["no zip", "pickle", "other"])
def test_a_damaged_state_is_named_and_not_executed(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    if damage == "no zip":
        path.write_bytes(b"no zip" * 100)
    elif damage == "pickle":
        np.savez(path, history=np.array([{"epoch": 1}], dtype=object))
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("other", "x")
    with pytest.raises(UserError, match=r"x\.npz: not a training state .*; delete it and run again"):
        Checkpoint(path).load()
