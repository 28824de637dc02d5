"""Settings of the section `features`: what is accepted, and what is refused in one line."""

import pytest

from lamina.config import validated
from lamina.errors import UserError
from lamina.inputs.features import FeaturesSettings
from systems import FEATURES


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"backbone": "densnet121"},
            r"features\.x\.backbone: unknown backbone 'densnet121'; did you mean 'densenet121'\? "
            r"available: small_cnn, .*, densenet121, densenet169, .*, xception, onnx$",
        ),
        ({"backbone": "q"}, r"x\.backbone: unknown backbone 'q'; available: small_cnn, .*, xception, onnx$"),
        ({"backbone": 5}, r"features\.x\.backbone: .*string, got 5$"),
        ({"pooling": "max"}, r"features\.x\.pooling: small_cnn takes pooling: avg \| flatten \| scales, got 'max'$"),
        ({"preprocess": "own"}, r"x\.preprocess: small_cnn takes preprocess: native \| rescale \| chroma, got 'own'$"),
        ({"precision": "float16"}, r"features\.x\.precision: .*'float32' or 'bfloat16'"),
        (
            {"weights": "imagenet"},
            r"x\.weights: expected weights/random, weights/imagenet/NAME\.weights\.h5, or the path of a \.keras or "
            r"\.weights\.h5 file, got 'imagenet'$",
        ),
        (
            {"preprocess": "chroma", "precision": "bfloat16"},
            r"x\.precision: chroma: bfloat16 leaves too .*float32",
        ),
        ({"pooling": "token"}, r"x\.pooling: small_cnn takes pooling: avg \| flatten \| scales, got 'token'$"),
        ({"preprocess": "imagenet"}, r"x\.preprocess: small_cnn takes preprocess: native \|"),
        ({"size": 224}, r"size: only backbone: onnx has it, and backbone is small_cnn; leave it out"),
        ({"output": "x"}, r"output: only backbone: onnx has it"),
        ({"weights": "a.onnx"}, r"x\.weights: expected weights/random"),
        ({"zz": 3}, r"unknown key 'features\.x\.zz'; known: backbone, weights, pooling, preprocess, precision"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_with_place_value_and_expectation(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        validated(FEATURES | changes, "features.x", FeaturesSettings)
    assert "\n" not in str(caught.value)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(UserError, match=r"features\.x\.pooling is missing; add it"):
        validated({key: value for key, value in FEATURES.items() if key != "pooling"}, "features.x", FeaturesSettings)


FILE = {"backbone": "onnx", "weights": "pretrained/vit.onnx", "pooling": "token", "preprocess": "imagenet"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"preprocess": "native"},
            r"onnx takes preprocess: imagenet \| symmetric \| rescale \| none; an ONNX file does not",
        ),
        ({"preprocess": "chroma"}, r"x\.preprocess: onnx takes preprocess: imagenet \| symmetric"),
        ({"pooling": "scales"}, r"x\.pooling: onnx takes pooling: avg \| token \| flatten, got 'scales'$"),
        (
            {"weights": "weights/random"},
            r"x\.weights: expected the path of an \.onnx file, as pretrained/NAME\.onnx, since",
        ),
        ({"size": 4}, r"x\.size: .*greater than or equal to 8, got 4$"),
        ({"size": "224"}, r"x\.size: .*integer"),
        ({"output": ""}, r"x\.output: "),
    ],
    ids=str,
)
def test_bad_settings_of_an_onnx_file_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        validated(FILE | changes, "features.x", FeaturesSettings)
    assert "\n" not in str(caught.value)


def test_the_settings_of_an_onnx_file() -> None:
    given = validated(FILE, "features.x", FeaturesSettings)
    assert (given.size, given.output, given.precision) == (None, None, "float32")
    assert validated(FILE | {"size": 224, "output": "y"}, "features.x", FeaturesSettings).size == 224


def test_other_inputs_take_bfloat16() -> None:
    assert validated(FEATURES | {"precision": "bfloat16"}, "features.x", FeaturesSettings).precision == "bfloat16"
