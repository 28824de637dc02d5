"""`lamina new`: what it finds in a source, and the system that it writes."""

import argparse
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML

from lamina.cli import main
from lamina.commands.new import PACKAGE, _make_repository, add_arguments, find_pipeline, new
from lamina.commands.template import yaml
from lamina.config import SECTIONS, Config, read_params, section
from lamina.data.augmentation import AugmentConfig
from lamina.data.drift import ValidateConfig, read_profile
from lamina.data.filters import FilterConfig
from lamina.data.pixels import ConvertConfig
from lamina.data.sources.config import SourceConfig
from lamina.errors import UserError
from lamina.maths.splits import SplitConfig
from lamina.stages.download import download
from lamina.tasks.runs import read_run, run_names
from lamina.tuning.search import TuneConfig

SHARED = Path(__file__).parents[2] / "shared" / "data"
SECTION_CONFIGS: dict[str, type[Config]] = {
    "source": SourceConfig,
    "filter": FilterConfig,
    "convert": ConvertConfig,
    "augment": AugmentConfig,
    "split": SplitConfig,
    "validate": ValidateConfig,
    "tune": TuneConfig,
}
HOUSE_SOURCE = [
    "kind", "location", "mirrors", "watch", "sha256", "members", "labels", "boxes", "target", "origin", "classes",
    "pictures", "splits",
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a dvc.yaml in a DVC repository, so that none has to be made."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    return tmp_path


def picture(side: int = 140, *, grey: bool = False) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side + 3), (90, 90, 90) if grey else (200, 40, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def voc(*names: str) -> bytes:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    return (
        f"<annotation>{''.join(f'<object><name>{name}</name>{box}</object>' for name in names)}</annotation>".encode()
    )


def classes(counts: dict[str, int], content: bytes, top: str = "pets/") -> dict[str, bytes]:
    return {f"{top}{name}/{index:03d}.png": content for name, count in counts.items() for index in range(count)}


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def make(project: Path, source: object, name: str = "systems/pets") -> tuple[dict[str, Any], list[str]]:
    told = new(project / name, str(source), pipeline=project / "dvc.yaml")
    return read_params(project / name), told


def test_a_system_is_whole_and_its_params_are_valid(project: Path) -> None:
    source = archive(project / "pets.zip", classes({"cat": 12, "dog": 11}, picture()))
    params, told = make(project, source)
    system = project / "systems" / "pets"
    assert sorted(path.name for path in system.iterdir()) == [".gitignore", "baselines", "dvc.yaml", "params.yaml"]
    assert read_profile(system / "baselines" / "data.json", remedy="") is None
    assert (system / "dvc.yaml").readlink() == Path("../../dvc.yaml")
    assert (system / ".gitignore").read_text().split() == ["/data/", "/models/", "/reports/", "/exported/", "/.lamina/"]
    assert told[-1] == f"cd {system} && dvc repro"
    assert tuple(params) == SECTIONS
    assert list(params["source"]) == HOUSE_SOURCE
    assert (system / params["code"]).resolve() == PACKAGE
    for name, kind in SECTION_CONFIGS.items():
        assert section(params, name, kind)
    assert list(run_names(params)) == ["densenet121", "small_cnn"]
    assert all(read_run(params, name) for name in run_names(params))
    summary = download(section(params, "source", SourceConfig), system, project / "raw", seed=params["seed"])
    assert summary.labels == {"cat": 12, "dog": 11}


@pytest.mark.parametrize("counts", [{"cat": 12, "dog": 11}, {"all": 12}])
def test_every_line_of_params_is_commented(project: Path, counts: dict[str, int]) -> None:
    make(project, archive(project / "pets.zip", classes(counts, picture())))
    lines = (project / "systems/pets/params.yaml").read_text().splitlines()
    bare = [line for line in lines if line and "#" not in line]
    assert set(bare) <= {"source:", "filter:", "convert:", "augment:", "split:"}


def test_a_labeled_source_shows_how_to_colorize(project: Path) -> None:
    source = archive(project / "pets.zip", classes({"cat": 12, "dog": 11}, picture()))
    params, _ = make(project, source)
    assert params["colorize"] == {"runs": {}}
    path = project / "systems/pets/params.yaml"
    text = path.read_text().replace("#  ", "   ")
    head, rest = text.split("colorize:", 1)
    path.write_text(head + "colorize:" + rest.replace("{}", "", 1))
    asked_for = read_params(path.parent)
    assert list(run_names(asked_for)) == ["densenet121", "small_cnn", "colors"]
    assert read_run(asked_for, "colors")[0] == "colorize"


@pytest.mark.parametrize("table", [{}, {"labels.csv": b"file,label\n"}])
def test_pictures_without_labels_are_learned_to_color(project: Path, table: dict[str, bytes]) -> None:
    files = {f"pets/cat/{number}.png": picture(grey=number < 5) for number in range(10)}
    boxes = {f"pets/boxes/{number}.xml": voc("cat") for number in range(10)}
    params, told = make(project, archive(project / "pets.zip", files | boxes | table))
    assert told[0] == "found 10 pictures without labels, to learn colors from"
    assert (params["source"]["labels"], params["source"]["classes"]) == ("none", None)
    assert (params["filter"]["drop_grayscale"], params["convert"]["isolate"]) == (True, "none")
    assert run_names(params) == {"colors": "colorize"}
    assert read_run(params, "colors")[1].measure == "mse"
    assert all(section(params, name, kind) for name, kind in SECTION_CONFIGS.items())
    system = project / "systems" / "pets"
    assert (system / params["colorize"]["runs"]["colors"]["watch"]).is_file()
    summary = download(section(params, "source", SourceConfig), system, project / "raw", seed=params["seed"])
    assert str(summary).endswith("no classes")


def test_classes_of_few_pictures_are_left_out(project: Path) -> None:
    files = classes({"cat": 12, "dog": 11, "eel": 3, "no": 10}, picture())
    params, _ = make(project, archive(project / "pets.zip", files))
    assert params["source"]["classes"] == ["cat", "dog", "no"]
    text = (project / "systems/pets/params.yaml").read_text()
    assert "left out, below 10: eel (3)" in text
    params, _ = make(project, archive(project / "few.zip", classes({"cat": 2, "dog": 3}, picture())), "few")
    assert params["source"]["classes"] is None


def test_a_csv_is_preferred_to_folders(project: Path) -> None:
    files = classes({"a": 12, "b": 12}, picture(), "")
    rows = "".join(f"{name},{'red' if index % 2 else 'blue'}\n" for index, name in enumerate(files))
    listing = {"other.csv": b"a,b\n1,2\n", "tables/labels.csv": f"file,label\n{rows}".encode()}
    params, told = make(project, archive(project / "pets.zip", {**files, **listing}))
    assert params["source"]["labels"] == "tables/labels.csv"
    assert "labeled by tables/labels.csv: blue (12), red (12); 0 unlabeled, 0 ambiguous" in told[0]


@pytest.mark.parametrize(
    ("objects", "target", "isolate"),
    [
        ([("cell", "dust", "dust")] * 20, "cell", "box"),
        ([("cell",)] * 8 + [("grain",)] * 12, "grain", "box"),
        ([("cell",)] * 10 + [("grain",)] * 10, None, "box"),
        ([("dust", "dust")] * 20, None, "none"),
        ([("cell",)] * 5, "cell", "none"),
    ],
)
def test_the_subject_of_boxes_is_guessed(
    project: Path, objects: list[tuple[str, ...]], target: str | None, isolate: str
) -> None:
    files = {f"top/{'ab'[index % 2]}/{index}.png": picture() for index in range(20)}
    boxes = {f"top/voc/{index}.xml": voc(*names) for index, names in enumerate(objects)}
    params, _ = make(project, archive(project / "pets.zip", {**files, **boxes}))
    assert params["source"]["boxes"] == "voc"
    assert params["source"]["target"] == target
    assert params["convert"]["isolate"] == isolate


@pytest.mark.parametrize(
    ("side", "size", "least"), [(500, 128, 32), (100, 100, 32), (32, 32, 32), (28, 28, 28), (5, 8, 8)]
)
def test_sizes_fit_the_pictures(project: Path, side: int, size: int, least: int) -> None:
    params, _ = make(project, archive(project / "pets.zip", classes({"cat": 10, "dog": 10}, picture(side))))
    assert (params["convert"]["size"], params["filter"]["min_side"]) == (size, least)
    assert list(run_names(params)) == (["small_cnn"] if size < 32 else ["densenet121", "small_cnn"])


@pytest.mark.parametrize("share", [0, 9, 11, 20])
def test_grey_pictures_are_kept_where_most_are_grey(project: Path, share: int) -> None:
    files = classes({"cat": 10, "dog": 10}, picture())
    files.update(dict.fromkeys(list(files)[:share], picture(grey=True)))
    params, _ = make(project, archive(project / "pets.zip", files))
    assert params["filter"]["drop_grayscale"] == (share < 10)


@pytest.mark.parametrize(("count", "copies"), [(40, 4), (2_200, 2)])
def test_many_pictures_get_fewer_copies(project: Path, count: int, copies: int) -> None:
    params, _ = make(project, archive(project / "pets.zip", classes({"a": count // 2, "b": count // 2}, picture(40))))
    assert params["augment"]["copies"] == copies


def test_smear_needs_no_files(project: Path) -> None:
    params, _ = make(project, "smear")
    config = section(params, "source", SourceConfig)
    assert (config.kind, config.location, config.pictures) == ("smear", None, 600)
    assert (project / "systems/pets" / config.watch).is_file()
    assert list(params["source"]) == HOUSE_SOURCE


def test_paths_are_relative_within_the_project(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = classes({"cat": 10, "dog": 10}, picture())
    params, _ = make(project, archive(project / "a b: #1.zip", files), "one")
    assert params["source"]["location"] == params["source"]["watch"] == "../a b: #1.zip"
    elsewhere = archive(tmp_path_factory.mktemp("elsewhere") / "pets.zip", files)
    params, _ = make(project, elsewhere, "two")
    assert params["source"]["location"] == str(elsewhere)


def test_a_folder_is_a_source(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in classes({"cat": 10, "dog": 10}, picture()).items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(data)
    monkeypatch.chdir(project)
    lines = new(Path("my system"), "pets", pipeline=project / "dvc.yaml")
    assert lines[-1] == "cd 'my system' && dvc repro"
    params = read_params(Path("my system"))
    assert (params["source"]["kind"], params["source"]["location"]) == ("folder", "../pets")
    with pytest.raises(UserError, match="lies inside the source pets"):
        new(Path("pets/system"), "pets", pipeline=project / "dvc.yaml")


def test_lines_of_a_gitignore_stay(project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine" / ".gitignore").write_text("notes\n/data/")
    make(project, "smear", "mine")
    lines = (project / "mine" / ".gitignore").read_text().split()
    assert lines == ["notes", "/data/", "/models/", "/reports/", "/exported/", "/.lamina/"]


# ---- what is refused, and leaves nothing


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s3://pets", "s3://pets cannot be downloaded: expected https://"),
        ("https://x.org/", "https://x.org/ names no file"),
    ],
)
def test_what_cannot_be_fetched_is_refused(project: Path, source: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make(project, source)
    assert not (project / "systems").exists()


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
def test_a_system_is_never_overwritten(project: Path, name: str) -> None:
    (project / "old").mkdir()
    (project / "old" / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name}: exists already"):
        make(project, "smear", "old")
    assert [path.name for path in (project / "old").iterdir()] == [name]
    assert (project / "old" / name).read_text() == "mine"


@pytest.mark.parametrize("table", [{}, {"labels.csv": b"file,label\n"}])
def test_grey_pictures_without_labels_are_refused(project: Path, table: dict[str, bytes]) -> None:
    files = {f"cat/{number}.png": picture(grey=number < 6) for number in range(10)}
    with pytest.raises(UserError, match=r"nothing to learn: no labels .* 6 of 10 looked at are grey.* file,label$"):
        make(project, archive(project / "pets.zip", files | table))
    assert not (project / "systems").exists()


def test_what_cannot_be_decoded_is_refused(project: Path) -> None:
    with pytest.raises(UserError, match="none of 20 pictures looked at can be decoded"):
        make(project, archive(project / "pets.zip", classes({"cat": 10, "dog": 10}, b"no picture")))


def test_a_missing_source_is_refused_with_the_nearest(project: Path) -> None:
    archive(project / "pets.zip", {})
    with pytest.raises(UserError, match=r"pest\.zip: not found; did you mean 'pets\.zip'"):
        make(project, project / "pest.zip")


def test_after_a_failure_nothing_is_left(project: Path) -> None:
    (project / ".dvc").rmdir()
    (project / ".git").mkdir()  # no repository in truth, so `dvc init` fails
    with pytest.raises(UserError, match="`dvc init` failed: "):
        make(project, "smear")
    assert sorted(path.name for path in project.iterdir()) == [".git", "dvc.yaml"]


# ---- DVC


def test_a_dvc_repository_is_made_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    _, told = make(tmp_path, "smear", "mine")
    assert (tmp_path / "mine" / ".dvc").is_dir()
    assert f"made a DVC repository in {tmp_path / 'mine'} (without git)" in told
    assert _make_repository(tmp_path / "mine") == []


def test_in_git_the_repository_is_made_at_its_root(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    _, told = make(tmp_path, "smear", "a/b")
    assert (tmp_path / ".dvc" / "config").is_file()
    assert f"made a DVC repository in {tmp_path}" in told
    command = [sys.executable, "-m", "dvc", "repro"]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=tmp_path / "a/b", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- the rest


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


@given(VALUES)
def test_values_come_back_from_yaml(value: object) -> None:
    assert YAML(typ="safe", pure=True).load(f"key: {yaml(value)}  # comment\n") == {"key": value}


@pytest.mark.parametrize("place", ["dvc.yaml", "src/lamina/dvc.yaml"])
def test_the_pipeline_is_found_in_a_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr("lamina.commands.new.PACKAGE", tmp_path / "src" / "lamina")
    with pytest.raises(UserError, match=r"dvc\.yaml: not found; install lamina again"):
        find_pipeline()
    (tmp_path / "src" / "lamina").mkdir(parents=True)
    (tmp_path / place).write_text("stages: {}\n")
    assert find_pipeline() == tmp_path / place


def test_a_wheel_holds_the_pipeline(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(wheel).read("lamina/dvc.yaml") == (root / "dvc.yaml").read_bytes()


def test_a_system_is_named_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["new", str(project / "mine"), "--from", "smear", "--system", str(project / "other")])
    assert "unrecognized arguments: --system" in capsys.readouterr().err
    assert not (project / "mine").exists()


def test_arguments() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    told = parser.parse_args(["here", "--from", "pets.zip"])
    assert (told.folder, told.source) == (Path("here"), "pets.zip")


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_the_real_leukocytes(project: Path) -> None:
    params, _ = make(project, SHARED / "leukocytes.zip")
    source = params["source"]
    assert (source["labels"], source["boxes"], source["target"]) == ("labels.csv", "boxes", "WBC")
    assert source["classes"] == ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
    assert params["convert"] == {"size": 128, "resize": "pad", "isolate": "box", "no_cell": "drop"}
    assert params["filter"]["drop_grayscale"]


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_the_real_cifar(project: Path) -> None:
    params, _ = make(project, SHARED / "cifar10.zip")
    assert (params["source"]["labels"], params["source"]["classes"]) == ("folder", None)
    assert (params["convert"]["size"], params["filter"]["min_side"], params["augment"]["copies"]) == (32, 32, 0)
