"""The params.yaml of a new system: a commented template, filled with what `look_into` found in the source."""

import io
import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from lamina.commands.look import Look, Place, TextLook
from lamina.commands.look_classes import FEWEST, leaves_out, too_few
from lamina.commands.look_tables import NO_LABELS
from lamina.data.sources.config import CHOOSE
from lamina.data.sources.survey import LabelSurvey, OriginSurvey, grey_classes
from lamina.data.sources.target_survey import TargetSurvey
from lamina.text import cut

USUAL_SIDE: Final = 128
SMALLEST_SIDE: Final = 8  # what convert.size allows
BACKBONE_SIDE: Final = 32  # the smallest picture that efficientnet_lite0 takes
# up to so many pictures, so many copies: the number of rows to learn from stays near 20,000
COPIES: Final = ((2_000, 4), (10_000, 2), (30_000, 1))

TARGETS: Final = {"regress": "numbers", "multilabel": "several labels each"}  # by task

PICTURES: Final = "params_template.yaml"
TEXTS: Final = "text_params_template.yaml"
ENOUGH_VALIDATION: Final = 1_000  # texts

KEEP: Final = object()  # in place of a value: that of the template stays
Found: TypeAlias = dict[str, tuple[Any, str]]  # by path of keys ("convert.size"): the value, and the note or ""


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What goes into a template.

    Attributes:
        template: name of its file.
        title: first line of the result, a comment.
        values: values by path of keys ("convert.size").
        notes: what was found, by path of keys; added to the comment there.
        dropped: paths of features and runs that do not suit the source, each with the reason.
        examples: paths of runs that stay as comments.
        targets: what the runs learn in place of classes.
    """

    template: str
    title: str
    values: Mapping[str, Any]
    notes: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    targets: TargetSurvey | None = None


def story(look: Look | TextLook) -> str:
    """Describe in one line what was found in a source."""
    if isinstance(look, TextLook):
        targets = look.labels.targets
        return f"{look.texts} texts{f' with {TARGETS[targets.task]}' if targets else f', {_labeled(look.labels)}'}"
    if look.labels.targets:
        return f"{look.pictures} pictures with {TARGETS[look.labels.targets.task]}"
    if look.labels.labels == NO_LABELS:
        return f"{look.pictures} pictures without labels, to learn colors from"
    return f"{look.pictures} pictures, {_labeled(look.labels)}"


def _labeled(labels: LabelSurvey) -> str:
    if labels.choices:
        return f"whose folders may name their classes in {len(labels.choices)} ways: {_choices(labels)}"
    rest = f"{labels.unlabeled} unlabeled, {labels.ambiguous} ambiguous"
    few = too_few(labels)
    left_out = f"; left out, below {FEWEST}: {_counted(few)}" if leaves_out(labels) else ""
    return f"labeled by {word(labels.labels)}: {_counted(labels.classes)}; {rest}{left_out}"


def _kinds(labels: LabelSurvey) -> str:
    if labels.targets:
        return f"with {TARGETS[labels.targets.task]}"
    if labels.labels == NO_LABELS:
        return "without labels"
    return "of classes that you choose" if labels.choices else f"of {len(labels.classes)} classes"


def _choices(labels: LabelSurvey) -> str:
    return " | ".join(f"{value}: {_counted(classes)}" for value, classes in labels.choices.items())


def _counted(classes: Mapping[str, int], most: int = 12) -> str:
    counts = [f"{word(cut(name))} ({count})" for name, count in classes.items()][:most]
    return ", ".join(counts) + (f", and {len(classes) - most} more" if len(classes) > most else "")


# ---- pictures


def picture_filling(look: Look) -> Filling:
    """Choose values, notes and runs for a source of pictures."""
    labeled, targets = look.is_labeled, look.labels.targets
    kinds = _kinds(look.labels)
    found = {
        **_place_found(look.place, f"holds {look.pictures} pictures"),
        "augment.flip_vertical": (labeled, "" if labeled else "sky and ground differ in color"),
        **_labels_found(look.labels, "pictures"),
        **_boxes_found(look),
        **_origins_found(look.origins),
        **_pixels_found(look),
    }
    if look.upright:
        found["augment.flip_horizontal"] = found["augment.flip_vertical"] = False, "a mirrored digit is no digit"
        found["split.merge_near_duplicates"] = False, "a digit that is turned or mirrored may be another one"
    if look.test_pattern:
        found["split.test_pattern"] = look.test_pattern, "the source has a test part"
    found |= _metadata_found(look.place, targets)
    if look.splits:
        found["source.splits"] = KEEP, f"there are {_counted(look.splits)}"
    size, _ = found["convert.size"]
    if not labeled or size < BACKBONE_SIDE:
        found["weights.imagenet"] = [], "no run needs any"
    return _filling(
        PICTURES, f"{word(look.name)}: {look.pictures} pictures {kinds}.", found, **_runs(labeled, size, targets)
    )


def _filling(template: str, title: str, found: Found, **runs: Any) -> Filling:
    values = {path: value for path, (value, _) in found.items() if value is not KEEP}
    notes = {path: note for path, (_, note) in found.items() if note}
    return Filling(template=template, title=title, values=values, notes=notes, **runs)


def smear_filling() -> Filling:
    """Choose values and runs for drawn pictures."""
    return Filling(
        template=PICTURES,
        title="Drawn blood smears: four classes of white blood cells.",
        values={"source.kind": "smear"},
        **_runs(labeled=True, size=USUAL_SIDE),
    )


def _runs(labeled: bool, size: int, targets: TargetSurvey | None = None) -> dict[str, Any]:
    """What to drop, and what to keep as an example."""
    if not labeled:
        why = "no labels, so there are no classes to learn"
        return {"dropped": dict.fromkeys(("features.lite0", "runs.frozen", "runs.small_cnn"), why)}
    small = dict.fromkeys(("features.lite0", "runs.frozen"), f"these networks need at least {BACKBONE_SIDE} pixels")
    return {"dropped": small if size < BACKBONE_SIDE else {}, "examples": ("runs.colors",), "targets": targets}


def _place_found(place: Place, note: str) -> Found:
    return {
        "source.kind": (place.kind, ""),
        "source.location": (place.location, note),
        "source.sha256": (place.sha256, ""),
    }


def _metadata_found(place: Place, targets: TargetSurvey | None) -> Found:
    if not targets:
        return {}
    if place.kind == "folder":
        return {"source.metadata": (posixpath.join(place.location, targets.table), "")}
    return {"source.metadata": (posixpath.basename(targets.table), "copy it out of the archive to here")}


def _labels_found(labels: LabelSurvey, items: str) -> Found:
    if labels.labels == NO_LABELS:
        why = "the runs learn from source.metadata" if labels.targets else "none found"
        return {"source.labels": (NO_LABELS, why), "source.classes": (KEEP, "there are none")}
    if labels.choices:
        return {"source.labels": (CHOOSE, f"choose one: {_choices(labels)}"), "source.classes": (KEEP, "labels first")}
    few, leave_out = too_few(labels), leaves_out(labels)
    enough = [name for name in labels.classes if name not in few]
    found = f"found {len(labels.classes)}"
    if few:
        found = f"{'left out' if leave_out else f'very few {items}'}, below {FEWEST}: {_counted(few)}"
    return {
        "source.labels": (labels.labels, f"{labels.unlabeled} unlabeled, {labels.ambiguous} with several"),
        "source.classes": (enough if leave_out else None, found),
    }


def _boxes_found(look: Look) -> Found:
    boxes = look.boxes
    if boxes is None:
        return {
            "source.boxes": (KEEP, "none found"),
            "source.target": (KEEP, "no boxes found"),
            "convert.isolate": (KEEP, "there are no boxes"),
        }
    single = boxes.single and look.is_labeled
    isolate = "box cuts out the subject" if single else "most pictures have no single box"
    if boxes.single and not single:
        isolate = "colors are learned from whole pictures"
    once = "exactly once in most pictures"
    return {
        "source.boxes": (boxes.boxes, f"{boxes.pictures} of {look.pictures} pictures have some"),
        "source.target": (boxes.target, once if boxes.target else f"no name is {once}"),
        "convert.isolate": ("box" if single else "none", isolate),
    }


def _origins_found(found: OriginSurvey | None) -> Found:
    if found is None:
        return {}
    alone = f"; {found.others} other names are origins of their own" if found.others else ""
    note = f"names look like copies: {found.origins} origins of {found.copies} pictures{alone}"
    return {"source.origin": (found.pattern, note)}


def _pixels_found(look: Look) -> Found:
    pixels = look.pixels
    colors = not look.is_labeled
    size = min(USUAL_SIDE, max(SMALLEST_SIDE, pixels.median_side))
    copies = next((copies for most, copies in COPIES if look.pictures <= most), 0)
    grey = f"{pixels.grey} of {pixels.readable} in a sample are grey"
    if pixels.grey and pixels.classes:
        grey += f": {grey_classes(pixels)}"
    fewer = "" if copies == COPIES[0][1] else ": many, so fewer copies"
    return {
        "filter.drop_grayscale": (colors, grey),
        "filter.min_side": (
            min(32, size),
            f"the shortest side in a sample of {pixels.readable} is {pixels.smallest_side}",
        ),
        "convert.size": (size, f"the median of the shorter sides is {pixels.median_side}"),
        "augment.copies": (copies, f"{look.pictures} pictures{fewer}"),
    }


# ---- texts


def text_filling(look: TextLook) -> Filling:
    """Choose values, notes and runs for a source of texts."""
    targets = look.labels.targets
    found = {
        **_place_found(look.place, f"holds {look.texts} texts"),
        **_labels_found(look.labels, "texts"),
        **_metadata_found(look.place, targets),
        "split.validation": (_validation_share(look.texts), ""),
    }
    if look.test_pattern:
        complete = "false keeps the test part complete: copies of its texts are not trained on"
        found["split.test_pattern"] = look.test_pattern, "the source has a test part"
        found["filter.drop_duplicates"] = False, complete
    number = targets is not None and targets.task == "regress"
    unsuited = ("runs.logistic", "runs.nb_svm") if number else ("runs.ridge",)
    runs = {"dropped": dict.fromkeys(unsuited, "it learns something else"), "targets": targets}
    return _filling(TEXTS, f"{word(look.name)}: {look.texts} texts {_kinds(look.labels)}.", found, **runs)


def _validation_share(texts: int) -> float:
    """Return 15 %, or the share that 1,000 texts are: the interval of an accuracy of 90 % is then +-1.9 %."""
    return min(0.15, max(0.01, round(ENOUGH_VALIDATION / texts, 2)))


# ---- YAML


class _Representer(RoundTripRepresenter):
    """Writes `null` in full."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def fill(filling: Filling) -> str:
    """Write the text of params.yaml: the template with values, and with notes in its comments.

    Args:
        filling: what goes into it.

    Returns:
        YAML with a comment on every line.
    """
    template = resources.files("lamina.commands").joinpath(filling.template).read_text(encoding="utf-8")
    # ruamel keeps an empty line with the line before it, which may go
    params = round_trip_yaml().load("\n".join(filter(None, template.splitlines())))
    for path, value in filling.values.items():
        section, key = _place(params, path)
        section[key] = _written(value)
    for path, note in filling.notes.items():
        _add_to_comment(*_place(params, path), note)
    for path, why in filling.dropped.items():
        section, key = _place(params, path)
        del section[key]
        if not section:
            section.fa.set_flow_style()  # else {} is on a line of its own
            _add_to_comment(params, path.partition(".")[0], f"none: {why}")
    if filling.targets:
        _learn(params["runs"], filling.targets)
    for path in filling.examples:
        _to_comment(params, path)
    for name in [*params][1:]:
        params.yaml_set_comment_before_after_key(name, before="\n")
    params.yaml_set_start_comment(
        f"{filling.title}\n`dvc repro` in this folder runs every stage that a change affects."
    )
    return dump_yaml(params)


