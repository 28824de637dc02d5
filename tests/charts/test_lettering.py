"""Names in figures."""

import io
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lamina import fonts
from lamina.charts.lettering import plain_text
from lamina.fonts import lettering


def drawn(name: str) -> np.ndarray:
    """The pixels of a figure with a name as title, tick and label."""
    figure, file = Figure(figsize=(3, 2), layout="constrained"), io.BytesIO()
    with plain_text([name]) as text, warnings.catch_warnings():
        warnings.simplefilter("error")  # a letter without a glyph is a warning
        axes = figure.add_subplot()
        axes.set_title(text[name])
        axes.set_xticks([0.5], [text[name]])
        figure.savefig(file)
    return np.asarray(Image.open(file).convert("L"))


@pytest.mark.parametrize("name", ["$$", "$5_front$", r"\foo", r"$\frac", "a\nb", "猫", "हिन्दी", "سلام", "", "x" * 400])
def test_any_name_can_be_drawn(name: str) -> None:
    assert (drawn(name) < 255).any()


def test_dollars_are_no_mathematics() -> None:
    figure = Figure()
    with plain_text(["$5_front$", "5_front"]) as text:
        one, other = (figure.text(0, 0, text[name]) for name in text)
        wide, narrow = (label.get_window_extent().width for label in (one, other))
    assert one.get_text() == "$5_front$"
    assert wide > narrow, "the signs are drawn"


def test_a_font_of_the_machine_is_used_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    other = fonts.SHIPPED.with_name("STIXGeneral.ttf")
    monkeypatch.setattr("lamina.charts.lettering.lettering", lambda name, most: (lettering(name)[0], other))
    with plain_text(["x"]) as text:
        assert dict(text) == {"x": "x"}
        assert Figure().text(0, 0, "x").get_fontfamily() == ["DejaVu Sans", "STIXGeneral"]
