"""Reading of `params.yaml`, and the one line with which stages and commands end on an error."""

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout import ROOT
from lamina.config import NAMED, check_references, named, read_params, section
from lamina.errors import UserError
from lamina.maths.splits import SplitConfig
from lamina.old_params import OLD
from lamina.stages import entry
from lamina.text import quoted


def written(folder: Path, text: str | bytes) -> Path:
    (folder / "params.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def refusal(attempt: Callable[[], object]) -> str:
    """The one line with which something is refused."""
    with pytest.raises(UserError) as caught:
        attempt()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ---- the file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"expected sections \(seed, source, .*\), found nothing"),
        ("# seed: 1\n", "found nothing"),
        ("- seed: 1\n", r"expected sections .*, found list \[\{'seed': 1\}\]"),
        ("seed 1\n", "found str 'seed 1'"),
        ("seed: [1", "not valid YAML: line 1: while parsing a flow sequence, expected ',' or ']'"),
        ("seed: 1\n\tcode: x\n", "not valid YAML: line 2: .*cannot start any token"),
        ("seed: 1\nseed: 2\n", 'not valid YAML: line 2: .*found duplicate key "seed" with value "2"'),
        ("runs:\n  a: {}\n  a: {}\n", 'line 3: .*found duplicate key "a"'),
        ("seed: 1\n---\nseed: 2\n", "not valid YAML: line 2: .*found another document"),
        ("seed: *one\n", "not valid YAML: line 1: found undefined alias 'one'"),
        ("seed: !!python/object:os.system {}\n", "not valid YAML: line 1: could not determine a constructor"),
        ("seed: 2026-13-41\n", "not valid YAML: month must be in 1..12"),
        ("seed: !!bool perhaps\n", "not valid YAML: 'perhaps'"),
        ("seed: " + "1" * 5000, "not valid YAML: Exceeds the limit"),
        ("seed: " + "[" * 500, "not valid YAML: maximum recursion depth"),
        ("seed: \x01\n", "not valid YAML: unacceptable character #x0001"),
        (b"seed: 1  # \xe9t\xe9\n", r"not UTF-8 \(invalid continuation byte at byte 11\); save it as UTF-8"),
        ("seed: 1\n".encode("utf-16"), r"not UTF-8 \(invalid start byte at byte 0\)"),
        ("splitt: {}\n", "unknown section 'splitt'; did you mean 'split'"),
        ("1: {}\n", "unknown section '1'; known: seed, source,"),
        ("runs: {a b: {}}\n", r"runs: 'a b': expected a name of letters"),
        ("features: [1]\n", r"features: expected a mapping of entries by name, \{\} for none, got list \[1\]"),
        ("words: {1: {}}\n", "words: 1: expected a name of letters"),
    ],
)
def test_a_broken_file_is_refused_in_one_line_that_names_it(tmp_path: Path, text: str | bytes, words: str) -> None:
    line = refusal(lambda: read_params(written(tmp_path, text)))
    assert re.search(words, line)
    assert "params.yaml: " in line
    assert len(line) < 400


def test_no_file_and_a_folder_in_its_place_are_refused(tmp_path: Path) -> None:
    assert "params.yaml: not found; run in a system's folder" in refusal(lambda: read_params(tmp_path))
    (tmp_path / "file").touch()
    assert "file/params.yaml: not found" in refusal(lambda: read_params(tmp_path / "file"))
    (tmp_path / "params.yaml").mkdir()
    assert "params.yaml: is a folder; expected a file" in refusal(lambda: read_params(tmp_path))


def test_a_byte_order_mark_and_missing_sections_do_not_count(tmp_path: Path) -> None:
    assert read_params(written(tmp_path, b"\xef\xbb\xbfseed: 1\n")) == {"seed": 1}


def test_the_systems_own_file_holds_to_all_rules() -> None:
    params = read_params(ROOT)
    assert list(named(params, "runs")) == ["frozen", "random", "fine_tuned", "small_cnn", "colors"]
    assert check_references(params) == []
    assert entry.seed(params) >= 0


# ---- what lamina 0.1 wrote


