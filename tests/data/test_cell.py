"""The leukocyte is found in drawn and real smears, under other light, stain and scale, and only where there is one."""

import io
import zipfile
from collections.abc import Callable
from functools import cache
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from checkout import SHARED
from lamina.data.cell import BACKGROUND, Cell, box_overlap, find_cell, isolate_cell
from lamina.data.pixels import BOX_MARGIN as MARGIN
from lamina.data.sources.smear import draw, shots
from lamina.maths.color import lab_to_srgb, srgb_to_lab

Box = tuple[float, float, float, float]
Boxed = list[tuple[np.ndarray, Box]]

FIELD, RED, CYTOPLASM, NUCLEUS = (225, 222, 230), (205, 150, 140), (205, 180, 215), (95, 50, 140)


@cache
def smears() -> Boxed:
    """Drawn smears and the box of the leukocyte's outermost pixels."""
    sound = [shot for shot in shots(13, 80) if shot.flaw is None][:60]
    return [(np.asarray(image), box) for image, box in (draw(shot, 13) for shot in sound)]


def disc(image: np.ndarray, x: float, y: float, radius: float, color: tuple[int, int, int]) -> None:
    where = np.hypot(*(np.indices(image.shape[:2]) + 0.5 - np.array([y, x])[:, None, None])) < radius
    image[where] = color


def slide(*white: tuple[float, float], red: bool = True, side: int = 256) -> np.ndarray:
    """A slide of discs: red cells in rows, leukocytes of radius 35 with a nucleus of 22 at the given places."""
    image = np.empty((side, side, 3), np.uint8)
    image[:] = FIELD
    if red:
        for x in range(20, side, 56):
            for y in range(20, side, 56):
                disc(image, x, y, 24, RED)
                disc(image, x, y, 10, (215, 190, 185))
    for x, y in white:
        disc(image, x, y, 35, CYTOPLASM)
        disc(image, x, y, 22, NUCLEUS)
    return image


def overlaps(pictures: Boxed) -> np.ndarray:
    """How far the found box of each picture agrees with the labeled one; 0 where none is found."""
    cells = [(find_cell(rgb), box) for rgb, box in pictures]
    return np.array([0.0 if cell is None else box_overlap(cell.box, box) for cell, box in cells])


def found(pictures: Boxed) -> float:
    """Share of pictures on which the found box agrees with the labeled one."""
    return float(np.mean(overlaps(pictures) >= 0.5))


@cache
def few() -> list[tuple[np.ndarray, Box, Cell | None]]:
    """Some of the smears, with the cell that is found as they are."""
    return [(image, box, find_cell(image)) for image, box in smears()[:24]]


def found_unchanged() -> float:
    """Share of the few smears on which the found box agrees with the labeled one."""
    return float(np.mean([cell is not None and box_overlap(cell.box, box) >= 0.5 for _, box, cell in few()]))


def test_a_cell_of_discs_is_found_to_a_pixel_or_two() -> None:
    image = slide((120, 140))
    cell = find_cell(image)
    assert cell is not None
    assert cell.count == 1
    np.testing.assert_allclose(cell.box, (85, 105, 155, 175), atol=3)
    radii = np.hypot(*(cell.outline - (120, 140)).T)
    assert 33 < radii.min() < radii.max() < 38


def test_the_whole_cell_is_found_without_red_cells() -> None:
    cell = find_cell(slide((120, 140), red=False))
    assert cell is not None
    np.testing.assert_allclose(cell.box, (85, 105, 155, 175), atol=3)


def test_a_cell_cut_by_the_edge_ends_at_the_edge() -> None:
    cell = find_cell(slide((10, 130)))
    assert cell is not None
    np.testing.assert_allclose(cell.box, (0, 95, 45, 165), atol=3)
    assert cell.box[0] == 0


def test_cells_are_counted_and_the_largest_is_taken() -> None:
    image = slide((70, 70), (190, 190))
    disc(image, 70, 70, 27, NUCLEUS)
    cell = find_cell(image)
    assert cell is not None
    assert cell.count == 2
    np.testing.assert_allclose(cell.box, (35, 35, 105, 105), atol=3)


def test_touching_cells_are_separated() -> None:
    image = slide((110, 120))
    for x in (110, 162):
        disc(image, x, 120, 30, NUCLEUS)  # larger than a red cell: two nuclei, not two lobes
    cell = find_cell(image)
    assert cell is not None
    assert cell.count == 2
    left, _, right, _ = cell.box
    assert right - left < 80


