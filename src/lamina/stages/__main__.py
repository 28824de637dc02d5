"""`python -m lamina.stages NAME`: the command of every stage in `dvc.yaml`.

A stage runs in a process that has its libraries loaded already (`lamina.stages.warm`), or else in this one.
"""

import sys
from importlib import import_module
from pathlib import Path

from lamina.stages import warm


def main() -> None:
    names = sorted({path.stem for path in Path(__file__).parent.glob("[!_]*.py")} - {*warm.HELPERS})
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"error: expected the name of a stage, one of {', '.join(names)}, got {sys.argv[1:]}")
    name = sys.argv[1]
    if (code := warm.run(name, sys.argv[2:])) is not None:
        sys.exit(code)
    stage = import_module(f"lamina.stages.{name}")
    from lamina.stages import entry

    sys.argv = [name, *sys.argv[2:]]
    entry.run_stage(stage.main)


if __name__ == "__main__":
    main()
