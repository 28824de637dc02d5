"""What `params.yaml` may say, and the one line that stages and commands end with where something is wrong."""

import errno
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.config import read_params, section
from lamina.errors import UserError
from lamina.maths.splits import SplitConfig
from lamina.stages import entry
from lamina.tasks.runs import ScratchRun, TransferRun, read_run, run_names

ROOT = Path(__file__).parents[1]
NUMBERS = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.5, "decay": 0}
TRANSFER = {
    "backbone": "densenet121",
    "weights": "none",
    "watch": "x",
    "pooling": "avg",
    "preprocess": "native",
    **NUMBERS,
}
SCRATCH = {"network": "small_cnn", **NUMBERS}


def written(folder: Path, text: str | bytes) -> Path:
    (folder / "params.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


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


# ---- the file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"expected sections \(code, seed, .*\), found nothing"),
        ("# seed: 1\n", "found nothing"),
        ("- seed: 1\n", r"expected sections .*, found list \[\{'seed': 1\}\]"),
        ("seed 1\n", "found str 'seed 1'"),
        ("seed: [1", "not valid YAML: line 1: while parsing a flow sequence, expected ',' or ']'"),
        ("seed: 1\n\tcode: x\n", "not valid YAML: line 2: .*cannot start any token"),
        ("seed: 1\nseed: 2\n", 'not valid YAML: line 2: .*found duplicate key "seed" with value "2"'),
        ("scratch:\n  runs:\n    a: {}\n    a: {}\n", 'line 4: .*found duplicate key "a"'),
        ("seed: 1\n---\nseed: 2\n", "not valid YAML: line 2: .*found another document"),
        ("seed: *one\n", "not valid YAML: line 1: found undefined alias 'one'"),
        ("seed: !!python/object:os.system {}\n", "not valid YAML: line 1: could not determine a constructor"),
        ("seed: 2026-13-41\n", "not valid YAML: month must be in 1..12"),
        ("seed: !!bool perhaps\n", "not valid YAML: 'perhaps'"),
        ("seed: " + "1" * 5000, "not valid YAML: Exceeds the limit"),
        ("seed: " + "[" * 1500, "not valid YAML: maximum recursion depth"),
        ("seed: \x01\n", "not valid YAML: unacceptable character #x0001"),
        (b"seed: 1  # \xe9t\xe9\n", r"not UTF-8 \(invalid continuation byte at byte 11\); save it as UTF-8"),
        ("seed: 1\n".encode("utf-16"), r"not UTF-8 \(invalid start byte at byte 0\)"),
        ("splitt: {}\n", "unknown section 'splitt'; did you mean 'split'"),
        ("1: {}\n", "unknown section '1'; known: code, seed,"),
        ("code: 5\n", "code: expected the path of the package's folder, got int 5"),
        ("code: null\n", "code: expected the path of the package's folder, got null"),
        ("code: ''\n", "code: expected the path of the package's folder, got str ''"),
        ("colorize: {foo: 1}\n", "unknown key 'colorize.foo'; known: runs"),
        ("scratch: {run: {}}\n", r"unknown key 'scratch\.run'; did you mean 'scratch\.runs'"),
        ("transfer: {runs: {}, epochs: 4}\n", r"unknown key 'transfer\.epochs'"),
        ("scratch: {runs: {a b: {}}}\n", r"scratch\.runs: run 'a b': expected a name of letters"),
    ],
)
def test_a_broken_file_is_refused_in_one_line_that_names_it(tmp_path: Path, text: str | bytes, words: str) -> None:
    said = refusal(lambda: read_params(written(tmp_path, text)))
    assert re.search(words, said)
    assert "params.yaml: " in said
    assert len(said) < 400


def test_no_file_and_a_folder_in_its_place_are_told(tmp_path: Path) -> None:
    assert "params.yaml: not found; run in a system's folder" in refusal(lambda: read_params(tmp_path))
    (tmp_path / "file").touch()
    assert "file/params.yaml: not found" in refusal(lambda: read_params(tmp_path / "file"))
    (tmp_path / "params.yaml").mkdir()
    assert "params.yaml: is a folder; expected a file" in refusal(lambda: read_params(tmp_path))


def test_a_byte_order_mark_and_missing_groups_do_not_count(tmp_path: Path) -> None:
    assert read_params(written(tmp_path, b"\xef\xbb\xbfseed: 1\n")) == {"seed": 1}


def test_the_systems_own_file_holds_to_all_rules() -> None:
    params = read_params(ROOT)
    assert run_names(params) == {
        "densenet121": "transfer", "textures": "transfer", "small_cnn": "scratch", "colors": "colorize",
    }  # fmt: skip
    assert all(read_run(params, name)[1].epochs >= 1 for name in run_names(params))
    assert entry.seed(params) >= 0


# ---- groups of runs


@pytest.mark.parametrize("params", [{}, {"scratch": None}, {"scratch": {}}, {"scratch": {"runs": None}}])
def test_a_missing_or_empty_group_has_no_runs(params: dict[str, object]) -> None:
    assert run_names(params) == {}
    assert run_names(params | {"transfer": {"runs": {"a": {}}}}) == {"a": "transfer"}


