"""The section `ensembles` of `params.yaml`: which runs can be averaged, and what is refused in one line."""

import re
from typing import Any

import pytest

from lamina.errors import UserError
from lamina.tasks.ensembles import read_ensembles, result_tasks, task_and_input
from systems import COLORS, HEAD, LIGHT, NETWORK

WORDS = {"task": "classify", "input": "words/common", "network": "nb_svm"}
RUNS = {"head": HEAD, "network": NETWORK, "colors": COLORS, "light": LIGHT, "reviews": WORDS}


def params(**ensembles: Any) -> dict[str, Any]:
    return {"runs": RUNS, "ensembles": ensembles}


def test_runs_and_ensembles_have_a_task_in_order() -> None:
    found = params(both={"runs": ["network", "head"]})
    assert read_ensembles(found)["both"].runs == ("network", "head")
    tasks = result_tasks(found)
    assert list(tasks) == [*RUNS, "both"]
    assert tasks["both"] == tasks["head"]
    assert task_and_input(found, "both") == (tasks["head"], "pixels")
    assert task_and_input(found, "reviews") == (tasks["head"], "words/common")


@pytest.mark.parametrize("section", [{}, {"ensembles": {}}, {"ensembles": None}])
def test_a_system_needs_no_ensembles(section: dict[str, Any]) -> None:
    assert read_ensembles({"runs": RUNS} | section) == {}
    assert list(result_tasks({"runs": RUNS} | section)) == list(RUNS)


def test_an_unknown_name_is_refused_with_runs_and_ensembles() -> None:
    with pytest.raises(UserError, match=r"no run 'bot'; did you mean 'both'\?; known: head, .*, reviews, both$"):
        task_and_input(params(both={"runs": ["network", "head"]}), "bot")


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("both", None, r"expected a mapping with the key runs, a list of names, got null$"),
        ("both", ["head", "network"], r"expected a mapping with the key runs, a list of names, got list "),
        ("both", {}, r"ensembles\.both\.runs is missing; add it$"),
        ("both", {"run": ["head"]}, r"unknown key 'ensembles\.both\.run'; did you mean 'ensembles\.both\.runs'\?"),
        ("both", {"runs": "head"}, r"ensembles\.both\.runs: .*list, got 'head'$"),
        ("both", {"runs": ["head", 5]}, r"ensembles\.both\.runs\.1: .*string, got 5$"),
        ("both", {"runs": []}, r"both\.runs: expected at least two runs, got \[\]; add one, or remove the ensemble$"),
        ("both", {"runs": ["head"]}, r"both\.runs: expected at least two runs, got \['head'\]"),
        ("both", {"runs": ["head", "head"]}, r"both\.runs: head is there twice, expected every run once; remove one"),
        ("both", {"runs": ["head", "netwrk"]}, r"there is no run 'netwrk'; did you mean 'network'\?; known: head"),
        ("both", {"runs": ["head", "both"]}, r"both is an ensemble, expected runs; name the runs that it averages"),
        ("both", {"runs": ["head", "colors"]}, r"colors has the task colorize, expected runs of classify; remove"),
        ("both", {"runs": ["light", "head"]}, r"light has the task lightness, expected runs of classify; remove"),
        ("both", {"runs": ["head", "reviews"]}, r"reviews learns from texts; texts have no ensembles yet, remove"),
        ("head", {"runs": ["head", "network"]}, r"ensembles\.head: a run has the same name; rename one of them$"),
    ],
    ids=str,
)
def test_bad_ensembles_are_refused_in_one_line(name: str, given: object, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_ensembles(params(**{name: given}))
    assert re.match(r"params\.yaml: (unknown key ')?ensembles\.", str(caught.value))
    assert "\n" not in str(caught.value)


def test_an_ensemble_of_an_ensemble_is_refused() -> None:
    given = params(both={"runs": ["head", "network"]}, more={"runs": ["both", "head"]})
    with pytest.raises(UserError, match=r"ensembles\.more\.runs: both is an ensemble"):
        read_ensembles(given)
