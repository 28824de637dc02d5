"""How many rows a second does one core read and warp by plan, compared with Keras' random layers?

python bench/warping.py [--size 128] [--pictures 200] [--copies 4] [--repeats 5]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import pandas as pd

from lamina.data.augmentation import AugmentConfig, draw_plan
from lamina.data.rows import Folders, Rows, open_rows

BATCH = 64
CONFIG = AugmentConfig(copies=4, rotation=20.0, shift=0.1, flip_horizontal=True, flip_vertical=True, color=0.05)


def make_rows(folder: Path, pictures: int, copies: int, size: int) -> Rows:
    """Write pictures of noise and a plan of their copies, as the stages do; open all rows."""
    ids = [f"{number:016x}" for number in range(pictures)]
    manifest = pd.DataFrame({"id": ids, "origin": ids, "label": "x"})
    plan = draw_plan(manifest, CONFIG.model_copy(update={"copies": copies}), seed=13)
    lab = np.random.default_rng(13).integers(0, 5000, (pictures, size, size, 3)).astype(np.int16)
    np.save(folder / "pixels.npy", lab)
    manifest.to_parquet(folder / "manifest.parquet")
    plan.to_parquet(folder / "plan.parquet")
    return open_rows(plan[["id", "copy"]], Folders(lab=folder, augmented=folder))


def rate(rows: Rows, order: np.ndarray) -> float:
    """Measure rows read per second of CPU, in a given order."""
    start = time.process_time()
    for first in range(0, len(order), BATCH):
        rows.read(order[first : first + BATCH])
    return len(order) / (time.process_time() - start)


def keras_rate(rows: Rows) -> float:
    """Measure rows per second of CPU through Keras' layers: flip, rotation and shift, each of which samples again."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras
    import tensorflow as tf

    layers = [
        keras.layers.RandomFlip(),
        keras.layers.RandomRotation(20 / 360),
        keras.layers.RandomTranslation(0.1, 0.1),
    ]
    warp = tf.function(lambda pictures: keras.Sequential(layers)(pictures, training=True))
    batch = tf.cast(rows.read(np.arange(BATCH)), tf.float32)
    warp(batch)
    start = time.process_time()
    for _ in range(8):
        warp(batch).numpy()
    return 8 * BATCH / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        rows = make_rows(Path(temporary), arguments.pictures, arguments.copies, arguments.size)
        orders = {
            "lamina, in the plan's order": np.arange(len(rows)),
            "lamina, shuffled": np.random.default_rng(13).permutation(len(rows)),
        }
        rates = {name: [rate(rows, order) for _ in range(arguments.repeats)] for name, order in orders.items()}
        rates["Keras' random layers"] = [keras_rate(rows) for _ in range(arguments.repeats)]
    print(f"{arguments.size}x{arguments.size}, rows a second of CPU, median (lowest to highest)")
    for name, found in rates.items():
        print(f"{name:30}{median(found):10.0f}  ({min(found):.0f} to {max(found):.0f})")


if __name__ == "__main__":
    main()