def _learn(runs: CommentedMap, targets: TargetSurvey) -> None:
    """Let the runs that classify learn something else."""
    for run in runs.values():
        if run["task"] in ("classify", targets.task):
            run["task"] = targets.task
            run.insert(1, targets.key, _written(targets.value), comment="what is learned: from source.metadata")


def round_trip_yaml() -> YAML:
    """Return a reader and writer that keeps comments, quotes, anchors and the spelling of numbers."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 2**20  # never breaks a line
    return yaml


def dump_yaml(document: Any) -> str:
    """Return the text of a document of `round_trip_yaml`."""
    text = io.StringIO()
    round_trip_yaml().dump(document, text)
    return text.getvalue()


def _place(params: CommentedMap, path: str) -> tuple[CommentedMap, str]:
    """The mapping and its key at a path of keys. Raises KeyError where the template has no such key."""
    *parents, key = path.split(".")
    for parent in parents:
        params = params[parent]
    params[key]  # a value for a key that the template lacks is a mistake of ours
    return params, key


def _add_to_comment(section: CommentedMap, key: str, note: str) -> None:
    token = section.ca.items[key][2]
    token.value = f"{token.value.rstrip()}; {note}\n"


def _to_comment(params: CommentedMap, path: str) -> None:
    """Turn a run of the template into a comment before the next section."""
    name, _, key = path.partition(".")
    section = params[name]
    example = CommentedMap({name: CommentedMap({key: section.pop(key)})})
    example[name].ca.items[key] = section.ca.items.pop(key)
    lines = "".join(dump_yaml(example).splitlines(keepends=True)[1:])
    following = [*params][[*params].index(name) + 1]
    hint = f"to have the run {key}, too, remove the # at the start of these lines, and the space after it:\n"
    params.yaml_set_comment_before_after_key(following, before=hint + lines)


def _written(value: Any) -> Any:
    """A value as ruamel writes it on one line; quoted where another reader could take a word for something else."""
    if isinstance(value, str):
        return value if _is_plain(value) else DoubleQuotedScalarString(value)
    if isinstance(value, Iterable):
        items = CommentedSeq(map(_written, value))
        items.fa.set_flow_style()
        return items
    return value


def word(text: str) -> str:
    """A name for a message or a comment: as it is, or in quotes with unprintable letters escaped."""
    if _is_plain(text):
        return text
    return "".join(
        letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in json.dumps(text, ensure_ascii=False)
    )


def _is_plain(text: str) -> bool:
    special = text.lower() in ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    number = text.lstrip(".")[:1].isdigit()
    return not (special or number) and bool(re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", text))
