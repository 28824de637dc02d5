"""Where the checkout is, and real data next to it, which not every machine has."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SHARED: Final = ROOT.parent / "shared" / "data"