def test_lobes_are_one_nucleus() -> None:
    image = slide((120, 140))
    disc(image, 120, 140, 35, CYTOPLASM)
    for x, y in ((105, 130), (135, 130), (120, 158)):
        disc(image, x, y, 11, NUCLEUS)
    cell = find_cell(image)
    assert cell is not None
    assert cell.count == 1
    np.testing.assert_allclose(cell.box, (85, 105, 155, 175), atol=4)


def test_drawn_leukocytes_are_found() -> None:
    agreements = overlaps(smears())
    assert np.mean(agreements >= 0.5) >= 0.95
    assert np.mean(agreements >= 0.8) >= 0.85


TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip_tta": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "quarter turn": np.rot90,
    "half turn": lambda image: np.rot90(image, 2),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_picture_shows_the_same_cell_turned(turn: str) -> None:
    agreements = []
    for image, _, before in few():
        after = find_cell(TURNS[turn](image))
        assert before is not None
        assert after is not None
        assert before.count == after.count
        agreements.append(box_overlap(after.box, bounds(TURNS[turn](filled(before.box, image.shape[:2])))))
    assert min(agreements) > 0.9
    assert np.median(agreements) > 0.98


def filled(box: Box, shape: tuple[int, ...]) -> np.ndarray:
    left, top, right, bottom = box
    mask = np.zeros(shape[:2], bool)
    mask[int(top) : int(bottom), int(left) : int(right)] = True
    return mask


def bounds(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def lit(image: np.ndarray, *gains: float) -> np.ndarray:
    return np.clip(np.rint(image * np.array(gains)), 0, 255).astype(np.uint8)


def restained(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn the hue of everything, in the plane of CIELAB's a and b."""
    lab = srgb_to_lab(image)
    turn = np.deg2rad(degrees)
    a, b = lab[..., 1].astype(float), lab[..., 2].astype(float)
    turned = np.stack([a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn)], axis=-1)
    return lab_to_srgb(np.concatenate([lab[..., :1], np.rint(turned).astype(np.int16)], axis=-1))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "warm light": lambda image: lit(image, 1.2, 1, 0.8),
    "cold light": lambda image: lit(image, 0.8, 1, 1.2),
    "green light": lambda image: lit(image, 0.8, 1.2, 0.8),
    "magenta light": lambda image: lit(image, 1.2, 0.8, 1.2),
    "dark": lambda image: lit(image, 0.8),
    "bright": lambda image: lit(image, 1.2),
    "bluer stain": lambda image: restained(image, -25),
    "redder stain": lambda image: restained(image, 25),
}


@pytest.mark.parametrize("change", CHANGES)
def test_light_and_stain_hardly_matter(change: str) -> None:
    changed = [(CHANGES[change](image), box) for image, box, _ in few()]
    assert found(changed) >= 0.85 * found_unchanged()


@pytest.mark.parametrize("scale", [0.5, 2, 5])
def test_pixel_size_hardly_matters(scale: float) -> None:
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = [
        (cv2.resize(image, None, fx=scale, fy=scale, interpolation=kernel), tuple(scale * edge for edge in box))
        for image, box, _ in few()
    ]
    assert found(scaled) >= 0.85 * found_unchanged()  # type: ignore[arg-type]


def test_no_leukocyte_no_cell() -> None:
    platelets = slide()
    for x, y in ((50, 50), (160, 105), (100, 220)):
        disc(platelets, x, y, 11, NUCLEUS)  # under half a red cell's radius
    assert find_cell(slide()) is None
    assert find_cell(platelets) is None
    assert find_cell(np.asarray(Image.fromarray(slide((120, 140))).convert("L").convert("RGB"))) is None


def test_uneven_light_is_no_stain() -> None:
    image = slide().astype(float)
    image[..., 1] *= np.linspace(1, 0.85, 256)
    assert find_cell(image.astype(np.uint8)) is None


def test_a_nucleus_too_dark_for_the_camera_is_found_whole() -> None:
    image = slide((120, 140))
    disc(image, 120, 140, 22, (0, 40, 130))
    nucleus = (image == (0, 40, 130)).all(axis=-1)
    image[nucleus, 0] = np.random.default_rng(1).choice([0, 14], nucleus.sum(), p=[0.7, 0.3])
    cell = find_cell(image)
    assert cell is not None
    np.testing.assert_allclose(cell.box, (85, 105, 155, 175), atol=4)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_pictures_hold_no_cell(level: int) -> None:
    assert find_cell(np.full((48, 64, 3), level, np.uint8)) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 2**32 - 1), st.sampled_from([1, 8, 64]))
def test_a_cell_lies_inside_any_picture(width: int, height: int, seed: int, grain: int) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-height // grain), -(-width // grain), 3), np.uint8)
    image = coarse.repeat(grain, 0).repeat(grain, 1)[:height, :width]
    cell = find_cell(image)
    if cell is not None:
        left, top, right, bottom = cell.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert np.isfinite(cell.outline).all()
        assert isolate_cell(image, cell, 24).shape == (24, 24, 3)


