"""What does it cost to add a hundredth of the pictures to a source? Beside preparing all of it from nothing.

python bench/delivery.py [ARCHIVE] [--copies 20] [--size 128]
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

from preparation import PHOTOS, STAGES, pack, read_pictures
from system import Measured, make_system, run_stage

FURTHER = 0.01


def add(archive: Path, pictures: list[bytes], count: int) -> None:
    """Add `count` new pictures to an archive, spread over the names that are there."""
    with zipfile.ZipFile(archive, "a") as opened:
        for number in range(count):
            encoded = pictures[number % len(pictures)] + b"new %08d" % number
            opened.writestr(f"{number % 20:03d}/{number:06d}-new.jpg", encoded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", type=Path, default=PHOTOS, help="ZIP of photographs")
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    pictures = read_pictures(arguments.archive)
    total = len(pictures) * arguments.copies
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "photos.zip"
        pack(pictures, arguments.copies, archive)
        system = make_system(Path(temporary) / "system", archive, size=arguments.size, labels="none")
        rounds: dict[str, dict[str, Measured]] = {}
        rounds[f"all {total} from nothing"] = {stage: run_stage(system, stage) for stage in STAGES}
        add(archive, pictures, round(FURTHER * total))
        rounds[f"{round(FURTHER * total)} more"] = {stage: run_stage(system, stage) for stage in STAGES}
    print(f"{'seconds on the clock (of all cores)':36}" + "".join(f"{stage:>16}" for stage in (*STAGES, "together")))
    for name, took in rounds.items():
        cells = [(one.seconds, one.cpu) for one in took.values()]
        cells.append((sum(seconds for seconds, _ in cells), sum(cpu for _, cpu in cells)))
        print(f"{name:36}" + "".join(f"{f'{seconds:.1f} ({cpu:.1f})':>16}" for seconds, cpu in cells))


if __name__ == "__main__":
    main()
