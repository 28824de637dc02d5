"""The gate, end to end on systems made in a folder: its exit codes, its lines, and what --accept leaves."""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finished import write_params, write_profile
from lamina.commands import gate
from lamina.errors import UserError
from lamina.files import write_json
from lamina.tasks import registry, runs
from lamina.tasks.task import Task

N = 200
ERRORS = np.random.default_rng(5).uniform(50, 150, N)


@pytest.fixture(autouse=True)
def no_job_summary(monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def system(tmp_path):
    """A system of two runs whose results were accepted: 80 % right, over 100 origins."""
    name_runs(tmp_path, classify=["tiny", "plain"])
    for run in ("tiny", "plain"):
        write_predictions(tmp_path, run)
    write_profile(tmp_path)
    assert run_gate(tmp_path, "--accept") == 0
    return tmp_path


def name_runs(system: Path, **tasks: list[str]) -> None:
    """Write `params.yaml` with the runs of each task; the gate reads no other settings."""
    write_params(system, {run: {"task": task} for task, runs in tasks.items() for run in runs})


def write_predictions(system: Path, run: str, *, n: int = N, wrong: int = N // 5, **columns: object) -> None:
    """Write predictions whose first `wrong` pictures are wrong; `columns` replace what would be written."""
    label = [("dog", "cat")[i % 2] for i in range(n)]
    table = {
        "id": [f"{i:016x}" for i in range(n)],
        "origin": [f"origin {i // 2}" for i in range(n)],
        "label": label,
        "predicted": ["owl" if i < wrong else label[i] for i in range(n)],
        "owl": np.zeros(n),
    } | columns
    path = system / "models" / run / "predictions.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: values for name, values in table.items() if values is not None}), path)
    write_json(path.parent / "record.json", {"key": run})
    write_json(path.parent / "metrics.json", {"validation": {"accuracy": 0.5}})
    (path.parent / "model.keras").write_bytes(b"not opened")


def write_errors(system: Path, run: str, errors: Sequence[float] = ERRORS, **columns: object) -> None:
    """Write what the stage `evaluate` leaves of a colorizer: an MSE a picture, two pictures an origin."""
    table = {
        "id": [f"{i:016x}" for i in range(len(errors))],
        "origin": [f"origin {i // 2}" for i in range(len(errors))],
        "mse": list(errors),
        "psnr": np.full(len(errors), 20.0),
    } | columns
    path = system / "models" / run / "predictions.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: values for name, values in table.items() if values is not None}), path)
    write_json(path.parent / "record.json", {"key": run})
    write_json(path.parent / "metrics.json", {"validation": {"mse": 90.0}})
    (path.parent / "model.keras").write_bytes(b"not opened")


def run_gate(system: Path, *options: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--system", type=Path)
    gate.add_arguments(parser)
    return gate.run(parser.parse_args(["--system", str(system), *options]))


def line(text: str, run: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(run))


def test_results_of_an_earlier_training_are_neither_compared_nor_accepted(system, capsys):
    write_json(system / "models/tiny/uncertainty/uncertainty.json", {"key": "earlier"})
    assert run_gate(system) == 2
    assert "earlier training; run `dvc repro evaluate@tiny`" in line(capsys.readouterr().out, "tiny")
    with pytest.raises(UserError, match=r"nothing was accepted: .*tiny: its scores are those of an earlier training"):
        run_gate(system, "--accept")


@pytest.mark.parametrize("file", ["record.json", "uncertainty/evaluated.json"])
def test_a_broken_file_is_one_line(system, capsys, file):
    path = system / "models/tiny" / file
    path.parent.mkdir(exist_ok=True)
    for broken in ("[]", "null", '"text"', '{"key": []}', '{"key'):
        path.write_text(broken)
        assert run_gate(system) == 2
        said = line(capsys.readouterr().out, "tiny")
        assert f"cannot compare: {path}: cannot be read (" in said
        assert re.search(r"delete it and run `dvc repro (train|evaluate)@tiny` again$", said)


def test_same_results_are_kept(system, capsys):
    assert run_gate(system) == 0
    out = capsys.readouterr().out
    for run in ("tiny", "plain"):
        assert line(out, run).endswith("kept")
        assert line(out, run).count("0.800 [0.7") == 2
    header, first = out.splitlines()[:2]
    assert header.index("verdict") == first.index("kept")
    assert "Made differently" not in out


def cells(text: str, run: str) -> list[str]:
    """The cells of a run's line; two blanks or more lie between them."""
    return re.split(" {2,}", line(text, f"{run} "))


def test_surely_worse_is_a_regression(system, capsys):
    write_predictions(system, "tiny", wrong=60)
    assert run_gate(system) == 1
    out = capsys.readouterr().out
    assert cells(out, "tiny")[-1] == "regressed: 0.100 worse, more than the margin of 0.020"
    low, high = map(float, re.fullmatch(r"-0.100 \[(-0.\d+), (-0.\d+)\]", cells(out, "tiny")[3]).groups())
    assert low < -0.1 < high < 0
    assert line(out, "plain").endswith("kept")
    assert run_gate(system, "--margin-accuracy", "0.6") == 0


def test_a_few_worse_answers_are_kept(system, capsys):
    write_predictions(system, "tiny", wrong=46)
    assert run_gate(system) == 0
    # both pictures of three origins changed, all for the worse: p = 0.25, doubled for two runs
    *counts, verdict = cells(capsys.readouterr().out, "tiny")[4:]
    assert counts == ["0", "6", "0.5"]
    assert verdict.startswith("kept: cannot tell, may be 0.0")


def test_holm_holds_one_change_to_the_number_of_runs(system):
    # six origins changed for the worse: p = 0.031 alone, 0.062 beside another run
    write_predictions(system, "tiny", wrong=52)
    assert run_gate(system) == 0
    name_runs(system, classify=["tiny"])
    (system / "baselines" / "plain.csv").unlink()
    assert run_gate(system) == 1
    assert run_gate(system, "--alpha", "0.01") == 0


def test_a_large_fall_is_a_regression_where_the_test_is_blind(tmp_path, capsys):
    name_runs(tmp_path, classify=["small"])
    write_predictions(tmp_path, "small", n=10, wrong=2)
    write_profile(tmp_path)
    run_gate(tmp_path, "--accept")
    write_predictions(tmp_path, "small", n=10, wrong=3)
    assert run_gate(tmp_path) == 0, "a fall of just the tolerance is within it"
    write_predictions(tmp_path, "small", n=10, wrong=4)
    assert run_gate(tmp_path) == 1
    assert "regressed: 0.200 worse, more than 0.100; too few origins for a test (5)" in capsys.readouterr().out
    assert run_gate(tmp_path, "--tolerance", "0.2") == 0


def test_significantly_better_is_improved_and_other_errors_are_not_a_change(system, capsys):
    write_predictions(system, "tiny", wrong=20)
    write_predictions(system, "plain", predicted=["yak" if i < 40 else ("dog", "cat")[i % 2] for i in range(N)])
    assert run_gate(system) == 0
    out = capsys.readouterr().out
    assert cells(out, "tiny")[4:] == ["20", "0", "0.00391", "improved"]
    assert cells(out, "plain")[4:] == ["0", "0", "1", "kept"]


def make_on(system: Path, run: str, repeats: Sequence[float] = (), **machine: object) -> None:
    """Write what the stages `train` and `assess` leave about the machine of a run, and about its repeats."""
    write_json(system / "models" / run / "timing.json", {"seconds": {}, "machine": machine})
    spread = {"values": list(repeats), "mean": 0.0, "deviation": None}
    found = {"seeds": [*range(len(repeats))], "test": spread, "validation": spread} if repeats else None
    write_json(system / "models" / run / "assessment.json", {"repeats": found})


def test_what_other_seeds_made_is_accepted_with_the_run_and_kept(system, capsys):
    write_predictions(system, "tiny", wrong=60)
    make_on(system, "tiny", repeats=[0.1, 0.2])  # of a damaged run: seeds of the accepted one count
    assert run_gate(system) == 0, "which had none"
    make_on(system, "plain", repeats=[0.72, 0.75])
    write_predictions(system, "tiny", wrong=40)
    make_on(system, "tiny", repeats=[0.79, 0.81])
    assert run_gate(system, "--accept") == 0
    for run in ("tiny", "plain"):
        write_predictions(system, run, wrong=60)
        make_on(system, run, repeats=[0.1, 0.2])
    capsys.readouterr()
    assert run_gate(system) == 1
    out = capsys.readouterr().out
    assert cells(out, "plain")[-1].startswith("kept: other seeds score 0.6")
    assert cells(out, "tiny")[-1].startswith("regressed: 0.100 worse")


def test_another_machine_is_named_and_an_old_baseline_is_read(system, capsys):
    for run in ("tiny", "plain"):
        make_on(system, run, model="AMD EPYC", instructions=["avx2", "avx512_bf16"], cores=2)
    assert run_gate(system) == 0
    assert "Made differently" not in capsys.readouterr().out, "accepted before machines were kept"
    assert run_gate(system, "--accept") == 0
    make_on(system, "tiny", model="Intel Xeon", instructions=["avx2", "amx_bf16"], cores=2)
    make_on(system, "plain", model="Intel Xeon", instructions=["avx2", "amx_bf16"], cores=2)
    summary = system / "gate.md"
    assert run_gate(system, "--markdown", str(summary)) == 0
    said = "Made differently (plain, tiny): instructions +amx_bf16 -avx512_bf16, model AMD EPYC -> Intel Xeon."
    assert said in capsys.readouterr().out.splitlines()
    assert said in summary.read_text().splitlines()
    (system / "baselines" / "runs.json").unlink()
    assert run_gate(system) == 0
    (system / "baselines" / "runs.json").write_text("<<<<<<<")
    with pytest.raises(UserError, match=r"runs.json: .*; restore it, or renew it with --accept"):
        run_gate(system)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda s: (s / "baselines/tiny.csv").unlink(), "no .*tiny.csv; `lamina gate --accept` makes it"),
        (
            lambda s: (s / "models/tiny/predictions.parquet").unlink(),
            "no .*predictions.parquet; make it with `dvc repro`",
        ),
        (lambda s: (s / "models/tiny/predictions.parquet").write_text("none"), "predictions.parquet: not readable"),
        (lambda s: write_predictions(s, "tiny", n=N + 3), "other test examples: 3 new, 0 missing; --accept renews"),
        (lambda s: write_predictions(s, "tiny", n=N - 2), "other test examples: 0 new, 2 missing"),
        (lambda s: write_predictions(s, "tiny", label=["cat"] * N), "100 examples have another label"),
        (lambda s: write_predictions(s, "tiny", predicted=None), "predictions.parquet: not readable"),
        (
            lambda s: write_predictions(s, "tiny", predicted=[None] * N),
            "row 0: expected id, label, predicted, origin, got",
        ),
        (lambda s: write_predictions(s, "tiny", predicted=[float("nan")] * N), "row 0: expected id, label"),
        (lambda s: write_predictions(s, "tiny", origin=[None] * N), "row 0: expected id, label"),
        (lambda s: write_predictions(s, "tiny", id=["same"] * N), "row 1: the picture same is there twice"),
        (lambda s: write_predictions(s, "tiny", n=0, wrong=0), "predictions.parquet: holds no picture"),
        (lambda s: name_runs(s, classify=["plain"]), "no longer in params.yaml; --accept removes"),
        (lambda s: edit(s, lambda text: ""), "expected the header id,label,predicted, got an empty file"),
        (
            lambda s: edit(s, lambda text: text.replace("label", "class", 1)),
            "expected the header .* got id,class,predicted",
        ),
        (
            lambda s: edit(s, lambda text: text + text.splitlines()[5] + "\n"),
            "line 202: the picture .* is there twice",
        ),
        (lambda s: edit(s, lambda text: text.replace("dog,", "", 1)), "line 2: expected id, label, predicted, got"),
        (lambda s: edit(s, lambda text: text.replace("dog,", ",", 1)), "line 2: expected id, label, predicted, got"),
        (lambda s: edit(s, lambda text: "<<<<<<< HEAD\n" + text), "expected the header .* got <<<<<<< HEAD"),
        (lambda s: edit(s, lambda text: text + '"'), "not valid CSV"),
        (lambda s: edit(s, lambda text: text[:19]), "holds no picture"),
    ],
)
def test_what_cannot_be_compared_says_why_and_the_others_are_judged(system, capsys, spoil, reason):
    spoil(system)
    capsys.readouterr()
    assert run_gate(system) == 2
    out = capsys.readouterr().out
    assert line(out, "plain").endswith("kept")
    with pytest.raises(UserError, match=f"cannot compare: .*{reason}"):
        raise UserError(line(out, "tiny"))
    write_predictions(system, "plain", wrong=100)
    assert run_gate(system) == 1, "a regression counts more than a run that cannot be compared"


