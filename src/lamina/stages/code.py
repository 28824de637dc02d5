"""Stage `code`: for every other stage, which code decides what it writes.

Each stage depends on its own list, `data/code/STAGE.txt`; the stages of a run on that of their task,
`data/code/STAGE/TASK.txt`. So an edit reruns the stages that use what was edited, and no others. The stage runs in every
`dvc repro`, since an installed package lies outside the system's folder, where DVC cannot watch it.
"""

from dataclasses import dataclass
from pathlib import Path

from lamina.files import staged
from lamina.source_code import all_modules, code_lines
from lamina.stages import entry
from lamina.stages.versions import check_version
from lamina.tasks.registry import TASKS
from lamina.tasks.task import DECIDING

NO_STAGES = ("code", "entry", "run_stage", "versions")


@dataclass(frozen=True, kw_only=True)
class CodeSummary:
    """How many lists were written, and how many files they name between them."""

    lists: int
    files: int

    def __str__(self) -> str:
        return f"{self.lists} lists of {self.files} files"


def list_code(out: Path) -> CodeSummary:
    """Write a list for every stage, and for every task of the stages of a run, to `out`."""
    lists = {f"{stage}.txt": code_lines(*roots(stage)) for stage in stages() if stage not in DECIDING}
    lists |= {
        f"{stage}/{task}.txt": code_lines(f"lamina.stages.{stage}", *TASKS[task].deciding_modules(stage))
        for stage in DECIDING
        for task in TASKS
    }
    with staged(out, folder=True) as part:
        for name, lines in lists.items():
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return CodeSummary(lists=len(lists), files=len({line for lines in lists.values() for line in lines}))


def stages() -> list[str]:
    """List the modules that are stages, except for this one."""
    names = (module.split(".") for module in all_modules())
    return [name[2] for name in names if name[1] == "stages" and name[2] not in NO_STAGES]


def roots(stage: str) -> list[str]:
    """Return the modules whose closure decides what a stage writes; the report shows and logs every task."""
    shown = ("chapter", "results", "serving") if stage == "report" else ()
    return [f"lamina.stages.{stage}", *(f"{task.package}.{module}" for task in TASKS.values() for module in shown)]


def main() -> None:
    check_version(Path())
    print(list_code(Path("data/code")))


if __name__ == "__main__":
    entry.run(main)
