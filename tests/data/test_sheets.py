"""Contact sheets."""

import numpy as np
import pytest

from lamina.data.sheets import contact_sheet

BLACK = np.zeros((40, 80, 3), dtype=np.uint8)


def test_a_sheet_is_white_and_as_large_as_its_rows() -> None:
    plain = contact_sheet([[BLACK] * 3, [BLACK]], ["", ""], cell=50)
    assert plain.getpixel((0, 0)) == (255, 255, 255)
    captioned = contact_sheet([[BLACK] * 3, [BLACK]], ["eosinófilo", "b"], [["x", "", "y"], ["z"]], cell=50)
    assert captioned.width > plain.width
    assert captioned.height > plain.height
    assert plain.getpixel((plain.width // 2, 16 + 25)) == (0, 0, 0)


def test_a_sheet_shortens_captions_and_does_not_change_its_pictures() -> None:
    shown = np.random.default_rng(1).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    before = shown.copy()
    words = (["an unreasonably long label " * 9], [["a caption far wider than its cell"]])
    long, again = (contact_sheet([[shown]], *words, cell=40) for _ in range(2))
    assert long.width < 400
    assert np.array_equal(shown, before)
    assert long.tobytes() == again.tobytes()


@pytest.mark.parametrize("shape", [(1, 3000, 3), (3000, 1, 3)])
def test_a_line_of_pixels_is_still_seen(shape: tuple[int, int, int]) -> None:
    sheet = np.asarray(contact_sheet([[np.zeros(shape, np.uint8)]], [""], cell=50))
    assert (sheet < 250).any()


def test_a_sheet_refuses_what_does_not_match() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], [])
    with pytest.raises(ValueError, match="shorter"):
        contact_sheet([[BLACK]], [])


def test_names_in_any_script_are_drawn_and_told_apart() -> None:
    names = ["猫", "犬", "हि", "سلام", "ملاس", "$$", "a\tb"]
    sheets = [contact_sheet([[BLACK]], [name], [[name]]) for name in names]
    assert len({sheet.tobytes() for sheet in sheets}) == len(names)
