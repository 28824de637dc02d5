"""Export of networks to other runtimes; each export is compared with Keras first."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import numpy as np

from lamina.errors import UserError
from lamina.files import file_digest, staged, write_json
from lamina.models.export_rows import float_batches
from lamina.models.inference import inference
from lamina.models.keras_runtime import keras, tf
from lamina.models.onnx_export import Composed, find_exported
from lamina.models.onnx_runtime import import_onnxruntime
from lamina.progress import progress
from lamina.quiet_stderr import quiet_stderr

TOLERANCE: Final = 1e-4  # of a probability; float32 runtimes differ by about 1e-6
BATCH: Final = 16
DESCRIPTION: Final = "export.json"  # in the folder of every export

T = TypeVar("T")

# from rows, (n, S, S, 3) or (n, width) float32, of which n may change from call to call, to what the network gives of
# them
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a network takes.

    Attributes:
        name: of the input.
        holds: in words.
        items: what a row of it is.
    """

    name: str
    holds: str
    items: str


PICTURES: Final = Input(name="rgb", holds="RGB, 0 to 255", items="pictures")
TEXTS: Final = Input(
    name="words", holds="a value for each of `columns` of words.json; words.py makes it", items="texts"
)


def input_of(model: Any) -> Input:
    """Return what a saved network takes: pictures (n, S, S, 3), or words of texts (n, width)."""
    return TEXTS if len(model.input.shape) == 2 else PICTURES


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a network gives.

    Attributes:
        name: of the output.
        holds: in words.
        tolerance: largest difference between runtimes.
    """

    name: str
    holds: str
    tolerance: float


PROBABILITIES: Final = Output(name="probabilities", holds="probabilities, as `classes`", tolerance=TOLERANCE)
COLORS: Final = Output(name="colors", holds="RGB, 0 to 255", tolerance=255 * TOLERANCE)


def output_of(model: Any) -> Output:
    """Return what a saved network gives: probabilities (n, units), colors (n, S, S, 3), or numbers (n, 1)."""
    if len(model.output.shape) == 4:
        return COLORS
    last = model.output._keras_history.operation
    if not isinstance(last, keras.layers.Rescaling):
        return PROBABILITIES
    scale, largest = float(last.scale), abs(float(last.offset)) + 4 * abs(float(last.scale))
    # of a number far from 0, the last digits are more than the tolerance; LiteRT adds all terms to the offset
    rounding = 8 * float(np.spacing(np.float32(largest)))
    return Output(name="number", holds="the number, in its own unit", tolerance=TOLERANCE * abs(scale) + rounding)


@dataclass(frozen=True, kw_only=True)
class Format:
    """An export format.

    Attributes:
        write: writes a frozen graph into a folder; for `int8` with rows that set its ranges.
        load: loads the export in a folder.
        files: that `write` creates.
        is_exact: whether it answers as Keras but for rounding; else its answers are judged.
    """

    write: Callable[["Frozen | Composed", Path, Any], None]
    load: Callable[[Path], Predict]
    files: tuple[str, ...]
    is_exact: bool = True


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a format that is not exact needs.

    Attributes:
        examples: rows of the training fold: (n, S, S, 3) pictures, or (n, width) sparse words of texts.
        judge: from the export to `checked` of `export.json` and a line about it; raises UserError if it is too bad.
    """

    examples: Any
    judge: Callable[[Predict], tuple[Mapping[str, Any], str]]


class Frozen:
    """A network as one TensorFlow function of its input; its weights are constants."""

    def __init__(self, model: Any) -> None:
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        self.input, self.output = input_of(model), output_of(model)
        rows = tf.TensorSpec((None, *model.input.shape[1:]), tf.float32, name=self.input.name)
        call = tf.function(lambda given: model(given, training=False), autograph=False)
        # Keras' own export makes tensors that are no variables, such as those of Normalization, inputs of the function
        self.function = convert_variables_to_constants_v2(call.get_concrete_function(rows))

    @cached_property
    def onnx(self) -> Any:
        """The network in ONNX."""
        return self.to_onnx()

    def to_onnx(self, opset: int | None = None) -> Any:
        """Translate the network for a version of the ONNX operators; None: the translator's default."""
        import tf2onnx

        translated, _ = tf2onnx.convert.from_graph_def(
            self.function.graph.as_graph_def(),
            input_names=[self.function.inputs[0].name],
            output_names=[self.function.outputs[0].name],
            opset=opset,
        )
        _make_deterministic(translated.graph, self.input.name, self.output.name)
        return translated


