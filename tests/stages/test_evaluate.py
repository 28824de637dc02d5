"""The stage `evaluate`: predictions are joined to labels by id, whatever the order of the rows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.files import write_json
from lamina.inputs.features import FeaturesSettings
from lamina.inputs.index import read_split
from lamina.results.record import read_record
from lamina.results.uncertainty import find_judge
from lamina.stages.evaluate import evaluate
from lamina.stages.extract import extract_features
from lamina.tasks.classify.uncertainty import reference_rows
from systems import FEATURES, HEAD, NETWORK, stage_of, train_run, write_stripes


def answers_carry_their_doubt(system: Path, out: Path) -> None:
    """Features are those before the last layer, and what was drawn otherwise lies farther away than the test rows."""
    from lamina.models.divided import Divided
    from lamina.models.keras_runtime import keras
    from lamina.models.loading import load_model

    model = load_model(out / "model.keras")
    rows = open_rows(read_split(Folders()).query("fold == 'test'"), Folders())
    pixels = rows.read(np.arange(len(rows)))
    features = Divided(model).features(pixels)
    expected = np.asarray(keras.Model(model.input, model.get_layer("dropout").output)(pixels.astype(np.float32)))
    np.testing.assert_allclose(features, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    judge = find_judge(out, read_record(out).key)
    assert judge
    assert judge.known.neighborhood
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    assert np.median(judge.distances(Divided(model).features(noise))) > np.max(judge.distances(features))
    validation = pd.read_parquet(out / "uncertainty/validation.parquet")
    assert (len(validation), "distance" in validation) == (16, True)


def test_features_of_training_pictures_are_those_that_the_head_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the split in another order than by id; the network sees no picture of training again."""
    from lamina.models.divided import Divided
    from lamina.models.loading import load_model

    monkeypatch.chdir(write_stripes(tmp_path, train=40, validation=16, test=16))
    manifest, out, shown = Path("data/split/manifest.parquet"), Path("models/head"), []
    pd.read_parquet(manifest).sample(frac=1, random_state=1).to_parquet(manifest)
    extract_features(FeaturesSettings.model_validate(FEATURES), Folders(), Path("data/features/small"), seed=1)
    train_run(stage_of(HEAD, out, name="head"))
    real = Divided.outputs_and_features

    def seen(self: Divided, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shown.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(Divided, "outputs_and_features", seen)
    evaluate(Folders(), out)
    assert sum(shown) == 16 + 16
    known = open_rows(reference_rows(read_split(Folders())), Folders())
    expected = Divided(load_model(out / "model.keras")).features(known.read(np.arange(len(known))))
    np.testing.assert_allclose(np.load(out / "uncertainty/features.npy"), expected, atol=2e-3)


def test_predictions_are_joined_to_labels_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_stripes(tmp_path, train=40, validation=16, test=16))
    out, manifest = Path("models/cnn"), Path("data/split/manifest.parquet")
    train_run(stage_of(NETWORK, out, name="cnn"))
    found = evaluate(Folders(), out)
    assert (found.test.n, found.validation.n) == (16, 16)
    assert found.test.value > 0.8
    answers_carry_their_doubt(Path(), out)
    before = (out / "metrics.json").read_bytes()
    pd.read_parquet(manifest).sample(frac=1, random_state=1).to_parquet(manifest)
    evaluate(Folders(), out)
    assert (out / "metrics.json").read_bytes() == before
    record = out / "record.json"
    write_json(record, json.loads(record.read_text()) | {"task": "sort"})
    with pytest.raises(UserError, match=r"record\.json: unknown task 'sort'; train the run again"):
        evaluate(Folders(), out)
