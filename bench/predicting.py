"""How many pictures a second does `lamina predict --csv` answer, compared with the network alone?

python bench/predicting.py [ARCHIVE] [--network efficientnet_lite0] [--size 64] [--pictures 60000] [--repeats 1]

The archive is a ZIP of pictures, unpacked into a temporary folder. The network, with random weights, predicts squares
in memory with the same function that the command uses. The command reads and decodes files and writes the CSV; the time
of the same command for one picture, its start, is subtracted. Both take turns. The ratio by CPU seconds (of all cores
together) depends less on other work of the machine.
"""

import argparse
import json
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from statistics import median

import numpy as np

from lamina.commands.given_files import find_pictures
from lamina.commands.predict import prepare_batch, read_learned
from lamina.maths.color import RgbPixels
from lamina.results.record import Record
from system import Measured, run_measured

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10.zip"
CLASSES = [f"class {number}" for number in range(10)]
RUN = {
    "task": "classify", "input": "pixels", "weights": "weights/random", "epochs": 1, "batch_size": 32,
    "learning_rate": 1e-3, "dropout": 0.5, "decay": 0.0,
}  # fmt: skip
ALONE = 4096  # squares that the network predicts by itself


def make_system(folder: Path, network: str, size: int) -> Path:
    """Write a system with a network that nobody has trained."""
    from lamina.models.networks import build_network
    from lamina.models.saving import save_model

    settings = {**RUN, "network": network}
    convert = {"size": size, "isolate": "none"}
    (folder / "models/run").mkdir(parents=True)
    (folder / "params.yaml").write_text(json.dumps({"seed": 1, "convert": convert, "runs": {"run": settings}}))
    record = Record(
        run="run", task="classify", input="pixels", settings=settings, numbers={}, seed=1, classes=CLASSES, width=size,
        data={}, environment={}, code="", key="key",
    )  # fmt: skip
    record.write(folder / "models/run/record.json")
    save_model(build_network(network, size, len(CLASSES), dropout=0.5, seed=1), folder / "models/run/model.keras")
    return folder


def network_alone(system: Path, squares: RgbPixels) -> tuple[float, float]:
    """Return the seconds that the network takes for a picture from memory: on the clock, and of all cores."""
    from lamina.models.inference import inference
    from lamina.models.loading import load_model

    predict = inference(load_model(system / "models/run/model.keras"))
    predict(squares[:64])
    start, cpu = time.perf_counter(), time.process_time()
    predict(squares)
    return (time.perf_counter() - start) / len(squares), (time.process_time() - cpu) / len(squares)


def command(system: Path, pictures: Path, out: Path) -> Measured:
    """Run `lamina predict --csv`."""
    call = [sys.executable, "-m", "lamina.cli", "predict", str(pictures), "--run", "run", "--csv", str(out)]
    return run_measured(call, system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", type=Path, default=CIFAR, help="ZIP of pictures")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=60_000)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with zipfile.ZipFile(arguments.archive) as archive:
            files = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".png"))]
            archive.extractall(folder / "pictures", files[: arguments.pictures])
        system = make_system(folder / "system", arguments.network, arguments.size)
        pictures = find_pictures([folder / "pictures"])
        prepared, _ = prepare_batch(pictures[:ALONE], read_learned(system, "run", ["classify"]).convert)
        squares = np.stack(list(prepared.values()))
        start = command(system, pictures[0], folder / "start.csv")
        print(f"{len(pictures)} pictures, {arguments.network} at {arguments.size} pixels; start {start.seconds:.1f} s")
        ratios = []
        for repeat in range(arguments.repeats):
            before = network_alone(system, squares)
            took = command(system, folder / "pictures", folder / f"{repeat}.csv")
            clock, cpu = (sum(both) / 2 for both in zip(before, network_alone(system, squares), strict=True))
            each = (took.seconds - start.seconds) / len(pictures)
            ratios.append((clock / each, cpu * len(pictures) / (took.cpu - start.cpu)))
            print(
                f"network alone {1 / clock:,.0f}/s, lamina predict --csv {1 / each:,.0f}/s: {ratios[-1][0]:.0%}, "
                f"by CPU seconds {ratios[-1][1]:.0%}; {took.seconds:.0f} s with its start, "
                f"{took.together:,.0f} MiB at most"
            )
    by_clock, by_cpu = (median(column) for column in zip(*ratios, strict=True))
    print(f"median: {by_clock:.0%} of the network alone, by CPU seconds {by_cpu:.0%}")


if __name__ == "__main__":
    main()
