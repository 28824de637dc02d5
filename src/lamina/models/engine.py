"""Frozen networks, run by the fastest engine that this machine has."""

import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from lamina.errors import UserError
from lamina.maths.color import RgbPixels
from lamina.models.backbones import Precision

Run: TypeAlias = Callable[[RgbPixels, int], np.ndarray]

BATCH: Final = 16  # so that a chunk of rows keeps many streams busy; 32 was 1 % faster on two cores
_HINTS: Final = {"float32": "f32", "bfloat16": "bf16"}
_NO_MEMORY: Final = (
    "bad_alloc",
    "can't alloc",
    "failed to allocate",
    "broken promise",  # OpenVINO, where a thread of its own found no memory to prepare a layer
    "out of memory",
    "oom when allocating",
)


@dataclass
class Engine:
    """A network that is ready to run.

    name: what runs it; precision: what it computes in; width: of its output; batch: pictures at once, halved where
    memory does not hold so many.
    """

    name: Literal["OpenVINO", "Keras"]
    precision: Precision
    width: int
    run: Run
    batch: int = BATCH

    def features(self, pixels: RgbPixels) -> np.ndarray:
        """Features of pictures, (n, S, S, 3) uint8 to (n, width) float32; the same pictures give the same bytes.

        Where there is no memory for the batch, half of it is taken, said in one line. Raises UserError where one
        picture alone is too much.
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
            gc.collect()  # the error's frames hold what was taken, in a circle
            self.batch //= 2
            _say(f"no memory for {2 * self.batch} pictures at once; going on with {self.batch}")


def compile_engine(network: Any, precision: Precision) -> Engine:
    """Make a Keras model from (n, S, S, 3) RGB values 0..255 to (n, width) ready to run on this processor.

    OpenVINO compiles it: in float32 its features are as far from exact ones as those of Keras are. In bfloat16 it
    keeps 8 bits of every number between layers: enough for trained networks, while a random one makes much of it. Keras
    itself runs what OpenVINO cannot, in float32. Either is said in one line where it is not what was asked for.
    """
    width = int(network.output.shape[-1])
    try:
        run, used = _by_openvino(network, precision)
    except Exception as error:  # not installed, no such operation: whatever it is, Keras can do it
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        _say(f"OpenVINO cannot run this network ({reason[:200]}); Keras does, in float32")
        return Engine(name="Keras", precision="float32", width=width, run=_by_keras(network))
    if used != precision:
        _say(f"this processor has no {precision}; computing in {used}")
    return Engine(name="OpenVINO", precision=used, width=width, run=run)


def _by_keras(network: Any) -> Run:
    return lambda pixels, batch: network.predict(pixels, batch_size=batch, verbose=0)


def _by_openvino(network: Any, precision: Precision) -> tuple[Run, Precision]:
    """Compile a network; return how to run it, and what it really computes in."""
    from lamina.models.keras_runtime import tf
    from lamina.models.openvino_runtime import ov

    # the weights as constants: OpenVINO looks each variable up among all of them, which took half a minute of hundreds
    weights = [
        [variable.numpy() for variable in some]
        for some in (network.trainable_variables, network.non_trainable_variables)
    ]

    def features(pixels: Any) -> Any:
        return network.stateless_call(*weights, tf.cast(pixels, tf.float32), training=False)[0]

    shape = (None, *network.input.shape[1:])
    traced = tf.function(features, autograph=False).get_concrete_function(tf.TensorSpec(shape, tf.uint8))
    core = ov.Core()
    # told, since without a hint it takes bfloat16 wherever the processor has it
    asked = _HINTS[precision if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "float32"]
    model = ov.convert_model(traced)
    hints = {"INFERENCE_PRECISION_HINT": asked, "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = core.compile_model(model, "CPU", hints)
    bfloat16 = compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.bf16
    streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    del compiled  # made again, in a fraction of a second, by what runs it and can let go of it

    def requests() -> list[Any]:
        ready = core.compile_model(model, "CPU", hints)
        return [ready.create_infer_request() for _ in range(streams)]

    return _in_streams(requests, streams, int(network.output.shape[-1])), "bfloat16" if bfloat16 else "float32"


def _in_streams(make_requests: Callable[[], list[Any]], streams: int, width: int) -> Run:
    """Run batches side by side, as many at once as there are streams."""
    # a thread for each: OpenVINO's own queue calls Python back, and was seen to wait for ever when it is taken apart
    pool = ThreadPoolExecutor(streams)
    requests: list[Any] = []

    def run(pixels: RgbPixels, batch: int) -> np.ndarray:
        if not requests:
            requests.extend(make_requests())
        found = np.empty((len(pixels), width), np.float32)
        starts = iter(range(0, len(pixels), batch))

        def work(request: Any) -> None:
            for start in starts:
                part = slice(start, start + batch)
                found[part] = request.infer([pixels[part]], share_inputs=True, share_outputs=True)[0]

        working = [pool.submit(work, request) for request in requests]
        wait(working)  # all of them: a request that still works cannot be used again
        if failed := next((error for done in working if (error := done.exception())), None):
            requests.clear()  # else they keep what they could get for a batch that was too large
            raise failed.with_traceback(None)
        return found

    return run


def _no_memory(error: Exception) -> bool:
    """Whether an allocation failed: Python, OpenVINO and TensorFlow each say it in their own way."""
    said = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)


def _say(line: str) -> None:
    print(f"extract: {line}", file=sys.stderr)
