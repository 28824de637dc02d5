"""`python -m lamina.stages NAME`: the command of every stage in `dvc.yaml`.

A stage runs in a process that has its libraries loaded already (`lamina.stages.warm`), or else in this one.
Where `LAMINA_ONLY` names a stage, no other one runs, except for `watch`: a job of `lamina jobs` takes the results of
the stages before from the DVC remote. If they are not there, it must not make them again.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from lamina.stages import warm

ONLY: Final = "LAMINA_ONLY"
SECONDS_TO_END: Final = 10.0  # for a stage that was interrupted


def main() -> None:
    names = sorted({path.stem for path in Path(__file__).parent.glob("[!_]*.py")} - {*warm.HELPERS})
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"error: expected the name of a stage, one of {', '.join(names)}, got {sys.argv[1:]}")
    name = sys.argv[1]
    stage, only = os.environ.get("DVC_STAGE", name).rpartition(":")[2], os.environ.get(ONLY)
    if only and stage != only and name not in warm.COLD:
        print(
            f"error: the DVC remote has no result of {stage} for this code, source and params.yaml, and {ONLY}={only} "
            f"forbids to run it here; run the job of {stage} again, with the same lamina on all machines",
            file=sys.stderr,
        )
        from lamina.stages.entry import USER_ERROR

        sys.exit(USER_ERROR)
    if (code := warm.run(name, sys.argv[2:])) is not None:
        sys.exit(code)
    module = import_module(f"lamina.stages.{name}")
    sys.argv = [name, *sys.argv[2:]]
    run(module.main)


def run(stage: Callable[[], None]) -> NoReturn:
    """Run the `main` of a stage, and after Ctrl-C end soon with 130.

    Also if a library swallows the interruption, or waits for processes that are gone: DVC goes on after a 0.
    """
    from lamina.stages import entry

    interruptions: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interruptions.append(number)
        timer = threading.Timer(SECONDS_TO_END, _end)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        entry.run_stage(stage)
    except SystemExit as ended:
        if ended.code or not interruptions:
            raise
        print(warm.ENDED, file=sys.stderr)
        sys.exit(warm.INTERRUPTED)


def _end() -> None:
    """End this process and those that work for it."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.terminate()
    os._exit(warm.INTERRUPTED)


if __name__ == "__main__":
    main()