def edit(system: Path, change) -> None:
    path = system / "baselines" / "tiny.csv"
    path.write_text(change(path.read_text()))


def test_line_ends_and_a_byte_order_mark_do_not_count(system):
    path = system / "baselines" / "tiny.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert run_gate(system) == 0


def test_classes_of_any_name_come_back(tmp_path):
    name_runs(tmp_path, classify=["odd"])
    names = ["NA", "nan", "a, b", 'say "x"', "1", "ação"]
    write_predictions(tmp_path, "odd", n=6, label=names, predicted=names[::-1])
    write_profile(tmp_path)
    assert run_gate(tmp_path, "--accept") == 0
    assert run_gate(tmp_path) == 0


def test_baselines_are_small_sorted_and_the_same_bytes(tmp_path):
    name_runs(tmp_path, classify=["big"])
    write_predictions(tmp_path, "big", n=15_000)
    write_profile(tmp_path)
    run_gate(tmp_path, "--accept")
    text = (tmp_path / "baselines" / "big.csv").read_bytes()
    assert text.startswith(b"id,label,predicted\n0000000000000000,dog,owl\n0000000000000001,cat,owl\n")
    assert len(text) < 1_000_000
    mixed = pq.read_table(tmp_path / "models/big/predictions.parquet").sort_by([("id", "descending")])
    pq.write_table(mixed, tmp_path / "models/big/predictions.parquet")
    run_gate(tmp_path, "--accept")
    assert (tmp_path / "baselines" / "big.csv").read_bytes() == text


