"""The champion: the best by validation pictures, written down and recognised again."""

import shutil
from pathlib import Path

import pytest

from lamina.errors import UserError
from lamina.files import write_json
from lamina.results.champion import champion_path, choose, read_champion
from tracked import score, write_color_run, write_run

BOTH = ["other", "tiny"]


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """Two classifiers: `tiny` is better on validation pictures, `other` on test pictures."""
    write_run(tmp_path, run="tiny", key="a", model=b"tiny")
    write_run(tmp_path, run="other", key="b", model=b"other")
    score(tmp_path, "tiny", validation=0.9, test=0.5)
    score(tmp_path, "other", validation=0.6, test=0.8)
    return tmp_path


def test_validation_decides_and_not_the_test_pictures(system: Path) -> None:
    assert choose(system, BOTH, "accuracy").run == "tiny"
    score(system, "other", validation=0.95, test=0.1)
    assert choose(system, BOTH, "accuracy").run == "other"


def test_equals_stand_by_name(system: Path) -> None:
    score(system, "other", validation=0.9)
    assert choose(system, BOTH, "accuracy").run == choose(system, BOTH[::-1], "accuracy").run == "other"


def test_a_single_run_stands_before_an_equal_ensemble(system: Path) -> None:
    (system / "params.yaml").write_text('{"ensembles": {"other": null}}')
    (system / "ensembles").mkdir()
    (system / "models/other").rename(system / "ensembles/other")
    shutil.copy2(system / "models/tiny/metrics.json", system / "ensembles/other")
    assert choose(system, BOTH, "accuracy").run == "tiny"


def test_of_errors_the_lowest_decides(system: Path) -> None:
    for run, mse in (("far", 300.0), ("near", 100.0), ("like near", 100.0)):
        write_color_run(system, run=run, validation=mse)
    champion = choose(system, ["far", "near", "like near"], "mse")
    assert (champion.run, champion.measure, champion.validation) == ("like near", "mse", 100.0)
    write_json(champion_path(system), champion.model_dump())
    assert read_champion(system) == champion
    assert champion.is_in(system)
    write_color_run(system, run="like near", validation=99.0)
    assert not champion.is_in(system)


def test_it_is_read_as_it_was_written(system: Path) -> None:
    assert read_champion(system) is None
    champion = choose(system, ["tiny"], "accuracy")
    write_json(champion_path(system), champion.model_dump())
    assert read_champion(system) == champion
    assert champion.is_in(system)


def test_a_model_trained_since_is_not_the_champion(system: Path) -> None:
    champion = choose(system, ["tiny"], "accuracy")
    (system / "models" / "tiny" / "model.keras").write_bytes(b"trained since")
    assert not champion.is_in(system)
    (system / "models" / "tiny" / "model.keras").unlink()
    assert not champion.is_in(system)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "run Field required"),
        ("[", "Invalid JSON"),
        ('{"run": 1}', "run Input should be"),
        # as it was written before there were colorizers
        ('{"key": "k", "model": "m", "run": "r", "validation_accuracy": 0.5}', "measure Field required"),
    ],
)
def test_a_broken_file_is_named(text: str, words: str, system: Path) -> None:
    champion_path(system).parent.mkdir()
    champion_path(system).write_text(text)
    with pytest.raises(UserError, match=rf"champion\.json: .*{words}.*; restore it, or renew it with"):
        read_champion(system)
