"""The params.yaml of a new system: the template, filled with what a look into its source found."""

import json
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final

from lamina.commands.look import NO_LABELS, PACKAGE, Look, package_watch
from lamina.data.sources.copies import OriginSurvey
from lamina.data.sources.survey import LabelSurvey

FEWEST: Final = 10  # pictures of a class: fewer cannot be split into three folds that tell anything
COMMENT_COLUMN: Final = 32  # of params.yaml, where the setting is not longer
USUAL_SIDE: Final = 128
SMALLEST_SIDE: Final = 8  # what convert.size allows
BACKBONE_SIDE: Final = 32  # the smallest picture that densenet121 takes
# up to so many pictures, so many copies: the number of rows to learn from stays near 20,000
COPIES: Final = ((2_000, 4), (10_000, 2), (30_000, 1))


def story(look: Look) -> str:
    """What was found in a source, on one line."""
    if look.labels.labels == NO_LABELS:
        return f"{look.pictures} pictures without labels, to learn colors from"
    counts = _counted(look.labels.classes)
    rest = f"{look.labels.unlabeled} unlabeled, {look.labels.ambiguous} ambiguous"
    return f"{look.pictures} pictures, labeled by {look.labels.labels}: {counts}; {rest}"


def _counted(classes: Mapping[str, int], most: int = 12) -> str:
    shown = [f"{yaml(name)} ({count})" for name, count in classes.items()][:most]
    return ", ".join(shown) + (f", and {len(classes) - most} more" if len(classes) > most else "")


def source_values(look: Look) -> dict[str, Any]:
    """What the template takes from a look into a source."""
    kinds = f"of {len(look.labels.classes)} classes" if look.labels.labels != NO_LABELS else "without labels"
    return {
        "title": f"{yaml(look.name)}: {look.pictures} pictures {kinds}.",
        **look.place.__dict__,
        "found_location": f"holds {look.pictures} pictures",
        "found_splits": look.splits and f"there are {_counted(look.splits)}",
        **_label_values(look.labels),
        **_box_values(look),
        **_origin_values(look.origins),
        **_pixel_values(look),
        "flip_vertical": look.labels.labels != NO_LABELS,
        "found_flip_vertical": look.labels.labels == NO_LABELS and "sky and ground differ in color",
    }


def _label_values(labels: LabelSurvey) -> dict[str, Any]:
    if labels.labels == NO_LABELS:
        return {"labels": NO_LABELS, "found_labels": "none found", "classes": None, "found_classes": "there are none"}
    few = {name: count for name, count in labels.classes.items() if count < FEWEST}
    enough = [name for name in labels.classes if name not in few]
    leave_out = bool(few) and len(enough) > 1
    found = f"found {len(labels.classes)}"
    if few:
        found = f"{'left out' if leave_out else 'very few pictures'}, below {FEWEST}: {_counted(few)}"
    return {
        "labels": labels.labels,
        "found_labels": f"{labels.unlabeled} unlabeled, {labels.ambiguous} with several",
        "classes": enough if leave_out else None,
        "found_classes": found,
    }


def _box_values(look: Look) -> dict[str, Any]:
    boxes = look.boxes
    if boxes is None:
        return {
            "boxes": None,
            "found_boxes": "none found",
            "target": None,
            "found_target": "no boxes found",
            "isolate": "none",
            "found_isolate": "there are no boxes",
        }
    once = "stands exactly once in most" if boxes.target else "no name stands exactly once in most"
    single = boxes.single and look.labels.labels != NO_LABELS
    isolate = "box cuts out the subject" if single else "most pictures have no single box"
    if boxes.single and not single:
        isolate = "colors are learned from whole pictures"
    return {
        "boxes": boxes.boxes,
        "found_boxes": f"{boxes.pictures} of {look.pictures} pictures have some",
        "target": boxes.target,
        "found_target": once,
        "isolate": "box" if single else "none",
        "found_isolate": isolate,
    }


