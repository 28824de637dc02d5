"""Where a source must not be: among the results, which DVC removes before the stages write them."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from checkout import ROOT
from lamina.commands.check import check_system
from lamina.commands.new import new
from lamina.data.sources.places import RESULTS, check_first, check_places, clash
from lamina.errors import UserError
from lamina.stages import watch


def folder_with_pictures(system: Path, place: str) -> Path:
    for name in ("cat", "dog"):
        (system / place / name).mkdir(parents=True)
        (system / place / name / "1.png").write_bytes(b"not read")
    return system / place


@pytest.mark.parametrize("pipeline", ["dvc.yaml", "src/lamina/texts.dvc.yaml"])
def test_results_are_all_that_the_pipelines_write(pipeline: str) -> None:
    stages = YAML(typ="safe").load(ROOT / pipeline)["stages"].values()
    lists = [stage.get("do", stage).get(key, []) for stage in stages for key in ("outs", "metrics", "plots")]
    written = [name for names in lists for one in names for name in ([one] if isinstance(one, str) else one)]
    assert len(written) > 10
    for name in written:
        assert any(Path(name).is_relative_to(result) for result in RESULTS), name


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("data", r"would hold data/augmented, which `dvc repro` writes"),
        ("data/raw", r"is data/raw, which `dvc repro` removes"),
        ("data/raw/pets", r"is in data/raw, which `dvc repro` removes"),
        ("weights/pets", "is in weights"),
    ],
)
def test_a_source_among_the_results_is_refused_before_dvc_removes_it(tmp_path: Path, place: str, words: str) -> None:
    pictures = folder_with_pictures(tmp_path / "system", place)
    for earlier in (False, True):  # with results of an earlier system next to it
        found = rf"^{pictures}: {words}.*; move it elsewhere$" if earlier or place == "data" else ": is there already"
        if earlier:
            (tmp_path / "system" / "data" / "code").mkdir(parents=True)
        with pytest.raises(UserError, match=found):
            new(tmp_path / "system", str(pictures))
    with pytest.raises(UserError, match=rf"^params\.yaml: source\.location: {place} {words}"):
        check_places({"kind": "folder", "location": place}, tmp_path / "system")


@pytest.mark.parametrize("place", ["weights/best.pt", "reports/thesis.md", "data/raw/1.png", "ensembles"])
def test_a_new_system_removes_nothing_that_is_there(tmp_path: Path, place: str) -> None:
    (tmp_path / ".dvc").mkdir()
    file = tmp_path / "system" / place
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(UserError, match=r"system/\w+(/raw)?: is there already, and `dvc repro` would remove it"):
        new(tmp_path / "system", "smear")
    file.unlink()
    assert new(tmp_path / "system", "smear"), "empty folders are in nobody's way"
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / "system" / name).unlink()
    (tmp_path / "system" / "data" / "code").mkdir(parents=True)
    file.parent.mkdir(exist_ok=True)
    file.write_text("of lamina")
    assert new(tmp_path / "system", "smear"), "results of an earlier system"


def test_places_next_to_the_results_are_free(tmp_path: Path) -> None:
    assert not clash(tmp_path / "data" / "rawest", tmp_path)
    assert not clash(tmp_path / "pictures", tmp_path)
    (tmp_path / "link").symlink_to("link")
    for place in ("link", "a\0b"):  # reported as not found
        check_places({"kind": "folder", "location": place}, tmp_path)
    check_places({"kind": "url", "location": "https://example.org/data/raw"}, tmp_path)
    check_places({"kind": "folder", "location": "../other/data/raw", "metadata": "data/ages.csv"}, tmp_path / "mine")


def test_a_link_among_the_results_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw").symlink_to("../pictures")
    assert clash(tmp_path / "pictures", tmp_path).startswith("is data/raw")


@pytest.mark.parametrize("key", ["corrections", "metadata"])
def test_a_table_that_a_stage_writes_again_is_refused_by_the_first_stage_and_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    text = (ROOT / "params.yaml").read_text()
    changed = re.sub(rf"^  {key}: null", f"  {key}: data/inspection/suspects.csv", text, flags=re.MULTILINE)
    assert changed != text
    (tmp_path / "params.yaml").write_text(changed)
    monkeypatch.chdir(tmp_path)
    words = rf"source\.{key}: data/inspection/suspects\.csv is in data/inspection"
    for call in (watch.main, lambda: check_system(Path())):
        with pytest.raises(UserError, match=words):
            call()


def test_the_first_dvc_repro_leaves_what_others_put_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.h5").write_bytes(b"years of work")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^weights: is there already, and `dvc repro` would remove it"):
        watch.main()
    check_first(tmp_path / "weights")
    (tmp_path / "dvc.lock").touch()
    check_first(tmp_path)
