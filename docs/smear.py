"""Draw docs/smear.png, the picture of the README: a row per class, each smear from another slide.

python docs/smear.py
"""

from pathlib import Path

from PIL import Image, ImageDraw

from lamina.data.sources.smear import DECK, draw, shots

SEED = 13


def sheet(seed: int, columns: int = 6, side: int = 160) -> Image.Image:
    """Draw a sheet: a row per class, each picture from another slide, with its class below."""
    strip, shown = 16, dict.fromkeys(DECK, 0)
    page = Image.new("RGB", (columns * side, len(shown) * (side + strip)), "white")
    pen, used = ImageDraw.Draw(page), set()
    for shot in shots(seed, 60 * columns):
        row, column = list(shown).index(shot.label), shown[shot.label]
        if shot.flaw is None and shot.slide not in used and column < columns:
            small = draw(shot, seed)[0].resize((side, side), Image.Resampling.LANCZOS)
            page.paste(small, (column * side, row * (side + strip)))
            at = ((column + 0.5) * side, (row + 1) * (side + strip) - strip / 2)
            pen.text(at, shot.label, fill="black", anchor="mm")
            shown[shot.label] += 1
            used.add(shot.slide)
    palette = page.quantize(256, kmeans=5)
    return page.quantize(palette=palette)  # dithered: a third of the bytes, no banding


if __name__ == "__main__":
    sheet(SEED).save(Path(__file__).with_suffix(".png"), optimize=True)
