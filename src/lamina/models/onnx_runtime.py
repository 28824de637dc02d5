"""ONNX Runtime on the processor: the same numbers each time, no messages, and no telemetry."""

import os
from typing import Any

from lamina.quiet_stderr import quiet_stderr


def import_onnxruntime() -> Any:
    """Import ONNX Runtime. Import it from here first: it would send events, and keep an id in the home folder."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def refers_to_files(model: Any) -> bool:
    """Whether a model of `onnx` has numbers in other files, which would be read when it is opened."""
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    return any(uses_external_data(tensor) for tensor in _get_all_tensors(model))


def open_session(network: bytes) -> Any:
    """Open a network of ONNX.

    Args:
        network: the bytes of its file. They must hold all numbers: no other file is read for them.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal: errors are raised, too
    options.use_deterministic_compute = True
    with quiet_stderr(python=False):
        return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
