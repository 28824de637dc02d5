"""The house stands as planned: floors, heavy imports, and a dvc.yaml that says what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lamina.source_code import PACKAGE, all_modules, closure, imported_modules, named_imports

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]

FLOORS = {
    "maths": 0, "errors": 0, "config": 0, "files": 0, "progress": 0, "ahead": 0, "silence": 0, "imports": 0,
    "data": 1, "models": 1,
    "learn": 2,
    "stages": 3, "tracking": 3, "report": 3,
    "commands": 4, "cli": 4,
}  # fmt: skip


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", all_modules())
def test_modules_import_from_their_own_floor_or_below(module: str) -> None:
    above = [other for other in imported_modules(module) if FLOORS[room(other)] > FLOORS[room(module)]]
    assert not above


def test_data_and_models_do_not_know_each_other() -> None:
    rooms = {"data": "models", "models": "data"}
    for module in all_modules():
        assert not [other for other in imported_modules(module) if room(other) == rooms.get(room(module))]


@pytest.mark.parametrize(
    ("package", "only_in"),
    [
        ("dvc", ()),
        ("mlflow", ("tracking",)),
        ("great_expectations", ("tracking",)),
        ("optuna", ("learn",)),
        ("jax", ("learn",)),
        ("skimage", ("maths",)),
        ("tensorflow", ("models",)),
        ("tensorflow_datasets", ("data",)),
        ("keras", ("models", "tracking")),  # a logged model loads itself
    ],
)
def test_large_libraries_are_imported_in_their_rooms_alone(package: str, only_in: tuple[str, ...]) -> None:
    importing = {m for m in all_modules() for name in named_imports(m) if name.split(".")[0] == package}
    assert {room(module) for module in importing} <= set(only_in)


def test_openvino_is_loaded_where_it_is_kept_from_telling() -> None:
    importing = {m for m in all_modules() for name in named_imports(m) if name.split(".")[0] == "openvino"}
    assert importing == {"lamina.models.openvino_runtime"}


@pytest.mark.parametrize("module", [m for m in all_modules() if room(m) in ("maths", "data")])
def test_the_data_side_never_needs_tensorflow(module: str) -> None:
    assert "lamina.models.keras_runtime" not in closure(module)


@pytest.mark.parametrize(
    ("stage", "libraries"),
    [("download", {"pandas", "scipy", "cv2"}), ("filter", {"scipy", "joblib"}), ("convert", {"scipy", "joblib"})],
)
def test_a_delivery_does_not_wait_for_libraries_that_it_may_not_need(stage: str, libraries: set[str]) -> None:
    asked = f"import sys, lamina.stages.{stage}; print(*{libraries | {'matplotlib'}} & {{*sys.modules}})"
    said = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True).stdout
    assert said.split() == []


def test_packages_hold_no_code_of_their_own() -> None:
    filled = {path for path in PACKAGE.rglob("__init__.py") if path.read_text().strip()}
    assert filled == {PACKAGE / "__init__.py"}


def body(stage: str) -> dict:
    return STAGES[stage].get("do", STAGES[stage])


def called_module(stage: str) -> str:
    return body(stage)["cmd"].removeprefix("python -m ").split()[0]


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"modules"}))
def test_a_stage_depends_on_the_list_of_the_modules_that_it_imports(stage: str) -> None:
    module = called_module(stage).rpartition(".")[2]
    assert [dep for dep in body(stage)["deps"] if "modules" in dep] == [f"data/modules/{module}.txt"]


def test_the_lists_depend_on_all_modules_that_a_stage_imports() -> None:
    needed = {name for stage in STAGES for name in closure(called_module(stage))}
    paths = [f"${{code}}/{name.removeprefix('lamina.').replace('.', '/')}.py" for name in sorted(needed)]
    assert sorted(body("modules")["deps"]) == sorted(paths)


def test_every_stage_is_a_module_and_every_stage_module_a_stage() -> None:
    called = {called_module(stage) for stage in STAGES}
    written = {m for m in all_modules() if m.startswith("lamina.stages.")} - {"lamina.stages.entry"}
    assert called == written


@pytest.mark.parametrize(
    "stage", [s for s in STAGES if s.partition("-")[0] in ("extract", "tune", "assess", "train", "evaluate")]
)
def test_what_comes_after_validation_depends_on_its_verdict(stage: str) -> None:
    assert "data/validation/verdict.json" in body(stage)["deps"]
