"""OpenVINO, loaded so that it tells nobody.

Importing OpenVINO sends an event about it over the internet, and converting a model sends more, unless a file in the
home folder declines. Without its package `openvino_telemetry` it uses a stand-in that sends nothing; so this process
has no such package. Whoever needs OpenVINO imports it from here, and before anything else imports it.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's way to say: not to be found

import openvino as ov  # noqa: E402

__all__ = ["ov"]
