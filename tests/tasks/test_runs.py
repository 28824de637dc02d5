"""Runs of `params.yaml`: which task each has, which settings are accepted, and what is refused in one line."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lamina.errors import UserError
from lamina.results.measures import MEASURES
from lamina.tasks.classify.settings import ClassifySettings, HeadSettings, NetworkSettings
from lamina.tasks.colorize.settings import ColorizeSettings
from lamina.tasks.lightness.settings import LightnessSettings
from lamina.tasks.registry import TASKS
from lamina.tasks.runs import Run, read_run, run_tasks
from systems import COLORS, HEAD, LIGHT, NETWORK

FINE = {"layers": 3, "epochs": 3, "learning_rate": 1e-4}
RUNS = {"head": HEAD, "network": NETWORK, "colors": COLORS, "light": LIGHT}


def read(settings: Mapping[str, Any], **changes: object) -> Run:
    """Read the run `x` with these settings, some of them changed."""
    return read_run({"runs": {"x": dict(settings) | changes}}, "x")


def refusal(attempt: Callable[[], object]) -> str:
    """Return the one line with which something is refused."""
    with pytest.raises(UserError) as caught:
        attempt()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ---- which run, which task


def test_a_run_that_is_not_there_is_refused_with_those_that_are() -> None:
    params = {"runs": {"first": HEAD, "b": HEAD}}
    assert "there is no run 'firts'; did you mean 'first'?; known: first, b" in refusal(
        lambda: read_run(params, "firts")
    )
    assert "there is no run 'c'; known: none" in refusal(lambda: read_run({}, "c"))


def test_runs_are_listed_with_their_tasks_in_order() -> None:
    assert {name: task.name for name, task in run_tasks({"runs": RUNS}).items()} == {
        "head": "classify",
        "network": "classify",
        "colors": "colorize",
        "light": "lightness",
    }
    assert list(run_tasks({"runs": RUNS})) == list(RUNS)
    assert run_tasks({}) == {}


@pytest.mark.parametrize(
    ("settings", "kind"),
    [(HEAD, HeadSettings), (NETWORK, NetworkSettings), (COLORS, ColorizeSettings), (LIGHT, LightnessSettings)],
)
def test_task_and_input_decide_the_settings(settings: dict[str, Any], kind: type) -> None:
    assert type(read(settings).settings) is kind


@pytest.mark.parametrize("given", [None, 5, [1]])
def test_a_run_without_settings_is_refused(given: object) -> None:
    message = refusal(lambda: read_run({"runs": {"x": given}}, "x"))
    assert "params.yaml: runs.x: expected a mapping with the keys task, input, ..." in message


def test_a_run_needs_a_known_task() -> None:
    names = ", ".join(TASKS)
    without = {key: value for key, value in HEAD.items() if key != "task"}
    assert refusal(lambda: read(without)) == f"params.yaml: runs.x.task is missing; add one of {names}"
    message = refusal(lambda: read(HEAD, task="clasify"))
    assert f"runs.x.task: unknown task 'clasify'; did you mean 'classify'?; known: {names}" in message


# ---- settings


NUMBER = r"expected a number from 0 \(excluded\) to 1, or the word tune"


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        # weights and networks
        (
            "head",
            {"weights": "imagenett"},
            r"runs\.x\.weights: expected weights/random, weights/imagenet/NAME\.weights\.h5, or the path of a "
            r"\.keras or \.weights\.h5 file, got 'imagenett'$",
        ),
        ("light", {"weights": 5}, r"runs\.x\.weights: .*string, got 5$"),
        (
            "network",
            {"network": "smal_cnn"},
            r"runs\.x\.network: unknown network 'smal_cnn'; did you mean 'small_cnn'\? available: small_cnn, .*",
        ),
        (
            "network",
            {"network": "onnx"},
            r"runs\.x\.network: onnx: a file is a frozen backbone; name it in an entry of feat",
        ),
        ("colors", {"encoder": "onnx"}, r"runs\.x\.encoder: onnx: a file is a frozen backbone; name it in an entry of"),
        ("colors", {"encoder": "q"}, r"runs\.x\.encoder: unknown network 'q'; available: small_cnn, .*, xception$"),
        # numbers
        ("head", {"learning_rate": "tun"}, rf"runs\.x\.learning_rate: {NUMBER}, got 'tun'$"),
        ("network", {"learning_rate": 0}, rf"learning_rate: {NUMBER}, got 0$"),
        ("network", {"learning_rate": None}, rf"learning_rate: {NUMBER}, got None$"),
        ("network", {"dropout": 1}, r"dropout: expected a number from 0 to 1 \(excluded\), or the word tune, got 1$"),
        ("network", {"dropout": True}, r"dropout: expected a number from .*, got True$"),
        ("colors", {"decay": 1.1}, r"decay: expected a number from 0 to 1, or the word tune, got 1\.1$"),
        ("light", {"decay": [0.1]}, r"decay: expected a number from .*, got \[0\.1\]$"),
        ("network", {"seed": -1}, r"runs\.x\.seed: .*greater than or equal to 0, got -1$"),
        ("network", {"seed": 2**31}, r"runs\.x\.seed: .*less than 2147483648, got 2147483648$"),
        ("network", {"seed": 1.0}, r"runs\.x\.seed: .*integer, got 1\.0$"),
        ("network", {"epochs": 0}, r"runs\.x\.epochs: .*greater than or equal to 1, got 0$"),
        # training
        ("network", {"patience": 0}, r"runs\.x\.patience: .*greater than or equal to 1"),
        ("head", {"ema_decay": -0.1}, r"runs\.x\.ema_decay: .*greater than or equal to 0"),
        ("network", {"class_weights": "even"}, r"runs\.x\.class_weights: .*'none', 'balanced' or 'sqrt'"),
        ("head", {"label_smoothing": 1.0}, r"runs\.x\.label_smoothing: .*less than 1"),
        ("network", {"precision": "float16"}, r"runs\.x\.precision: .*'float32' or 'bfloat16'"),
        ("light", {"augmentation": "none"}, r"runs\.x\.augmentation: .*'plan' or 'fresh'"),
        ("network", {"warmup": 0.1}, r"runs\.x: warmup: only the schedule cosine has one, got 0\.1"),
        ("network", {"schedule": "cosine", "decay": 0.1}, r"runs\.x: decay: the schedule cosine does not use it"),
        *(
            (
                name,
                {"batch_norm": "frozen"},
                r"runs\.x: batch_norm: frozen keeps .* weights/random has none; write train",
            )
            for name in ("network", "colors", "light")
        ),
        ("network", {"tune": {"batch_norm": ["train", "frozen"]}}, r"tune\.batch_norm: .*weights/random has none"),
        ("network", {"views": 3}, r"runs\.x\.views: "),
        ("network", {"first_size": 4}, r"runs\.x\.first_size: .*greater than or equal to 8, got 4$"),
        ("network", {"first_size": 64}, r"runs\.x: first_size: small_cnn takes pictures of one size only; leave"),
        # fine-tuning
        (
            "head",
            {"fine_tune": 3},
            r"runs\.x\.fine_tune: expected .* keys optimizer, .*, layers, epochs",
        ),
        ("head", {"fine_tune": FINE | {"layers": 0}}, r"runs\.x\.fine_tune\.layers: .*got 0"),
        ("head", {"fine_tune": FINE | {"layer": 1}}, r"did you mean 'runs\.x\.fine_tune\.layers'\?"),
        ("head", {"fine_tune": {"layers": 1, "epochs": 1}}, r"runs\.x\.fine_tune\.learning_rate is missing"),
        ("network", {"fine_tune": FINE}, r"unknown key 'runs\.x\.fine_tune'"),
        # keys
        ("network", {"epoch": 3}, r"unknown key 'runs\.x\.epoch'; did you mean 'runs\.x\.epochs'"),
        ("network", {"zz": 3}, r"unknown key 'runs\.x\.zz'; known: task, input, weights"),
        ("network", {"encoder": "vgg16"}, r"unknown key 'runs\.x\.encoder'"),
        ("head", {"network": "vgg16"}, r"unknown key 'runs\.x\.network'"),
        # colorize
        (
            "colors",
            {"decoder": "dense", "loss": "rebalanced"},
            r"x\.loss: the decoder dense is too small .*conv or unet",
        ),
        ("colors", {"initialize": "whole"}, r"x\.initialize: whole: weights must then be a colorizer's model\.keras"),
        ("colors", {"decoder": "unett"}, r"x\.decoder: .*'dense', 'conv' or 'unet'"),
        ("colors", {"preprocess": "chroma"}, r"x\.preprocess: .*'native' or 'rescale'"),
        ("colors", {"class_weights": "balanced"}, r"unknown key 'runs\.x\.class_weights'"),
        ("colors", {"trainable": "yes"}, r"x\.trainable: .*boolean"),
        # lightness
        ("light", {"decoder": "dense"}, r"x\.decoder: .*'conv' or 'unet'"),
        ("light", {"preprocess": "native"}, r"x\.preprocess: .*'chroma'"),
        ("light", {"loss": "mse"}, r"unknown key 'runs\.x\.loss'"),
        ("light", {"trainable": False}, r"unknown key 'runs\.x\.trainable'"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_with_place_value_and_expectation(
    name: str, changes: dict[str, object], words: str
) -> None:
    assert re.search(words, refusal(lambda: read(RUNS[name], **changes)))


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("key", ["input", "epochs", "learning_rate"])
def test_a_missing_setting_is_named(name: str, key: str) -> None:
    settings = {one: value for one, value in RUNS[name].items() if one != key}
    message = refusal(lambda: read(settings))
    assert f"runs.x.{key} is missing; add it" in message


def test_numbers_and_the_word_tune_are_accepted() -> None:
    settings = read(NETWORK, learning_rate="tune", dropout=0, decay="tune", seed=2**31 - 1).settings
    assert settings.tunable == ("learning_rate", "decay")
    assert settings.dropout == 0
    assert (settings.seed_or(5), read(HEAD).settings.seed_or(5)) == (2**31 - 1, 5)
    assert read(HEAD, learning_rate=1).settings.learning_rate == 1
    assert read(HEAD).settings.given_numbers().model_dump() == {"learning_rate": 1e-3, "dropout": 0.2, "decay": 0.001}


@pytest.mark.parametrize("name", RUNS)
def test_every_task_has_the_settings_of_gradient_descent(name: str) -> None:
    settings = read(RUNS[name], patience=3, ema_decay=0.9, decay="tune").settings
    assert (settings.patience, settings.ema_decay, settings.tunable) == (3, 0.9, ("decay",))
    assert not settings.needs_augmentation
    assert isinstance(settings, ClassifySettings) == (name in ("head", "network"))


@pytest.mark.parametrize("name", ["network", "colors", "light"])
def test_fresh_warps_need_the_section_augment(name: str) -> None:
    assert read(RUNS[name], augmentation="fresh").settings.needs_augmentation


@pytest.mark.parametrize(
    ("weights", "from_file"),
    [("weights/random", False), ("weights/imagenet/vgg16.weights.h5", False), ("models/a/model.keras", True)],
)
def test_weights_of_another_run_are_not_published_ones(weights: str, from_file: bool) -> None:
    assert read(NETWORK, weights=weights).settings.starts_from_file == from_file


def test_the_content_of_weights_decides_and_not_their_path(tmp_path: Path) -> None:
    decided = []
    for name, content in (("a.keras", b"one"), ("b.keras", b"one"), ("c.keras", b"other")):
        (tmp_path / name).write_bytes(content)
        decided.append(read(NETWORK, weights=str(tmp_path / name)).settings.decides())
    assert decided[0] == decided[1] != decided[2]
    assert read(NETWORK).settings.decides()["weights"] == "weights/random"


# ---- tasks


def test_tasks_have_their_modules() -> None:
    for task in TASKS.values():
        assert task.direction == ("maximize" if MEASURES[task.measure].higher_is_better else "minimize")
        assert task.metrics_class().model_fields.keys() == {"test", "validation"}
        assert task.deciding_modules("train") == (f"lamina.tasks.{task.name}.learning",)
        assert re.fullmatch("[0-9a-f]{64}", task.training_code)
    assert len({task.training_code for task in TASKS.values()}) == len(TASKS)
    assert [task.name for task in TASKS.values() if not task.guarded] == ["lightness"]
