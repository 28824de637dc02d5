"""Boxes around objects, as Pascal VOC XML files tell them."""

import posixpath
import xml.etree.ElementTree as ET
from collections import defaultdict
from typing import Final

from lamina.data.sources.members import Members, decode_text, normal, some
from lamina.errors import UserError

Box = tuple[int, int, int, int]

SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
FARTHEST: Final = 2**31 - 1  # what an int32 holds


def find_boxes(members: Members, folder: str) -> dict[str, str]:
    """Give the XML file of each picture that has one, by full names.

    folder: where the XML files lie, relative to the root or the single top folder. A file belongs to the
    picture of the same name but for the suffix; where several folders hold such a picture, to the one whose
    folder it mirrors. Raises UserError where no file has a picture, or one has several.
    """
    place = members.find(folder, "source.boxes", folder=True)
    start = "" if place == "." else f"{place}/"
    files = [name for name in members.names if name.startswith(start) and name.lower().endswith(".xml")]
    pictures: dict[str, list[str]] = defaultdict(list)
    for name in members.pictures:
        pictures[_stem(name)].append(name)
    found: dict[str, str] = {}
    for file in files:
        alike = _mirrored(file.removeprefix(start), pictures.get(_stem(file), []))
        if len(alike) > 1:
            raise UserError(f"{members.where}: {file!r} may belong to {some(alike)}; mirror their folders")
        if alike and found.setdefault(alike[0], file) != file:
            raise UserError(f"{members.where}: {alike[0]!r} has boxes in {found[alike[0]]!r} and in {file!r}; keep one")
    if not found:
        raise UserError(
            f"{members.where}: none of {len(files)} .xml files in source.boxes {folder!r} is named as a picture"
        )
    return found


def _stem(name: str) -> str:
    return normal(posixpath.splitext(posixpath.basename(name))[0])


def _mirrored(relative: str, pictures: list[str]) -> list[str]:
    """Of pictures with the same base name, those that lie in folders of the same names, if there are."""
    if len(pictures) < 2:
        return pictures
    path = f"/{posixpath.splitext(relative)[0]}"
    return [name for name in pictures if f"/{posixpath.splitext(name)[0]}".endswith(path)] or pictures


def read_boxes(members: Members, file: str, target: str | None) -> tuple[Box, ...]:
    """Boxes (left, top, right, bottom) in an XML file, as written there; of objects named `target`, or of all."""
    objects = parse_voc(members.read(file), f"{members.where}: {file}")
    return tuple(box for name, box in objects if target in (None, name))


def parse_voc(data: bytes, place: str) -> tuple[tuple[str, Box], ...]:
    """Read (name, box) of each object of a Pascal VOC annotation.

    Coordinates are pixels as the file gives them, rounded to whole ones. place: how messages name the file.
    Raises UserError for what is no such XML, or declares a document type: entities could expand without bound.
    """
    text = decode_text(data)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UserError(f"{place}: declares a document type (<!DOCTYPE>), which is refused; remove the declaration")
    try:
        root = ET.fromstring(text)  # noqa: S314  (what attacks need, a document type, was refused above)
    except (ET.ParseError, ValueError) as error:
        raise UserError(f"{place}: not valid XML ({error}); mend or remove it") from None
    if root.tag != "annotation":
        raise UserError(f"{place}: expected Pascal VOC with the root <annotation>, got <{root.tag}>")
    return tuple((item.findtext("name", "").strip(), _box(item, place)) for item in root.iterfind("object"))


def _box(item: ET.Element, place: str) -> Box:
    told = [item.findtext(f"bndbox/{side}", "") for side in SIDES]
    try:
        left, top, right, bottom = (round(float(value)) for value in told)
    except (ValueError, OverflowError):
        left = top = right = bottom = FARTHEST + 1
    if max(map(abs, (left, top, right, bottom))) > FARTHEST:
        raise UserError(f"{place}: expected <bndbox> with the numbers {', '.join(SIDES)}, got {told}")
    return left, top, right, bottom
