"""Overlays of params.yaml: the rules by which one replaces another, and the changes in the text.

An overlay is a nested mapping of changes. Mappings are merged; everything else, lists too, replaces what is there.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Any, Final, TypeAlias

from ruamel.yaml.anchor import Anchor
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarbool import ScalarBoolean

from lamina.commands.template import dump_yaml, round_trip_yaml
from lamina.config import NAMED
from lamina.errors import UserError

ENTRIES: Final = (*NAMED, "assess")  # sections with entries by name: in assess, the values of one run or task
SECTION: Final = re.compile(r"([A-Za-z_]\w*)\s*:")  # at the start of a line
NOT_SET: Final = "not set"

Key: TypeAlias = tuple[str, ...]  # ("runs", "tiny", "epochs")
Overlays: TypeAlias = Mapping[str, Mapping[str, Any]]  # by the names of their files, as messages show them


def read_overlay(text: str) -> CommentedMap:
    """Read a valid overlay; numbers keep their spelling, anchors and merge keys are resolved."""
    overlay: CommentedMap = _clean(round_trip_yaml().load(text))
    for section in ENTRIES:
        if section in overlay and overlay[section] is None:
            del overlay[section]
    return overlay


def merge(params: Any, overlay: Any) -> Any:
    """Return the parameters with the changes of an overlay."""
    if not (isinstance(params, Mapping) and isinstance(overlay, Mapping)):
        return overlay
    return {**params, **{key: merge(params.get(key), value) for key, value in overlay.items()}}


def apply(params: Mapping[str, Any], overlays: Overlays, name: str) -> dict[str, Any]:
    """Return the parameters with one overlay in place of every other one.

    Args:
        params: content of params.yaml, to which any of the overlays may have been applied before, or none.
        overlays: all overlays of the system.
        name: that of the overlay to apply.

    Returns:
        The parameters, without the named entries that only other overlays have.
    """
    merged: dict[str, Any] = merge(params, overlays[name])
    foreign = {place for overlay in overlays.values() for place in entries(overlay)} - entries(overlays[name]).keys()
    for section in {section for section, _ in foreign & entries(merged).keys()}:
        merged[section] = {key: entry for key, entry in merged[section].items() if (section, key) not in foreign}
    return merged


def check_overlays(params: Mapping[str, Any], overlays: Overlays, name: str) -> None:
    """Check that nothing of one overlay stays behind when another one is applied, and that nothing else gets lost.

    Raises:
        UserError: an overlay lacks a key that another one sets; or an entry would be removed that no overlay can bring
            back.
    """
    for file, other in permutations(overlays, 2):
        own, others = entries(overlays[file]), entries(overlays[other])
        set_there = {key[:length] for key in leaves(overlays[other]) for length in range(1, len(key) + 1)}
        for key in leaves(overlays[file]):
            # null in place of a mapping sets all of it; an entry may be missing as a whole
            covered = key in set_there or any(key[:length] in leaves(overlays[other]) for length in range(1, len(key)))
            if not covered and (key[:2] in others or key[:2] not in own):
                raise _missing(key, file, other)
    there, wanted = entries(params), entries(overlays[name])
    for place in there:
        having = {file: own[place] for file, overlay in overlays.items() if place in (own := entries(overlay))}
        if having and len(having) < len(overlays):
            _check_entry(place, there[place], {name: wanted[place]} if place in wanted else having, overlays, name)


def _check_entry(place: Key, entry: Any, having: Mapping[str, Any], overlays: Overlays, name: str) -> None:
    """Check that an entry of params.yaml that some overlays have, and others do not, is from an overlay.

    Args:
        place: of the entry.
        entry: as it is in params.yaml.
        having: the entry of each overlay that has it; if the overlay to apply does, of that one alone.
        overlays: all of the system.
        name: of the overlay to apply.
    """
    keys = leaves(entry, place).keys()
    file, own = next(iter(having.items()))
    if not any(keys <= leaves(one, place).keys() for one in having.values()):
        lacking = next(other for other, overlay in overlays.items() if place not in entries(overlay))
        raise _missing(next(iter(leaves(own, place)), place), file, lacking)
    if name not in having and entry not in having.values():
        raise UserError(
            f"params.yaml: {'.'.join(place)} differs from that of {file}; {name} has none and would remove it: "
            f"write it to {file}, or remove it from params.yaml"
        )


def _missing(key: Key, file: str, other: str) -> UserError:
    return UserError(
        f"{'.'.join(key)}: {file} sets it, but {other} does not; add it there, so that each profile replaces the "
        "values of the others"
    )


def entries(params: Mapping[str, Any]) -> dict[Key, Any]:
    """Return the named entries of all sections, by place: ("runs", "tiny")."""
    sections = {section: given for section in ENTRIES if isinstance(given := params.get(section), Mapping)}
    return {
        (section, name): entry
        for section, given in sections.items()
        for name, entry in given.items()
        if section in NAMED or (isinstance(name, str) and isinstance(entry, Mapping))
    }


def leaves(value: Any, place: Key = ()) -> dict[Key, Any]:
    """Return what is no mapping, by key; an empty mapping has nothing."""
    if not isinstance(value, Mapping):
        return {place: value}
    return {key: leaf for name, inner in value.items() for key, leaf in leaves(inner, (*place, str(name))).items()}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each key that differs (old -> new), and for each named entry that is new or gone."""
    before, after = entries(old), entries(new)
    changed = before.keys() ^ after.keys()
    for place in sorted(changed):
        yield f"{'.'.join(place)}: {'added' if place in after else 'removed'}"
    values, others = leaves(old), leaves(new)
    for key in dict.fromkeys([*values, *others]):
        was, now = (_shown(one[key]) if key in one else NOT_SET for one in (values, others))
        if was != now and key[:2] not in changed:
            yield f"{'.'.join(key)}: {was} -> {now}"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


