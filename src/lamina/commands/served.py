"""What a served run answers for a picture or a text: classes, labels, a number, or a colored picture."""

import base64
import io
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd
from PIL import Image

from lamina.commands.nearest import Nearest, TrainingPictures, embeddings_of
from lamina.commands.predict import Answerer, Learned, NoCellError, open_answers, prepare_one, read_learned
from lamina.commands.predict_texts import TextModel, decode_words, read_text_model
from lamina.config import read_params
from lamina.data.decoding import largest_value, open_for, upper_bits
from lamina.data.depth import depth_of
from lamina.data.opening import UnreadableError
from lamina.data.originals import read_original
from lamina.data.pixels import ConvertConfig
from lamina.data.rows import Folders
from lamina.errors import UserError
from lamina.files import file_digest
from lamina.inputs.targets import read_label_sets, read_numbers, read_targets
from lamina.maths.color import RgbPixels
from lamina.maths.gamut import Codes
from lamina.results.champion import read_champion
from lamina.results.record import Record
from lamina.tasks.ensembles import result_tasks, task_and_input
from lamina.tasks.multilabel.results import find_thresholds
from lamina.tasks.regress.results import in_digits

NEIGHBORS: Final = 8


class RefusedError(Exception):
    """An upload that has no answer; the message says why."""


class Served(ABC):
    """What answers for uploads. `load` comes before all else, and may take seconds; one call at a time.

    Attributes:
        kind: What the page shows: `classes`, `labels`, `number` or `colors`.
        takes: What it asks for: `picture` or `text`.
        run: Name of the run.
        classes: Of a classifier; or the labels.
    """

    kind: str
    takes: ClassVar[str] = "picture"
    run: str
    classes: tuple[str, ...] = ()

    @property
    def thresholds(self) -> Mapping[str, float] | None:
        """From which probability on each label is given; None: not evaluated, or no labels."""
        return None

    @property
    def target(self) -> str | None:
        """Name of the number; None: it gives none."""
        return None

    @abstractmethod
    def load(self) -> None:
        """Load the model and let it answer once, since the first call takes longer than others."""

    @abstractmethod
    def predict(self, upload: bytes) -> Mapping[str, Any] | bytes:
        """Answer for an upload: what becomes JSON, or a PNG.

        Raises:
            RefusedError: If there is no answer.
        """

    def explain(self, upload: bytes) -> Mapping[str, Any]:
        """Return what the page shows in addition; raises RefusedError as `predict`."""
        return {}

    def prepare_more(self) -> bool:
        """Do a short step of what `explain` needs and `predict` does not; return whether there are more."""
        return False


def find_run(system: Path, name: str | None) -> str:
    """Return the run to serve: the named one, or the champion.

    Raises:
        UserError: If there is no such run, or no champion; the message names those that are there.
    """
    params = read_params(system)
    names = [run for run, task in result_tasks(params).items() if task.name in SERVED]
    tasks = ", ".join(SERVED)
    if not names:
        raise UserError(f"{system / 'params.yaml'}: no run has a task that is served ({tasks}); add one under runs")
    if name is None:
        champion = read_champion(system)
        if champion is None:
            raise UserError(
                f"no champion is accepted here; name a run ({', '.join(names)}), or accept with `lamina gate --accept`"
            )
        name = champion.run
        if not champion.is_in(system):
            print(f"note: {name} was trained again since it was accepted as champion", file=sys.stderr)
    if name not in names:
        known = result_tasks(params)
        problem = f"has the task {known[name].name}" if name in known else "is not there"
        raise UserError(f"run {name!r} {problem}; expected one with a task of {tasks}: {', '.join(names)}")
    return name


def open_served(system: Path, name: str) -> Served:
    """Open a run of a system, without its network.

    Raises:
        UserError: If the run is not trained.
    """
    task, kind = task_and_input(read_params(system), name)
    if kind.startswith("words/"):
        answers: OfText | OfPicture | OfGrey = OfText(read_text_model(system, name))
    else:
        answers = SERVED[task.name](read_learned(system, name, [task.name]), system)
    if not answers.model.exists():
        raise UserError(f"{answers.model}: no model; train the run first (`dvc repro`) or fetch it (`dvc pull`)")
    return answers


