"""Entry point of stages and commands: seed and arguments, exit codes, errors in one line, and one process per stage."""

import errno
import os
import re
import select
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from multiprocessing.dummy import DummyProcess
from pathlib import Path
from typing import Any, Final, NoReturn

from lamina.config import SEEDS, shown, valid_name
from lamina.errors import UserError
from lamina.files import own_temporary_files
from lamina.locks import LOCKS, exclusive
from lamina.text import one_line

USER_ERROR: Final = 2
INTERRUPTED: Final = 130
SECONDS_TO_END: Final = 5.0  # for a worker thread, and then for the process
LONGEST: Final = 120  # letters of the name of a lock
PIPE_CLOSED: Final = 141  # 128 + SIGPIPE, as a shell reports it

STDOUT: Final = 1  # file descriptor
DVC_STAGE: Final = "DVC_STAGE"  # in which DVC names the stage to its command: [FOLDER/dvc.yaml:]train@NAME


def run_stage(main: Callable[[], None]) -> NoReturn:
    """`run` the `main` of a stage, in one process per system and stage, and no longer than the `dvc` that started it.

    DVC's own lock ends with `dvc`. If `dvc` alone is killed and run again, two processes would write the same files.
    """
    if DVC_STAGE in os.environ:
        threading.Thread(target=_end_with_dvc, daemon=True).start()
    run_alone(main)


def run_alone(main: Callable[[], None]) -> NoReturn:
    """`run` the `main` of a stage, in one process per system and stage."""
    stage = "@".join([Path(sys.argv[0]).stem, *_given()])
    file = re.sub(r"[^\w@.-]", "-", stage)[:LONGEST]  # the name is not checked yet
    with ExitStack() as until_the_end:

        def alone() -> None:
            until_the_end.enter_context(exclusive(LOCKS / f"{file}.lock", f"the stage {stage}"))
            until_the_end.enter_context(own_temporary_files())
            main()

        run(alone)


def run(main: Callable[[], None]) -> NoReturn:
    """Call the `main` of a stage or command and end the process with an exit code.

    0, or the code that `main` gives to `sys.exit`; 2 with one line on stderr for a UserError or a file or disk error;
    130 after Ctrl-C; 141 without a message if the reader of stdout has closed it, as in `lamina predict ... | head`.

    Args:
        main: Takes no arguments.
    """
    code = _outcome(main)
    flush_code = _outcome(sys.stdout.flush)
    if flush_code:  # the interpreter would flush again at its end, and print a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    sys.exit(code or flush_code)


def seed(params: Mapping[str, Any]) -> int:
    """Return the seed of all random draws.

    Args:
        params: The contents of `params.yaml`.

    Raises:
        UserError: If it is not a whole number from 0 to 2**31 - 1.
    """
    value = params.get("seed")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < SEEDS:
        raise UserError(f"params.yaml: seed: expected a whole number from 0 to {SEEDS - 1}, got {shown(value)}")
    return value


def run_name() -> str:
    """Return the name of the run that a stage works on (`argument`)."""
    return argument("name of a run")


def argument(what: str) -> str:
    """Return the name that a stage works on: its one argument, or what DVC says it runs, as `train@NAME`.

    The commands of `dvc.yaml` hold no names: DVC would put them into a line for the shell as they are, and run a name
    like `$(rm x)` before any stage could refuse it.

    Args:
        what: Meaning of the argument, for the message.

    Raises:
        UserError: If there is not exactly one, or it is no valid name.
    """
    names = _given()
    if len(names) != 1:
        raise UserError(f"expected one argument, the {what}, got {names}")
    return valid_name(names[0], what)


def _given() -> list[str]:
    """Return the arguments, or without any the name that DVC says."""
    given, (_, at, of_dvc) = sys.argv[1:], os.environ.get(DVC_STAGE, "").rpartition("@")
    return [of_dvc] if at and not given else given


def _outcome(action: Callable[[], None]) -> Any:
    """Call it, print an error if there is one, and return the exit code."""
    try:
        action()
        return 0
    except SystemExit as ended:
        return ended.code
    except KeyboardInterrupt:
        warnings.simplefilter("ignore")  # workers warn about unfinished work
        print("interrupted: no half-written file is left; run again to continue", file=sys.stderr)
        for thread in threading.enumerate():
            if isinstance(thread, DummyProcess):  # it finishes its shard; ending earlier would crash
                thread.join(SECONDS_TO_END)
        _end_soon()
        return INTERRUPTED
    except UserError as error:
        message = str(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _stdout_closed():
            return PIPE_CLOSED
        # pandas raises FileNotFoundError without errno; other errors without errno are not of a file or disk
        if error.errno is None and not isinstance(error, FileNotFoundError):
            raise
        message = _message(error)
    print(f"error: {one_line(message)}", file=sys.stderr)
    return USER_ERROR


def _end_with_dvc() -> None:
    """End this process at once when the `dvc` that started it has ended."""
    from lamina.dvc_process import find_dvc, wait_for_end  # only a stage that DVC started needs it

    wait_for_end(find_dvc())
    with suppress(OSError):  # the terminal may be closed
        print("error: dvc, which started this stage, has ended; run it again", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


def _end_soon() -> None:
    """End the process soon: it would wait forever for a worker that was killed while it answered."""
    timer = threading.Timer(SECONDS_TO_END, os._exit, [INTERRUPTED])
    timer.daemon = True
    timer.start()


def _message(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"no space left on the disk{where}; free some and run again"
    if isinstance(error, FileNotFoundError):
        return f"{error.filename or error.strerror or error}: not found; `dvc repro` runs the stages that make it"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _stdout_closed() -> bool:
    # ask the system: without buffering (PYTHONUNBUFFERED) another flush would not fail
    poll = select.poll()
    poll.register(STDOUT, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
