"""Settings of runs: what is taken, and what is refused in one line."""

import re
from collections.abc import Callable

import pytest

from lamina.errors import UserError
from lamina.tasks.runs import ScratchRun, TransferRun, read_run

NUMBERS = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.5, "decay": 0}
TRANSFER = {
    "backbone": "densenet121",
    "weights": "none",
    "watch": "x",
    "pooling": "avg",
    "preprocess": "own",
    **NUMBERS,
}
SCRATCH = {"network": "small_cnn", **NUMBERS}


def read(kind: str, **changes: object) -> TransferRun | ScratchRun:
    """The run `x` of a group, with some of its keys changed."""
    whole = {"transfer": TRANSFER, "scratch": SCRATCH}[kind]
    _, run = read_run({kind: {"runs": {"x": whole | changes}}}, "x")
    assert isinstance(run, TransferRun | ScratchRun)
    return run


def refusal(attempt: Callable[[], object]) -> str:
    """The one line with which something is refused."""
    with pytest.raises(UserError) as caught:
        attempt()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_run_that_is_not_there_is_told_with_those_that_are() -> None:
    params = {"scratch": {"runs": {"a": {}, "b": {}}}}
    assert "no run 'c'; there are: a, b" in refusal(lambda: read_run(params, "c"))
    assert "no run 'c'; there are: none" in refusal(lambda: read_run({}, "c"))


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        (
            "transfer",
            {"backbone": "densnet121"},
            r"transfer\.runs\.x\.backbone: unknown backbone 'densnet121'; did you mean 'densenet121'\? "
            r"available: small_cnn, .*, densenet121, densenet169, .*, xception$",
        ),
        ("transfer", {"backbone": "q"}, r"x\.backbone: unknown backbone 'q'; available: small_cnn, .*, xception$"),
        ("transfer", {"backbone": 5}, r"transfer\.runs\.x\.backbone: .*string, got 5$"),
        ("transfer", {"pooling": "max"}, r"transfer\.runs\.x\.pooling: .*'avg', 'flatten' or 'scales', got 'max'$"),
        (
            "transfer",
            {"weights": "imagenett"},
            r"x\.weights: expected imagenet, none, or the path of a \.keras or \.weights\.h5 file, got 'imagenett'$",
        ),
        (
            "transfer",
            {"backbone": "resnet20", "weights": "imagenet"},
            r"transfer\.runs\.x\.weights: imagenet: there are none for resnet20; set none, or the path of a model",
        ),
        (
            "transfer",
            {"weights": "../a/model.keras"},
            r"x\.watch: 'x' must equal weights '\.\./a/model\.keras': DVC watches it, to read them again$",
        ),
        (
            "scratch",
            {"network": "smal_cnn"},
            r"scratch\.runs\.x\.network: unknown network 'smal_cnn'; did you mean 'small_cnn'\? "
            r"available: small_cnn, .*, xception$",
        ),
        (
            "transfer",
            {"learning_rate": "tun"},
            r"transfer\.runs\.x\.learning_rate: expected a number from 0 \(excluded\) to 1, or the word tune, "
            r"got 'tun'$",
        ),
        ("scratch", {"learning_rate": 0}, r"learning_rate: expected a number from 0 \(excluded\) .*, got 0$"),
        ("scratch", {"learning_rate": None}, r"learning_rate: expected a number from .*, got None$"),
        ("scratch", {"dropout": 1}, r"dropout: expected a number from 0 to 1 \(excluded\), or the word tune, got 1$"),
        ("scratch", {"dropout": True}, r"dropout: expected a number from .*, got True$"),
        ("scratch", {"decay": 1.1}, r"decay: expected a number from 0 to 1, or the word tune, got 1\.1$"),
        ("scratch", {"decay": [0.1]}, r"decay: expected a number from .*, got \[0\.1\]$"),
        ("scratch", {"seed": -1}, r"scratch\.runs\.x\.seed: .*greater than or equal to 0, got -1$"),
        ("scratch", {"seed": 2**31}, r"scratch\.runs\.x\.seed: .*less than 2147483648, got 2147483648$"),
        ("scratch", {"seed": 1.0}, r"scratch\.runs\.x\.seed: .*integer, got 1\.0$"),
        ("scratch", {"epoch": 3}, r"unknown key 'scratch\.runs\.x\.epoch'; did you mean 'scratch\.runs\.x\.epochs'"),
        ("scratch", {"zz": 3}, r"unknown key 'scratch\.runs\.x\.zz'; known: epochs, batch_size"),
        ("scratch", {"backbone": "vgg16"}, r"unknown key 'scratch\.runs\.x\.backbone'"),
    ],
)
def test_a_run_is_refused_with_place_value_and_what_was_expected(
    kind: str, changes: dict[str, object], words: str
) -> None:
    assert re.search(words, refusal(lambda: read(kind, **changes)))


@pytest.mark.parametrize("told", [None, 5, [1]])
def test_a_run_without_settings_is_refused(told: object) -> None:
    said = refusal(lambda: read_run({"scratch": {"runs": {"x": told}}}, "x"))
    assert "scratch.runs.x: expected a mapping with the keys epochs, batch_size" in said


def test_numbers_and_the_word_tune_are_taken_as_they_are() -> None:
    run = read("scratch", learning_rate="tune", dropout=0, decay="tune", seed=2**31 - 1)
    assert run.tunable == ("learning_rate", "decay")
    assert run.dropout == 0
    assert (run.seed_or(5), read("transfer").seed_or(5)) == (2**31 - 1, 5)
    assert read("transfer", learning_rate=1).learning_rate == 1
