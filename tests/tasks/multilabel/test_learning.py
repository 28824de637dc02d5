"""What runs that give labels learn: heads and whole networks, from pictures whose answer is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.inputs.features import FeaturesSettings
from lamina.inputs.index import read_split
from lamina.maths.label_scores import find_thresholds
from lamina.stages.extract import extract_features
from lamina.tasks.multilabel.learning import LabelHeadLearner, LabelLearner
from lamina.tasks.multilabel.results import LabelScores, label_flags
from lamina.training.settings import GradientNumbers
from systems import (
    FEATURES,
    HEAD,
    LABELS,
    NETWORK,
    NUMBERS,
    learner_of,
    write_answered_stripes,
    write_target_table,
)

GIVEN = GradientNumbers.model_validate(NUMBERS)
HEAD_RUN, NETWORK_RUN = HEAD | LABELS | {"epochs": 12}, NETWORK | LABELS | {"epochs": 8}


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


def opened(settings: Mapping[str, Any] = HEAD_RUN, **changes: Any) -> LabelLearner:
    learner = learner_of({**settings, **changes})
    assert isinstance(learner, LabelLearner)
    return learner


# ---- from what


def test_pictures_without_an_answer_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    learner = opened()
    assert capsys.readouterr().err == "note: 3 of 88 examples have no answer in source.metadata\n"
    assert [len(learner.examples(fold)) for fold in ("train", "validation", "test")] == [2 * 39, 23, 23]
    assert learner.classes == ["light", "upright"]


@pytest.mark.parametrize("settings", [HEAD_RUN, NETWORK_RUN], ids=["head", "network"])
def test_every_row_has_the_input_and_the_answer_of_its_picture(settings: Mapping[str, Any]) -> None:
    learner, split = opened(settings), read_split(Folders())
    known = pd.read_parquet("data/targets/multilabel.parquet").set_index("id")["seen"]
    rows = split[(split["fold"] == "train") & split["id"].isin(known.dropna().index)]
    expected = [["light" in known[name], "upright" in known[name]] for name in rows["id"]]
    np.testing.assert_array_equal(learner.train.labels, expected)
    if isinstance(learner, LabelHeadLearner):
        features = np.load("data/features/small/features.npy")
        np.testing.assert_array_equal(learner.train.features, features[rows.index])
    else:
        original = learner.train.rows.place[rows["copy"] == 0]
        assert original.tolist() == list(range(1, 40))


def test_the_digest_follows_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_answered_stripes(tmp_path, train=12, validation=8, test=4))
    before, network = opened(NETWORK_RUN).digest, opened(NETWORK_RUN, augmentation="fresh").digest
    cells = pd.read_parquet("data/targets/multilabel.parquet")
    write_target_table(tmp_path, "multilabel", {"seen": list(cells["seen"]), "level": [None] * 24})
    assert opened(NETWORK_RUN).digest == before, "of another column nothing is learned"
    cells.loc[23, "seen"] = None
    write_target_table(tmp_path, "multilabel", {"seen": list(cells["seen"])})
    assert opened(NETWORK_RUN).digest != before
    assert network != before


ANSWERS = ["a|b", "a", "b", "-"] * 6


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (["a|b", "a"] * 12, "^targets: every example of the fold train has the label 'a'; add others, or leave"),
        (["a", "b"] * 6 + ["a|c"] * 12, "^targets: no example of the fold train has the label 'c'; add others, or"),
        ([None] * 12 + ["a|b", "-"] * 6, "^source.metadata: no example of the fold train has an answer; complete"),
        (["a|b", "-"] * 10 + [None] * 4, "^source.metadata: no example of the fold test has an answer; complete the"),
    ],
    ids=["always", "never", "train", "test"],
)
def test_what_cannot_be_learned_is_refused(
    seen: list[str | None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_answered_stripes(tmp_path, train=12, validation=8, test=4))
    write_target_table(tmp_path, "multilabel", {"seen": seen})
    with pytest.raises(UserError, match=message):
        opened(NETWORK_RUN)


def test_a_label_that_no_validation_picture_has_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write_answered_stripes(tmp_path, train=12, validation=8, test=4))
    write_target_table(tmp_path, "multilabel", {"seen": ["a|b", "a", "-"] * 4 + ["a", "-"] * 6})
    opened(NETWORK_RUN)
    assert capsys.readouterr().err == (
        "warning: no example of the fold validation has the label b; its threshold is 0.5\n"
    )


@pytest.mark.parametrize("targets", [[], [""], "seen", None], ids=str)
def test_targets_that_name_no_column_are_refused(targets: object) -> None:
    with pytest.raises(UserError, match=r"^params.yaml: runs.run.targets: expected a list of columns of source.meta"):
        opened(targets=targets)


# ---- learning


def test_a_head_learns_the_labels(capsys: pytest.CaptureFixture[str]) -> None:
    learner = opened()
    learned = learner.learn(GIVEN)
    judged = learner.judge(learned, "test")
    assert judged.columns.tolist() == ["labels", "predicted"]
    truth, named = (label_flags(judged[column], learner.classes) for column in judged)
    np.testing.assert_array_equal(truth, learner.examples("test").labels)
    validation = learner.validation
    thresholds = find_thresholds(learned.predict(validation), validation.labels > 0)
    np.testing.assert_array_equal(named, learned.predict(learner.examples("test")) >= thresholds)
    scores = LabelScores.model_validate(learner.summarise(judged.assign(origin=[f"{n // 2}" for n in range(23)])))
    assert scores.f1 == pytest.approx(f1_score(truth, named, average="samples", zero_division=1))
    assert scores.f1 > 0.75
    assert scores.interval is not None
    assert 0 <= scores.interval[0] < scores.f1 < scores.interval[1] <= 1
    assert (scores.n, scores.origins) == (23, 12)
    assert learner.summarise(judged.assign(origin="one"))["interval"] is None


def test_a_head_is_fine_tuned_with_its_backbone() -> None:
    learner = opened(epochs=2, fine_tune={"layers": 3, "epochs": 3, "learning_rate": 1e-3})
    learned = learner.learn_final(GIVEN)
    assert [row["fine_tuning"] for row in learned.history] == [0, 0, 1, 1, 1]
    assert learned.history[-1]["train_loss"] < learned.history[1]["train_loss"]
    found = learned.predict(learner.judged_examples("test"))
    assert found.shape == (23, 2)
    assert ((found >= 0) & (found <= 1)).all()


def test_a_network_learns_from_pixels() -> None:
    learner = opened(NETWORK_RUN, precision="bfloat16", views=2)
    learned = learner.learn_final(GIVEN)
    losses = [row["validation_loss"] for row in learned.history]
    assert losses[-1] < 0.8 * losses[0]
    found = learned.predict(learner.validation)
    assert found.dtype == np.float32
    assert f1_score(learner.validation.labels, found > 0.5, average="samples", zero_division=1) > 0.6
