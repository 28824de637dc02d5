"""Boxes around objects, from Pascal VOC XML files."""

import posixpath
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from lamina.data.sources.members import Box, Members, decode_text, some, stem
from lamina.errors import UserError
from lamina.text import cut, quoted

SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
UNSURE: Final = (
    "pictures with boxes, the annotation has another <size> than the picture, or the picture is turned (EXIF) and no "
    "<size> tells in which frame the boxes were drawn; they are read in that of the picture as shown"
)
FARTHEST: Final = 2**31 - 1  # largest int32


def find_boxes(members: Members, folder: str) -> dict[str, str]:
    """Find the XML file of each picture that has one.

    A file belongs to the picture with the same name apart from the suffix. If several folders have such a picture, it
    belongs to the one in a folder of the same name.

    Args:
        members: Files of the source.
        folder: Folder of the XML files, relative to the root or to the single top folder.

    Returns:
        Full name of the XML file by full name of the picture.

    Raises:
        UserError: If no file has a picture, or a file has several, or a picture has several files.
    """
    place = members.find(folder, "source.boxes", folder=True)
    start = "" if place == "." else f"{place}/"
    files = [name for name in members.names if name.startswith(start) and name.lower().endswith(".xml")]
    pictures: dict[str, list[str]] = defaultdict(list)
    for name in members.pictures:
        pictures[stem(name)].append(name)
    found: dict[str, str] = {}
    for file in files:
        matches = _in_same_folder(file.removeprefix(start), pictures.get(stem(file), []))
        if len(matches) > 1:
            raise UserError(f"{members.where}: {file!r} may belong to {some(matches)}; use the same folders for both")
        if matches and found.setdefault(matches[0], file) != file:
            name = matches[0]
            raise UserError(f"{members.where}: {name!r} has boxes in {found[name]!r} and in {file!r}; keep one")
    if not found:
        raise UserError(
            f"{members.where}: none of {len(files)} .xml files in source.boxes {folder!r} has the name of a picture; "
            "rename them, or set source.boxes to null"
        )
    return found


def _in_same_folder(relative: str, pictures: list[str]) -> list[str]:
    """Of pictures with the same base name, those in folders of the same names; all if there are none."""
    if len(pictures) < 2:
        return pictures
    path = f"/{posixpath.splitext(relative)[0]}"
    return [name for name in pictures if f"/{posixpath.splitext(name)[0]}".endswith(path)] or pictures


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A Pascal VOC annotation.

    Attributes:
        objects: Name and box of each object, in whole pixels of a picture of this size.
        size: Width and height of the picture as the annotation tool had it; None if the file does not say.
    """

    objects: tuple[tuple[str, Box], ...]
    size: tuple[int, int] | None


def read_annotation(members: Members, file: str) -> Annotation:
    """Read an XML file, by its full name."""
    return parse_voc(members.read(file), f"{members.where}: {file}")


def shown_boxes(annotation: Annotation, encoded: bytes, target: str | None) -> tuple[tuple[Box, ...], bool]:
    """Return boxes in pixels of the picture as shown, that is, after its EXIF orientation.

    Some annotation tools turn a picture as viewers do, others draw in the frame that is stored. The size in the
    annotation says which, unless both frames have the same size.

    Args:
        annotation: Of the picture.
        encoded: Bytes of the picture.
        target: Name of the objects; None: all.

    Returns:
        The boxes, and whether their frame is sure.
    """
    from lamina.data.opening import UnreadableError, open_picture  # few sources need it, and it is slow to import

    boxes = tuple(box for name, box in annotation.objects if target in (None, name))
    try:
        picture = open_picture(encoded)
    except UnreadableError:  # the filter drops the picture
        return boxes, True
    shown, turn = (picture.width, picture.height), picture.orientation
    stored = shown[::-1] if turn > 4 else shown
    if annotation.size is None:
        return boxes, turn == 1
    if annotation.size == stored != shown:
        return tuple(_turn(box, *stored, turn) for box in boxes), True
    return boxes, annotation.size == shown and (turn == 1 or stored != shown)


def _turn(box: Box, width: int, height: int, orientation: int) -> Box:
    """Bring a box from a stored picture of width x height to the picture as shown, for the orientations 5 to 8."""
    left, top, right, bottom = box
    if orientation in (7, 8):
        left, right = width - right, width - left
    if orientation in (6, 7):
        top, bottom = height - bottom, height - top
    return top, left, bottom, right


def parse_voc(data: bytes, place: str) -> Annotation:
    """Read a Pascal VOC annotation.

    Args:
        data: Bytes of the XML file.
        place: Name of the file in error messages.

    Returns:
        Its content; coordinates are rounded to whole pixels.

    Raises:
        UserError: If it is no such XML, or declares a document type: its entities could expand without limit.
    """
    text = decode_text(data)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UserError(f"{place}: declares a document type (<!DOCTYPE>), which is refused; remove the declaration")
    try:
        root = ET.fromstring(text)  # noqa: S314  (attacks need a document type, which is refused above)
    except (ET.ParseError, ValueError) as error:
        raise UserError(f"{place}: not valid XML ({error}); correct or remove it") from None
    if root.tag != "annotation":
        raise UserError(
            f"{place}: expected Pascal VOC with the root <annotation>, got <{cut(root.tag)}>; correct or remove it"
        )
    objects = tuple((item.findtext("name", "").strip(), _box(item, place)) for item in root.iterfind("object"))
    return Annotation(objects=objects, size=_size(root))


def _size(root: ET.Element) -> tuple[int, int] | None:
    """The size that an annotation gives; None if there is none, or no positive whole numbers, as some tools write 0."""
    texts = [root.findtext(f"size/{side}", "").strip() for side in ("width", "height")]
    width, height = (int(text) if text.isdecimal() else 0 for text in texts)
    return (width, height) if width and height else None


def _box(item: ET.Element, place: str) -> Box:
    texts = [item.findtext(f"bndbox/{side}", "") for side in SIDES]
    try:
        left, top, right, bottom = (round(float(text)) for text in texts)
    except (ValueError, OverflowError):
        left = top = right = bottom = FARTHEST + 1
    if max(map(abs, (left, top, right, bottom))) > FARTHEST:
        raise UserError(f"{place}: expected <bndbox> with the numbers {', '.join(SIDES)}, got {quoted(texts)}")
    return left, top, right, bottom
