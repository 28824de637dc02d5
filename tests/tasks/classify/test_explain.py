"""Sheets that explain predictions: which are shown, and what is lit in them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamina.models.divided import Divided
from lamina.models.networks import build_network
from lamina.models.saliency import Saliency
from lamina.tasks.classify.explain import answers_sheet, classes_sheet, example_predictions, highlighted
from lamina.tasks.columns import probability

SIZE = 16
NAMES = ["cat", "dog", "owl"]
COLUMNS = [*map(probability, NAMES)]


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def answers(rows: int = 200) -> pd.DataFrame:
    draw = np.random.default_rng(4)
    shares = draw.dirichlet([1, 1, 1], rows)
    return pd.DataFrame(shares, columns=COLUMNS).assign(
        id=[f"{row:04x}" for row in range(rows)],
        label=draw.choice(NAMES, rows),
        predicted=np.array(NAMES)[shares.argmax(axis=1)],
    )


def test_the_surest_mistakes_and_a_spread_of_correct_predictions_are_chosen() -> None:
    table = answers()
    chosen = example_predictions(table, NAMES, 8)
    is_right = chosen["label"] == chosen["predicted"]
    assert list(is_right) == [True] * 8 + [False] * 8
    sure = table[COLUMNS].max(axis=1)
    wrong = table["label"] != table["predicted"]
    assert list(chosen.index[8:]) == list(sure[wrong].sort_values(ascending=False).index[:8])
    for label in NAMES:
        of_it = sure[~wrong & (table["label"] == label)]
        assert of_it.max() in sure[chosen.index[:8]].to_numpy(), "the surest of each class is shown"
    assert chosen["label"][:8].value_counts().min() >= 2
    pd.testing.assert_frame_equal(example_predictions(table.sample(frac=1, random_state=0), NAMES, 8), chosen)


@pytest.mark.parametrize("kind", ["right", "wrong", "one"])
def test_where_there_are_fewer_all_are_chosen(kind: str) -> None:
    table = answers()
    is_right = table["label"] == table["predicted"]
    few = {"right": table[is_right][:5], "wrong": table[~is_right][:5], "one": table[:1]}[kind]
    assert sorted(example_predictions(few, NAMES, 8)["id"]) == sorted(few["id"])


def test_what_supports_a_class_is_bright_and_the_rest_dim() -> None:
    grey = np.full((32, 32, 3), 200, np.uint8)
    shown = highlighted(grey, np.array([[1.0, -5.0], [0.0, 0.0]]))
    assert shown.dtype == np.uint8
    assert shown[4, 4].min() > 180
    assert shown[4, 28].max() < 80 > shown[28].max()
    assert highlighted(grey, np.zeros((2, 2))).max() < 80, "nothing supports it: nothing is lit"


def test_sheets_are_the_same_each_time() -> None:
    model = build_network("small_cnn", SIZE, len(NAMES), dropout=0.5, seed=1)
    table = example_predictions(answers(), NAMES, 3)
    pixels = pictures(len(table))
    one, two = (answers_sheet(Saliency(Divided(model)), table, pixels, NAMES) for _ in range(2))
    assert one.tobytes() == two.tobytes()
    single = classes_sheet(Saliency(Divided(model)), pixels[0], np.array([0.2, 0.7, 0.1]), NAMES)
    assert isinstance(single, Image.Image)
    assert single.width > 3 * 160
