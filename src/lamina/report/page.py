"""The report's page: tables and figures laid out as one HTML file that needs nothing else."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from lamina.data.isolation import HIT
from lamina.errors import UserError
from lamina.learn.importance import TRIALS_TO_WEIGH, importances
from lamina.maths.calibration import reliability
from lamina.maths.color import lab_to_srgb
from lamina.maths.splits import FOLDS
from lamina.report import figures, tables
from lamina.report.runs import Pictures, Run

MISTAKES = 12
LARGEST_SIDE = 160  # pixels of a picture in the page, at which 16 runs stay below 3 MB
SMALL_SIDE = 64  # pictures up to this side are kept as they are, since every pixel shows when they are enlarged
WIDEST_SHEET = 1200
GROUPS_LISTED = 12
PAIRS_LISTED = 24
DATA_DOCS = "../data/validation/docs/index.html"  # from reports/index.html
QUALITY = 82
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture inside the page."""

    source: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class ShownMistake:
    mistake: tables.Mistake
    name: str
    picture: Drawn


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """What the page shows of one run."""

    run: Run
    network: str
    weights: str
    epochs: int
    seconds: float | None
    curves: Sequence[Markup]
    confusion: Sequence[Sequence[tables.Cell]]
    reliability: Markup
    wrong: int
    mistakes: Sequence[ShownMistake]
    states: Mapping[str, int]
    importances: Mapping[str, float] | None
    trials: Sequence[Markup]
    looked_at: Drawn | None


def render(system: str, runs: Sequence[Run], pictures: Pictures) -> str:
    """Lay out the page: the same inputs give the same text. runs: at least one, best first."""
    places = {picture: place for place, picture in enumerate(pictures.names.index)}
    comparison = tables.comparison(runs)
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            system=system,
            census=tables.census(pictures),
            folds=FOLDS,
            sheets={name: _sheet(path) for name, path in pictures.sheets.items()},
            groups=tables.near_duplicates(pictures.groups),
            cells=tables.cells(pictures),
            hit=HIT,
            groups_listed=GROUPS_LISTED,
            audit=pictures.counted if pictures.audit is not None else None,
            joined=tables.joined(pictures, PAIRS_LISTED),
            joined_pairs=len(pictures.joined),
            audited=0 if pictures.audit is None else len(pictures.audit),
            suspicious=tables.suspicious(pictures, PAIRS_LISTED),
            docs=DATA_DOCS if pictures.docs else None,
            scale=tables.scale(runs),
            to_weigh=TRIALS_TO_WEIGH,
            comparison=comparison,
            certain=bool(comparison) or any(run.assessment.told for run in runs),
            alarms=[run.name for run in runs if run.assessment.control and not run.assessment.control.passed],
            chapters=[_chapter(run, pictures, places) for run in runs],
        )
    )


def _chapter(run: Run, pictures: Pictures, places: Mapping[str, int]) -> Chapter:
    params, classes = run.record.params, run.record.classes
    wrong = tables.mistakes(run.predictions, classes, MISTAKES)
    return Chapter(
        run=run,
        network=str(params.get("backbone") or params.get("network", "unknown")),
        weights=str(params.get("weights", "none")),
        epochs=len(run.history),
        seconds=sum(run.seconds.values()) if run.seconds else None,
        curves=[_curve(run, measure) for measure in figures.CURVES],
        confusion=tables.confusion(run.predictions, classes),
        reliability=_reliability(run),
        wrong=int((run.predictions["label"] != run.predictions["predicted"]).sum()),
        mistakes=[_shown(run.name, mistake, pictures, places) for mistake in wrong],
        states=tables.states(run.trials),
        importances=importances(run.trials),
        trials=_trials(run),
        looked_at=_sheet(run.looked_at) if run.looked_at else None,
    )


def _curve(run: Run, measure: str) -> Markup:
    last = run.history.iloc[-1]
    ends = f"train {last[f'train_{measure}']:.3f}, validation {last[f'validation_{measure}']:.3f}"
    alt = f"{figures.CURVES[measure]} of {run.name} over {len(run.history)} epochs; at the end: {ends}"
    return figures.svg(figures.curve(run.history, measure), alt, f"{run.name} {measure}")


def _reliability(run: Run) -> Markup:
    classes = run.record.classes
    truth = pd.Categorical(run.predictions["label"], categories=classes).codes
    bins = reliability(run.predictions[classes], truth)
    told = ", ".join(f"{row.confidence:.2f} told, {row.accuracy:.2f} right" for row in bins.itertuples())
    return figures.svg(figures.reliability(bins), f"Reliability of {run.name}: {told}", f"{run.name} reliability")


def _trials(run: Run) -> list[Markup]:
    if not run.trials["value"].notna().any():
        return []
    what = f"Validation accuracy of {len(run.trials)} trials of {run.name}"
    return [
        figures.svg(figures.course(run.trials), f"{what} in their order, and the best so far", f"{run.name} course"),
        figures.svg(figures.scatter(run.trials), f"{what} by a tuned number", f"{run.name} trials"),
    ]


def _shown(run: str, mistake: tables.Mistake, pictures: Pictures, places: Mapping[str, int]) -> ShownMistake:
    place = places.get(mistake.id)
    if place is None:
        raise UserError(
            f"data/lab/manifest.parquet: no picture {mistake.id}, which {run} was tested on; run `dvc repro`"
        )
    pixels = lab_to_srgb(np.array(pictures.pixels[place]))
    return ShownMistake(
        mistake=mistake,
        name=str(pictures.names.iloc[place]),
        picture=_drawn(Image.fromarray(pixels), LARGEST_SIDE),
    )


def _sheet(path: Path) -> Drawn:
    try:
        with Image.open(path) as sheet:
            return _drawn(sheet.convert("RGB"), WIDEST_SHEET)
    except UnidentifiedImageError:
        raise UserError(f"{path}: no picture; delete it and run `dvc repro` again") from None


def _drawn(picture: Image.Image, widest: int) -> Drawn:
    """Inline a picture as WebP, narrowed to `widest` pixels; small ones exactly."""
    if picture.width > widest:
        picture = picture.resize((widest, round(picture.height * widest / picture.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=QUALITY, lossless=picture.width <= SMALL_SIDE)
    source = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
    return Drawn(source=source, width=picture.width, height=picture.height)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lamina.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "interval": _interval,
        "duration": _duration,
        "value": _value,
        "points": _points,
    }
    return environment


def _percent(rate: float, digits: int = 1) -> str:
    return f"{100 * rate:.{digits}f}{NO_BREAK}%"


def _interval(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}{NO_BREAK}%"


def _points(rate: float, digits: int = 1) -> str:
    """A difference of rates in percentage points, always with its sign."""
    return f"{100 * rate:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
