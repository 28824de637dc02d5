"""Measure how fast a run's model answers on this machine: Keras and every exported format."""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from lamina.commands.export import about, find_model, test_rows
from lamina.commands.predict import answered
from lamina.errors import UserError
from lamina.files import read_json
from lamina.progress import progress

SINGLES: Final = 100  # pictures or texts that are sent one by one
BATCH: Final = 32
SECONDS: Final = 3.0  # of full batches
WARM_UP: Final = 3  # calls before the clock starts

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a format answers.

    Attributes:
        name: Of the format.
        megabytes: Of its files.
        load: Seconds to load it and to answer once.
        median, slow: 50th and 95th percentile of the milliseconds for one picture or text.
        rate: Pictures or texts a second, in batches of `BATCH`.
    """

    name: str
    megabytes: float
    load: float
    median: float
    slow: float
    rate: float


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="RUN", help="run or ensemble whose answers `lamina predict` gives")
    parser.add_argument(
        "--exported",
        type=Path,
        metavar="FOLDER",
        help="what `lamina export` wrote (default: exported/RUN in the system)",
    )


def run(arguments: Namespace) -> int:
    """Print a table with a line for each format."""
    print(as_table(bench_model(arguments.system, arguments.name, arguments.exported)))
    return 0


def bench_model(system: Path, name: str, exported: Path | None = None) -> list[Speed]:
    """Measure Keras and the formats that a run was exported to, on its test pictures or texts.

    Args:
        system: Folder of the system.
        name: Name of the run or ensemble.
        exported: Folder with a folder for each format; default: `exported/NAME` in the system.

    Raises:
        UserError: If the run, its model, its exports or the test examples are missing, or an export is of another
            model.
    """
    model, record, kind = find_model(system, name, answered())
    folder = exported or system / "exported" / name
    described = about(record, model)
    from lamina.models.export_rows import float_batches
    from lamina.models.exporting import FORMATS
    from lamina.models.inference import inference
    from lamina.models.loading import load_model

    found = {form: folder / form for form in FORMATS if (folder / form / "export.json").exists()}
    if not found:
        raise UserError(f"{folder}: no exports there; write some with `lamina export --run {name}`")
    for path in found.values():
        if read_json(path / "export.json").get("model") != described["model"]:
            raise UserError(f"{path}: is of another model than {model}; run `lamina export --run {name}` again")
    rows = test_rows(system, kind)
    (rows,) = float_batches(rows, rows.shape[0])
    # the largest library comes last: it is loaded, and its threads would compete with the others
    loaders: dict[str, Callable[[], Predict]] = {
        form: partial(FORMATS[form].load, path) for form, path in found.items()
    }
    loaders["keras"] = lambda: inference(load_model(model))
    sizes = {form: sum((path / file).stat().st_size for file in FORMATS[form].files) for form, path in found.items()}
    sizes["keras"] = model.stat().st_size
    return list(_speeds(loaders, sizes, rows))


def _speeds(
    loaders: Mapping[str, Callable[[], Predict]], sizes: Mapping[str, int], rows: np.ndarray
) -> Iterator[Speed]:
    for name in progress(list(loaders), what="bench", unit="formats"):
        start = time.perf_counter()
        predict = loaders[name]()
        predict(rows[:1])
        load = time.perf_counter() - start
        singles = seconds_of_singles(predict, rows)
        yield Speed(
            name=name,
            megabytes=sizes[name] / 1e6,
            load=load,
            median=1000 * float(np.percentile(singles, 50)),
            slow=1000 * float(np.percentile(singles, 95)),
            rate=rate_in_batches(predict, rows),
        )


def seconds_of_singles(predict: Predict, rows: np.ndarray) -> list[float]:
    """Return the seconds that each of `SINGLES` rows takes, sent one by one."""
    found = []
    for number in range(WARM_UP + SINGLES):
        place = number % len(rows)
        start = time.perf_counter()
        predict(rows[place : place + 1])
        found.append(time.perf_counter() - start)
    return found[WARM_UP:]


def rate_in_batches(predict: Predict, rows: np.ndarray) -> float:
    """Return the rows a second in full batches, repeated for some seconds."""
    batch = np.resize(rows, (BATCH, *rows.shape[1:]))
    for _ in range(WARM_UP):
        predict(batch)
    done, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < SECONDS:
        predict(batch)
        done += len(batch)
    return done / took


def as_table(speeds: list[Speed]) -> str:
    """Return a line for each format, below the names of the columns; the fastest for one comes first."""
    head = f"{'format':10}{'MB':>8}{'load s':>9}{'p50 ms':>9}{'p95 ms':>9}{'per s':>12}"
    lines = [
        f"{one.name:10}{one.megabytes:8.1f}{one.load:9.1f}{one.median:9.2f}{one.slow:9.2f}{one.rate:12,.0f}"
        for one in sorted(speeds, key=lambda one: one.median)
    ]
    return "\n".join([head, *lines])
