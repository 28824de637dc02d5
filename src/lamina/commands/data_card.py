"""The card of the data of a system: where they come from, how many there are, what was left out and why, and leaks."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from lamina.charts.formatting import number
from lamina.commands.markdown import escaped, front_matter, table
from lamina.config import read_params, section
from lamina.data.sources.config import SourceConfig
from lamina.data.verdicts import read_corrected
from lamina.files import read_json
from lamina.maths.splits import FOLDS
from lamina.report.data_files import Pictures, Texts, read_pictures, read_texts
from lamina.report.tables import Census, census
from lamina.results.record import system_name
from lamina.tasks.ensembles import result_tasks

WHY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unreadable": "no picture, broken, or of a kind that its tags do not describe",
        "undecodable": "no text in UTF-8 or in what its byte order mark says",
        "too small": "fewer pixels on a side than filter.min_side",
        "too short": "fewer words than the filter asks for",
        "empty": "no words",
        "grayscale": "no color, which runs that learn color need",
        "unlabeled": "no label to learn from",
        "ambiguous": "several labels",
        "excluded class": "not one of source.classes",
        "bad box": "not exactly one box that lies in the picture",
        "no cell": "no white blood cell was found in it",
        "duplicate": "the same bytes under another name",
    }
)
WHY_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {**WHY, "duplicate": "the same text as another, but for case and white space"}
)
SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "smear": "Drawn by lamina: stained blood smears",
        "folder": "The folder",
        "archive": "The archive",
        "url": "Files from the web",
        "tfds": "TensorFlow Datasets",
        "sklearn": "Shipped with scikit-learn",
    }
)


def data_card(system: Path, license_id: str = "unknown") -> str:
    """Return the card of a system's data.

    Args:
        system: Folder of the system.
        license_id: Of the data, as the Hub names licenses.

    Raises:
        UserError: If the data are not split yet.
    """
    source = section(read_params(system), "source", SourceConfig)
    data: Pictures | Texts = read_texts(system) if source.content == "texts" else read_pictures(system)
    counted, about = census(len(data.names), data.rejected, data.split), system_name(system)
    parts = [
        f"# {escaped(about)}: the data",
        _summary(data, counted),
        "## Source",
        _source(system, source),
        "## How many",
        _counts(data, counted),
        "## What was left out",
        _rejected(data, counted),
        "## Leaks",
        _leaks(data),
        "## Limits",
        _limits(data, source, len(read_corrected(system / "data" / "raw"))),
    ]
    kind = "text" if isinstance(data, Texts) else "image"
    head = {
        "license": license_id,
        "pretty_name": about,
        "tags": ["lamina"],
        "task_categories": [f"{kind}-classification" if counted.classes else _category(system)],
        "size_categories": [next((name for most, name in SIZES if counted.kept < most), "n>1M")],
    }
    return front_matter(head) + "\n" + "\n\n".join(parts) + "\n"


def _category(system: Path) -> str:
    """The Hub's name of what is learned from pictures without classes."""
    tasks = {task.name for task in result_tasks(read_params(system)).values()}
    return "image-classification" if "multilabel" in tasks else "other" if "regress" in tasks else "image-to-image"


def _summary(data: Pictures | Texts, counted: Census) -> str:
    classes = f" of {len(counted.classes)} classes" if counted.classes else ", without classes"
    refused = sum(counted.rejected.values())
    return (
        f"{counted.kept:,} {data.noun}s{classes}, of {counted.kept + refused:,} that were found. "
        "What learns from them is in the cards of the models."
    )


def _source(system: Path, source: SourceConfig) -> str:
    unit, alike = ("text", "says the same") if source.content == "texts" else ("file", "shows the same")
    digest, index = system / "data" / "source.txt", system / "data" / "pixels" / "index.json"
    shown: dict[str, Any] = {
        "kind": f"{source.kind}: {KINDS[source.kind]}",
        "location": source.location,
        "SHA-256": source.sha256,
        "SHA-256 of the list of its files": source.members,
        "digest of its files": _digest(digest),
        "labels": source.labels,
        "labels that replace some of them": source.corrections,
        "metadata of each": source.metadata,
        "boxes": source.boxes,
        "digest of what is learned from": read_json(index)["digest"] if index.exists() else None,
        "an origin is": source.origin or f"what the source says, or each {unit}; what {alike} shares one",
    }
    rows = [(name, ", ".join(value) if isinstance(value, tuple) else value) for name, value in shown.items() if value]
    return table(("", ""), rows)


