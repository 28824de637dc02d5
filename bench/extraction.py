"""How many rows a second does a frozen backbone turn into features, compared with `model.predict`?

python bench/extraction.py [--backbones resnet50 densenet121] [--size 128] [--rows 1024] [--repeats 3]

`model.predict` reads arrays in memory. In every repeat each way does all rows once, in turn, so that other work of the
machine affects all of them.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from lamina.data.rows import Rows
from warping import make_rows

BATCH = 32
COPIES = 4


@dataclass
class Way:
    """A way to do it, and the seconds of each repeat: on the clock, and of all cores."""

    work: Callable[[], np.ndarray]
    clock: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    result: np.ndarray | None = None

    def run(self) -> None:
        start = os.times()
        clock = time.perf_counter()
        self.result = self.work()
        self.clock.append(time.perf_counter() - clock)
        end = os.times()
        self.cpu.append(end.user + end.system - start.user - start.system)


def make_ways(backbone: str, rows: Rows, folder: Path) -> dict[str, Way]:
    """Return the ways to compare: Keras, the engine on arrays in memory, and the complete extraction from disk."""
    from lamina.inputs.extraction import extract
    from lamina.models.backbones import RANDOM, build_extractor
    from lamina.models.engine import Engine, compile_engine

    size = rows.size
    network = build_extractor(backbone, weights=RANDOM, pooling="avg", preprocess="native", size=size, seed=13)
    pixels = rows.read(np.arange(len(rows)))
    floats = pixels.astype(np.float32)
    engines = {name: compile_engine(network, name) for name in ("float32", "bfloat16")}

    def extracted(engine: Engine) -> np.ndarray:
        out = folder / f"{backbone}-{engine.precision}.npy"
        out.unlink(missing_ok=True)
        extract(engine, rows, out)
        return np.load(out)

    ways = {"Keras, model.predict, in memory": Way(lambda: network.predict(floats, batch_size=BATCH, verbose=0))}
    for name, engine in engines.items():
        ways[f"{engine.name}, {name}, in memory"] = Way(lambda engine=engine: engine.features(pixels))
        ways[f"{engine.name}, {name}, from disk"] = Way(lambda engine=engine: extracted(engine))
    return ways


def show(backbone: str, ways: dict[str, Way], rows: int) -> None:
    """Print a line for each way: rate, median ratios to the first way within a repeat, difference from its features."""
    keras = next(iter(ways.values()))
    for name, way in ways.items():
        clock, cpu = (
            median(theirs / ours for theirs, ours in zip(keras_took, took, strict=True))
            for keras_took, took in ((keras.clock, way.clock), (keras.cpu, way.cpu))
        )
        off = np.linalg.norm(way.result.astype(np.float64) - keras.result) / np.linalg.norm(keras.result)
        rate = rows / median(way.clock)
        print(f"{backbone:14}{name:33}{rate:8.0f}{clock:10.2f}{cpu:10.2f}{off:14.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["resnet50", "densenet121"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'':47}{'rows/s':>8}{'x Keras':>10}{'by CPU':>10}{'difference':>14}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = make_rows(folder, -(-arguments.rows // (COPIES + 1)), COPIES, arguments.size)
        for backbone in arguments.backbones:
            ways = make_ways(backbone, rows, folder)
            for _ in range(arguments.repeats + 1):
                for way in ways.values():
                    way.run()
            for way in ways.values():  # the first repeat warms up
                del way.clock[0], way.cpu[0]
            show(backbone, ways, len(rows))


if __name__ == "__main__":
    main()
