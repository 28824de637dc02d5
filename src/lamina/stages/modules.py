"""Stage `modules`: for every other stage, the modules that it imports and what is in them.

Each stage depends on its own list, `data/modules/STAGE.txt`, so that editing a module reruns the stages that import it,
directly or not, and no others. Were the modules themselves its dependencies, `dvc.lock` would name some fifty of them
for every run, and DVC reads and writes all of it after each stage: with sixteen runs that took longer than their
training.
"""

from dataclasses import dataclass
from pathlib import Path

from lamina.files import file_digest, staged
from lamina.source_code import PACKAGE, all_modules, closure, source
from lamina.stages import entry

NO_STAGES = ("entry", "modules")


@dataclass(frozen=True, kw_only=True)
class ModulesSummary:
    """How many stages there are, and how many modules they import between them."""

    stages: int
    modules: int

    def __str__(self) -> str:
        return f"{self.stages} stages stand on {self.modules} modules"


def list_modules(out: Path) -> ModulesSummary:
    """Write `STAGE.txt` for every stage to `out`: a line for each module that it imports, as `sha256sum` writes it."""
    lists = {stage: sorted(map(_line, closure(f"lamina.stages.{stage}"))) for stage in stages()}
    with staged(out, folder=True) as part:
        for stage, lines in lists.items():
            (part / f"{stage}.txt").write_text("".join(lines))
    return ModulesSummary(stages=len(lists), modules=len({line for lines in lists.values() for line in lines}))


def stages() -> list[str]:
    """The names of the modules that are stages, but for this one."""
    rooms = (module.split(".") for module in all_modules())
    return [room[2] for room in rooms if room[1] == "stages" and room[2] not in NO_STAGES]


def _line(module: str) -> str:
    path = source(module)
    return f"{file_digest(path)}  {path.relative_to(PACKAGE)}\n"


def main() -> None:
    print(list_modules(Path("data/modules")))


if __name__ == "__main__":
    entry.run(main)
