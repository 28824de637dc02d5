"""Do time and memory of `split` grow with classes and pictures? About linearly, they may.

python bench/growth.py [--sizes 100x40 300xtail 600x6 1000x40 1000x100] [--parts 5] [--side 32]
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from lamina.maths.splits import SplitConfig
from lamina.stages.folds import assign_folds
from system import Measured, run_measured

SHARES = {"test": 0.3, "validation": 0.15}
SEED = 13
TAIL = "tail"  # the largest class has 1,000 pictures, the others 1,000 / rank, but at least 6
PATCH = 4  # pixels: what is drawn has details of this size


def class_sizes(size: str) -> list[int]:
    """Return the pictures of each class: of `300x40` or `300xtail`."""
    classes, _, pictures = size.partition("x")
    ranks = range(1, int(classes) + 1)
    return [max(6, 1000 // rank) if pictures == TAIL else int(pictures) for rank in ranks]


def draw_manifest(sizes: list[int]) -> pd.DataFrame:
    """Make a picture of an origin of its own for each place."""
    generator = np.random.default_rng(SEED)
    labels = np.repeat([f"class-{number:04d}" for number in range(len(sizes))], sizes)
    ids = [digest.tobytes().hex() for digest in generator.integers(0, 2**63, len(labels))]
    return pd.DataFrame({"id": ids, "origin": ids, "label": labels, "name": [f"{one}.png" for one in ids]})


def draw_pixels(count: int, side: int, out: Path) -> None:
    """Write CIELAB pictures of colored patches, some at a time."""
    generator = np.random.default_rng(SEED)
    pixels = np.lib.format.open_memmap(out, "w+", np.int16, (count, side, side, 3))
    for start in range(0, count, 1_000):
        shape = (min(1_000, count - start), side // PATCH, side // PATCH, 3)
        patches = generator.integers((1_000, -5_000, -5_000), (9_000, 5_000, 5_000), shape, np.int16)
        pixels[start : start + len(patches)] = patches.repeat(PATCH, axis=1).repeat(PATCH, axis=2)
    pixels.flush()


def draw_system(folder: Path, manifest: pd.DataFrame, side: int, parts: int) -> None:
    """Write what `split` reads."""
    for name in ("lab", "augmented"):
        (folder / "data" / name).mkdir(parents=True)
    manifest.to_parquet(folder / "data/lab/manifest.parquet", index=False)
    draw_pixels(len(manifest), side, folder / "data/lab/pixels.npy")
    still = {"angle": 0.0, "shift_x": 0.0, "shift_y": 0.0, "flip_horizontal": False, "flip_vertical": False}
    still |= {"gain_red": 1.0, "gain_green": 1.0, "gain_blue": 1.0}
    plan = manifest.drop(columns="name").assign(copy=np.int8(0), **still)
    plan.to_parquet(folder / "data/augmented/plan.parquet", index=False)
    shares = ", ".join(f"{name}: {share}" for name, share in SHARES.items())
    (folder / "params.yaml").write_text(f"seed: {SEED}\nsplit: {{{shares}}}\nassess: {{folds: {parts}}}\n")


def assign_alone(manifest: Path, parts: int) -> None:
    """Assign the folds of a manifest: the part of `split` that does not see pictures."""
    rows = pd.read_parquet(manifest)
    assign_folds(rows, None, None, SplitConfig(**SHARES), parts=parts, seed=SEED)


def show(size: str, pictures: int, what: str, took: Measured) -> None:
    per_thousand = 1000 * took.seconds / pictures
    numbers = f"{took.seconds:10.1f}{took.cpu:10.1f}{per_thousand:18.2f}{took.together:12.0f}"
    print(f"{size:>10}{pictures:10}  {what:12}{numbers}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["100x40", "300xtail", "600x6", "1000x40", "1000x100"])
    parser.add_argument("--parts", type=int, default=5, help="of a cross-validation; 0: none")
    parser.add_argument("--side", type=int, default=32, help="of a picture, in pixels")
    parser.add_argument("--manifest", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.manifest:
        return assign_alone(arguments.manifest, arguments.parts)
    titles = f"{'seconds':>10}{'CPU s':>10}{'s per thousand':>18}{'peak MiB':>12}"
    print(f"{'classes':>10}{'pictures':>10}  {'what':12}{titles}")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder, manifest = Path(temporary), draw_manifest(class_sizes(size))
            draw_system(folder, manifest, arguments.side, arguments.parts)
            alone = [__file__, "--parts", str(arguments.parts), "--manifest", "data/lab/manifest.parquet"]
            for what, command in {"folds alone": alone, "split": ["-m", "lamina.stages.split"]}.items():
                show(size, len(manifest), what, run_measured([sys.executable, *command], folder))
    return None


if __name__ == "__main__":
    main()
