"""Files as `torch.save` writes them, in both formats, made without torch."""

import io
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage"}


@dataclass(frozen=True)
class _Storage:
    key: str
    array: np.ndarray


class _Tensor:
    """Pickles as a tensor of PyTorch does."""

    def __init__(self, key: str, array: np.ndarray) -> None:
        self.storage, self.array = _Storage(key, array.copy(order="C")), array

    def __reduce__(self) -> tuple[Any, ...]:
        strides = tuple(step // self.array.itemsize for step in self.array.copy(order="C").strides)
        arguments = (self.storage, 0, self.array.shape, strides, False, OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, one: Any) -> Any:
        if not isinstance(one, _Storage):
            return None
        kind = getattr(sys.modules["torch"], STORAGES[one.array.dtype.name])
        return ("storage", kind, one.key, "cpu", one.array.size)


@contextmanager
def _torch() -> Iterator[None]:
    """Stand-ins of the names that a file refers to."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")

    def rebuild() -> None: ...

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    setattr(utils, "_rebuild_tensor_v2", rebuild)  # noqa: B010
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        yield


def _dump(value: Any) -> bytes:
    file = io.BytesIO()
    with _torch():
        _Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def older(arrays: Mapping[str, np.ndarray], *, extra: Mapping[str, Any] | None = None) -> bytes:
    """A series of pickles, then the numbers."""
    tensors = {name: _Tensor(str(place), array) for place, (name, array) in enumerate(arrays.items())}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    keys = [tensor.storage.key for tensor in tensors.values()]
    parts = [_dump(one) for one in (MAGIC, 1001, system, OrderedDict(tensors | dict(extra or {})), keys)]
    for tensor in tensors.values():
        parts += [struct.pack("<q", tensor.array.size), tensor.storage.array.tobytes()]
    return b"".join(parts)


def newer(arrays: Mapping[str, np.ndarray], *, extra: Mapping[str, Any] | None = None) -> bytes:
    """An archive of a pickle and of files of numbers."""
    tensors = {name: _Tensor(str(place), array) for place, (name, array) in enumerate(arrays.items())}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", _dump(OrderedDict(tensors | dict(extra or {}))))
        for tensor in tensors.values():
            archive.writestr(f"archive/data/{tensor.storage.key}", tensor.storage.array.tobytes())
    return file.getvalue()
