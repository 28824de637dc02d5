"""Class and probabilities of texts, from a run's model; the part of `lamina predict` that is about texts."""

import json
from collections.abc import Sequence
from pathlib import Path

from lamina.commands.prediction import Prediction, failed, find_files, prediction
from lamina.data.texts import Decoded, count_words, decode
from lamina.errors import UserError
from lamina.inputs.words import Vectorizer, read_vectorizer
from lamina.results.record import Record, read_record
from lamina.tasks.runs import run_folder

SUFFIX = ".txt"


def find_texts(paths: Sequence[Path]) -> list[Path]:
    """Return the texts of files and folders; see `lamina.commands.prediction.find_files`."""
    return find_files(paths, [SUFFIX], "text")


def predict_texts(system: Path, name: str, paths: Sequence[Path]) -> list[Prediction]:
    """Predict the class of every text; a file that holds no text, or no words, gets an `error`.

    Raises:
        UserError: if the run or its model is not there.
    """
    record, vectorizer = _transform(system, name)
    from lamina.inputs.word_examples import predict_words
    from lamina.models.loading import load_model

    read = {path: _read(path, strip_html=vectorizer.strip_html) for path in find_texts(paths)}
    texts = {path: one.text for path, one in read.items() if not one.problem}
    found = {path: failed(str(path), one.problem) for path, one in read.items() if one.problem}
    if texts:
        model = load_model(run_folder(system, name) / "model.keras")
        rows = predict_words(model, vectorizer.transform(list(texts.values())))
        found |= {path: prediction(str(path), record.classes, row) for path, row in zip(texts, rows, strict=True)}
    return [found[path] for path in read]


def request_texts(system: Path, name: str, paths: Sequence[Path]) -> str:
    """Return the JSON to send to a served model for texts, in order.

    Raises:
        UserError: if one is no text or holds no words, since answers come back without names.
    """
    texts = []
    for path in find_texts(paths):
        decoded = _read(path)
        if decoded.problem:
            raise UserError(f"{path}: {decoded.problem}; leave it out")
        texts.append(decoded.text)
    table = {"columns": ["text"], "data": [[text] for text in texts]}
    return json.dumps({"dataframe_split": table}, separators=(",", ":"), ensure_ascii=False)


def _read(path: Path, *, strip_html: bool = False) -> Decoded:
    """Decode a file; one without words is a problem, too: an answer would say nothing about it."""
    decoded = decode(path.read_bytes(), strip_html=strip_html)
    if decoded.problem or count_words(decoded.text):
        return decoded
    return Decoded(text="", problem="holds no words")


def _transform(system: Path, name: str) -> tuple[Record, Vectorizer]:
    record = read_record(run_folder(system, name))
    return record, read_vectorizer(system / "data" / record.input)
