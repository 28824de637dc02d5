"""Do time and memory of the data stages grow with the number of pictures? Time may grow linearly, memory must not.

python bench/memory.py [ARCHIVE] [--pictures 15000 30000 60000] [--size 32]
python bench/memory.py --drawn [--pictures 6000 60000 600000]    # patches of color, of 1,000 classes
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np

from system import Measured, make_system, run_stage

CLASSES = 1_000  # of drawn pictures
PATCH = 4  # pixels: what is drawn has details of this size
STAGES = ("download", "filter", "convert", "augment", "split")
CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10.zip"


def take(archive: Path, count: int, out: Path) -> int:
    """Copy `count` pictures, evenly chosen, to a smaller archive; return how many were copied."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(out, "w") as target:
        names = sorted(name for name in source.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png")))
        chosen = names[:: max(1, len(names) // count)][:count]
        for name in chosen:
            target.writestr(name, source.read(name))
        return len(chosen)


def draw(count: int, side: int, out: Path) -> int:
    """Write an archive of different pictures of colored patches, as bright as photographs; return their number."""
    random = np.random.default_rng(13)
    patches = side // PATCH
    with zipfile.ZipFile(out, "w") as target:
        for number in range(count):
            low, high = np.sort(random.integers(0, 256, 2))
            colors = random.integers(low, high + 1, (patches, patches, 3), np.uint8)
            pixels = colors.repeat(PATCH, axis=0).repeat(PATCH, axis=1)
            _, encoded = cv2.imencode(".png", pixels)
            target.writestr(f"{number % CLASSES:04}/{number}.png", encoded.tobytes())
    return count


def show(count: int, stages: dict[str, Measured]) -> None:
    """Print a line for each stage."""
    for name, took in stages.items():
        rate = count / took.seconds
        print(
            f"{count:10}  {name:10}{took.seconds:10.1f}{took.cpu:10.1f}{rate:12.0f}"
            f"{took.largest:15.0f}{took.together:15.0f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", type=Path, default=CIFAR10, help="ZIP of pictures (default: %(default)s)")
    parser.add_argument("--drawn", action="store_true", help="draw the pictures")
    parser.add_argument("--pictures", type=int, nargs="+", default=[15_000, 30_000, 60_000])
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    if not (arguments.drawn or arguments.archive.exists()):
        raise SystemExit(f"{arguments.archive}: not found; give a ZIP of pictures with one folder per class")
    titles = f"{'seconds':>10}{'CPU s':>10}{'pictures/s':>12}{'largest, MiB':>15}{'together, MiB':>15}"
    print(f"{'pictures':>10}  {'stage':10}{titles}")
    for wanted in arguments.pictures:
        with tempfile.TemporaryDirectory() as temporary:
            archive = Path(temporary) / "pictures.zip"
            if arguments.drawn:
                count = draw(wanted, arguments.size, archive)
            else:
                count = take(arguments.archive, wanted, archive)
            system = make_system(Path(temporary) / "system", archive, size=arguments.size, labels="folder")
            show(count, {stage: run_stage(system, stage) for stage in STAGES})


if __name__ == "__main__":
    main()
