"""`record.json`: what a run was configured with and what it stood on, without a clock."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from lamina import __version__
from lamina.files import json_digest
from lamina.installation import home, is_checkout
from lamina.results.folders import made_by
from lamina.results.result_file import ResultFile, read_result


class Record(ResultFile):
    """The record of a run, or of an ensemble.

    Attributes:
        run, task, input: of the run; settings: all of its settings; numbers: those it trained with, given or tuned.
        seed: of weights, order of batches and dropout; None for an ensemble, which draws nothing.
        classes: sorted; empty where the task has none. width: side of the pictures in pixels, or number of features.
        data: `digest` of input and split, `rows` by fold, and facts of the training data.
        environment: versions of Python and packages; code: digest of the code that decides the training.
        members: of an ensemble, the key of each run that it averages, by name; empty for a run.
        key: digest of all of the above: the run's identity, known before training starts.
        parameters: of the saved model; None before training ends. commit: of git, if any; lamina: version.
    """

    run: str
    task: str
    input: str
    settings: dict[str, Any]
    numbers: dict[str, float]
    seed: int | None
    classes: list[str]
    width: int
    data: dict[str, Any]
    environment: dict[str, str]
    code: str
    members: dict[str, str] = Field(default_factory=dict)
    key: str
    parameters: int | None = None
    commit: str | None = None
    lamina: str = __version__


class Timing(ResultFile):
    """`timing.json`: what the phases of a stage took, in seconds, and the machine. No other file holds a clock."""

    seconds: dict[str, float]
    machine: dict[str, Any] = Field(default_factory=dict)


def make_record(decides: dict[str, Any], weights: str, system: Path) -> Record:
    """Make the record of a run before it trains.

    Args:
        decides: the fields of `Record` up to `code`.
        weights: identity of the initial weights, which counts instead of their path.
        system: the system's folder.
    """
    settings = decides["settings"] | {"weights": weights}
    return Record(**decides, key=json_digest(decides | {"settings": settings}), commit=commit(system))


def ensemble_record(decides: dict[str, Any], system: Path) -> Record:
    """Make the record of an ensemble; decides: the fields of `Record` up to `members`."""
    return Record(**decides, key=json_digest(decides), commit=commit(system))


def read_record(folder: Path) -> Record:
    """Read the record in the folder of a run or an ensemble; raises UserError where it is missing or broken."""
    return read_result(folder / "record.json", Record, made_by(folder, "train"))


def note_convention(weights: str, preprocess: str) -> None:
    """Print a note where weights were trained with another `preprocess`, as the record next to them says."""
    try:
        settings = json.loads(Path(weights).with_name("record.json").read_text(encoding="utf-8"))["settings"]
        trained_with = settings.get("preprocess", "native")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    if trained_with != preprocess:
        print(f"note: {weights} was trained with preprocess: {trained_with}; here it is {preprocess}", file=sys.stderr)


def system_name(folder: Path) -> str:
    """Return the name of a system: its folder's, or `default` at the root of lamina's own checkout."""
    return "default" if is_checkout(home(folder)) else home(folder).name


def commit(folder: Path) -> str | None:
    """Return the git commit that is checked out in a folder; None where git or a commit is missing."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