def test_accept_says_what_changed_and_removes_vanished_runs(system, capsys):
    name_runs(system, classify=["tiny", "extra"])
    write_predictions(system, "tiny", n=N + 1, wrong=30)
    write_predictions(system, "extra")
    write_profile(system, kept={"pictures": 201, "independent": 99.0})
    (system / "baselines" / "README.md").write_text("why these")
    capsys.readouterr()
    assert run_gate(system, "--accept") == 0
    assert capsys.readouterr().out.splitlines() == [
        "extra: accepted, 200 examples",
        "tiny: renewed, accuracy 0.800 -> 0.851 (10 changed, 1 new of 201 examples)",
        "champion: extra instead of plain, best by validation accuracy (0.500)",
        "data: renewed, 201 of 210 kept; `dvc repro` compares data with these from now on",
        "plain: removed, it is no longer in params.yaml",
    ]
    files = ["README.md", "champion.json", "data.json", "extra.csv", "runs.json", "tiny.csv"]
    assert sorted(path.name for path in (system / "baselines").iterdir()) == files
    assert run_gate(system, "--accept") == 0
    unchanged = ["extra: unchanged", "tiny: unchanged", "champion: unchanged, extra", "data: unchanged"]
    assert capsys.readouterr().out.splitlines() == unchanged
    assert run_gate(system) == 0