def freeze(model: Any) -> "Frozen | Composed":
    """Make what a format writes of a saved network."""
    layer = find_exported(model)
    return Composed(model, layer, lambda part, opset: Frozen(part).to_onnx(opset)) if layer else Frozen(model)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An export that was checked.

    Attributes:
        folder: that holds it.
        size: of its files in bytes.
        checked: what was found, in words.
    """

    folder: Path
    size: int
    checked: str


def export_model(
    model: Any,
    formats: Sequence[str],
    out: Path,
    rows: Any,
    about: Mapping[str, Any],
    trial: Trial | None = None,
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> list[Exported]:
    """Export a network to a folder `out/FORMAT` for each format, with an `export.json` that describes it.

    The same model gives the same bytes. After an error, the previous export is unchanged.

    Args:
        model: a Keras model, see `load_model`.
        formats: keys of `FORMATS`.
        out: folder of the exports.
        rows: on which export and Keras are compared: (n, S, S, 3) RGB 0..255, or (n, width) sparse words of texts.
        about: further content of `export.json` (docs/files.md).
        trial: for formats that are not exact.
        beside: further files for each folder: their content by name.

    Raises:
        UserError: if a folder is there that is no export, a format cannot express the network, its answers differ from
            those of Keras by more than the tolerance, or `trial` refuses it.
    """
    for name in formats:
        _check_replaceable(out / name)
    expected = in_batches(inference(model), rows)
    frozen = _translate("a graph", freeze, model)
    if "litert" in formats and isinstance(frozen, Composed):
        raise UserError("export: litert cannot hold a backbone from an ONNX file; write --format onnx openvino")
    done = []
    for name in progress(formats, what="export", unit="formats"):
        form = FORMATS[name]
        with staged(out / name, folder=True) as part:
            _translate(name, form.write, frozen, part, trial.examples if trial else rows)
            for file, content in beside.items():
                (part / file).write_bytes(content)
            if form.is_exact:
                output = output_of(model)
                found = in_batches(form.load(part), rows)
                checked: Mapping[str, Any] = compare(name, expected, found, output, input_of(model).items)
                said = f"{output.name} within {checked['greatest_difference']:.1g} of Keras"
            else:
                assert trial
                checked, said = trial.judge(form.load(part))
            write_json(part / DESCRIPTION, {**about, **_described(name, model, part, beside), "checked": checked})
        size = sum((out / name / file).stat().st_size for file in (*form.files, *beside))
        done.append(Exported(folder=out / name, size=size, checked=said))
    return done


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder in which people keep something else."""
    if folder.exists() and not (folder / DESCRIPTION).exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: holds no export, and would be lost; give another folder with --out")


def compare(
    name: str, expected: np.ndarray, found: np.ndarray, output: Output = PROBABILITIES, items: str = PICTURES.items
) -> dict[str, Any]:
    """Compare the answers of an export with those of Keras.

    Args:
        name: of the format.
        expected: (n, ...), of Keras.
        found: of the export.
        output: what they are.
        items: what they were given for.

    Returns:
        `checked` of `export.json`.

    Raises:
        UserError: if they differ by more than the tolerance.
    """
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    if not difference <= output.tolerance:
        raise UserError(
            f"export: {name} answers differently from Keras: {output.name} by up to {difference:.2g}, "
            f"expected at most {output.tolerance:g}; nothing of it was kept, leave it out with --format"
        )
    # at this tolerance, another class is possible only if Keras gives both almost the same probability
    same = {"same_class": int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())} if expected.ndim == 2 else {}
    return {items: len(expected), **same, "greatest_difference": difference, "tolerance": output.tolerance}


def _described(name: str, model: Any, folder: Path, beside: Iterable[str]) -> dict[str, Any]:
    takes, files = input_of(model), [folder / file for file in (*FORMATS[name].files, *beside)]
    return {
        "format": name,
        "files": {path.name: {"sha256": file_digest(path), "bytes": path.stat().st_size} for path in files},
        "input": {
            "name": takes.name,
            "type": "float32",
            "shape": [-1, *model.input.shape[1:]],
            "holds": takes.holds,
        },
        "output": {"type": "float32", "shape": [-1, *model.output.shape[1:]], "holds": output_of(model).holds},
    }


