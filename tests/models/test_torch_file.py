"""Tensors are read from files of `torch.save`; anything else in them is refused, and never called."""

import builtins
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.models.torch_file import read_tensors
from torch_files import newer, older

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "norm.num_batches_tracked": np.array(7, np.int64),
    "half": np.array([0.5, -2], np.float16),
    "empty": np.zeros((0, 3), np.float32),
}
FORMATS = pytest.mark.parametrize("write", [older, newer], ids=["pickles", "archive"])


@FORMATS
def test_tensors_come_back(write: Callable[..., bytes]) -> None:
    found = read_tensors(write(ARRAYS), "x.pth")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


class Command:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@FORMATS
@pytest.mark.parametrize(
    ("function", "named"), [(os.system, r"posix\.system"), (builtins.eval, r"\.eval"), (getattr, "getattr")]
)
def test_anything_but_tensors_is_refused_and_named(
    write: Callable[..., bytes], function: Callable[..., object], named: str, tmp_path: Path
) -> None:
    trace = tmp_path / "called"
    data = write(ARRAYS, extra={"x": Command(function, f"touch {trace}")})
    with pytest.raises(UserError, match=rf"^bad\.pth: cannot read its tensors: it names .*{named}, and only tensors"):
        read_tensors(data, "bad.pth")
    assert not trace.exists()


@FORMATS
def test_values_that_are_no_tensors_are_refused(write: Callable[..., bytes]) -> None:
    with pytest.raises(UserError, match="it is no dictionary of tensors"):
        read_tensors(write(ARRAYS, extra={"epoch": 3}), "x.pth")


@FORMATS
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(write: Callable[..., bytes], share: float) -> None:
    data = write(ARRAYS | {"last": np.ones(100, np.float32)})
    with pytest.raises(UserError, match=r"^x\.pth: cannot read its tensors: .*expected a state dictionary of PyTorch"):
        read_tensors(data[: int(len(data) * share)], "x.pth")


def test_bytes_of_another_kind_are_refused() -> None:
    with pytest.raises(UserError, match="cannot read its tensors"):
        read_tensors(b"\x89PNG\r\n" + bytes(100), "x.pth")
