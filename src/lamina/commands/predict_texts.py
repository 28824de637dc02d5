"""Predict the class of texts, from a run's model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamina.commands.predict import Prediction, failed, find_texts, prediction
from lamina.data.opening import UnreadableError, read_file
from lamina.data.texts import Decoded, count_words, decode
from lamina.errors import UserError
from lamina.inputs.words import Vectorizer, read_vectorizer
from lamina.results.folders import run_folder
from lamina.results.record import Record, read_record


def predict_texts(system: Path, name: str, paths: Sequence[Path]) -> list[Prediction]:
    """Predict the class of every text; a file that holds no text, or no words, gets an `error`.

    Raises:
        UserError: if the run or its model is not there.
    """
    return read_text_model(system, name).load()(find_texts(paths))


@dataclass(frozen=True)
class TextModel:
    """A run over texts: its model, its record, and how texts become words."""

    model: Path
    record: Record
    vectorizer: Vectorizer

    def load(self) -> Callable[[Sequence[Path]], list[Prediction]]:
        """Load the network; return what predicts the texts of files, in order."""
        from lamina.inputs.word_examples import predict_words
        from lamina.models.loading import load_model

        network = load_model(self.model)

        def predict_some(paths: Sequence[Path]) -> list[Prediction]:
            read = {path: _read_text(path, strip_html=self.vectorizer.strip_html) for path in paths}
            texts = {path: one.text for path, one in read.items() if not one.problem}
            found = {path: failed(str(path), one.problem) for path, one in read.items() if one.problem}
            if texts:
                rows = predict_words(network, self.vectorizer.transform(list(texts.values())))
                classes = self.record.classes
                found |= {path: prediction(str(path), classes, row) for path, row in zip(texts, rows, strict=True)}
            return [found[path] for path in paths]

        return predict_some


def read_text_model(system: Path, name: str) -> TextModel:
    """Find the model of a run over texts.

    Raises:
        UserError: if its record or its words are not there.
    """
    folder = run_folder(system, name)
    record = read_record(folder)
    return TextModel(folder / "model.keras", record, read_vectorizer(system / "data" / record.input))


def request_texts(system: Path, name: str, paths: Sequence[Path]) -> str:
    """Return the JSON to send to a served model for texts, in order.

    Raises:
        UserError: if one is no text or holds no words, since answers come back without names.
    """
    texts = []
    for path in find_texts(paths):
        decoded = _read_text(path)
        if decoded.problem:
            raise UserError(f"{path}: {decoded.problem}; leave it out")
        texts.append(decoded.text)
    table = {"columns": ["text"], "data": [[text] for text in texts]}
    return json.dumps({"dataframe_split": table}, separators=(",", ":"), ensure_ascii=False)


def _read_text(path: Path, *, strip_html: bool = False) -> Decoded:
    """Decode a file; an answer for one without words would say nothing about it."""
    try:
        return decode_words(read_file(path), strip_html=strip_html)
    except UnreadableError as error:
        return Decoded(text="", problem=f"unreadable: {error}")


def decode_words(encoded: bytes, *, strip_html: bool) -> Decoded:
    """Decode the bytes of a text, as `lamina.data.texts.decode`; one without words is a problem, too."""
    decoded = decode(encoded, strip_html=strip_html)
    if decoded.problem or count_words(decoded.text):
        return decoded
    return Decoded(text="", problem="holds no words")
