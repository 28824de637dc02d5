"""Statistics of a delivery of pictures, and how far it has drifted from the accepted delivery.

`DataProfile` stores quantiles and counts only: no pictures and no names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import from_json

from lamina.config import Config
from lamina.data.sources.members import some
from lamina.errors import UserError
from lamina.maths.drift import (
    STEPS,
    kolmogorov,
    kolmogorov_noise,
    may_miss,
    quantiles,
    share_noise,
    total_variation,
    total_variation_noise,
)
from lamina.text import printable

PictureQuantity = Literal["brightness", "contrast", "color a", "color b", "chroma", "size", "aspect"]
TextQuantity = Literal["words", "characters", "not ASCII"]
Quantity = Literal[PictureQuantity, TextQuantity]
QUANTITIES: Final[tuple[PictureQuantity, ...]] = get_args(PictureQuantity)
TEXT_QUANTITIES: Final[tuple[TextQuantity, ...]] = get_args(TextQuantity)
_DIGITS: Final[Mapping[Quantity, int]] = dict(
    zip((*QUANTITIES, *TEXT_QUANTITIES), (2, 2, 2, 2, 2, 1, 3, 0, 0, 4), strict=True)
)

Values = Mapping[Quantity, npt.NDArray[np.float64]]


class ValidateConfig(Config):
    """Section `validate` of params.yaml.

    Attributes:
        drift: Share of the pictures, 0 to 1, that may change in addition to what chance explains.
    """

    drift: float = Field(default=0.2, ge=0, le=1)


def _ascending(values: list[float]) -> list[float]:
    if values != sorted(values):
        raise ValueError("expected numbers in ascending order")
    return values


Count = Annotated[int, Field(ge=0)]
Quantiles = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]],
    Field(min_length=STEPS + 1, max_length=STEPS + 1),
    AfterValidator(_ascending),
]


class Sample(Config):
    """Size of a set of pictures.

    Attributes:
        pictures: Number of pictures.
        independent: Effective sample size: as many independent pictures they are worth at least.
    """

    pictures: int = Field(ge=1)
    independent: float = Field(ge=1, allow_inf_nan=False)


class DataProfile(Config):
    """Statistics of a delivery.

    Attributes:
        delivered: Pictures before the filter.
        kept: Pictures after the filter.
        quantiles: 0, 5, ..., 100 % of each quantity over the kept pictures.
        classes: Pictures per class; empty without labels.
        rejected: Pictures per reason.
    """

    delivered: Sample
    kept: Sample
    quantiles: dict[Quantity, Quantiles]
    classes: dict[str, Count]
    rejected: dict[str, Count]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A measured delivery.

    Attributes:
        profile: Its statistics.
        values: The rounded values of the kept pictures, (n,) per quantity.
    """

    profile: DataProfile
    values: Values


def measure(
    values: Values, *, delivered: Sample, kept: Sample, classes: Mapping[str, int], rejected: Mapping[str, int]
) -> Delivery:
    """Compute the profile of a delivery.

    Args:
        values: Measured values of the kept pictures or texts, (n,) per quantity.
        delivered: See `DataProfile`, as for all others.
        kept: What the filter kept.
        classes: Pictures per class.
        rejected: Pictures per reason.
    """
    rounded: Values = {quantity: np.round(values[quantity], _DIGITS[quantity]) for quantity in values}
    profile = DataProfile(
        delivered=delivered,
        kept=kept,
        quantiles={quantity: quantiles(rounded[quantity]) for quantity in rounded},
        classes=dict(classes),
        rejected=dict(rejected),
    )
    return Delivery(profile=profile, values=rounded)


def read_profile(path: Path, *, remedy: str) -> DataProfile | None:
    """Read a profile.

    Args:
        path: A JSON file.
        remedy: What the user can do; ends every error message.

    Returns:
        The profile, or None if the file holds `{}`: nothing was accepted yet.

    Raises:
        UserError: If the file is missing or holds something else.
    """
    try:
        content = path.read_bytes()
        return None if from_json(content) == {} else DataProfile.model_validate_json(content)
    except FileNotFoundError:
        raise UserError(f"no {path}; {remedy}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(key) for key in problem["loc"] if key != "[key]") or "the whole file"
        raise UserError(f"{path}: not a profile of data: {where}: {problem['msg']}; {remedy}") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); {remedy}") from None


