"""OpenVINO without telemetry.

Importing OpenVINO, and converting a model, send events over the internet unless a file in the home folder declines.
Without the package `openvino_telemetry`, OpenVINO uses a replacement that sends nothing, so this module hides that
package. Import OpenVINO from here only, before anything else does.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python then raises ImportError

import openvino as ov  # noqa: E402

__all__ = ["ov"]
