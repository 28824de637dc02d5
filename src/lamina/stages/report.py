"""The last stage: one page that says what was learned, from what, and how well."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lamina.config import read_params
from lamina.errors import UserError
from lamina.files import staged
from lamina.report.page import render
from lamina.report.pictures import read_pictures
from lamina.report.tables import ranked
from lamina.stages import entry
from lamina.tasks.classify.results import read_run
from lamina.tasks.colorize.results import read_color_run
from lamina.tasks.colorize.tables import ranked_colors
from lamina.tasks.lightness.results import ranked_pretexts, read_pretext_run
from lamina.tasks.runs import KINDS, run_names


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """The page written, its bytes, and the runs that lead it: the best that names classes with its test accuracy
    (0 to 1), the best that colors with its test MSE (squared CIELAB units); None where there is none of the kind."""

    page: Path
    size: int
    runs: int
    best: str | None
    accuracy: float | None
    best_colorizer: str | None
    mse: float | None

    def __str__(self) -> str:
        told = [f"{self.runs} {'run' if self.runs == 1 else 'runs'}"]
        if self.accuracy is not None:
            told.append(f"best {self.best} with {self.accuracy:.1%} of test pictures right")
        if self.mse is not None:
            told.append(f"best colorizer {self.best_colorizer} with a test MSE of {self.mse:.1f}")
        return f"{self.page}: {', '.join(told)}; {self.size / 1e6:.1f} MB"


def report(runs: Mapping[str, str], system: Path, out: Path) -> ReportSummary:
    """Write `index.html` into the folder `out`: one self-contained page about the runs of a system.

    runs: the kind (`transfer`, `scratch`, `colorize` or `pretext`) of each folder in `models/` of the system's folder,
    by name, in any order.
    Raises UserError where there is no run, or one is not trained or evaluated yet.
    """
    if not runs:
        raise UserError(f"params.yaml: no run to report; name one under {', '.join(f'{kind}.runs' for kind in KINDS)}")
    named = ranked([read_run(system, name, kind) for name, kind in runs.items() if kind in ("transfer", "scratch")])
    coloring = ranked_colors([read_color_run(system, name) for name, kind in runs.items() if kind == "colorize"])
    pretexts = ranked_pretexts([read_pretext_run(system, name) for name, kind in runs.items() if kind == "pretext"])
    page = out / "index.html"
    text = render([*named, *coloring, *pretexts][0].record.system, named, coloring, read_pictures(system), pretexts)
    with staged(page) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    return ReportSummary(
        page=page,
        size=page.stat().st_size,
        runs=len(runs),
        best=named[0].name if named else None,
        accuracy=named[0].metrics.test.accuracy if named else None,
        best_colorizer=coloring[0].name if coloring else None,
        mse=coloring[0].metrics.test.measures.mse.value if coloring else None,
    )


def main() -> None:
    """Report on every run that `params.yaml` names, and see that MLflow knows each in full."""
    system = Path()
    kinds = run_names(read_params(system))
    print(report(kinds, system, Path("reports")))
    from lamina.tracking.sync import sync_or_warn

    for name in kinds:
        sync_or_warn(system, name)


if __name__ == "__main__":
    entry.run(main)
