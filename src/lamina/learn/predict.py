"""Class probabilities for pictures, from the model that a run saved."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lamina.errors import UserError
from lamina.maths.color import RgbPixels
from lamina.models.keras_runtime import keras

BATCH = 32


def load_model(path: Path) -> keras.Model:
    """Load a saved `model.keras`. Nothing that it holds is executed: Keras' safe mode refuses it.

    Raises UserError where there is none, or it is broken.
    """
    if not path.exists():
        raise UserError(f"{path}: no model; train the run first (`dvc repro`) or bring it (`dvc pull`)")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, TypeError) as error:
        raise UserError(f"{path}: not a model that Keras can load: {str(error).splitlines()[0]}") from None


def probabilities(model: keras.Model, batches: Iterable[RgbPixels]) -> Iterator[np.ndarray]:
    """Yield (n, classes) float32 for every batch, (n, S, S, 3) uint8. A picture's result depends on it alone."""
    for batch in batches:
        yield model.predict(batch.astype(np.float32), batch_size=BATCH, verbose=0)
