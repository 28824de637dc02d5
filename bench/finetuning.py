"""How many steps a second does a whole EfficientNet-Lite0 train, compared with Keras' `fit` on batches in memory?

python bench/finetuning.py [--network efficientnet_lite0] [--size 128] [--batch 16] [--steps 10] [--repeats 3]

lamina reads and warps its rows meanwhile; Keras has them as an array.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from lamina.inputs.pixels import PictureExamples
from lamina.models.keras_runtime import keras
from lamina.models.layers import Precision, compute_in, freeze_norms
from lamina.models.networks import build_network
from lamina.training.settings import GradientNumbers, Recipe
from lamina.training.trainers import ClassTrainer
from warping import make_rows

NUMBERS = GradientNumbers(learning_rate=1e-4, dropout=0.2, decay=0)
CLASSES = 4


def build(name: str, size: int) -> keras.Model:
    return build_network(name, size, CLASSES, dropout=0.2, seed=13)


def lamina_steps(
    name: str, examples: PictureExamples, batch: int, *, precision: Precision = "float32", norms: bool = True
) -> Callable[[np.ndarray], object]:
    """Return a function that trains one epoch with lamina, over rows in a given order."""
    network = build(name, examples.rows.size)
    compute_in(network, precision)
    if not norms:
        freeze_norms(network)
    trainer = ClassTrainer(network, NUMBERS, recipe=Recipe(optimizer="adamw"))
    return lambda order: examples.train_epoch(trainer, order, batch)


def keras_steps(name: str, examples: PictureExamples, batch: int) -> Callable[[np.ndarray], object]:
    """Return a function that does the same with Keras' `fit`, as it comes, on rows in memory."""
    network = build(name, examples.rows.size)
    network.compile(optimizer=keras.optimizers.AdamW(1e-4), loss="sparse_categorical_crossentropy")
    pixels = examples.rows.read(np.arange(len(examples))).astype(np.float32)
    return lambda order: network.fit(pixels[order], examples.labels[order], batch_size=batch, shuffle=False, verbose=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    name, batch = arguments.network, arguments.batch
    with tempfile.TemporaryDirectory() as temporary:
        rows = make_rows(Path(temporary), 100, 4, arguments.size)
        examples = PictureExamples(rows, np.random.default_rng(13).integers(0, CLASSES, len(rows)).astype(np.int32))
        ways = {
            "lamina": lamina_steps(name, examples, batch),
            "lamina, bfloat16": lamina_steps(name, examples, batch, precision="bfloat16"),
            "lamina, frozen normalizations": lamina_steps(name, examples, batch, norms=False),
            "Keras' fit": keras_steps(name, examples, batch),
        }
        random = np.random.default_rng(13)
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for repeat in range(arguments.repeats + 1):
            order = random.integers(0, len(rows), arguments.steps * batch)
            for way, train in ways.items():
                start = time.perf_counter()
                train(order)
                if repeat:  # the first one compiles
                    rates[way].append(arguments.steps / (time.perf_counter() - start))
    print(f"{name}, {arguments.size}x{arguments.size}, batch {batch}: steps a second, median (range), ratio to Keras")
    for way, found in rates.items():
        ratio = median(found) / median(rates["Keras' fit"])
        print(f"{way:32}{median(found):8.2f}  ({min(found):.2f} to {max(found):.2f}){ratio:8.2f}")


if __name__ == "__main__":
    main()
