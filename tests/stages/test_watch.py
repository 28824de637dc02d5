"""Stage `watch`: lists of the code that decides each stage, and a digest of the source."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkout import ROOT
from lamina.errors import UserError
from lamina.files import read_json
from lamina.results.published import read_copy
from lamina.source_code import PACKAGE, closure, named_files
from lamina.stages import watch
from lamina.stages.watch import check_folds, code_lists, feature_sizes, list_code, roots, stages, watch_source
from lamina.tasks.registry import TASKS
from lamina.tasks.task import DECIDING

Lists = dict[str, str]


class Copy:
    """A copy of the package, and what the stage `watch` writes with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = shutil.copytree(PACKAGE, folder / "src" / "lamina", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "params.yaml", folder)
        self.before = self.watch()

    def watch(self) -> Lists:
        environment = os.environ | {"PYTHONPATH": str(self.package.parent)}
        command = [sys.executable, "-m", "lamina.stages.watch"]
        subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True)
        code = self.folder / "data" / "code"
        return {path.relative_to(code).with_suffix("").as_posix(): path.read_text() for path in code.rglob("*.txt")}

    def changed(self, **edits: Callable[[str], str]) -> dict[str, set[str]]:
        """In which lists the line of a file changes, by file, when files are edited; all is restored."""
        cache, kept = self.folder / ".lamina" / "code.json", self.folder / "code.json"
        before = {name: ((self.package / name).read_text(), (self.package / name).stat().st_mtime_ns) for name in edits}
        shutil.copy(cache, kept)
        for name, edit in edits.items():
            (self.package / name).write_text(edit(before[name][0]))
        try:
            lists = self.watch()
        finally:
            for name, (text, time) in before.items():
                (self.package / name).write_text(text)
                os.utime(self.package / name, ns=(time, time))
            shutil.move(kept, cache)
        assert lists.keys() == self.before.keys()
        found: dict[str, set[str]] = {}
        for name, text in lists.items():
            for line in {*text.splitlines()} ^ {*self.before[name].splitlines()}:
                found.setdefault(line.split("  ", 1)[1], set()).add(name)
        return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("copy"))


def add_code(text: str) -> str:
    return f"{text}\nADDED = 1\n"


def lists_of(module: str) -> set[str]:
    """The lists that a module or a file that modules name belongs to, from the package itself."""
    found = {stage for stage in stages() if stage not in DECIDING and _needs(roots(stage), module)}
    for stage in DECIDING:
        for name, task in TASKS.items():
            if _needs([f"lamina.stages.{stage}", *task.deciding_modules(stage)], module):
                found.add(f"{stage}/{name}")
    return found


def _needs(modules: list[str], name: str) -> bool:
    needed = closure(*modules)
    return name in needed or any(
        path.relative_to(PACKAGE).as_posix() == name for one in needed for path in named_files(one)
    )


# ---- code


def test_there_is_a_list_for_each_stage_and_for_each_task_of_the_stages_of_a_run(copy: Copy) -> None:
    of_runs = {f"{stage}/{task}" for stage in DECIDING for task in TASKS}
    assert copy.before.keys() == {*stages(), *of_runs} - DECIDING.keys()
    assert all(text.endswith("\n") for text in copy.before.values())


def test_it_loads_no_large_library_since_it_runs_in_every_repro() -> None:
    code = "import sys, lamina.stages.watch; print(*({'keras', 'mlflow', 'pandas', 'pyarrow'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


CODE = ("training/heads.py", "data/filters.py", "tasks/lightness/learning.py", "tasks/colorize/chapter.py")
OF_THE_REPORT = ("charts/macros.html.jinja", "report/page.css", "tracking/pyfunc.py")
NO_CODE = {
    "__init__.py": lambda text: text.replace("__version__ = ", "__version__ = '99' + "),
    "training/fit.py": lambda text: f"{text}\n\n# a comment\n",
    "files.py": lambda text: text.replace('"""', '"""Another docstring. ', 1),
    "errors.py": lambda text: text.replace("\n\n", "\n\n\n\n"),
}


@pytest.fixture(scope="module")
def changed(copy: Copy) -> dict[str, set[str]]:
    """The lists in which the line of a file changes, by file, after edits of all the files above."""
    return copy.changed(**NO_CODE, **dict.fromkeys((*CODE, *OF_THE_REPORT), add_code))