# ---- the text


def rewrite(text: str, params: Mapping[str, Any], overlay: Mapping[str, Any]) -> str:
    """Change the text of params.yaml; comments stay, and so do anchors that hold for the new values, too.

    Args:
        text: of params.yaml.
        params: what it is to hold.
        overlay: gives the order of the entries that it adds.
    """
    body, gaps = _without_gaps(text)
    body = _pass(body, params, overlay, inherited=False)
    for _ in range(body.count("<<")):  # who inherits a value that changed sees it after reading the text again
        body = _pass(body, params, overlay, inherited=True)
    lines = ((gaps.get(found[1], "") if (found := SECTION.match(line)) else "") + line for line in io.StringIO(body))
    return "".join(lines) + gaps[""]


def _pass(body: str, params: Mapping[str, Any], overlay: Mapping[str, Any], *, inherited: bool) -> str:
    """Give a text these values; inherited: also where a merge key (<<) gives another one."""
    document = round_trip_yaml().load(body)
    counts = Counter(map(id, _mappings(document)))
    aliased = {one for one, count in counts.items() if count > 1}
    _bring(document, params, aliased, inherited=inherited)
    for section in ENTRIES:
        _order(document, section, overlay)
    return dump_yaml(document)


def _without_gaps(text: str) -> tuple[str, dict[str, str]]:
    """Take out the empty lines and comments before each section, and at the end; return the rest, and them by section.

    For ruamel they are a part of the entry before them: it would put a new entry after them, and remove them with it.
    """
    body, gap, gaps = "", "", {}
    for line in io.StringIO(text):
        if not line.strip() or line.startswith("#"):
            gap += line
            continue
        if found := SECTION.match(line):
            gaps[found[1]], gap = gap, ""
        body, gap = body + gap + line, ""
    return body, gaps | {"": gap}


def _mappings(value: Any) -> Iterator[Any]:
    """Yield every mapping inside a mapping; one that has several places by an anchor, several times."""
    for inner in value.values():
        if isinstance(inner, Mapping):
            yield inner
            yield from _mappings(inner)


def _bring(document: CommentedMap, params: Mapping[str, Any], aliased: set[int], *, inherited: bool) -> None:
    """Give a document these values; what has them already is not touched.

    aliased: ids of the mappings with several places, which are replaced where they change and stay in the others.
    """
    own = {key for key, _ in document.non_merged_items()}
    for key in [key for key in document if key not in params]:
        del document[key]
    if not params:
        document.fa.set_flow_style()  # else {} is on a line of its own
    for key, value in params.items():
        there = document.get(key)
        if key in document and (there == value or not (inherited or key in own)):
            continue
        if isinstance(value, Mapping) and isinstance(there, CommentedMap) and id(there) not in aliased:
            _bring(there, value, aliased, inherited=inherited)
        else:
            document[key] = _clean(value)


def _order(document: CommentedMap, section: str, overlay: Mapping[str, Any]) -> None:
    """Bring the entries that an overlay has complete into its order, so that it always gives the same text."""
    there, wanted = entries(document), entries(overlay)
    names = [place[1] for place in wanted if place[0] == section and _same_keys(there[place], wanted[place])]
    if [name for name in document.get(section) or {} if name in names] != names:
        for name in names:
            document[section].move_to_end(name)


def _same_keys(one: Any, other: Any) -> bool:
    return leaves(one).keys() == leaves(other).keys()


def _clean(value: Any) -> Any:
    """Copy a value of a document without comments and anchors; a list stays on one line or on several."""
    if isinstance(value, Mapping):
        copy = CommentedMap({key: _clean(inner) for key, inner in value.items()})
        if isinstance(value, CommentedMap) and value.fa.flow_style():
            copy.fa.set_flow_style()
        return copy
    if isinstance(value, list):
        items = CommentedSeq(map(_clean, value))
        if not isinstance(value, CommentedSeq) or value.fa.flow_style():
            items.fa.set_flow_style()
        return items
    if isinstance(value, ScalarBoolean):  # a bool with an anchor
        return bool(value)
    if hasattr(value, Anchor.attrib):
        delattr(value, Anchor.attrib)
    return value