def _translate(name: str, call: Callable[..., T], *arguments: Any) -> T:
    """Call a converter, without its messages; turn its errors into one line."""
    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*arguments)
    except UserError:
        raise
    except Exception as error:  # converters raise errors of many types
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"export: this network cannot be written as {name} ({type(error).__name__}: {reason}); "
            "leave it out with --format"
        ) from None


def _make_deterministic(graph: Any, takes: str, gives: str) -> None:
    """Name and order nodes and constants by position: the converter uses global counters and sets.

    takes, gives: names of the input and the output.
    """
    constants = {value.name: value for value in graph.initializer}
    names = {"": "", graph.input[0].name: takes, graph.output[0].name: gives}
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"
        for name in (*node.input, *node.output):
            names.setdefault(name, f"{'constant' if name in constants else 'value'}_{len(names)}")
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    used = [constants[name] for name in names if name in constants]
    for value in (*graph.input, *graph.output, *used):
        value.name = names[value.name]
    del graph.initializer[:]
    graph.initializer.extend(used)
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    del graph.value_info[:]


def _write_int8(frozen: Frozen | Composed, folder: Path, examples: Any) -> None:
    import onnx

    from lamina.models.quantizing import quantize

    onnx.save(quantize(frozen.onnx, examples), folder / "model.onnx")


def _write_onnx(frozen: Frozen | Composed, folder: Path, _: Any) -> None:
    import onnx

    onnx.checker.check_model(frozen.onnx)
    onnx.save(frozen.onnx, folder / "model.onnx")


def _write_openvino(frozen: Frozen | Composed, folder: Path, _: Any) -> None:
    # the runtime reads ONNX itself; OpenVINO's converter for TensorFlow sends telemetry
    from lamina.models.openvino_runtime import ov

    network = ov.Core().read_model(frozen.onnx.SerializeToString())
    for index, node in enumerate(network.get_ordered_ops()):
        if node.get_type_name() not in ("Parameter", "Result"):
            node.set_friendly_name(f"{node.get_type_name()}_{index}")  # default names use a counter of the process
    ov.save_model(network, folder / "model.xml", compress_to_fp16=False)


def _write_litert(frozen: Frozen | Composed, folder: Path, _: Any) -> None:
    assert isinstance(frozen, Frozen)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen.function])
    (folder / "model.tflite").write_bytes(converter.convert())


def _load_onnx(folder: Path) -> Predict:
    session = import_onnxruntime().InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: np.asarray(session.run(None, {name: batch})[0])


def _load_openvino(folder: Path) -> Predict:
    from lamina.models.openvino_runtime import ov

    # the default is bfloat16 on some processors, with differences of 1e-2
    compiled = ov.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda batch: np.array(compiled(batch)[0])


def _load_litert(folder: Path) -> Predict:
    with quiet_stderr():
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(folder / "model.tflite"))
        input_index = interpreter.get_input_details()[0]["index"]
        output_index = interpreter.get_output_details()[0]["index"]

    known: list[tuple[int, ...]] = []  # the shape that memory is allocated for

    def predict(batch: np.ndarray) -> np.ndarray:
        with quiet_stderr():
            if known != [batch.shape]:
                interpreter.resize_tensor_input(input_index, batch.shape)
                interpreter.allocate_tensors()
                known[:] = [batch.shape]
            interpreter.set_tensor(input_index, batch)
            interpreter.invoke()
            return np.array(interpreter.get_tensor(output_index))

    return predict


def in_batches(predict: Predict, rows: Any, size: int = BATCH) -> np.ndarray:
    """Predict rows, (n, S, S, 3) or (n, width), sparse or not, some at a time."""
    return np.concatenate([predict(batch) for batch in float_batches(rows, size)])


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "onnx": Format(write=_write_onnx, load=_load_onnx, files=("model.onnx",)),
        "openvino": Format(write=_write_openvino, load=_load_openvino, files=("model.xml", "model.bin")),
        "litert": Format(write=_write_litert, load=_load_litert, files=("model.tflite",)),
        "int8": Format(write=_write_int8, load=_load_onnx, files=("model.onnx",), is_exact=False),
    }
)