def nested(place: str, value: object) -> dict[str, Any]:
    """A mapping with a value at a place of `OLD`, whose `*` is the name `x`."""
    for key in reversed(place.replace("*", "x").split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(
    ("old", "instead"),
    [
        ("code", "remove it"),
        ("transfer", "under runs, as NAME: {task: classify, input: features/NAME, .*, and under features, as NAME:"),
        ("scratch", "under runs, as NAME: {task: classify, input: pixels"),
        ("colorize", "under runs, as NAME: {task: colorize, input: pixels"),
        ("pretext", "under runs, as NAME: {task: lightness, input: pixels"),
        ("source.watch", "remove it"),
        ("convert.fit", r"write convert\.resize"),
        ("split.given", r"write split\.test_pattern"),
        ("split.join_alike", r"write split\.merge_near_duplicates"),
        ("runs.*.watch", "remove it"),
        ("runs.*.backbone", r"write encoder where the run's input is pixels; .* under features\.NAME"),
        ("runs.*.average", "write ema_decay"),
        ("runs.*.mirrored", "write flip_tta"),
        ("runs.*.start", "write initialize"),
        ("runs.*.preprocess=own", "write preprocess: native"),
        ("runs.*.weights=none", "write weights: weights/random"),
        ("runs.*.weights=imagenet", r"under weights\.imagenet and write weights: weights/imagenet/NAME\.weights\.h5"),
        ("runs.*.encoder=frozen", "trainable: false"),
        ("runs.*.encoder=trainable", "trainable: true"),
        ("features.*.watch", "remove it"),
        ("features.*.preprocess=own", "write preprocess: native"),
        ("features.*.weights=none", "write weights: weights/random"),
        ("features.*.weights=imagenet", r"under weights\.imagenet and write weights: weights/imagenet/NAME"),
    ],
)
def test_what_to_write_instead_of_an_old_key(tmp_path: Path, old: str, instead: str) -> None:
    place, _, value = old.partition("=")
    params = nested(place, value or None)
    shown = place.replace("*", "x") + (f": {value}" if value else "")
    words = rf"^params\.yaml: {re.escape(shown)} is from lamina 0\.1; .*{instead}"
    assert re.search(words, refusal(lambda: read_params(written(tmp_path, json.dumps(params)))))
    assert old in OLD
    if value:
        assert read_params(written(tmp_path, json.dumps(nested(place, "other"))))


def test_every_old_key_is_tested() -> None:
    marks = test_what_to_write_instead_of_an_old_key.pytestmark  # type: ignore[attr-defined]
    assert {old for old, _ in marks[0].args[1]} == set(OLD)


@pytest.mark.parametrize("text", ["source: [watch]", "runs: {a: [watch], b: null}", "features: {a: watch}"])
def test_old_keys_are_looked_for_in_mappings_alone(tmp_path: Path, text: str) -> None:
    assert read_params(written(tmp_path, text))


# ---- features, words and runs


@pytest.mark.parametrize("place", NAMED)
@pytest.mark.parametrize("params", [{}, {"runs": None, "features": None, "words": None}, {"runs": {}}])
def test_a_missing_or_empty_section_has_no_names(place: str, params: dict[str, object]) -> None:
    assert named(params, place) == {}
    assert named(params | {place: {"a": {}}}, place) == {"a": {}}


@pytest.mark.parametrize("place", NAMED)
@pytest.mark.parametrize(
    ("value", "got"),
    [([1], r"list \[1\]"), ("x", "str 'x'"), ("", "str ''"), (0, "int 0"), (False, "bool False"), ([], r"list \[\]")],
)
def test_what_is_no_mapping_is_refused_with_place_type_and_value(place: str, value: object, got: str) -> None:
    words = rf"params\.yaml: {place}: expected a mapping of entries by name, \{{\}} for none, got {got}$"
    assert re.search(words, refusal(lambda: named({place: value}, place)))


def test_a_long_value_is_cut() -> None:
    assert len(refusal(lambda: named({"runs": "x" * 10_000}, "runs"))) < 200


@given(st.one_of(st.text(max_size=8), st.from_regex("[a-zA-Z0-9_.$ -]{1,8}")))
def test_a_name_that_is_taken_is_one_folder_and_one_word_of_a_shell(name: str) -> None:
    try:
        assert named({"runs": {name: {}}}, "runs") == {name: {}}
    except UserError as error:
        assert f"runs: {quoted(name)}: expected a name of letters" in str(error)  # noqa: PT017
    else:
        assert shlex.split(f"train {name}") == ["train", name] == f"train {name}".split(" ")
        assert shlex.quote(name) == name
        assert Path("models", name).relative_to("models").parts == (name,)
        assert name.isascii()
        assert not name.startswith((".", "-"))


@pytest.mark.parametrize("name", ["a", "A9", "small_cnn", "densenet121-wide", "x" * 40])
def test_plain_names_are_taken(name: str) -> None:
    assert named({"features": {name: {}}}, "features") == {name: {}}


@pytest.mark.parametrize(
    "name", ["", "9a", "-rf", "_a", "a.b", "a/b", "..", "a b", "a;b", "$a", "a\n", "é", 7, None, True, 1.5]
)
def test_other_names_are_refused_with_the_rule(name: object) -> None:
    rule = f"params.yaml: words: {name!r}: expected a name of letters (A-Z, a-z), digits, - and _ that starts"
    assert rule in refusal(lambda: named({"words": {name: {}}}, "words"))


# ---- references


def references(**run: object) -> dict[str, Any]:
    """Params with the run `head`, features `cnn`, words `common`, and ImageNet weights of resnet50."""
    return {
        "weights": {"imagenet": ["resnet50"]},
        "features": {"cnn": {"weights": "weights/random"}},
        "words": {"common": {}},
        "runs": {"head": run, "other": {"input": "pixels"}},
    }


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"input": "features/cn"}, "runs.head.input: no input 'features/cn'; did you mean 'features/cnn'?"),
        ({"input": "features/"}, "runs.head.input: no input 'features/'; did you mean 'features/cnn'?"),
        ({"input": "word/common"}, "runs.head.input: no input 'word/common'; did you mean 'words/common'?"),
        ({"input": "pixel"}, "no input 'pixel'; did you mean 'pixels'? there are: pixels, features/cnn, words/common"),
        ({"input": "zzz"}, "runs.head.input: no input 'zzz'; there are: pixels, features/cnn, words/common"),
        (
            {"input": "pixels", "weights": "weights/imagenet/vgg16.weights.h5"},
            "runs.head.weights: weights/imagenet/vgg16.weights.h5 is not fetched; add vgg16 to the list",
        ),
        (
            {"input": "pixels", "weights": "models/othr/model.keras"},
            "runs.head.weights: models/othr/model.keras: no run 'othr'; did you mean 'other'?",
        ),
        (
            {"input": "pixels", "weights": "ensembles/both/model.keras"},
            "head.weights: ensembles/both/model.keras: no run can start from an ensemble; name a model of its runs",
        ),
    ],
)
def test_a_reference_to_what_is_not_there_is_refused(run: dict[str, object], words: str) -> None:
    assert words in refusal(lambda: check_references(references(**run)))


