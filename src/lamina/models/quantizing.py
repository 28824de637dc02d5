"""Networks with whole numbers of 8 bits in place of float32: a quarter of the size, and faster where processors can."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from lamina.models.export_rows import float_batches
from lamina.models.onnx_runtime import import_onnxruntime
from lamina.quiet_stderr import quiet_stderr

EXAMPLES: Final = 128  # pictures whose values set the ranges
BATCH: Final = 16
HEAVY: Final = ("Conv", "Gemm", "MatMul")  # where the weights are


def quantize(network: Any, examples: Any) -> Any:
    """Quantize the weights and values of a network, after training: symmetric weights by channel, values by range.

    The last layer stays in float32: of 8 bits, an answer would be one of 256 values, and none beyond those of the
    examples. A linear classifier has no other layer: its weights have 8 bits, too, but its answers do not.

    The same network and examples give the same result.

    Args:
        network: In ONNX, of one input.
        examples: Rows like those that it will see: (n, S, S, 3) pictures, or (n, width) sparse words of texts.

    Returns:
        The network in ONNX; its input and output are float32 as before.

    Source:
        B. Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only inference,
        CVPR 2018; ONNX Runtime's static quantization.
    """
    import onnx

    import_onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Examples(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        """Batches of the examples, once."""

        def __init__(self) -> None:
            name = network.graph.input[0].name
            self._batches = ({name: batch} for batch in float_batches(examples, BATCH))

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as temporary, quiet_stderr():
        given, prepared, done = (Path(temporary) / name for name in ("given.onnx", "prepared.onnx", "done.onnx"))
        onnx.save(network, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        ready = onnx.load(prepared)
        for number, node in enumerate(ready.graph.node):
            node.name = f"{node.op_type}_{number}"
        onnx.save(ready, prepared)
        quantize_static(
            prepared,
            done,
            Examples(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=_last_layer(ready.graph.node),
        )
        return onnx.load(done)


def _last_layer(nodes: Any) -> list[str]:
    """Name the nodes of a graph that no layer with weights comes after; without that layer where there is no other."""
    leads: set[str] = set()  # the tensors that a layer with weights is computed from
    last = []
    for node in reversed(nodes):
        if not leads.intersection(node.output):
            last.append(node)
        if node.op_type in HEAVY or leads.intersection(node.output):
            leads.update(node.input)
    hidden = {node.name for node in nodes if node.op_type in HEAVY} - {node.name for node in last}
    return [node.name for node in last if hidden or node.op_type not in HEAVY]
