"""What a run over words learns whose true answers are columns of `source.metadata`: a dense network."""

from functools import cached_property
from typing import Any, Final

from lamina.inputs.index import input_width
from lamina.inputs.word_examples import WordExamples
from lamina.inputs.words import read_matrix
from lamina.models.networks import Outputs
from lamina.tasks.metadata_learner import MetadataLearner
from lamina.training.settings import GradientNumbers

HIDDEN: Final = (16, 16)  # units of the dense network


class WordsOutputLearner(MetadataLearner):
    """A dense network over the matrix that the stage `words` wrote."""

    @cached_property
    def width(self) -> int:
        return input_width(self.folder)

    @cached_property
    def _matrix(self) -> Any:
        return read_matrix(self.folder)

    def examples(self, fold: str) -> WordExamples:
        return WordExamples(self._matrix[self.places(fold)], self.labels(self.rows(fold)))

    def build(self, numbers: GradientNumbers) -> Any:
        return build_words_network(self.width, self.outputs, dropout=numbers.dropout, seed=self.seed)

    def build_final_model(self, network: Any, base: Any) -> Any:
        return self.finish(network)


def build_words_network(width: int, outputs: Outputs, *, dropout: float, seed: int) -> Any:
    """Build Dense(16, ReLU) - Dense(16, ReLU) - Dropout - outputs: a Keras model from (n, width) to (n, units)."""
    from lamina.models.keras_runtime import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    words = x = keras.Input((width,), name="words")
    for number, units in enumerate(HIDDEN, start=1):
        x = layers.Dense(units, activation="relu", name=f"hidden_{number}")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x) if dropout else x
    last = layers.Dense(outputs.units, activation=outputs.activation, name=outputs.name)
    return keras.Model(words, last(x), name="dense")
