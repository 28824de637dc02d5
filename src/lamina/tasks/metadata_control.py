"""The negative control of runs whose true answers are columns of `source.metadata`: trained with shuffled answers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pandas as pd

from lamina.inputs.targets import read_targets
from lamina.maths.target_shuffles import Places, shuffle_targets, target_test
from lamina.results.assessment import TargetControl
from lamina.results.repeats import Retrainer
from lamina.tasks.metadata_learner import MetadataLearner

# from the true answers of all rows, (rows, columns), and judged test rows to their measure, if each has the true answer
# of another row
OpenScore = Callable[[np.ndarray, pd.DataFrame], Callable[[Places], float]]


def control_of_targets(retrainer: Retrainer, open_score: OpenScore, *, higher_is_better: bool) -> TargetControl:
    """Train with targets shuffled between the whole origins of each fold, and test the predictions.

    The shuffled targets lie in a folder of their own while the learner opens and trains; nothing else reads them.
    """
    learner, seed = cast("MetadataLearner", retrainer.learner), retrainer.setup.seed
    rows = _originals(learner.manifest)
    truth = learner.truth.loc[rows["id"]].to_numpy()
    shuffler, source = shuffle_targets(rows["origin"].astype(str), rows["fold"], truth.astype(np.float64), seed)
    with TemporaryDirectory() as folder:
        _write(retrainer, Path(folder), rows["id"], source)
        folders = replace(retrainer.setup.folders, targets=Path(folder))
        judged = retrainer.judged("control with shuffled targets", replace(retrainer.setup, folders=folders))
    test = judged[judged["fold"] == "test"]
    places = pd.Series(np.arange(len(rows)), index=rows["id"]).loc[test["id"]].to_numpy()
    value = retrainer.value(test)
    found: dict[str, Any] = target_test(
        value, open_score(truth, test), shuffler.only(places), higher_is_better=higher_is_better, seed=seed
    )
    return TargetControl(measure=retrainer.measure, value=value, n=len(test), **found)


def _originals(manifest: pd.DataFrame) -> pd.DataFrame:
    """`id`, `origin` and `fold` of each example once, in an order that depends on the ids alone."""
    rows = manifest.sort_values(["id", "copy"], kind="stable").drop_duplicates("id")
    return rows[["id", "origin", "fold"]].reset_index(drop=True)


def _write(retrainer: Retrainer, folder: Path, ids: "pd.Series[str]", source: Places) -> None:
    """Write the table of targets in which each example has the cells of another; those without answers are left out."""
    task = retrainer.setup.settings.task
    cells = read_targets(retrainer.setup.folders, task).loc[list(ids.iloc[source])]
    cells.set_axis(pd.Index(ids, name="id"), axis=0).reset_index().to_parquet(folder / f"{task}.parquet", index=False)
