"""The report's page: tables and figures laid out as one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from lamina.charts import figures
from lamina.charts.formatting import FILTERS
from lamina.charts.inlined import Drawn, inlined, inlined_sheet
from lamina.charts.run_figures import drawn_curve, drawn_trials
from lamina.data.isolation import HIT
from lamina.errors import UserError
from lamina.maths.calibration import reliability
from lamina.maths.color import lab_to_srgb
from lamina.maths.splits import FOLDS
from lamina.report import tables
from lamina.report.pictures import Pictures
from lamina.tasks.classify.results import Run
from lamina.tasks.colorize import tables as color_tables
from lamina.tasks.colorize.chapter import color_chapter
from lamina.tasks.colorize.results import ColorRun
from lamina.tasks.lightness.chapter import pretext_chapter
from lamina.tasks.lightness.results import PretextRun
from lamina.tuning.importance import TRIALS_TO_WEIGH, importances

MISTAKES = 12
LARGEST_SIDE = 160  # pixels of a picture in the page, at which 16 runs stay below 3 MB
GROUPS_LISTED = 12
PAIRS_LISTED = 24
DATA_DOCS = "../data/validation/docs/index.html"  # from reports/index.html


@dataclass(frozen=True, kw_only=True)
class ShownMistake:
    mistake: tables.Mistake
    name: str
    picture: Drawn


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """What the page shows of one run that names classes."""

    run: Run
    curves: Sequence[Markup]
    confusion: Sequence[Sequence[tables.Cell]]
    reliability: Markup
    wrong: int
    mistakes: Sequence[ShownMistake]
    states: Mapping[str, int]
    importances: Mapping[str, float] | None
    trials: Sequence[Markup]
    looked_at: Drawn | None


def render(
    system: str,
    runs: Sequence[Run],
    colorizers: Sequence[ColorRun],
    pictures: Pictures,
    pretexts: Sequence[PretextRun] = (),
) -> str:
    """Lay out the page: the same inputs give the same text.

    runs, colorizers, pretexts: those that name classes, those that color, and those that learn lightness from color;
    best first, and at least one of any.
    """
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            system=system,
            records=[run.record for run in (*runs, *colorizers, *pretexts)],
            pretext_chapters=[pretext_chapter(run) for run in pretexts],
            to_weigh=TRIALS_TO_WEIGH,
            **_data(pictures),
            **_classifiers(runs, pictures),
            **_colorizers(colorizers),
        )
    )


def _data(pictures: Pictures) -> dict[str, object]:
    return {
        "census": tables.census(pictures),
        "folds": FOLDS,
        "sheets": {name: inlined_sheet(path) for name, path in pictures.sheets.items()},
        "groups": tables.near_duplicates(pictures.groups),
        "cells": tables.cells(pictures),
        "hit": HIT,
        "groups_listed": GROUPS_LISTED,
        "audit": pictures.counted if pictures.audit is not None else None,
        "joined": tables.joined(pictures, PAIRS_LISTED),
        "joined_pairs": len(pictures.joined),
        "audited": 0 if pictures.audit is None else len(pictures.audit),
        "suspicious": tables.suspicious(pictures, PAIRS_LISTED),
        "docs": DATA_DOCS if pictures.docs else None,
    }


def _classifiers(runs: Sequence[Run], pictures: Pictures) -> dict[str, object]:
    places = {picture: place for place, picture in enumerate(pictures.names.index)}
    return {
        "scale": tables.scale(runs) if runs else None,
        "comparison": tables.comparison(runs),
        "alarms": [run.name for run in runs if run.assessment.control and not run.assessment.control.passed],
        "chapters": [_chapter(run, pictures, places) for run in runs],
    }


def _colorizers(runs: Sequence[ColorRun]) -> dict[str, object]:
    return {
        "color_chapters": [color_chapter(run) for run in runs],
        "color_comparison": color_tables.color_comparison(runs),
        "color_scale": color_tables.color_scale(runs) if runs else None,
        "baselines": color_tables.baselines(runs[0]) if runs else {},
        "lowest": color_tables.lower_baseline(runs[0], "test") if runs else None,
        "shown_measures": color_tables.SHOWN,
    }


def _chapter(run: Run, pictures: Pictures, places: Mapping[str, int]) -> Chapter:
    classes = run.record.classes
    wrong = tables.mistakes(run.predictions, classes, MISTAKES)
    return Chapter(
        run=run,
        curves=[drawn_curve(run, measure) for measure in ("loss", "accuracy")],
        confusion=tables.confusion(run.predictions, classes),
        reliability=_reliability(run),
        wrong=int((run.predictions["label"] != run.predictions["predicted"]).sum()),
        mistakes=[_shown(run.name, mistake, pictures, places) for mistake in wrong],
        states=tables.states(run.trials),
        importances=importances(run.trials),
        trials=drawn_trials(run, "accuracy"),
        looked_at=inlined_sheet(run.looked_at) if run.looked_at else None,
    )


def _reliability(run: Run) -> Markup:
    classes = run.record.classes
    truth = pd.Categorical(run.predictions["label"], categories=classes).codes
    bins = reliability(run.predictions[classes], truth)
    told = ", ".join(f"{row.confidence:.2f} told, {row.accuracy:.2f} right" for row in bins.itertuples())
    return figures.svg(figures.reliability(bins), f"Reliability of {run.name}: {told}", f"{run.name} reliability")


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
        picture=inlined(Image.fromarray(pixels), LARGEST_SIDE),
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lamina.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment
