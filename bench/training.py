"""How many steps a second does a whole network train, compared with Keras' `fit` on a generator of the same rows?

python bench/training.py [--size 128] [--batch 32] [--steps 20] [--repeats 3]
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from lamina.inputs.pixels import PictureExamples
from lamina.models.keras_runtime import keras
from lamina.models.layers import Precision, compute_in
from lamina.models.networks import build_network
from lamina.training.checkpoint import Checkpoint, State
from lamina.training.settings import GradientNumbers
from lamina.training.trainers import ClassTrainer
from warping import make_rows

NUMBERS = GradientNumbers(learning_rate=1e-3, dropout=0.5, decay=0.001)
CLASSES = 4


def steps_of(examples: PictureExamples, precision: Precision, batch: int) -> Callable[[np.ndarray], object]:
    """Return a function that trains one epoch with lamina, over rows in a given order."""
    network = build_network("small_cnn", examples.rows.size, CLASSES, dropout=0.5, seed=13)
    compute_in(network, precision)
    trainer = ClassTrainer(network, NUMBERS)
    return lambda order: examples.train_epoch(trainer, order, batch)


def keras_steps(examples: PictureExamples, batch: int) -> Callable[[np.ndarray], object]:
    """Return a function that does the same with Keras' `fit`."""
    network = build_network("small_cnn", examples.rows.size, CLASSES, dropout=0.5, seed=13)
    network.compile(optimizer=keras.optimizers.RMSprop(1e-3), loss="sparse_categorical_crossentropy")

    def epoch(order: np.ndarray) -> None:
        chosen = [order[start : start + batch] for start in range(0, len(order), batch)]
        network.fit(
            ((examples.rows.read(rows).astype(np.float32), examples.labels[rows]) for rows in chosen), verbose=0
        )

    return epoch


def seconds_to_save(examples: PictureExamples, folder: Path) -> float:
    """Measure how long copying and writing the network's state takes. Training spends at most 5 % of its time on it."""
    trainer = ClassTrainer(build_network("small_cnn", examples.rows.size, CLASSES, dropout=0.5, seed=13), NUMBERS)
    start = time.perf_counter()
    Checkpoint(folder / "state.npz").keep(State(history=[], variables=trainer.state(), best=[]))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Keras on generators
    with tempfile.TemporaryDirectory() as temporary:
        rows = make_rows(Path(temporary), 200, 4, arguments.size)
        examples = PictureExamples(rows, np.random.default_rng(13).integers(0, CLASSES, len(rows)).astype(np.int32))
        ways = {
            "lamina": steps_of(examples, "float32", arguments.batch),
            "lamina, bfloat16": steps_of(examples, "bfloat16", arguments.batch),
            "Keras' fit": keras_steps(examples, arguments.batch),
        }
        random = np.random.default_rng(13)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(arguments.repeats + 1):
            order = random.integers(0, len(rows), arguments.steps * arguments.batch)
            for name, way in ways.items():
                start = time.perf_counter()
                way(order)
                if repeat:  # the first one compiles
                    rates[name].append(arguments.steps / (time.perf_counter() - start))
        saving = seconds_to_save(examples, Path(temporary))
    print(f"small_cnn, {arguments.size}x{arguments.size}, batch {arguments.batch}: steps a second, median (range)")
    for name, found in rates.items():
        print(f"{name:20}{median(found):8.2f}  ({min(found):.2f} to {max(found):.2f})")
    print(f"saving its state takes {saving:.2f} s")


if __name__ == "__main__":
    main()
