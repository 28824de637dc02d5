"""`published.yaml`: read, checked against the runs of a system and the measures of their tasks, and copied."""

import re
from pathlib import Path

import pytest

from finished import run_settings, write_params
from lamina.config import read_params
from lamina.errors import UserError
from lamina.results.published import Published, read_copy, write_published
from lamina.tasks.published import known_quantities, quantities, read_published
from lamina.tasks.registry import TASKS

HEAD = "title: cells\nreference: a thesis\n"
RUNS = {name: run_settings(kind) for name, kind in {"vgg16": "head", "colors": "colorizer", "dim": "lightness"}.items()}


def read(system: Path, text: str, **source: object) -> Published | None:
    write_params(system, RUNS, source={"kind": "smear", **source})
    (system / "published.yaml").write_text(text, encoding="utf-8")
    return read_published(system, read_params(system))


def refusal(system: Path, text: str, **source: object) -> str:
    with pytest.raises(UserError) as error:
        read(system, text, **source)
    message = str(error.value)
    assert message.startswith("published.yaml: ")
    assert "\n" not in message
    return message


def of_run(figures: str, name: str = "vgg16") -> str:
    return f"{HEAD}runs:\n  {name}: {{where: page 1, {figures}}}\n"


def test_figures_are_read_in_their_order_by_measure_and_class(tmp_path: Path) -> None:
    found = read(tmp_path, of_run("recall: {b: 1, 7: 0}, accuracy: 0.852, seconds: 347, n: 440, note: copies"))
    assert found
    run = found.runs["vgg16"]
    assert list(run.figures.items()) == [(("recall", "b"), 1), (("recall", "7"), 0), (("accuracy", None), 0.852)]
    assert (run.where, run.seconds, run.n, run.note) == ("page 1", 347, 440, "copies")
    assert (found.title, found.reference, found.machine) == ("cells", "a thesis", None)


def test_the_copy_holds_the_same_and_no_comments_and_is_empty_where_nothing_was_published(tmp_path: Path) -> None:
    text = of_run("recall: {'1': 0.5, b: 0.25}, accuracy: 0.5, n: 3")
    copy = tmp_path / "data" / "published.yaml"
    copies = []
    for given in (text, f"# a comment\n\n{text.replace('0.5, n: 3', '0.50,   n: 3')}"):
        published = read(tmp_path, given)
        write_published(copy, published)
        copies.append(copy.read_bytes())
        assert read_copy(tmp_path) == published
    assert copies[0] == copies[1]
    write_published(copy, None)
    assert copy.read_text() == "{}\n"
    assert read_copy(tmp_path) is None


def test_a_system_without_the_file_has_none(tmp_path: Path) -> None:
    write_params(tmp_path, RUNS)
    assert read_published(tmp_path, read_params(tmp_path)) is None
    assert read_copy(tmp_path) is None


