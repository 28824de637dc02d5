"""The published systems under pipelines/: their parameters, profiles and published figures are valid."""

from pathlib import Path

import pytest

from checkout import ROOT
from lamina.commands.checked_params import check_params
from lamina.commands.profile import overview, switch
from lamina.config import read_params
from lamina.tasks.published import read_published

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