def test_the_version_a_comment_a_docstring_and_blank_lines_change_no_list(changed: dict[str, set[str]]) -> None:
    assert changed.keys() == {*CODE, *OF_THE_REPORT}


@pytest.mark.parametrize("name", [*CODE, *OF_THE_REPORT])
def test_an_edit_changes_the_lists_of_the_stages_that_use_it_and_no_others(
    name: str, changed: dict[str, set[str]]
) -> None:
    module = f"lamina.{name.removesuffix('.py').replace('/', '.')}" if name in CODE else name
    assert changed[name] == lists_of(module)
    if name != "data/filters.py":
        assert not changed[name] & {"download", "convert", "split", "extract"}
    if name in OF_THE_REPORT:
        assert changed[name] == {"report"}


def test_an_edit_in_one_task_changes_the_lists_of_its_runs_alone_and_a_chapter_the_report(
    changed: dict[str, set[str]],
) -> None:
    assert changed["tasks/lightness/learning.py"] == {"tune/lightness", "train/lightness", "assess/lightness"}
    assert changed["tasks/colorize/chapter.py"] == {"report"}


@pytest.mark.parametrize("task", TASKS)
def test_learning_of_a_task_decides_its_runs_alone(task: str) -> None:
    expected = {f"{stage}/{task}" for stage in ("tune", "train", "assess")}
    assert lists_of(f"lamina.tasks.{task}.learning") == expected


def test_a_stage_imports_nothing_that_its_lists_do_not_name() -> None:
    code = "import sys, lamina.stages.train; print(*(m for m in sys.modules if m.startswith('lamina.')))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    packages = {name for name in output.split() if PACKAGE.joinpath(*name.split(".")[1:]).is_dir()}
    assert {*output.split()} - packages <= closure("lamina.stages.train")


def test_ensembles_depend_on_the_code_that_averages_and_evaluates_and_not_on_that_which_learns() -> None:
    assert "ensembles" in lists_of("lamina.models.averaging")
    needed = closure(*roots("ensembles"))
    assert {"lamina.tasks.classify.averaging", "lamina.tasks.classify.evaluation"} <= needed
    assert not {"lamina.tasks.classify.learning", "lamina.tasks.colorize.evaluation", "lamina.training.fit"} & needed


def test_an_ensemble_of_what_is_not_there_stops_before_any_work(copy: Copy) -> None:
    params = copy.folder / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("ensembles: {}", "ensembles: {both: {runs: [frozen, fine_tune]}}"))
    try:
        command = [sys.executable, "-m", "lamina.stages.watch"]
        environment = os.environ | {"PYTHONPATH": str(copy.package.parent)}
        done = subprocess.run(command, cwd=copy.folder, env=environment, capture_output=True, text=True, check=False)
    finally:
        params.write_text(text)
    assert done.returncode == 2
    expected = "error: params.yaml: ensembles.both.runs: there is no run 'fine_tune'; did you mean 'fine_tuned'?"
    assert done.stderr.startswith(expected)


def test_what_a_publication_may_report_of_a_task_decides_the_report_alone() -> None:
    for module in ("tasks.published", "tasks.classify.published", "tasks.colorize.published", "results.published"):
        assert lists_of(f"lamina.{module}") == {"report"}


def test_a_control_decides_the_assessments_of_its_task_alone() -> None:
    control = "tasks/regress/control.py"
    assert {name for name, lines in code_lists().items() if any(control in line for line in lines)} == {
        "assess/regress.txt"
    }


def test_the_name_of_the_system_decides_the_report_alone(copy: Copy) -> None:
    copied = shutil.copytree(copy.folder / "data", copy.folder.with_name("other") / "data")
    shutil.copytree(copy.folder / ".lamina", copied.with_name(".lamina"))
    shutil.copy(ROOT / "params.yaml", copied.parent)
    environment = os.environ | {"PYTHONPATH": str(copy.package.parent)}
    subprocess.run(WATCH, cwd=copied.parent, env=environment, check=True, capture_output=True)
    differ = {
        path.relative_to(copied).as_posix()
        for path in copied.rglob("*")
        if path.is_file() and path.read_bytes() != (copy.folder / "data" / path.relative_to(copied)).read_bytes()
    }
    assert differ == {"code/report.txt"}
    assert (copied / "code" / "report.txt").read_text().endswith("\nthe system: other\n")


