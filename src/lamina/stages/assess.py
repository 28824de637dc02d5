"""Stage `assess@RUN`: how sure the run's numbers are, from training it again."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.config import read_params, section, validated
from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.maths.crossvalidation import AssessConfig
from lamina.maths.splits import SplitConfig
from lamina.stages import entry
from lamina.tasks.classify.assessment import ClassAssessor, assess
from lamina.tasks.runs import ClassifierRun, PretextRun, read_run, warps_anew
from lamina.tuning.tuned import read_tuned


@dataclass(frozen=True, kw_only=True)
class AssessSummary:
    """What `assessment.json` holds."""

    found: dict[str, Any]

    def __str__(self) -> str:
        repeats, crossed, control = (self.found[name] for name in ("repeats", "crossvalidation", "control"))
        said = []
        if repeats:
            test, count = repeats["test"], len(repeats["seeds"])
            spread = "" if test["deviation"] is None else f" +- {test['deviation']:.3f}"
            said.append(f"{count} with other seeds: test accuracy {test['mean']:.3f}{spread}")
        if crossed:
            low, high = crossed["interval"]
            said.append(f"{len(crossed['folds'])}-fold: accuracy {crossed['accuracy']:.3f} ({low:.3f} to {high:.3f})")
        if control:
            said.append(f"dealt labels: {control['accuracy']:.3f}, by chance {control['chance']:.3f}")
        return "trained again, " + "; ".join(said) if said else "nothing trained again"

    @property
    def alarm(self) -> str | None:
        """A line for where the control did better than chance."""
        control = self.found["control"]
        if control is None or control["passed"]:
            return None
        return (
            f"labels dealt at random were told with accuracy {control['accuracy']:.3f}, where chance is "
            f"{control['chance']:.3f} (p = {control['p']:.2g}): training sees what it is tested with, so no score of "
            "this run can be trusted; look at the leak audit in the report, then at source.origin"
        )


def assess_run(
    assessor: ClassAssessor, config: AssessConfig, out: Path, *, validation: float, seed: int
) -> AssessSummary:
    """Write `assessment.json` and `crossvalidation.parquet` to `out` (docs/files.md)."""
    found, answers = assess(assessor, config, validation=validation, seed=seed)
    with staged(out / "crossvalidation.parquet") as part:
        answers.to_parquet(part, index=False)
    write_json(out / "assessment.json", found)
    return AssessSummary(found=found)


def main() -> None:
    params = read_params(Path())
    name = entry.run_name()
    kind, run = read_run(params, name)
    if isinstance(run, PretextRun):
        raise UserError(f"assess: {name} is a run of kind {kind}; assess the transfer runs that take its weights")
    if not isinstance(run, ClassifierRun):
        raise UserError(
            f"assess: {name} is a run of kind {kind}; `python -m lamina.stages.assess_colors {name}` assesses it"
        )
    config = validated(params.get("assess", {}), "assess", AssessConfig)
    validation = section(params, "split", SplitConfig).validation
    out = Path("models") / name
    assessor = ClassAssessor(
        name=name,
        run=run,
        tuned=read_tuned(out / "tuned.yaml"),
        folders=Folders(),
        memo=Path(".lamina/assess"),
        augment=section(params, "augment", AugmentConfig) if warps_anew(run) else None,
    )
    summary = assess_run(assessor, config, out, validation=validation, seed=run.seed_or(entry.seed(params)))
    print(f"{name}: {summary}")
    if summary.alarm:
        print(f"warning: {name}: {summary.alarm}", file=sys.stderr)


if __name__ == "__main__":
    entry.run(main)
