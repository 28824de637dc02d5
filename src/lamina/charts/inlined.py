"""Pictures inside the page: read, narrowed, and written into its text."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from lamina.errors import UserError

SMALL_SIDE: Final = 64  # pictures up to this side are kept as they are, since every pixel shows when they are enlarged
WIDEST_SHEET: Final = 1200
QUALITY: Final = 82


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture inside the page."""

    source: str
    width: int
    height: int


def inlined_sheet(path: Path) -> Drawn:
    """Inline a contact sheet; raises UserError where the file is no picture."""
    try:
        with Image.open(path) as sheet:
            return inlined(sheet.convert("RGB"), WIDEST_SHEET)
    except UnidentifiedImageError:
        raise UserError(f"{path}: no picture; delete it and run `dvc repro` again") from None


def inlined(picture: Image.Image, widest: int) -> Drawn:
    """Inline a picture as WebP, narrowed to `widest` pixels; small ones exactly."""
    if picture.width > widest:
        picture = picture.resize((widest, round(picture.height * widest / picture.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=QUALITY, lossless=picture.width <= SMALL_SIDE)
    source = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
    return Drawn(source=source, width=picture.width, height=picture.height)