class OfPicture(Served):
    """Classes of a picture, what supports them, and the training pictures that look most alike.

    Attributes:
        likeliest: Number of classes whose support is shown.
    """

    kind = "classes"
    likeliest: ClassVar[int] = 4

    def __init__(self, learned: Learned, system: Path) -> None:
        self.model, self._learned, self._system = learned.model, learned, system
        self.run, self.classes = learned.record.run, tuple(learned.record.classes)
        self._doubt = open_answers(learned.model.parent, learned.record)
        self._nearest: Nearest | None = None
        self.training_pictures = "waiting"

    def load(self) -> None:
        from lamina.models.divided import Divided
        from lamina.models.embedding import embedding
        from lamina.models.loading import load_model
        from lamina.models.saliency import explainer

        network = load_model(self.model)
        self._divided, self._embed = Divided(network), embedding(network)
        self._answerer = Answerer(self._divided, self._doubt)
        self._saliency: Any = None
        if self.likeliest:
            with suppress(UserError):  # no feature map
                self._saliency = explainer(self._divided)
        side = self._learned.convert.size
        blank = np.zeros((1, side, side, 3), np.uint8)
        self._answerer.answer(blank)
        self._embed(blank)
        self._highlighted(blank[0], np.arange(min(self.likeliest, len(self.classes))))

    def predict(self, upload: bytes) -> Mapping[str, Any]:
        (found,) = self._answerer.answer(self._square(upload)[None])
        return found

    def explain(self, upload: bytes) -> Mapping[str, Any]:
        square = self._square(upload)
        order = np.argsort(-self._divided.outputs(square[None])[0], kind="stable")[: self.likeliest]
        supports = self._highlighted(square, order)
        near = self._nearest.find(self._embed(square[None])[0], NEIGHBORS) if self._nearest else []
        return {
            "seen": data_uri(square),
            "supports": {self.classes[which]: data_uri(shown) for which, shown in zip(order, supports, strict=False)},
            "method": getattr(self._saliency, "method", None),
            "nearest": [{"picture": data_uri(pixels), "label": label} for pixels, label in near],
            "training_pictures": self.training_pictures,
        }

    def true_answers(self) -> "pd.Series[str] | None":
        """Return what is said of each training picture, by id; None: its class."""
        return None

    def prepare_more(self) -> bool:
        for embeddings in self._steps:
            if embeddings is not None:
                pictures = self._pictures
                assert pictures is not None
                self._nearest = Nearest.of(pictures, embeddings)
                number = len(pictures.rows)
                self.training_pictures = f"{number} of {pictures.total}" if number < pictures.total else str(number)
            return embeddings is None
        self.training_pictures = "missing"
        return False

    @cached_property
    def _pictures(self) -> TrainingPictures | None:
        try:
            truth = self.true_answers()
        except (OSError, UserError):  # their table is not on this machine, or is another one
            truth = pd.Series(dtype=str)
        return TrainingPictures.open(self._system, truth)

    @cached_property
    def _steps(self) -> Any:
        pictures = self._pictures
        if pictures is None or not len(pictures.rows):
            return iter(())
        return embeddings_of(pictures, self._embed, file_digest(self.model), self._system)

    def _targets(self) -> pd.DataFrame:
        return read_targets(Folders(targets=self._system / "data/targets"), self._learned.record.task)

    def _square(self, upload: bytes) -> RgbPixels:
        try:
            return prepare_one(upload, _with_depth(self._learned.convert, upload))
        except UnreadableError as error:
            raise RefusedError(f"unreadable: {error}") from None
        except NoCellError as error:
            raise RefusedError(str(error)) from None

    def _highlighted(self, square: RgbPixels, classes: np.ndarray) -> list[RgbPixels]:
        if self._saliency is None:
            return []
        from lamina.tasks.classify.explain import overlays

        return overlays(self._saliency, square[None], classes[None])[0]


class OfLabels(OfPicture):
    """Labels of a picture, as `OfPicture`."""

    kind = "labels"
    likeliest = 12

    def true_answers(self) -> "pd.Series[str]":
        sets = read_label_sets(self._targets(), self._learned.record.settings["targets"])
        return sets.apply(lambda row: ", ".join(row.index[row]) or "no label", axis=1)

    @property
    def thresholds(self) -> Mapping[str, float] | None:
        return _thresholds(self.model.parent, self._learned.record)


