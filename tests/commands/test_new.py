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
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML

from checkout import ROOT, SHARED
from lamina import __version__, installation
from lamina.cli import main
from lamina.commands.checked_params import check_params
from lamina.commands.look import Place, TextLook
from lamina.commands.new import OUTSIDE, _make_repository, add_arguments, find_pipeline, new
from lamina.commands.template import PICTURES, TEXTS, Filling, fill, text_filling, word
from lamina.config import SECTIONS, Config, check_references, named, read_params, section
from lamina.data.augmentation import AugmentConfig
from lamina.data.drift import ValidateConfig, read_profile
from lamina.data.filters import FilterConfig
from lamina.data.pixels import ConvertConfig
from lamina.data.sources.config import SourceConfig
from lamina.data.sources.survey import LabelSurvey
from lamina.errors import UserError
from lamina.maths.splits import SplitConfig
from lamina.results.record import system_name
from lamina.stages.download import download
from lamina.tuning.search import TuneConfig
from packing import idx_pair

SECTION_CONFIGS: dict[str, type[Config]] = {
    "source": SourceConfig,
    "filter": FilterConfig,
    "convert": ConvertConfig,
    "augment": AugmentConfig,
    "split": SplitConfig,
    "validate": ValidateConfig,
    "tune": TuneConfig,
}
SOURCE_KEYS = [
    "kind", "location", "mirrors", "sha256", "members", "labels", "boxes", "target", "origin", "classes",
    "pictures", "splits", "metadata", "corrections",
]  # fmt: skip
IGNORED = ["/data/", "/models/", "/ensembles/", "/weights/", "/reports/", "/exported/", "/.lamina/"]
PIPELINE = "# lamina 0.1: the pipeline\nstages: {}\n"


