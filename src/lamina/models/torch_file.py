"""Reading of tensors from files that `torch.save` wrote, without torch, and without executing anything in them.

Such a file holds pickles, and a pickle can name any function to call. This reader knows the names that make tensors,
and refuses every other name.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from lamina.errors import UserError

_MAGIC: Final = 0x1950A86A20F9469CFC6C  # the first pickle of the older format
_PROTOCOL: Final = 1001
_STORAGES: Final[Mapping[str, str]] = MappingProxyType(  # names of storages, and their little-endian number type
    {
        "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
        "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1", "BoolStorage": "|b1",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    size: int


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that makes tensors, and the dictionaries that hold them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        raise pickle.UnpicklingError(f"it names {module}.{name}, and only tensors are read")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(part is not None for part in pid[5:]):
            raise pickle.UnpicklingError("it refers to something that is no storage of numbers")
        return _Storage(key=str(key), dtype=dtype, size=int(size))


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage=storage, offset=int(offset), shape=tuple(shape), strides=tuple(strides))


def read_tensors(data: bytes, name: str) -> dict[str, npt.NDArray[Any]]:
    """Read the tensors of a state dictionary.

    Args:
        data: the file, of either format of `torch.save`: a ZIP archive, or a series of pickles (before PyTorch 1.6).
        name: of the file, for error messages.

    Returns:
        Arrays by name; views of read-only memory.

    Raises:
        UserError: if the file is broken, names anything but tensors, or is no dictionary of tensors.
    """
    try:
        found, storages = (_read_archive if data[:4] == b"PK\x03\x04" else _read_pickles)(data)
        if not isinstance(found, Mapping) or not all(isinstance(one, _Tensor) for one in found.values()):
            raise ValueError("it is no dictionary of tensors")
        return {str(key): _array(tensor, storages) for key, tensor in found.items()}
    except UserError:
        raise
    except Exception as error:  # a broken pickle raises anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: cannot read its tensors: {reason}; expected a state dictionary of PyTorch") from None


def _read_pickles(data: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    """Read the older format: five pickles, then for each storage a count and its numbers."""
    file = io.BytesIO(data)
    magic, protocol, system = (_TensorUnpickler(file).load() for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL or not system.get("little_endian"):
        raise ValueError("it does not start as files of PyTorch do")
    unpickler = _TensorUnpickler(file)
    found = unpickler.load()
    keys = _TensorUnpickler(file).load()
    sizes = {tensor.storage.key: tensor.storage for tensor in found.values() if isinstance(tensor, _Tensor)}
    chunks: dict[str, bytes] = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        if key not in sizes or count != sizes[key].size:
            raise ValueError(f"storage {key} has another size than its tensors say")
        chunks[key] = file.read(count * sizes[key].dtype.itemsize)
    return found, lambda storage: chunks[storage.key]


def _read_archive(data: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    """Read the newer format: an archive with one pickle, and a file for each storage."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"expected one data.pkl in it, found {len(pickles)}")
    folder = pickles[0].removesuffix("data.pkl")
    if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
        raise ValueError("it is compressed, which PyTorch does not do")
    found = _TensorUnpickler(io.BytesIO(archive.read(pickles[0]))).load()
    return found, lambda storage: archive.read(f"{folder}data/{storage.key}")


def _array(tensor: _Tensor, chunks: Callable[[_Storage], bytes]) -> npt.NDArray[Any]:
    """The view of its storage that a tensor is, checked to lie inside."""
    numbers = np.frombuffer(chunks(tensor.storage), tensor.storage.dtype)
    steps = list(zip(tensor.shape, tensor.strides, strict=True))
    if len(numbers) != tensor.storage.size:
        raise ValueError("a storage is cut off")
    if tensor.offset < 0 or any(side < 0 or stride < 0 for side, stride in steps):
        raise ValueError("a tensor has a negative size")
    if all(tensor.shape) and tensor.offset + sum((side - 1) * stride for side, stride in steps) >= len(numbers):
        raise ValueError("a tensor reaches beyond its storage")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