class OfNumber(OfPicture):
    """A number, and the training pictures that look most alike."""

    kind = "number"
    likeliest = 0

    def true_answers(self) -> "pd.Series[str]":
        numbers = read_numbers(self._targets(), self.target)
        return numbers.map(partial(in_digits, spread=float(numbers.std(ddof=0))))

    @property
    def target(self) -> str:
        return str(self._learned.record.settings["target"])


class OfGrey(Served):
    """A picture in color, at its full size."""

    kind = "colors"

    def __init__(self, learned: Learned, system: Path) -> None:
        self.model, self.run = learned.model, learned.record.run
        # all of a picture needs color, so it must not be cropped
        resize = {} if learned.convert.resize == "pad" else {"resize": "stretch"}
        self._convert = learned.convert.model_copy(update=resize)

    def load(self) -> None:
        from lamina.tasks.colorize.full_size import load_colorizer

        self._network = load_colorizer(self.model, self._convert.size)
        self.predict(_png(np.zeros((8, 8, 3), np.uint8)))

    def predict(self, upload: bytes) -> bytes:
        from lamina.tasks.colorize.full_size import colorize

        try:
            original = read_original(upload, _with_depth(self._convert, upload))
        except UnreadableError as error:
            raise RefusedError(f"unreadable: {error}") from None
        (colored,) = colorize(self._network, [original], [np.dtype(np.uint8)])
        return _png(np.asarray(colored, np.uint8), original.alpha)


class OfText(Served):
    """Classes, labels or the number of a text."""

    takes = "text"

    def __init__(self, text_model: TextModel) -> None:
        self.model, self._text_model = text_model.model, text_model
        self.kind = SERVED[text_model.record.task].kind
        self.run, self.classes = text_model.record.run, tuple(text_model.record.classes)

    @property
    def thresholds(self) -> Mapping[str, float] | None:
        return _thresholds(self.model.parent, self._text_model.record) if self.kind == OfLabels.kind else None

    @property
    def target(self) -> str | None:
        return self._text_model.record.settings.get("target")

    def load(self) -> None:
        from lamina.models.loading import load_model

        self._network = load_model(self.model)
        self.predict(b"word")

    def predict(self, upload: bytes) -> Mapping[str, Any]:
        from lamina.inputs.word_examples import predict_words

        vectorizer = self._text_model.vectorizer
        decoded = decode_words(upload, strip_html=vectorizer.strip_html)
        if decoded.problem:
            raise RefusedError(decoded.problem)
        rows = predict_words(self._network, vectorizer.transform([decoded.text]))
        (found,) = self._text_model.answers.given(rows, None)
        return found


SERVED: Final[Mapping[str, type[OfPicture | OfGrey]]] = {
    "classify": OfPicture,
    "multilabel": OfLabels,
    "regress": OfNumber,
    "colorize": OfGrey,
}  # by task


def _thresholds(folder: Path, record: Record) -> Mapping[str, float] | None:
    found = find_thresholds(folder, record.key)
    return found.thresholds if found else None


def _with_depth(convert: ConvertConfig, upload: bytes) -> ConvertConfig:
    """Decide the depth of a picture whose file does not say it, if the system did not learn from such."""
    if convert.depth != "auto":
        return convert
    largest = largest_value(open_for(convert, upload))
    return convert.model_copy(update={"depth": depth_of(largest)}) if largest else convert


def _png(pixels: RgbPixels, alpha: Codes | None = None) -> bytes:
    file, picture = io.BytesIO(), Image.fromarray(pixels)
    if alpha is not None:
        picture.putalpha(Image.fromarray(upper_bits(alpha)))
    picture.save(file, "PNG", compress_level=2)
    return file.getvalue()


def data_uri(pixels: RgbPixels) -> str:
    """Return pixels, (H, W, 3) uint8, as an address that holds them, for an `img`."""
    return f"data:image/png;base64,{base64.b64encode(_png(pixels)).decode()}"
