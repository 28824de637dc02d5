"""Predict the class, the labels or the number of texts, from a run's model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.commands.given_files import find_texts
from lamina.commands.predict import open_answers
from lamina.data.opening import UnreadableError, read_file
from lamina.data.texts import Decoded, count_words, decode
from lamina.errors import UserError
from lamina.inputs.words import Vectorizer, read_vectorizer
from lamina.results.folders import run_folder
from lamina.results.record import Record, read_record
from lamina.tasks.answers import Answers
from lamina.tasks.wish import PLAIN, Wish


def predict_texts(system: Path, name: str, paths: Sequence[Path], wish: Wish = PLAIN) -> list[Any]:
    """Return the predictions of `answer_texts`."""
    return answer_texts(system, name, paths, wish)[1]


def answer_texts(system: Path, name: str, paths: Sequence[Path], wish: Wish = PLAIN) -> tuple[Answers, list[Any]]:
    """Predict every text; a file that holds no text, or no words, gets an `error`.

    Returns what gave the answers, and one of its `prediction` per text.

    Raises:
        UserError: if the run or its model is not there, or the wish cannot be met.
    """
    reader = read_text_model(system, name, wish)
    return reader.answers, reader.load()(find_texts(paths))


@dataclass(frozen=True)
class TextModel:
    """A run over texts: its model, its record, how texts become words, and what is made of the probabilities."""

    model: Path
    record: Record
    vectorizer: Vectorizer
    answers: Answers

    def load(self) -> Callable[[Sequence[Path]], list[Any]]:
        """Load the network; return what predicts the texts of files, in order."""
        from lamina.inputs.word_examples import predict_words
        from lamina.models.loading import load_model

        network = load_model(self.model)

        def predict_some(paths: Sequence[Path]) -> list[Any]:
            read = {path: _read_text(path, strip_html=self.vectorizer.strip_html) for path in paths}
            texts = {path: one.text for path, one in read.items() if not one.problem}
            made = self.answers.prediction
            found = {path: made(path=str(path), error=one.problem) for path, one in read.items() if one.problem}
            if texts:
                rows = predict_words(network, self.vectorizer.transform(list(texts.values())))
                given = zip(texts, self.answers.given(rows, None), strict=True)
                found |= {path: made(path=str(path), **one) for path, one in given}
            return [found[path] for path in paths]

        return predict_some


def read_text_model(system: Path, name: str, wish: Wish = PLAIN) -> TextModel:
    """Find the model of a run over texts.

    Raises:
        UserError: if its record or its words are not there, or the wish cannot be met.
    """
    folder = run_folder(system, name)
    record = read_record(folder)
    answers = open_answers(folder, record, wish)
    return TextModel(folder / "model.keras", record, read_vectorizer(system / "data" / record.input), answers)


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
