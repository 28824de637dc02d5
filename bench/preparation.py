"""How long does it take to convert photographs to CIELAB, compared with other ways to do it?

python bench/preparation.py [ARCHIVE] [--copies 10] [--repeats 3] [--size 128]
"""

import argparse
import shutil
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from statistics import median

import joblib
import numpy as np
from colormath.color_conversions import convert_color
from colormath.color_objects import LabColor, sRGBColor
from PIL import Image

from naive import square
from system import Measured, make_system, run_measured, run_stage

STAGES = ("download", "filter", "convert")
LAMINA = "lamina, all three"
FLOOR = "OpenCV, no CIELAB"
FEW = 2  # copies in the short run; its cost is subtracted from that of the long run
PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "photos.zip"
SAMPLED_PICTURES, SAMPLED_PIXELS = 16, 20_000


def read_pictures(archive: Path) -> list[bytes]:
    """Read an archive's pictures, sorted by name."""
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png")))
        return [opened.read(name) for name in names]


def draw_pictures(count: int = 200) -> list[bytes]:
    """Draw pictures of a photograph's size and detail: 500x375 JPEG, noise at several scales."""
    random = np.random.default_rng(13)
    pictures = []
    for _ in range(count):
        layers = [random.integers(0, 256, (375 // step, 500 // step, 3), dtype=np.uint8) for step in (75, 15, 3)]
        scaled = [np.asarray(Image.fromarray(layer).resize((500, 375)), dtype=float) for layer in layers]
        buffer = BytesIO()
        Image.fromarray(np.average(scaled, axis=0, weights=[4, 2, 1]).astype(np.uint8)).save(buffer, "JPEG", quality=95)
        pictures.append(buffer.getvalue())
    return pictures


def pack(pictures: list[bytes], copies: int, archive: Path) -> None:
    """Write every picture `copies` times, each with other bytes at its end, so that no cached result is used again."""
    with zipfile.ZipFile(archive, "w") as opened:
        for copy in range(copies):
            for number, encoded in enumerate(pictures):
                opened.writestr(f"{copy:03d}/{number:06d}.jpg", encoded + b"%08d" % copy)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds on the clock, and seconds of all cores together."""

    seconds: float
    cpu: float


def measure_colormath(pictures: list[bytes], size: int) -> Cost:
    """Estimate the cost of a picture with colormath, pixel by pixel, from a sample; all cores share it evenly."""
    start = time.process_time()
    squares = np.stack([square(encoded, size) for encoded in pictures[:SAMPLED_PICTURES]])
    decoding = (time.process_time() - start) / len(squares)
    pixels = np.random.default_rng(13).choice(squares.reshape(-1, 3), SAMPLED_PIXELS).tolist()
    start = time.process_time()
    for red, green, blue in pixels:
        convert_color(sRGBColor(red, green, blue, is_upscaled=True), LabColor, target_illuminant="d65")
    cpu = decoding + (time.process_time() - start) / len(pixels) * size**2
    return Cost(seconds=cpu / joblib.cpu_count(), cpu=cpu)


def measure_once(archive: Path, pictures: list[bytes], total: int, size: int, folder: Path) -> dict[str, Cost]:
    """Measure the cost of each way, one after another."""
    system = make_system(folder / "system", archive, size=size, labels="none")
    costs = {stage: _cost(run_stage(system, stage)) for stage in STAGES}
    together = Cost(seconds=sum(cost.seconds for cost in costs.values()), cpu=sum(cost.cpu for cost in costs.values()))
    shutil.rmtree(system)
    one = measure_colormath(pictures, size)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder / "unpacked")
    return {
        **costs,
        LAMINA: together,
        FLOOR: _script("decoding.py", archive, folder, size),
        "Pillow + scikit-image": _script("naive.py", archive, folder, size),
        "tf.data + scikit-image": _script("tf_data.py", folder / "unpacked", folder, size),
        "Pillow + colormath (scaled)": Cost(seconds=one.seconds * total, cpu=one.cpu * total),
    }


def _script(name: str, source: Path, folder: Path, size: int) -> Cost:
    command = [
        sys.executable,
        str(Path(__file__).with_name(name).resolve()),
        str(source.resolve()),
        "out.npy",
        str(size),
    ]
    return _cost(run_measured(command, folder))


def _cost(measured: Measured) -> Cost:
    return Cost(seconds=measured.seconds, cpu=measured.cpu)


def further(few: dict[str, Cost], many: dict[str, Cost]) -> dict[str, Cost]:
    """Subtract the cost of few pictures from that of many: starts of processes and imports cancel out."""
    return {way: Cost(seconds=many[way].seconds - few[way].seconds, cpu=many[way].cpu - few[way].cpu) for way in many}


def show(title: str, runs: list[dict[str, Cost]], total: int) -> None:
    """Print medians, rates and ratios."""
    seconds = {way: median(run[way].seconds for run in runs) for way in runs[0]}
    cpu = {way: median(run[way].cpu for run in runs) for way in runs[0]}
    titles = ("seconds", "lowest", "highest", "pictures/s", "x lamina", "CPU s", "x lamina")
    print(f"\n{title:28}" + "".join(f"{title:>11}" for title in titles))
    for way in seconds:
        every = [run[way].seconds for run in runs]
        times = (seconds[way], min(every), max(every), total / seconds[way], seconds[way] / seconds[LAMINA])
        print(f"{way:28}" + "".join(f"{value:11.2f}" for value in (*times, cpu[way], cpu[way] / cpu[LAMINA])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "archive", nargs="?", type=Path, default=PHOTOS, help="ZIP of photographs (default: %(default)s)"
    )
    parser.add_argument("--copies", type=int, default=22)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    drawn = not arguments.archive.exists()
    pictures = draw_pictures() if drawn else read_pictures(arguments.archive)
    counts = {copies: len(pictures) * copies for copies in (FEW, arguments.copies)}
    origin = f"{arguments.archive.name} is missing: drawn pictures instead" if drawn else arguments.archive.name
    print(f"{origin}; {len(pictures)} pictures x {FEW} and x {arguments.copies}, to {arguments.size}x{arguments.size},")
    print(f"{joblib.cpu_count()} cores, medians of {arguments.repeats} repeats in turn")
    runs: dict[int, list[dict[str, Cost]]] = {copies: [] for copies in counts}
    with tempfile.TemporaryDirectory() as temporary:
        for repeat, copies in product(range(arguments.repeats), counts):
            folder = Path(temporary) / f"{repeat}-{copies}"
            folder.mkdir()
            pack(pictures, copies, folder / "photos.zip")
            runs[copies].append(measure_once(folder / "photos.zip", pictures, counts[copies], arguments.size, folder))
            shutil.rmtree(folder)
    show("all, starts included", runs[arguments.copies], counts[arguments.copies])
    differences = [further(few, many) for few, many in zip(*runs.values(), strict=True)]
    show("further pictures", differences, counts[arguments.copies] - counts[FEW])


if __name__ == "__main__":
    main()