def test_extraction_depends_on_sizes_that_the_run_cache_of_dvc_does_not_see(tmp_path: Path) -> None:
    sizes = feature_sizes({"features": {"dino": {"backbone": "onnx", "size": 224}, "lite0": {"size": None}, "x": 3}})
    assert sizes == ["features.dino.size: 224"]
    list_code(tmp_path / "code", tmp_path / "code.json", "any", sizes)
    plain = {name: "".join(f"{line}\n" for line in lines) for name, lines in code_lists().items()}
    assert (tmp_path / "code/extract.txt").read_text() == plain["extract.txt"] + "features.dino.size: 224\n"
    assert (tmp_path / "code/convert.txt").read_text() == plain["convert.txt"]


# ---- published.yaml

WATCH = [sys.executable, "-m", "lamina.stages.watch"]
PUBLISHED = "title: cells  # as printed\nreference: a thesis\nruns: {frozen: {where: page 1, accuracy: 0.85}}\n"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system that was watched once, and knew the code before."""
    folder = tmp_path_factory.mktemp("watched")
    list_code(folder / "data" / "code", folder / ".lamina" / "code.json", folder.name)
    shutil.copy(ROOT / "params.yaml", folder)
    subprocess.run(WATCH, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def system(watched: Path) -> Iterator[Path]:
    """A system that can be watched."""
    yield watched
    (watched / "published.yaml").unlink()


def test_published_figures_are_copied_and_an_empty_mapping_stands_for_none(system: Path) -> None:
    copy = system / "data" / "published.yaml"
    assert copy.read_text() == "{}\n"
    (system / "published.yaml").write_text(PUBLISHED)
    subprocess.run(WATCH, cwd=system, check=True, capture_output=True)
    published = read_copy(system)
    assert published
    assert published.runs["frozen"].figures == {("accuracy", None): 0.85}
    assert "as printed" not in copy.read_text()


def test_a_published_figure_that_cannot_be_stops_before_any_work_and_leaves_the_copy(system: Path) -> None:
    (system / "published.yaml").write_text(PUBLISHED)
    subprocess.run(WATCH, cwd=system, check=True, capture_output=True)
    before = (system / "data" / "published.yaml").read_bytes()
    (system / "published.yaml").write_text(PUBLISHED.replace("0.85", "85"))
    done = subprocess.run(WATCH, cwd=system, capture_output=True, text=True, check=False)
    expected = "error: published.yaml: runs.frozen.accuracy: expected a share from 0 to 1, not percent, got int 85\n"
    assert (done.returncode, done.stderr) == (2, expected)
    assert (system / "data" / "published.yaml").read_bytes() == before


def test_a_pipeline_that_does_not_see_another_size_stops_before_any_work(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text().replace("convert.size", "seed"))
    done = subprocess.run(WATCH, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "error: dvc.yaml: DVC would not see another convert.size" in done.stderr) == (2, True)
    assert not (tmp_path / "data").exists()


# ---- source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "one.png").write_bytes(b"one")
    (folder / "two.png").write_bytes(b"two")
    return folder


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Watches a source; `read.files` lists the files whose content was read."""
    files: list[str] = []
    digest = watch.file_digest

    def noted(path: Path) -> str:
        files.append(path.name)
        return digest(path)

    def watched(location: str | None = "pictures", kind: str = "folder") -> str:
        files.clear()
        return watch_source({"kind": kind, "location": location}, tmp_path, tmp_path / "cache.json")

    watched.files = files  # type: ignore[attr-defined]
    monkeypatch.setattr(watch, "file_digest", noted)
    return watched


def test_an_unchanged_file_is_read_only_once(source: Path, read: Callable[..., str]) -> None:
    first = read()
    assert read.files == ["one.png", "two.png"]  # type: ignore[attr-defined]
    assert read() == first
    assert read.files == []  # type: ignore[attr-defined]


def test_a_change_of_the_same_size_is_noticed_and_only_that_file_is_read(
    source: Path, read: Callable[..., str]
) -> None:
    before, written = read(), (source / "two.png").stat().st_mtime_ns
    time.sleep(0.02)  # longer than a tick of the clock of files
    (source / "two.png").write_bytes(b"TWO")
    os.utime(source / "two.png", ns=(written, written))  # as unzip, tar, rsync and cp -p do
    assert read() != before
    assert read.files == ["two.png"]  # type: ignore[attr-defined]


