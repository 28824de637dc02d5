"""Keras loads without the packages that no network needs; they can be imported afterwards."""

import subprocess
import sys

import pytest

CODE = """
import sys
{before}
from lamina.models.keras_runtime import keras
print(*(name in sys.modules for name in ("jax", "matplotlib", "sklearn")))
import jax, matplotlib, sklearn.linear_model
assert keras.ops.sum(keras.ops.ones(3)) == 3
"""


def found(before: str = "") -> str:
    done = subprocess.run([sys.executable, "-c", CODE.format(before=before)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_no_network_needs_is_not_loaded() -> None:
    assert found() == "False False False"


@pytest.mark.nightly
def test_what_is_loaded_already_stays() -> None:
    assert found("import sklearn") == "False False True"


@pytest.mark.nightly
def test_another_thread_hides_nothing_from_the_main_thread() -> None:
    assert found("from threading import Thread; from importlib import import_module\n"
                 "t = Thread(target=import_module, args=['lamina.models.keras_runtime']); t.start()\n"
                 "import sklearn.linear_model; t.join()") == "True True True"  # fmt: skip
