"""What a run that gives labels learns: which network, from which examples.

Importing this imports no TensorFlow: a head trains without it (`lamina.training.heads`).
"""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lamina.errors import UserError
from lamina.inputs.features import FeatureExamples
from lamina.inputs.targets import read_label_sets, read_targets
from lamina.maths.label_scores import f1_of_each, find_thresholds, share_interval
from lamina.models.networks import Outputs
from lamina.tasks.metadata_learner import MetadataLearner, with_truth
from lamina.tasks.multilabel.results import joined_labels, label_flags
from lamina.tasks.multilabel.settings import DenseSettings, HeadSettings, LinearSettings
from lamina.tasks.output_learner import HeadLearner, WholeNetworkLearner
from lamina.text import one_line
from lamina.training.learner import Learned, Setup
from lamina.training.settings import GradientNumbers, Recipe

if TYPE_CHECKING:
    from lamina.tasks.multilabel.trainer import LabelTrainer
    from lamina.training.head_steps import Fold
    from lamina.training.objectives import LabelObjective


class LabelLearner(MetadataLearner):
    """A network that gives labels."""

    @property
    def classes(self) -> list[str]:
        return list(self.truth.columns)

    @property
    def outputs(self) -> Outputs:
        return Outputs(units=len(self.truth.columns), activation="sigmoid", name="labels")

    def trainer(self, network: Any, numbers: GradientNumbers, recipe: Recipe, steps: int) -> "LabelTrainer":
        from lamina.tasks.multilabel.trainer import LabelTrainer

        return LabelTrainer(network, numbers, recipe=recipe, steps=steps, ema_decay=self.settings.ema_decay)

    def judge(self, learned: Learned, fold: str) -> pd.DataFrame:
        """Return `labels` and `predicted`, by thresholds that suit the validation fold."""
        found = {name: learned.predict(self.judged_examples(name)) for name in {"validation", fold}}
        truth = {name: self.labels(self.rows(name)) > 0 for name in found}
        thresholds = find_thresholds(found["validation"], truth["validation"])
        named = joined_labels(found[fold] >= thresholds, self.classes)
        return pd.DataFrame({"labels": joined_labels(truth[fold], self.classes), "predicted": named})

    def summarise(self, judged: pd.DataFrame) -> dict[str, Any]:
        each = f1_of_each(*(label_flags(judged[column], self.classes) for column in ("labels", "predicted")))
        interval = share_interval(each, judged["origin"])
        return {
            "n": len(judged),
            "origins": int(judged["origin"].nunique()),
            "f1": float(each.mean()),
            "interval": list(interval) if np.isfinite(interval).all() else None,
        }


class LabelHeadLearner(LabelLearner, HeadLearner):
    """A head that gives labels."""

    @property
    def objective(self) -> "LabelObjective":
        from lamina.training.objectives import LabelObjective

        return LabelObjective()

    def fold(self, examples: FeatureExamples, *, training: bool) -> "Fold":
        from lamina.training.heads import make_fold

        return make_fold(examples.features, examples.labels, examples.labels)


class NetworkLabelLearner(LabelLearner, WholeNetworkLearner):
    """A whole network that gives labels."""


def open_learner(setup: Setup) -> LabelLearner:
    """Open what a run learns; see `lamina.tasks.task.Task.open_learner`.

    Raises:
        UserError: if the metadata do not hold the labels, or no training picture has one of them, or each has it. A
            label that no validation picture has gets a warning.
    """
    settings: Any = setup.settings
    truth = read_label_sets(read_targets(setup.folders, settings.task), settings.targets)
    known = with_truth(setup, truth)
    _demand_every_label(known["manifest"], truth)
    if isinstance(settings, HeadSettings):
        import lamina.training.heads  # noqa: F401  # JAX, before another thread loads TensorFlow

        return LabelHeadLearner(**known)
    if isinstance(settings, DenseSettings | LinearSettings):
        from lamina.tasks.multilabel.words_learning import open_words_learner

        return open_words_learner(known)
    return NetworkLabelLearner(**known)


def _demand_every_label(rows: pd.DataFrame, truth: pd.DataFrame) -> None:
    shares = {fold: truth.loc[rows.loc[rows["fold"] == fold, "id"]].mean() for fold in ("train", "validation")}
    for name, share in shares["train"].items():
        if share in (0, 1):
            which = "every example" if share else "no example"
            raise UserError(
                f"targets: {which} of the fold train has the label {name!r}; add others, or leave the label out"
            )
    for name in shares["validation"].index[shares["validation"] == 0]:
        print(
            one_line(f"warning: no example of the fold validation has the label {name}; its threshold is 0.5"),
            file=sys.stderr,
        )