@pytest.mark.parametrize(
    "weights",
    ["weights/random", "weights/imagenet/resnet50.weights.h5", "models/other/model.keras", "../a/models/b/x.keras", 5],
)
def test_weights_that_are_there_or_that_the_run_checks_are_taken(weights: object) -> None:
    params = references(input="features/cnn", weights=weights)
    params["features"]["cnn"]["weights"] = weights
    assert check_references(params | {"words": {}}) == []


def of_file(weights: str = "pretrained/vit.onnx", **run: object) -> dict[str, Any]:
    params = references(input="features/cnn", **run)
    params["features"]["cnn"] = {"backbone": "onnx", "weights": weights}
    return params | {"words": {}}


def test_a_backbone_from_an_onnx_file_does_not_learn() -> None:
    assert check_references(of_file()) == []
    assert check_references(of_file(fine_tune=None)) == []
    refused = refusal(lambda: check_references(of_file(fine_tune={"layers": 2})))
    assert "runs.head.fine_tune: features/cnn is from an ONNX file, which cannot learn; leave fine_tune out" in refused


def test_a_file_of_ones_own_does_not_lie_where_a_stage_would_remove_it() -> None:
    refused = refusal(lambda: check_references(of_file("weights/vit.onnx")))
    assert "features.cnn.weights: weights/vit.onnx: the stage weights empties that folder; put the file into" in refused


