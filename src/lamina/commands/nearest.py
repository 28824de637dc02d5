"""Training pictures that look most alike to a network: nearest by the values that its last layer decides by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from lamina.data.rows import Folders, Rows, open_rows
from lamina.files import file_digest, json_digest, staged
from lamina.maths.color import RgbPixels

MOST: Final = 5000  # training pictures that are compared, evenly chosen
CHUNK: Final = 32
KEPT: Final = Path(".lamina/nearest")  # in a system's folder

Embed = Callable[[RgbPixels], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class TrainingPictures:
    """The originals of the training fold, or an even choice of them.

    Attributes:
        rows: Their pixels.
        labels: (n,) class of each, or what else is true of it.
        total: Number of originals in the training fold.
        digest: Of the split.
    """

    rows: Rows
    labels: list[str]
    total: int
    digest: str

    @classmethod
    def open(cls, system: Path, truth: "pd.Series[str] | None" = None) -> Self | None:
        """Open those of a system; None if its data are not on this machine.

        Args:
            system: Its folder.
            truth: What to say of each picture instead of its class, by id; nothing where it has none.
        """
        data = system / "data"
        folders = Folders(lab=data / "lab", augmented=data / "augmented", split=data / "split")
        manifest = folders.split / "manifest.parquet"
        needed = (manifest, folders.lab / "pixels.npy", folders.lab / "manifest.parquet")
        if not all(path.exists() for path in (*needed, folders.augmented / "plan.parquet")):
            return None
        table = pd.read_parquet(manifest, columns=["id", "copy", "label", "fold"])
        train = table[(table["fold"] == "train") & (table["copy"] == 0)]
        chosen = train.iloc[np.unique(np.linspace(0, len(train) - 1, min(MOST, len(train))).round().astype(int))]
        labels = (chosen["label"] if truth is None else chosen["id"].map(truth).fillna("")).astype(str).tolist()
        return cls(rows=open_rows(chosen, folders), labels=labels, total=len(train), digest=file_digest(manifest))


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Embeddings of training pictures, to compare others with.

    Attributes:
        pictures: n training pictures.
        mean, spread: (width,) of their embeddings, by which values of different scale count the same.
        directions: (n, width) standardized embeddings, each of length 1.
    """

    pictures: TrainingPictures
    mean: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]
    directions: npt.NDArray[np.float32]

    @classmethod
    def of(cls, pictures: TrainingPictures, embeddings: np.ndarray) -> Self:
        """Compare with the embeddings, (n, width), of training pictures."""
        values = embeddings.astype(np.float32)
        mean, spread = values.mean(axis=0), np.maximum(values.std(axis=0), np.float32(1e-6))
        return cls(pictures=pictures, mean=mean, spread=spread, directions=_unit((values - mean) / spread))

    def find(self, embedding: np.ndarray, most: int) -> list[tuple[RgbPixels, str]]:
        """Return pixels and labels of the nearest training pictures to an embedding, (width,); the nearest first."""
        likeness = self.directions @ _unit((embedding[None] - self.mean) / self.spread)[0]
        best = np.argsort(-likeness, kind="stable")[:most]
        pixels = self.pictures.rows.read(best)
        return [(square, self.pictures.labels[place]) for square, place in zip(pixels, best, strict=True)]


def embeddings_of(pictures: TrainingPictures, embed: Embed, model: str, system: Path) -> Iterator[np.ndarray | None]:
    """Compute the embeddings of training pictures, or read those that were kept for the same model and pictures.

    Args:
        pictures: The training pictures.
        embed: From pixels to embeddings.
        model: SHA-256 of the model.
        system: Folder of the system, in which they are kept.

    Yields:
        None after each of many short steps, so that the caller can do other work between; at last the embeddings,
        (n, width) float16.
    """
    path = system / KEPT / f"{json_digest([model, pictures.digest, MOST])}.npy"
    if path.exists():
        yield np.load(path)
        return
    found = []
    for start in range(0, len(pictures.rows), CHUNK):
        some = np.arange(start, min(start + CHUNK, len(pictures.rows)))
        found.append(embed(pictures.rows.read(some)).astype(np.float16))
        yield None
    embeddings = np.concatenate(found)
    try:
        with staged(path) as part:
            np.save(part, embeddings)
    except OSError:
        pass  # a system that cannot be written to, as in a container: they are computed at every start
    yield embeddings


def _unit(values: np.ndarray) -> npt.NDArray[np.float32]:
    length = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    unit: npt.NDArray[np.float32] = (values / length).astype(np.float32)
    return unit