def test_the_picture_is_not_changed_and_the_result_is_repeatable() -> None:
    image = smears()[0][0].copy()
    image.flags.writeable = False
    first, again = find_cell(image), find_cell(image.copy())
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.outline, again.outline)
    np.testing.assert_array_equal(isolate_cell(image, first, 64), isolate_cell(image, again, 64))


def round_cell(x: float, y: float, radius: float) -> Cell:
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    outline = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
    return Cell((int(x - radius), int(y - radius), int(x + radius), int(y + radius)), outline, 1)


def test_the_rim_is_soft() -> None:
    image = np.full((200, 200, 3), 250, np.uint8)
    square = isolate_cell(image, round_cell(100, 90, 50), 120)
    assert len(np.unique(square)) > 20


@pytest.mark.parametrize("size", [24, 120, 300])
def test_an_isolated_cell_is_alone_on_the_background(size: int) -> None:
    image = np.full((200, 200, 3), (250, 0, 0), np.uint8)
    disc(image, 100, 90, 60, (0, 0, 250))
    square = isolate_cell(image, round_cell(100, 90, 50), size).astype(int)
    distance = np.hypot(*(np.indices((size, size)) + 0.5 - size / 2)) * (100 * (1 + 2 * MARGIN)) / size
    rim = 3 + 120 / size  # the soft rim, two pixels of the bicubic kernel, and a pixel of the square
    assert (square[distance > 50 + rim] == BACKGROUND).all()
    assert (square[distance < 50 - rim] == (0, 0, 250)).all()
    assert square[..., 0].max() < 150  # nothing of the red around bleeds in; bicubic swings over a little


def test_the_background_continues_beyond_the_picture() -> None:
    image = np.full((100, 80, 3), (0, 0, 250), np.uint8)
    cell = Cell((0, 20, 30, 80), round_cell(0, 50, 30).outline, 1)
    square = isolate_cell(image, cell, 72).astype(int)  # a pixel a pixel: from -21 to 51, from 14 to 86
    assert (square[:, :20] == BACKGROUND).all()
    assert (square[30:42, 22:48] == (0, 0, 250)).all()
    assert (square[:, 53:] == BACKGROUND).all()


def test_the_square_shows_nothing_of_the_slide() -> None:
    for image, _ in smears()[:8]:
        cell = find_cell(image)
        assert cell is not None
        square = isolate_cell(image, cell, 96)
        for corner in (square[0], square[-1], square[:, 0], square[:, -1]):
            assert (corner == BACKGROUND).all()


def test_overlap_of_boxes() -> None:
    assert box_overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert box_overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert box_overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert box_overlap((0, 0, 1, 1), (-1, -1, 3, 3)) == box_overlap((-1, -1, 3, 3), (0, 0, 1, 1)) == 1 / 16


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_real_leukocytes_are_found_under_any_light_and_stain() -> None:
    real = real_leukocytes(slice(1, None, 4))
    assert len(real) == 86
    agreements = overlaps(real)
    plain = np.mean(agreements >= 0.5)
    assert plain >= 0.95
    assert np.mean(agreements >= 0.7) >= 0.8  # labeled boxes are wider than the cells
    for index, change in enumerate(CHANGES.values()):
        few = real[index :: len(CHANGES)]
        assert found([(change(image), box) for image, box in few]) >= 0.85 * plain


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_real_fields_without_a_leukocyte_hold_no_cell() -> None:
    fields = []
    for image, (left, _, right, _) in real_leukocytes(slice(0, None, 8)):
        side = image[:, right + 25 :] if left + right < image.shape[1] else image[:, : max(0, left - 25)]
        if side.shape[1] >= 240:
            fields.append(side)
    assert len(fields) > 20
    assert np.mean([find_cell(field) is None for field in fields]) >= 0.9


def real_leukocytes(which: slice) -> Boxed:
    """Pictures with one box named WBC, and that box, by name."""
    boxed = []
    with zipfile.ZipFile(SHARED / "leukocytes.zip") as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".xml")):
            tree = ElementTree.fromstring(archive.read(name))  # noqa: S314 - the project's own data
            white = [one for one in tree.iter("object") if one.findtext("name") == "WBC"]
            if len(white) == 1:
                edges = (float(white[0].findtext(f"bndbox/{edge}", "")) for edge in ("xmin", "ymin", "xmax", "ymax"))
                boxed.append((name.replace("boxes/", "images/").replace(".xml", ".jpg"), tuple(map(int, edges))))
        return [
            (np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")), box)  # type: ignore[misc]
            for name, box in boxed[which]
        ]
