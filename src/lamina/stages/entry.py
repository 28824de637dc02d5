"""The edge of every stage: from `params.yaml` in, to one clear line out when something is wrong."""

import errno
import os
import select
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.dummy import DummyProcess
from typing import Any, Final, NoReturn

from lamina.config import SEEDS, shown
from lamina.errors import UserError

USER_ERROR: Final = 2
INTERRUPTED: Final = 130
SECONDS_TO_END: Final = 5.0  # for a worker thread, and then for the process
UNREAD: Final = 141  # what a shell says of a program whose output nobody reads any more

STDOUT: Final = 1  # the process's, whatever `sys.stdout` is


def run(main: Callable[[], None]) -> NoReturn:
    """Call a stage's or command's `main` and end the process.

    With 0 or what `main` gave to `sys.exit`; with 2 and one line on stderr where something is wrong that people
    can mend (a UserError; a file, a disk); with 130 after Ctrl-C; quietly with 141 where the reader of stdout
    has gone, as in `lamina predict ... | head`.
    """
    code = _outcome(main)
    unsaid = _outcome(sys.stdout.flush)
    if unsaid:  # it would be tried again, with a trace, when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    sys.exit(code or unsaid)


def seed(params: Mapping[str, Any]) -> int:
    """The seed of everything that is drawn. Raises UserError where it is no whole number from 0 to 2**31 - 1."""
    value = params.get("seed")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < SEEDS:
        raise UserError(f"params.yaml: seed: expected a whole number from 0 to {SEEDS - 1}, got {shown(value)}")
    return value


def run_name() -> str:
    """Return the run that a stage is called for: its one argument."""
    return argument("name of a run")


def argument(what: str) -> str:
    """Return the one argument of a stage; what: its meaning, for the message where there is none."""
    if len(sys.argv) != 2:
        raise UserError(f"expected one argument, the {what}, got {sys.argv[1:]}")
    return sys.argv[1]


def _outcome(action: Callable[[], None]) -> Any:
    """Call it; return the exit code, having said what went wrong."""
    try:
        action()
        return 0
    except SystemExit as ended:
        return ended.code
    except KeyboardInterrupt:
        warnings.simplefilter("ignore")  # workers' last words about what they did not finish
        print("interrupted: nothing half-written is left; run again to go on", file=sys.stderr)
        for thread in threading.enumerate():
            if isinstance(thread, DummyProcess):  # ends with the shard in hand; an earlier end would be a crash
                thread.join(SECONDS_TO_END)
        _end_soon()
        return INTERRUPTED
    except UserError as error:
        said = str(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return UNREAD
        # a missing file that pandas names has no errno; what has none else is no file's or disk's fault
        if error.errno is None and not isinstance(error, FileNotFoundError):
            raise
        said = _told(error)
    print(f"error: {' '.join(said.splitlines())}", file=sys.stderr)
    return USER_ERROR


def _end_soon() -> None:
    """End the process, should it not end by itself: a worker that was killed as it answered is waited for for ever."""
    timer = threading.Timer(SECONDS_TO_END, os._exit, [INTERRUPTED])
    timer.daemon = True
    timer.start()


def _told(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"no space left on the disk{where}; free some and run again"
    if isinstance(error, FileNotFoundError):
        return f"{error.filename or error.strerror or error}: not found; `dvc repro` runs the stages that make it"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _reader_has_gone() -> bool:
    # asked of the system: without buffering (PYTHONUNBUFFERED) another flush would say nothing
    poll = select.poll()
    poll.register(STDOUT, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
