"""Whether the scores and predictions of a run are those of its present model."""

from pathlib import Path
from typing import Final

from lamina.errors import UserError
from lamina.results.folders import made_by
from lamina.results.result_file import ResultFile, read_result

FOLDER: Final = "uncertainty"  # as in `lamina.results.uncertainty`, whose import takes long; a test holds it
KEY: Final = "key"  # of a training: in record.json, and in the files that `evaluate` writes to `uncertainty/`


class _Keyed(ResultFile):
    """The key of a training in one of these files; None in results of earlier versions of lamina."""

    key: str | None = None


def are_scores_earlier(folder: Path) -> bool:
    """Say whether the scores and predictions of a run are those of an earlier training.

    They stay where a training was not followed by the stage evaluate: after an interruption, or `dvc repro train@RUN`.
    Results without a key, of earlier versions of lamina, are taken for those of the present model.

    Args:
        folder: of the run or ensemble.

    Raises:
        UserError: if a file is broken; names the stage to run.
    """
    record = folder / "record.json"
    if not record.exists():
        return False
    trained = read_result(record, _Keyed, made_by(folder, "train")).key
    stage = made_by(folder, "evaluate")
    evaluated = {read_result(path, _Keyed, stage).key for path in (folder / FOLDER).glob("*.json")} - {None}
    return bool(evaluated - {trained})


def require_evaluated(folder: Path) -> None:
    """Refuse the scores and predictions of an earlier training of a run.

    Args:
        folder: of the run or ensemble.

    Raises:
        UserError: if it was trained again since it was evaluated, or a file is broken; names the stage to run.
    """
    if are_scores_earlier(folder):
        stage = made_by(folder, "evaluate")
        raise UserError(f"{folder}: its scores are those of an earlier training; run `dvc repro {stage}`")
