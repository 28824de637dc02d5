"""The last stage: one page that says what was learned, from what, and how well."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lamina.config import read_params
from lamina.errors import UserError
from lamina.files import staged
from lamina.learn.runs import run_names
from lamina.report.page import render
from lamina.report.runs import read_pictures, read_run
from lamina.report.tables import ranked
from lamina.stages import entry


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """The page written, its bytes, and the run that leads it with its test accuracy (0 to 1)."""

    page: Path
    size: int
    runs: int
    best: str
    accuracy: float

    def __str__(self) -> str:
        runs = f"{self.runs} {'run' if self.runs == 1 else 'runs'}"
        best = f"best {self.best} with {self.accuracy:.1%} of test pictures right"
        return f"{self.page}: {runs}, {best}; {self.size / 1e6:.1f} MB"


def report(runs: Sequence[str], system: Path, out: Path) -> ReportSummary:
    """Write `index.html` into the folder `out`: one self-contained page about the runs of a system.

    runs: names of folders in `models/` of the system's folder, in any order.
    Raises UserError where there is no run, or one is not trained or evaluated yet.
    """
    if not runs:
        raise UserError("params.yaml: no run to report; name one under transfer.runs or scratch.runs")
    best_first = ranked([read_run(system, name) for name in runs])
    best = best_first[0]
    page = out / "index.html"
    text = render(best.record.system, best_first, read_pictures(system))
    with staged(page) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    return ReportSummary(
        page=page,
        size=page.stat().st_size,
        runs=len(best_first),
        best=best.name,
        accuracy=best.metrics.test.accuracy,
    )


def main() -> None:
    """Report on every classifying run that `params.yaml` names, and see that MLflow knows each in full."""
    system = Path()
    names = list(run_names(read_params(system)))
    print(report(names, system, Path("reports")))
    from lamina.tracking.complete import complete_or_warn

    for name in names:
        complete_or_warn(system, name)


if __name__ == "__main__":
    entry.run(main)
