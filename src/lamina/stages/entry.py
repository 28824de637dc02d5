"""The edge of every stage: from `params.yaml` in, to one clear line out when something is wrong."""

import errno
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from lamina.errors import UserError

USER_ERROR = 2
INTERRUPTED = 130


def run(main: Callable[[], None]) -> NoReturn:
    """Call a stage's `main` and end the process: 0, 2 with one line on stderr, or 130 after Ctrl-C."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted: nothing half-written is left; run again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except FileNotFoundError as error:
        print(f"error: {error.filename}: not found; `dvc repro` runs the stages that make it", file=sys.stderr)
        sys.exit(USER_ERROR)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        print(f"error: no space left on the disk{where}; free some and run again", file=sys.stderr)
        sys.exit(USER_ERROR)
    sys.exit(0)


def seed(params: dict[str, Any]) -> int:
    """The seed of everything that is drawn. Raises UserError where it is no whole number from 0 on."""
    value = params.get("seed")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"params.yaml: seed: expected a whole number from 0 on, got {value!r}")
    return value


def run_name() -> str:
    """The run that a stage is called for: its one argument."""
    if len(sys.argv) != 2:
        raise UserError(f"expected the name of a run, as in `python -m lamina.stages.train NAME`, got {sys.argv[1:]}")
    return sys.argv[1]
