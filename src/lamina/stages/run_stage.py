"""What the stages of a run share: the run that was named, its folders, seed and sections of `params.yaml`."""

from dataclasses import dataclass, replace
from pathlib import Path

from lamina.config import Params, read_params, section
from lamina.data.augmentation import AugmentConfig
from lamina.data.rows import Folders
from lamina.inputs.index import read_split
from lamina.results.folders import run_folder
from lamina.results.record import Record, make_record
from lamina.stages import entry
from lamina.tasks.runs import Run, read_run
from lamina.training.environment import environment
from lamina.training.learner import Learner, Setup
from lamina.training.settings import Hyperparameters, weights_identity
from lamina.tuning.numbers import read_numbers, read_settings


@dataclass(frozen=True, kw_only=True)
class RunStage:
    """The surroundings of a stage that works on one run.

    Attributes:
        run: the run; params: all of `params.yaml`.
        folders: where the data lie; out: the run's folder.
        seed: of the run; system_seed: of the system.
        augment: section `augment`, where the run draws fresh warps; None elsewhere.
    """

    run: Run
    params: Params
    folders: Folders
    out: Path
    seed: int
    system_seed: int
    augment: AugmentConfig | None

    @property
    def setup(self) -> Setup:
        """What the run's learner is opened with: the split's own folds."""
        settings, folders = self.run.settings, self.folders
        manifest = read_split(folders)
        return Setup(settings=settings, folders=folders, manifest=manifest, seed=self.seed, augment=self.augment)

    def open_learner(self) -> Learner:
        """Open what the run learns."""
        return self.run.task.open_learner(self.setup)

    def tuned(self) -> "RunStage":
        """Return the stage with the settings that the stage `tune` found for the run."""
        settings = read_settings(self.out / "tuned.yaml", self.run.settings)
        return replace(self, run=replace(self.run, settings=settings))

    def numbers(self) -> Hyperparameters:
        """Return the numbers that the stage `tune` wrote."""
        return read_numbers(self.out / "tuned.yaml", self.run.settings)

    def record(self, learner: Learner) -> Record:
        """Return the record of the run's training, before it starts; learner: that of `open_learner`."""
        run = self.run
        rows = {"train": len(learner.train), "validation": len(learner.validation)}
        decides = {
            "run": run.name,
            "task": run.task.name,
            "input": run.settings.input,
            "settings": run.settings.model_dump(mode="json"),
            "numbers": self.numbers().model_dump(),
            "seed": self.seed,
            "classes": learner.classes,
            "width": learner.width,
            "data": {"digest": learner.digest, "rows": rows, **learner.facts},
            "environment": environment(),
            "code": run.task.training_code,
        }
        return make_record(decides, weights_identity(run.settings.weights), Path())


def open_run_stage(name: str, system: Path = Path()) -> RunStage:
    """Open the surroundings of a stage for the run `name`; raises UserError where `params.yaml` is wrong."""
    params = read_params(system)
    run = read_run(params, name)
    system_seed = entry.seed(params)
    return RunStage(
        run=run,
        params=params,
        folders=Folders(),
        out=run_folder(system, name),
        seed=run.settings.seed_or(system_seed),
        system_seed=system_seed,
        augment=section(params, "augment", AugmentConfig) if run.settings.needs_augmentation else None,
    )
