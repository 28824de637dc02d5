"""Loading of weights from files of other runs. Only numbers are read; nothing in a file is executed."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import h5py

from lamina.config import PUBLISHED
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.models.onnx_options import SUFFIX

_UNKNOWN: Final = "not known; see where the file came from"
_IN_ARCHIVE: Final = "model.weights.h5"  # name of the weights in a .keras file, which is a ZIP archive
_STORED: Final = "layers"  # group of the layers in a stored model


def load_weights(network: Any, path: Path, *, layer: str, like: str = "one like it") -> None:
    """Load the weights of a `.keras` or `.weights.h5` file into a network, in place.

    Args:
        network: a Keras model.
        path: of the file.
        layer: name of such a network inside the file's model. If there is none, the whole model is used.
        like: description of a file that fits, for the error message.

    Raises:
        UserError: if there is no such file, it is broken, or it holds another network; the message names the first
            layer that differs.
    """
    if not path.is_file():
        raise UserError(f"weights: {path} is not there; {_remedy(path)}")
    try:
        with TemporaryDirectory(prefix="lamina-weights-") as folder:
            _load(network, path, Path(folder), layer, like)
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"weights: {path} cannot be read ({reason}); give a .keras or .weights.h5 file") from None


def weights_facts(path: str) -> dict[str, str]:
    """Return what a file of published weights says about itself: trained_on, source, license and reference.

    Args:
        path: value of `weights`; empty for other files, and for a random start. Of an ONNX file, only its name and
            SHA-256 are known.
    """
    if path.endswith(SUFFIX) and Path(path).is_file():
        name, digest = Path(path).name, file_digest(Path(path))
        return {"trained_on": f"unknown data: {name}", "source": name, "sha256": digest, "license": _UNKNOWN}
    if not path.endswith(".weights.h5") or not Path(path).is_file():
        return {}
    with h5py.File(path) as file:
        return {str(name): str(value) for name, value in file.attrs.items()}


def _remedy(path: Path) -> str:
    if found := PUBLISHED.fullmatch(path.as_posix()):
        kind, name = found.groups()
        return f"list {name} under weights.{kind}, then run `dvc repro weights` or `dvc pull weights`"
    return "expected weights/random, weights/imagenet/NAME.weights.h5, or a .keras or .weights.h5 file"


def _load(network: Any, path: Path, folder: Path, layer: str, like: str) -> None:
    """Let Keras save the network, replace the numbers in that file by those of `path`, and let Keras load it.

    In this way Keras alone defines where in a file each weight is.
    """
    source = path
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source = Path(archive.extract(_IN_ARCHIVE, folder))
    mine = folder / "network.weights.h5"
    network.save_weights(mine)
    with h5py.File(source) as stored, h5py.File(mine, "r+") as file:
        found, wanted = dict(_layers(_part(stored, layer)[_STORED])), dict(_layers(file[_STORED]))
        problem = _difference(found, wanted, [one.name for one in network.layers])
        if problem:
            raise UserError(f"weights: {path} does not fit this network: {problem}; give that of {like}")
        for place, weights in wanted.items():
            for number in weights:
                weights[number][...] = found[place][number][...]
    network.load_weights(mine)


def _part(stored: h5py.File, layer: str) -> Any:
    """The stored network of this name, at any depth of the model; the whole model if there is none."""
    named: list[str] = []

    def look(path: str, item: Any) -> None:
        if path.endswith("/vars") and item.attrs.get("name") == layer:
            named.append(path.removesuffix("/vars"))

    stored.visititems(look)
    return stored[named[0]] if named else stored


def _layers(group: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the place and the group of each layer's weights, in a group and all groups in it."""
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            continue
        if name == "vars" and len(item):
            yield place, item
        yield from _layers(item, f"{place}/{name}")


def _difference(found: dict[str, Any], wanted: dict[str, Any], order: list[str]) -> str | None:
    """Describe the first layer that differs, in the network's order; None if all are the same."""

    def rank(place: str) -> tuple[int, str]:
        name = _name(wanted.get(place) or found[place])
        return (order.index(name) if name in order else len(order), place)

    for place in sorted(wanted.keys() | found.keys(), key=rank):
        if place not in found:
            return f"layer {_name(wanted[place])} of shape {_shapes(wanted[place])} is not in it"
        if place not in wanted:
            return f"its layer {_name(found[place])} of shape {_shapes(found[place])} is none of this network"
        if _shapes(found[place]) != _shapes(wanted[place]):
            expected = _shapes(wanted[place])
            return f"layer {_name(wanted[place])}: expected shape {expected}, found {_shapes(found[place])}"
    return None


def _name(weights: Any) -> str:
    return str(weights.attrs.get("name", weights.parent.name))


def _shapes(weights: Any) -> str:
    return " + ".join(str(weights[number].shape) for number in sorted(weights, key=int))
