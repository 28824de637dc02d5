"""Real pictures to the table of docs/networks.md: a system's accuracy with its interval, and its times.

python bench/accuracy.py leukocytes leukocytes.zip [--folder FOLDER] [--rows]

SYSTEM is one of `bench/accuracy/*.yaml`: what differs from the `params.yaml` that `lamina new` writes for SOURCE, with
what the source must hold. The system is made in FOLDER (default: a new one named like it), and `dvc repro` runs in it;
if the folder is there, what is done is not done again. With `--rows` the table is printed from what is there.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

SYSTEMS = Path(__file__).with_suffix("")


def write_params(system: Path, changes: dict[str, Any]) -> None:
    """Write the changes into the system's `params.yaml`: a section's keys are added, named entries replaced."""
    yaml, path = YAML(), system / "params.yaml"
    params = yaml.load(path)
    for section, value in changes.items():
        if section in ("runs", "features", "ensembles", "weights", "assess") or section not in params:
            params[section] = value
        else:
            params[section].update(value)
    yaml.dump(params, path)


def rows(system: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each run and ensemble: cross-validated scores where there are some, or else those of the test."""
    for folder in sorted([*system.glob("models/*/"), *system.glob("ensembles/*/")]):
        crossed = (json.loads((folder / "assessment.json").read_text()) or {}).get("crossvalidation")
        scores = crossed["scores"] if crossed else json.loads((folder / "metrics.json").read_text())["test"]
        times = folder / "timing.json"
        seconds = json.loads(times.read_text())["seconds"]["train"] if times.exists() else None
        low, high = (100 * bound for bound in scores["interval"])
        yield {
            "run": folder.name,
            "accuracy": f"{100 * scores['accuracy']:.2f} %",
            "interval": f"{low:.1f} to {high:.1f}",
            "macro F1": f"{scores['macro_f1']:.3f}",
            "pictures": scores["n"],
            "tested": f"{len(crossed['folds'])}-fold" if crossed else "test fold",
            "seconds of one training": "" if seconds is None else f"{seconds:.0f}",
        }


def main() -> None:
    known = sorted(path.stem for path in SYSTEMS.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=known, metavar="SYSTEM", help=", ".join(known))
    parser.add_argument("source", help="as of lamina new --from")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rows", action="store_true", help="print the table of what is there, and run nothing")
    given = parser.parse_args()
    system = given.folder or Path(given.system)
    if not given.rows:
        if not system.exists():
            subprocess.run(["lamina", "new", system, "--from", given.source], check=True)
        write_params(system, YAML(typ="safe").load((SYSTEMS / f"{given.system}.yaml").read_text()))
        subprocess.run(["dvc", "repro"], cwd=system, check=True)
    print(pd.DataFrame(rows(system)).to_string(index=False))


if __name__ == "__main__":
    main()