def _digest(path: Path) -> str | None:
    """Read the digest of a source that has files here; of others, the stage `watch` writes their kind."""
    text = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    return text if re.fullmatch("[0-9a-f]{64}", text) else None


def _counts(data: Pictures | Texts, counted: Census) -> str:
    title = "class" if counted.classes else f"{data.noun}s"
    rows = [(label, *(_count(row[fold]) for fold in FOLDS)) for label, row in counted.classes.items()]
    together = ("all", *(_count(counted.folds[fold]) for fold in FOLDS))
    lines = [table((title, *FOLDS), [*rows, together])]
    counts = [cell for row in (*rows, together) for cell in row[1:]]
    bracketed = "In brackets, the origins that they come from. " if any("(" in count for count in counts) else ""
    lines.append(
        f"{bracketed}Whole origins are in one fold; validation and test hold "
        f"originals only. With augmented copies, training has {counted.training_rows:,} rows."
        if isinstance(data, Pictures)
        else f"{bracketed}Whole origins are in one fold."
    )
    if counted.spare:
        lines.append(f"{counted.spare:,} are in no fold, since they share an origin with test {data.noun}s.")
    return "\n\n".join(lines)


def _count(count: Any) -> str:
    return f"{count.pictures:,}" + (f" ({count.origins:,})" if count.origins != count.pictures else "")


def _rejected(data: Pictures | Texts, counted: Census) -> str:
    if not counted.rejected:
        return f"Nothing: all {data.noun}s that were found are used."
    why = WHY if isinstance(data, Pictures) else WHY_TEXTS
    rows = [(reason, f"{count:,}", why.get(reason, "")) for reason, count in counted.rejected.items()]
    return f"{table(('reason', 'number', ''), rows)}\n\n`data/filtered/rejected.parquet` names each."


def _leaks(data: Pictures | Texts) -> str:
    found, noun = data.counted, data.noun
    same = "showed the same thing" if isinstance(data, Pictures) else "were nearly the same"
    lines = [
        f"- Before the split, {len(data.joined):,} pairs of {noun}s with different origins {same}, and "
        "were joined into one origin."
    ]
    if data.audit is None or found.compared is None:
        return "\n".join([*lines, "- There was no audit after the split."])
    suspicious = found.suspicious or 0
    bound = f" (agreement of {number(found.suspicious_from)} or more)" if found.suspicious_from else ""
    lines.append(
        f"- After the split, the nearest {noun} that is trained or tuned on was searched for each of "
        f"{len(data.audit):,} test {noun}s, and {found.compared:,} pairs, the closest first, were compared in detail: "
        f"{suspicious:,} {'pair is' if suspicious == 1 else 'pairs are'} suspicious{bound}."
    )
    if suspicious:
        lines.append(
            "- `data/split/audit.parquet` names them, the report shows them: look at them before you trust a score."
        )
    return "\n".join(lines)


def _limits(data: Pictures | Texts, source: SourceConfig, corrected: int) -> str:
    came = "were taken" if isinstance(data, Pictures) else "come from"
    lines = [
        f"- Counts and digests are measured; where the {data.noun}s {came}, by whom, and with whose consent, is "
        "not known to lamina: add it here."
    ]
    if corrected:
        lines.append(
            f"- Labels are those of the source, but {corrected:,} that `{source.corrections}` corrected; "
            "`data/raw/_corrected.csv` names them. Nobody has checked the others."
        )
    elif source.labels != "none":
        lines.append("- Labels are those of the source. Nobody has checked them.")
    return "\n".join(lines)
