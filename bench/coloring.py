"""How many steps a second does a colorizer train, compared with Keras' `fit` on the same network?

python bench/coloring.py [--size 128] [--batch 32] [--steps 10] [--repeats 3] [--decoder unet]

`fit` reads its batches from a generator. The first generator is the usual one: RGB rows, scikit-image's `rgb2lab`, L as
input, a and b as target. The second one reads lamina's CIELAB rows, so that only the training loops differ. The table
shows seconds on the clock, and seconds of all cores together, which depend less on other work of the machine.
"""

import argparse
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
from skimage.color import rgb2lab

from lamina.data.rows import Rows
from lamina.inputs.lightness import ColorExamples, lightness
from lamina.models.backbones import RANDOM
from lamina.models.colorizers import build_colorizer, build_tail, predicted_side, with_tail
from lamina.models.keras_runtime import keras
from lamina.models.layers import Precision, compute_in
from lamina.training.picture_trainer import PictureTrainer
from lamina.training.settings import GradientNumbers
from warping import make_rows

NUMBERS = GradientNumbers(learning_rate=1e-3, dropout=0.0, decay=0.001)

Pair = tuple[np.ndarray, np.ndarray]


def build(size: int, decoder: str) -> tuple[keras.Model, keras.Model]:
    """Return the network that trains, and the tail that turns its output into colors."""
    side = predicted_side(size, "mse")
    network = build_colorizer(
        "small_cnn",
        weights=RANDOM,
        preprocess="native",
        decoder=decoder,
        side=side,
        outputs=2,
        size=size,
        dropout=0.0,
        seed=13,
        frozen=False,
    )
    return network, build_tail(side, size, None)


def lamina_steps(rows: Rows, decoder: str, precision: Precision, batch: int) -> Callable[[np.ndarray], object]:
    """Return a function that trains one epoch with lamina, over rows in a given order."""
    network, tail = build(rows.size, decoder)
    compute_in(network, precision)
    trainer = PictureTrainer(network, NUMBERS, tail=tail, rare=None)
    return lambda order: ColorExamples(rows).train_epoch(trainer, order, batch)


def keras_steps(
    rows: Rows, decoder: str, read: Callable[[Rows, np.ndarray], Pair], batch: int
) -> Callable[[np.ndarray], object]:
    """Return a function that does the same with Keras' `fit`."""
    model = with_tail(*build(rows.size, decoder))
    model.compile(optimizer=keras.optimizers.RMSprop(1e-3), loss="mse")

    def pairs(order: np.ndarray) -> Iterator[Pair]:
        for start in range(0, len(order), batch):
            yield read(rows, order[start : start + batch])

    return lambda order: model.fit(pairs(order), verbose=0)


def by_scikit_image(rows: Rows, some: np.ndarray) -> Pair:
    """Read rows as RGB; convert them with scikit-image."""
    lab = rgb2lab(rows.read(some)).astype(np.float32)
    return lab[..., :1], lab[..., 1:]


def by_lamina(rows: Rows, some: np.ndarray) -> Pair:
    """Read rows as the CIELAB that the stage `convert` stored."""
    lab = rows.read_lab(some)
    return lightness(lab), lab[..., 1:].astype(np.float32) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--decoder", default="unet")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Keras on generators
    with tempfile.TemporaryDirectory() as temporary:
        rows = make_rows(Path(temporary), 200, 4, arguments.size)
        ways = {
            "Keras' fit, scikit-image": keras_steps(rows, arguments.decoder, by_scikit_image, arguments.batch),
            "Keras' fit, lamina's rows": keras_steps(rows, arguments.decoder, by_lamina, arguments.batch),
            "lamina": lamina_steps(rows, arguments.decoder, "float32", arguments.batch),
            "lamina, bfloat16": lamina_steps(rows, arguments.decoder, "bfloat16", arguments.batch),
        }
        random = np.random.default_rng(13)
        clock: dict[str, list[float]] = {name: [] for name in ways}
        cores: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(arguments.repeats + 1):
            order = random.integers(0, len(rows), arguments.steps * arguments.batch)
            for name, way in ways.items():
                start, worked = time.perf_counter(), _cpu_seconds()
                way(order)
                if repeat:  # the first one compiles
                    clock[name].append((time.perf_counter() - start) / arguments.steps)
                    cores[name].append((_cpu_seconds() - worked) / arguments.steps)
    first = next(iter(ways))
    print(f"small_cnn, {arguments.decoder}, {arguments.size}x{arguments.size}, batch {arguments.batch}: seconds a step")
    print(f"{'':28}{'clock':>8}{'faster':>9}{'cores':>9}{'faster':>9}")
    for name in ways:
        taken = [median(found[name]) for found in (clock, cores)]
        cells = [
            f"{seconds:8.3f}{median(found[first]) / seconds:8.2f}x"
            for seconds, found in zip(taken, (clock, cores), strict=True)
        ]
        print(f"{name:28}" + " ".join(cells))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
