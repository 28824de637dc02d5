"""What a run learns whose true answers are columns of `source.metadata`."""

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd

from lamina.errors import UserError
from lamina.files import json_digest
from lamina.inputs.targets import targets_digest
from lamina.tasks.output_learner import OutputLearner
from lamina.text import one_line
from lamina.training.learner import Setup

FOLDS: Final = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class MetadataLearner(OutputLearner):
    """A network that learns columns of the metadata.

    Attributes:
        settings: of the class of the task and the input.
        truth: true answers by id, a column each.
    """

    uses_parts = True

    settings: Any
    truth: pd.DataFrame

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the input, the split and the true answers."""
        return json_digest([super().digest, targets_digest(self.truth)])

    def labels(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the true answers of rows, (rows, columns) float32."""
        return self.truth.loc[rows["id"]].to_numpy(np.float32)

    def places(self, fold: str) -> np.ndarray:
        """Return the places of a fold's rows in the split, of which the manifest may lack some."""
        return self.rows(fold)["place"].to_numpy()


def with_truth(setup: Setup, truth: pd.DataFrame) -> dict[str, Any]:
    """Return the fields of a `MetadataLearner`: the setup with the rows whose true answers are known.

    The manifest has another column, `place`: that of a row in the split. How many examples are not used is printed.

    Raises:
        UserError: if no picture of a fold is left, also of the test fold, so that it does not fail after the training.
    """
    manifest = setup.manifest.assign(place=np.arange(len(setup.manifest)))
    known = manifest["id"].isin(truth.index)
    left_out = manifest.loc[~known, "id"].nunique()
    if left_out:
        of = manifest["id"].nunique()
        print(one_line(f"note: {left_out} of {of} examples have no answer in source.metadata"), file=sys.stderr)
    rows = manifest[known]
    for fold in FOLDS:
        if (manifest["fold"] == fold).any() and not (rows["fold"] == fold).any():
            raise UserError(
                f"source.metadata: no example of the fold {fold} has an answer; complete the table, or correct its "
                "column file"
            )
    return vars(setup) | {"manifest": rows, "truth": truth}