def test_accept_takes_all_runs_or_none(system):
    write_predictions(system, "plain", wrong=0)
    write_profile(system, rejected={"grayscale": 10})
    (system / "models/tiny/predictions.parquet").unlink()
    before = accepted(system)
    with pytest.raises(
        UserError, match=r"nothing was accepted: no .*tiny/predictions.parquet; make it with `dvc repro`"
    ):
        run_gate(system, "--accept")
    assert accepted(system) == before


def accepted(system: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (system / "baselines").iterdir()}


def spoil_profile(system: Path, text: str | None) -> None:
    path = system / "data" / "validation" / "profile.json"
    path.unlink()
    if text is not None:
        path.write_text(text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "no .*profile.json; make it with `dvc repro`, or fetch it with `dvc pull`"),
        ("{}", "profile.json: holds no profile; make it with `dvc repro`"),
        ("{", "profile.json: not valid JSON .*make it with `dvc repro`"),
    ],
)
@pytest.mark.parametrize("what", ["all", "data"])
def test_without_a_sound_profile_of_the_data_nothing_is_accepted(system, what, text, match):
    write_predictions(system, "plain", wrong=0)
    spoil_profile(system, text)
    before = accepted(system)
    with pytest.raises(UserError, match=f"^nothing was accepted: .*{match}"):
        run_gate(system, "--accept", what)
    assert accepted(system) == before


