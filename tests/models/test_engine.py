"""Engines compute features as Keras does, the same each time, and say so where they cannot."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from lamina.errors import UserError
from lamina.models.backbones import build_extractor, calibrate
from lamina.models.engine import Engine, _in_streams, compile_engine

SIDE = 32
BACKBONE_BUILD = {"weights": "weights/random", "pooling": "avg", "preprocess": "native", "seed": 1}


def pictures(count: int = 40, side: int = SIDE) -> np.ndarray:
    """Draw soft blobs: neighboring pixels are similar, as in photographs."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2)
    return np.clip(coarse + random.normal(0, 10, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    return build_extractor("mobilenet_v2", **{**BACKBONE_BUILD, "size": SIDE})


@pytest.fixture(scope="module")
def expected(network) -> np.ndarray:
    """What Keras computes."""
    return network.predict(pictures(), verbose=0)


@pytest.fixture(scope="module")
def engine(network) -> Engine:
    return compile_engine(network, "float32")


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Relative, over all features together (Frobenius norm)."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


# one of each way to preprocess and to pool; a test of every backbone would take too long
def assert_computes(engine: Engine, expected: np.ndarray) -> None:
    assert (engine.name, engine.precision) == ("OpenVINO", "float32")
    found = engine.features(pictures())
    assert found.dtype == np.float32
    assert difference(found, expected) < 1e-5


def test_the_engine_computes_the_same_as_keras(engine: Engine, expected: np.ndarray) -> None:
    assert_computes(engine, expected)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "change"),
    [("resnet50", {"pooling": "flatten"}), ("densenet121", {}), ("vgg16", {"preprocess": "rescale"})],
)
def test_the_engine_computes_other_backbones_as_keras_does(name: str, change: dict[str, str]) -> None:
    model = build_extractor(name, **{**BACKBONE_BUILD, "size": SIDE, **change})
    assert_computes(compile_engine(model, "float32"), model.predict(pictures(), verbose=0))


@pytest.mark.nightly
def test_features_of_a_random_backbone_are_as_exact_as_those_of_keras() -> None:
    # a calibrated random network amplifies rounding errors: float64 gives the reference
    from lamina.models.keras_runtime import keras

    model = build_extractor("mobilenet", **BACKBONE_BUILD, size=SIDE)
    calibrate(model, pictures().astype(np.float32))
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        exact = build_extractor("mobilenet", **BACKBONE_BUILD, size=SIDE)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    exact.set_weights(model.get_weights())
    truth = exact.predict(pictures().astype(np.float64), verbose=0)
    assert truth.dtype == np.float64
    ours = difference(compile_engine(model, "float32").features(pictures()), truth)
    assert ours < 2 * difference(model.predict(pictures(), verbose=0), truth)
    assert ours < 1e-3


def test_the_same_pictures_give_the_same_bytes_in_any_schedule(engine: Engine) -> None:
    first = engine.features(pictures())
    for _ in range(5):
        np.testing.assert_array_equal(engine.features(pictures()), first)
    np.testing.assert_array_equal(engine.features(pictures()[:32]), first[:32])


def test_the_first_batch_is_computed_alone_and_the_others_at_once() -> None:
    seen: list[str] = []
    others = Barrier(2)

    class Request:  # of OpenVINO
        def infer(self, inputs: list[np.ndarray], **_: bool) -> list[np.ndarray]:
            seen.append("begins")
            if len(seen) == 1:
                time.sleep(0.1)  # another one could begin now
            else:
                others.wait(10)
            seen.append("ends")
            return [inputs[0][:, 0, 0, :1]]

    some = pictures(3)
    found = _in_streams(lambda: [Request(), Request()], 2, 1)(some, 1)
    np.testing.assert_array_equal(found, some[:, 0, 0, :1])
    assert seen == ["begins", "ends", "begins", "begins", "ends", "ends"]


def test_bfloat16_is_reported_and_close(network, expected: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    compiled = compile_engine(network, "bfloat16")
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        assert compiled.precision == "bfloat16"
        assert 1e-5 < difference(compiled.features(pictures()), expected) < 0.05
        assert capsys.readouterr().err == ""
    elif compiled.precision == "float32":
        assert capsys.readouterr().err == "extract: this processor has no bfloat16; computing in float32\n"


def test_without_openvino_keras_computes_and_says_so(
    network, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "lamina.models.openvino_runtime", raising=False)
    compiled = compile_engine(network, "bfloat16")
    assert (compiled.name, compiled.precision) == ("Keras", "float32")
    message = capsys.readouterr().err
    assert message.startswith("extract: OpenVINO cannot run this network (")
    assert message.endswith("); Keras does, in float32\n")
    assert message.count("\n") == 1
    np.testing.assert_array_equal(compiled.features(pictures()), expected)


TELEMETRY = """
import sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event in ("socket.getaddrinfo", "socket.connect") else None)
from lamina.models.openvino_runtime import ov
ov.convert_model(sys.argv[1])
from lamina.models.onnx_runtime import open_session
open_session(open(sys.argv[1], "rb").read())
import time; time.sleep(1)  # it is sent by a thread
import openvino.tools.ovc.telemetry_utils as telemetry
print(seen, telemetry.tm.__name__)
"""


def test_runtimes_send_no_telemetry(tmp_path: Path) -> None:
    import onnx

    shape = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "relu", shape[:1], shape[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "model.onnx")
    declining = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    env = {name: value for name, value in os.environ.items() if name not in declining}
    command = [sys.executable, "-c", TELEMETRY, str(tmp_path / "model.onnx")]
    done = subprocess.run(command, env=env | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] openvino.tools.ovc.telemetry_stub"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"], "a folder with an identity of the user"


NO_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from lamina.models.backbones import build_extractor
from lamina.models.engine import compile_engine

options = {"weights": "weights/random", "pooling": "avg", "preprocess": "native", "seed": 1}
network = build_extractor("mobilenet_v2", size=320, **options)
engine = compile_engine(network, "float32")
pictures = np.random.default_rng(0).integers(0, 256, (32, 320, 320, 3)).astype(np.uint8)
engine.batch = 1
engine.features(pictures[:4])  # every stream has started
engine.batch = 32
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 2**20, resource.RLIM_INFINITY))
print(engine.features(pictures).shape, engine.batch)
"""


def test_a_batch_that_does_not_fit_memory_is_halved() -> None:
    done = subprocess.run([sys.executable, "-c", NO_MEMORY, "150"], capture_output=True, text=True, check=True)
    batch = int(done.stdout.removeprefix("(32, 1280) "))
    assert 1 <= batch < 32
    lines = [line for line in done.stderr.splitlines() if line.startswith("extract:")]
    assert lines[-1] == f"extract: no memory for {2 * batch} pictures at once; continuing with {batch}"


def test_no_memory_for_one_picture_is_reported_in_one_line(engine: Engine) -> None:
    def full(pixels: np.ndarray, batch: int) -> np.ndarray:
        return np.empty((2**50,))  # more than any machine has

    with pytest.raises(UserError, match=r"no memory for a single picture; lower convert\.size"):
        dataclasses.replace(engine, run=full).features(pictures())