def _origin_values(found: OriginSurvey | None) -> dict[str, Any]:
    if found is None:
        return {"origin": None, "found_origin": None}
    alone = f", and {found.others} whose names are not such stand alone" if found.others else ""
    said = f"names look like copies: {found.origins} origins of {found.copies} pictures{alone}"
    return {"origin": found.pattern, "found_origin": said}


def _pixel_values(look: Look) -> dict[str, Any]:
    pixels = look.pixels
    readable, grey = pixels.readable, pixels.mostly_grey
    size = min(USUAL_SIDE, max(SMALLEST_SIDE, pixels.median_side))
    copies = next((copies for most, copies in COPIES if look.pictures <= most), 0)
    return {
        "drop_grayscale": not grey,
        "found_grey": f"{pixels.grey} of {readable} looked at are grey" + (": most, so they are kept" if grey else ""),
        "min_side": min(32, size),
        "found_sides": f"the shortest side among {readable} looked at is {pixels.smallest_side}",
        "size": size,
        "found_size": f"the middle one of the shorter sides is {pixels.median_side}",
        "copies": copies,
        "found_copies": f"{look.pictures} pictures" + ("" if copies == COPIES[0][1] else ": many, so fewer copies"),
    }


def smear_values(folder: Path) -> dict[str, Any]:
    """What the template takes, for drawn pictures: DVC watches the package itself."""
    return {
        **dict.fromkeys(Template(_template()).get_identifiers(), None),
        "title": "Drawn blood smears: four classes of white blood cells.",
        "kind": "smear",
        "watch": package_watch(folder),
        "labels": "folder",
        "drop_grayscale": True,
        "min_side": 32,
        "size": USUAL_SIDE,
        "isolate": "none",
        "copies": COPIES[0][1],
        "flip_vertical": True,
    }


def _template() -> str:
    return resources.files("lamina.commands").joinpath("params_template.yaml").read_text(encoding="utf-8")


def fill(values: Mapping[str, Any], folder: Path) -> str:
    """The text of params.yaml: the template with values as YAML, and comments (`title`, `found_...`) as they are."""
    code = os.path.relpath(PACKAGE, folder.resolve())
    values = {**values, "code": code, "package": package_watch(folder)}
    written = {name: _written(name, value) for name, value in values.items()}
    text = _with_runs(Template(_template()).substitute(written), values["labels"], values["size"])
    return "".join(map(_aligned, text.splitlines(keepends=True)))


def _with_runs(text: str, labels: str, size: int) -> str:
    """params.yaml with the runs that suit the source: to name classes where there are some, to color otherwise."""
    if labels == NO_LABELS:
        for group in ("transfer", "scratch"):
            text = _without_runs(text, group, "none: without labels there are no classes to learn")
        return text
    if size < BACKBONE_SIDE:
        why = f"none: backbones take no picture smaller than {BACKBONE_SIDE} pixels"
        text = _without_runs(text, "transfer", why)
    return _without_runs(text, "colorize", "none; for one like this, take away {} and the #:", example=True)


def _without_runs(text: str, group: str, why: str, *, example: bool = False) -> str:
    """params.yaml with no runs in a group; those of the template gone, or left in comments."""

    def emptied(found: re.Match[str]) -> str:
        left = re.sub(r"^  ", "  #", found["runs"], flags=re.M) if example else ""
        return f"{found['group']}  runs: {{}}  # {why}\n{left}"

    return re.sub(rf"(?P<group>^{group}:.*\n)  runs:.*\n(?P<runs>(?:    .*\n)*)", emptied, text, flags=re.M)


def _written(name: str, value: Any) -> str:
    if name == "title":
        return str(value)
    if name.startswith("found_"):
        return f"; {value}" if value else ""
    return yaml(value)


def _aligned(line: str) -> str:
    setting, separator, comment = line.rpartition("  # ")
    return f"{setting:<{COMMENT_COLUMN}}{separator}{comment}" if setting else line


def yaml(value: object) -> str:
    """A value in YAML on one line: words plain where no reader can take them for anything else."""
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", value) and not _is_special(value):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


def _is_special(word: str) -> bool:
    return (
        word.lower() in ("true", "false", "null", "yes", "no", "on", "off", "y", "n") or word.lstrip(".")[:1].isdigit()
    )
