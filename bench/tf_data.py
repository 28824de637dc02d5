"""Preparation as TensorFlow's guides show it: tf.data decodes and resizes on all cores, scikit-image converts.

python bench/tf_data.py FOLDER OUT.npy SIZE
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from skimage.color import rgb2lab


def main() -> None:
    folder, out, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

    def square(path: tf.Tensor) -> tf.Tensor:
        picture = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize_with_pad(picture, size, size, method="area")

    paths = sorted(map(str, folder.rglob("*.jpg")))
    pictures = tf.data.Dataset.from_tensor_slices(paths).map(square, num_parallel_calls=tf.data.AUTOTUNE)
    lab = np.lib.format.open_memmap(out, mode="w+", dtype=np.int16, shape=(len(paths), size, size, 3))
    row = 0
    for batch in pictures.batch(64).prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        lab[row : row + len(batch)] = np.rint(rgb2lab(batch / 255) * 100)
        row += len(batch)


if __name__ == "__main__":
    main()