@pytest.mark.parametrize("group", ["transfer", "scratch"])
@pytest.mark.parametrize(
    ("told", "got"),
    [([1], r"list \[1\]"), ("x", "str 'x'"), ("", "str ''"), (0, "int 0"), (False, "bool False"), ([], r"list \[\]")],
)
def test_what_is_no_mapping_is_refused_with_place_type_and_value(group: str, told: object, got: str) -> None:
    whole = refusal(lambda: run_names({group: told}))
    assert re.search(rf"params\.yaml: {group}: expected a mapping with the key runs, got {got}$", whole)
    runs = refusal(lambda: run_names({group: {"runs": told}}))
    assert re.search(rf"params\.yaml: {group}\.runs: expected a mapping of runs by name, .* got {got}$", runs)


def test_a_long_value_is_cut() -> None:
    assert len(refusal(lambda: run_names({"scratch": "x" * 10_000}))) < 200


@given(st.one_of(st.text(max_size=8), st.from_regex("[a-zA-Z0-9_.$ -]{1,8}")))
def test_a_run_name_that_is_taken_is_one_folder_and_one_word_of_a_shell(name: str) -> None:
    try:
        assert run_names({"scratch": {"runs": {name: {}}}}) == {name: "scratch"}
    except UserError as error:
        assert f"scratch.runs: run {name!r}: expected a name of letters" in str(error)  # noqa: PT017
    else:
        assert shlex.split(f"train {name}") == ["train", name] == f"train {name}".split(" ")
        assert shlex.quote(name) == name
        assert Path("models", name).relative_to("models").parts == (name,)
        assert name.isascii()
        assert not name.startswith((".", "-"))


@pytest.mark.parametrize("name", ["a", "A9", "small_cnn", "densenet121-wide", "x" * 40])
def test_plain_run_names_are_taken(name: str) -> None:
    assert run_names({"scratch": {"runs": {name: {}}}}) == {name: "scratch"}


@pytest.mark.parametrize(
    "name", ["", "9a", "-rf", "_a", "a.b", "a/b", "..", "a b", "a;b", "$a", "a\n", "é", 7, None, True, 1.5]
)
def test_other_run_names_are_refused_with_the_rule(name: object) -> None:
    said = refusal(lambda: run_names({"transfer": {"runs": {name: {}}}}))
    assert f"transfer.runs: run {name!r}: expected a name of letters (A-Z, a-z), digits, - and _" in said


def test_a_name_that_stands_in_two_groups_is_refused() -> None:
    both = {"transfer": {"runs": {"a": {}}}, "scratch": {"runs": {"a": {}}}}
    assert "run 'a' stands under both transfer and scratch; rename one" in refusal(lambda: run_names(both))


def test_a_run_that_is_not_there_is_told_with_those_that_are() -> None:
    params = {"scratch": {"runs": {"a": {}, "b": {}}}}
    assert "no run 'c'; there are: a, b" in refusal(lambda: read_run(params, "c"))
    assert "no run 'c'; there are: none" in refusal(lambda: read_run({}, "c"))


# ---- what a section says


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            None,
            "split: expected a mapping with the keys test, validation, merge_near_duplicates, test_pattern, got null",
        ),
        (
            [0.3],
            r"split: expected a mapping with the keys test, .*, test_pattern, got list \[0\.3\]",
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
        (
            {"test": 0.3, "validation": 0.1, "test_pattern": "(a"},
            r"split\.test_pattern: not a regular expression \(.*\), got '\(a'$",
        ),
    ],
)
def test_a_section_is_refused_with_place_value_and_what_was_expected(told: object, words: str) -> None:
    assert re.search(rf"^params\.yaml: .*{words}", refusal(lambda: section({"split": told}, "split", SplitConfig)))


def test_a_section_that_is_missing_is_told() -> None:
    assert "the section split is missing" in refusal(lambda: section({"seed": 1}, "split", SplitConfig))


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


@pytest.mark.parametrize("value", [0, 13, 2**31 - 1])
def test_a_whole_number_is_a_seed(value: int) -> None:
    assert entry.seed({"seed": value}) == value


@pytest.mark.parametrize(
    ("told", "got"),
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
def test_anything_else_is_no_seed(told: dict[str, object], got: str) -> None:
    said = refusal(lambda: entry.seed(told))
    assert said == f"params.yaml: seed: expected a whole number from 0 to 2147483647, got {got}"


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
        ("lamina.stages.split", None, "params.yaml: not found"),
        ("lamina.stages.split", SOUND + "scratch: [1]\n", "scratch: expected a mapping"),
        ("lamina.stages.split", SOUND + "scratch: {runs: {a.b: {}}}\n", "run 'a.b': expected a name"),
        ("lamina.stages.split", SOUND, "data/lab/manifest.parquet: not found; `dvc repro`"),
        (
            "lamina.stages.train tint",
            SOUND + "colorize: {runs: {tint: {}}}\n",
            "colorize.runs.tint.epochs is missing; add it",
        ),
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
    assert sorted(path.name for path in tmp_path.iterdir()) == (["params.yaml"] if text else [])


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
def test_output_that_finds_no_space_is_told() -> None:
    code = "from lamina.stages import entry; entry.run(lambda: print('line'))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: no space left on the disk; free some and run again\n")
