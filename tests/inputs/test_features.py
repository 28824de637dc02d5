"""The identity of features: all that decides them, and nothing else; and the tidying of interrupted extractions."""

from pathlib import Path

import pytest

from lamina.data.rows import Folders
from lamina.inputs.features import FeaturesSettings, features_key, tidy
from lamina.inputs.index import write_index
from systems import FEATURES, write_stripes


def settings_with(**changes: object) -> FeaturesSettings:
    return FeaturesSettings.model_validate(FEATURES | changes)


def key(settings: FeaturesSettings, seed: int = 1) -> str:
    return features_key(settings, Folders(), seed=seed)


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write_stripes(tmp_path, train=4, validation=2, test=2, side=8))
    return tmp_path


@pytest.mark.parametrize(
    "changes",
    [{"backbone": "vgg16"}, {"pooling": "flatten"}, {"preprocess": "rescale"}, {"precision": "bfloat16"}],
    ids=str,
)
def test_all_settings_decide_the_key(changes: dict[str, str]) -> None:
    assert key(settings_with(**changes)) != key(settings_with())


def test_seed_and_data_decide_the_key() -> None:
    before = key(settings_with())
    assert before == key(settings_with())
    assert before != key(settings_with(), seed=2)
    write_index(Folders().pixels, "other pictures", 8)
    assert before != key(settings_with())


def test_the_content_of_weights_decides_the_key_in_place_of_the_seed() -> None:
    weights = Path("model.keras")
    given = settings_with(weights=str(weights))
    weights.write_bytes(b"one")
    before = key(given)
    assert before == key(given, seed=2), "nothing is random where weights are given"
    weights.write_bytes(b"two")
    assert before != key(given)


def test_the_code_decides_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(settings_with())
    monkeypatch.setattr("lamina.inputs.features.code_digest", lambda *modules: f"an edit of {modules}")
    assert before != key(settings_with())


def test_only_needed_unfinished_extractions_are_kept(tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    for name in ("needed", "forgotten"):
        (unfinished / name).mkdir(parents=True)
        (unfinished / name / "features.npy").write_bytes(b"rows")
    tidy(unfinished, {"needed"})
    assert [path.name for path in unfinished.iterdir()] == ["needed"]
