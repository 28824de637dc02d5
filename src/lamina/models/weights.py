"""Weights that another run learned, read as numbers alone: of a file's configuration nothing is built or executed."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import h5py

from lamina.errors import UserError

_IN_ARCHIVE: Final = "model.weights.h5"  # what a .keras file, which is a ZIP, calls its weights
_STORED: Final = "layers"  # the group of a stored model that holds its layers


def load_weights(network: Any, path: Path, *, layer: str, like: str = "one like it") -> None:
    """Fill a network from a `.keras` or `.weights.h5` file, in place.

    layer: name under which the file's model holds such a network; a file that holds none is taken for one itself.
    like: what fits, in words.
    Raises UserError where there is no such file, it is broken, or another network's: with the first layer that differs.
    """
    if not path.is_file():
        raise UserError(f"weights: {path} is not there; {_remedy(path)}")
    try:
        with TemporaryDirectory(prefix="lamina-weights-") as folder:
            _load(network, path, Path(folder), layer, like)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        said = " ".join(str(error).split())
        raise UserError(f"weights: {path} cannot be read ({said}); give a .keras or .weights.h5 file") from None


def _remedy(path: Path) -> str:
    if path.parts[:2] == ("weights", "imagenet"):
        name = path.name.removesuffix(".weights.h5")
        return f"list {name} under weights.imagenet, then run `dvc repro weights` or `dvc pull weights`"
    return "expected weights/random, weights/imagenet/NAME.weights.h5, or a .keras or .weights.h5 file"


def _load(network: Any, path: Path, folder: Path, layer: str, like: str) -> None:
    """Have Keras store the network, put the file's numbers in the place of its own, and have Keras load it again.

    So Keras alone decides what is stored where.
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
    """The stored network of this name, wherever in the model it stands; the whole where there is none."""
    named: list[str] = []

    def look(path: str, item: Any) -> None:
        if path.endswith("/vars") and item.attrs.get("name") == layer:
            named.append(path.removesuffix("/vars"))

    stored.visititems(look)
    return stored[named[0]] if named else stored


def _layers(group: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Where weights are stored, in and below a group, with the group of these weights."""
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            continue
        if name == "vars" and len(item):
            yield place, item
        yield from _layers(item, f"{place}/{name}")


def _difference(found: dict[str, Any], wanted: dict[str, Any], order: list[str]) -> str | None:
    """What the first layer is told that differs, in the network's order; None where all are alike."""

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