def test_data_alone_are_accepted_without_runs(tmp_path, capsys):
    name_runs(tmp_path, classify=["plain"])
    write_profile(tmp_path)
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "plain.csv").write_text("as it was")
    (tmp_path / "baselines" / "data.json").write_text("{}\n")
    for said in ("accepted, 200 of 210 kept; `dvc repro` compares data with these from now on", "unchanged"):
        assert run_gate(tmp_path, "--accept", "data") == 0
        assert capsys.readouterr().out == f"data: {said}\n"
        present = (tmp_path / "data" / "validation" / "profile.json").read_bytes()
        assert accepted(tmp_path) == {"plain.csv": b"as it was", "data.json": present}


def test_a_broken_baseline_of_the_data_is_renewed(system, capsys):
    (system / "baselines" / "data.json").write_text("<<<<<<< HEAD")
    capsys.readouterr()
    assert run_gate(system, "--accept") == 0
    assert "data: accepted, 200 of 210 kept" in capsys.readouterr().out
    assert run_gate(system, "--accept") == 0
    assert "data: unchanged" in capsys.readouterr().out


def test_the_help_names_the_error_of_each_measure():
    parser = argparse.ArgumentParser(formatter_class=lambda prog: argparse.HelpFormatter(prog, width=200))
    gate.add_arguments(parser)
    text = parser.format_help()
    assert re.search(r"--margin-accuracy SHARE\s+of the error, 1 - accuracy:", text)
    assert re.search(r"--margin-f1 SHARE\s+of the error, 1 - F1 per example:", text)


