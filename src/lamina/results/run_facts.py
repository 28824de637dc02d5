"""What the gate keeps of each accepted run in addition to its answers, in `baselines/runs.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from lamina.errors import UserError
from lamina.results.assessment import read_assessment
from lamina.results.folders import made_by, results_folder
from lamina.results.result_file import ResultFile, read_result


class RunFacts(ResultFile):
    """What a run was made with, and what other seeds made of it.

    Attributes:
        made_with: The machine and versions that trained it, and the engine of its features, by name.
        repeats: Test scores of trainings with other seeds; empty if there were none.
    """

    made_with: dict[str, Any] = Field(default_factory=dict)
    repeats: list[float] = Field(default_factory=list)


class AllRunFacts(ResultFile):
    """The contents of `baselines/runs.json`."""

    runs: dict[str, RunFacts] = Field(default_factory=dict)


class _Made(ResultFile):
    """What `record.json` and the files of times say about how a run was made."""

    key: str = ""
    environment: dict[str, str] = Field(default_factory=dict)
    input: str = ""
    machine: dict[str, Any] = Field(default_factory=dict)
    engine: str = ""
    precision: str = ""


def facts_path(system: Path) -> Path:
    """Return the file of the accepted runs' facts."""
    return system / "baselines" / "runs.json"


def accepted_facts(system: Path) -> Mapping[str, RunFacts]:
    """Read the facts of the accepted runs by name; empty if they were accepted before lamina kept any.

    Raises:
        UserError: If the file is broken.
    """
    path = facts_path(system)
    try:
        return AllRunFacts.model_validate_json(path.read_bytes()).runs
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "all of it"
        raise UserError(f"{path}: {where}: {problem['msg']}; restore it, or renew it with --accept") from None


def present_facts(system: Path, name: str) -> RunFacts:
    """Read the facts of a run or an ensemble from its folder; what is not there is left out.

    Raises:
        UserError: If a file is broken.
    """
    folder = results_folder(system, name)

    def read(path: Path, stage: str) -> _Made:
        return read_result(path, _Made, stage) if path.exists() else _Made()

    record, training = (read(folder / name, made_by(folder, "train")) for name in ("record.json", "timing.json"))
    features = read(system / "data" / f"{record.input}.timing.json", f"extract@{Path(record.input).name}")
    engine = {"engine": f"{features.engine} {features.precision}"} if features.engine else {}
    assessment = read_assessment(folder, record.key)
    return RunFacts(
        made_with=training.machine | record.environment | engine,
        repeats=assessment.repeats.test.values if assessment.repeats else [],
    )


def made_differently(before: RunFacts, after: RunFacts) -> str:
    """Return in words what two results were made with that is not the same; facts of one alone do not count."""
    old, new = before.made_with, after.made_with
    names = [name for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    return ", ".join(f"{name} {_step(old[name], new[name])}" for name in names)


def _step(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list):
        return " ".join([f"+{one}" for one in new if one not in old] + [f"-{one}" for one in old if one not in new])
    return f"{old} -> {new}"
