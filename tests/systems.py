"""What tests of several rooms share: where the checkout is, and small systems."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
