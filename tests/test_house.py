"""The house stands as planned: floors, heavy imports, no task named outside its room, a dvc.yaml that fits the code."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from ruamel.yaml import YAML

from checkout import ROOT
from lamina.source_code import PACKAGE, all_modules, closure, imported_modules, named_imports, source
from lamina.stages.warm import LIBRARIES
from lamina.stages.watch import stages as stage_modules
from lamina.tasks.registry import TASKS
from lamina.tasks.task import DECIDING

PIPELINES = {path.name: path for folder in (ROOT, PACKAGE) for path in folder.glob("*dvc.yaml")}
STAGES = {
    (name, stage): definition.get("do", definition)
    for name, path in PIPELINES.items()
    for stage, definition in YAML(typ="safe", pure=True).load(path)["stages"].items()
}
WATCHED = [key for key in STAGES if key[1] != "watch"]

FLOORS = {
    "maths": 0, "errors": 0, "config": 0, "files": 0, "progress": 0, "prefetch": 0, "quiet_stderr": 0,
    "source_code": 0, "installation": 0, "dvc_process": 0,
    "locks": 0, "old_params": 0, "old_pipeline": 0, "mirror": 0, "text": 0, "fonts": 0,
    "data": 1, "models": 1, "inputs": 1, "training": 1, "tuning": 1, "results": 1, "charts": 1,
    "tasks": 2,
    "report": 3, "tracking": 3,
    "stages": 4,
    "commands": 5, "cli": 5, "api": 5,
}  # fmt: skip

# rooms that serve every task, and the commands that serve one
GENERAL = ("data", "inputs", "training", "tuning", "results", "charts", "tracking", "report", "stages")
OF_ONE_TASK = ("predict", "explain", "export", "colorize", "served", "predict_csv", "predict_texts")
TASK_ROOM = re.compile(rf"lamina\.tasks\.({'|'.join(TASKS)})\b")


def room(module: str) -> str:
    return module.split(".")[1]


def is_general(module: str) -> bool:
    """Whether a module serves every task, so that it names none."""
    commands = room(module) == "commands" and module.rpartition(".")[2] not in OF_ONE_TASK
    return room(module) in GENERAL or commands


def importing(package: str) -> set[str]:
    """The modules that import a package from outside."""
    return {module for module in all_modules() for name in named_imports(module) if name.split(".")[0] == package}


# ---- floors


def test_a_module_imports_from_its_own_floor_or_below() -> None:
    imports = [(module, other) for module in all_modules() for other in imported_modules(module)]
    assert [(module, other) for module, other in imports if FLOORS[room(other)] > FLOORS[room(module)]] == []


def test_every_floor_is_in_use() -> None:
    assert {room(module) for module in all_modules()} == set(FLOORS)


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module in all_modules():
        graph.setdefault(room(module), set()).update(
            {room(other) for other in imported_modules(module)} - {room(module)}
        )
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    ("low", "high"),
    [("data", "models"), ("models", "data"), ("data", "inputs"), ("models", "inputs"), ("report", "tracking"),
     ("tracking", "report")],
)  # fmt: skip
def test_some_rooms_of_one_floor_do_not_know_each_other(low: str, high: str) -> None:
    found = {module: other for module in all_modules() for other in imported_modules(module) if room(module) == low}
    assert not [module for module, other in found.items() if room(other) == high]


@pytest.mark.parametrize(
    ("package", "only_in"),
    [
        ("cleanlab", ("maths",)),
        ("distributed", ("data",)),
        ("s3fs", ("data",)),
        ("dvc", ()),
        ("mlflow", ("tracking",)),
        ("great_expectations", ("tracking",)),
        ("optuna", ("tuning",)),
        ("jax", ("training",)),
        ("jinja2", ("charts", "commands")),
        ("openTSNE", ("maths",)),
        ("matplotlib", ("charts", "tasks", "tracking")),
        ("skimage", ("maths",)),
        ("sklearn", ("data", "inputs", "maths", "training")),
        ("scipy", ("data", "inputs", "maths", "stages", "tasks")),
        ("tensorflow", ("models",)),
        ("tensorflow_datasets", ("data",)),
        ("keras", ("models", "tracking")),  # a logged model loads itself
        ("onnx", ("models",)),
        ("tf2onnx", ("models",)),
        ("tqdm", ("progress",)),
        ("starlette", ("commands",)),
        ("uvicorn", ("commands",)),
        ("werkzeug", ("commands",)),
    ],
)
def test_large_libraries_are_imported_in_their_rooms_alone(package: str, only_in: tuple[str, ...]) -> None:
    assert {room(module) for module in importing(package)} <= set(only_in)


def test_some_libraries_are_imported_by_one_module_alone() -> None:
    assert importing("openvino") == {"lamina.models.openvino_runtime"}
    assert {module for module in importing("keras") if room(module) == "tracking"} == {"lamina.tracking.pyfunc"}


def test_the_warm_process_loads_no_library_past_the_module_that_tames_it() -> None:
    loaded = {name.partition(".")[0] for names in LIBRARIES.values() for name in names}
    assert not loaded & {"openvino", "keras", "tensorflow"}


def test_the_data_side_does_not_need_tensorflow() -> None:
    modules = [module for module in all_modules() if room(module) in ("maths", "data")]
    assert [module for module in modules if "lamina.models.keras_runtime" in closure(module)] == []


@pytest.mark.parametrize(
    ("stage", "libraries"),
    [
        ("watch", {"tensorflow", "sklearn", "mlflow"}),
        ("download", {"pandas", "scipy", "cv2"}),
        ("filter", {"scipy", "joblib"}),
        ("convert", {"scipy", "joblib"}),
        ("inspect", {"tensorflow", "sklearn", "cleanlab", "openTSNE"}),
    ],
)
def test_a_stage_does_not_load_libraries_that_it_may_not_need(stage: str, libraries: set[str]) -> None:
    code = f"import sys, lamina.stages.{stage}; print(*{libraries | {'matplotlib'}} & {{*sys.modules}})"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.split() == []


def test_a_module_has_at_most_400_lines() -> None:
    lines = {module: len(source(module).read_text(encoding="utf-8").splitlines()) for module in all_modules()}
    assert {module: count for module, count in lines.items() if count > 400} == {}


def test_nothing_calls_what_gives_other_bytes_at_other_places_in_memory() -> None:
    # OpenCV's magnitude computes a float before an aligned address in another way than one after it
    assert [module for module in all_modules() if "cv2.magnitude(" in source(module).read_text()] == []


def test_packages_hold_no_code() -> None:
    filled = {path for path in PACKAGE.rglob("__init__.py") if path.read_text().strip()}
    assert filled == {PACKAGE / "__init__.py"}


# ---- tasks


def test_what_serves_every_task_imports_none() -> None:
    imports = [(module, name) for module in all_modules() if is_general(module) for name in named_imports(module)]
    assert [(module, name) for module, name in imports if TASK_ROOM.match(name)] == []


def test_tasks_do_not_import_each_other() -> None:
    of_tasks = [module for module in all_modules() if room(module) == "tasks"]
    imports = [(module, TASK_ROOM.match(other)) for module in of_tasks for other in imported_modules(module)]
    assert [(module, name[1]) for module, name in imports if name and name[1] != module.split(".")[2]] == []


def strings(module: str) -> list[str]:
    """The strings of a module that are no docstrings."""
    tree = ast.parse(source(module).read_bytes())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [str(node.value) for node in found if id(node) not in alone]


def test_what_serves_every_task_names_none() -> None:
    rooms = ("stages", "tracking", "tuning", "report", "charts", "results", "training")
    modules = [module for module in all_modules() if room(module) in rooms or module == "lamina.commands.gate"]
    words = re.compile(rf"\b({'|'.join(TASKS)})\b")
    assert [(module, text) for module in modules for text in strings(module) if words.search(text)] == []


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_names_no_task(pipeline: str) -> None:
    assert not re.search("|".join(TASKS), PIPELINES[pipeline].read_text(encoding="utf-8"))


@pytest.mark.parametrize("template", [*(PACKAGE / "charts").glob("*.jinja"), *(PACKAGE / "report").glob("*.jinja")])
def test_a_template_of_every_task_names_none(template: object) -> None:
    text = PACKAGE.joinpath(str(template)).read_text(encoding="utf-8")
    assert not re.search(rf"\b({'|'.join(TASKS)})\b", text)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_a_folder_that_answers_every_question(task: str) -> None:
    questions = {"settings", "learning", "evaluation", "results", "chapter", "serving"}
    there = {path.stem for path in (PACKAGE / "tasks" / task).glob("*.py")}
    assert questions <= there
    assert {module for modules in DECIDING.values() for module in modules} <= questions


# ---- dvc.yaml


def called_module(key: tuple[str, str]) -> str:
    (module,) = STAGES[key]["cmd"].removeprefix("python -m lamina.stages ").split()
    return module


def test_every_stage_is_a_module_and_every_stage_module_a_stage() -> None:
    called = {called_module(key) for key in STAGES}
    expected = {*stage_modules(), "watch"}
    if "texts.dvc.yaml" not in PIPELINES:
        expected -= {"filter_texts", "split_texts", "validate_texts", "words"}
    assert called == expected


@pytest.mark.parametrize("key", WATCHED, ids=" ".join)
def test_a_stage_depends_on_the_list_of_its_code(key: tuple[str, str]) -> None:
    module = called_module(key)
    expected = f"{module}/${{item.task}}" if module in DECIDING else module
    assert [path for path in STAGES[key]["deps"] if path.startswith("data/code")] == [f"data/code/{expected}.txt"]


@pytest.mark.parametrize(
    "key", [key for key in WATCHED if key[1] in ("extract", "words", "tune", "train", "assess")], ids=" ".join
)
def test_what_comes_after_validation_depends_on_its_verdict(key: tuple[str, str]) -> None:
    assert "data/validation/verdict.json" in STAGES[key]["deps"]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_report_alone_depends_on_what_was_published(pipeline: str) -> None:
    depending = [stage for (name, stage) in STAGES if name == pipeline and "published" in str(STAGES[name, stage])]
    assert depending == ["watch", "report"]
    assert "data/published.yaml" in STAGES[pipeline, "watch"]["outs"]
    assert "data/published.yaml" in STAGES[pipeline, "report"]["deps"]


@pytest.mark.parametrize("key", STAGES, ids=" ".join)
def test_the_run_cache_tells_sizes_apart(key: tuple[str, str]) -> None:
    # DVC leaves out what is called `size` at any depth, and would take the pictures of another size from its run cache
    params = STAGES[key].get("params", [])
    assert ("convert" in params) == ("convert.size" in params)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_is_short(pipeline: str) -> None:
    assert len(PIPELINES[pipeline].read_text(encoding="utf-8").splitlines()) <= 240


@pytest.mark.parametrize("key", STAGES, ids=" ".join)
def test_paths_of_a_stage_are_inside_the_system(key: tuple[str, str]) -> None:
    stage = STAGES[key]
    outs = [
        path if isinstance(path, str) else next(iter(path))
        for kind in ("outs", "plots", "metrics")
        for path in stage.get(kind, [])
    ]
    paths = [*stage.get("deps", []), *outs]
    assert not [path for path in paths if path.startswith(("/", "..")) or "src/" in path]
