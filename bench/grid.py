"""How long does a comparison of eight backbones with two epoch counts take, from drawing pictures to the report?

python bench/grid.py [--pictures 350] [--copies 10] [--size 128] [--epochs 100 200]
                     [--precision float32] [--backbones NAME ...]

Weights are random, so that nothing has to be downloaded; with trained weights extraction takes as long.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
EIGHT = (
    "densenet121",
    "densenet169",
    "densenet201",
    "inception_v3",
    "resnet50",
    "vgg16",
    "vgg19",
    "xception",
)


def make_system(folder: Path, arguments: argparse.Namespace) -> None:
    """Write the default system with other features and runs, in a DVC project of its own."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params["source"]["pictures"] = arguments.pictures
    params["convert"]["size"] = arguments.size
    params["augment"]["copies"] = arguments.copies
    params["weights"] = {"imagenet": []}
    features = params["features"]["random"] | {"pooling": "avg", "precision": arguments.precision}
    params["features"] = {backbone: features | {"backbone": backbone} for backbone in arguments.backbones}
    head = params["runs"]["random"]
    params["runs"] = {
        f"{backbone}-{epochs}": head | {"input": f"features/{backbone}", "epochs": epochs}
        for backbone in arguments.backbones
        for epochs in arguments.epochs
    }
    params["assess"] = {"repeats": 0, "folds": 0, "control": False}  # no repeated trainings
    YAML().dump(params, folder / "params.yaml")
    (folder / "dvc.yaml").symlink_to(ROOT / "dvc.yaml")
    (folder / "baselines").mkdir()
    (folder / "baselines" / "data.json").write_text("{}")
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], cwd=folder, check=True)


def reproduce(folder: Path) -> dict[str, float]:
    """Run `dvc repro`; return the seconds of each kind of stage, from the times at which DVC announces them."""
    command = ["dvc", "repro"]
    announced: list[tuple[float, str]] = []
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if found := re.match(r"Running stage '([\w-]+)", line):
                announced.append((time.perf_counter(), found[1]))
                print(f"{announced[-1][0] - announced[0][0]:8.1f} s  {line.strip()}", file=sys.stderr)
    if process.returncode:
        raise SystemExit("".join(lines[-40:]))
    ends = [when for when, _ in announced[1:]] + [time.perf_counter()]
    seconds: dict[str, float] = {}
    for (start, stage), end in zip(announced, ends, strict=True):
        seconds[stage] = seconds.get(stage, 0.0) + end - start
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=350)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, nargs="+", default=[100, 200])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--backbones", nargs="+", default=EIGHT, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        make_system(Path(temporary), arguments)
        seconds = reproduce(Path(temporary))
    backbones, epochs = len(arguments.backbones), len(arguments.epochs)
    print(f"{backbones * epochs} runs of {backbones} backbones, seconds by stage")
    for stage, took in seconds.items():
        print(f"{stage:12}{took:8.1f}")
    print(f"{'together':12}{sum(seconds.values()):8.1f}")


if __name__ == "__main__":
    main()
