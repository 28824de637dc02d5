"""The machine of a training, as `timing.json` holds it."""

import json
import platform
import sys

import pytest

from lamina.training.environment import INSTRUCTIONS, SWITCHES, machine


def test_the_machine_names_what_decides_the_last_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = machine()
    assert found["switches"] == ["ONEDNN_MAX_CPU_ISA=AVX2"]
    assert set(found["instructions"]) <= set(INSTRUCTIONS)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="needs Linux on x86-64")
def test_linux_says_which_processor_it_is() -> None:
    found = machine()
    assert found["model"]
    assert found["instructions"]