@pytest.fixture(autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with pipelines of no stages; its python is the first on PATH."""
    folder = tmp_path_factory.mktemp("installed") / "lamina"
    folder.mkdir()
    for name in ("dvc.yaml", "texts.dvc.yaml"):
        (folder / name).write_text(PIPELINE)
    monkeypatch.setattr(installation, "PACKAGE", folder)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A DVC repository, so that none has to be made."""
    (tmp_path / ".dvc").mkdir()
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
    lines = new(project / name, str(source))
    params = read_params(project / name)
    assert check_references(params) == []
    return params, lines


def names(params: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Names of features and of runs."""
    return list(named(params, "features")), list(named(params, "runs"))


def test_a_system_is_complete_and_its_params_are_valid(project: Path) -> None:
    source = archive(project / "pets.zip", classes({"cat": 12, "dog": 11}, picture()))
    params, lines = make(project, source)
    system = project / "systems" / "pets"
    assert sorted(path.name for path in system.iterdir()) == [".gitignore", "baselines", "dvc.yaml", "params.yaml"]
    assert read_profile(system / "baselines" / "data.json", remedy="") is None
    assert (system / ".gitignore").read_text().split() == IGNORED
    assert (project / ".gitignore").read_text().split() == ["/mlflow/"]
    assert lines[-1] == f"cd {system} && dvc repro"
    assert list(params) == [name for name in SECTIONS if name != "words"]
    assert list(params["source"]) == SOURCE_KEYS
    for name, kind in SECTION_CONFIGS.items():
        assert section(params, name, kind)
    assert names(params) == (["lite0"], ["frozen", "small_cnn"])
    summary = download(section(params, "source", SourceConfig), system, project / "raw", seed=params["seed"])
    assert summary.labels == {"cat": 12, "dog": 11}


def test_a_table_of_several_labels_becomes_metadata_to_learn_from(project: Path) -> None:
    folder = project / "pets"
    folder.mkdir()
    for number in range(24):
        (folder / f"{number:03d}.png").write_bytes(picture(100 + number, grey=True))
    rows = [f"{number:03d},{number % 2},{int(number % 3 > 0)}\n" for number in range(24)]
    (folder / "seen.csv").write_text("id,cat,dog\n" + "".join(rows))
    params, lines = make(project, folder)
    assert "seen.csv: 8 of 24 rows have several of the labels that 2 columns stand for" in "\n".join(lines)
    assert not any("passed over" in line for line in lines)
    runs = list(params["runs"].values())
    assert [(run["task"], run["targets"]) for run in runs] == [("multilabel", ["cat", "dog"])] * 2
    system = project / "systems/pets"
    source = section(params, "source", SourceConfig)
    assert (source.labels, source.metadata) == ("none", "../../pets/seen.csv")
    summary = download(source, system, project / "raw", seed=params["seed"])
    assert "metadata of 24 of 24 by ../../pets/seen.csv: cat, dog" in summary.notes
    packed = archive(project / "pets.zip", {path.name: path.read_bytes() for path in folder.iterdir()})
    params, lines = make(project, packed, "systems/packed")
    assert params["source"]["metadata"] == "seen.csv"
    assert f"then copy seen.csv out of the archive into {project / 'systems/packed'}" in lines


def test_the_pipeline_is_copied_with_the_version(project: Path) -> None:
    make(project, "smear")
    pipeline = project / "systems/pets/dvc.yaml"
    assert not pipeline.is_symlink()
    assert pipeline.read_text() == f"# lamina 0.1: the pipeline\n# Written by lamina {__version__}\nstages: {{}}\n"


@pytest.mark.parametrize("counts", [{"cat": 12, "dog": 11}, {"all": 12}])
def test_every_line_of_params_has_a_comment(project: Path, counts: dict[str, int]) -> None:
    make(project, archive(project / "pets.zip", classes(counts, picture())))
    lines = (project / "systems/pets/params.yaml").read_text().splitlines()
    assert (
        lines[0]
        == f"# pets.zip: {sum(counts.values())} pictures {'of 2 classes' if len(counts) > 1 else 'without labels'}."
    )
    assert not [line for line in lines if line and "#" not in line]
    aligned = [line.index("# ") for line in lines if line and not line.startswith("#")]
    assert aligned.count(32) > 0.9 * len(aligned)


def test_a_labeled_source_shows_how_to_colorize(project: Path) -> None:
    source = archive(project / "pets.zip", classes({"cat": 12, "dog": 11}, picture()))
    make(project, source)
    path = project / "systems/pets/params.yaml"
    text = path.read_text()
    start = text.index("#   colors:")
    example, _, rest = text[start:].partition("\n\n")
    path.write_text(text[:start] + example.replace("# ", "", 1).replace("\n# ", "\n") + "\n\n" + rest)
    params = read_params(path.parent)
    assert names(params)[1] == ["frozen", "small_cnn", "colors"]
    assert (params["runs"]["colors"]["task"], params["runs"]["colors"]["decay"]) == ("colorize", 1e-4)


@pytest.mark.parametrize("table", [{}, {"labels.csv": b"file,label\n"}])
def test_without_labels_the_only_run_colorizes(project: Path, table: dict[str, bytes]) -> None:
    files = {f"pets/cat/{number}.png": picture(grey=number < 5) for number in range(10)}
    boxes = {f"pets/boxes/{number}.xml": voc("cat") for number in range(10)}
    params, lines = make(project, archive(project / "pets.zip", files | boxes | table))
    assert lines[0] == "found 10 pictures without labels, to learn colors from"
    assert (params["source"]["labels"], params["source"]["classes"]) == ("none", None)
    assert (params["filter"]["drop_grayscale"], params["convert"]["isolate"]) == (True, "none")  # all runs colorize
    assert names(params) == ([], ["colors"])
    assert params["weights"]["imagenet"] == []
    assert "none: no labels" in (project / "systems/pets/params.yaml").read_text()
    assert all(section(params, name, kind) for name, kind in SECTION_CONFIGS.items())
    system = project / "systems" / "pets"
    summary = download(section(params, "source", SourceConfig), system, project / "raw", seed=params["seed"])
    assert str(summary).splitlines()[0].endswith("no classes")


def test_classes_of_few_pictures_are_left_out(project: Path) -> None:
    files = classes({"cat": 12, "dog": 11, "eel": 3, "no": 10}, picture())
    params, lines = make(project, archive(project / "pets.zip", files))
    assert params["source"]["classes"] == ["cat", "dog", "no"]
    text = (project / "systems/pets/params.yaml").read_text()
    assert "left out, below 10: eel (3)" in text
    assert lines[0].endswith("0 ambiguous; left out, below 10: eel (3)")
    params, _ = make(project, archive(project / "few.zip", classes({"cat": 2, "dog": 3}, picture())), "few")
    assert params["source"]["classes"] is None


def test_a_csv_is_preferred_to_folders(project: Path) -> None:
    files = classes({"a": 12, "b": 12}, picture(), "")
    rows = "".join(f"{name},{'red' if index % 2 else 'blue'}\n" for index, name in enumerate(files))
    listing = {"other.csv": b"a,b\n1,2\n", "tables/labels.csv": f"file,label\n{rows}".encode()}
    params, lines = make(project, archive(project / "pets.zip", {**files, **listing}))
    assert params["source"]["labels"] == "tables/labels.csv"
    assert "labeled by tables/labels.csv: blue (12), red (12); 0 unlabeled, 0 ambiguous" in lines[0]


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
    expected = ([], ["small_cnn"]) if size < 32 else (["lite0"], ["frozen", "small_cnn"])
    assert names(params) == expected
    assert params["weights"]["imagenet"] == ([] if size < 32 else ["efficientnet_lite0"])


@pytest.mark.parametrize("share", [0, 4, 10, 20])
def test_classes_may_be_grey_and_grey_pictures_are_counted_by_class(project: Path, share: int) -> None:
    files = classes({"cat": 10, "dog": 10}, picture())
    files.update(dict.fromkeys(list(files)[:share], picture(grey=True)))
    params, lines = make(project, archive(project / "pets.zip", files))
    assert params["filter"]["drop_grayscale"] is False
    counts = f"'cat' {min(share, 10)} of 10, 'dog' {max(0, share - 10)} of 10"
    assert (counts in (project / "systems/pets/params.yaml").read_text()) == (share > 0)
    warning = "warning: color alone may tell classes apart: in a sample, grey are 'cat' 10 of 10, 'dog' 0 of 10"
    assert (warning in lines) == (share == 10)


def test_a_class_that_the_test_part_lacks_is_told(project: Path) -> None:
    test = classes({"cat": 12, "dog": 11}, picture(), "")
    train = classes({"cat": 12, "dog": 11, "elk": 10, "few": 3}, picture(), "")
    parts = {"set/train/": train, "set/test/": test}
    files = {f"{part}{name}": data for part, of_part in parts.items() for name, data in of_part.items()}
    params, lines = make(project, archive(project / "pets.zip", files))
    assert params["split"]["test_pattern"] == "^test/"
    warned = [line for line in lines if line.startswith("warning: the test part has no pictures of 'elk'")]
    assert len(warned) == 1
    assert "set split.test_pattern to null" in warned[0]
    whole = {name: data for name, data in files.items() if "/elk/" not in name}
    assert not any("the test part has no" in line for line in make(project, archive(project / "w.zip", whole), "w")[1])


def test_parts_are_no_classes_and_the_test_part_is_used(project: Path) -> None:
    files = {
        f"{top}{name}": data
        for top in ("train/", "test/")
        for name, data in classes({"cat": 12, "dog": 11}, picture(), "").items()
    }
    params, lines = make(project, archive(project / "pets.zip", files))
    assert lines[0] == "found 46 pictures, labeled by folder: cat (24), dog (22); 0 unlabeled, 0 ambiguous"
    assert "the folders 'test', 'train' are parts, not classes" in lines
    assert params["split"]["test_pattern"] == "^test/"
    flat = {name.replace("test/cat", "test").replace("test/dog", "test/x"): data for name, data in files.items()}
    flat = {name.replace("test/x/", "test/x"): data for name, data in flat.items()}
    params, lines = make(project, archive(project / "flat.zip", flat), "flat")
    assert lines[0] == "found 46 pictures, labeled by folder: cat (12), dog (11); 23 unlabeled, 0 ambiguous"
    assert params["split"]["test_pattern"] is None


def test_folders_that_may_be_several_classes_are_left_to_the_person(project: Path) -> None:
    files = classes({"cat/kaggle": 12, "cat/wild": 10, "dog/kaggle": 11, "dog/show": 10}, picture(), "")
    params, lines = make(project, archive(project / "pets.zip", files))
    ways = "folder: kaggle (23), show (10), wild (10) | folder 1: cat (22), dog (21)"
    assert lines[0] == f"found 43 pictures, whose folders may name their classes in 2 ways: {ways}"
    assert lines[-3] == "then choose source.labels there: folder or folder 1"
    assert lines[-2] == "and set source.origin, if each of the other folders holds one patient, slide or scene"
    assert params["source"]["labels"] == "choose"
    assert f"choose one: {ways}" in (project / "systems/pets/params.yaml").read_text()
    with pytest.raises(UserError, match=r"source\.labels is 'choose'"):
        section(params, "source", SourceConfig)
    config = section({"source": params["source"] | {"labels": "folder 1"}}, "source", SourceConfig)
    assert download(config, project / "systems/pets", project / "raw", seed=1).labels == {"cat": 22, "dog": 21}


@pytest.mark.parametrize(
    ("table", "first"),
    [
        ("id,breed", "{}"), ("id,x,y,cat,dog", None), ("id,cat,dog", "one-hot"), ("id,hash", "unique"),
        ("file,label", "{}"),
    ],
)  # fmt: skip
def test_tables_are_labels_only_where_that_is_clear(project: Path, table: str, first: str | None) -> None:
    names = [f"{number:03d}" for number in range(24)]
    values = {
        "{}": lambda number: ("cat", "dog, Canis")[number % 2].join('""'),
        "one-hot": lambda number: f"{number % 2},{1 - number % 2}",
        "unique": lambda number: f"{number:x}x",
        None: lambda number: "1,2,3,4",
    }[first]
    rows = "".join(f"{name},{values(number)}\n" for number, name in enumerate(names))
    suffix = ".png" if table == "file,label" else ""
    files = {f"images/{name}.png": picture() for name in names}
    files["train.csv"] = f"{table}\n{rows}".replace(",", f"{suffix},", 0).encode()
    if suffix:
        files["train.csv"] = (table + "\n" + "".join(f"{row[:3]}.png{row[3:]}\n" for row in rows.splitlines())).encode()
    files["sample_submission.csv"] = b"id,breed\n000,cat\n001,cat\n002,dog\n003,dog\n"
    path = archive(project / "pets.zip", files)
    if first is None:
        with pytest.raises(UserError, match=r"train\.csv: the column 'id' names the pictures, .* \(x, y, cat, dog\)"):
            make(project, path)
        return
    params, lines = make(project, path)
    if first == "unique":
        assert lines[0] == "found 24 pictures without labels, to learn colors from"
        return
    second = "dog" if first == "one-hot" else '"dog, Canis"'
    assert lines[0] == f"found 24 pictures, labeled by train.csv: cat (12), {second} (12); 0 unlabeled, 0 ambiguous"
    config = section(params, "source", SourceConfig)
    assert len(download(config, project / "systems/pets", project / "raw", seed=1).labels) == 2


def test_classes_that_differ_in_case_alone_are_told(project: Path) -> None:
    _, lines = make(project, archive(project / "pets.zip", classes({"cat": 12, "Cat": 11}, picture())))
    assert "warning: some classes differ only in upper and lower case; rename them if they are the same" in lines


def test_a_table_with_a_label_that_names_no_picture_is_told(project: Path) -> None:
    files = {f"pets/{number:03d}.png": picture(100 + number) for number in range(12)}
    table = "Datei,label\n" + "".join(f"IMG{number}.JPG,{'ab'[number % 2]}\n" for number in range(12))
    params, lines = make(project, archive(project / "pets.zip", files | {"pets/list.csv": table.encode()}))
    assert names(params)[1] == ["colors"]
    (told,) = [line for line in lines if line.startswith("labels are not from a table: ")]
    assert (
        "list.csv: expected a first line with the columns file and label, got 'Datei', 'label', of which none" in told
    )


def test_files_that_are_passed_over_are_counted(project: Path) -> None:
    files = classes({"cat": 12, "dog": 11}, picture()) | {"pets/train.zip": b"", "pets/cat/1.psd": b""}
    _, lines = make(project, archive(project / "pets.zip", files))
    assert lines[1] == (
        "passed over 2 files: 1 .zip (archives inside the source are not opened), 1 .psd (pictures of a format that "
        "is not read)"
    )


@pytest.mark.parametrize(("count", "copies"), [(40, 4), (2_200, 2)])
def test_many_pictures_get_fewer_copies(project: Path, count: int, copies: int) -> None:
    params, _ = make(project, archive(project / "pets.zip", classes({"a": count // 2, "b": count // 2}, picture(40))))
    assert params["augment"]["copies"] == copies


def test_smear_needs_no_files(project: Path) -> None:
    params, _ = make(project, "smear")
    config = section(params, "source", SourceConfig)
    assert (config.kind, config.location, config.pictures) == ("smear", None, 600)
    assert list(params["source"]) == SOURCE_KEYS
    assert names(params) == (["lite0"], ["frozen", "small_cnn"])


@pytest.mark.parametrize("top", ["", "mnist/"])
def test_idx_files_are_recognized(project: Path, top: str) -> None:
    files = {f"{top}{name}": data for name, data in (idx_pair("train", 120) | idx_pair("t10k", 100, seed=1)).items()}
    params, lines = make(project, archive(project / "mnist.zip", files))
    assert lines[0].startswith('found 220 pictures, labeled by idx: "0" (22), "1" (22), ')
    assert (params["source"]["labels"], params["filter"]["drop_grayscale"]) == ("idx", False)
    assert (params["split"]["test_pattern"], params["split"]["merge_near_duplicates"]) == ("^t10k", False)
    text = (project / "systems/pets/params.yaml").read_text()
    assert text.startswith("# mnist.zip: 220 pictures of 10 classes.")
    assert "the source has a test part" in text
    system, config = project / "systems/pets", section(params, "source", SourceConfig)
    assert download(config, system, project / "raw", seed=params["seed"]).labels == {
        str(digit): 22 for digit in range(10)
    }


def test_one_part_of_idx_files_is_no_test_part(project: Path) -> None:
    params, _ = make(project, archive(project / "mnist.zip", idx_pair("t10k", 100)))
    assert (params["source"]["labels"], params["split"]["test_pattern"]) == ("idx", None)


def test_idx_files_without_labels_are_refused(project: Path) -> None:
    files = idx_pair("t10k", 100)
    del files["t10k-labels-idx1-ubyte.gz"]
    with pytest.raises(
        UserError, match=r"'t10k-images-idx3-ubyte\.gz' has no file of labels: looked for 't10k-labels-idx1"
    ):
        make(project, archive(project / "mnist.zip", files))
    assert not (project / "systems").exists()


def test_the_digits_of_scikit_learn_need_no_files(project: Path) -> None:
    params, lines = make(project, "sklearn:digits")
    assert lines[0].startswith('found 1797 pictures, labeled by folder: "0" (178), "1" (182), ')
    assert (params["source"]["kind"], params["source"]["location"]) == ("sklearn", "digits")
    assert (params["convert"]["size"], params["filter"]["drop_grayscale"]) == (8, False)
    assert params["split"]["merge_near_duplicates"] is False
    with pytest.raises(UserError, match=r"sklearn:iris: scikit-learn ships one set .*; use sklearn:digits"):
        make(project, "sklearn:iris", "other")
    with pytest.raises(UserError, match="sklearn:digits is not a file and has none; leave it out"):
        new(project / "other", "sklearn:digits", sha256="0" * 64)


def test_no_path_is_absolute(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = classes({"cat": 10, "dog": 10}, picture())
    params, lines = make(project, archive(project / "a b: #1.zip", files), "one")
    assert params["source"]["location"] == "../a b: #1.zip"
    assert OUTSIDE not in lines
    elsewhere = archive(tmp_path_factory.mktemp("elsewhere") / "pets.zip", files)
    params, lines = make(project, elsewhere, "two")
    assert params["source"]["location"] == os.path.relpath(elsewhere, project / "two")
    assert OUTSIDE in lines
    assert not Path(params["source"]["location"]).is_absolute()
    (project / "link.zip").symlink_to(elsewhere)
    _, lines = make(project, project / "link.zip", "three")
    assert OUTSIDE in lines


def test_a_folder_is_a_source(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in classes({"cat": 10, "dog": 10}, picture()).items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(data)
    monkeypatch.chdir(project)
    lines = new(Path("my system"), "pets")
    assert lines[-1] == "cd 'my system' && dvc repro"
    params = read_params(Path("my system"))
    assert (params["source"]["kind"], params["source"]["location"]) == ("folder", "../pets")
    with pytest.raises(UserError, match="is inside the source pets"):
        new(Path("pets/system"), "pets")


def test_a_folder_that_git_ignores_is_refused_since_dvc_runs_nothing_there(project: Path) -> None:
    subprocess.run(["git", "init", "--quiet", project], check=True)
    (project / ".gitignore").write_text("/mine/\n")
    with pytest.raises(UserError, match=r"mine: git ignores it \(.*\.gitignore:1:/mine/\), and DVC runs nothing there"):
        new(project / "mine", "smear")
    assert not (project / "mine").exists()
    (project / ".dvc" / "config").write_text("[core]\n    no_scm = True\n")
    assert new(project / "mine", "smear")


def test_lines_of_a_gitignore_stay(project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine" / ".gitignore").write_bytes("S\u00e3o\nnotes\n/data/".encode("latin-1"))
    make(project, "smear", "mine")
    lines = (project / "mine" / ".gitignore").read_text(encoding="latin-1").split()
    assert lines == ["S\u00e3o", "notes", "/data/", *IGNORED[1:]], "in whatever encoding"


# ---- texts


def texts(counts: dict[str, int], top: str = "reviews/") -> dict[str, bytes]:
    return {
        f"{top}{name}/{index}.txt": f"{name} film {index}".encode()
        for name, count in counts.items()
        for index in range(count)
    }


def test_a_source_of_texts_is_recognized(project: Path) -> None:
    params, lines = make(project, archive(project / "reviews.zip", texts({"bad": 12, "good": 11}) | {"read.me": b"x"}))
    assert lines[0] == "found 23 texts, labeled by folder: bad (12), good (11); 0 unlabeled, 0 ambiguous"
    assert list(params) == ["seed", "source", "filter", "split", "validate", "words", "runs", "tune", "assess"]
    assert (params["source"]["content"], params["source"]["labels"]) == ("texts", "folder")
    assert list(params["words"]) == ["common", "bigrams"]
    assert {name: run["input"] for name, run in params["runs"].items()} == {
        "dense": "words/common", "logistic": "words/common", "nb_svm": "words/bigrams",
    }  # fmt: skip
    assert params["split"]["test_pattern"] is None
    lines = (project / "systems/pets/params.yaml").read_text().splitlines()
    assert not [line for line in lines if line and "#" not in line]


def test_a_published_test_part_of_texts_is_used_and_stays_complete(project: Path) -> None:
    files = texts({"bad": 12, "good": 12}, "train/") | texts({"bad": 10, "good": 10}, "test/")
    params, _ = make(project, archive(project / "reviews.zip", files))
    assert params["split"]["test_pattern"] == "^test/"
    assert params["filter"]["drop_duplicates"] is False
    text = (project / "systems/pets/params.yaml").read_text()
    assert "the source has a test part" in text
    assert "false keeps the test part complete" in text
    params, _ = make(project, archive(project / "others.zip", texts({"bad": 12, "good": 12})), "systems/others")
    assert (params["split"]["test_pattern"], params["filter"]["drop_duplicates"]) == (None, True)


@pytest.mark.parametrize(
    ("count", "share"), [(1, 0.15), (6_666, 0.15), (10_000, 0.1), (50_000, 0.02), (100_000, 0.01), (10**7, 0.01)]
)
def test_many_texts_need_a_smaller_share_to_validate(count: int, share: float) -> None:
    labels = LabelSurvey(labels="folder", classes={"bad": count, "good": count}, unlabeled=0, ambiguous=0)
    place = Place(kind="archive", location="reviews.zip", sha256=None)
    found = text_filling(TextLook(name="reviews.zip", place=place, texts=count, labels=labels, test_pattern=None))
    assert found.values["split.validation"] == share


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_a_table_of_texts_is_recognized(project: Path, suffix: str, separator: str) -> None:
    rows = [
        f'{number}{separator}"a, ""b""\n{"c" * 200_000 if number == 3 else ""}"{separator}{"ab"[number % 2]}'
        for number in range(24)
    ]
    table = "\n".join([separator.join(("number", "Text", "label")), *rows, f"24{separator}x{separator}", ""])
    params, lines = make(project, archive(project / "reviews.zip", {f"tables/all.{suffix}": table.encode()}))
    assert params["source"]["labels"] == f"all.{suffix}"
    assert lines[0] == f"found 25 texts, labeled by all.{suffix}: a (12), b (12); 1 unlabeled, 0 ambiguous"


@pytest.mark.parametrize(
    ("cells", "task", "said"),
    [
        (["horror | series", "-", "comedy"], "multilabel", "24 texts with several labels each"),
        ([f"{number}.5" for number in range(12)], "regress", "24 texts with numbers"),
    ],
    ids=["labels", "numbers"],
)
def test_a_table_of_answers_to_texts_is_learned_from(project: Path, cells: list[str], task: str, said: str) -> None:
    files = {f"{number}.txt": b"some words" for number in range(24)}
    rows = [f"{number}.txt,{cells[number % len(cells)]}" for number in range(24)]
    files["answers.csv"] = "\n".join(["file,about", *rows, ""]).encode()
    params, lines = make(project, archive(project / "films.zip", files))
    assert lines[0] == f"found {said}"
    assert lines[-2].startswith("then copy answers.csv out of the archive into ")
    assert (params["source"]["labels"], params["source"]["metadata"]) == ("none", "answers.csv")
    runs = {name: (run["task"], run.get("targets", run.get("target"))) for name, run in params["runs"].items()}
    expected = ["dense", "logistic", "nb_svm"] if task == "multilabel" else ["dense", "ridge"]
    assert runs == dict.fromkeys(expected, (task, ["about"] if task == "multilabel" else "about"))
    check_params(params)


@pytest.mark.parametrize("header", ["file,label", "file,sentiment", "name,breed"])
def test_a_table_of_classes_of_texts_without_folders_is_read(project: Path, header: str) -> None:
    files = {f"{number}.txt": b"some words" for number in range(24)}
    files["classes.csv"] = "\n".join([header, *(f"{number}.txt,{'ab'[number % 2]}" for number in range(24))]).encode()
    params, lines = make(project, archive(project / "films.zip", files))
    assert lines[0] == "found 24 texts, labeled by classes.csv: a (12), b (12); 0 unlabeled, 0 ambiguous"
    assert params["source"]["labels"] == "classes.csv"


@pytest.mark.parametrize("content", ["texts", "pictures"])
def test_a_second_table_with_labels_is_named(project: Path, content: str) -> None:
    names = [f"{number}.png" for number in range(24)]
    rows = "".join(f"{name},{'ab'[number % 2]}\n" for number, name in enumerate(names)).encode()
    first = b"file,label\n" if content == "pictures" else b"text,label\n"
    files = {"train.csv": first + rows, "test.csv": first + rows[: len(rows) // 2] + b"0.png,a\n"}
    if content == "pictures":
        files |= dict.fromkeys(names, picture()) | {"test.csv": first + b"0.png,a\n1.png,b\n"}
    _, lines = make(project, archive(project / "films.zip", files))
    assert "labels are there in 'test.csv', too, and not used: source.labels names one table" in lines


@pytest.mark.parametrize(("cells", "said"), [(["1.5", *"2345678"], "8 different numbers"), (["a|b", "c"], "12 of 24")])
def test_labels_of_a_table_of_texts_that_may_be_no_classes_are_named(
    project: Path, cells: list[str], said: str
) -> None:
    rows = [f"some words,{cells[number % len(cells)]}" for number in range(24)]
    files = {"all.csv": "\n".join(["text,label", *rows, ""]).encode()}
    _, lines = make(project, archive(project / "films.zip", files))
    (warning,) = [line for line in lines if line.startswith("warning: all.csv")]
    assert said in warning
    assert "but classes are learned, one a text" in warning


def test_texts_with_a_logo_are_texts(project: Path) -> None:
    files = texts({"bad": 12, "good": 11}) | {"reviews/logo.png": picture()}
    _, lines = make(project, archive(project / "reviews.zip", files))
    assert lines[0].startswith("found 23 texts")
    assert lines[1] == "passed over 1 file: 1 .png (no texts, and not used)"
    notes = {f"pets/{index}.txt": b"fur" for index in range(24)}  # a text for each picture, and one more
    _, lines = make(project, archive(project / "pets.zip", classes({"cat": 12, "dog": 11}, picture()) | notes), "two")
    assert lines[0].startswith("found 23 pictures")


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [("id,breed\n", "gone,a\n", "1 rows name no picture"), ("", "", "it names the picture '00'; add such a line")],
    ids=["lost row", "no first line"],
)
def test_a_table_of_labels_with_a_mistake_is_not_passed_over(project: Path, first: str, last: str, words: str) -> None:
    names = [f"{number:02d}" for number in range(24)]
    rows = "".join(f"{name},{'ab'[number % 2]}\n" for number, name in enumerate(names))
    files = {f"{name}.png": picture() for name in names} | {"l.csv": f"{first}{rows}{last}".encode()}
    with pytest.raises(UserError, match=f"l.csv: .*{words}"):
        make(project, archive(project / "pets.zip", files))
    captions = "".join(f"{name},photo {name}\n" for name in names)
    files["l.csv"] = f"{first}{captions}{last}".encode()
    _, lines = make(project, archive(project / "others.zip", files), "two")
    assert lines[0] == "found 24 pictures without labels, to learn colors from", "no classes"


@pytest.mark.parametrize("last", ["  \n", ",\n,\n", ",,\n"])
def test_blank_lines_below_a_table_cost_no_labels(project: Path, last: str) -> None:
    names = [f"{number:02d}" for number in range(24)]
    rows = "".join(f"{name},{'ab'[number % 2]}\n" for number, name in enumerate(names))
    files = {f"{name}.png": picture() for name in names} | {"l.csv": f"id,breed\n{rows}{last}".encode()}
    _, lines = make(project, archive(project / "pets.zip", files))
    assert lines[0] == "found 24 pictures, labeled by l.csv: a (12), b (12); 0 unlabeled, 0 ambiguous"


def test_a_folder_may_begin_with_a_dash(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert new(Path("-x"), "smear")[-1] == "cd ./-x && dvc repro"


def test_a_table_alone_is_refused_with_the_remedy(project: Path) -> None:
    (project / "all.csv").write_text("text,label\nx,a\n")
    with pytest.raises(UserError, match=r"all\.csv: is a table; put it into a folder of its own, and name that folder"):
        make(project, project / "all.csv")
    with pytest.raises(UserError, match=r"all\.csv\?\.\.\.: is a table; download it into a folder of its own"):
        new(project / "system", "https://nowhere.invalid/all.csv?download=1")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.txt": b"x", "b.txt": b"y"}, "fewer than two labels found for its texts; put .txt files into one folder"),
        ({"all.csv": b"text,label\nx,a\n"}, "fewer than two labels found"),
        ({"all.csv": b'text,label\n"x"y,a\n'}, "all.csv, line 2: not a CSV"),
        (
            {"all.csv": b"words,label\nx,a\n"},
            "no pictures, and no texts: .*text,label; the first line of all.csv is 'words,label'",
        ),
    ],
)
def test_texts_that_teach_nothing_are_refused(project: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make(project, archive(project / "reviews.zip", files))
    assert not (project / "systems").exists()


def test_pictures_with_a_text_next_to_them_are_pictures(project: Path) -> None:
    files = classes({"cat": 12, "dog": 11}, picture()) | {"pets/cat/readme.txt": b"cats"}
    params, _ = make(project, archive(project / "pets.zip", files))
    assert "content" not in params["source"]


def test_without_a_pipeline_for_texts_nothing_is_left(project: Path, package: Path) -> None:
    (package / "texts.dvc.yaml").unlink()
    with pytest.raises(UserError, match=r"texts\.dvc\.yaml: not found; install a complete or newer lamina"):
        make(project, archive(project / "reviews.zip", texts({"bad": 12, "good": 11})))
    assert not (project / "systems").exists()


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
    with pytest.raises(UserError, match=r"nothing to learn: no labels .* 6 of 10 in a sample are grey.* file,label$"):
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
    (project / ".git").mkdir()  # not a real repository, so `dvc init` fails
    with pytest.raises(UserError, match="`dvc init` failed: "):
        make(project, "smear")
    assert sorted(path.name for path in project.iterdir()) == [".git"]
    (project / "mine").mkdir()
    for ignore in (project / ".gitignore", project / "mine/.gitignore"):
        ignore.write_text("notes")
    with pytest.raises(UserError, match="`dvc init` failed: "):
        make(project, "smear", "mine")
    assert [path.name for path in (project / "mine").iterdir()] == [".gitignore"]
    assert (project / ".gitignore").read_text() == (project / "mine/.gitignore").read_text() == "notes"


# ---- DVC


ODD = "Fotos de células ç"


def dvc(*arguments: str, cwd: Path) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_dvc_repository_is_made_where_there_is_none(tmp_path: Path) -> None:
    system = tmp_path / ODD
    _, lines = make(tmp_path, "smear", ODD)
    assert (system / ".dvc").is_dir()
    assert (system / ".gitignore").read_text().split() == [*IGNORED, "/mlflow/"]
    assert f"made a DVC repository in {system} (without git)" in lines
    assert lines[-1] == f"cd '{system}' && dvc repro"
    assert _make_repository(system) == []
    dvc("repro", cwd=system)


def test_in_git_the_repository_is_made_at_its_root(tmp_path: Path) -> None:
    root = tmp_path / ODD
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    _, lines = make(root, "smear", "a/b")
    assert (root / ".dvc" / "config").is_file()
    assert (root / ".gitignore").read_text().split() == ["/mlflow/"]
    assert (root / "a/b/.gitignore").read_text().split() == IGNORED
    assert f"made a DVC repository in {root}" in lines
    dvc("repro", cwd=root / "a/b")


def test_the_next_command_finds_the_right_python(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my env/bin/python")
    _, lines = make(project, "smear")
    assert lines[-1] == f"cd {project / 'systems/pets'} && PATH='/opt/my env/bin':\"$PATH\" dvc repro"


def test_in_a_checkout_the_pipeline_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "lamina"
    package.mkdir(parents=True)
    (tmp_path / ".dvc").mkdir()
    for file in (
        tmp_path / "dvc.yaml",
        tmp_path / "pyproject.toml",
        package / "__init__.py",
        package / "texts.dvc.yaml",
    ):
        file.write_text(PIPELINE)
    monkeypatch.setattr(installation, "PACKAGE", package)
    make(tmp_path, "smear", "pipelines/a")
    assert (tmp_path / "pipelines/a/dvc.yaml").readlink() == Path("../../dvc.yaml")
    make(tmp_path, archive(tmp_path / "reviews.zip", texts({"bad": 12, "good": 11})), "pipelines/b")
    assert (tmp_path / "pipelines/b/dvc.yaml").readlink() == Path("../../src/lamina/texts.dvc.yaml")
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "other")], check=True)
    (tmp_path / "other" / ".dvc").mkdir()
    make(tmp_path / "other", "smear", "c")  # another repository: a link would lead out of it
    assert not (tmp_path / "other/c/dvc.yaml").is_symlink()


def test_a_system_is_named_after_its_folder_except_for_the_default(project: Path) -> None:
    make(project, "smear")
    assert system_name(project / "systems/pets") == "pets"
    assert system_name(ROOT) == "default"


# ---- the rest


NAMES = st.text(min_size=1, max_size=20)


@settings(max_examples=25)  # of two parsers written in Python
@given(location=NAMES, classes=st.lists(NAMES, min_size=1, max_size=3), size=st.integers(), note=NAMES)
def test_values_come_back_from_yaml(location: str, classes: list[str], size: int, note: str) -> None:
    values = {"source.location": location, "source.classes": classes, "convert.size": size, "source.origin": None}
    text = fill(Filling(template=PICTURES, title=word(note), values=values, notes={"source.classes": word(note)}))
    for parser in (YAML(typ="safe", pure=True), YAML(typ="rt")):
        params = parser.load(text)
        assert params["source"]["location"] == location
        assert params["source"]["classes"] == classes
        assert params["convert"]["size"] == size
        assert params["source"]["origin"] is None


@pytest.mark.parametrize("template", [PICTURES, TEXTS])
def test_a_template_without_values_stays_as_it_is(template: str) -> None:
    path = ROOT / "src" / "lamina" / "commands" / template
    assert (
        fill(Filling(template=template, title="x", values={})).partition("\n\n")[2]
        == path.read_text().partition("\n\n")[2]
    )


def test_the_pipeline_is_found_in_a_checkout_and_in_a_wheel(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_pipeline("dvc.yaml") == package / "dvc.yaml"
    monkeypatch.setattr(installation, "PACKAGE", tmp_path / "src" / "lamina")
    with pytest.raises(UserError, match=r"dvc\.yaml: not found; install a complete"):
        find_pipeline("dvc.yaml")
    (tmp_path / "src" / "lamina").mkdir(parents=True)
    for file in ("pyproject.toml", "src/lamina/__init__.py", "dvc.yaml"):
        (tmp_path / file).touch()
    assert find_pipeline("dvc.yaml") == tmp_path / "dvc.yaml"


@pytest.mark.parametrize(
    ("head", "needed"),
    [
        ("# lamina 99.1: the pipeline\n", "99.1"),
        ("# lamina 0.1: the pipeline\n# Written by lamina 99.0.0\n", "99.0.0"),
        ("\n# Written by lamina 99.0.0\n# x\n", "99.0.0"),
        ("# lamina 0.0.9\n", None),
        (f"# Written by lamina {__version__}.0\n", None),
        ("# a pipeline\nstages: {}\n# lamina 99.1\n", None),
        ("", None),
        (None, None),
    ],
)
def test_a_system_of_a_newer_lamina_is_refused(tmp_path: Path, head: str | None, needed: str | None) -> None:
    if head is not None:
        (tmp_path / "dvc.yaml").write_text(f"{head}stages: {{}}\n")
    if needed is None:
        installation.check_version(tmp_path)
        return
    words = (
        rf"dvc\.yaml: written for lamina {needed}, but {__version__} is installed; run `pip install --upgrade lamina`"
    )
    with pytest.raises(UserError, match=words):
        installation.check_version(tmp_path)


def test_a_system_is_named_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["new", str(project / "mine"), "--from", "smear", "--system", str(project / "other")])
    assert "unrecognized arguments: --system" in capsys.readouterr().err
    assert not (project / "mine").exists()


def test_arguments() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parsed = parser.parse_args(["here", "--from", "pets.zip"])
    assert (parsed.folder, parsed.source) == (Path("here"), "pets.zip")


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_the_real_leukocytes(project: Path) -> None:
    params, _ = make(project, SHARED / "leukocytes.zip")
    source = params["source"]
    assert (source["labels"], source["boxes"], source["target"]) == ("labels.csv", "boxes", "WBC")
    assert source["classes"] == ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
    expected = {"size": 128, "resize": "pad", "isolate": "box", "no_cell": "drop", "depth": "auto", "memory": 1024}
    assert params["convert"] == expected
    assert params["filter"]["drop_grayscale"] is False


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_the_real_cifar(project: Path) -> None:
    params, _ = make(project, SHARED / "cifar10.zip")
    assert (params["source"]["labels"], params["source"]["classes"]) == ("folder", None)
    assert (params["convert"]["size"], params["filter"]["min_side"], params["augment"]["copies"]) == (32, 32, 0)


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not there")
def test_the_real_reviews(project: Path) -> None:
    params, lines = make(project, SHARED / "imdb.zip")
    assert lines[0] == "found 50000 texts, labeled by folder: neg (25000), pos (25000); 0 unlabeled, 0 ambiguous"
    assert params["split"]["test_pattern"] == "^test/"


@pytest.mark.skipif(not (SHARED / "mnist").exists(), reason="../shared/data is not there")
def test_the_real_mnist(project: Path) -> None:
    params, lines = make(project, SHARED / "mnist")
    assert lines[0].startswith('found 10000 pictures, labeled by idx: "0" (980), "1" (1135), ')
    assert (params["convert"]["size"], params["split"]["test_pattern"]) == (28, None)
