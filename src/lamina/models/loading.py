"""Loading of the model that a run saved."""

import zipfile
import zlib
from pathlib import Path

from lamina.errors import UserError
from lamina.models import onnx_layer  # noqa: F401  # a saved model may hold this layer
from lamina.models.keras_runtime import keras


def load_model(path: Path) -> keras.Model:
    """Load a saved `model.keras`.

    Keras' safe mode refuses to run code in the file.

    Raises:
        UserError: if the file is missing or broken.
    """
    if not path.exists():
        raise UserError(f"{path}: no model; train the run first (`dvc repro`) or fetch it (`dvc pull`)")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not a model that Keras can load: {str(error).splitlines()[0]}") from None
