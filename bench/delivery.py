"""What does it cost to add 1 % more pictures to a source, compared with preparing all of it?

python bench/delivery.py [ARCHIVE] [--copies 20] [--size 128]
"""

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path

from preparation import PHOTOS, STAGES, pack, read_pictures
from system import Measured, make_system, run_measured, run_stage

FURTHER = 0.01
WRITTEN = {"download": "data/raw", "filter": "data/filtered", "convert": "data/lab"}

Round = dict[str, Measured]


def add(archive: Path, pictures: list[bytes], count: int) -> None:
    """Add `count` new pictures to an archive, spread over the existing folders."""
    with zipfile.ZipFile(archive, "a") as opened:
        for number in range(count):
            encoded = pictures[number % len(pictures)] + b"new %08d" % number
            opened.writestr(f"{number % 20:03d}/{number:06d}-new.jpg", encoded)


def run_start(system: Path, stage: str) -> Measured:
    """Start a stage's process and end it after its imports."""
    return run_measured([sys.executable, "-c", f"import lamina.stages.{stage}"], system)


def run_copy(system: Path, stage: str) -> Measured:
    """Copy what a stage wrote: a lower bound for writing as many bytes again."""
    return run_measured(["cp", "-r", "--reflink=never", WRITTEN[stage], f"copy-{stage}"], system)


def show(rounds: dict[str, Round]) -> None:
    """Print one line for each round."""
    print(f"{'seconds on the clock (of all cores)':36}" + "".join(f"{stage:>16}" for stage in (*STAGES, "together")))
    for name, took in rounds.items():
        cells = [(one.seconds, one.cpu) for one in took.values()]
        cells.append((sum(seconds for seconds, _ in cells), sum(cpu for _, cpu in cells)))
        print(f"{name:36}" + "".join(f"{f'{seconds:.1f} ({cpu:.1f})':>16}" for seconds, cpu in cells))


def show_share(every: Round, more: Round, starts: Round, copies: Round) -> None:
    """Print the cost of the new pictures relative to all, by CPU; then without starts, then without writing."""

    def together(took: Round) -> float:
        return sum(one.cpu for one in took.values())

    fixed, writing = together(starts), together(copies)
    print(f"the new pictures cost {together(more) / together(every):.0%} of all")
    print(f"  without starts {(together(more) - fixed) / (together(every) - fixed):.0%}", end=", and ")
    print(f"without writing {(together(more) - fixed - writing) / (together(every) - fixed - writing):.0%}")


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
        for stage in STAGES:
            run_start(system, stage)  # the first start compiles the imported modules
        every = {stage: run_stage(system, stage) for stage in STAGES}
        add(archive, pictures, round(FURTHER * total))
        more = {stage: run_stage(system, stage) for stage in STAGES}
        starts = {stage: run_start(system, stage) for stage in STAGES}
        copies = {stage: run_copy(system, stage) for stage in STAGES}
    if sys.dont_write_bytecode:
        print("PYTHONDONTWRITEBYTECODE is set: libraries installed without bytecode are compiled at every start")
    more_name = f"{round(FURTHER * total)} more"
    show({f"all {total} pictures": every, more_name: more, "  of it: starts and imports": starts})
    show({"  copying the output with cp": copies})
    show_share(every, more, starts, copies)


if __name__ == "__main__":
    main()
