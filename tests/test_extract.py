"""Features: as Keras would make them, the same each time, made once, and finished after an interruption."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamina.config import section
from lamina.data.augmentation import AugmentConfig, draw_plan
from lamina.data.rows import Folders, open_rows
from lamina.errors import UserError
from lamina.inputs.extraction import ROWS_AT_ONCE, extract
from lamina.inputs.features import MODULES, features_key, tidy
from lamina.maths.color import srgb_to_lab
from lamina.models.backbones import build_extractor, calibrate
from lamina.models.engine import Engine, compile_engine
from lamina.source_code import closure, module_path
from lamina.stages.extract import extract_run
from lamina.tasks.runs import TransferRun

SIDE, PICTURES, COPIES = 32, 240, 4  # rows for two chunks and a bit
HEAD = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001}
BACKBONE = {"backbone": "mobilenet_v2", "weights": "none", "watch": "x", "pooling": "avg", "preprocess": "native"}


def run_with(**change: object) -> TransferRun:
    return section({"run": HEAD | BACKBONE | change}, "run", TransferRun)


def pictures(count: int = 40, side: int = SIDE) -> np.ndarray:
    """Soft blobs: what neighbours share survives the layers, as it does in photographs."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2)
    return np.clip(coarse + random.normal(0, 10, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages up to split would have left."""
    root, folders = tmp_path_factory.mktemp("system"), Folders()
    ids = [f"{number:016x}" for number in range(PICTURES)]
    manifest = pd.DataFrame({"id": ids, "origin": ids, "label": ["a", "b"] * (PICTURES // 2), "name": ids})
    config = AugmentConfig(copies=COPIES, rotation=10.0, shift=0.1, flip_horizontal=True, flip_vertical=True, color=0.0)
    plan = draw_plan(manifest, config, seed=1).assign(fold="train")
    for folder in (folders.lab, folders.augmented, folders.split):
        (root / folder).mkdir(parents=True)
    np.save(root / folders.lab / "pixels.npy", srgb_to_lab(pictures(PICTURES)))
    manifest.to_parquet(root / folders.lab / "manifest.parquet")
    plan.to_parquet(root / folders.augmented / "plan.parquet")
    plan.to_parquet(root / folders.split / "manifest.parquet")
    return root


@pytest.fixture(autouse=True)
def here(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(system)


@pytest.fixture(scope="module")
def network():
    return build_extractor("mobilenet_v2", **{**BACKBONE_BUILD, "size": SIDE})


BACKBONE_BUILD = {"weights": "none", "pooling": "avg", "preprocess": "native", "seed": 1}


@pytest.fixture(scope="module")
def engine(network) -> Engine:
    return compile_engine(network, "float32")


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Relative, over all features together (Frobenius norm)."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


# one of each way to preprocess and to pool; the test of every backbone is slower than what it could find
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mobilenet_v2", {}),
        ("resnet50", {"pooling": "flatten"}),
        ("densenet121", {}),
        ("vgg16", {"preprocess": "rescale"}),
    ],
)
def test_the_engine_computes_what_keras_does(name: str, change: dict[str, str]) -> None:
    model = build_extractor(name, **{**BACKBONE_BUILD, "size": SIDE, **change})
    compiled = compile_engine(model, "float32")
    assert (compiled.name, compiled.precision) == ("OpenVINO", "float32")
    found = compiled.features(pictures())
    assert found.dtype == np.float32
    assert difference(found, model.predict(pictures(), verbose=0)) < 1e-5


def test_features_of_a_random_backbone_are_as_exact_as_those_of_keras() -> None:
    # a calibrated random network makes much of every rounding: what is right is told by float64
    from lamina.models.keras_runtime import keras

    model = build_extractor("mobilenet_v2", **BACKBONE_BUILD, size=SIDE)
    calibrate(model, pictures().astype(np.float32))
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        exact = build_extractor("mobilenet_v2", **BACKBONE_BUILD, size=SIDE)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    exact.set_weights(model.get_weights())
    truth = exact.predict(pictures().astype(np.float64), verbose=0)
    assert truth.dtype == np.float64
    ours = difference(compile_engine(model, "float32").features(pictures()), truth)
    assert ours < 2 * difference(model.predict(pictures(), verbose=0), truth)
    assert ours < 1e-3


def test_the_same_pictures_are_the_same_bytes_however_they_are_scheduled(engine: Engine) -> None:
    first = engine.features(pictures())
    for _ in range(5):
        np.testing.assert_array_equal(engine.features(pictures()), first)
    np.testing.assert_array_equal(engine.features(pictures()[:32]), first[:32])  # by itself, beside nothing


def test_bfloat16_is_said_and_near(network, capsys: pytest.CaptureFixture[str]) -> None:
    compiled = compile_engine(network, "bfloat16")
    expected = network.predict(pictures(), verbose=0)
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        assert compiled.precision == "bfloat16"
        assert 1e-5 < difference(compiled.features(pictures()), expected) < 0.05
        assert capsys.readouterr().err == ""
    elif compiled.precision == "float32":
        assert capsys.readouterr().err == "extract: this processor has no bfloat16; computing in float32\n"


def test_without_openvino_keras_does_the_work_and_says_so(
    network, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "lamina.models.openvino_runtime", raising=False)
    compiled = compile_engine(network, "bfloat16")
    assert (compiled.name, compiled.precision) == ("Keras", "float32")
    said = capsys.readouterr().err
    assert said.startswith("extract: OpenVINO cannot run this network (")
    assert said.endswith("); Keras does, in float32\n")
    assert said.count("\n") == 1
    np.testing.assert_array_equal(compiled.features(pictures()), network.predict(pictures(), verbose=0))


TELEMETRY = """
import sys
seen = []
sys.addaudithook(lambda event, told: seen.append(event) if event in ("socket.getaddrinfo", "socket.connect") else None)
from lamina.models.openvino_runtime import ov
ov.convert_model(sys.argv[1])
import time; time.sleep(1)  # it is sent by a thread
import openvino.tools.ovc.telemetry_utils as told
print(seen, told.tm.__name__)
"""


def test_openvino_tells_nobody(tmp_path: Path) -> None:
    import onnx

    shape = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "relu", shape[:1], shape[1:])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    command = [sys.executable, "-c", TELEMETRY, str(tmp_path / "model.onnx")]
    done = subprocess.run(command, env=env | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] openvino.tools.ovc.telemetry_stub"
    assert not (tmp_path / "intel").exists(), "it writes down there who it is"


NO_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from lamina.models.backbones import build_extractor
from lamina.models.engine import compile_engine

network = build_extractor("mobilenet_v2", weights="none", pooling="avg", preprocess="native", size=320, seed=1)
engine = compile_engine(network, "float32")
pictures = np.random.default_rng(0).integers(0, 256, (32, 320, 320, 3)).astype(np.uint8)
engine.batch = 1
engine.features(pictures[:4])  # every stream has started
engine.batch = 32
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 2**20, resource.RLIM_INFINITY))
print(engine.features(pictures).shape, engine.batch)
"""


def test_a_batch_that_finds_no_memory_is_halved() -> None:
    done = subprocess.run([sys.executable, "-c", NO_MEMORY, "150"], capture_output=True, text=True, check=True)
    batch = int(done.stdout.removeprefix("(32, 1280) "))
    assert 1 <= batch < 32
    said = [line for line in done.stderr.splitlines() if line.startswith("extract:")]
    assert said[-1] == f"extract: no memory for {2 * batch} pictures at once; continuing with {batch}"


def test_no_memory_for_one_picture_is_one_line(engine: Engine) -> None:
    def full(pixels: np.ndarray, batch: int) -> np.ndarray:
        return np.empty((2**50,))  # more than any machine has

    with pytest.raises(UserError, match=r"no memory for a single picture; lower convert\.size"):
        dataclasses.replace(engine, run=full).features(pictures())


def folder(tmp_path: Path, name: str) -> Path:
    return tmp_path / "features" / name


@pytest.fixture(scope="module")
def extracted(system: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of the run `one`, by themselves."""
    before, out = Path.cwd(), tmp_path_factory.mktemp("made") / "features" / "one"
    os.chdir(system)
    try:
        extract_run(run_with(), Folders(), out, seed=1)
    finally:
        os.chdir(before)
    return out


def test_runs_that_differ_in_their_heads_share_their_features(extracted: Path) -> None:
    other = extracted.parent / "two"
    summary = extract_run(run_with(epochs=9, dropout=0.5, learning_rate="tune"), Folders(), other, seed=1)
    assert summary.shared_with == "one"
    assert "those of one: taken over" in str(summary)
    for name in ("features.npy", "backbone.keras"):
        assert (other / name).read_bytes() == (extracted / name).read_bytes()
        assert not (other / name).samefile(extracted / name), "a change to one must not change the other"
    made, shared = (json.loads((path / "timing.json").read_text()) for path in (extracted, other))
    assert shared == made | {"shared_with": "one"}
    assert made["seconds"].keys() == {"build", "extract"}
    assert (made["engine"], made["precision"]) == ("OpenVINO", "float32")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"kind": "pretext", "params": {}}, "learned by preprocess: chroma; this run gives it native"),
        (
            {"kind": "colorize", "params": {"preprocess": "rescale"}},
            "learned by preprocess: rescale; this run gives it native",
        ),
        ({"kind": "scratch", "params": {}}, ""),
        ({"kind": "transfer", "params": {"preprocess": "native"}}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_weights_that_learned_from_other_values_are_noted(
    record: object, said: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "backbone.keras"
    shutil.copy(extracted / "backbone.keras", weights)
    if record is not None:
        (tmp_path / "record.json").write_text(json.dumps(record))
    run = run_with(weights=str(weights), watch=str(weights), preprocess="native")
    extract_run(run, Folders(), folder(tmp_path, "one"), seed=1)
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == ([f"note: {weights} {said}"] if said else [])


def test_shared_features_need_no_tensorflow(extracted: Path) -> None:
    code = """
import sys
from pathlib import Path
from lamina.config import section
from lamina.data.rows import Folders
from lamina.tasks.runs import TransferRun
from lamina.stages.extract import extract_run
run = section({"run": %r}, "run", TransferRun)
print(extract_run(run, Folders(), Path(%r), seed=1).shared_with, "tensorflow" in sys.modules)
"""
    out = extracted.parent / "three"
    done = subprocess.run(
        [sys.executable, "-c", code % (HEAD | BACKBONE, str(out))], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[1] == "False"


def test_features_that_somebody_changed_are_not_shared(extracted: Path, tmp_path: Path) -> None:
    changed = folder(tmp_path, "one")
    changed.mkdir(parents=True)
    for path in extracted.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    features = np.load(changed / "features.npy", mmap_mode="r+")
    features[0, 0] += 1
    features.flush()
    summary = extract_run(run_with(), Folders(), folder(tmp_path, "two"), seed=1)
    assert summary.shared_with is None
    assert (folder(tmp_path, "two") / "features.npy").read_bytes() == (extracted / "features.npy").read_bytes()


@pytest.mark.parametrize(
    "change",
    [{"backbone": "vgg16"}, {"pooling": "flatten"}, {"preprocess": "rescale"}, {"precision": "bfloat16"}],
)
def test_what_decides_features_decides_their_key(change: dict[str, str]) -> None:
    assert features_key(run_with(**change), "data", seed=1) != features_key(run_with(), "data", seed=1)


def test_the_key_knows_seed_data_and_weights(tmp_path: Path) -> None:
    run = run_with()
    assert features_key(run, "data", seed=1) == features_key(run_with(epochs=9, seed=5), "data", seed=1)
    assert features_key(run, "data", seed=1) != features_key(run, "data", seed=2)
    assert features_key(run, "data", seed=1) != features_key(run, "other", seed=1)
    weights = tmp_path / "model.keras"
    given = run_with(weights=str(weights), watch=str(weights))
    weights.write_bytes(b"one")
    before = features_key(given, "data", seed=1)
    assert before == features_key(given, "data", seed=2), "the seed draws nothing where weights are given"
    weights.write_bytes(b"two")
    assert before != features_key(given, "data", seed=1)


def test_the_key_knows_all_code_that_makes_features() -> None:
    told = {
        "lamina.prefetch",
        "lamina.config",
        "lamina.errors",
        "lamina.files",
        "lamina.progress",
        "lamina.quiet_stderr",
    }
    told |= {"lamina.tasks.runs"}
    package = module_path("lamina").parent  # type: ignore[union-attr]
    needed = {module_path(name) for name in closure("lamina.inputs.extraction") - told}
    assert needed <= {package / module for module in MODULES}
    assert all((package / module).is_file() for module in MODULES)


def test_an_interrupted_extraction_goes_on(tmp_path: Path) -> None:
    model = build_extractor("mobilenet_v2", **BACKBONE_BUILD, size=SIDE)
    calibrate(model, pictures().astype(np.float32))  # else float16 cannot tell the features apart
    engine = compile_engine(model, "float32")
    rows = open_rows(pd.read_parquet("data/split/manifest.parquet"), Folders())
    assert len(rows) > 2 * ROWS_AT_ONCE
    extract(engine, rows, tmp_path / "whole.npy")
    computed: list[int] = []

    def counted(pixels: np.ndarray, batch: int) -> np.ndarray:
        computed.append(len(pixels))
        if len(computed) == 2:
            raise KeyboardInterrupt
        return engine.run(pixels, batch)

    with pytest.raises(KeyboardInterrupt):
        extract(dataclasses.replace(engine, run=counted), rows, tmp_path / "part.npy")
    with (tmp_path / "part.npy").open("ab") as file:
        file.write(b"half a row")
    extract(dataclasses.replace(engine, run=counted), rows, tmp_path / "part.npy")
    assert sum(computed[2:]) == len(rows) - ROWS_AT_ONCE
    assert (tmp_path / "part.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_only_what_is_asked_for_is_kept_unfinished(tmp_path: Path) -> None:
    for key in ("asked", "forgotten"):
        (tmp_path / key).mkdir()
        (tmp_path / key / "features.npy").write_bytes(b"rows")
    tidy(tmp_path, {"asked"})
    assert [path.name for path in tmp_path.iterdir()] == ["asked"]


def test_nothing_unfinished_is_left_of_a_finished_extraction(extracted: Path) -> None:
    assert not list(Path(".lamina/features").glob("*"))
