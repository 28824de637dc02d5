"""`lamina export` of runs over texts: every format answers as Keras, and texts become its input without lamina."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import save_npz

from checkout import ROOT
from finished import finished_record, write_params
from lamina.commands import bench_model
from lamina.commands.export import EXACT, FORMATS, INT8, export
from lamina.errors import UserError
from lamina.inputs.word_examples import predict_words
from lamina.inputs.words import read_matrix
from texts import DENSE, NB_SVM, opinions, words_system

CLASSES = ["neg", "pos"]
RUNS = {"dense": DENSE, "nb_svm": NB_SVM}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return opinions(30, CLASSES)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]) -> Path:
    """A network that nobody trained, and a linear classifier, with their predictions."""
    from lamina.models.saving import save_model
    from lamina.tasks.classify.words_learning import build_dense
    from lamina.training.linear import build_linear, fit_nbsvm

    folder = words_system(tmp_path_factory.mktemp("system"), texts, ngrams=2)
    write_params(folder, RUNS)
    manifest = pd.read_parquet(folder / "data/split/manifest.parquet")
    matrix, labels = read_matrix(folder / "data/words/common"), (manifest["label"] == "pos").to_numpy(np.int32)
    models = {
        "dense": build_dense(matrix.shape[1], 2, dropout=0.0, seed=2),
        "nb_svm": build_linear(fit_nbsvm(matrix, labels, 2), "classes"),
    }
    test = (manifest["fold"] == "test").to_numpy()
    for name, model in models.items():
        (folder / "models" / name).mkdir(parents=True)
        record = finished_record(name, RUNS[name], classes=CLASSES, width=matrix.shape[1])
        record.write(folder / "models" / name / "record.json")
        save_model(model, folder / "models" / name / "model.keras")
        named = np.array(CLASSES)[predict_words(model, matrix[test]).argmax(axis=1)]
        table = manifest[test][["id", "origin", "label"]].assign(predicted=named)
        table.to_parquet(folder / "models" / name / "predictions.parquet", index=False)
    return folder


def words_of(folder: Path) -> Any:
    """Import `words.py` of an export, as people do who have no lamina."""
    spec = importlib.util.spec_from_file_location("words", folder / "words.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", RUNS)
def test_who_has_the_export_alone_gets_the_same_answers(name: str, system: Path, texts: dict[str, str]) -> None:
    import onnxruntime

    from lamina.models.exporting import FORMATS as WRITTEN
    from lamina.models.loading import load_model

    lines = export(system, name, EXACT)
    assert all("probabilities within " in line for line in lines)
    manifest = pd.read_parquet(system / "data/split/manifest.parquet")
    names = pd.read_parquet(system / "data/filtered/kept.parquet").set_index("id")["name"]
    network = load_model(system / f"models/{name}/model.keras")
    expected = predict_words(network, read_matrix(system / "data/words/common"))
    for form in EXACT:
        folder = system / "exported" / name / form
        words, said = words_of(folder), json.loads((folder / "export.json").read_text())
        rows = words.to_rows([texts[names[key]] for key in manifest["id"]], words.read_rules())
        assert said["input"]["shape"] == [-1, rows.shape[1]]
        assert (said["input"]["name"], said["classes"]) == ("words", CLASSES)
        assert said["checked"]["texts"] == (manifest["fold"] == "test").sum()
        assert {*said["files"], "export.json"} == {path.name for path in folder.iterdir() if path.is_file()}
        np.testing.assert_allclose(WRITTEN[form].load(folder)(rows), expected, atol=1e-5)
    session = onnxruntime.InferenceSession(system / "exported" / name / "onnx/model.onnx")
    assert [one.name for one in session.get_inputs()] == ["words"]


def test_the_code_in_the_docs_runs_next_to_the_export(
    system: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/files.md").read_text(encoding="utf-8")
    (code,) = [part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import words" in part]
    export(system, "dense", ["onnx"])
    monkeypatch.chdir(system / "exported/dense/onnx")
    monkeypatch.syspath_prepend(".")
    exec(code, {})  # noqa: S102 - our own page
    del sys.modules["words"]
    assert len(re.findall(r"0\.\d+", capsys.readouterr().out)) == 4


def test_eight_bits_are_judged_on_the_test_texts(system: Path) -> None:
    (line,) = export(system, "nb_svm", [INT8])
    assert "test accuracy " in line
    checked = json.loads((system / "exported/nb_svm" / INT8 / "export.json").read_text())["checked"]
    assert checked["texts"] > 0
    assert checked["verdict"].startswith("kept")


def test_other_words_than_the_run_learned_from_are_refused(system: Path, tmp_path: Path) -> None:
    """As if another version had counted the words."""
    other = Path(shutil.copytree(system, tmp_path / "other"))
    save_npz(other / "data/words/common/matrix.npz", 2 * read_matrix(system / "data/words/common"))
    with pytest.raises(
        UserError, match=r"words\.json turns test texts into other rows than data/words holds, by up to 1"
    ):
        export(other, "dense", ["onnx"])
    save_npz(other / "data/words/common/matrix.npz", read_matrix(system / "data/words/common")[:, :-1])
    with pytest.raises(UserError, match=r"data/words/common has \d+ columns, but run 'dense' learned from \d+; run"):
        export(other, "dense", ["onnx"])


def test_formats_are_measured(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_model, "SECONDS", 0.05)
    monkeypatch.setattr(bench_model, "SINGLES", 5)
    export(system, "dense", ["onnx"])
    found = bench_model.bench_model(system, "dense")
    assert {one.name for one in found} <= {*FORMATS, "keras"}
    assert all(one.rate > 0 for one in found)
