"""Write what a run's model predicts as a CSV, for any number of pictures or texts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina import __version__
from lamina.commands.csv_parts import check_free, encodable, write_csv
from lamina.commands.given_files import find_pictures, find_texts
from lamina.commands.predict import (
    answered,
    open_answers,
    predict_parts,
    read_learned,
    with_depth,
)
from lamina.commands.predict_texts import read_text_model
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.progress import progress
from lamina.results.record import Record
from lamina.tasks.answers import Answers
from lamina.tasks.wish import PLAIN, Wish


def pictures_to_csv(system: Path, name: str, paths: Sequence[Path], out: Path, wish: Wish = PLAIN) -> int:
    """Predict pictures and write a row of a CSV for each; the memory does not grow with their number.

    Args:
        system: Folder of the system.
        name: Name of the run or ensemble.
        paths: Pictures and folders.
        out: The CSV; what an interrupted call left is continued (`lamina.commands.csv_parts`).
        wish: What is wanted of the answers.

    Returns:
        Number of pictures without an answer; their rows say why.

    Raises:
        UserError: If a path, the run or its model is missing, `out` is there already, or the wish cannot be met.
    """
    check_free(out)  # before the pictures are read, which may take long
    pictures = find_pictures(paths)
    learned = with_depth(read_learned(system, name, answered()), pictures)
    answers = open_answers(learned.model.parent, learned.record, wish)
    made_by = {**_identity(learned.record, learned.model), "convert": learned.convert.model_dump(), "wish": repr(wish)}
    return _to_csv(out, pictures, made_by, answers, lambda parts: predict_parts(learned, answers, parts))


def texts_to_csv(system: Path, name: str, paths: Sequence[Path], out: Path, wish: Wish = PLAIN) -> int:
    """Predict texts and write a row of a CSV for each, as `pictures_to_csv` does."""
    check_free(out)
    texts, reader = find_texts(paths), read_text_model(system, name, wish)
    made_by = {**_identity(reader.record, reader.model), "words": reader.vectorizer.digest, "wish": repr(wish)}

    def predictions(parts: Sequence[Sequence[Path]]) -> Iterator[Any]:
        predict_some = reader.load()
        for part in progress(parts, what="predict", unit="texts", sizes=[len(part) for part in parts]):
            yield from predict_some(part)

    return _to_csv(out, texts, made_by, reader.answers, predictions)


def _identity(record: Record, model: Path) -> dict[str, str]:
    """Return what decides the answers of a run, in addition to how its input is read."""
    if not model.exists():
        raise UserError(f"{model}: no model; train the run first (`dvc repro`) or fetch it (`dvc pull`)")
    return {"run": record.run, "key": record.key, "model": file_digest(model), "lamina": __version__}


def _to_csv(
    out: Path,
    paths: Sequence[Path],
    made_by: Mapping[str, object],
    answers: Answers,
    predictions: Callable[[Sequence[Sequence[Path]]], Iterator[Any]],
) -> int:
    """Write the predictions for some paths; predictions: for those of several parts, in their order."""
    made_by = {**made_by, "paths": [[encodable(str(path)), *_state(path)] for path in paths]}
    failed = write_csv(out, paths, made_by, lambda parts: map(answers.cells, predictions(parts)), failed="error")
    print(f"{out}: {len(paths)} rows" + (f", {failed} of them without an answer" if failed else ""))
    return failed


def _state(path: Path) -> tuple[int, int]:
    """Return size and time of change of a file, which say whether it is the same as before."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
