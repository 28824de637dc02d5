"""Inference of frozen networks with the fastest engine of this machine."""

import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from lamina.errors import UserError
from lamina.maths.color import RgbPixels
from lamina.models.backbones import Precision

Run: TypeAlias = Callable[[RgbPixels, int], np.ndarray]

BATCH: Final = 16  # small, so that a chunk of rows keeps many streams busy; 32 was 1 % faster on two cores
_HINTS: Final = {"float32": "f32", "bfloat16": "bf16"}
_NO_MEMORY: Final = (
    "bad_alloc",
    "can't alloc",
    "failed to allocate",
    "broken promise",  # OpenVINO, if one of its threads has no memory to prepare a layer
    "out of memory",
    "oom when allocating",
)


@dataclass
class Engine:
    """A network that is ready to run.

    Attributes:
        name: of the engine.
        precision: in which it computes.
        width: of the network's output.
        run: computes the output of pictures, given a batch size.
        batch: number of pictures at a time; it is halved if memory does not suffice.
    """

    name: Literal["OpenVINO", "Keras"]
    precision: Precision
    width: int
    run: Run
    batch: int = BATCH

    def features(self, pixels: RgbPixels) -> np.ndarray:
        """Compute features; the same pictures give the same bytes.

        If there is not enough memory, the batch is halved, with a message.

        Args:
            pixels: (n, S, S, 3) uint8.

        Returns:
            (n, width) float32.

        Raises:
            UserError: if there is not enough memory for one picture.
        """
        while True:
            try:
                return self.run(pixels, self.batch)
            except Exception as error:
                if not _no_memory(error):
                    raise
                if self.batch == 1:
                    raise UserError(
                        "extract: no memory for a single picture; lower convert.size, or take a smaller backbone"
                    ) from None
            gc.collect()  # the frames of the error hold memory in reference cycles
            self.batch //= 2
            _print(f"no memory for {2 * self.batch} pictures at once; continuing with {self.batch}")


def compile_engine(network: Any, precision: Precision) -> Engine:
    """Compile a network for this processor.

    OpenVINO runs it. Its float32 features are as exact as those of Keras. In bfloat16 it keeps 8 significant bits of
    all numbers between layers, which is enough for trained networks; random ones amplify the error. Keras, in float32,
    runs networks that OpenVINO cannot run. A message tells if engine or precision are not as requested.

    Args:
        network: a Keras model from (n, S, S, 3) RGB values 0..255 to (n, width).
        precision: float32 or bfloat16.
    """
    width = int(network.output.shape[-1])
    try:
        run, used = _by_openvino(network, precision)
    except Exception as error:  # not installed, unknown operation, ...: Keras can run it
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        _print(f"OpenVINO cannot run this network ({reason[:200]}); Keras does, in float32")
        return Engine(name="Keras", precision="float32", width=width, run=_by_keras(network))
    if used != precision:
        _print(f"this processor has no {precision}; computing in {used}")
    return Engine(name="OpenVINO", precision=used, width=width, run=run, batch=_batch(network))


def _batch(network: Any) -> int:
    from lamina.models.onnx_layer import find_onnx

    layer = find_onnx(network)
    return 1 if layer and layer.one_by_one else BATCH


def _by_keras(network: Any) -> Run:
    return lambda pixels, batch: network.predict(pixels, batch_size=batch, verbose=0)


def _by_openvino(network: Any, precision: Precision) -> tuple[Run, Precision]:
    """Compile a network; return how to run it, and the precision that is really used."""
    from lamina.models.openvino_runtime import ov

    core = ov.Core()
    model = _converted(network)
    # without this hint OpenVINO uses bfloat16 on all processors that have it
    hint = _HINTS[precision if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "float32"]
    hints = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = core.compile_model(model, "CPU", hints)
    bfloat16 = compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.bf16
    streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    del compiled  # `requests` compiles again, in a fraction of a second, and can free the memory

    def requests() -> list[Any]:
        ready = core.compile_model(model, "CPU", hints)
        return [ready.create_infer_request() for _ in range(streams)]

    return _in_streams(requests, streams, int(network.output.shape[-1])), "bfloat16" if bfloat16 else "float32"


def _converted(network: Any) -> Any:
    """The network for OpenVINO, of uint8 pictures."""
    from lamina.models.onnx_layer import find_onnx
    from lamina.models.openvino_runtime import ov

    if layer := find_onnx(network):
        steps = ov.preprocess.PrePostProcessor(ov.Core().read_model(layer.network))
        steps.input().tensor().set_element_type(ov.Type.u8)
        return steps.build()
    return ov.convert_model(_traced(network))


def _traced(network: Any) -> Any:
    from lamina.models.keras_runtime import tf

    # weights as constants: OpenVINO's search for each variable took half a minute for networks with hundreds
    weights = [
        [variable.numpy() for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables)
    ]

    def features(pixels: Any) -> Any:
        return network.stateless_call(*weights, tf.cast(pixels, tf.float32), training=False)[0]

    shape = (None, *network.input.shape[1:])
    return tf.function(features, autograph=False).get_concrete_function(tf.TensorSpec(shape, tf.uint8))


def _in_streams(make_requests: Callable[[], list[Any]], streams: int, width: int) -> Run:
    """Run batches in parallel, one for each stream."""
    # a thread for each: OpenVINO's own queue calls Python back, and sometimes never ended when it was destroyed
    pool = ThreadPoolExecutor(streams)
    requests: list[Any] = []

    def run(pixels: RgbPixels, batch: int) -> np.ndarray:
        features = np.empty((len(pixels), width), np.float32)
        starts = iter(range(0, len(pixels), batch))

        def work(request: Any, starts: Iterator[int]) -> None:
            for start in starts:
                part = slice(start, start + batch)
                features[part] = request.infer([pixels[part]], share_inputs=True, share_outputs=True)[0]

        def finish(working: list[Future[None]]) -> None:
            wait(working)  # for all: a busy request cannot be used again
            if failed := next((error for done in working if (error := done.exception())), None):
                requests.clear()  # free the memory that they allocated for a batch that was too large
                raise failed.with_traceback(None)

        if not requests:
            requests.extend(make_requests())
            # alone: the first call prepares OpenVINO's binding, and two at once can wait for each other forever
            finish([pool.submit(work, requests[0], islice(starts, 1))])
        finish([pool.submit(work, request, starts) for request in requests])
        return features

    return run


def _no_memory(error: Exception) -> bool:
    """Whether an allocation failed: Python, OpenVINO and TensorFlow have different errors."""
    message = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(words in message for words in _NO_MEMORY)


def _print(line: str) -> None:
    print(f"extract: {line}", file=sys.stderr)
