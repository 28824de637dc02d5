"""The stage `evaluate`: predictions are joined to labels by id, whatever the order of the rows."""

import json
from pathlib import Path

import pandas as pd
import pytest

from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import write_json
from lamina.stages.evaluate import evaluate
from systems import NETWORK, stage_of, train_run, write_stripes


def test_predictions_are_joined_to_labels_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_stripes(tmp_path, train=40, validation=16, test=16))
    out, manifest = Path("models/cnn"), Path("data/split/manifest.parquet")
    train_run(stage_of(NETWORK, out, name="cnn"))
    found = evaluate(Folders(), out)
    assert (found.test.n, found.validation.n) == (16, 16)
    assert found.test.value > 0.8
    before = (out / "metrics.json").read_bytes()
    pd.read_parquet(manifest).sample(frac=1, random_state=1).to_parquet(manifest)
    evaluate(Folders(), out)
    assert (out / "metrics.json").read_bytes() == before
    record = out / "record.json"
    write_json(record, json.loads(record.read_text()) | {"task": "sort"})
    with pytest.raises(UserError, match=r"record\.json: unknown task 'sort'; train the run again"):
        evaluate(Folders(), out)
