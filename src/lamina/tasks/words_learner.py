"""What a run over words learns whose true answers are columns of `source.metadata`: a dense network."""

from functools import cached_property
from typing import Any

from lamina.inputs.index import input_width
from lamina.inputs.word_examples import WordExamples
from lamina.inputs.words import read_matrix
from lamina.models.networks import build_words_network
from lamina.tasks.metadata_learner import MetadataLearner
from lamina.training.settings import GradientNumbers


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