@dataclass(frozen=True, kw_only=True)
class Movement:
    """How far one quantity has drifted.

    Attributes:
        quantity: Its name.
        accepted: Its accepted value, as text.
        now: Its present value, as text.
        moved: Share of the pictures, 0 to 1, that changed.
        bound: Largest allowed share, 0 to 1.
    """

    quantity: str
    accepted: str
    now: str
    moved: float
    bound: float

    @property
    def too_far(self) -> bool:
        """Whether `moved` exceeds `bound`."""
        return self.moved > self.bound

    def __str__(self) -> str:
        change = f"{printable(self.accepted)} accepted, {printable(self.now)} now"  # of classes with their names
        return f"{self.quantity} by {100 * self.moved:.0f} % of the data ({change}; bound {100 * self.bound:.0f} %)"


def movements(accepted: DataProfile, delivery: Delivery, drift: float) -> list[Movement]:
    """Compare a delivery with the accepted one.

    Quantities show their medians (`_shown`), classes the class whose share changed most. Classes are compared only if
    both deliveries have labels. A class that is gone, which chance does not explain, is too far unless `drift` is 1; a
    reason that one delivery lacks counts as 0.

    Args:
        accepted: The accepted profile.
        delivery: The new delivery.
        drift: Share of the pictures that may change; each bound adds the noise that chance explains.

    Returns:
        A row per quantity, one for the classes, and one per reason of rejection.
    """
    rows = _quantities(accepted, delivery, drift)
    if accepted.classes and delivery.profile.classes:
        rows.append(_classes(accepted, delivery.profile, drift))
    return rows + _rejected(accepted, delivery.profile, drift)


def _quantities(accepted: DataProfile, delivery: Delivery, drift: float) -> list[Movement]:
    bound = drift + kolmogorov_noise(accepted.kept.independent, delivery.profile.kept.independent)
    return [
        _movement(
            quantity,
            *_shown(accepted.quantiles[quantity], delivery.profile.quantiles[quantity]),
            kolmogorov(accepted.quantiles[quantity], delivery.values[quantity]),
            bound,
        )
        for quantity in delivery.values
        if quantity in accepted.quantiles
    ]


def _shown(accepted: Sequence[float], now: Sequence[float]) -> tuple[str, str]:
    """Return two lists of quantiles as text: their medians, or the first ranges that differ where medians are the same.

    Of pictures of which half have another size, the medians may be the same. The ranges are those of the middle 90 %,
    and of all.
    """
    medians, *ranges = (
        (_in_words(accepted, places), _in_words(now, places)) for places in ([STEPS // 2], [1, -2], [0, -1])
    )
    return next((one for one in (medians, *ranges) if one[0] != one[1]), medians)


def _in_words(quantiles: Sequence[float], places: Sequence[int]) -> str:
    found = [quantiles[place] for place in places]
    return " to ".join(f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}" for value in found)


def _classes(accepted: DataProfile, now: DataProfile, drift: float) -> Movement:
    before, after = accepted.classes, now.classes
    noise = total_variation_noise(before, after, accepted.kept.independent, now.kept.independent)
    pictures = sum(before.values()), sum(after.values())
    shares = {
        name: (before.get(name, 0) / pictures[0], after.get(name, 0) / pictures[1])
        for name in sorted(before.keys() | after.keys())
    }
    moved = total_variation(before, after)
    gone = [name for name, (old, new) in shares.items() if not new and not may_miss(old, now.kept.independent)]
    if gone:  # renamed, or lost: no drift explains that
        added = [name for name, (old, _) in shares.items() if not old]
        became = f"none{f', but the new {some(added)}' if added else ''}"
        return _movement("classes", f"pictures or texts of {some(gone)}", became, max(moved, 0.0001), float(drift == 1))
    most = max(shares, key=lambda name: abs(shares[name][0] - shares[name][1]))
    old, new = (f"{most} {100 * share:.3g} %" for share in shares[most])
    return _movement("classes", old, new, moved, drift + noise)


def _rejected(accepted: DataProfile, now: DataProfile, drift: float) -> list[Movement]:
    rows = []
    for reason in sorted(accepted.rejected.keys() | now.rejected.keys()):
        before, after = (one.rejected.get(reason, 0) / one.delivered.pictures for one in (accepted, now))
        noise = share_noise(before, after, accepted.delivered.independent, now.delivered.independent)
        old, new = (f"{100 * share:.3g} %" for share in (before, after))
        rows.append(_movement(f"rejected: {reason}", old, new, abs(before - after), drift + noise))
    return rows


def _movement(quantity: str, accepted: str, now: str, moved: float, bound: float) -> Movement:
    return Movement(
        quantity=quantity, accepted=accepted, now=now, moved=round(moved, 4), bound=round(min(1.0, bound), 4)
    )
