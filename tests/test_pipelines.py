"""The published systems under pipelines/: their parameters, profiles and published figures are valid."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from checkout import ROOT
from lamina.commands.checked_params import check_params
from lamina.commands.profile import overview, switch
from lamina.config import read_params
from lamina.tasks.published import read_published
from loopback import Server
from packing import picture, zipped

SYSTEMS = sorted(path.parent for path in (ROOT / "pipelines").glob("*/published.yaml"))


@pytest.fixture(params=SYSTEMS, ids=lambda path: path.name)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a system's parameters and profiles."""
    copy = tmp_path / request.param.name
    (copy / "profiles").mkdir(parents=True)
    for path in (*request.param.glob("*.yaml"), *request.param.glob("profiles/*.yaml")):
        (copy / path.relative_to(request.param)).write_bytes(path.read_bytes())
    return copy


def test_all_five_systems_are_there() -> None:
    assert [path.name for path in SYSTEMS] == ["cats_vs_dogs", "colorization", "digits", "leukocytes", "reviews"]


def test_each_profile_is_valid_and_leads_back_to_quick(system: Path) -> None:
    before = (system / "params.yaml").read_text()
    assert "quick  (params.yaml has it)" in overview(system)
    for profile in sorted((system / "profiles").glob("*.yaml")):
        switch(system, profile.stem)
        check_params(read_params(system))
        assert read_published(system, read_params(system)) is not None
    switch(system, "quick")
    assert (system / "params.yaml").read_text() == before


def test_the_accepted_results_are_those_of_the_runs(system: Path) -> None:
    accepted = {path.stem for path in (ROOT / "pipelines" / system.name / "baselines").glob("*.csv")}
    assert accepted == set(read_params(system)["runs"])


def test_the_leukocytes_are_assembled_from_two_sources(tmp_path: Path) -> None:
    server = Server()
    master = {
        "BCCD-master/README.md": b"x",
        "BCCD-master/example.jpg": b"no cell",
        **{f"BCCD-master/BCCD/JPEGImages/BloodImage_{number:05d}.jpg": picture(number) for number in (0, 2)},
        "BCCD-master/BCCD/Annotations/BloodImage_00000.xml": b"<annotation/>",
    }
    labels = b',Image,Category\n,0,NEUTROPHIL\n,1,EOSINOPHIL\n,2,"NEUTROPHIL, MONOCYTE"\n'
    server.files = {"master.zip": zipped(master), "labels.csv": labels}
    out = tmp_path / "leukocytes.zip"
    script = [sys.executable, str(ROOT / "pipelines/leukocytes/assemble.py"), "--out", str(out)]
    addresses = ["--pictures", server.url("fine/master.zip"), "--labels", server.url("fine/labels.csv")]
    try:
        subprocess.run([*script, *addresses], check=True, capture_output=True)
    finally:
        server.close()
    with zipfile.ZipFile(out) as packed:
        assert packed.namelist() == [
            "leukocytes/boxes/BloodImage_00000.xml",
            "leukocytes/images/BloodImage_00000.jpg",
            "leukocytes/images/BloodImage_00002.jpg",
            "leukocytes/labels.csv",
        ]
        assert packed.read("leukocytes/labels.csv").decode().split("\r\n") == [
            "file,label",
            "images/BloodImage_00000.jpg,NEUTROPHIL",
            'images/BloodImage_00002.jpg,"NEUTROPHIL, MONOCYTE"',
            "",
        ]
