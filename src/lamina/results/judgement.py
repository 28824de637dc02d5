"""The gate's rule: is the change of a run's results a regression, or noise?

A run regressed if its loss is surer than chance, larger than the margin, and larger than what other seeds make.

- *Surer than chance*: the paired test over origins is significant. Where so few origins can never be, a loss above the
  tolerance is enough.
- *Larger than the margin*: the error (1 - accuracy, or the MSE) grew by more than a share of it that matters. Another
  processor rounds differently, and a test on many pictures finds differences that nobody can see.
- *Larger than what other seeds make*: the test compares two models, not two ways of training. If the accepted run was
  repeated with at least two other seeds (`assess.repeats`), the new score must lie outside of what one more such
  training may score. If it was not, but the present run was, the accepted score must lie outside of that.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lamina.maths.comparison import prediction_limits
from lamina.results.measure_names import MeasureName
from lamina.results.measures import MEASURES, Change, Measure

ENOUGH: Final = 3  # trainings of one run that show how much seeds make: itself and two repeats
ROUNDING: Final = 1e-9  # a loss of exactly the margin is not more than it


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What counts as a regression.

    Attributes:
        alpha: Level of the paired test, and chance that one more training scores below what other seeds make.
        margins: By which share the error may grow before it matters, by measure.
        tolerance: Loss that is a regression without a test, where origins are too few for one.
    """

    alpha: float = 0.05
    margins: Mapping[MeasureName, float] = field(
        default_factory=lambda: {name: measure.margin for name, measure in MEASURES.items()}
    )
    tolerance: float = 0.1


DEFAULT_RULE: Final = Rule()


def judge(
    change: Change,
    p: float,
    measure: Measure,
    *,
    rule: Rule = DEFAULT_RULE,
    runs: int = 1,
    accepted_repeats: Sequence[float] = (),
    present_repeats: Sequence[float] = (),
) -> tuple[bool, str]:
    """Judge a change.

    Args:
        change: Of a run's results.
        p: Of its test, after correction for the number of runs.
        measure: Of the run.
        rule: What counts as a regression.
        runs: Number of runs that are compared.
        accepted_repeats: Test scores of the accepted run, trained again with other seeds.
        present_repeats: The same of the present run.

    Returns:
        Whether the run regressed, and the verdict in words.
    """
    if change.is_none:
        return False, "kept"
    loss, margin = change.loss, rule.margins[measure.name] * change.error
    shown = f"the margin of {measure.amount(margin)}"
    blind = runs * 2.0 ** (1 - change.origins) > rule.alpha  # the least p, if all origins got worse
    sure, lost = p <= rule.alpha, measure.amount(loss)
    if blind and loss - rule.tolerance > ROUNDING:
        sure, shown = True, f"{measure.amount(rule.tolerance)}; too few origins for a test ({change.origins})"
    if sure and loss - margin > ROUNDING:
        limits = _limits_of_seeds(change, measure, rule.alpha, accepted_repeats, present_repeats)
        return (False, f"kept: {limits}") if limits else (True, f"regressed: {lost} worse, more than {shown}")
    if sure and -loss - margin > ROUNDING:
        return False, "improved"
    if change.interval[1] - margin <= ROUNDING:
        return False, f"kept: within {shown}"
    most = change.interval[1]
    return (
        False,
        f"kept: cannot tell, {f'may be {measure.amount(most)} worse' if math.isfinite(most) else 'one origin'}",
    )


def _limits_of_seeds(
    change: Change, measure: Measure, alpha: float, accepted: Sequence[float], present: Sequence[float]
) -> str:
    """Return between which scores trainings with other seeds lie, in words, if the change lies between them."""
    sign = 1 if measure.higher_is_better else -1
    for own, other, side, repeats in (
        (change.before, change.after, sign, accepted),
        (change.after, change.before, -sign, present),
    ):
        if len(repeats) + 1 >= ENOUGH:
            limits = prediction_limits([own, *repeats], alpha)
            beyond = other < limits[0] if side > 0 else other > limits[1]
            return "" if beyond else f"other seeds score {' to '.join(map(measure.shown, limits))}"
    return ""
