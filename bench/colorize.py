"""How long does it take to color a large picture from the colors of a small square, and how large is the error?

python bench/colorize.py [ARCHIVE] [--megapixels 12] [--size 128] [--repeats 5] [--sheet FILE.png]

ARCHIVE: a ZIP of photographs. Their own colors, reduced to the size of a square, take the place of a network's output.
"""

import argparse
import multiprocessing
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from PIL import Image

from lamina.data.decoding import decode, is_grey
from lamina.data.opening import UnreadableError, open_picture
from lamina.data.originals import inside_square
from lamina.data.pixels import cut_square, whole_picture
from lamina.data.sheets import contact_sheet
from lamina.maths.color import UNITS, RgbPixels, srgb_to_lab

SHOWN = 6  # photographs in the sheet


def lamina(grey: RgbPixels, light: np.ndarray, chroma: np.ndarray) -> RgbPixels:
    """Color a picture as `lamina colorize` does."""
    from lamina.tasks.colorize.full_size import enlarge

    return enlarge(grey, light, chroma, grey.dtype)


def scikit_image(grey: RgbPixels, light: np.ndarray, chroma: np.ndarray) -> RgbPixels:
    """Do it the usual way: take L of the picture, enlarge a and b, convert back to RGB."""
    from skimage.color import gray2rgb, lab2rgb, rgb2lab
    from skimage.transform import resize

    lab = rgb2lab(gray2rgb(grey))
    lab[..., 1:] = resize(chroma, grey.shape, order=1)
    return (lab2rgb(lab) * 255).round().astype(np.uint8)


WAYS: dict[str, Callable[..., RgbPixels]] = {"lamina": lamina, "scikit-image": scikit_image}


def measure(name: str, megapixels: float) -> tuple[float, float]:
    """Return seconds of CPU, and by how many MiB the peak of memory rose."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    draw = np.random.default_rng(13)
    small = draw.integers(40, 200, (96, 128)).astype(np.uint8)
    grey = cv2.resize(small, (height * 4 // 3, height))
    chroma = draw.normal(0, 8, (96, 128, 2)).astype(np.float32)
    WAYS[name](grey[:64, :64], small / np.float32(2.55), chroma)  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    WAYS[name](grey, small / np.float32(2.55), chroma)
    return time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def speed(megapixels: float, repeats: int) -> None:
    """Print what each way takes, each time in a new process."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found = {name: [] for name in WAYS}
        for _ in range(repeats):
            for name, results in found.items():
                results.append(pool.apply(measure, (name, megapixels)))
    print(f"{megapixels:g} megapixels: seconds of CPU, median (lowest to highest); MiB of memory")
    for name, results in found.items():
        seconds = [one for one, _ in results]
        memory = max(one for _, one in results)
        print(f"{name:14}{median(seconds):8.2f}  ({min(seconds):.2f} to {max(seconds):.2f}){memory:8.0f}")
    ratios = [naive / ours for (ours, _), (naive, _) in zip(*found.values(), strict=True)]
    print(f"{'ratio':14}{median(ratios):8.1f}  ({min(ratios):.1f} to {max(ratios):.1f})")


def accuracy(archive: Path, size: int, sheet: Path | None) -> None:
    """Print the error of a and b at full size, compared with bilinear enlargement; draw some photographs."""
    errors, shown = [], []
    for photograph in photographs(archive):
        lab = srgb_to_lab(np.asarray(photograph))
        region = whole_picture(*photograph.size)
        inside = inside_square(*photograph.size, size, region)
        small = srgb_to_lab(cut_square(photograph, size, region))[inside].astype(np.float32) / UNITS
        light, chroma = small[..., 0], small[..., 1:]
        truth = lab[..., 1:] / np.float32(UNITS)
        pictures = [lamina(np.asarray(photograph), one, chroma) for one in (np.full_like(light, 50), light)]
        off = [((srgb_to_lab(one)[..., 1:] / np.float32(UNITS) - truth) ** 2).mean() for one in pictures]
        errors.append(off)
        if len(shown) < SHOWN:
            shown.append([detail(one) for one in (*pictures, np.asarray(photograph))])
    bilinear, ours = np.array(errors).T
    print(f"{len(errors)} photographs, squares of {size}: MSE of a and b, mean")
    print(f"{'bilinear':14}{bilinear.mean():8.2f}\n{'lamina':14}{ours.mean():8.2f}")
    print(f"{'ratio':14}{median(ours / bilinear):8.2f}  median; below 1 for {(ours < bilinear).mean():.0%}")
    if sheet:
        names = ["bilinear", "lamina", "true"]
        contact_sheet(list(zip(*shown, strict=True)), names, cell=320).save(sheet)


def detail(picture: RgbPixels) -> RgbPixels:
    """Cut out a square of 160 pixels for the sheet."""
    height, width = picture.shape[:2]
    return picture[height // 3 : height // 3 + 160, width // 3 : width // 3 + 160]


def photographs(archive: Path) -> list[Image.Image]:
    """Read the photographs that show color."""
    found = []
    with zipfile.ZipFile(archive) as source:
        for name in sorted(source.namelist()):
            try:
                picture = decode(open_picture(source.read(name)))
            except UnreadableError:
                continue
            if not is_grey(np.asarray(picture)):
                found.append(picture)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", type=Path)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    speed(arguments.megapixels, arguments.repeats)
    if arguments.archive:
        accuracy(arguments.archive, arguments.size, arguments.sheet)


if __name__ == "__main__":
    main()
