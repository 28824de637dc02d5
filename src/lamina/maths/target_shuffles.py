"""A negative control of runs that learn labels or numbers: their targets are shuffled between whole origins."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lamina.errors import UserError
from lamina.maths.control import SHUFFLES, TRIES, against_chance

ROUNDING: Final = 1e-12  # as a share of the measure, which may have any unit

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class TargetShuffler:
    """Gives each origin the targets of another origin of its fold.

    The different targets of an origin move together, in a random order that forgets which row had which: its first
    target is replaced with the first one of the other origin, and so on, from the start again where that has fewer.
    So what recognizes an origin, or a row with the same target, from training is found, and nothing else predicts. An
    exchange inside the folds leaves each fold what it had to learn or to test.

    Attributes:
        origin: (rows,) number of each row's origin.
        place: (rows,) number of a row's target among the different targets of its origin.
        first, count: (origins,) where the targets of an origin begin in `targets`, and how many it has.
        targets: rows, one for each different target of each origin.
        folds: the origins of each fold.
    """

    origin: Places
    place: Places
    first: Places
    count: Places
    targets: Places
    folds: tuple[Places, ...]

    def draw(self, random: np.random.Generator) -> Places:
        """Return for each row the row whose target it gets."""
        other = np.arange(len(self.count))
        for origins in self.folds:
            other[origins] = random.permutation(origins)
        given = other[self.origin]
        return self.targets[self.first[given] + self.place % self.count[given]]

    def only(self, rows: Places) -> "TargetShuffler":
        """Return what draws for some rows alone, from all origins of their folds."""
        origin = self.origin[rows]
        needed = tuple(fold for fold in self.folds if np.isin(origin, fold).any())
        return replace(self, origin=origin, place=self.place[rows], folds=needed)


def open_shuffler(
    origin: npt.ArrayLike, fold: npt.ArrayLike, target: npt.NDArray[np.float64], random: np.random.Generator
) -> TargetShuffler:
    """Return what shuffles targets.

    Args:
        origin: (rows,) names; where rows of one origin lie in several folds, which is a mistake, the first one counts.
        fold: (rows,) names.
        target: (rows, columns) without missing values.
        random: of the order of the targets of an origin.
    """
    example, number = np.unique(np.asarray(origin), return_index=True, return_inverse=True)[1:]
    kinds = np.unique(target, axis=0, return_inverse=True)[1].reshape(-1)
    row, unit = np.unique(number * len(target) + kinds, return_index=True, return_inverse=True)[1:]  # origin and target
    of_unit = number[row]
    order = np.lexsort((random.random(len(row)), of_unit))
    count = np.bincount(of_unit)
    first = np.cumsum(count) - count
    rank = np.empty(len(row), np.intp)
    rank[order] = np.arange(len(row)) - first[of_unit[order]]
    of_origin = np.asarray(fold)[example]
    folds = tuple(np.flatnonzero(of_origin == name) for name in np.unique(of_origin))
    return TargetShuffler(origin=number, place=rank[unit], first=first, count=count, targets=row[order], folds=folds)


def shuffle_targets(
    origin: npt.ArrayLike, fold: npt.ArrayLike, target: npt.NDArray[np.float64], seed: int
) -> tuple[TargetShuffler, Places]:
    """Shuffle targets so that there is nothing to learn, while no column is the same in all rows of the fold `train`.

    Args:
        origin, fold, target: see `open_shuffler`.
        seed: of the shuffle.

    Returns:
        What draws other shuffles, and for each row the row whose target it gets.

    Raises:
        UserError: if a column is the same in all training rows after each of `TRIES` shuffles.
    """
    random, train = np.random.default_rng(seed), np.asarray(fold) == "train"
    for _ in range(TRIES):
        shuffler = open_shuffler(origin, fold, target, random)
        source = shuffler.draw(random)
        learned = target[source][train]
        if (learned != learned[:1]).any(axis=0).all():
            return shuffler, source
    raise UserError(
        f"assess.control: after each of {TRIES} shuffles a target is the same in every training example, because few "
        "origins have another; add origins, leave the label out, or set control: false for this run"
    )


def target_test(
    value: float,
    score: Callable[[Places], float],
    shuffler: TargetShuffler,
    *,
    higher_is_better: bool,
    seed: int,
) -> dict[str, Any]:
    """Test whether predictions of shuffled targets are better than chance.

    The test is exact except for the limited number of random shuffles: chance has drawn the shuffled targets among
    those that are drawn here.

    Args:
        value: the measure of the predictions against the targets that the test rows had in training.
        score: the measure against the targets of other rows, one for each test row.
        shuffler: of the test rows.
        higher_is_better: False for errors.
        seed: of the run; the shuffles are others than those of `shuffle_targets`.

    Returns:
        `chance`, the mean of the measure over the shuffles; `interval`, `p` and `passed` as `chance_test`.
    """
    random, sign = np.random.default_rng([seed, 1]), 1 if higher_is_better else -1
    # as many as for classes: one costs less than a millisecond, and a thousand would just reach p = LEVEL
    shuffled = np.array([score(shuffler.draw(random)) for _ in range(SHUFFLES)])
    rounding = ROUNDING * abs(value)
    return {"chance": float(shuffled.mean())} | against_chance(shuffled, value, rounding=rounding, sign=sign)