@pytest.mark.parametrize("task", TASKS)
def test_a_task_may_report_its_measure_and_every_value_in_its_range(task: str) -> None:
    known = quantities(TASKS[task])
    assert TASKS[task].measure in known
    for quantity in known.values():
        assert quantity.holds(quantity.low)
        assert not any(map(quantity.holds, (quantity.low - 0.1, float("nan"), float("inf"), True, "0.5", None)))
        assert quantity.holds(quantity.high) or quantity.high == float("inf")
        assert not quantity.holds(quantity.high + 0.1)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ("accuracy: 85.2", r"runs\.vgg16\.accuracy: expected a share from 0 to 1, not percent, got float 85\.2"),
        ("accuracy: yes", r"runs\.vgg16\.accuracy: expected a share .*, got str 'yes'"),
        ("recall: {a: 1.01}", r"runs\.vgg16\.recall\.a: expected a share .*, got float 1\.01"),
        ("recall: 0.8", r"runs\.vgg16\.recall: expected a mapping of numbers by class, got float 0\.8"),
        ("recall: {}", r"runs\.vgg16\.recall: expected a mapping of numbers by class, got dict {}"),
        ("accuracy: {a: 0.8}", r"runs\.vgg16\.accuracy: expected one number, got dict {'a': 0\.8}"),
        ("acuracy: 0.8", r"runs\.vgg16: 'acuracy' is no measure of task classify; did you mean 'accuracy'\?; known: "),
        ("mse: 3", r"runs\.vgg16: 'mse' is no measure of task classify.* known: accuracy, macro_f1, precision, recall"),
        ("notes: x", r"runs\.vgg16: 'notes' is no measure .*; did you mean 'note'"),
        ("n: 440", r"runs\.vgg16: nothing is reported; add seconds, or a measure: accuracy, macro_f1"),
        ("accuracy: 0.5, n: 0", r"runs\.vgg16\.n: input should be greater than or equal to 1, got int 0"),
        ("seconds: .inf", r"runs\.vgg16\.seconds: input should be a finite number"),
    ],
)  # fmt: skip
def test_a_figure_that_cannot_be_is_refused_with_its_place(tmp_path: Path, figures: str, words: str) -> None:
    assert re.search(words, refusal(tmp_path, of_run(figures)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title: [", r"not valid YAML: line \d"),
        ("title: a\ntitle: b", "not valid YAML: line 2: found duplicate key"),
        ("", "expected a mapping, got null"),
        ("runs: {vgg16: {where: x}}\nreference: r", "title is missing; add it"),
        (of_run("n: 1").replace("title", "titel"), "unknown key 'titel'; did you mean 'title'?"),
        (f"{HEAD}runs: {{}}", "runs: dictionary should have at least 1 item"),
        (f"{HEAD}runs: {{vgg16: 0.8}}", r"runs\.vgg16: expected a mapping, got float 0\.8"),
        (f"{HEAD}runs: {{vgg16: {{accuracy: 0.8}}}}", r"runs\.vgg16\.where is missing; add it"),
        (of_run("accuracy: 1", "vgg"), r"runs: params\.yaml has none of vgg; did you mean 'vgg16'\?; known: vgg16, "),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    assert re.search(words, refusal(tmp_path, text))


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    write_params(tmp_path, RUNS)
    (tmp_path / "published.yaml").write_bytes(b"title: \xe9\n")
    with pytest.raises(UserError, match=r"published\.yaml: not valid YAML: 'utf-8' codec"):
        read_published(tmp_path, read_params(tmp_path))


def test_measures_are_those_of_the_runs_own_task(tmp_path: Path) -> None:
    found = read(tmp_path, of_run("ssim: -0.5, mse: 120", "colors"))
    assert found
    assert re.search(
        "'accuracy' is no measure of task colorize.*known: mse", refusal(tmp_path, of_run("accuracy: 1", "colors"))
    )
    assert re.search("expected a number from -1 to 1", refusal(tmp_path, of_run("ssim: 2", "colors")))
    assert re.search("expected at least 0", refusal(tmp_path, of_run("mse: -1", "dim")))


def test_a_run_that_is_not_here_may_have_the_measures_of_any_task(tmp_path: Path) -> None:
    here = of_run("accuracy: 1")
    found = read(tmp_path, f"{here}  elsewhere: {{where: page 2, macro_f1: 0.5, psnr: 23}}\n")
    assert found
    assert set(found.runs["elsewhere"].model_extra or {}) <= known_quantities(None).keys()
    words = refusal(tmp_path, f"{here}  elsewhere: {{where: page 2, kappa: 0.5}}\n")
    assert "runs.elsewhere: 'kappa' is no measure of any task" in words


def test_a_class_that_the_source_does_not_keep_is_refused_with_those_there_are(tmp_path: Path) -> None:
    text = of_run("accuracy: 1, recall: {basophil: 0.5}")
    assert read(tmp_path, text, classes=None), "only the report knows the classes then"
    assert read(tmp_path, text, classes=["basophil", "monocyte"])
    expected = r"runs\.vgg16\.recall: no class 'basophil'; .*known: monocyte, neutrophil$"
    assert re.search(expected, refusal(tmp_path, text, classes=["monocyte", "neutrophil"]))