def test_published_weights_of_features_must_be_listed() -> None:
    params = references(input="features/cnn")
    params["features"]["cnn"]["weights"] = "weights/imagenet/vgg16.weights.h5"
    assert "features.cnn.weights: weights/imagenet/vgg16" in refusal(lambda: check_references(params))


@pytest.mark.parametrize("input", [None, 5, [1]])
def test_an_input_that_is_no_text_is_left_to_the_run(input: object) -> None:
    assert len(check_references(references(input=input))) == 2


def test_what_no_run_uses_is_noted() -> None:
    assert check_references(references(input="features/cnn")) == [
        "note: params.yaml: no run has input: words/common; it is computed but not used"
    ]


@pytest.mark.parametrize(
    ("fresh", "run", "noted"),
    [
        ({"crop": 0.6}, {}, True),
        ({"crop": 0.6}, {"augmentation": "plan"}, True),
        ({"crop": 0.6}, {"augmentation": "fresh"}, False),
        ({"crop": 0.6}, {"tune": {"augmentation": ["plan", "fresh"]}}, False),
        ({}, {}, False),
        (None, {}, False),
    ],
    ids=str,
)
def test_fresh_warps_that_no_run_draws_are_noted(fresh: object, run: dict[str, object], noted: bool) -> None:
    params = {"augment": {"fresh": fresh}, "runs": {"one": {"input": "pixels"} | run}}
    expected = "note: params.yaml: augment.fresh is set, but no run has augmentation: fresh; it is not used"
    assert check_references(params) == ([expected] if noted else [])


# ---- what a section says


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "split: expected a mapping with the keys test, validation, merge_near_duplicates, .* got null"),
        (
            [0.3],
            r"split: expected a mapping with the keys test, validation, merge_near_duplicates, .* got list \[0\.3\]",
        ),
        ({}, r"split\.test is missing; add it"),
        ({"tset": 0.3, "validation": 0.1}, r"unknown key 'split\.tset'; did you mean 'split\.test'"),
        ({"test": 0.3, "validation": 0.1, "x": 1}, r"unknown key 'split\.x'; known: test, validation"),
        ({"test": 0.3, "validation": 0.1, 7: 1}, r"unknown key 'split\.7'; known: test, validation"),
        ({"test": "0.3", "validation": 0.1}, r"split\.test: input should be a valid number, got '0\.3'"),
        ({"test": 1, "validation": 0.1}, r"split\.test: input should be less than 1, got 1$"),
        ({"test": float("nan"), "validation": 0.1}, r"split\.test: .*got nan$"),
        ({"test": True, "validation": 0.1}, r"split\.test: .*got True$"),
        ({"test": 0.5, "validation": 0.5}, "split: test and validation must leave pictures"),
        ({"test": 0.3, "validation": 0.1, "test_pattern": "(a"}, r"split\.test_pattern: not a regular .*, got '\(a'$"),
    ],
)
def test_a_section_is_refused_with_place_value_and_what_was_expected(value: object, words: str) -> None:
    assert re.search(rf"^params\.yaml: .*{words}", refusal(lambda: section({"split": value}, "split", SplitConfig)))


def test_a_missing_section_is_refused() -> None:
    assert "the section split is missing" in refusal(lambda: section({"seed": 1}, "split", SplitConfig))


@pytest.mark.parametrize("value", [0, 13, 2**31 - 1])
def test_a_whole_number_is_a_seed(value: int) -> None:
    assert entry.seed({"seed": value}) == value


@pytest.mark.parametrize(
    ("params", "got"),
    [
        ({}, "null"),
        ({"seed": None}, "null"),
        ({"seed": -1}, "int -1"),
        ({"seed": 2**31}, "int 2147483648"),
        ({"seed": True}, "bool True"),
        ({"seed": 1.0}, "float 1.0"),
        ({"seed": "1"}, "str '1'"),
    ],
)
def test_anything_else_is_no_seed(params: dict[str, object], got: str) -> None:
    assert (
        refusal(lambda: entry.seed(params))
        == f"params.yaml: seed: expected a whole number from 0 to 2147483647, got {got}"
    )


