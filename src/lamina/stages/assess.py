"""Stage `assess@RUN`: how sure the run's scores are, from training it again."""

import sys
from dataclasses import dataclass
from pathlib import Path

from lamina.config import named, validated
from lamina.errors import UserError
from lamina.files import staged
from lamina.maths.crossvalidation import AgainConfig, AssessConfig
from lamina.maths.splits import SplitConfig
from lamina.results.assessment import Assessment
from lamina.results.repeats import NOT_JUDGED, Retrainer, assess
from lamina.stages import entry
from lamina.stages.run_stage import RunStage, open_run_stage
from lamina.tasks.controls import find_control
from lamina.tasks.registry import TASKS

CACHE = Path(".lamina/assess")


@dataclass(frozen=True, kw_only=True)
class AssessSummary:
    """What was found; measure: of the run."""

    found: Assessment
    measure: str

    def __str__(self) -> str:
        lines = []
        if repeats := self.found.repeats:
            spread = "" if repeats.test.deviation is None else f" +- {repeats.test.deviation:.3g}"
            lines.append(f"{len(repeats.seeds)} with other seeds: test {self.measure} {repeats.test.mean:.3g}{spread}")
        if crossed := self.found.crossvalidation:
            lines.append(f"{len(crossed.folds)}-fold: {self.measure} {crossed.scores[self.measure]:.3g}")
        if control := self.found.control:
            lines.append(
                f"{control.shuffled}: {control.shown(control.value)}, by chance {control.shown(control.chance)}"
            )
        return "trained again, " + "; ".join(lines) if lines else "nothing trained again"

    @property
    def warnings(self) -> list[str]:
        """One line for each reason to doubt the scores."""
        found = []
        control, crossed = self.found.control, self.found.crossvalidation
        if control and not control.passed:
            found.append(
                f"{control.shuffled} were predicted with {control.measure} {control.shown(control.value)}, where "
                f"chance is {control.shown(control.chance)} (p = {control.p:.2g}): training sees what it is tested "
                "with, so no score of this run can be trusted; look at the leak audit in the report, then at "
                "source.origin"
            )
        if crossed and crossed.starts_from_file:
            found.append(
                "it starts from weights of another run; if that learned from pictures of this system, cross-validation "
                "tests what the weights have seen, and its scores are too good"
            )
        return found


def assess_run(stage: RunStage, config: AgainConfig, *, validation: float, cache: Path = CACHE) -> AssessSummary:
    """Write `assessment.json` and `crossvalidation.parquet` to the run's folder (docs/files.md)."""
    stage = stage.tuned()
    run, numbers = stage.run, stage.numbers()
    found, judged = Assessment(), NOT_JUDGED
    if config.repeats or config.folds or config.control:  # else nothing is read
        retrainer = Retrainer(
            name=run.name,
            setup=stage.setup,
            numbers=numbers,
            measure=run.task.measure,
            code=run.task.training_code,
            open_learner=run.task.open_learner,
            cache=cache,
            control=find_control(run.task),
        )
        found, judged = assess(retrainer, config, validation=validation, split_seed=stage.system_seed)
        found = found.model_copy(update={"key": stage.record(retrainer.learner).key})
    with staged(stage.out / "crossvalidation.parquet") as part:
        judged.to_parquet(part, index=False)
    found.write(stage.out / "assessment.json")
    return AssessSummary(found=found, measure=run.task.measure)


def read_config(params: dict[str, object]) -> AssessConfig:
    """Read the section `assess`; raises UserError for a key that is neither known nor the name of a run or task."""
    config = validated(params.get("assess") or {}, "assess", AssessConfig)
    for name in config.model_extra or {}:
        names = [*TASKS, *named(params, "runs")]
        if name not in names:
            known = ", ".join([*AgainConfig.model_fields, *names])
            raise UserError(f"params.yaml: assess: unknown key {name!r}; known: {known}")
    return config


def main() -> None:
    stage = open_run_stage(entry.run_name())
    config = read_config(stage.params).of(stage.run.name, stage.run.task.name)
    validation = validated(stage.params.get("split"), "split", SplitConfig).validation
    summary = assess_run(stage, config, validation=validation)
    print(f"{stage.run.name}: {summary}")
    for line in summary.warnings:
        print(f"warning: {stage.run.name}: {line}", file=sys.stderr)


if __name__ == "__main__":
    entry.run_stage(main)
