"""Answers with their doubt, as `lamina predict` gives them: sets of any coverage, and decisions by cost or recall."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lamina.errors import UserError
from lamina.maths.conformal import limit, origins_needed, prediction_sets, set_limits
from lamina.maths.scores import accuracy_interval
from lamina.results.folders import made_by
from lamina.results.record import Record
from lamina.results.result_file import read_table
from lamina.results.uncertainty import FOLDER, VALIDATION, Limit, find_judge, finite
from lamina.tasks.answers import Answers
from lamina.tasks.classify.results import PREDICTED
from lamina.tasks.classify.uncertainty import columns
from lamina.tasks.columns import probability
from lamina.tasks.wish import Wish
from lamina.text import printable


def open_answers(folder: Path, record: Record, wish: Wish) -> "ClassAnswers":
    """Open what turns a run's outputs into answers; see `ClassAnswers`."""
    return ClassAnswers(folder, record, wish)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The class and the probabilities of all, and how far they can be trusted; or why there is none.

    Attributes:
        scaled: calibrated probabilities.
        set: the classes that hold the true one with the coverage.
        distance, outlier: from the training pictures, and whether it is beyond the limit.

    These are None where the run's evaluation does not say them.
    """

    path: str
    predicted: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    scaled: dict[str, float] | None = None
    set: list[str] | None = None
    distance: float | None = None
    outlier: bool | None = None


class ClassAnswers(Answers):
    """Turns the probabilities of a run's model into answers.

    Args:
        folder: of the run or ensemble, which holds `uncertainty/`.
        record: of the run.
        wish: what is wanted.

    Attributes:
        classes: of the model.

    Raises:
        UserError: if the wish cannot be met: the run was not evaluated since it was trained, there are more than two
            classes, or too few origins in the validation fold.
    """

    prediction = Prediction

    def __init__(self, folder: Path, record: Record, wish: Wish) -> None:
        self._folder, self.classes, self._wish = folder, record.classes, wish
        self._stage = made_by(folder, "evaluate")
        self.judge = find_judge(folder, record.key)
        self.notes = []
        if self.judge is None:
            if not wish.is_plain:
                raise UserError(
                    f"{folder / FOLDER}: not measured since the training; run `dvc repro {self._stage}` for them"
                )
            return
        self._limits = self._wanted_limits()
        self._threshold = self._wanted_threshold()
        self._note_limits()

    @property
    def needs_features(self) -> bool:
        """Whether `given` needs distances."""
        return self.judge is not None and self.judge.known.neighborhood is not None

    @property
    def known(self) -> tuple[str, ...]:
        """What `given` says in addition to `predicted` and `probabilities`."""
        judged = ("scaled", "set") if self.judge else ()
        return (*judged, "distance", "outlier") if self.needs_features else judged

    def given(self, outputs: np.ndarray, distance: np.ndarray | None) -> list[dict[str, Any]]:
        """Return the answer for each row: `predicted`, `probabilities`, and, if they are known, `scaled` probabilities,
        `set`, `distance` and `outlier`.

        Args:
            outputs: (n, classes) probabilities of the model.
            distance: (n,) of the judge; None for texts.
        """
        probabilities = outputs
        rows = [dict(zip(self.classes, map(float, row), strict=True)) for row in probabilities]
        found: list[dict[str, Any]] = [
            {"predicted": max(row, key=row.__getitem__), "probabilities": row} for row in rows
        ]
        if self.judge is None:
            return found
        known, sets = self.judge.known, prediction_sets(probabilities, finite(self._limits))
        for row, scaled, held in zip(found, known.scaled(probabilities), sets, strict=True):
            row["scaled"] = dict(zip(self.classes, map(float, scaled), strict=True))
            row["set"] = [name for name, inside in zip(self.classes, held, strict=True) if inside]
        if self._threshold:
            name, most = self._threshold
            for row, is_it in zip(found, self._decided(probabilities, name, most), strict=True):
                row["predicted"] = name if is_it else self._other(name)
        if known.neighborhood and distance is not None:
            for row, far in zip(found, distance, strict=True):
                row |= {"distance": float(far), "outlier": bool(far > known.neighborhood.limit)}
        return found

    def cells(self, one: Prediction) -> dict[str, object]:
        """Return `path`, `predicted`, `p:CLASS` of each class; of what is known `scaled:CLASS`, `set:CLASS` (1 or 0),
        `distance` and `outlier` (1 or 0); `error`."""
        row: dict[str, object] = {"path": one.path, "predicted": one.predicted}
        row |= {probability(which): one.probabilities.get(which) for which in self.classes}
        for name in self.known:
            value = getattr(one, name)
            if name == "scaled":
                row |= {f"scaled:{which}": value and value[which] for which in self.classes}
            elif name == "set":
                row |= {f"set:{which}": None if value is None else int(which in value) for which in self.classes}
            else:
                row[name] = int(value) if isinstance(value, bool) else value
        return row | {"error": one.error}

    def in_words(self, one: Prediction) -> str:
        ordered = sorted(one.probabilities.items(), key=lambda item: -item[1])
        shown = [printable(one.predicted), *(f"{printable(name)} {share:.3f}" for name, share in ordered)]
        if one.scaled and one.set is not None and one.predicted:
            shown += [f"scaled {one.scaled[one.predicted]:.3f}", f"set {{{', '.join(map(printable, one.set))}}}"]
        return "  ".join([*shown, *(["out of distribution"] if one.outlier else [])])

    @cached_property
    def _validation(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Probabilities, numbers of labels, and origins."""
        return columns(self._read(f"{FOLDER}/{VALIDATION}"), self.classes)

    def _read(self, name: str) -> pd.DataFrame:
        wanted = (*PREDICTED, *map(probability, self.classes))
        return read_table(self._folder / name, wanted, self._stage)

    def _wanted_limits(self) -> dict[str, Limit]:
        assert self.judge
        known, wish = self.judge.known, self._wish
        limits = known.limits_by_class if wish.by_class else known.limits
        if wish.coverage in (None, known.coverage):
            return dict(limits)
        values = set_limits(*self._validation, wish.coverage, by_class=wish.by_class)
        return {
            name: Limit(value=float(value) if np.isfinite(value) else None, origins=limits[name].origins)
            for name, value in zip(self.classes, values, strict=True)
        }

    def _note_limits(self) -> None:
        assert self.judge
        coverage = self._wish.coverage or self.judge.known.coverage
        needed, few = origins_needed(coverage), {name: one for name, one in self._limits.items() if one.value is None}
        if few and not self._wish.by_class:
            have = next(iter(few.values())).origins
            self.notes.append(
                f"a coverage of {coverage:.0%} needs {needed} origins in the validation fold, which has {have}: every "
                "set holds all classes"
            )
        elif few:
            counts = ", ".join(f"{name} {one.origins}" for name, one in few.items())
            self.notes.append(
                f"a coverage of {coverage:.0%} by class needs {needed} origins of each in the validation fold "
                f"({counts}): these classes are in every set"
            )

    def _wanted_threshold(self) -> tuple[str, float] | None:
        """Return a class and the limit of 1 - its probability up to which it is named; None: the most probable one."""
        wish = self._wish
        if wish.recall is None and wish.cost is None:
            return None
        name = (wish.recall or wish.cost or ("", 0))[0]
        if len(self.classes) != 2 or name not in self.classes:
            raise UserError(
                f"--recall and --cost choose between two classes and name one of them; {self._folder.name} knows "
                f"{', '.join(self.classes)}, got {name}"
            )
        most = self._for_recall(*wish.recall) if wish.recall else self._for_cost(wish.cost[1] if wish.cost else 1)
        self.notes.append(f"{name} from a probability of {1 - most:.3g} on; {self._on_test(name, most)}")
        return name, most

    def _for_recall(self, name: str, recall: float) -> float:
        """The Mondrian limit of the class: a picture of a new origin is found with at least this probability."""
        shares, truth, origin = self._validation
        place = self.classes.index(name)
        rows = truth == place
        found = limit(1 - shares[rows, place], origin[rows], recall)
        if not np.isfinite(found):
            raise UserError(
                f"--recall {name}={recall:g} needs {origins_needed(recall)} origins of {name} in the validation fold, "
                f"which has {len(set(origin[rows]))}; ask for less, or enlarge split.validation"
            )
        return found

    def _for_cost(self, cost: float) -> float:
        """That of the probability whose scaled value is 1 / (1 + cost): C. Elkan, IJCAI 2001, equation 2."""
        assert self.judge
        odds = (1 / cost) ** self.judge.known.temperature  # scaling raises odds to the power of 1 / T
        return float(1 / (1 + odds))

    def _on_test(self, name: str, most: float) -> str:
        shares, truth, origin = columns(self._read("predictions.parquet"), self.classes)
        named, is_it = self._decided(shares, name, most), truth == self.classes.index(name)
        parts = {"recall": (named, is_it), "precision": (is_it, named), "accuracy": (named == is_it, is_it | True)}
        shown = [f"{what} {_rate(right[rows], origin[rows])}" for what, (right, rows) in parts.items()]
        return f"on the test fold: {', '.join(shown)}"

    def _decided(self, probabilities: np.ndarray, name: str, most: float) -> np.ndarray:
        share: np.ndarray = probabilities[:, self.classes.index(name)].astype(np.float64)
        return np.asarray(1 - share <= most)

    def _other(self, name: str) -> str:
        return next(other for other in self.classes if other != name)


def _rate(right: np.ndarray, origin: np.ndarray) -> str:
    if not len(right):
        return "unknown"
    low, high = accuracy_interval(right, origin)
    return f"{right.mean():.1%} ({100 * low:.1f} to {100 * high:.1f})"
