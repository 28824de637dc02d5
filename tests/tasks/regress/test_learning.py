"""What runs that predict a number learn: heads and whole networks, in the number's own unit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.inputs.features import FeaturesSettings
from lamina.models.saving import save_model
from lamina.stages.extract import extract_features
from lamina.tasks.regress.learning import NumberHeadLearner, NumberLearner
from lamina.tasks.regress.results import NumberScores
from lamina.training.learner import Learned
from lamina.training.settings import GradientNumbers
from systems import (
    FEATURES,
    HEAD,
    LEVEL,
    NETWORK,
    NUMBERS,
    learner_of,
    write_answered_stripes,
    write_target_table,
)

GIVEN = GradientNumbers.model_validate(NUMBERS)
HEAD_RUN, NETWORK_RUN = HEAD | LEVEL | {"epochs": 20}, NETWORK | LEVEL | {"epochs": 8}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_answered_stripes(tmp_path_factory.mktemp("system"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        extract_features(FeaturesSettings.model_validate(FEATURES), Folders(), Path("data/features/small"), seed=1)
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


def opened(settings: Mapping[str, Any] = HEAD_RUN, **changes: Any) -> NumberLearner:
    learner = learner_of({**settings, **changes})
    assert isinstance(learner, NumberLearner)
    return learner


def error_of(learner: NumberLearner, learned: Learned, fold: str = "validation") -> float:
    """Return the mean absolute error as a share of that of the training mean."""
    judged = learner.judge(learned, fold)
    mean = learner.facts["target_mean"]
    return float((judged["target"] - judged["predicted"]).abs().mean() / (judged["target"] - mean).abs().mean())


def test_the_number_is_standardized_by_the_training_pictures_each_once() -> None:
    learner = opened()
    cells = pd.read_parquet("data/targets/regress.parquet")["level"].astype(float)
    assert learner.facts["target_mean"] == pytest.approx(cells[1:40].mean())
    assert learner.facts["target_deviation"] == pytest.approx(cells[1:40].std(ddof=0), rel=1e-5)
    assert len(learner.train) == 2 * 39


@pytest.mark.parametrize("cell", ["7", "0.1", "-1234.567"])
def test_equal_numbers_are_refused(cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_answered_stripes(tmp_path, train=11, validation=8, test=4))
    write_target_table(tmp_path, "regress", {"level": [cell] * 11 + ["8", "9"] * 6})
    with pytest.raises(UserError, match=r"^target: 'level' is \S+ in every training example; there is nothing to lear"):
        opened(NETWORK_RUN)


@pytest.mark.parametrize(
    ("start", "step", "is_refused"),
    [
        (1.7e9, 100, True),
        (2.459e6, 1, True),
        (2.459e6, 100, False),
        (0, 1e37, True),
        (1990, 1, False),
        (0, 1e-30, False),
    ],
)
def test_numbers_that_float32_cannot_tell_apart_are_refused(
    start: float, step: float, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timestamps of a day, or Julian dates of a week, would be learned in steps as large as what is to be learned."""
    monkeypatch.chdir(write_answered_stripes(tmp_path))
    write_target_table(Path(), "regress", {"level": [start + step * number for number in range(88)]})
    if not is_refused:
        assert opened().moments_of_target[1] == pytest.approx(step * np.std(range(40)), rel=1e-3)
        return
    with pytest.raises(
        UserError, match=r"^target: 'level' lies between \S+ and \S+: networks compute with seven digits"
    ):
        opened()


def test_a_head_learns_the_number() -> None:
    learner = opened()
    learned = learner.learn(GIVEN)
    assert error_of(learner, learned) < 0.6
    judged = learner.judge(learned, "test")
    cells = pd.read_parquet("data/targets/regress.parquet")["level"].astype(float)
    assert judged["target"].tolist() == cells[-23:].tolist(), "not rounded"
    scores = NumberScores.model_validate(learner.summarise(judged.assign(origin=[f"{n // 2}" for n in range(23)])))
    assert scores.mae == pytest.approx((judged["target"] - judged["predicted"]).abs().mean())
    assert scores.interval is not None
    assert 0 <= scores.interval[0] < scores.mae < scores.interval[1]
    assert learner.summarise(judged.assign(origin="one"))["interval"] is None


def test_the_saved_model_gives_the_number_in_its_unit() -> None:
    learner = opened()
    head = learner.learn(GIVEN).predict(learner.examples("test"))
    model = learner.learn_final(GIVEN).network
    pictures = learner.pictures("test")
    found = np.asarray(model(pictures.rows.read(np.arange(len(pictures))).astype(np.float32)))
    np.testing.assert_allclose(found, head, atol=0.3)  # features are kept in float16


def test_a_head_starts_from_the_head_of_another_run() -> None:
    save_model(opened().learn_final(GIVEN).network, Path("models/other/model.keras"))
    learner, first = opened(weights="models/other/model.keras", epochs=1), opened(epochs=1)
    assert isinstance(learner, NumberHeadLearner)
    assert learner.learn(GIVEN).history[0]["train_loss"] < 0.7 * first.learn(GIVEN).history[0]["train_loss"]


def test_a_head_is_fine_tuned_with_its_backbone() -> None:
    learner = opened(fine_tune={"layers": 3, "epochs": 3, "learning_rate": 1e-4})
    learned = learner.learn_final(GIVEN)
    assert [row["fine_tuning"] for row in learned.history] == [0] * 20 + [1] * 3
    assert error_of(learner, learned) < 0.6
    assert learned.history[-1]["validation_mae"] == pytest.approx(
        np.abs(learned.predict(learner.pictures("validation")) - learner.validation.labels).mean(), rel=1e-3
    )


def test_a_network_in_bfloat16_gives_the_number_exactly() -> None:
    """bfloat16 knows 1,000 and 1,004, and nothing in between."""
    learner = opened(NETWORK_RUN, precision="bfloat16", views=2, augmentation="fresh")
    learned = learner.learn_final(GIVEN)
    assert error_of(learner, learned) < 0.7
    found = learned.predict(learner.judged_examples("validation"))
    assert len(np.unique(found)) == 23
    assert np.ptp(found) > 20
