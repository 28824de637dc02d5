"""Write a run's model for other runtimes: ONNX, OpenVINO and LiteRT, each checked against Keras."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.commands.predict import TASK, read_learned
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.maths.color import RgbPixels
from lamina.results.record import Record, system_name

# the packages of the extra `export` that each format needs
NEEDED: Final[Mapping[str, str]] = MappingProxyType(
    {"onnx": "tf2onnx", "openvino": "tf2onnx", "litert": "ai_edge_litert"}
)
FORMATS = tuple(NEEDED)
PICTURES = 32  # of the test fold, to check an export


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--run", dest="name", required=True, metavar="NAME", help="the run or ensemble whose model is written"
    )
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=FORMATS, help="default: all of them")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: exported/NAME in the system's folder")


def run(arguments: Namespace) -> int:
    """Print one line per format: folder, size, and difference from Keras."""
    for line in export(arguments.system, arguments.name, arguments.format, arguments.out):
        print(line)
    return 0


def export(system: Path, name: str, formats: Sequence[str], out: Path | None = None) -> list[str]:
    """Write a run's model in other formats.

    Args:
        system: Folder of the system.
        name: Name of the run.
        formats: Of `FORMATS`.
        out: Each format gets a folder below it; default: `exported/NAME` in the system.

    Returns:
        One line per format, to print.

    Raises:
        UserError: If the run, its model, the test pictures or a package are missing, or an export differs from Keras.
    """
    for wanted in formats:
        if find_spec(NEEDED[wanted]) is None:
            raise UserError(
                f"--format {wanted}: the package {NEEDED[wanted]} is not installed; run `pip install 'lamina[export]'`"
            )
    learned = read_learned(system, name, TASK)
    from lamina.models.exporting import export_model
    from lamina.models.loading import load_model

    model = load_model(learned.model)
    folder = out or system / "exported" / name
    described = about(learned.record, learned.model)
    done = export_model(model, list(dict.fromkeys(formats)), folder, test_pictures(system), described)
    return [
        f"{one.folder}: {one.size / 1e6:.1f} MB, probabilities within {one.difference:.1g} of Keras" for one in done
    ]


def about(record: Record, model: Path) -> dict[str, Any]:
    """Return the description of the run that goes with an export."""
    system = system_name(model.parents[2])
    return {**record.model_dump(include={"run", "key", "classes"}), "system": system, "model": file_digest(model)}


def test_pictures(system: Path) -> RgbPixels:
    """Return some pictures of the test fold, evenly chosen: (n, S, S, 3) uint8."""
    data = system / "data"
    folders = Folders(lab=data / "lab", augmented=data / "augmented", split=data / "split")
    path = folders.split / "manifest.parquet"
    if not path.exists():
        raise UserError(f"{path}: not found; exports are checked on test pictures: run `dvc repro` or `dvc pull`")
    manifest = pd.read_parquet(path)
    test = manifest[manifest["fold"] == "test"]
    chosen = np.unique(np.linspace(0, len(test) - 1, min(PICTURES, len(test))).round().astype(int))
    rows = open_rows(test.iloc[chosen], folders)
    return rows.read(np.arange(len(rows)))