def test_markdown_and_the_job_summary_hold_the_table(system, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    write_predictions(system, "tiny", wrong=100)
    assert run_gate(system, "--markdown", str(tmp_path / "out" / "gate.md")) == 1
    markdown = (tmp_path / "out" / "gate.md").read_text()
    rows = [row for row in markdown.splitlines() if row.startswith("|")]
    assert len(rows) == 4
    assert {row.count("|") for row in rows} == {9}
    assert rows[3].startswith("| tiny | 0.800 [0.7")
    assert "regressed" in rows[3]
    assert summary.read_text() == "before\n" + markdown + "\n"
    with pytest.raises(UserError, match=r"out: is a folder; --markdown expects a file"):
        run_gate(system, "--markdown", str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("params", "options", "match"),
    [
        ("runs: {}", [], r"nothing to compare: no run of a task that the gate compares \(classify, colorize"),
        ("runs: {a: {task: lightness}}", [], "nothing to compare: no run of a task that the gate compares"),
        ("runs: {}", ["--accept"], "nothing to accept: no run of a task .*; `--accept data` takes the data alone"),
        ("runs: [tiny]", [], r"runs: expected a mapping .*, got list \['tiny'\]"),
        ("runs: {tiny: 3}", [], "runs.tiny: expected a mapping with the keys task, input, ..., got int 3"),
        ("runs: {../../tiny: {task: classify}}", [], "'../../tiny': expected .*letters"),
        ("runs: {a: {task: classify}}", ["--alpha", "nan"], "--alpha: expected a number from 0 to 1, got nan"),
        ("runs: {a: {task: classify}}", ["--tolerance", "10"], "--tolerance: expected a number from 0 to 1, got 10"),
        ("runs: {a: {task: classify}}", ["--margin-mse", "-1"], "--margin-mse: expected a number from 0 to 1, got -1"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(tmp_path, params, options, match):
    (tmp_path / "params.yaml").write_text(params)
    with pytest.raises(UserError, match=match):
        run_gate(tmp_path, *options)


class TestColorizers:
    """Runs that are judged by the MSE of each picture."""

    @pytest.fixture
    def colored(self, tmp_path):
        name_runs(tmp_path, colorize=["colors"])
        write_errors(tmp_path, "colors")
        write_profile(tmp_path)
        assert run_gate(tmp_path, "--accept") == 0
        return tmp_path

    def test_baselines_hold_an_mse_a_picture_whatever_the_order_of_rows(self, colored):
        text = (colored / "baselines" / "colors.csv").read_text()
        rows = [row.split(",") for row in text.splitlines()]
        assert rows[0] == ["id", "mse"]
        assert [row[0] for row in rows[1:]] == [f"{i:016x}" for i in range(N)]
        np.testing.assert_allclose([float(row[1]) for row in rows[1:]], ERRORS, atol=5e-5)
        mixed = pq.read_table(colored / "models/colors/predictions.parquet").sort_by([("id", "descending")])
        pq.write_table(mixed, colored / "models/colors/predictions.parquet")
        run_gate(colored, "--accept")
        assert (colored / "baselines" / "colors.csv").read_text() == text

    def test_the_line_says_what_can_be_counted_by_hand(self, colored, capsys):
        errors = ERRORS.copy()
        errors[:6] *= 1.5
        errors[6:8] *= 0.5
        write_errors(colored, "colors", errors)
        assert run_gate(colored) == 0
        out = capsys.readouterr().out
        told = line(out, "colors").split()
        assert (float(told[1]), float(told[4])) == pytest.approx((ERRORS.mean(), errors.mean()), rel=1e-3)
        low, high = (float(text.strip("[],")) for text in told[2:4])
        assert low < ERRORS.mean() < high
        counts = cells(out, "colors")[4:]
        assert counts[:2] == ["2", "6"]
        # four origins changed: all worse but one, so that 3 of 4 of all signs lie at least as far from each other
        assert 0.25 < float(counts[2]) <= 1
        assert counts[3].startswith("kept")
        difference = float(cells(out, "colors")[3].split(" %")[0])
        assert difference == pytest.approx(100 * (errors.mean() / ERRORS.mean() - 1), abs=0.01)
        assert "MSE on the test pictures" in out
        assert "Accuracy" not in out

    def test_other_true_colors_cannot_be_compared(self, colored, capsys):
        grey = np.full(N, 150.0)
        write_errors(colored, "colors", ERRORS * 1.03, grey_mse=grey)
        assert run_gate(colored) == 1, "an older baseline does not say what the colors were"
        assert run_gate(colored, "--accept") == 0
        assert (colored / "baselines" / "colors.csv").read_text().startswith("id,mse,grey_mse\n")
        write_errors(colored, "colors", ERRORS, grey_mse=np.where(np.arange(N) == 3, 150.1, grey))
        assert run_gate(colored) == 0, "rounding is no other color"
        capsys.readouterr()
        write_errors(colored, "colors", ERRORS, grey_mse=np.where(np.arange(N) == 3, 152.0, grey))
        assert run_gate(colored) == 2
        said = line(capsys.readouterr().out, "colors")
        assert "cannot compare: 1 examples have other true answers (0000000000000003, ...); --accept" in said

    def test_surely_worse_is_a_regression_above_the_margin(self, colored, capsys):
        write_errors(colored, "colors", ERRORS * 1.03)
        assert run_gate(colored) == 1
        assert "regressed: 3 % worse, more than the margin of 2 %" in line(capsys.readouterr().out, "colors")
        assert run_gate(colored, "--margin-mse", "0.05") == 0
        assert line(capsys.readouterr().out, "colors").endswith("kept: within the margin of 5 %")
        write_errors(colored, "colors", ERRORS * 0.97)
        assert run_gate(colored) == 0
        assert line(capsys.readouterr().out, "colors").endswith("improved")

    def test_a_large_rise_is_a_regression_where_the_test_is_blind(self, tmp_path, capsys):
        name_runs(tmp_path, colorize=["small"])
        write_errors(tmp_path, "small", [100.0, 100, 100, 100])
        write_profile(tmp_path)
        run_gate(tmp_path, "--accept")
        write_errors(tmp_path, "small", [100.0, 100, 120, 120])
        assert run_gate(tmp_path) == 0, "a rise of just the tolerance is within it"
        write_errors(tmp_path, "small", [100.0, 100, 130, 130])
        assert run_gate(tmp_path) == 1
        assert "regressed: 15 % worse, more than 10 %; too few origins for a test (2)" in capsys.readouterr().out
        assert run_gate(tmp_path, "--tolerance", "0.2") == 0

    def test_what_another_processor_rounds_otherwise_is_no_change(self, colored, capsys):
        write_errors(colored, "colors", ERRORS * 1.0005)
        assert run_gate(colored) == 0
        assert cells(capsys.readouterr().out, "colors")[4:] == ["0", "0", "0.0001", "kept: within the margin of 2 %"]

    def test_one_origin_shows_no_interval(self, tmp_path, capsys):
        name_runs(tmp_path, colorize=["one"])
        write_errors(tmp_path, "one", [100.0, 50.0])
        write_profile(tmp_path)
        run_gate(tmp_path, "--accept")
        capsys.readouterr()
        assert run_gate(tmp_path) == 0
        assert line(capsys.readouterr().out, "one").count("75 [one origin]") == 2

    def test_holm_counts_runs_of_both_kinds(self, tmp_path, capsys):
        name_runs(tmp_path, classify=["plain"], colorize=["colors"])
        write_predictions(tmp_path, "plain")
        write_errors(tmp_path, "colors")
        write_profile(tmp_path)
        run_gate(tmp_path, "--accept")
        capsys.readouterr()
        # six origins changed for the worse: p = 0.031 alone, 0.062 beside another run
        write_errors(tmp_path, "colors", np.where(np.arange(N) < 12, ERRORS * 1.5, ERRORS))
        assert run_gate(tmp_path) == 0
        out = capsys.readouterr().out
        assert cells(out, "colors")[6] == "0.0625"
        assert "kept" in cells(out, "colors")[7]
        assert "Accuracy on the test examples" in out
        assert "MSE on the test pictures" in out
        name_runs(tmp_path, colorize=["colors"])
        (tmp_path / "baselines" / "plain.csv").unlink()
        assert run_gate(tmp_path) == 1

    def test_a_run_that_changed_its_measure_cannot_be_compared_until_it_is_accepted(self, system, capsys):
        name_runs(system, classify=["plain"], colorize=["tiny"])
        write_errors(system, "tiny")
        capsys.readouterr()
        assert run_gate(system) == 2
        said = line(capsys.readouterr().out, "tiny")
        assert "cannot compare: the run's measure changed: " in said
        assert said.endswith("holds accuracy, but the run now has MSE; --accept renews the baseline")
        assert run_gate(system, "--accept") == 0
        assert "tiny: accepted, 200 examples" in capsys.readouterr().out
        assert run_gate(system) == 0

    def test_accept_says_what_changed(self, colored, capsys):
        write_errors(colored, "colors", [*(ERRORS * 0.5), 10.0])
        capsys.readouterr()
        assert run_gate(colored, "--accept") == 0
        told = capsys.readouterr().out.splitlines()
        before, after = ERRORS.mean(), (ERRORS.sum() / 2 + 10) / (N + 1)
        assert told == [
            f"colors: renewed, MSE {before:.4g} -> {after:.4g} (200 changed, 1 new of 201 examples)",
            "champion: unchanged, colors",
            "data: unchanged",
        ]

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda s: write_errors(s, "colors", mse=[float("nan")] * N), "row 0: expected id, mse, origin, got"),
            (lambda s: write_errors(s, "colors", mse=[-1.0] * N), "row 0: expected id, mse, origin, got"),
            (lambda s: write_errors(s, "colors", mse=["good"] * N), "row 0: expected id, mse, origin, got"),
            (lambda s: write_errors(s, "colors", mse=[None] * N), "row 0: expected id, mse, origin, got"),
            (lambda s: write_errors(s, "colors", mse=None), "predictions.parquet: not readable"),
            (lambda s: write_errors(s, "colors", ERRORS[:-1]), "other test examples: 0 new, 1 missing"),
            (lambda s: write_predictions(s, "colors"), "predictions.parquet: not readable"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, colored, capsys, spoil, reason):
        spoil(colored)
        capsys.readouterr()
        assert run_gate(colored) == 2
        with pytest.raises(UserError, match=f"cannot compare: .*{reason}"):
            raise UserError(line(capsys.readouterr().out, "colors"))
        accepted_before = accepted(colored)
        if "other" not in reason:
            with pytest.raises(UserError, match=f"nothing was accepted: .*{reason}"):
                run_gate(colored, "--accept")
            assert accepted(colored) == accepted_before


def test_the_gate_knows_no_task_by_name(tmp_path, monkeypatch, capsys):
    """A task of another room is compared by its measure; one that is not guarded is left out."""
    known = {
        "means": Task(name="means", package="nowhere", measure="mse", guarded=False),
        "counts": Task(name="counts", package="nowhere", measure="mse"),
        **registry.TASKS,
    }
    for module in (gate, runs):
        monkeypatch.setattr(module, "TASKS", known)
    name_runs(tmp_path, means=["aside"], counts=["far", "near"], classify=["plain"])
    write_errors(tmp_path, "far")
    write_errors(tmp_path, "near")
    write_json(tmp_path / "models/near/metrics.json", {"validation": {"mse": 20.0}})
    write_predictions(tmp_path, "plain")
    write_profile(tmp_path)
    assert run_gate(tmp_path, "--accept") == 0
    out = capsys.readouterr().out
    assert "champion: near, best by validation MSE (20)" in out, "of the first task that has guarded runs"
    assert "aside" not in out
    assert {path.name for path in (tmp_path / "baselines").glob("*.csv")} == {"far.csv", "near.csv", "plain.csv"}
    assert run_gate(tmp_path) == 0
    text = Path(gate.__file__).read_text(encoding="utf-8")
    assert not [task for task in registry.TASKS if re.search(rf"\b{task}\b", text)]


def test_gate_imports_nothing_heavy():
    heavy = {"tensorflow", "mlflow", "sklearn", "pandas"}
    code = f"import sys, lamina.commands.gate; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_champion_is_of_the_first_target(tmp_path, capsys):
    settings = {"task": "regress", "target": "age"}
    write_params(tmp_path, {"old": settings, "young": settings, "small": settings | {"target": "size"}})
    write_profile(tmp_path)
    for run, mae in (("old", 9.0), ("young", 4.0), ("small", 0.01)):
        write_errors(tmp_path, run, target=np.zeros(N), predicted=ERRORS)
        write_json(tmp_path / "models" / run / "metrics.json", {"validation": {"mae": mae}})
    assert run_gate(tmp_path, "--accept") == 0
    assert "champion: young, best by validation MAE (4)" in capsys.readouterr().out
