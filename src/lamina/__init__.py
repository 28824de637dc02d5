"""From a folder of pictures to a tracked, tuned, honestly tested classifier.

`lamina.open` opens a system in Python. Importing lamina alone takes no time: `lamina.api` is imported at first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.api import Run, Runs, System, open
    from lamina.errors import UserError

__version__ = "0.2.0"

__all__ = ["Run", "Runs", "System", "UserError", "__version__", "open"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lamina' has no attribute {name!r}")
    from lamina import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
