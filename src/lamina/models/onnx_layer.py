"""A Keras layer that computes by a network of ONNX, which it keeps in the saved model."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from lamina.models.keras_runtime import keras, tf
from lamina.models.onnx_runtime import open_session, refers_to_files

_FILE: Final = "network.onnx"


@keras.saving.register_keras_serializable(package="lamina")
class OnnxFeatures(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Features of pictures, by a frozen network. It has no weights that Keras knows, and no gradient.

    A saved model holds the network as a file among its assets. Loading reads it as data: Keras' safe mode holds, and
    nothing is executed but the operations of ONNX.

    Args:
        width: number of features.
        network: bytes of an ONNX file from (n, S, S, 3) float32 RGB values 0..255 to (n, width), for any n or n = 1.
    """

    def __init__(self, width: int, network: bytes = b"", **options: Any) -> None:
        super().__init__(trainable=False, **{name: one for name, one in options.items() if name != "trainable"})
        self.width, self.network = width, network
        self.supports_jit = False
        self._session: Any = None

    @property
    def one_by_one(self) -> bool:
        """Whether the network takes one picture at a time."""
        import onnx

        graph = onnx.load_model_from_string(self.network).graph
        return bool(graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1)

    def build(self, shape: Any) -> None:
        self.built = True

    def compute_output_shape(self, shape: Any) -> tuple[int | None, int]:
        return (shape[0], self.width)

    def call(self, pixels: Any) -> Any:
        """(n, S, S, 3) RGB values 0..255 to (n, width) float32."""
        features = tf.numpy_function(self.compute, [tf.cast(pixels, tf.float32)], tf.float32, stateful=False)
        return tf.ensure_shape(features, (None, self.width))

    def compute(self, pixels: np.ndarray) -> np.ndarray:
        """Compute features, without TensorFlow."""
        if self._session is None:
            self._session = open_session(self.network), self.one_by_one
        session, one_by_one = self._session
        name = session.get_inputs()[0].name
        parts = np.split(pixels, len(pixels)) if one_by_one and len(pixels) > 1 else [pixels]
        if not len(pixels):
            return np.zeros((0, self.width), np.float32)
        return np.concatenate([session.run(None, {name: part})[0] for part in parts])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}

    def save_assets(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / _FILE).write_bytes(self.network)

    def load_assets(self, folder: str) -> None:
        import onnx

        network = (Path(folder) / _FILE).read_bytes()
        if refers_to_files(onnx.load_model_from_string(network)):
            raise ValueError("its ONNX network refers to another file")
        self.network, self._session = network, None


def find_onnx(model: Any) -> OnnxFeatures | None:
    """Return the layer of a model that computes by a network of ONNX; None if there is none."""
    return next((layer for layer in model.layers if isinstance(layer, OnnxFeatures)), None)
