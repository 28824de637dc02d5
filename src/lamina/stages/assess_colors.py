"""Stage `assess-colorize@RUN`: how sure a colorizer's numbers are, from training it again."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.config import read_params, section, validated
from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import staged, write_json
from lamina.maths.crossvalidation import AgainConfig, AssessConfig
from lamina.maths.splits import SplitConfig
from lamina.stages import entry
from lamina.tasks.colorize.assessment import ColorAssessor, assess_colors
from lamina.tasks.runs import ColorizeRun, read_run, warps_anew
from lamina.tuning.tuned import read_tuned


@dataclass(frozen=True, kw_only=True)
class ColorAssessSummary:
    """What `assessment.json` holds."""

    found: dict[str, Any]

    def __str__(self) -> str:
        said = []
        if repeats := self.found["repeats"]:
            test, count = repeats["test"], len(repeats["seeds"])
            spread = "" if test["deviation"] is None else f" +- {test['deviation']:.1f}"
            said.append(f"{count} with other seeds: test MSE {test['mean']:.1f}{spread}")
        if crossed := self.found["crossvalidation"]:
            mse = crossed["measures"]["mse"]
            low, high = mse["interval"]
            said.append(
                f"{len(crossed['folds'])}-fold: MSE {mse['value']:.1f} ({low:.1f} to {high:.1f}; "
                f"grey {mse['grey']:.1f}, mean color {mse['mean']:.1f})"
            )
        return "trained again, " + "; ".join(said) if said else "nothing trained again"

    @property
    def doubt(self) -> str | None:
        """A line for where cross-validation may have tested what the weights had seen."""
        crossed = self.found["crossvalidation"]
        if crossed is None or not crossed["starts_from_file"]:
            return None
        return (
            "it starts from weights of another run; where that learned from pictures of this system, cross-validation "
            "tests what the weights have seen, and its MSE is too good"
        )


def assess_run(
    assessor: ColorAssessor, config: AgainConfig, out: Path, *, validation: float, split_seed: int, seed: int
) -> ColorAssessSummary:
    """Write `assessment.json` and `crossvalidation.parquet` to `out` (docs/files.md)."""
    found, answers = assess_colors(assessor, config, validation=validation, split_seed=split_seed, seed=seed)
    with staged(out / "crossvalidation.parquet") as part:
        answers.to_parquet(part, index=False)
    write_json(out / "assessment.json", found)
    return ColorAssessSummary(found=found)


def main() -> None:
    params = read_params(Path())
    name = entry.run_name()
    kind, run = read_run(params, name)
    if not isinstance(run, ColorizeRun):
        raise UserError(f"assess: {name} is a run of kind {kind}; `python -m lamina.stages.assess {name}` assesses it")
    config = validated(params.get("assess", {}), "assess", AssessConfig).colorize
    validation = section(params, "split", SplitConfig).validation
    out, split_seed = Path("models") / name, entry.seed(params)
    assessor = ColorAssessor(
        name=name,
        run=run,
        tuned=read_tuned(out / "tuned.yaml"),
        folders=Folders(),
        memo=Path(".lamina/assess"),
        augment=section(params, "augment", AugmentConfig) if warps_anew(run) else None,
    )
    seed = run.seed_or(split_seed)
    summary = assess_run(assessor, config, out, validation=validation, split_seed=split_seed, seed=seed)
    print(f"{name}: {summary}")
    if summary.doubt:
        print(f"warning: {name}: {summary.doubt}", file=sys.stderr)


if __name__ == "__main__":
    entry.run(main)
