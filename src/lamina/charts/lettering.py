"""Names in figures as they stand: `$` is a letter, and scripts that matplotlib lacks get a font of this machine."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import matplotlib as mpl
from matplotlib.font_manager import FontProperties, fontManager

from lamina.fonts import SHIPPED, lettering

LONGEST: Final = 40  # characters of a name next to an axis
SHIPPED_FAMILY: Final = "DejaVu Sans"


@contextmanager
def plain_text(names: Iterable[str]) -> Iterator[Mapping[str, str]]:
    """Yield the text to write for each name. Figures with names are made, and saved, inside.

    matplotlib would read what stands between two `$` as mathematics, and fail where it is none.
    """
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it warns of fonts without a regular weight
    lettered = {name: lettering(name, LONGEST) for name in names}
    paths = dict.fromkeys(path for _, path in lettered.values() if path != SHIPPED)
    for path in paths:
        fontManager.addfont(path)
    families = [FontProperties(fname=str(path)).get_name() for path in paths]
    fonts = [SHIPPED_FAMILY, *families] if families else mpl.rcParams["font.family"]
    with mpl.rc_context({"text.parse_math": False, "font.family": fonts}):
        yield {name: text for name, (text, _) in lettered.items()}