# ---- the edge


def last_words(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """How a stage ends that meets `error`: exit code and stderr."""

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        entry.run(main)
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("split: mend it"), "error: split: mend it"),
        (UserError("one\ntwo"), "error: one two"),
        (FileNotFoundError("data/x.parquet"), "error: data/x.parquet: not found; `dvc repro` .*"),
        (FileNotFoundError(errno.ENOENT, "No such file", "data/x.npy"), "error: data/x.npy: not found; `dvc repro` .*"),
        (FileNotFoundError(errno.ENOENT, "Failed to open 'x'"), "error: Failed to open 'x': not found; `dvc .*"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "models/a"), "error: models/a: Is a directory"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "data/x"), "error: data/x: Not a directory"),
        (PermissionError(errno.EACCES, "Permission denied", "data"), "error: data: Permission denied"),
        (OSError(errno.EMFILE, "Too many open files"), r"error: \[Errno 24\] Too many open files"),
        (OSError(errno.ENOSPC, "No space left", "a.npy"), "error: no space left .* writing a.npy; free some .*"),
        (OSError(errno.ENOSPC, "No space left"), "error: no space left on the disk; free some and run again"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), r"error: \[Errno 32\] Broken pipe"),
        (KeyboardInterrupt(), "interrupted: .*"),
    ],
)
def test_every_foreseen_end_is_one_line(error: BaseException, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = last_words(error, capsys)
    assert re.fullmatch(f"{line}\n", said)
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 2)


def test_an_error_of_our_own_keeps_its_trace() -> None:
    def main() -> None:
        raise OSError("a bug")

    with pytest.raises(OSError, match="a bug"):
        entry.run(main)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_commands_exit_code_is_kept(code: int) -> None:
    with pytest.raises(SystemExit) as ended:
        entry.run(lambda: sys.exit(code))
    assert ended.value.code == code


SOUND = "seed: 1\nsplit: {test: 0.3, validation: 0.1}\n"


@pytest.mark.parametrize(
    ("module", "text", "words"),
    [
        ("lamina.stages.download", None, "params.yaml: not found"),
        ("lamina.stages.download", SOUND + "runs: [1]\n", "runs: expected a mapping"),
        ("lamina.stages.download", SOUND + "runs: {a.b: {}}\n", "runs: 'a.b': expected a name"),
        ("lamina.stages.split", SOUND, "data/lab/manifest.parquet: not found; `dvc repro`"),
        ("lamina.stages.download", SOUND + "code: src\n", "code is from lamina 0.1; remove it"),
    ],
)
def test_a_process_ends_with_2_and_one_line(tmp_path: Path, module: str, text: str | None, words: str) -> None:
    if text is not None:
        written(tmp_path, text)
    command = [sys.executable, "-m", *module.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    left = {path.name for path in tmp_path.iterdir()} - {".lamina"}  # which holds the lock of the stage
    assert left == ({"params.yaml"} if text else set())


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("lines", [1, 100_000], ids=["at the end", "midway"])
def test_a_reader_that_leaves_early_ends_it_quietly(lines: int, unbuffered: str) -> None:
    code = f"import sys; from lamina.stages import entry; entry.run(lambda: sys.exit(print('line\\n' * {lines})))"
    pipe, environment = subprocess.PIPE, os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_after_an_interruption_no_thread_keeps_the_process() -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor; from time import sleep; from lamina.stages import entry\n"
        "def main():\n ThreadPoolExecutor(1).submit(sleep, 600)\n raise KeyboardInterrupt\n"
        "entry.SECONDS_TO_END = 0.5; entry.run(main)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)
    assert done.stderr.startswith("interrupted: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_finds_no_space_is_an_error() -> None:
    code = "from lamina.stages import entry; entry.run(lambda: print('line'))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: no space left on the disk; free some and run again\n")
