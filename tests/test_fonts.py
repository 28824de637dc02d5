"""Fonts for names in any script."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from lamina import fonts
from lamina.fonts import SHIPPED, is_shaped, lettering


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine without fonts of its own."""
    monkeypatch.setattr(fonts, "FOLDERS", ())
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for known in (fonts.fonts_with, fonts.installed_fonts):
        known.cache_clear()
    fonts._noted.clear()


def write_font(path: Path, letters: str) -> Path:
    """Write a font in which each letter is a square."""
    pen = TTGlyphPen(None)
    for step, point in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
        pen.lineTo(point) if step else pen.moveTo(point)
    pen.closePath()
    names = [".notdef", *(f"letter{number}" for number in range(len(letters)))]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, letters), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path


@pytest.mark.parametrize("text", ["neutrophil", "Öl größer ñ", "→ 93 %…", "Глаз", "سلام", "$5_front$"])
def test_the_shipped_font_is_enough_for_most_scripts(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert lettering(text) == (text, SHIPPED)
    assert capsys.readouterr().err == ""


def test_letters_that_no_font_has_become_their_codes_and_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert lettering("猫 cat") == (r"\u732b cat", SHIPPED)
    assert lettering("犬 dog") == (r"\u72ac dog", SHIPPED)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "猫: CJK UNIFIED IDEOGRAPH-732B" in said
    assert "install fonts" in said


def test_a_font_of_the_machine_that_has_the_letters_is_used(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_font(home / "fonts" / "Some.ttf", "猫")
    both = write_font(home / "fonts" / "deep" / "ZooSans-Regular.ttf", "猫犬cat ")
    (home / "fonts" / "Broken.ttf").write_bytes(b"no font")
    assert lettering("猫犬 cat") == ("猫犬 cat", both)
    assert capsys.readouterr().err == ""
    assert lettering("猫犬हि")[0] == r"猫犬\u0939\u093f", "the font with most of the letters"


def test_a_name_is_one_line_and_not_too_long() -> None:
    assert lettering("a\nb")[0] == r"a\nb"
    assert lettering("a" * 100, 10)[0] == "aaaaaaa..."


def test_letters_that_join_are_known() -> None:
    assert is_shaped("سلام")
    assert is_shaped("नमस्ते")
    assert not is_shaped("neutrófilo → 猫 Глаз")