def test_a_touched_file_of_the_same_content_changes_nothing(source: Path, read: Callable[..., str]) -> None:
    before = read()
    os.utime(source / "two.png", ns=(1, 1))
    assert read() == before


@pytest.mark.parametrize("change", ["new", "gone", "renamed", "moved"])
def test_another_list_of_files_is_noticed(source: Path, read: Callable[..., str], change: str) -> None:
    before = read()
    match change:
        case "new":
            (source / "three.png").write_bytes(b"three")
        case "gone":
            (source / "two.png").unlink()
        case "renamed":
            (source / "two.png").rename(source / "2.png")
        case "moved":
            (source / "two.png").rename(source / "a" / "two.png")
    assert read() != before


def test_pictures_behind_a_link_are_watched(tmp_path: Path, source: Path, read: Callable[..., str]) -> None:
    linked = tmp_path / "elsewhere"
    linked.mkdir()
    (linked / "three.png").write_bytes(b"three")
    without = read()
    (source / "b").symlink_to(linked)
    before = read()
    assert before != without
    assert read.files == ["three.png"]  # type: ignore[attr-defined]
    (linked / "four.png").write_bytes(b"four")
    assert read() != before


def test_what_no_source_reads_changes_nothing(source: Path, read: Callable[..., str]) -> None:
    before = read()
    (source / ".DS_Store").write_bytes(b"of a file browser")
    assert read() == before


def test_the_digest_does_not_depend_on_where_the_source_is(source: Path, read: Callable[..., str]) -> None:
    before = read()
    shutil.move(source, source.with_name("elsewhere"))
    assert read("elsewhere") == before


def test_an_archive_is_watched_as_one_file(tmp_path: Path, read: Callable[..., str]) -> None:
    (tmp_path / "pictures.zip").write_bytes(b"archive")
    before = read("pictures.zip", "archive")
    (tmp_path / "pictures.zip").write_bytes(b"ARCHIVE")
    os.utime(tmp_path / "pictures.zip", ns=(1, 1))
    assert read("pictures.zip", "archive") != before
    assert read.files == ["pictures.zip"]  # type: ignore[attr-defined]


def test_a_missing_source_and_sources_elsewhere(read: Callable[..., str]) -> None:
    assert read("nothing") == "missing"
    assert read(None, "smear") == "kind smear"
    assert read("https://example.org/a.zip", "url") == "kind url"
    assert read("mnist:3.0.1", "tfds") == "kind tfds"


@pytest.mark.parametrize("key", ["corrections", "metadata"])
def test_tables_next_to_the_source_are_watched(tmp_path: Path, key: str) -> None:
    def watched(**source: object) -> str:
        return watch_source({"kind": "smear"} | source, tmp_path, tmp_path / "cache.json")

    assert watched(**{key: None}) == watched() == "kind smear"
    assert watched(**{key: "fixed.csv"}) == f"kind smear\n{key} missing"
    (tmp_path / "fixed.csv").write_text("file,label\n")
    before = watched(**{key: "fixed.csv"})
    assert before.startswith(f"kind smear\n{key} ")
    (tmp_path / "fixed.csv").write_text("file,label\na,b\n")
    assert watched(**{key: "fixed.csv"}) not in (before, f"kind smear\n{key} missing")


def test_the_cache_keeps_nothing_of_files_that_are_gone(tmp_path: Path, source: Path, read: Callable[..., str]) -> None:
    read()
    (source / "two.png").unlink()
    read()
    assert [Path(key.split("|")[0]).name for key in read_json(tmp_path / "cache.json")] == ["one.png"]


def test_a_run_with_other_folds_than_the_system_is_refused_before_anything_trains() -> None:
    check_folds({"folds": 5, "control": True, "small_cnn": {"folds": 0}, "frozen": {"folds": 5}})
    check_folds({})
    with pytest.raises(UserError, match=r"assess\.frozen\.folds is 5, but assess\.folds is 0, and all runs share"):
        check_folds({"folds": 0, "frozen": {"repeats": 2, "folds": 5}})
